//! How the command explains itself: settings in groups, each on one line in `-h`; all there is
//! to say, with examples, in `--help` and in the manual.

use clap::{Arg, Command};

/// The name of the command.
pub(super) const NAME: &str = "ops-proxy";

/// Columns of the text of `--help`, which stands below its flag.
const COLUMNS: usize = 90;

/// Commands whose flags are the settings.
pub(super) const OF_SETTINGS: [&str; 2] = ["run", "check"];

/// Groups of settings, by key.
pub(super) const GROUPS: [(&str, &[&str]); 7] = [
    ("This peer", &["config", "peer_id", "instance"]),
    ("Listen", &["listen", "tcp", "udp", "ways", "trusted_proxies", "expect", "state_dir"]),
    ("Connect", &["connect", "via", "transit", "reach", "idle_data"]),
    ("Services", &["service", "kubernetes"]),
    (
        "TLS and tokens",
        &[
            "tls_cert",
            "tls_key",
            "tls_ca",
            "tls_crl",
            "public_cert",
            "redirect_https",
            "token_file",
            "accept_tokens",
            "insecure_plaintext",
        ],
    ),
    (
        "Limits and timing",
        &[
            "data_timeout",
            "heartbeat",
            "peer_timeout",
            "drain_grace",
            "drain_limit",
            "name_retention",
            "hold",
            "warm_up",
            "udp_idle",
            "max_connections",
            "max_connections_per_source",
            "max_names_per_peer",
            "max_pending_per_peer",
            "max_udp_requests",
            "workers",
        ],
    ),
    (
        "Observe",
        &[
            "admin",
            "log_format",
            "log_level",
            "access_log",
            "access_log_query",
            "otlp",
            "otlp_sample",
        ],
    ),
];

/// What follows the flags in `--help`, by command.
const EXAMPLES: [(&str, &str); 8] = [
    (
        "run",
        "A peer that clients and other peers can reach:
    ops-proxy run --peer-id hub --listen 0.0.0.0:8443 --tls-cert pki/hub.pem --tls-key pki/hub-key.pem --tls-ca pki/ca.pem

A peer next to a service, which dials out:
    ops-proxy run --peer-id site-1 --connect hub.example:8443 --service app.example=127.0.0.1:3000 --tls-cert pki/site-1.pem --tls-key pki/site-1-key.pem --tls-ca pki/ca.pem

All of it from a file:
    ops-proxy run --config /etc/ops-proxy/ops-proxy.toml",
    ),
    (
        "check",
        "What a peer would do, and where each setting comes from:
    ops-proxy check --config /etc/ops-proxy/ops-proxy.toml

Whether all that it names can be reached, too:
    ops-proxy check --dial --config /etc/ops-proxy/ops-proxy.toml",
    ),
    (
        "demo",
        "    ops-proxy demo
    ops-proxy demo --once --log-level info",
    ),
    (
        "status",
        "    ops-proxy status --watch

Of a peer with another admin address, for a program:
    ops-proxy status --admin 127.0.0.1:9091 --json",
    ),
    ("trace", "    ops-proxy trace 0123456789abcdef0123456789abcdef"),
    (
        "pki",
        "A CA, and a certificate for the peer that others dial as hub.example:
    ops-proxy pki init --peer hub --name hub.example

A certificate for a peer that serves two names:
    ops-proxy pki issue --peer site-1 --name app.example --name db.example

The same again, before it expires:
    ops-proxy pki issue --peer site-1 --force",
    ),
    (
        "completions",
        "    ops-proxy completions bash > /usr/share/bash-completion/completions/ops-proxy
    ops-proxy completions zsh > /usr/local/share/zsh/site-functions/_ops-proxy
    ops-proxy completions fish > /usr/share/fish/vendor_completions.d/ops-proxy.fish",
    ),
    (
        "man",
        "    ops-proxy man /usr/local/share/man/man1
    ops-proxy man | man -l -",
    ),
];

/// For a terminal.
pub(super) fn explained(command: Command) -> Command {
    // Of -h, a line is a flag, however wide the terminal is; other text has its own width.
    with_all(command, &|text| wrapped(text, COLUMNS)).term_width(0)
}

/// For the manual, whose reader breaks the lines.
pub(super) fn for_manual(command: Command) -> Command {
    with_all(command, &str::to_owned)
}

fn with_all(command: Command, laid_out: &dyn Fn(&str) -> String) -> Command {
    let name = command.get_name().to_owned();
    let is_of_settings = OF_SETTINGS.contains(&name.as_str());
    let command = match EXAMPLES.iter().find(|(of, _)| *of == name) {
        Some((_, examples)) => command.after_long_help(format!("Examples:\n\n{examples}")),
        None => command,
    };
    command
        .mut_args(|arg| {
            let group = GROUPS.iter().find(|(_, keys)| keys.contains(&arg.get_id().as_str()));
            let arg = match group.filter(|_| is_of_settings) {
                Some((heading, _)) => arg.help_heading(*heading).hide_possible_values(true),
                None => arg,
            };
            at_length(arg, laid_out)
        })
        .mut_subcommands(|sub| with_all(sub, laid_out))
}

/// All there is to say of a flag, its variable at the end: in `-h` there is no room for that.
fn at_length(arg: Arg, laid_out: &dyn Fn(&str) -> String) -> Arg {
    let Some(help) = arg.get_long_help().or_else(|| arg.get_help()) else { return arg };
    let mut text = laid_out(&help.to_string());
    if let Some(variable) = arg.get_env() {
        text.push_str(&format!("\n\n[env: {}]", variable.to_string_lossy()));
    }
    arg.long_help(text).hide_env(true)
}

/// Breaks lines that are longer than this between words.
fn wrapped(text: &str, columns: usize) -> String {
    let paragraphs = text.split('\n').map(|line| {
        let mut paragraph = String::new();
        let mut used = 0;
        for word in line.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > columns {
                paragraph.push('\n');
                used = 0;
            } else if used > 0 {
                paragraph.push(' ');
                used += 1;
            }
            paragraph.push_str(word);
            used += length;
        }
        paragraph
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}
