//! What the command and its documents say of it can be typed.

use std::collections::BTreeSet;

use clap::{Args, Command, CommandFactory};

use super::Cli;
use super::help::{GROUPS, OF_SETTINGS, explained};
use super::settings::Settings;
use super::sources::Sources;

/// Documents whose blocks hold commands, with how many at least.
const DOCUMENTS: [(&str, &str, usize); 3] = [
    ("README.md", include_str!("../../../README.md"), 8),
    ("docs/operating.md", include_str!("../../../docs/operating.md"), 1),
    ("docs/status.md", include_str!("../../../docs/status.md"), 3),
];

/// Columns that a line of `-h` has room for.
const SHORT_COLUMNS: usize = 120;

fn command() -> Command {
    // The environment of the tests is not theirs.
    fn deaf(command: Command) -> Command {
        command.mut_args(|arg| arg.env(None)).mut_subcommands(deaf)
    }
    deaf(explained(Cli::command()))
}

/// The help of a command of the settings, as it is printed.
fn printed(name: &str, flag: &str) -> String {
    let error = explained(Cli::command()).try_get_matches_from(["ops-proxy", name, flag]);
    error.unwrap_err().to_string()
}

/// The words of a line of a shell, up to what is none of the command's: `None` where it is
/// none of ours. `…` stands for what a document leaves out, with the flag before it.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    for word in line.trim().trim_start_matches("$ ").split_whitespace() {
        let word = word.trim_matches(['\'', '"', '`']);
        match word {
            "#" | "|" | "&" | ">" | "&&" | "||" | ";" => break,
            "…" => {
                words.pop_if(|last| last.starts_with("--"));
            }
            // A variable before the command.
            _ if words.is_empty() && word.contains('=') => {}
            _ => words.push(word.to_owned()),
        }
    }
    (words.first()? == "ops-proxy").then_some(words)
}

/// The commands in the blocks of a document.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let blocks = text.split("```").skip(1).step_by(2);
    let shown = blocks.filter(|block| block.starts_with("sh\n") || block.starts_with("console\n"));
    shown.flat_map(|block| block.lines().filter_map(words).collect::<Vec<_>>()).collect()
}

fn assert_can_be_typed(words: &[String], where_: &str) {
    if let Err(error) = command().try_get_matches_from(words) {
        assert!(!error.use_stderr(), "{where_}: {}\n{error}", words.join(" "));
    }
}

#[test]
fn every_command_in_the_documents_can_be_typed() {
    for (name, text, least) in DOCUMENTS {
        let commands = commands(text);
        assert!(commands.len() >= least, "{name} has other blocks than this test looks for");
        commands.iter().for_each(|words| assert_can_be_typed(words, name));
    }
}

#[test]
fn every_command_has_examples_that_can_be_typed() {
    let command = command();
    for sub in command.get_subcommands() {
        let name = sub.get_name();
        let examples = sub.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<Vec<String>> = examples.lines().filter_map(words).collect();
        assert!(!examples.is_empty(), "{name} has no examples");
        for words in examples {
            assert_eq!(words[1], name);
            assert_can_be_typed(&words, name);
        }
    }
}

#[test]
fn every_setting_is_in_one_group_and_every_group_is_shown() {
    let settings = Sources::augment_args(Command::new(""));
    let keys: Vec<String> = settings.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    let grouped = GROUPS.iter().flat_map(|(_, keys)| keys.iter().map(ToString::to_string));
    let mut grouped: Vec<String> = grouped.collect();
    grouped.sort();
    assert_eq!(grouped.iter().collect::<BTreeSet<_>>().len(), grouped.len(), "one is there twice");
    let missing: Vec<_> = keys.iter().filter(|key| !grouped.contains(key)).collect();
    assert!(missing.is_empty(), "put these into a group of cli/help.rs: {missing:?}");
    let gone: Vec<_> = grouped.iter().filter(|key| !keys.contains(key)).collect();
    assert!(gone.is_empty(), "these are no settings: {gone:?}");
    for name in OF_SETTINGS {
        for flag in ["-h", "--help"] {
            let help = printed(name, flag);
            for (heading, _) in GROUPS {
                assert!(help.contains(&format!("\n{heading}:\n")), "{name} {flag}: {heading}");
            }
        }
    }
}

#[test]
fn the_short_help_is_one_line_a_flag_and_the_long_one_says_it_all() {
    let settings = Sources::augment_args(Command::new(""));
    for name in OF_SETTINGS {
        let (short, long) = (printed(name, "-h"), printed(name, "--help"));
        let long_flat = long.split_whitespace().collect::<Vec<_>>().join(" ");
        for arg in settings.get_arguments() {
            let flag = format!("--{}", arg.get_long().unwrap());
            let of_flag = |line: &&str| {
                let first = line.split_whitespace().next().unwrap_or_default();
                first.split('[').next() == Some(flag.as_str())
            };
            let lines: Vec<&str> = short.lines().filter(of_flag).collect();
            let [line] = lines[..] else { panic!("{flag} in {name} -h: {lines:?}") };
            let help = arg.get_help().unwrap().to_string();
            assert!(line.ends_with(&help), "{line} should end with {help}");
            let columns = line.chars().count();
            assert!(columns <= SHORT_COLUMNS, "{columns} columns: {line}");
            let all = arg.get_long_help().unwrap_or(arg.get_help().unwrap()).to_string();
            let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(long_flat.contains(&all), "{flag}: {all}");
            let variable = arg.get_env().unwrap().to_str().unwrap();
            assert!(long_flat.contains(&format!("[env: {variable}]")), "{flag}: {variable}");
        }
        assert!(!short.contains("Examples:") && long.contains("Examples:"));
    }
}

/// The flags of the settings stand in a table of the README, which has a test of its own.
#[test]
fn the_documents_name_every_command_and_every_flag() {
    let documents = DOCUMENTS.map(|(_, text, _)| text).join("\n");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let named: BTreeSet<&str> = documents.split(|c| !is_part(c)).collect();
    let mut missing = Vec::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        let name = command.get_name();
        if !documents.contains(&format!("ops-proxy {name}"))
            && !documents.contains(&format!("pki {name}"))
            && name != "ops-proxy"
        {
            missing.push(name.to_owned());
        }
        let flags = command.get_arguments().filter_map(|arg| arg.get_long());
        let flags = flags.map(|flag| format!("--{flag}"));
        missing.extend(
            flags
                .filter(|flag| !named.contains(flag.as_str()))
                .map(|flag| format!("{name} {flag}")),
        );
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(missing.is_empty(), "README.md and docs do not name {missing:?}");
}

/// The keys of tables have no flags: what is said of an unknown one lists them all.
#[test]
fn the_readme_explains_every_key_of_a_service_and_of_its_health_check() {
    let readme = DOCUMENTS[0].1;
    for (text, known) in [
        ("[[service]]\nname = 'a'\nzzz = 1", "proxy_protocol"),
        ("[[service]]\nname = 'a'\nbackend = 'h:1'\nhealth = { zzz = 1 }", "expect"),
    ] {
        let error = Settings::from_toml(text).unwrap_err().problem;
        let (_, keys) = error.split_once("expected one of ").expect("the known ones are listed");
        let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
        assert!(keys.contains(&known), "{error}");
        let is_explained = |key: &&&str| {
            ["\n{} = ", "| `{}` |"].iter().any(|form| readme.contains(&form.replace("{}", key)))
        };
        let missing: Vec<_> = keys.iter().filter(|key| !is_explained(key)).collect();
        assert!(missing.is_empty(), "README.md does not explain {missing:?}");
    }
}
