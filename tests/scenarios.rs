//! Every scenario, twice: both runs are the same run, and what it tells is what
//! it told last time.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ops_proxy_sim::explore::{Failure, Plan, explore};
use ops_proxy_sim::run::{Options, run};
use ops_proxy_sim::scenario::Scenario;

/// As many scenarios are played at a time.
const THREADS: usize = 2;

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = std::fs::read_dir(folder).expect("the scenarios stand beside the tests");
    let mut files: Vec<PathBuf> =
        files.map(|file| file.expect("the folder can be read").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn name(file: &Path) -> String {
    file.file_stem().expect("a scenario file has a name").to_string_lossy().into_owned()
}

/// Plays one scenario twice and compares with the snapshot.
fn play(file: &Path) {
    let scenario = Scenario::load(file).unwrap_or_else(|error| panic!("{error}"));
    let first = run(&scenario, &Options::default());
    if let Some(failure) = &first.failure {
        panic!("{}: {failure}\n{}", file.display(), first.story());
    }
    let second = run(&scenario, &Options::default());
    assert_eq!(first.hash, second.hash, "{}: one seed, two runs", file.display());
    insta::with_settings!({
        snapshot_path => "snapshots",
        prepend_module_to_snapshot => false,
        description => scenario.title,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name(file), first.story());
    });
}

#[test]
fn every_scenario_tells_the_same_story_again() {
    let left = Mutex::new(scenarios());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(file) = { left.lock().unwrap().pop() } {
                    if catch_unwind(|| play(&file)).is_err() {
                        failed.lock().unwrap().push(name(&file));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[test]
fn every_scenario_reads_back_what_it_writes() {
    for file in scenarios() {
        let scenario = Scenario::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let text = scenario.to_toml();
        let again = Scenario::parse("written", &text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(again.to_toml(), text, "{}", file.display());
    }
}

#[test]
fn two_hundred_random_meshes_keep_every_promise() {
    let plan = Plan {
        from: 1,
        seeds: 200,
        jobs: THREADS,
        at_most: None,
        failures: None,
        only_first: false,
    };
    let found = explore(&plan, |_, _| ());
    for Failure { seed, what, scenario, .. } in &found.failures {
        eprintln!("seed {seed}: {what}\nmade small:\n{}", scenario.to_toml());
    }
    assert!(found.failures.is_empty(), "see above, and `ops-proxy-sim explore --from SEED`");
    assert_eq!(found.runs, 200);
}

/// What a mistake in a scenario file is answered with.
fn mistake(text: &str) -> String {
    Scenario::parse("broken.toml", text).expect_err("it is broken").to_string()
}

#[test]
fn a_mistake_is_shown_with_file_line_and_key() {
    let mesh = "title = \"t\"\nclients = [\"visitor\"]\n[peers.edge]\nlisten = 8080\n";
    let step = |step: &str| format!("{mesh}[[steps]]\n{step}");
    let broken = [
        "title = ".to_owned(),
        "titel = \"t\"".to_owned(),
        format!("{mesh}lisen = 1"),
        format!("{mesh}data_timeout = \"5 parsecs\""),
        format!("{mesh}services = {{ \"_bad\" = \"edge:1\" }}"),
        format!("{mesh}connect = [\"elsewhere:8080\"]"),
        step("at = \"1s\""),
        step("at = \"1s\"\npartitoin = [\"edge\", \"visitor\"]"),
        step("at = \"1s\"\npartition = [\"edge\", \"vistor\"]"),
        step("request = { from = \"visitor\", to = \"egde:8080\", name = \"a\" }"),
        step("request = { from = \"visitor\", to = \"edge:8080\" }"),
        step("expect = { peer = \"edge\", metric = \"x{y}\", is = 1 }"),
        step("raw = { conn = \"a\", send = \"x\" }"),
        step("crash = { host = \"edge\", how = \"loudly\" }"),
    ];
    let told: Vec<String> = broken.iter().map(|text| mistake(text)).collect();
    insta::with_settings!({
        snapshot_path => "snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("mistakes_in_scenario_files", told.join("\n"));
    });
}
