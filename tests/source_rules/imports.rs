//! Which file of a crate imports which: by `use`, and by paths in code.
//!
//! What a face exports is imported from the face, wherever it comes from. Unit tests
//! may import what they like.

use std::collections::{BTreeMap, BTreeSet};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ImplItemFn, Item, ItemMod, ItemUse, Macro, Path, UseTree, Visibility};

use crate::module_tree::{Module, ModuleTree, is_below};

/// The imports of one crate.
pub(crate) struct Imports {
    /// The crate's modules.
    pub(crate) tree: ModuleTree,
    /// By importing and imported module, the names for which it is done.
    by_module: BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>,
}

impl Imports {
    /// Reads all sources of a crate.
    pub(crate) fn of(directory: &str, crate_name: &'static str) -> Self {
        let mut tree = ModuleTree::of(directory, crate_name);
        let read = tree.sources().map(|(module, source)| {
            let file = syn::parse_file(&source.text);
            let file = file.unwrap_or_else(|error| panic!("{}: {error}", source.path));
            let mut reader = Reader { module: module.clone(), ..Reader::default() };
            reader.visit_file(&file);
            reader
        });
        let mut readers: Vec<Reader> = read.collect();
        for reader in &mut readers {
            reader.private.drain(..).for_each(|module| tree.is_private(module));
        }
        let tests: Vec<Module> =
            readers.iter_mut().flat_map(|reader| std::mem::take(&mut reader.tests)).collect();
        let is_test =
            |module: &Module| tests.iter().any(|test| module == test || is_below(module, test));
        let by_module = readers
            .into_iter()
            .filter(|reader| !is_test(&reader.module))
            .map(|reader| (reader.module.clone(), reader.imports(&tree)))
            .collect();
        Self { tree, by_module }
    }

    /// The file of a module, from the root of the workspace.
    pub(crate) fn file(&self, module: &Module) -> &str {
        &self.tree.sources().find(|(one, _)| *one == module).unwrap().1.path
    }

    /// Importing file, imported file, and the names that are imported.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str, String)> {
        self.modules().map(|(from, to, names)| (self.file(from), self.file(to), names))
    }

    /// Importing module, imported module, and the names that are imported.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&Module, &Module, String)> {
        let names = |names: &BTreeSet<String>| {
            names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let all = self.by_module.iter();
        all.flat_map(move |(from, all)| all.iter().map(move |(to, one)| (from, to, names(one))))
    }

    /// What a module imports.
    pub(crate) fn imported(&self, module: &Module) -> impl Iterator<Item = &Module> {
        self.by_module.get(module).into_iter().flat_map(|all| all.keys())
    }

    /// The names that one module imports from another.
    pub(crate) fn names(&self, from: &Module, to: &Module) -> String {
        let all = self.by_module[from][to].iter().map(String::as_str);
        all.collect::<Vec<_>>().join(", ")
    }
}

/// A path in a file.
struct Said {
    /// Where it stands.
    module: Module,
    path: Vec<String>,
    /// What a `use` calls it; nothing for a path in code.
    named: Option<String>,
}

/// Reads one file.
#[derive(Default)]
struct Reader {
    /// Where the reader is.
    module: Module,
    said: Vec<Said>,
    /// Modules with a file of their own that are there for unit tests only.
    tests: Vec<Module>,
    /// Modules that are declared without `pub`.
    private: Vec<Module>,
}

impl Reader {
    /// What the file imports from others.
    fn imports(&self, tree: &ModuleTree) -> BTreeMap<Module, BTreeSet<String>> {
        let mut modules = BTreeMap::new();
        for said in &self.said {
            let item = tree.absolute(&said.module, &said.path);
            if let (Some(name), Some(item)) = (&said.named, item)
                && tree.has(&item)
            {
                modules.insert((&said.module, name), item);
            }
        }
        let mut found: BTreeMap<Module, BTreeSet<String>> = BTreeMap::new();
        for said in &self.said {
            let by_use = || {
                let (first, rest) = said.path.split_first()?;
                let module = modules.get(&(&said.module, first))?;
                Some([&module[..], rest].concat())
            };
            let item = tree.absolute(&said.module, &said.path).or_else(by_use);
            let Some(item) = item else { continue };
            let imported = tree.module_of(&item, &said.module);
            if *imported != self.module {
                let names = found.entry(imported.clone()).or_default();
                names.insert(
                    item[imported.len()..].first().unwrap_or(&item[item.len() - 1]).clone(),
                );
            }
        }
        found
    }

    fn say(&mut self, path: Vec<String>, named: Option<String>) {
        self.said.push(Said { module: self.module.clone(), path, named });
    }

    fn say_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |ident: &Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.say_use(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|one| self.say_use(before, one)),
            UseTree::Glob(_) => self.say(before.to_vec(), None),
            UseTree::Name(name) if name.ident == "self" => {
                self.say(before.to_vec(), before.last().cloned());
            }
            UseTree::Name(name) => self.say(with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(name) => self.say(with(&name.ident), Some(name.rename.to_string())),
        }
    }

    /// Paths in what a macro is given, which is only tokens.
    fn say_tokens(&mut self, mut at: Cursor<'_>) {
        let mut path = Vec::new();
        while !at.eof() {
            if let Some((within, _, _, after)) = at.any_group() {
                self.say_tokens(within);
                at = after;
                path.clear();
            } else if let Some((ident, after)) = at.ident() {
                path.push(ident.to_string());
                at = match colons(after) {
                    Some(after) => after,
                    None => {
                        self.say_path(std::mem::take(&mut path));
                        after
                    }
                };
            } else {
                path.clear();
                at = at.token_tree().expect("it is not the end").1;
            }
        }
    }

    fn say_path(&mut self, path: Vec<String>) {
        // One name alone is a value, a type, or came by a `use`.
        if path.len() > 1 {
            self.say(path, None);
        }
    }
}

fn colons(at: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, after) = at.punct()?;
    let (second, after) = after.punct()?;
    let colons = first.as_char() == ':' && second.as_char() == ':';
    (colons && after.ident().is_some()).then_some(after)
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(ItemMod { ident, content: None, .. }) = item {
            self.tests.push([&self.module[..], &[ident.to_string()]].concat());
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.to_string());
        if matches!(module.vis, Visibility::Inherited) {
            self.private.push(self.module.clone());
        }
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.say_use(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            self.say_path(path.segments.iter().map(|one| one.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.say_tokens(TokenBuffer::new2(call.tokens.clone()).begin());
    }

    /// Who may see it is no import.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let what = attribute.parse_args::<Ident>();
        attribute.path().is_ident("cfg") && what.is_ok_and(|what| what == "test")
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
