//! What is shipped beside the command and comes out of it: its version, completions and manual.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::{BINARY, launch};

async fn printed(args: &str) -> String {
    let (code, stdout, stderr) = launch().args(args).start().output().await;
    assert_eq!(code, Some(0), "{args}: {stderr}");
    assert!(!stdout.is_empty(), "{args}");
    stdout
}

/// A build that was told its commit and date says so; others do without.
#[tokio::test]
async fn the_version_is_a_number_and_the_sources_where_they_are_known() {
    let said = printed("--version").await;
    let number = format!("ops-proxy {}", env!("CARGO_PKG_VERSION"));
    let rest = said.strip_prefix(&number).unwrap_or_else(|| panic!("{said}"));
    let sources = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    assert!(rest.is_empty() || sources.is_some_and(|known| known.contains(' ')), "{said}");
}

#[tokio::test]
async fn every_shell_is_told_of_every_command_and_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&format!("completions {shell}")).await;
        for word in ["check", "dial", "trusted-proxies", "replace-ca", "completions"] {
            assert!(script.contains(word), "{shell} is not told of {word}");
        }
    }
    let (code, _, said) = launch().args("completions csh").start().output().await;
    assert_eq!(code, Some(2));
    assert!(said.contains("csh") && said.contains("bash"), "{said}");
}

/// What bash would complete: the words so far, the last of which is begun.
fn completed(words: &str) -> String {
    let script = format!(
        "source <({BINARY} completions bash); COMP_WORDS=({words}); \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _ops__proxy ops-proxy \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         echo \"${{COMPREPLY[*]}}\""
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("there is bash");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_a_command_and_a_flag() {
    assert_eq!(completed("ops-proxy stat"), "status");
    assert_eq!(completed("ops-proxy run --trust"), "--trusted-proxies");
    assert_eq!(completed("ops-proxy pki iss"), "issue");
}

#[tokio::test]
async fn each_command_has_its_page_in_the_manual() {
    let directory = TempDir::new().unwrap();
    let pages = directory.path().join("man1");
    let (code, _, said) = launch().args(&format!("man {}", pages.display())).start().output().await;
    assert_eq!(code, Some(0), "{said}");
    for (page, words) in [
        ("ops-proxy.1", &["ops\\-proxy\\-run(1)", "reverse\\-tunnel mesh"][..]),
        ("ops-proxy-run.1", &["\\-\\-trusted\\-proxies", "LIMITS AND TIMING", "OPS_PROXY_LISTEN"]),
        ("ops-proxy-check.1", &["\\-\\-dial", "Examples:"]),
        ("ops-proxy-pki-issue.1", &["\\-\\-peer"]),
    ] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|_| panic!("no {page}"));
        for word in words {
            assert!(text.contains(word), "{page} does not say {word}:\n{text}");
        }
    }
    let page = printed("man").await;
    assert!(page.contains(".TH ops-proxy 1"), "{page}");
    let named = page.lines().filter_map(|line| line.strip_suffix("(1)"));
    let named: Vec<String> = named.map(|name| name.replace('\\', "")).collect();
    assert!(named.len() > 5, "{page}");
    for name in named {
        assert!(pages.join(format!("{name}.1")).exists(), "{name} has no page");
    }

    let in_the_way = directory.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let line = format!("man {}", in_the_way.display());
    let (code, _, said) = launch().args(&line).start().output().await;
    assert_eq!(code, Some(1));
    assert!(said.contains(in_the_way.to_str().unwrap()), "{said}");
}
