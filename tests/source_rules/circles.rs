//! Files that import each other cannot be read one after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::folders::crates;
use crate::imports::Imports;
use crate::module_tree::Module;
use crate::sources::assert_none;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let crates = crates();
    let broken = crates.iter().flat_map(|imports| {
        let circles = circles(imports).into_iter();
        circles.map(|circle| show(imports, &circle)).collect::<Vec<_>>()
    });
    assert_none(broken.collect(), "no circle of files: what both need belongs into a third");
}

/// The shortest circle through each module that has one, each circle once.
fn circles(imports: &Imports) -> Vec<Vec<Module>> {
    let through = imports.tree.sources().filter_map(|(module, _)| shortest(imports, module));
    let mut seen = BTreeSet::new();
    let mut circles: Vec<Vec<Module>> = through
        .filter(|circle| seen.insert(circle.iter().cloned().collect::<BTreeSet<Module>>()))
        .collect();
    circles.sort_by_key(Vec::len);
    circles
}

/// The fewest steps from a module back to itself.
fn shortest(imports: &Imports, start: &Module) -> Option<Vec<Module>> {
    let mut came_from: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for next in imports.imported(module) {
            if next == start {
                let mut circle = vec![module.clone()];
                let mut at = module;
                while at != start {
                    at = came_from[at];
                    circle.push(at.clone());
                }
                circle.reverse();
                return Some(circle);
            }
            came_from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                module
            });
        }
    }
    None
}

/// Each file of a circle with what it imports from the next.
fn show(imports: &Imports, circle: &[Module]) -> String {
    let next = circle.iter().cycle().skip(1);
    let steps = circle.iter().zip(next).map(|(from, to)| {
        let names = imports.names(from, to);
        format!("    {} imports {names} from {}", imports.file(from), imports.file(to))
    });
    format!("  a circle of {}:\n{}", circle.len(), steps.collect::<Vec<_>>().join("\n"))
}
