//! Rules for single lines and for names of files.

use crate::sources::{self, PURE, Source, assert_none};

/// Crates whose sources are held to the rules for all.
const CRATES: [&str; 5] = ["peer/src", "sim/src", "tests", "benches", "fuzz/src"];

/// Where real sockets are named: this file and what is under it.
const SEAM: &str = "peer/src/stream/net/tokio";

/// Where a bound or a default may stand; the demo's are its own affair.
const BOUNDS: [&str; 4] =
    ["peer/src/limits.rs", "peer/src/config/timing.rs", "peer/src/cli/demo/", SEAM];

fn peer() -> Vec<Source> {
    sources::of("peer/src")
}

fn all() -> impl Iterator<Item = Source> {
    CRATES.into_iter().flat_map(sources::of)
}

/// `file:line: why` for each line of code that `breaks` the rule.
fn broken_lines(source: &Source, breaks: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = source.code().filter(|(_, line)| breaks(line));
    lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
}

/// An unbiased `select!` draws from a random number generator, and two runs of
/// one seed differ.
#[test]
fn every_select_is_biased() {
    let macro_call = concat!("select", "! {");
    let broken = all().flat_map(|source| {
        let lines: Vec<(usize, &str)> = source.code().collect();
        let unbiased = lines.iter().enumerate().filter(|(index, (_, line))| {
            let next = lines[index + 1..].iter().map(|(_, line)| line.trim());
            let first = next.clone().find(|line| !line.is_empty());
            line.contains(macro_call) && first != Some("biased;")
        });
        unbiased.map(|(_, (number, _))| format!("{}:{number}", source.path)).collect::<Vec<_>>()
    });
    assert_none(broken.collect(), "`biased;` is the first line of a select");
}

#[test]
fn only_the_seam_names_real_sockets() {
    let names_sockets = |line: &str| {
        ["tokio::net", "net::TcpStream", "net::TcpListener", "net::UdpSocket"]
            .iter()
            .any(|word| line.contains(word))
    };
    let sources = peer().into_iter().filter(|source| !source.path.starts_with(SEAM));
    let broken = sources.flat_map(|source| broken_lines(&source, names_sockets));
    assert_none(broken.collect(), "sockets come through the Net trait");
}

/// A task that is spawned elsewhere always runs in the same order in the simulator. The
/// command is not simulated.
#[test]
fn every_task_is_scheduled_by_the_network() {
    let spawns = |line: &str| {
        let spawned =
            ["tokio::spawn(", ".spawn(", ".spawn_at(", ".spawn_in_reserve(", "tasks.keep_at("];
        let by_the_network =
            ["shared.spawn(", "shared.spawn_at(", "shared.spawn_in_reserve(", ".scheduled("];
        spawned.iter().any(|call| line.contains(call))
            && !by_the_network.iter().any(|call| line.contains(call))
    };
    let apart = ["peer/src/cli/", "peer/src/tasks.rs", "peer/src/shared.rs", "peer/src/workers.rs"];
    let simulated = |source: &Source| {
        !apart.iter().any(|path| source.path.starts_with(path)) && !source.is_test_only()
    };
    let sources = peer().into_iter().filter(simulated);
    let broken = sources.flat_map(|source| broken_lines(&source, spawns));
    assert_none(broken.collect(), "tasks are spawned by `Shared::spawn` or `Shared::keep`");
}

#[test]
fn every_bound_stands_in_limits() {
    let is_bound = |line: &str| {
        ["from_secs(", "from_millis(", "from_micros(", "from_nanos(", "from_mins("]
            .iter()
            .any(|call| line.contains(&format!("Duration::{call}")))
    };
    let bounded = |source: &Source| {
        !BOUNDS.iter().any(|path| source.path.starts_with(path)) && !source.is_test_only()
    };
    let broken = peer().into_iter().filter(bounded);
    let broken = broken.flat_map(|source| broken_lines(&source, is_bound));
    assert_none(broken.collect(), "a duration is a limit or a setting");
}

#[test]
fn pure_modules_do_not_wait_and_read_no_clock() {
    let impure = |line: &str| {
        ["async ", ".await", "Instant::now", "thread_rng", "tokio::time::sleep", "std::io::"]
            .iter()
            .any(|word| line.contains(word))
    };
    let is_pure = |source: &Source| PURE.iter().any(|pure| source.is_within("peer/src", pure));
    let pure: Vec<Source> = peer().into_iter().filter(is_pure).collect();
    assert!(pure.len() >= PURE.len(), "a pure module has been renamed");
    let code = pure.iter().filter(|source| !source.is_test_only());
    let broken = code.flat_map(|source| broken_lines(source, impure));
    assert_none(broken.collect(), "a pure module decides only");
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let broken = all().filter(|source| !source.is_test_only() && !source.text.starts_with("//!"));
    assert_none(broken.map(|source| source.path).collect(), "a file begins with //!");
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore")];
    let broken = all().flat_map(|source| {
        let lines = source.text.lines().enumerate();
        let broken = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        broken.map(|(index, _)| format!("{}:{}", source.path, index + 1)).collect::<Vec<_>>()
    });
    assert_none(broken.collect(), "no work left over, no test skipped");
}

#[test]
fn files_are_named_for_what_they_hold() {
    let vague = ["mod", "util", "utils", "helper", "helpers", "manager", "common", "misc"];
    let broken = all().filter(|source| {
        let file = source.path.rsplit('/').next().unwrap_or_default();
        vague.contains(&file.trim_end_matches(".rs"))
    });
    assert_none(broken.map(|source| source.path).collect(), "a name of the vocabulary");
}
