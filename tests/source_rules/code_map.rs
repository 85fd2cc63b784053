//! ARCHITECTURE.md shows every folder and every file at the top of a crate.

use std::collections::BTreeSet;
use std::fs;

use crate::imports::Imports;
use crate::sources::{assert_none, root};

/// What a block of text in ARCHITECTURE.md shows below `directory`: `name` for a file
/// alone, `name/` for a folder with its face; in the order of the map.
fn on_the_map(directory: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let blocks = text.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut maps = blocks.filter(|block| block.lines().next() == Some(directory));
    let map = maps.next().unwrap_or_else(|| panic!("ARCHITECTURE.md has no map of {directory}"));
    let lines = map.lines().filter_map(|line| line.split_once("── "));
    // Two spaces are between the names and what is said of them.
    let names = lines.filter_map(|(_, line)| line.split("  ").next());
    names.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// What there is, but for the roots of the crate.
fn in_the_sources(directory: &str) -> BTreeSet<String> {
    let folder = root().join(directory);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if folder.join(&name).is_dir() {
            found.insert(format!("{name}/"));
        } else if name != "lib" && name != "main" {
            found.insert(name);
        }
    }
    found
}

#[test]
fn the_code_maps_show_what_there_is() {
    let mut broken = Vec::new();
    for directory in ["peer/src", "sim/src"] {
        let shown: BTreeSet<String> = on_the_map(directory).into_iter().collect();
        let there = in_the_sources(directory);
        let missing = there.difference(&shown);
        broken.extend(missing.map(|name| format!("{directory}/{name} is not on the map")));
        let gone = shown.difference(&there);
        broken.extend(gone.map(|name| format!("{directory}/{name} is on the map, and not there")));
    }
    assert_none(broken, "ARCHITECTURE.md shows the folders and files at the top of a crate");
}

#[test]
fn the_simulator_imports_only_what_is_above_on_its_map() {
    let map = on_the_map("sim/src");
    let place = |module: &[String]| {
        let name = module.first()?;
        map.iter().position(|shown| shown.trim_end_matches('/') == name)
    };
    let imports = Imports::of("sim/src", "ops_proxy_sim");
    let down = imports.modules().filter(|(from, to, _)| match (place(from), place(to)) {
        (Some(from), Some(to)) => to > from,
        // The roots of the crate are not on the map.
        _ => false,
    });
    let broken = down.map(|(from, to, names)| {
        format!("{} imports {names} from {}", imports.file(from), imports.file(to))
    });
    assert_none(broken.collect(), "a folder imports only what ARCHITECTURE.md shows above it");
}
