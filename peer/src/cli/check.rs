//! `ops-proxy check`: what the peer would do, without doing it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::{Failure, Sources, configure};
use crate::config::PeerConfig;

pub(super) fn check(sources: Sources) -> Result<(), Failure> {
    let config = configure(sources.merged()?)?;
    io::stdout().write_all(describe(&config).as_bytes())?;
    Ok(())
}

/// One line a fact, the key first.
fn describe(config: &PeerConfig) -> String {
    let mut lines =
        vec![("peer_id", format!("{} (node {}, pod {})", config.peer_id, config.node, config.pod))];
    if let Some(addr) = config.listen {
        let beyond = if config.insecure_plaintext {
            "peers from anywhere, unencrypted"
        } else {
            "peers from loopback"
        };
        lines.push(("listen", format!("{addr}: HTTP by Host, TLS by SNI, CONNECT, {beyond}")));
    }
    for mapping in &config.tcp {
        lines.push(("tcp", format!("{} goes to {}", mapping.addr, mapping.name)));
    }
    for peer in &config.connect {
        lines.push(("connect", format!("{peer}: registers the services below")));
    }
    for (name, backend) in &config.services {
        lines.push(("service", format!("{name} is {backend}")));
    }
    for net in &config.trusted_proxies {
        lines.push(("trusted_proxies", format!("{net} must send a PROXY protocol header")));
    }
    let admin = config.admin.map_or_else(|| "none".to_owned(), |addr| format!("http://{addr}/"));
    lines.push(("admin", admin));
    let timing = &config.timing;
    for (key, time) in [
        ("data_timeout", timing.data_timeout),
        ("heartbeat", timing.heartbeat),
        ("peer_timeout", timing.peer_timeout),
        ("drain_grace", timing.drain_grace),
        ("drain_limit", timing.drain_limit),
        ("name_retention", timing.name_retention),
    ] {
        lines.push((key, humantime::format_duration(time).to_string()));
    }
    lines.into_iter().fold(String::new(), |mut text, (key, fact)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<16} {fact}");
        text
    })
}
