//! A few scenarios on the real binary: processes between network namespaces come out like
//! the simulation, and a few explored ones, against what must always hold. `just real` plays all of
//! them, and `just chaos` explores on.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ops_proxy_sim::real::{Came, Chaos, Plan, can_be_made};
use ops_proxy_sim::scenario::Scenario;
use ops_proxy_tests::wait::skipped;

/// Short ones: a crash and a restart, every way in, and TLS with files that are replaced.
const PLAYED: [&str; 3] =
    ["a_peer_goes_and_comes_back", "two_peers_serve_three_names", "tokens_instead_of_certificates"];

#[test]
fn what_is_simulated_is_what_the_real_binary_does() {
    if let Err(missing) = can_be_made() {
        return skipped(&missing.to_string());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let scenarios = PLAYED.map(|name| {
        let file = folder.join(name).with_extension("toml");
        let scenario = Scenario::load(&file).unwrap_or_else(|error| panic!("{error}"));
        (file, scenario)
    });
    let plan = Plan {
        scenarios: scenarios.into(),
        binary: env!("CARGO_BIN_EXE_ops-proxy-under-test").into(),
        longest: Duration::from_secs(60),
        jobs: PLAYED.len(),
        logs: None,
    };
    let told = Mutex::new(Vec::new());
    plan.play(&AtomicBool::new(false), |one| {
        let name = one.file.file_stem().expect("a scenario file has a name");
        let line = format!("{} {}", name.display(), one.verdict);
        told.lock().expect("nobody panics while holding this").push(line);
    });
    let mut told = told.into_inner().expect("nobody panics while holding this");
    told.sort();
    let mut wanted = PLAYED.map(|name| format!("{name} agrees"));
    wanted.sort();
    assert_eq!(told, wanted);
}

#[test]
fn what_is_explored_holds_on_the_real_binary() {
    if let Err(missing) = can_be_made() {
        return skipped(&missing.to_string());
    }
    let chaos = Chaos {
        from: 1,
        seeds: Some(4),
        at_most: Duration::from_secs(60),
        jobs: 4,
        binary: env!("CARGO_BIN_EXE_ops-proxy-under-test").into(),
        logs: None,
    };
    let (bad, upgrades) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    chaos.play(&AtomicBool::new(false), |one| match one.came {
        Came::Good { taken_over } => drop(upgrades.fetch_add(taken_over, Relaxed)),
        came => {
            let line = format!("seed {} {came:?}", one.seed);
            bad.lock().expect("nobody panics while holding this").push(line);
        }
    });
    let bad = bad.into_inner().expect("nobody panics while holding this");
    assert!(bad.is_empty(), "{bad:?}");
    assert!(upgrades.into_inner() > 0, "no other process has taken over");
}
