//! What a peer was told to do, for operators: a line for each setting that matters, and nothing
//! that is secret. Of files and tokens it says only that they are set.

use std::fmt::Display;

use crate::config::PeerConfig;
use crate::limits::SETTING_VALUES;
use crate::observe::api::{Config, Setting};

/// The settings in force.
pub(super) fn settings(config: &PeerConfig) -> Config {
    let mut settings = Vec::new();
    let mut say = |key: &str, value: String| {
        if !value.is_empty() {
            settings.push(Setting { key: key.to_owned(), value });
        }
    };
    let optional = |value: Option<&dyn Display>| value.map_or(String::new(), |one| one.to_string());
    say("listen", optional(config.listen.as_ref().map(|addr| addr as _)));
    say("tcp", listed(config.tcp.iter().map(|one| format!("{}={}", one.addr, one.name))));
    say("udp", listed(config.udp.iter().map(|one| format!("{}={}", one.addr, one.name))));
    say("admin", optional(config.admin.as_ref().map(|addr| addr as _)));
    say("connect", listed(config.connect.iter()));
    say("via", listed(config.connect.iter().filter_map(|one| config.proxies.to(&one.endpoint))));
    say("service", counted(config.services.len()));
    say("kubernetes", listed(config.kubernetes.iter()));
    say("transit", listed(config.transit.iter()));
    say("reach", listed(config.reach.iter()));
    say("ways", config.ways.to_string());
    say("trusted_proxies", listed(config.trusted_proxies.iter()));
    say("insecure_plaintext", if_set(config.insecure_plaintext));
    let tls = &config.tls;
    say("tls_cert", if_set(tls.cert.is_some()));
    say("tls_ca", if_set(tls.ca.is_some()));
    say("tls_crl", if_set(tls.crl.is_some()));
    say("expect", listed(config.expect.iter()));
    say("token_file", if_set(tls.token.is_some()));
    say("accept_tokens", if_set(tls.accept_tokens.is_some()));
    say("public_cert", if_set(config.public_cert.is_some()));
    say("redirect_https", if_set(config.redirect_https));
    say("idle_data", config.idle_data.to_string());
    let capacity = &config.capacity;
    say("max_connections", capacity.connections.to_string());
    say("max_connections_per_source", capacity.connections_per_source.to_string());
    say("max_names_per_peer", capacity.names_per_peer.to_string());
    say("max_pending_per_peer", capacity.pending_per_peer.to_string());
    for (key, time) in config.timing.by_key() {
        say(key, humantime::format_duration(time).to_string());
    }
    Config { settings }
}

/// No longer than anyone reads.
fn listed(all: impl Iterator<Item = impl Display>) -> String {
    let mut all = all.peekable();
    let shown: Vec<String> = all.by_ref().take(SETTING_VALUES).map(|one| one.to_string()).collect();
    match all.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn counted(count: usize) -> String {
    if count > 0 { format!("{count} names") } else { String::new() }
}

fn if_set(is_set: bool) -> String {
    if is_set { "set".to_owned() } else { String::new() }
}
