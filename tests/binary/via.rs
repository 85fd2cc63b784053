//! Out through real proxies: tinyproxy speaks HTTP, microsocks SOCKS5.

use std::fmt::Display;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops_proxy_tests::backend::Backend;
use ops_proxy_tests::client;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::{Launch, Peer};
use ops_proxy_tests::wait::{skipped, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{NAME, launch, listening};

/// Whom the proxies let in.
const USER: &str = "site";
const PASSWORD: &str = "s3cr3t.word";
/// The same in a URL.
const LOGIN: &str = "site:s3cr3t%2Eword";

/// The kinds of proxies that there are in these tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks,
}

const KINDS: [Kind; 2] = [Kind::Http, Kind::Socks];

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Http => "tinyproxy",
            Self::Socks => "microsocks",
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks => "socks5",
        }
    }
}

/// A proxy that wants a login, until dropped.
struct Proxy {
    kind: Kind,
    process: Child,
    addr: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    /// Starts one; `None` where its program is not installed.
    async fn start(kind: Kind) -> Option<Self> {
        loop {
            let mut proxy = Self::launch(kind, unused())?;
            // Somebody may have taken its port since.
            if proxy.listens().await {
                return Some(proxy);
            }
        }
    }

    /// Starts one here; `None` where its program is not installed.
    async fn start_at(kind: Kind, addr: SocketAddr) -> Option<Self> {
        let mut proxy = Self::launch(kind, addr)?;
        assert!(proxy.listens().await, "{addr} is taken");
        Some(proxy)
    }

    fn launch(kind: Kind, addr: SocketAddr) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(kind.program());
        match kind {
            Kind::Http => {
                let path = directory.path().join("tinyproxy.conf");
                let config = format!(
                    "Listen {}\nPort {}\nBasicAuth {USER} {PASSWORD}\nTimeout 60\n\
                     MaxClients 500\nLogLevel Connect\n",
                    addr.ip(),
                    addr.port(),
                );
                fs::write(&path, config).unwrap();
                command.arg("-d").arg("-c").arg(path);
            }
            Kind::Socks => {
                let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
                command.args(["-i", &ip, "-p", &port, "-u", USER, "-P", PASSWORD]);
            }
        }
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let started =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let Ok(process) = started else {
            skipped(&format!("{} is not installed: nothing is shown about it", kind.program()));
            return None;
        };
        Some(Self { kind, process, addr, directory })
    }

    /// Waits until it does; false if it has ended instead.
    async fn listens(&mut self) -> bool {
        let what = format!("{} to listen", self.kind.program());
        until(&what, async || match self.process.try_wait().unwrap() {
            Some(_) => Some(false),
            None => self.answers().await.then_some(true),
        })
        .await
    }

    /// Whether a proxy of its kind is there: anybody may listen on a port, and a connection to one
    /// where nobody does may meet itself.
    async fn answers(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(1);
        let (asks, says) = match self.kind {
            Kind::Http => (&b"GET / HTTP/1.0\r\n\r\n"[..], &b"HT"[..]),
            // Version 5, one method: a login.
            Kind::Socks => (&b"\x05\x01\x02"[..], &b"\x05\x02"[..]),
        };
        let Ok(mut stream) = TcpStream::connect(self.addr).await else { return false };
        let mut said = [0; 2];
        let heard = async {
            stream.write_all(asks).await?;
            stream.read_exact(&mut said).await
        };
        matches!(timeout(PATIENCE, heard).await, Ok(Ok(_))) && said == says
    }

    /// Its URL, as it is shown.
    fn url(&self) -> String {
        format!("{}://{}", self.kind.scheme(), self.addr)
    }

    /// Its URL with this login.
    fn url_for(&self, login: &str) -> String {
        format!("{}://{login}@{}", self.kind.scheme(), self.addr)
    }

    /// How many connections to this port it has been asked for, by its log.
    fn asked_for(&self, port: u16) -> usize {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        let asked = |line: &&str| match self.kind {
            Kind::Http => line.contains("CONNECT ") && line.contains(&format!(":{port} HTTP")),
            Kind::Socks => line.ends_with(&format!(":{port}")),
        };
        log.lines().filter(asked).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            println!("--- log of {}\n{log}\n---", self.kind.program());
        }
    }
}

/// A port that nobody listens on, or nearly so.
fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The command of a peer that connects to `hub` and serves [`NAME`].
fn behind(hub: impl Display, backend: SocketAddr) -> Launch {
    launch().args(&format!("run --connect {hub} --service {NAME}={backend}"))
}

const LINK_UP: &str = "link up, names registered";
const NOT_DIALLED: &str = "cannot dial the listening peer";

/// This field of the first log line with this message.
async fn said(peer: &Peer, message: &str, field: &str) -> String {
    until(&format!("the log to say {message:?}"), async || {
        let events = peer.events();
        let event = events.iter().find(|event| event.message() == message)?;
        Some(event.field(field).to_owned())
    })
    .await
}

/// No password stands in the log.
fn assert_discreet(peer: &Peer) {
    let log = peer.log();
    for secret in [PASSWORD, "s3cr3t", "wrong"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn requests_go_through_a_proxy_on_every_kind_of_data_connection() {
    let backend = Backend::http().await;
    for kind in KINDS {
        let Some(proxy) = Proxy::start(kind).await else { continue };
        for idle_data in [0, 2] {
            let public = listening("").await;
            let behind = behind(public.listen(), backend.addr())
                .args(&format!("--idle-data {idle_data}"))
                .env("OPS_PROXY_VIA", &proxy.url_for(LOGIN))
                .peer()
                .await;
            public.serves(&[NAME]).await;
            assert_eq!(said(&behind, LINK_UP, "via").await, proxy.url());
            public
                .until("idle DATA connections", |metrics| {
                    metrics.value("ops_proxy_idle_data_connections", &[]) == f64::from(idle_data)
                })
                .await;
            for _ in 0..3 {
                assert_eq!(client::get(public.listen(), "/x", NAME).await.status, 200);
            }
            let metrics = public.quiet().await;
            assert_eq!(metrics.value("ops_proxy_requests_success_total", &[]), 3.0);
            let answered = [("result", "answered")];
            let on_idle = metrics.value("ops_proxy_idle_data_forwards_total", &answered);
            assert_eq!(on_idle > 0.0, idle_data > 0, "{on_idle}");
            // The link, and its DATA connections.
            let asked_for = proxy.asked_for(public.listen().port());
            assert!(asked_for > if idle_data == 0 { 3 } else { 2 }, "{kind:?}: {asked_for}");
            assert_discreet(&behind);
        }
    }
}

#[tokio::test]
async fn tls_goes_through_a_proxy_that_resolves_the_name() {
    let backend = Backend::http().await;
    let ca = Ca::new("ca");
    let hub = ca.issue("hub", Request::peer("hub", &["localhost"]));
    let site = ca.issue("site", Request::peer("site", &[NAME]));
    for kind in KINDS {
        let Some(proxy) = Proxy::start(kind).await else { continue };
        let public = listening(&format!("--peer-id hub {}", ca.flags(&hub))).await;
        let port = public.listen().port();
        let behind = behind(format_args!("localhost:{port}"), backend.addr())
            .args(&format!("--peer-id site {}", ca.flags(&site)))
            .args(&format!("--via {}", proxy.url_for(LOGIN)))
            .peer()
            .await;
        public.serves(&[NAME]).await;
        assert_eq!(client::get(public.listen(), "/x", NAME).await.status, 200);
        assert_eq!(said(&behind, LINK_UP, "via").await, proxy.url());
        assert!(proxy.asked_for(port) > 1);
    }
}

#[tokio::test]
async fn a_login_that_is_wrong_or_missing_is_said_with_the_remedy() {
    let public = listening("").await;
    for (kind, login, words) in [
        (Kind::Http, "site:wrong", [": 401 Unauthorized;", "check the user and password in --via"]),
        (Kind::Http, "", [": 407 Proxy Authentication Required;", "into the URL in --via"]),
        (Kind::Socks, "site:wrong", [": authentication failed;", "check the user and password in"]),
        (Kind::Socks, "", [": authentication required;", "into the URL in --via"]),
    ] {
        let Some(proxy) = Proxy::start(kind).await else { continue };
        let url = if login.is_empty() { proxy.url() } else { proxy.url_for(login) };
        let launch = behind(public.listen(), unused()).env("OPS_PROXY_VIA", &url);
        let behind = launch.peer().await;
        let error = said(&behind, NOT_DIALLED, "error").await;
        let begins = format!("the proxy {} refused to connect to {}", proxy.url(), public.listen());
        assert!(error.starts_with(&begins), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_discreet(&behind);
        assert_eq!(behind.page("/readyz").await.status, 503);
    }
}

#[tokio::test]
async fn what_a_proxy_cannot_reach_is_said() {
    for (kind, words) in
        [(Kind::Http, "500 Unable to connect"), (Kind::Socks, "connection refused")]
    {
        let Some(proxy) = Proxy::start(kind).await else { continue };
        let url = proxy.url_for(LOGIN);
        let behind = behind(unused(), unused()).env("OPS_PROXY_VIA", &url).peer().await;
        let error = said(&behind, NOT_DIALLED, "error").await;
        assert!(error.contains(words) && error.contains("check that the name"), "{error}");
    }
}

#[tokio::test]
async fn a_link_comes_up_once_its_proxy_does() {
    let public = listening("").await;
    for kind in KINDS {
        let addr = unused();
        let url = format!("{}://{addr}", kind.scheme());
        let with_login = format!("{}://{LOGIN}@{addr}", kind.scheme());
        let launch = behind(public.listen(), unused()).env("OPS_PROXY_VIA", &with_login);
        let behind = launch.peer().await;
        let error = said(&behind, NOT_DIALLED, "error").await;
        assert!(error.starts_with(&format!("the proxy {url} cannot be reached: ")), "{error}");
        let Some(proxy) = Proxy::start_at(kind, addr).await else { continue };
        public.serves(&[NAME]).await;

        // And again, after it was gone for a while.
        drop(proxy);
        said(&behind, "link down", "reason").await;
        public.serves(&[]).await;
        let _proxy = Proxy::start_at(kind, addr).await;
        public.serves(&[NAME]).await;
        assert_eq!(said(&behind, LINK_UP, "via").await, url);
    }
}

/// A listening peer as the environment's proxy sees it: at a name of this machine that only
/// a resolver knows to be one.
#[tokio::test]
async fn the_environment_names_a_proxy_and_exceptions() {
    for kind in KINDS {
        let Some(proxy) = Proxy::start(kind).await else { continue };
        let url = proxy.url_for(LOGIN);
        let url = url.as_str();
        for (host, variables, is_used) in [
            ("127.1", [("HTTPS_PROXY", url), ("NO_PROXY", "")], true),
            ("127.1", [("all_proxy", url), ("NO_PROXY", "hub.example,127.0.0.0/8")], true),
            ("127.1", [("https_proxy", url), ("NO_PROXY", "hub.example,127.1")], false),
            ("127.1", [("ALL_PROXY", url), ("no_proxy", "*")], false),
            ("127.1", [("HTTPS_PROXY", url), ("OPS_PROXY_VIA", "none")], false),
            ("127.1", [("OPS_PROXY_VIA", url), ("NO_PROXY", "127.1")], false),
            ("127.0.0.1", [("HTTPS_PROXY", url), ("NO_PROXY", "")], false),
        ] {
            // The log of a proxy tells peers apart by the port that they ask for.
            let public = listening("").await;
            let port = public.listen().port();
            let mut launch =
                behind(format_args!("{host}:{port}"), unused()).args("--insecure-plaintext");
            for (name, value) in variables {
                launch = launch.env(name, value);
            }
            let behind = launch.peer().await;
            let via = said(&behind, LINK_UP, "via").await;
            assert_eq!(via, if is_used { proxy.url() } else { String::new() }, "{variables:?}");
            assert_eq!(proxy.asked_for(port) > 0, is_used, "{variables:?}");
            assert_discreet(&behind);
        }
    }
}

/// What `check` makes of this: its exit code, stdout and stderr.
async fn check(args: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut launch = launch().args("check --service a=127.0.0.1:1 --insecure-plaintext").args(args);
    for (name, value) in environment {
        launch = launch.env(name, value);
    }
    launch.start().output().await
}

#[tokio::test]
async fn check_says_which_proxy_is_used_for_which_listening_peer() {
    let environment =
        [("HTTPS_PROXY", "http://site:s3cr3t@proxy.example:3128"), ("NO_PROXY", "near.example")];
    let args = "--connect far.example:1 --connect hub.near.example:2 --connect 127.0.0.1:3";
    let (code, stdout, _) = check(args, &environment).await;
    let lines: Vec<&str> = stdout.lines().filter(|line| line.starts_with("connect ")).collect();
    let ends = [
        "far.example:1: registers the services below, unencrypted, through the proxy \
         http://proxy.example:3128 (HTTPS_PROXY)",
        "directly: on this machine or in NO_PROXY",
        "directly: on this machine or in NO_PROXY",
    ];
    assert_eq!((code, lines.len()), (Some(0), ends.len()), "{stdout}");
    assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{stdout}");
    assert!(!stdout.contains("s3cr3t"), "{stdout}");

    let via = [("OPS_PROXY_VIA", "socks5://proxy.example")];
    let (_, stdout, _) = check("--connect 127.0.0.1:3", &via).await;
    assert!(stdout.contains("through the proxy socks5://proxy.example:1080 (--via)"), "{stdout}");
    let (_, stdout, _) = check("--connect far.example:1", &[]).await;
    assert!(stdout.contains("unencrypted\n"), "{stdout}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_exit_2_and_its_password_is_not_repeated() {
    let secret = "https://site:s3cr3t@proxy.example:3128";
    for (args, environment, words) in [
        (format!("--connect a:1 --via {secret}"), vec![], "via: only http://"),
        ("--connect a:1".to_owned(), vec![("OPS_PROXY_VIA", secret)], "via: only http://"),
        ("--connect a:1".to_owned(), vec![("https_proxy", secret)], "https_proxy: only http://"),
        ("--connect a:1 --via socks5://s3cr3t@h".to_owned(), vec![], "via: SOCKS takes a user"),
        ("--listen 127.0.0.1:1 --via h:1".to_owned(), vec![], "via: only connections to"),
    ] {
        let (code, stdout, stderr) = check(&args, &environment).await;
        assert_eq!(code, Some(2), "{args}: {stderr}");
        assert!(stderr.contains(words), "{args}: {stderr}");
        assert!(!(stdout + &stderr).contains("s3cr3t"), "{args}");
    }
    let help = launch().args("run --help").env("OPS_PROXY_VIA", secret).start().output().await;
    assert!(help.1.contains("OPS_PROXY_VIA") && !help.1.contains("s3cr3t"), "{}", help.1);
}
