//! What operators install, `deploy/`, and what they read when an alert fires,
//! `docs/operating.md`: neither names what does not exist.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ALERTS: &str = "deploy/prometheus/ops-proxy-alerts.rules.yml";
const RECORDING: &str = "deploy/prometheus/ops-proxy-recording.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/ops-proxy.test.yml";
const DASHBOARD: &str = "deploy/grafana/ops-proxy.json";
const RUNBOOK: &str = "docs/operating.md";

/// How one alert stands in its file.
#[derive(Debug, Default)]
struct Alert {
    severity: String,
    runbook_url: String,
    keys: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All alerts by name. The file has one key on a line, as `promtool` takes it.
fn alerts() -> BTreeMap<String, Alert> {
    let mut alerts: BTreeMap<String, Alert> = BTreeMap::new();
    let mut current = None;
    for line in read(ALERTS).lines() {
        let Some((key, value)) = line.trim_start_matches([' ', '-']).split_once(':') else {
            continue;
        };
        let value = value.trim();
        if key == "alert" {
            assert!(!alerts.contains_key(value), "{value} stands there twice");
            current = Some(value.to_owned());
        }
        let Some(name) = &current else { continue };
        let alert = alerts.entry(name.clone()).or_default();
        alert.keys.insert(key.to_owned());
        match key {
            "severity" => value.clone_into(&mut alert.severity),
            "runbook_url" => value.clone_into(&mut alert.runbook_url),
            _ => {}
        }
    }
    assert!(!alerts.is_empty(), "the alerts are not where this test looks");
    alerts
}

/// The words that may be names of metrics or of recorded series.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !is_part(c)).map(|word| word.trim_matches(':'))
}

/// String literals of a source file.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    source.lines().flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// The names of all families that a peer can export, from where they are made.
fn families() -> BTreeSet<String> {
    let per_name = read("peer/src/observe/metrics/families.rs");
    let of_peer = read("peer/src/observe/metrics/registry.rs");
    let of_files = read("peer/src/observe/metrics/reloads.rs");
    let of_kubernetes = read("peer/src/observe/metrics/kubernetes.rs");
    let served = read("peer/src/observe/metrics/served.rs");
    let served = served.split("#[cfg(test)]").next().unwrap();
    let is_word =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let whole = literals(&per_name)
        .chain(literals(&of_peer))
        .chain(literals(&of_files))
        .chain(literals(&of_kubernetes))
        .chain(literals(served));
    let whole = whole.filter(is_word);
    let whole = whole.filter(|name| name.starts_with("ops_proxy_")).map(str::to_owned);
    // What the builder is given stands without the prefix, first in its call.
    let built = of_peer.split("build.").skip(1).filter_map(|call| {
        let (_, arguments) = call.split_once('(')?;
        let first = arguments.trim_start().strip_prefix('"')?;
        Some(first.split('"').next().unwrap_or_default())
    });
    let built = built.filter(is_word).map(|name| format!("ops_proxy_{name}"));
    let mut families: BTreeSet<String> = whole.chain(built).collect();
    families.insert("ops_proxy_build_info".to_owned());
    let known = ["client_up", "links", "rejected_total", "panics_total", "data_wait_seconds"];
    for name in known {
        let name = format!("ops_proxy_{name}");
        assert!(families.contains(&name), "{name} is not found where this test looks");
    }
    families
}

/// The family that a word of a query means, if it means one.
fn family<'a>(word: &'a str, families: &BTreeSet<String>) -> Option<&'a str> {
    let of_histogram = ["_bucket", "_count", "_sum"].map(|part| word.strip_suffix(part));
    let mut candidates = std::iter::once(word).chain(of_histogram.into_iter().flatten());
    candidates.find(|name| families.contains(*name))
}

#[test]
fn every_alert_says_what_it_is_about_and_leads_to_its_section() {
    for (name, alert) in alerts() {
        for key in ["expr", "summary", "description"] {
            assert!(alert.keys.contains(key), "{name} has no {key}");
        }
        let severities = ["critical", "warning", "info"];
        assert!(severities.contains(&alert.severity.as_str()), "{name}: {}", alert.severity);
        let anchor = format!("{RUNBOOK}#{}", name.to_lowercase());
        assert_eq!(alert.runbook_url, anchor, "{name}");
    }
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let runbook = read(RUNBOOK);
    let sections: Vec<&str> = runbook.split("\n#### ").skip(1).collect();
    let named = sections.iter().map(|section| section.lines().next().unwrap().to_owned());
    let named: BTreeSet<String> = named.collect();
    assert_eq!(named.len(), sections.len(), "a section stands there twice");
    let alerts = alerts();
    assert_eq!(named, alerts.keys().cloned().collect());
    for section in sections {
        let name = section.lines().next().unwrap();
        for part in ["**What it means.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
        let severity = format!("\nSeverity: {}.\n", alerts[name].severity);
        assert!(section.contains(&severity), "{name} has another severity than in the rules");
    }
    // Sections send their readers on to others.
    for word in words(&runbook).filter(|word| word.starts_with("OpsProxy")) {
        assert!(alerts.contains_key(word), "the runbook names {word}");
    }
}

/// What the runbook quotes from the log, in backticks behind "log line".
fn quoted(runbook: &str) -> BTreeSet<String> {
    let text = runbook.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut quoted = BTreeSet::new();
    for rest in text.split("log line").skip(1) {
        let mut parts = rest.strip_prefix('s').unwrap_or(rest).split('`');
        while parts.next().is_some_and(|between| [" ", ", ", " and ", " or "].contains(&between)) {
            quoted.extend(parts.next().map(str::to_owned));
        }
    }
    quoted
}

fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_runbook_quotes_log_lines_as_they_are_written() {
    let quoted = quoted(&read(RUNBOOK));
    assert!(quoted.len() > 5, "{quoted:?}");
    let mut written = String::new();
    sources(&root().join("peer/src"), &mut written);
    for line in quoted {
        assert!(written.contains(&line), "no peer logs {line:?}");
    }
}

#[test]
fn every_alert_is_tested_with_what_fires_it_and_with_what_does_not() {
    let tests = read(RULE_TESTS);
    let tests: Vec<&str> = tests.split("\n  - name: '").skip(1).collect();
    for name in alerts().keys() {
        let one = |title: &str| {
            let title = format!("{name} {title}: ");
            let mut found = tests.iter().filter(|test| test.starts_with(&title));
            let test = found.next().unwrap_or_else(|| panic!("no test: {title}"));
            test.contains(&format!("alertname=\"{name}\""))
        };
        assert!(one("fires"), "the test does not expect {name}");
        assert!(!one("is quiet"), "the test expects {name}");
    }
}

#[test]
fn rules_runbook_and_dashboard_name_only_what_a_peer_exports() {
    let families = families();
    let recording = read(RECORDING);
    let recorded = recording.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    let recorded: BTreeSet<&str> = recorded.collect();
    let mut wrong = Vec::new();
    for file in [ALERTS, RECORDING, RULE_TESTS, DASHBOARD, RUNBOOK] {
        let text = read(file);
        let named = words(&text).filter(|word| word.contains("ops_proxy_"));
        let unknown =
            named.filter(|word| !recorded.contains(word) && family(word, &families).is_none());
        wrong.extend(unknown.map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "no such metric:\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_names_every_refusal_of_a_service() {
    let (readme, reasons) = (read("README.md"), read("peer/src/observe/metrics/reasons.rs"));
    let refusals = reasons.split("ServiceRefusal {").nth(1).unwrap();
    let refusals = literals(refusals.split("\n    }\n").next().unwrap());
    let missing: Vec<&str> =
        refusals.filter(|reason| !readme.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

/// A family that nobody looks at is one that nobody needs.
#[test]
fn the_dashboard_shows_every_family() {
    let families = families();
    let dashboard = read(DASHBOARD);
    let shown: BTreeSet<&str> =
        words(&dashboard).filter_map(|word| family(word, &families)).collect();
    // They say of connections what the same names with `requests` say by protocol.
    let twins = ["ops_proxy_connections_total", "ops_proxy_connections_failed_total"];
    let missing = families.iter().filter(|name| !shown.contains(name.as_str()));
    let missing: Vec<_> = missing.filter(|name| !twins.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

/// A reason that no peer gives would leave its alert silent for ever.
#[test]
fn rules_match_only_words_that_a_peer_gives() {
    let reasons = read("peer/src/observe/metrics/reasons.rs");
    let given: BTreeSet<&str> = literals(&reasons).collect();
    let mut matched = 0;
    for file in [ALERTS, RECORDING] {
        let text = read(file);
        for label in ["reason", "code", "result", "protocol"] {
            for operator in ["=~\"", "!=\"", "=\""] {
                for rest in text.split(&format!("{label}{operator}")).skip(1) {
                    for word in rest.split('"').next().unwrap().split('|') {
                        assert!(given.contains(word), "{file}: no peer says {label} {word}");
                        matched += 1;
                    }
                }
            }
        }
    }
    assert!(matched > 0, "the rules match nothing");
}

#[test]
fn every_refusal_has_a_rule_or_is_no_fault() {
    let reasons = read("peer/src/observe/metrics/reasons.rs");
    let refusals = reasons.split("Rejection {").nth(1).unwrap().split("\n    }\n").next().unwrap();
    // Of clients and peers that are slow, or do what is right a moment later.
    let no_fault = [
        "head_timeout",
        "head_incomplete",
        "no_sni",
        "public_tls",
        "handshake_timeout",
        "wrong_peer",
        "idle_data",
    ];
    let rules = read(ALERTS);
    let known: BTreeSet<&str> = words(&rules).collect();
    let missing: Vec<&str> = literals(refusals)
        .filter(|reason| !known.contains(reason) && !no_fault.contains(reason))
        .collect();
    assert!(missing.is_empty(), "no alert on the refusals {missing:?}");
}

/// The image is built with a toolchain that the workspace takes, from files that exist, and
/// holds nothing but the binary.
#[test]
fn the_image_is_the_binary_alone() {
    let dockerfile = read("deploy/Dockerfile");
    let instructions: Vec<&str> =
        dockerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let version = |text: &str| -> Vec<u32> {
        let number = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.');
        number.collect::<String>().split('.').map(|part| part.parse().unwrap()).collect()
    };
    let image = instructions[0].strip_prefix("FROM rust:").unwrap();
    let manifest = read("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).unwrap();
    assert!(version(image) >= version(wanted), "the image has Rust {image}, not {wanted}");

    let last = instructions.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let last = &instructions[last..];
    assert_eq!(last[0], "FROM scratch");
    let copies = last.iter().filter(|line| line.starts_with("COPY ")).count();
    assert_eq!(copies, 1, "the image holds more than the binary");
    assert!(!last.iter().any(|line| line.starts_with("RUN ")), "there is nothing to run");
    assert!(last.contains(&"ENTRYPOINT [\"/ops-proxy\"]"));
    let user = last.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().unwrap() > 0), "it runs as {user}");
    let deployment = read("deploy/kubernetes/hub/deployment.yaml");
    let user = user.split(':').next().unwrap();
    assert!(deployment.contains(&format!("runAsUser: {user}")), "Kubernetes runs another user");

    let sent: BTreeSet<String> = read("deploy/Dockerfile.dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('!').map(str::to_owned))
        .collect();
    for path in &sent {
        assert!(root().join(path).exists(), "there is no {path}");
    }
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    for member in literals(members) {
        assert!(sent.contains(member), "{member} is not sent to the build");
    }
}

/// What the README and the pages that it leads to say.
fn documents() -> String {
    ["README.md", "docs/operating.md", "docs/status.md"].map(read).join("\n")
}

#[test]
fn the_readme_names_every_family() {
    let readme = read("README.md");
    let families = families();
    let missing = families.iter().filter(|family| {
        let short = family.strip_prefix("ops_proxy_").expect("all begin so");
        ![format!("`{short}`"), format!("`{short}{{")].iter().any(|named| readme.contains(named))
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "README.md does not name {missing:?}");
}

#[test]
fn the_documents_name_every_path_of_the_admin_address() {
    let source = read("peer/src/observe/admin.rs");
    let is_path = |literal: &&str| {
        literal.starts_with('/') && literal.chars().all(|c| c.is_ascii_alphanumeric() || c == '/')
    };
    let paths: BTreeSet<&str> = literals(&source).filter(is_path).collect();
    assert!(paths.contains("/metrics") && paths.contains("/api/v1/"), "{paths:?}");
    let documents = documents();
    let is_named = |path: &&&str| {
        [format!("`{path}`"), format!("`{path}…`")].iter().any(|named| documents.contains(named))
    };
    let missing: Vec<_> = paths.iter().filter(|path| !is_named(path)).collect();
    assert!(missing.is_empty(), "README.md and docs do not name {missing:?}");
}

/// Where a release is built, what `--version` says is told; nothing else needs it.
#[test]
fn releases_are_told_their_commit_and_ship_manual_and_completions() {
    let source = read("peer/src/version.rs");
    let told = source.split("option_env!(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let (package, dockerfile) = (read("deploy/package"), read("deploy/Dockerfile"));
    let (arguments, _) = dockerfile.split_once("cargo build").unwrap();
    for variable in told {
        let exported = package.lines().any(|line| {
            line.starts_with("export ") && line.split(' ').any(|word| word == variable)
        });
        assert!(exported, "deploy/package does not export {variable}");
        let argument = format!("ARG {variable}=");
        assert!(arguments.lines().any(|line| line == argument), "no {argument} in the Dockerfile");
    }
    assert!(read(".ci/run").lines().any(|line| line == "deploy/package"));

    let manifest = read("peer/Cargo.toml");
    let shipped =
        literals(&manifest).filter_map(|path| path.strip_prefix("target/release/shipped/"));
    let shipped: Vec<&str> = shipped.collect();
    assert_eq!(shipped.len(), 4, "{shipped:?}");
    for path in shipped {
        let made = format!("\"$shipped/{}\"", path.trim_end_matches("/*.1"));
        assert!(package.contains(&made), "deploy/package does not make {path}");
    }
}
