//! The configuration file of a real peer, as a scenario has the peer.

use std::path::Path;

use toml::{Table, Value};

use crate::scenario::{HealthSpec, OfferSpec, PeerSpec, Time, TlsSpec};

/// Where a peer's admin pages are, within its namespace.
pub(super) const ADMIN: &str = "127.0.0.1:9090";

/// The file for the peer on `host`, whose files of TLS lie below `files`.
pub(super) fn config_file(spec: &PeerSpec, host: &str, files: &Path) -> String {
    let mut file = Table::new();
    let mut set = |key: &str, value: Value| file.insert(key.to_owned(), value);
    set("peer_id", spec.id.as_deref().unwrap_or(host).into());
    set("admin", ADMIN.into());
    set("log_level", "debug".into());
    if let Some(port) = spec.listen {
        set("listen", format!("0.0.0.0:{port}").into());
    }
    for (key, ports) in [("tcp", &spec.tcp), ("udp", &spec.udp)] {
        let mappings = ports.iter().map(|(port, name)| format!("0.0.0.0:{port}={name}"));
        set(key, mappings.collect::<Vec<_>>().into());
    }
    if !spec.connect.is_empty() {
        set("via", spec.via.as_deref().unwrap_or("none").into());
    }
    let lists = [
        ("connect", &spec.connect),
        ("transit", &spec.transit),
        ("reach", &spec.reach),
        ("expect", &spec.expect),
        ("trusted_proxies", &spec.trusted_proxies),
    ];
    for (key, list) in lists {
        set(key, list.clone().into());
    }
    if let Some(ways) = &spec.ways {
        set("ways", ways.clone().into());
    }
    let times = [
        ("data_timeout", spec.data_timeout),
        ("heartbeat", heartbeat(spec)),
        ("peer_timeout", spec.peer_timeout),
        ("drain_grace", spec.drain_grace),
        ("drain_limit", spec.drain_limit),
        ("name_retention", spec.name_retention),
        ("hold", spec.hold),
        ("warm_up", spec.warm_up),
        ("udp_idle", spec.udp_idle),
    ];
    for (key, time) in times.into_iter().filter_map(|(key, time)| Some((key, time?))) {
        set(key, time.to_string().into());
    }
    set("idle_data", count(spec.idle_data.unwrap_or(0)));
    if let Some(requests) = spec.max_udp_requests {
        set("max_udp_requests", count(requests));
    }
    // Without a certificate, what a peer listens for is in clear text, tokens or not.
    let has_certificate = spec.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
    let is_clear = spec.listen.is_some() && spec.tls.is_some() && !has_certificate;
    set("insecure_plaintext", (spec.lets_in_plaintext() || is_clear).into());
    for (key, path) in spec.tls.as_ref().map(|tls| tls_files(tls, files)).unwrap_or_default() {
        set(key, path.into());
    }
    let usual = OfferSpec::default();
    let services = spec.services.iter().map(|(name, backend)| {
        service(name, backend, spec.offers.get(name).unwrap_or(&usual)).into()
    });
    set("service", Value::Array(services.collect()));
    file.to_string()
}

/// The real peer refuses a heartbeat that is no shorter than the peer timeout, even where it
/// has nobody to send one to.
fn heartbeat(spec: &PeerSpec) -> Option<Time> {
    let timing = spec.timing();
    match timing.heartbeat < timing.peer_timeout {
        true => spec.heartbeat,
        false => Some(Time(timing.peer_timeout / 3)),
    }
}

fn count(count: usize) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

fn tls_files(tls: &TlsSpec, files: &Path) -> Vec<(&'static str, String)> {
    let config = tls.config();
    let token = tls.token.is_some().then(|| crate::scenario::File::Token.path().into());
    let all = [
        ("tls_cert", config.cert),
        ("tls_key", config.key),
        ("tls_ca", config.ca),
        ("tls_crl", config.crl),
        ("token_file", token),
        ("accept_tokens", config.accept_tokens),
    ];
    let there = all.into_iter().filter_map(|(key, path)| Some((key, files.join(path?))));
    there.map(|(key, path)| (key, path.display().to_string())).collect()
}

/// As [`OfferSpec::apply`] has it: open by CONNECT, too, and heads as they are.
fn service(name: &str, backend: &str, offer: &OfferSpec) -> Table {
    let mut table = Table::new();
    table.insert("name".to_owned(), name.into());
    table.insert("backend".to_owned(), backend.into());
    for (way, backend) in &offer.own {
        table.insert(way.clone(), backend.as_str().into());
    }
    let usual = || {
        let mut ways = ["http", "https", "tcp", "connect"].map(str::to_owned).to_vec();
        ways.extend(offer.own.keys().filter(|way| *way == "udp").cloned());
        ways
    };
    table.insert("ways".to_owned(), offer.ways.clone().unwrap_or_else(usual).into());
    table.insert("allow".to_owned(), offer.allow.clone().into());
    table.insert("forwarded".to_owned(), offer.forwarded.into());
    table.insert("h2c".to_owned(), offer.h2c.into());
    if let Some(health) = &offer.health {
        table.insert("health".to_owned(), checks(health).into());
    }
    table
}

fn checks(health: &HealthSpec) -> Table {
    let mut table = Table::new();
    let mut set = |key: &str, value: Value| table.insert(key.to_owned(), value);
    match &health.http {
        Some(path) => {
            if let Some(expect) = &health.expect {
                set("expect", expect.as_str().into());
            }
            set("http", path.as_str().into())
        }
        None => set("tcp", true.into()),
    };
    for (key, time) in [("every", health.every), ("timeout", health.timeout)] {
        if let Some(time) = time {
            set(key, time.to_string().into());
        }
    }
    for (key, count) in [("fall", health.fall), ("rise", health.rise)] {
        if let Some(count) = count {
            set(key, i64::from(count).into());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_peer_is_configured_as_its_scenario_says() {
        let spec: PeerSpec = toml::from_str(
            r#"
            listen = 8080
            tcp = { "5432" = "db.example" }
            connect = ["hub:8080*2"]
            services = { "app.example" = "web:80" }
            offers = { "app.example" = { own = { udp = "dns:53" }, health = { every = "2s" } } }
            heartbeat = "1s 500ms"
            tls = { certificate = "site", ca = ["ours"] }
            "#,
        )
        .unwrap();
        let text = config_file(&spec, "site", &PathBuf::from("/run/site"));
        let file: Table = text.parse().unwrap();
        assert_eq!(file["peer_id"].as_str(), Some("site"));
        assert_eq!(file["tcp"][0].as_str(), Some("0.0.0.0:5432=db.example"));
        assert_eq!(file["heartbeat"].as_str(), Some("1s 500ms"));
        assert_eq!(file["tls_cert"].as_str(), Some("/run/site/tls/peer.pem"));
        assert_eq!(file["insecure_plaintext"].as_bool(), Some(false));
        assert!(!file.contains_key("tls_crl"));
        let service = &file["service"][0];
        assert_eq!(service["udp"].as_str(), Some("dns:53"));
        assert_eq!(service["ways"].as_array().unwrap().len(), 5);
        assert_eq!(service["forwarded"].as_bool(), Some(false));
        assert_eq!(service["health"]["tcp"].as_bool(), Some(true));
    }
}
