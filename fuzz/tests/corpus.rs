//! Every file that the fuzzers found worth keeping, on any toolchain.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use ops_proxy_fuzz::TARGETS;

/// A corpus is minimised before it is checked in, and stays small.
const MOST_FILES: usize = 50;
const MOST_BYTES: usize = 64 * 1024;

/// What stands in a directory of this package, in order.
fn listed(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    paths
}

fn stems(directory: &str) -> Vec<String> {
    let stem = |path: &PathBuf| path.file_stem().expect("entries have names").display().to_string();
    listed(directory).iter().map(stem).collect()
}

#[test]
fn every_target_holds_for_its_corpus() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        for file in listed(&format!("corpus/{name}")) {
            let data = fs::read(&file).unwrap();
            if catch_unwind(|| target(&data)).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "the panics above are of {failed:#?}");
}

#[test]
fn every_target_has_a_binary_and_a_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
}

#[test]
fn corpora_are_small() {
    for (name, _) in TARGETS {
        let files = listed(&format!("corpus/{name}"));
        let bytes: usize = files.iter().map(|file| fs::read(file).unwrap().len()).sum();
        assert!((1..=MOST_FILES).contains(&files.len()), "{name}: {} files", files.len());
        assert!(bytes <= MOST_BYTES, "{name}: {bytes} bytes");
    }
}
