use clap::{Arg, Args, Command, FromArgMatches};

use std::time::Duration;

use super::file::keys;
use super::service::services;
use super::*;
use crate::config::{ConfigError, Health, PeerConfig, ProxyVersion, Service, Timing, TokenSource};
use crate::limits::NAMES_PER_LINK;
use crate::offer::{Offer, Way, Ways};

/// What the command line makes of these flags; the environment is not read.
fn flags(line: &str) -> Settings {
    let command = Settings::augment_args(Command::new("test")).mut_args(|arg| arg.env(None));
    let words = std::iter::once("test").chain(line.split_whitespace());
    Settings::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

fn file(text: &str) -> Settings {
    Settings::from_toml(text).unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        host: "box".to_owned(),
        node: None,
        pod: None,
        token: None,
        proxies: ProxyVariables::default(),
        random: [0xab, 0, 0, 1],
        predecessor: None,
    }
}

fn config(line: &str) -> Result<PeerConfig, ConfigError> {
    flags(line).into_config(surroundings())
}

/// The key at fault.
fn fault(line: &str) -> String {
    config(line).unwrap_err().key
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let said = flags("--data-timeout 1s --listen 127.0.0.1:1 --insecure-plaintext=false");
    let file = file(
        r#"
        data_timeout = "2s"
        heartbeat = "3s"
        listen = "127.0.0.1:2"
        insecure_plaintext = true
        "#,
    );
    let config = said.or(file).into_config(surroundings()).unwrap();
    assert_eq!(config.timing.data_timeout, Duration::from_secs(1));
    assert_eq!(config.timing.heartbeat, Duration::from_secs(3));
    assert_eq!(config.timing.peer_timeout, Timing::default().peer_timeout);
    assert_eq!(config.listen, Some("127.0.0.1:1".parse().unwrap()));
    assert!(!config.insecure_plaintext);
}

#[test]
fn a_list_is_taken_whole_from_the_first_that_has_it() {
    let file = || file(r#"service = ["c=h:3"]"#);
    let said = flags("--service a=h:1 --service b=h:2");
    let names = |settings: Settings| {
        services(settings.service)
            .unwrap()
            .into_keys()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(said.or(file())), ["a", "b"]);
    assert_eq!(names(Settings::default().or(file())), ["c"]);
}

#[test]
fn the_environment_has_a_variable_for_every_flag_and_lists_in_it_take_commas() {
    let command = Settings::augment_args(Command::new("test"));
    for arg in command.get_arguments() {
        let variable = format!("OPS_PROXY_{}", arg.get_id().as_str().to_uppercase());
        assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
    }
    assert_eq!(flags("--connect a:1,b:2").connect.len(), 2);
}

/// Every setting, in both forms.
const FLAGS: &str = "--listen 127.0.0.1:1 --tcp 127.0.0.1:2=a --tcp [::1]:3=b --udp 127.0.0.1:2=a --connect h:4 --via http://u:p@v:5 \
    --service *.c=h:5 --service *.c/https=h:6 --kubernetes shop,tools --transit *.t,u --reach *.r,v --expect *.e,w --ways http,https --admin none --peer-id p --instance i --trusted-proxies 10.0.0.0/8,::1 \
    --data-timeout 1s --heartbeat 2s --peer-timeout 3s --drain-grace 4s --drain-limit 5m \
    --name-retention 1h30m --hold 0s --warm-up 7s --state-dir state --udp-idle 6s --tls-cert c.pem --tls-key k.pem --tls-ca ca.pem --tls-crl crl.pem \
    --public-cert front --redirect-https --token-file token --accept-tokens tokens.toml --max-connections 7 \
    --max-connections-per-source 3 --max-names-per-peer 5 --max-pending-per-peer 2 --max-udp-requests 8 --idle-data 9 --workers 6 \
    --insecure-plaintext --log-format json --access-log text --access-log-query \
    --otlp http://collector:4318/spans --otlp-sample 0.25 --log-level debug";
const FILE: &str = r#"
    listen = "127.0.0.1:1"
    tcp = ["127.0.0.1:2=a", "[::1]:3=b"]
    udp = ["127.0.0.1:2=a"]
    connect = ["h:4"]
    via = "http://u:p@v:5"
    service = ["*.c=h:5", "*.c/https=h:6"]
    kubernetes = ["shop", "tools"]
    transit = ["*.t", "u"]
    reach = ["*.r", "v"]
    expect = ["*.e", "w"]
    ways = ["http", "https"]
    admin = "none"
    peer_id = "p"
    instance = "i"
    trusted_proxies = ["10.0.0.0/8", "::1"]
    data_timeout = "1s"
    heartbeat = "2s"
    peer_timeout = "3s"
    drain_grace = "4s"
    drain_limit = "5m"
    name_retention = "1h 30m"
    hold = "0s"
    warm_up = "7s"
    state_dir = "state"
    udp_idle = "6s"
    tls_cert = "c.pem"
    tls_key = "k.pem"
    tls_ca = "ca.pem"
    tls_crl = "crl.pem"
    public_cert = "front"
    redirect_https = true
    token_file = "token"
    accept_tokens = "tokens.toml"
    max_connections = 7
    max_connections_per_source = 3
    max_names_per_peer = 5
    max_pending_per_peer = 2
    max_udp_requests = 8
    idle_data = 9
    workers = 6
    insecure_plaintext = true
    log_format = "json"
    access_log = "text"
    access_log_query = true
    otlp = "http://collector/spans"
    otlp_sample = 0.25
    log_level = "debug"
"#;

#[test]
fn a_file_says_everything_that_flags_can_say() {
    for key in keys() {
        assert!(FILE.contains(&format!("\n    {key} = ")), "{key} is missing here");
    }
    assert_eq!(file(FILE), flags(FLAGS));
    assert_eq!(flags(FLAGS).or(Settings::default()), flags(FLAGS));
    assert_eq!(Settings::default().or(flags(FLAGS)), flags(FLAGS));
}

#[test]
fn a_build_without_kubernetes_says_how_to_get_one() {
    let config = config("--listen 127.0.0.1:1 --kubernetes shop --kubernetes shop");
    match cfg!(feature = "kubernetes") {
        true => assert_eq!(config.unwrap().kubernetes.len(), 1),
        false => assert!(config.unwrap_err().problem.contains("--features kubernetes")),
    }
}

#[test]
fn a_peer_may_have_nothing_but_what_kubernetes_says() {
    if cfg!(feature = "kubernetes") {
        config("--connect localhost:1 --kubernetes shop").unwrap();
    }
    assert_eq!(fault("--connect localhost:1"), "service");
}

#[test]
fn the_environment_of_the_process_gives_the_labels_and_the_peer_id() {
    let listening = || flags("--listen 127.0.0.1:1");
    let config = listening().into_config(surroundings()).unwrap();
    assert_eq!(config.peer_id.as_str(), "box-ab000001");
    assert_eq!((config.node.as_str(), config.pod.as_str()), ("unknown", "box"));

    let kubernetes = Surroundings {
        host: "a host's name!".to_owned(),
        node: Some("node-1".to_owned()),
        pod: Some("pod-1".to_owned()),
        token: None,
        proxies: ProxyVariables::default(),
        random: [0; 4],
        predecessor: None,
    };
    let config = listening().into_config(kubernetes).unwrap();
    assert_eq!(config.peer_id.as_str(), "ahostsname-00000000");
    assert_eq!((config.node.as_str(), config.pod.as_str()), ("node-1", "pod-1"));

    let nameless = Surroundings {
        host: String::new(),
        node: Some(String::new()),
        pod: Some(String::new()),
        token: None,
        proxies: ProxyVariables::default(),
        random: [0; 4],
        predecessor: None,
    };
    let config = listening().into_config(nameless).unwrap();
    assert_eq!(config.peer_id.as_str(), "peer-00000000");
    assert_eq!((config.node.as_str(), config.pod.as_str()), ("unknown", "unknown"));
}

#[test]
fn the_admin_pages_are_on_loopback_unless_told_otherwise() {
    let admin = |line| config(line).unwrap().admin.map(|addr| addr.to_string());
    assert_eq!(admin("--listen 127.0.0.1:1").as_deref(), Some("127.0.0.1:9090"));
    assert_eq!(admin("--listen 127.0.0.1:1 --admin [::]:80").as_deref(), Some("[::]:80"));
    assert_eq!(admin("--listen 127.0.0.1:1 --admin none"), None);
}

#[test]
fn every_fault_names_its_key() {
    for key in [
        "data-timeout",
        "heartbeat",
        "peer-timeout",
        "drain-grace",
        "drain-limit",
        "name-retention",
        "udp-idle",
    ] {
        for time in ["0s", "9999years"] {
            assert_eq!(fault(&format!("--{key} {time}")), key.replace('-', "_"));
        }
    }
    for (line, key) in [
        ("", "listen"),
        ("--service a=h:1", "listen"),
        ("--connect localhost:1", "service"),
        ("--connect localhost:1 --service a=h:1 --service A.=h:2", "service"),
        ("--listen 127.0.0.1:1 --heartbeat 30s", "heartbeat"),
        ("--listen 127.0.0.1:1 --peer-timeout 10s", "heartbeat"),
        ("--listen 127.0.0.1:1 --tcp 127.0.0.1:1=a", "tcp"),
        ("--tcp 0.0.0.0:1=a --tcp 127.0.0.1:1=b", "tcp"),
        ("--tcp [::]:1=a --tcp 127.0.0.1:1=b", "tcp"),
        ("--listen 127.0.0.1:9090", "admin"),
        ("--udp 127.0.0.1:1=a --udp 0.0.0.0:1=b", "udp"),
    ] {
        assert_eq!(fault(line), key, "{line}");
    }
}

#[test]
fn a_service_in_a_table_says_what_one_in_short_form_says_and_more() {
    let read = |text: &str| {
        let list = Settings::from_toml(text)?.service;
        services(list).map(|services| services.into_values().next().unwrap())
    };
    let port = |service: &Service, way| service.backend(way).map(|backend| backend.port);
    let short = read(r#"service = ["app=h:1", "app/https=h:2", "app/connect=h:3"]"#).unwrap();
    assert_eq!(Way::ALL.iter().filter_map(|way| port(&short, *way)).sum::<u16>(), 1 + 2 + 1 + 3);
    let only = read(r#"service = ["app/connect=h:3"]"#).unwrap();
    assert_eq!(only.terms.ways, Ways::NONE.with(Way::Connect), "nothing else has a backend");
    let table = read(
        r#"
        [[service]]
        name = "app"
        backend = "h:1"
        https = "h:2"
        connect = "h:3"
        "#,
    );
    assert_eq!(table.unwrap(), short);
    let table = read(
        r#"
        [[service]]
        name = "app"
        backend = "h:1"
        ways = ["http"]
        proxy_protocol = "v2"
        forwarded = false
        h2c = true
        allow = ["10.0.0.0/8", "::1"]
        "#,
    )
    .unwrap();
    assert_eq!((port(&table, Way::Http), port(&table, Way::Tcp)), (Some(1), None));
    assert_eq!(table.proxy_protocol, Some(ProxyVersion::V2));
    let offer = Offer { name: "app".parse().unwrap(), terms: table.terms };
    assert_eq!(offer.to_string(), "app;ways=http;allow=10.0.0.0/8+::1/128;forwarded=no;h2c=yes");
    for (text, part) in [
        (r#"service = ["a/quic=h:1"]"#, "\"quic\" is not a way"),
        (r#"service = ["a=h:1", "a=h:2"]"#, "a is listed twice"),
        (r#"service = ["a/tcp=h:1", "a/tcp=h:2"]"#, "a/tcp is listed twice"),
        (r#"service = ["a=h:1", { name = "A.", backend = "h:2" }]"#, "a is listed twice"),
        (r#"service = [{ backend = "h:2" }]"#, "needs a name"),
        (r#"service = [{ name = "a" }]"#, "a has no backend: set backend"),
        (
            r#"service = [{ name = "a", backend = "h:1", ways = ["smtp"] }]"#,
            "\"smtp\" is not a way",
        ),
        (r#"service = [{ name = "a", backend = "h:1", ways = [] }]"#, "a has no backend"),
        (
            r#"service = [{ name = "a", https = "h:1", ways = ["http"] }]"#,
            "https is not in its ways",
        ),
        (
            r#"service = [{ name = "a", https = "h:1", ways = ["http", "https"] }]"#,
            "no backend for http",
        ),
        (
            r#"service = [{ name = "a", backend = "h:1", proxy_protocol = "v3" }]"#,
            "\"v1\" or \"v2\"",
        ),
        (r#"service = [{ name = "a", backend = "h:1", allow = ["x"] }]"#, "CIDR"),
        (r#"service = [{ name = "a", backend = "h:1", alow = [] }]"#, "alow"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.key, "service", "{text}");
        assert!(error.problem.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_checks_of_a_service_have_defaults_and_must_make_sense() {
    let read = |health: &str, more: &str| {
        let text = format!(
            "listen = '127.0.0.1:1'\n[[service]]\nname = 'app'\nbackend = 'h:1'\n{more}\n\
             health = {health}"
        );
        let config = Settings::from_toml(&text)?.into_config(surroundings())?;
        Ok::<_, ConfigError>(config.services.into_values().next().unwrap().health.unwrap())
    };
    assert_eq!(read("{ tcp = true }", "").unwrap(), Health::default());
    let shown = |health: &str, more: &str| read(health, more).unwrap().to_string();
    assert_eq!(
        shown("{ http = '/healthz' }", ""),
        "GET /healthz must be answered 2xx within 2s, every 5s; withdrawn after 3 failures, \
         back after 2 successes"
    );
    let all = "{ http = '/a', expect = '200-399', every = '1m', timeout = '10s', fall = 1, \
               rise = 10, host = 'www.example' }";
    assert_eq!(
        shown(all, ""),
        "GET /a must be answered 200-399 within 10s, every 1m; withdrawn after 1 failures, \
         back after 10 successes"
    );
    assert_eq!(read("{ tcp = true, every = '1s' }", "").unwrap().timeout.as_secs(), 1);
    read("{ http = '/', host = 'www.example' }", "ways = ['tcp']").unwrap();
    for (health, more, part) in [
        ("{}", "", "app: health needs tcp = true, or http"),
        ("{ tcp = false }", "", "health needs tcp = true, or http"),
        ("{ tcp = true, http = '/' }", "", "keep one"),
        ("{ tcp = true, expect = '200' }", "", "health.expect"),
        ("{ tcp = true, host = 'a' }", "", "health.host"),
        ("{ http = 'healthz' }", "", "app: health.http must begin with /"),
        ("{ http = '/', expect = '2yy' }", "", "such as 200, 2xx or 200-399"),
        ("{ tcp = true, every = '500ms' }", "", "health.every must be 1s to 1h"),
        ("{ tcp = true, every = 'often' }", "", "service"),
        ("{ tcp = true, timeout = '6s' }", "", "at most health.every (5s)"),
        ("{ tcp = true, fall = 0 }", "", "health.fall must be 1 to 10"),
        ("{ tcp = true, rise = 11 }", "", "health.rise must be 1 to 10"),
        ("{ tcp = true, fal = 1 }", "", "fal"),
        ("true", "", "service"),
    ] {
        let error = read(health, more).unwrap_err();
        assert_eq!(error.key, "service", "{health}");
        assert!(error.to_string().contains(part), "{health}: {error}");
    }
    for (table, part) in [
        ("name = 'a', https = 'h:1'", "use health = { tcp = true }"),
        ("name = '*.a', backend = 'h:1'", "set health.host"),
    ] {
        let text =
            format!("listen = '127.0.0.1:1'\nservice = [{{ {table}, health = {{ http = '/' }} }}]");
        let error = Settings::from_toml(&text).unwrap().into_config(surroundings()).unwrap_err();
        assert!(error.problem.contains(part), "{error}");
    }
}

#[test]
fn a_backend_of_udp_is_one_for_udp_and_for_nothing_else() {
    let read = |text: &str| {
        let list = Settings::from_toml(text)?.service;
        services(list).map(|services| services.into_values().next().unwrap())
    };
    let only = read(r#"service = ["dns/udp=h:53"]"#).unwrap();
    assert_eq!(only.terms.ways, Ways::NONE.with(Way::Udp));
    assert_eq!(only.backend(Way::Udp).unwrap().port, 53);
    for text in [
        r#"service = ["dns=udp://h:53"]"#,
        r#"service = ["dns/udp=udp://h:53"]"#,
        r#"service = [{ name = "dns", backend = "udp://h:53", ways = ["udp"] }]"#,
        r#"service = [{ name = "dns", backend = "udp://h:53" }]"#,
        r#"service = [{ name = "dns", udp = "h:53" }]"#,
    ] {
        assert_eq!(read(text).unwrap(), only, "{text}");
    }
    for text in [
        r#"service = ["dns/udp=h:53", "dns/tcp=h:54"]"#,
        r#"service = [{ name = "dns", backend = "h:54", ways = ["tcp", "udp"], udp = "h:53" }]"#,
    ] {
        let both = read(text).unwrap();
        let ports = [Way::Tcp, Way::Udp].map(|way| both.backend(way).unwrap().port);
        assert_eq!(ports, [54, 53], "{text}");
        assert!(both.backend(Way::Http).is_none());
    }
    for (text, part) in [
        (r#"service = ["a/tcp=udp://h:1"]"#, "takes datagrams only, not tcp: write tcp ="),
        (r#"service = [{ name = "a", http = "udp://h:1" }]"#, "takes datagrams only, not http"),
        (
            r#"service = [{ name = "a", backend = "udp://h:1", ways = ["udp", "tcp"] }]"#,
            "no backend for tcp: set backend, or tcp",
        ),
        (
            r#"service = [{ name = "a", backend = "h:1", ways = ["tcp", "udp"] }]"#,
            "no backend for udp: set udp = \"udp://HOST:PORT\"",
        ),
        (r#"service = [{ name = "a", backend = "udp://h:1", udp = "h:2" }]"#, "two backends"),
        (
            r#"service = [{ name = "a", udp = "h:2", proxy_protocol = "v2" }]"#,
            "proxy_protocol begins a connection",
        ),
        (r#"service = ["a/udp=https://h:1"]"#, "expected HOST:PORT"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.key, "service", "{text}");
        assert!(error.problem.contains(part), "{text}: {error}");
    }
}

#[test]
fn no_more_services_than_fit_a_link_are_taken() {
    let services = |count| {
        let names = (0..count).map(|n| format!("n{n}=h:1").parse().unwrap());
        let settings = Settings { service: names.collect(), ..flags("--listen 127.0.0.1:1") };
        settings.into_config(surroundings())
    };
    assert_eq!(services(NAMES_PER_LINK).unwrap().services.len(), NAMES_PER_LINK);
    assert_eq!(services(NAMES_PER_LINK + 1).unwrap_err().key, "service");
}

#[test]
fn addresses_that_differ_or_leave_the_port_open_do_not_clash() {
    for line in [
        "--listen 127.0.0.1:0 --tcp 127.0.0.1:0=a --admin 127.0.0.1:0",
        "--tcp 127.0.0.1:1=a --tcp 127.0.0.2:1=b",
        "--tcp [::1]:1=a --tcp 0.0.0.0:1=b",
        "--listen 127.0.0.1:9090 --admin none",
        "--tcp 127.0.0.1:53=a --udp 127.0.0.1:53=a",
    ] {
        config(line).unwrap();
    }
}

#[test]
fn plaintext_peers_beyond_loopback_must_be_asked_for() {
    for (line, key) in [
        ("--listen 0.0.0.0:1", "listen"),
        ("--listen [::]:1", "listen"),
        ("--connect hub:1 --service a=h:1", "connect"),
        ("--connect 127.0.0.1:1,10.0.0.1:1 --service a=h:1", "connect"),
    ] {
        let error = config(line).unwrap_err();
        assert_eq!(error.key, key, "{line}");
        assert!(error.problem.contains("--insecure-plaintext"), "{error}");
        config(&format!("{line} --insecure-plaintext")).unwrap();
    }
    for line in [
        "--listen 127.8.8.8:1",
        "--listen [::1]:1",
        "--connect localhost:1,127.0.0.1:1,[::1]:1 --service a=h:1",
        // Mapped ports take no peers.
        "--tcp 0.0.0.0:1=a",
    ] {
        config(line).unwrap();
    }
}

#[test]
fn tls_settings_that_do_not_go_together_name_what_is_missing() {
    const CERT: &str = "--tls-cert c --tls-key k";
    let listen = |rest: &str| format!("--listen 0.0.0.0:1 {rest}");
    let connect = |rest: &str| format!("--connect hub:1 --service a=h:1 {rest}");
    for (line, key) in [
        (listen("--tls-cert c --tls-ca a"), "tls_key"),
        (listen("--tls-key k --tls-ca a"), "tls_cert"),
        (listen(CERT), "tls_ca"),
        (listen(&format!("{CERT} --tls-crl r --accept-tokens t")), "tls_crl"),
        (listen("--accept-tokens t --tls-ca a"), "accept_tokens"),
        (listen("--tls-ca a"), "listen"),
        (connect(CERT), "tls_ca"),
        (connect("--tls-ca a"), "tls_cert"),
        (connect("--token-file t"), "token_file"),
    ] {
        assert_eq!(fault(&line), key, "{line}");
    }
    for line in [
        listen(&format!("{CERT} --tls-ca a --tls-crl r")),
        listen(&format!("{CERT} --accept-tokens t")),
        connect(&format!("{CERT} --tls-ca a")),
        connect("--tls-ca a --token-file t"),
    ] {
        assert!(config(&line).unwrap().tls.is_set(), "{line}");
    }
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_not_from_both() {
    let secret = "0123456789abcdef0123456789abcdef";
    let of = |given: &str, line: &str| {
        let token = Some(given.to_owned());
        let settings = flags(&format!("--connect hub:1 --service a=h:1 --tls-ca a {line}"));
        settings.into_config(Surroundings { token, ..surroundings() })
    };
    assert!(matches!(of(secret, "").unwrap().tls.token, Some(TokenSource::Given(_))));
    assert!(matches!(of("", "--token-file t").unwrap().tls.token, Some(TokenSource::File(_))));
    assert_eq!(of(secret, "--token-file t").unwrap_err().key, "token_file");
    let short = of(&secret[1..], "").unwrap_err();
    assert_eq!(short.key, "OPS_PROXY_TOKEN");
    assert!(!short.to_string().contains(&secret[1..]), "{short}");
}

#[test]
fn a_fault_in_the_file_names_its_key_and_line() {
    for (text, key, part) in [
        ("\nlisen = \"127.0.0.1:1\"", "lisen", "(line 2); did you mean listen?"),
        ("data_timout = 1", "data_timout", "did you mean data_timeout?"),
        ("zzz = 1", "zzz", "unknown key (line 1)"),
        ("[peer]\nlisten = 1", "peer", "unknown key"),
        ("\n\nlisten = \"nowhere\"", "listen", "(line 3)"),
        ("listen = 1", "listen", "string"),
        ("heartbeat = \"1s\"\n[listen]\na = 1", "listen", "string (line 2)"),
        ("\n[[service]]\nalow = []", "service", "unknown field `alow`"),
        ("tcp = \"127.0.0.1:1=a\"", "tcp", "sequence"),
        ("tcp = [\n\"127.0.0.1:1=a\",\n\"x=a\"]", "tcp", "\"x\" is not an IP:PORT"),
        ("service = [\"a\"]", "service", "NAME=HOST:PORT"),
        ("data_timeout = \"5\"", "data_timeout", "unit"),
        ("admin = \"off\"", "admin", "none"),
        ("trusted_proxies = [\"10.0.0.0/40\"]", "trusted_proxies", "10.0.0.0/8"),
        ("insecure_plaintext = \"yes\"", "insecure_plaintext", "boolean"),
        ("log_format = \"xml\"", "log_format", "text or json"),
        ("access_log = \"yes\"", "access_log", "off, text or json"),
        ("log_level = \"loud\"", "log_level", "level"),
        ("otlp = \"https://collector\"", "otlp", "use http://"),
        ("otlp = \"http://collector/a b\"", "otlp", "path"),
        ("otlp_sample = 1.5", "otlp_sample", "from 0 to 1"),
        ("peer_id = \"a@b\"", "peer_id", "peer id"),
        ("listen = \"a\"\nlisten = \"b\"", "config", "duplicate"),
        ("listen", "config", "(line 1)"),
    ] {
        let error = Settings::from_toml(text).unwrap_err();
        assert_eq!(error.key, key, "{text:?}");
        assert!(error.problem.contains(part), "{text:?}: {error}");
    }
}

#[test]
fn a_bad_flag_is_named() {
    let command = || Settings::augment_args(Command::new("test")).mut_args(|arg| arg.env(None));
    for (flag, value) in [
        ("--listen", "localhost:1"),
        ("--tcp", "1=a"),
        ("--connect", "h"),
        ("--service", "a"),
        ("--admin", "x"),
        ("--peer-id", ">"),
        ("--trusted-proxies", "x"),
        ("--heartbeat", "5"),
        ("--log-format", "xml"),
        ("--log-level", "loud"),
    ] {
        let error = command().try_get_matches_from(["test", flag, value]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(flag), "{error}");
    }
}

#[test]
fn help_gives_the_times_that_are_used() {
    let default = Timing::default();
    let command = Settings::augment_args(Command::new("test"));
    for (key, time) in [
        ("data_timeout", default.data_timeout),
        ("heartbeat", default.heartbeat),
        ("peer_timeout", default.peer_timeout),
        ("drain_grace", default.drain_grace),
        ("drain_limit", default.drain_limit),
        ("name_retention", default.name_retention),
        ("hold", default.hold),
        ("warm_up", default.warm_up),
    ] {
        let arg = command.get_arguments().find(|arg| arg.get_id() == key).unwrap();
        let part = format!("[default: {}]", humantime::format_duration(time));
        assert!(help(arg).ends_with(&part), "{key}: {part}");
    }
}

/// `check` shows them as what counts.
#[test]
fn help_gives_the_defaults_that_are_used() {
    let line = |rest: &str| {
        let config = config(&format!("--listen 127.0.0.1:1 --peer-id p {rest}")).unwrap();
        format!("{config:?}")
    };
    let command = Settings::augment_args(Command::new("test"));
    // Made for each process, or no value that can be given.
    let others = ["peer_id", "via", "ways", "workers"];
    let mut compared = 0;
    for arg in command.get_arguments() {
        let help = help(arg);
        let default = help.split_once("[default: ").and_then(|(_, text)| text.strip_suffix(']'));
        let Some(default) = default.filter(|_| !others.contains(&arg.get_id().as_str())) else {
            continue;
        };
        let given = format!("--{}={default}", arg.get_long().unwrap());
        assert_eq!(line(&given), line(""), "{given}");
        compared += 1;
    }
    assert!(compared > 15, "{compared}");
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// The long help on one line, with the default at its end.
fn meaning(arg: &Arg) -> String {
    let short = help(arg);
    let (text, default) = match short.split_once(" [default: ") {
        Some((text, default)) => (text, format!(" [default: {default}")),
        None => (short.as_str(), String::new()),
    };
    let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    let rest: String = long.split("\n\n").skip(1).map(|more| format!(". {more}")).collect();
    format!("{text}{}{default}", rest.trim_end_matches('.'))
}

#[test]
fn the_readme_lists_every_setting() {
    let mut table = String::from("| flag | environment | key | meaning |\n|---|---|---|---|\n");
    for arg in Settings::augment_args(Command::new("test")).get_arguments() {
        let value = &arg.get_value_names().unwrap()[0];
        let flag = arg.get_long().unwrap();
        let flag = if arg.is_require_equals_set() {
            format!("--{flag}")
        } else {
            format!("--{flag} {value}")
        };
        let variable = arg.get_env().unwrap().to_str().unwrap();
        let key = arg.get_id();
        table += &format!("| `{flag}` | `{variable}` | `{key}` | {} |\n", meaning(arg));
    }
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains(&table), "README.md should hold this table:\n{table}");
}
