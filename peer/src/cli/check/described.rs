//! What a peer of this configuration would do, one fact a line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::{Namespace, PeerConfig, Service, TlsConfig, TokenSource};
use crate::names::Name;
use crate::offer::{Way, Ways};

/// Which peers may connect.
fn peers_taken(config: &PeerConfig) -> &'static str {
    let tls = &config.tls;
    match (tls.cert.is_some(), tls.ca.is_some(), tls.accept_tokens.is_some()) {
        _ if config.insecure_plaintext => "peers from anywhere, even unencrypted",
        (true, true, false) => "peers with a certificate from tls_ca",
        (true, false, true) => "peers with a token",
        (true, true, true) => "peers with a certificate from tls_ca or a token",
        _ => "peers from loopback",
    }
}

/// Each TLS file, and what it is for.
fn tls_files(tls: &TlsConfig) -> Vec<(&'static str, String)> {
    let token = tls.token.as_ref().map(|source| match source {
        TokenSource::File(path) => {
            ("token_file", format!("{}: the token this peer presents", path.display()))
        }
        TokenSource::Given(_) => {
            ("token_file", "none; OPS_PROXY_TOKEN is the token this peer presents".to_owned())
        }
    });
    let file = |key, path: &Option<PathBuf>, what: &str| {
        path.as_ref().map(|path| (key, format!("{}: {what}", path.display())))
    };
    [
        file("tls_cert", &tls.cert, "this peer's certificate"),
        file("tls_key", &tls.key, "its private key"),
        file("tls_ca", &tls.ca, "verifies other peers"),
        file("tls_crl", &tls.crl, "revoked certificates"),
        token,
        file("accept_tokens", &tls.accept_tokens, "tokens accepted from connecting peers"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One fact per line, its key first.
pub(super) fn describe(config: &PeerConfig, state_dir: Option<&Path>) -> String {
    let mut lines =
        vec![("peer_id", format!("{} (node {}, pod {})", config.peer_id, config.node, config.pod))];
    if let Some(addr) = config.listen {
        let peers = peers_taken(config);
        lines.push(("listen", format!("{addr}: HTTP by Host, TLS by SNI, CONNECT, {peers}")));
    }
    for mapping in &config.tcp {
        lines.push(("tcp", format!("{} routes to {}", mapping.addr, mapping.name)));
    }
    for mapping in &config.udp {
        lines.push(("udp", format!("{} routes datagrams to {}", mapping.addr, mapping.name)));
    }
    for peer in &config.connect {
        let how = if config.tls.ca.is_some() { "over TLS" } else { "unencrypted" };
        let route = match (config.proxies.to(&peer.endpoint), config.proxies.any()) {
            (Some(via), _) => format!(", through the proxy {via} ({})", via.set_by),
            (None, Some(_)) => ", directly: on this machine or in NO_PROXY".to_owned(),
            (None, None) => String::new(),
        };
        lines.push(("connect", format!("{peer}: registers the services below, {how}{route}")));
    }
    if !config.kubernetes.is_empty() {
        let namespaces = listed(config.kubernetes.iter().map(Namespace::as_str));
        lines.push(("kubernetes", format!("serves the annotated Services of {namespaces}, too")));
    }
    if !config.transit.is_empty() {
        let patterns: Vec<String> = config.transit.iter().map(ToString::to_string).collect();
        let patterns = listed(patterns.iter().map(String::as_str));
        lines.push(("transit", format!("passes on {patterns} where others register it here")));
    }
    if !config.reach.is_empty() {
        let names = listed(config.reach.iter().map(Name::as_str));
        lines.push((
            "reach",
            format!("asks the peers above for {names} if nobody nearer serves them"),
        ));
    }
    if !config.expect.is_empty() {
        let names = listed(config.expect.iter().map(Name::as_str));
        lines.push(("expect", format!("waits for {names} before it is ready")));
    }
    if let Some(directory) = state_dir {
        let directory = directory.display();
        lines.push(("state_dir", format!("{directory}: keeps the names that others register")));
    }
    lines.extend(tls_files(&config.tls));
    if let Some(directory) = &config.public_cert {
        let directory = directory.display();
        lines.push(("public_cert", format!("{directory}: TLS for these names ends here")));
    }
    if config.redirect_https {
        lines.push(("redirect_https", "clear-text HTTP for these names gets a 308".to_owned()));
    }
    if config.ways != Ways::ALL {
        let ways = listed(config.ways.iter().map(Way::as_str));
        lines.push(("ways", format!("{ways} only, whatever a service says")));
    }
    for (name, service) in &config.services {
        lines.extend(described(service).map(|text| ("service", format!("{name} {text}"))));
    }
    let capacity = config.capacity;
    lines.push(("max_connections", capacity.connections.to_string()));
    lines.push(("max_connections_per_source", capacity.connections_per_source.to_string()));
    lines.push(("max_names_per_peer", capacity.names_per_peer.to_string()));
    lines.push(("max_pending_per_peer", capacity.pending_per_peer.to_string()));
    if !config.udp.is_empty() {
        lines.push(("max_udp_requests", capacity.udp_requests.to_string()));
    }
    if config.is_connecting() {
        lines.push(("idle_data", config.idle_data.to_string()));
    }
    for net in &config.trusted_proxies {
        lines.push(("trusted_proxies", format!("{net} must send a PROXY protocol header")));
    }
    let admin = config.admin.map_or_else(|| "none".to_owned(), |addr| format!("http://{addr}/"));
    lines.push(("admin", admin));
    for (key, time) in config.timing.by_key() {
        lines.push((key, humantime::format_duration(time).to_string()));
    }
    lines.into_iter().fold(String::new(), |mut text, (key, fact)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<27} {fact}");
        text
    })
}

/// What is to be known about a service: its backends first.
fn described(service: &Service) -> impl Iterator<Item = String> {
    let Service { proxy_protocol, terms, health, .. } = service;
    let dials = service.backends().into_iter().filter_map(|backend| {
        let is_used = |way: &Way| service.backend(*way) == Some(backend) && *way != Way::Udp;
        let ways = listed(terms.ways.iter().filter(is_used).map(Way::as_str));
        (!ways.is_empty()).then(|| format!("dials {backend} for {ways}"))
    });
    let datagrams = service.backend(Way::Udp);
    let datagrams = datagrams.map(|backend| format!("sends datagrams to {backend} for udp"));
    let header = proxy_protocol.map(|version| format!("sends a PROXY protocol {version} header"));
    let nets = terms.allow.iter().map(ToString::to_string);
    let nets = listed(nets);
    let allow = (!nets.is_empty()).then(|| format!("is only for clients from {nets}"));
    let silent = terms.ways.contains(Way::Http) && !terms.forwarded;
    let silent = silent.then(|| "adds no X-Forwarded-For and the like".to_owned());
    let h2c = terms.h2c.then(|| "speaks HTTP/2 in clear text".to_owned());
    let health = health.as_ref().map(|health| format!("is checked: {health}"));
    let all = dials.chain(datagrams).chain(header).chain(allow).chain(silent).chain(h2c);
    let all: Vec<String> = all.chain(health).collect();
    all.into_iter()
}

fn listed(words: impl Iterator<Item = impl AsRef<str>>) -> String {
    let words: Vec<_> = words.collect();
    words.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}
