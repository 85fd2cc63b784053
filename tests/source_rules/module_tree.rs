//! Which file is which module of a crate.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{self, Source};

/// The names on the way from the root of a crate to one of its modules.
pub(crate) type Module = Vec<String>;

/// A crate's modules, each in a file of its own.
pub(crate) struct ModuleTree {
    /// By what paths within the crate's own command begin with.
    crate_name: &'static str,
    sources: BTreeMap<Module, Source>,
    /// Those that only their parent and what is below it can name.
    private: BTreeSet<Module>,
}

impl ModuleTree {
    /// The modules of the crate in this directory.
    pub(crate) fn of(directory: &str, crate_name: &'static str) -> Self {
        let with_module = |source: Source| {
            let below = source.path.strip_prefix(directory).and_then(|path| path.strip_prefix('/'));
            let below = below.and_then(|path| path.strip_suffix(".rs")).unwrap();
            let names = below.split('/').filter(|name| *name != "lib");
            (names.map(str::to_owned).collect(), source)
        };
        let sources = sources::of(directory).into_iter().map(with_module).collect();
        Self { crate_name, sources, private: BTreeSet::new() }
    }

    /// This module is declared without `pub`.
    pub(crate) fn is_private(&mut self, module: Module) {
        self.private.insert(module);
    }

    /// All modules with their files.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&Module, &Source)> {
        self.sources.iter()
    }

    /// Whether this is a module with a file.
    pub(crate) fn has(&self, module: &[String]) -> bool {
        self.sources.contains_key(module)
    }

    /// The innermost module on the way to `item` that `from` can name.
    pub(crate) fn module_of(&self, item: &[String], from: &[String]) -> &Module {
        let can_name = |module: &[String]| {
            (1..=module.len()).all(|length| {
                !self.private.contains(&module[..length]) || from.starts_with(&module[..length - 1])
            })
        };
        let lengths = (0..=item.len()).rev();
        let modules = lengths.map(|length| &item[..length]).filter(|module| can_name(module));
        let mut found = modules.filter_map(|module| self.sources.get_key_value(module));
        found.next().expect("every crate has a root").0
    }

    /// From the root of the crate, what a path says that stands in `module`; nothing if
    /// it begins with something that this file does not know for a module.
    pub(crate) fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            name if name == self.crate_name => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let mut module = module.split_last()?.1;
                let mut rest = rest;
                while rest.first().is_some_and(|name| name == "super") {
                    (module, rest) = (module.split_last()?.1, &rest[1..]);
                }
                Some([module, rest].concat())
            }
            _ => {
                let child = [module, path].concat();
                self.has(&child[..=module.len()]).then_some(child)
            }
        }
    }
}

/// Whether `module` lies within `folder`.
pub(crate) fn is_below(module: &[String], folder: &[String]) -> bool {
    module.len() > folder.len() && module.starts_with(folder)
}
