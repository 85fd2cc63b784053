//! The seeded bugs of `tests/mutants` follow the sources that they change.

use std::fs;
use std::process::Command;

use crate::sources::{assert_none, root};

#[test]
fn every_seeded_bug_can_be_planted() {
    let folder = root().join("tests/mutants");
    let mut stale = Vec::new();
    let mut tried = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let patch = entry.unwrap().path();
        if patch.extension().is_none_or(|it| it != "patch") {
            continue;
        }
        tried += 1;
        let mut apply = Command::new("git");
        let apply = apply.current_dir(root()).args(["apply", "--check"]).arg(&patch);
        let said = apply.output().expect("git runs");
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            stale.push(format!("{}: {why}", patch.file_name().unwrap().display()));
        }
    }
    assert!(tried > 50, "only {tried} patches were found");
    assert_none(stale, "a seeded bug no longer fits the sources: write its patch again");
}
