//! What the files of a folder may import. The table in ARCHITECTURE.md says why.

use crate::imports::Imports;
use crate::module_tree::is_below;
use crate::sources::{PURE, assert_none, is_within};

/// Folders of the peer, each with those that nothing in it imports.
const APART: [(&str, &[&str]); 6] = [
    ("forward", &["public", "listening", "connecting", "cli"]),
    ("listening", &["connecting", "public"]),
    ("connecting", &["listening", "public"]),
    ("public", &["connecting", "cli", "trust/tls/files"]),
    ("stream", &["mesh", "listening", "connecting", "public", "observe"]),
    ("trust", &["mesh", "listening", "connecting", "public"]),
];

/// Who may import `cli`: its own files and the command's.
const MAY_IMPORT_CLI: [&str; 3] = ["cli", "main", "lib"];

const PEER: &str = "peer/src";

/// The crates whose imports are held to rules.
pub(crate) fn crates() -> [Imports; 4] {
    [
        Imports::of(PEER, "ops_proxy"),
        Imports::of("sim/src", "ops_proxy_sim"),
        Imports::of("fuzz/src", "ops_proxy_fuzz"),
        Imports::of("tests/src", "ops_proxy_tests"),
    ]
}

/// The imports of the peer that break a rule, each with what is imported.
fn broken(breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let imports = Imports::of(PEER, "ops_proxy");
    let broken = imports.files().filter(|(from, to, _)| breaks(from, to));
    broken.map(|(from, to, names)| format!("{from} imports {names} from {to}")).collect()
}

fn is_in(file: &str, folder: &str) -> bool {
    is_within(file, PEER, folder)
}

#[test]
fn a_face_is_not_imported_from_within_its_folder() {
    let crates = crates();
    let broken = crates.iter().flat_map(|imports| {
        let within = imports.modules().filter(|(from, to, _)| !to.is_empty() && is_below(from, to));
        let within = within.map(|(from, to, names)| (imports.file(from), imports.file(to), names));
        within
            .map(|(from, to, names)| format!("{from} imports {names} from {to}"))
            .collect::<Vec<_>>()
    });
    assert_none(broken.collect(), "files of a folder import each other, not their face");
}

#[test]
fn folders_that_are_apart_do_not_import_each_other() {
    let broken = broken(|from, to| {
        let apart = APART.iter().filter(|(folder, _)| is_in(from, folder));
        apart.into_iter().any(|(_, others)| others.iter().any(|other| is_in(to, other)))
    });
    assert_none(broken, "these folders do not know each other");
}

#[test]
fn only_the_command_imports_cli() {
    let broken = broken(|from, to| {
        is_in(to, "cli") && !MAY_IMPORT_CLI.iter().any(|allowed| is_in(from, allowed))
    });
    assert_none(broken, "only `cli` reads the environment, files and signals");
}

#[test]
fn pure_modules_import_only_pure_ones() {
    let is_pure = |file: &str| PURE.iter().any(|pure| is_in(file, pure));
    let broken = broken(|from, to| is_pure(from) && !is_pure(to));
    assert_none(broken, "what a pure module imports is pure");
}
