//! Every scenario, in two processes: both are the same run, and what it tells is what it told
//! last time.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// Plays one scenario and compares with the snapshot; its hash.
fn play(file: &Path) -> String {
    let scenario = Scenario::load(file).unwrap_or_else(|error| panic!("{error}"));
    let played = run(&scenario, &Options::default());
    if let Some(failure) = &played.failure {
        panic!("{}: {failure}\n{}", file.display(), played.story());
    }
    insta::with_settings!({
        snapshot_path => "../snapshots",
        prepend_module_to_snapshot => false,
        description => scenario.title,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name(file), played.story());
    });
    format!("{:016x}", played.hash)
}

/// Why a lock of [`for_each`] can be taken.
const UNHURT: &str = "nobody panics while holding it";

/// Does `work` for each file, some at a time, and returns what came of each.
fn for_each<R: Send>(files: Vec<PathBuf>, work: impl Fn(&Path) -> R + Sync) -> BTreeMap<String, R> {
    let left = Mutex::new(files);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(file) = { left.lock().expect(UNHURT).pop() } {
                    let result = work(&file);
                    done.lock().expect(UNHURT).insert(name(&file), result);
                }
            });
        }
    });
    done.into_inner().expect(UNHURT)
}

/// Set for the other process of the test below: it plays, and prints the hashes.
const OTHER_PROCESS: &str = "OPS_PROXY_OTHER_PROCESS";

/// Addresses, the keys of hash maps, and what a run finds of those before it in its process are
/// not the same in another: there the scenarios are played in the other order.
#[test]
fn every_scenario_tells_the_same_story_in_two_processes() {
    let mut files = scenarios();
    if std::env::var_os(OTHER_PROCESS).is_some() {
        files.reverse();
        let hash = |file: &Path| {
            let scenario = Scenario::load(file).unwrap_or_else(|error| panic!("{error}"));
            run(&scenario, &Options::default()).hash
        };
        for (name, hash) in for_each(files, hash) {
            println!("{OTHER_PROCESS} {name} {hash:016x}");
        }
        return;
    }
    let other = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "simulated::every_scenario_tells_the_same_story_in_two_processes",
            "--nocapture",
        ])
        .env(OTHER_PROCESS, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let played = for_each(files, |file| catch_unwind(|| play(file)).ok());
    let other = other.wait_with_output().unwrap();
    let failed: Vec<&String> =
        played.iter().filter(|(_, hash)| hash.is_none()).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
    assert!(other.status.success(), "the other process: {}", other.status);
    let other = String::from_utf8(other.stdout).unwrap();
    let there: BTreeMap<String, Option<String>> = other
        .lines()
        .filter_map(|line| line.split_once(OTHER_PROCESS)?.1.trim().split_once(' '))
        .map(|(name, hash)| (name.to_owned(), Some(hash.to_owned())))
        .collect();
    assert_eq!(played, there, "one seed, two processes, two runs");
    assert_eq!(played.len(), scenarios().len());
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
    let tls = |more: &str| format!("cas = [\"ours\"]\n{mesh}{more}");
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
        tls("[certificates.edge]\nname = [\"edge\"]"),
        tls("[certificates.edge]\nca = \"hours\""),
        tls("[certificates.edge]\nnot_after = \"-20 years\""),
        tls("[certificates.edge]\nnot_before = \"1h\"\nnot_after = \"-1h\""),
        tls("[certificates.edge]\nusage = [\"servant\"]"),
        tls("[certificates.edge]\n[revocations.list]\ncertificates = [\"egde\"]"),
        tls("[certificates.edge]\n[peers.site]\nlisten = 1\ntls = { certificate = \"egde\" }"),
        tls("[peers.site]\nlisten = 1\ntls = { token = \"short\", acept_tokens = [] }"),
        format!("{mesh}[certificates.edge]\nnames = [\"edge\"]"),
        step("replace = { peer = \"edge\", certificate = \"new\" }"),
        step("replace = { peer = \"edge\" }"),
        step("replace = { peer = \"edge\", garbled = \"ca\" }"),
        step("reload = \"edge\""),
        step("raw = { conn = \"a\", from = \"visitor\", to = \"edge:8080\", certificate = \"x\" }"),
    ];
    let told: Vec<String> = broken.iter().map(|text| mistake(text)).collect();
    insta::with_settings!({
        snapshot_path => "../snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("mistakes_in_scenario_files", told.join("\n"));
    });
}
