//! The scenario file: `sim/src/scenario/load.rs`.

use ops_proxy_sim::scenario::Scenario;

/// `data` is the file. An error says on which line of it; what is read reads back
/// what it writes.
pub fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Scenario::parse("fuzzed", text) {
        Ok(scenario) => assert_reads_back(&scenario),
        Err(error) => {
            let shown = error.to_string();
            let line = shown.strip_prefix("fuzzed:").and_then(|rest| rest.split_once(':'));
            let line = line.and_then(|(line, _)| line.parse::<usize>().ok());
            let lines = text.matches('\n').count() + 1;
            assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{shown}, of {lines}");
        }
    }
}

/// A scenario that was explored is written to a file and replayed from it.
fn assert_reads_back(scenario: &Scenario) {
    let written = scenario.to_toml();
    let read = Scenario::parse("written", &written)
        .unwrap_or_else(|error| panic!("{error:?} in what was written:\n{written}"));
    assert_eq!(read.to_toml(), written);
    assert!(read.hosts().eq(scenario.hosts()));
    assert_eq!(read.steps().len(), scenario.steps().len());
}
