//! The list of faults, `docs/faults.md`: every case has its row, and every test that
//! it names exists.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases, numbered without a gap.
const CASES: std::ops::RangeInclusive<u32> = 1..=82;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What the table names for each case, in backticks in its last column.
fn table() -> BTreeMap<u32, Vec<String>> {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines() {
        let Some(columns) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            continue;
        };
        let columns: Vec<&str> = columns.split(" | ").collect();
        let Ok(case) = columns[0].parse::<u32>() else { continue };
        assert_eq!(columns.len(), 3, "case {case} has a column too many or too few");
        let named = columns[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(table.insert(case, named).is_none(), "case {case} stands there twice");
    }
    table
}

/// Why what is named for a case does not show it; `None` when it may.
fn objection(case: u32, named: &str) -> Option<String> {
    if let Some((file, test)) = named.split_once("::") {
        let folder = if file.starts_with("peer/") { root() } else { root().join("tests") };
        let Ok(source) = fs::read_to_string(folder.join(file)) else {
            return Some(format!("there is no file {file}"));
        };
        let found = source.lines().any(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("async ").unwrap_or(line);
            line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{test}(")))
        });
        return (!found).then(|| format!("{file} has no test {test}"));
    }
    let Ok(scenario) = fs::read_to_string(root().join("scenarios").join(named)) else {
        return Some(format!("there is no scenario {named}"));
    };
    let faults = scenario.lines().find_map(|line| line.strip_prefix("faults = ["));
    let mut faults = faults.unwrap_or_default().trim_end_matches(']').split(',');
    let covers = faults.any(|fault| fault.trim().parse() == Ok(case));
    (!covers).then(|| format!("{named} does not say that it covers {case}"))
}

#[test]
fn every_case_has_a_row() {
    let cases: Vec<u32> = table().into_keys().collect();
    assert_eq!(cases, CASES.collect::<Vec<u32>>());
}

#[test]
fn every_test_that_is_named_exists_and_every_case_has_one() {
    let mut wrong = Vec::new();
    for (case, named) in table() {
        if named.is_empty() {
            wrong.push(format!("case {case}: nothing shows it"));
        }
        let objections = named.iter().filter_map(|named| objection(case, named));
        wrong.extend(objections.map(|objection| format!("case {case}: {objection}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
