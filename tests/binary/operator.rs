//! What an operator has in hand: the answers of `/api/v1/`, the events that keep a status page
//! up to date, and the commands `status` and `trace`.

mod documented;

use std::collections::BTreeSet;

use ops_proxy::limits::{ADMIN_STREAMS_PER_SOURCE, STATUS_NAMES};
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::pki::{Ca, Request};
use ops_proxy_tests::process::Peer;
use ops_proxy_tests::wait::{until, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::{NAME, connecting, every_way, launch, listening};
use documented::Documented;

/// Serves a name whose backend refuses.
const REFUSING: &str = "no.example";

/// What the peer answers at `path`.
async fn json(peer: &Peer, path: &str) -> Value {
    let answer = peer.page(path).await;
    assert_eq!(answer.field("content-type"), "application/json");
    serde_json::from_str(&answer.text()).unwrap()
}

/// The ids of the requests for `name` that run.
async fn running(peer: &Peer, name: &str) -> Vec<String> {
    let requests = json(peer, "/api/v1/requests").await;
    let requests = requests["requests"].as_array().unwrap().iter();
    let of_name = requests.filter(|one| one["name"] == name);
    of_name.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// The id of the one request for `name` that runs.
async fn the_running(peer: &Peer, name: &str) -> String {
    until("a request that runs", async || running(peer, name).await.pop()).await
}

/// The last thing that went wrong with `name`, once something has.
async fn trouble(peer: &Peer, name: &str) -> Value {
    until("an error", async || {
        let errors = json(peer, "/api/v1/errors").await;
        errors["errors"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
    })
    .await
}

/// Runs a command on the peer; its exit code, stdout and stderr.
async fn ask(peer: &Peer, command: &str) -> (Option<i32>, String, String) {
    launch().args(&format!("{command} --admin {}", peer.admin())).start().output().await
}

/// A hub with certificates of its own, and a site that serves [`NAME`], [`REFUSING`] and a name
/// whose backend fails its checks.
async fn secure_mesh(ca: &Ca, backend: &Backend) -> (Peer, Peer, impl Sized + use<>) {
    let (refusing, refused) = backend::refusing();
    let names = [NAME, REFUSING, "sick.example"];
    let files = ca.issue("hub", Request::peer("hub", &["127.0.0.1"]));
    let front = tempfile::tempdir().unwrap();
    let public = ca.issue("public", Request::nobody(&["public.example"]));
    std::fs::copy(&public.cert, front.path().join("public.pem")).unwrap();
    std::fs::copy(&public.key, front.path().join("public.key")).unwrap();
    let front_flag = format!("--public-cert {}", front.path().display());
    let hub = listening(&format!("--peer-id hub {} {front_flag}", ca.flags(&files))).await;
    let files = ca.issue("site", Request::peer("site", &names));
    let config = front.path().join("site.toml");
    let services = format!(
        "[[service]]\nname = '{NAME}'\nbackend = '{}'\nways = ['http', 'connect']\n\
         [[service]]\nname = '{REFUSING}'\nbackend = '{refused}'\n\
         [[service]]\nname = 'sick.example'\nbackend = '{refused}'\n\
         health = {{ tcp = true, every = '1s', fall = 1 }}\n",
        backend.addr()
    );
    std::fs::write(&config, services).unwrap();
    let config = format!("--config {}", config.display());
    let args = format!("--peer-id site/one {} {config}", ca.flags(&files));
    let site = connecting(hub.listen(), &args).await;
    (hub, site, (refusing, front))
}

#[tokio::test]
async fn what_the_api_answers_is_what_is_documented() {
    let documented = Documented::read();
    let (ca, backend) = (Ca::new("ca"), Backend::echo().await);
    let (hub, site, _kept) = secure_mesh(&ca, &backend).await;
    let mut stream = until("a stream", async || {
        let mut stream = connect(hub.listen()).await;
        stream.write_all(client::connect_request(NAME).as_bytes()).await.unwrap();
        (client::head(&mut stream).await.status == 200).then_some(stream)
    })
    .await;
    client::assert_carries(&mut stream).await;
    until("a refused backend", async || {
        (client::get(hub.listen(), "/", REFUSING).await.status == 502).then_some(())
    })
    .await;
    until("the name to be withdrawn", async || {
        let names = json(&site, "/api/v1/names").await;
        let mut all = names["names"].as_array().unwrap().iter();
        all.any(|one| one["name"] == "sick.example" && one["state"] == "down").then_some(())
    })
    .await;
    let running = the_running(&hub, NAME).await;
    let failed = trouble(&hub, REFUSING).await["id"].as_str().unwrap().to_owned();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for peer in [&hub, &site] {
        for path in documented.paths() {
            for id in [&running, &failed] {
                let asked = path.replace("{id}", id);
                let answer = peer.page(&asked).await;
                assert_eq!(answer.status, 200, "{asked}");
                let json = serde_json::from_str(&answer.text()).unwrap();
                faults.extend(documented.faults(&path, 200, &json, &mut seen));
            }
            let bad = peer.page(&format!("{}?colour=red", path.replace("{id}", &running))).await;
            let json = serde_json::from_str(&bad.text()).unwrap();
            faults.extend(documented.faults(&path, bad.status, &json, &mut seen));
            assert_eq!(bad.status, 400, "{path}");
            if documented.parameters(&path).iter().any(|one| one == "limit") {
                let rows = json_len(peer, &format!("{path}?limit=1")).await;
                assert!(rows <= 1, "{rows} rows of {path}");
            }
        }
        let unknown = peer.page(&format!("/api/v1/requests/{}", "0".repeat(32))).await;
        let json = serde_json::from_str(&unknown.text()).unwrap();
        assert_eq!(unknown.status, 404);
        faults.extend(documented.faults("/api/v1/requests/{id}", 404, &json, &mut seen));
    }
    assert_eq!(faults, [""; 0]);
    // Whoever is told that there is no such path hears of each there is.
    let text = hub.page("/api/v1/nothing").await.text();
    for path in documented.paths() {
        let word = path.strip_prefix("/api/v1/").unwrap().replace("{id}", "ID");
        assert!(text.contains(&word), "{word} is not in {text}");
        assert!(documented.statuses(&path).contains("400"));
    }
    let never: Vec<String> = documented.fields().difference(&seen).cloned().collect();
    // These need many rows, or a provider that fails while another is there.
    let rare = ["next", "first_tried", "FirstTried.", "last_status"];
    let never: Vec<&String> =
        never.iter().filter(|field| !rare.iter().any(|rare| field.contains(rare))).collect();
    assert!(never.is_empty(), "documented, and never answered: {never:?}");
    client::assert_carries(&mut stream).await;
}

/// How many rows an answer has.
async fn json_len(peer: &Peer, path: &str) -> usize {
    let answer = json(peer, path).await;
    answer.as_object().unwrap().values().find_map(Value::as_array).map_or(0, Vec::len)
}

#[tokio::test]
async fn all_names_are_on_some_page_once_and_in_order() {
    const COUNT: usize = 1_234;
    let public = listening("").await;
    let names: Vec<String> = (0..COUNT).map(|index| format!("n{index:05}.example")).collect();
    let mut link = Link::on(connect(public.listen()).await);
    link.send("HELLO:1:many").await;
    link.welcomed().await;
    for line in names.chunks(60) {
        link.send(&format!("REGISTER:{},*.wild.example", line.join(","))).await;
        link.line().await;
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = json(&public, &format!("/api/v1/names?limit=500{after}")).await;
        assert_eq!(page["total"], COUNT + 1);
        let rows = page["names"].as_array().unwrap();
        assert!(rows.len() <= 500);
        seen.extend(rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", next.replace('*', "%2A")),
            None => break,
        }
    }
    assert_eq!(seen[0], "*.wild.example");
    assert_eq!(seen[1..], names);
    let over = public.page(&format!("/api/v1/names?limit={}", STATUS_NAMES + 1)).await;
    assert_eq!(over.status, 400);
}

#[tokio::test]
async fn one_id_tells_the_story_of_a_request_on_both_peers() {
    let backend = Backend::echo().await;
    let hub = listening("--peer-id hub").await;
    let service = format!("{} --peer-id site", every_way(NAME, backend.addr()));
    let site = connecting(hub.listen(), &service).await;
    hub.serves(&[NAME]).await;
    let mut stream = client::stream_to(hub.listen(), NAME).await;
    client::assert_carries(&mut stream).await;
    let client = stream.local_addr().unwrap().to_string();
    let id = the_running(&hub, NAME).await;
    let stories = [(&hub, "routed to site"), (&site, "hub asked this peer to serve it")];
    for (peer, role) in stories {
        let (code, told, stderr) = ask(peer, &format!("trace {id}")).await;
        assert_eq!(code, Some(0), "{stderr}");
        for said in [&id, NAME, client.as_str(), role, "it still runs", "the first byte"] {
            assert!(told.contains(said), "{said} is not in\n{told}");
        }
    }
    drop(stream);
    for (peer, role) in stories {
        let ended = until("its end", async || {
            let (_, told, _) = ask(peer, &format!("trace {id}.3")).await;
            told.contains("it ended well").then_some(told)
        })
        .await;
        assert!(ended.contains(role), "{ended}");
        assert!(running(peer, NAME).await.is_empty());
    }
}

#[tokio::test]
async fn http_requests_are_told_with_the_stretch_that_they_came_in() {
    let backend = Backend::named("app").await;
    let hub = listening(&format!("--service {NAME}={}", backend.addr())).await;
    let mut stream = connect(hub.listen()).await;
    for path in ["/a", "/b"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
        stream.write_all(get.as_bytes()).await.unwrap();
        assert_eq!(client::next_answer(&mut stream).await.status, 200);
    }
    let id = the_running(&hub, NAME).await;
    drop(stream);
    let story = until("both to be counted", async || {
        let (_, told, _) = ask(&hub, &format!("trace {id}")).await;
        told.contains("2 HTTP requests; the last answer was 200").then_some(told)
    })
    .await;
    assert!(story.contains("local was ready for it"), "{story}");
}

#[tokio::test]
async fn a_failed_request_is_explained_on_both_peers_and_an_unknown_one_is_a_failure() {
    let (_socket, refusing) = backend::refusing();
    let hub = listening("").await;
    let service = format!("--service {REFUSING}={refusing}");
    let site = connecting(hub.listen(), &service).await;
    hub.serves(&[REFUSING]).await;
    assert_eq!(client::get(hub.listen(), "/", REFUSING).await.status, 502);
    let id = trouble(&hub, REFUSING).await["id"].as_str().unwrap().to_owned();
    for peer in [&hub, &site] {
        let error = trouble(peer, REFUSING).await;
        assert_eq!(error["id"], id.as_str());
        assert!(error["failure"]["words"].as_str().unwrap().contains("is it running"), "{error}");
        let (code, told, _) = ask(peer, &format!("trace {id}")).await;
        assert_eq!(code, Some(0));
        assert!(told.contains("backend_refused") && told.contains("is it running"), "{told}");
    }
    let (code, told, stderr) = ask(&hub, &format!("trace {}", "ab".repeat(16))).await;
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(stderr.contains("knows no request") && stderr.contains("--admin"), "{stderr}");
    let (code, _, stderr) = ask(&hub, "trace ../metrics").await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("32 hex digits"), "{stderr}");
}

#[tokio::test]
async fn refusals_of_a_known_name_are_told_and_what_strangers_make_up_is_not() {
    let public = listening("").await;
    let link = Link::register(public.listen(), "site", &[NAME]).await;
    drop(link.into_stream());
    public
        .until("the name to be down", |m| m.value("ops_proxy_clients_connected", &[]) == 0.0)
        .await;
    for name in [NAME, "made-up.example", NAME, "b.made-up.example", NAME] {
        let status = client::get(public.listen(), "/", name).await.status;
        assert_eq!(status, if name == NAME { 503 } else { 404 });
    }
    let errors = json(&public, "/api/v1/errors").await;
    assert_eq!(errors["total"], 1, "{errors}");
    let error = &errors["errors"][0];
    assert_eq!((&error["name"], &error["times"]), (&NAME.into(), &3.into()));
    assert_eq!(error["failure"]["reason"], "no_client");
    let peer = json(&public, "/api/v1/peer").await;
    assert_eq!(peer["state"], "degraded");
    assert_eq!(peer["because"][0], format!("{NAME} is down"));
}

#[tokio::test]
async fn status_shows_a_peer_in_a_terminal_and_as_json() {
    let backend = Backend::http().await;
    let hub = listening("--peer-id hub").await;
    let service = format!("--service {NAME}={} --peer-id site/one", backend.addr());
    let site = connecting(hub.listen(), &service).await;
    hub.serves(&[NAME]).await;
    assert_eq!(client::get(hub.listen(), "/", NAME).await.status, 200);
    until("the request to be counted", async || {
        let (code, text, stderr) = ask(&hub, "status").await;
        assert_eq!(code, Some(0), "{stderr}");
        for said in ["hub is well", "1 of 1 names up", NAME, "site/one", "http,https,tcp"] {
            assert!(text.contains(said), "{said} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "it is no terminal");
        text.lines().any(|line| line.contains(NAME) && line.contains(" 1 ")).then_some(())
    })
    .await;
    let (_, text, _) = ask(&site, "status").await;
    let upstream = hub.listen().to_string();
    for said in ["site/one is well", "Registers with", &hub.listen().to_string(), "connecting"] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let (code, stdout, _) = ask(&site, "status --json").await;
    let all: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &all["peer"]["state"]), (Some(0), &"well".into()));
    let settings = all["config"]["settings"].as_array().unwrap();
    assert!(
        settings.iter().any(|one| one["key"] == "connect" && one["value"] == upstream.as_str())
    );
    let link = until("a heartbeat to be answered", async || {
        let links = json(&site, "/api/v1/links").await;
        links["links"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| !one["round_trip_seconds"].is_null())
            .cloned()
    })
    .await;
    assert_eq!((&link["peer"], &link["names"]), (&"hub".into(), &1.into()));
}

#[tokio::test]
async fn status_goes_on_while_it_watches() {
    let hub = listening("--peer-id hub").await;
    let watch = format!("status --watch --json --admin {}", hub.admin());
    let watching = launch().args(&watch).start();
    let states = || -> Vec<Value> {
        let lines = watching.stdout();
        let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.map(|all| all["peer"]["state"].clone()).collect()
    };
    until("two looks", async || (states().len() >= 2).then_some(())).await;
    let link = Link::register(hub.listen(), "site", &[NAME]).await;
    drop(link.into_stream());
    until("the change", async || (states().last() == Some(&"degraded".into())).then_some(())).await;
}

#[tokio::test]
async fn who_asks_where_nobody_answers_is_told_what_to_do() {
    let (_socket, nobody) = backend::refusing();
    for command in ["status", "status --watch", &format!("trace {}", "ab".repeat(16))] {
        let args = format!("{command} --admin {nobody}");
        let (code, stdout, stderr) = launch().args(&args).start().output().await;
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command}");
        let said = format!("nothing answers on {nobody}");
        assert!(stderr.contains(&said) && stderr.contains("another --admin?"), "{stderr}");
    }
    let other = Backend::http().await;
    let args = format!("status --admin {}", other.addr());
    let (code, _, stderr) = launch().args(&args).start().output().await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no peer of this version"), "{stderr}");
    let (code, help, _) = launch().args("--help").start().output().await;
    assert_eq!(code, Some(0));
    assert!(help.contains("status") && help.contains("trace"), "{help}");
}

/// Asks for the events of a status page.
async fn events(peer: &Peer) -> (u16, BufReader<TcpStream>) {
    let mut stream = connect(peer.admin()).await;
    stream.write_all(client::get_request("/events", "admin").as_bytes()).await.unwrap();
    let head = client::head(&mut stream).await;
    (head.status, BufReader::new(stream))
}

/// Reads on until a line has this in it; whether one came before the end.
async fn hears(events: &mut BufReader<TcpStream>, what: &str) -> bool {
    let listen = async {
        let mut line = String::new();
        loop {
            line.clear();
            match events.read_line(&mut line).await {
                Ok(0) | Err(_) => return false,
                Ok(_) if line.contains(what) => return true,
                Ok(_) => {}
            }
        }
    };
    within(what, listen).await
}

#[tokio::test]
async fn a_stream_of_events_tells_what_changes_and_ends_with_the_peer() {
    let mut hub = listening("--peer-id hub --drain-grace 1s --drain-limit 60s").await;
    let (status, mut page) = events(&hub).await;
    assert_eq!(status, 200);
    assert!(hears(&mut page, "every known name is served").await);
    let link = Link::register(hub.listen(), "site", &[NAME]).await;
    assert!(hears(&mut page, NAME).await);
    drop(link.into_stream());
    assert!(hears(&mut page, &format!("{NAME} is down")).await);
    hub.terminate();
    assert!(hears(&mut page, "this peer takes its leave").await);
    assert_eq!(hub.exit_code().await, 0, "a page that is open holds nobody up");
    assert!(!hears(&mut page, "anything after the end").await);
}

#[tokio::test]
async fn a_source_has_a_few_pages_kept_up_to_date_and_others_are_refused() {
    let hub = listening("").await;
    let mut pages = Vec::new();
    for _ in 0..ADMIN_STREAMS_PER_SOURCE {
        let (status, mut page) = events(&hub).await;
        assert_eq!(status, 200);
        assert!(hears(&mut page, "event: part").await);
        pages.push(page);
    }
    assert_eq!(events(&hub).await.0, 503);
    assert_eq!(hub.page("/healthz").await.status, 200);
    drop(pages.pop());
    until("the place of one that is closed", async || (events(&hub).await.0 == 200).then_some(()))
        .await;
}

/// Read by whoever has no scripts, or no eyes for colours.
#[tokio::test]
async fn the_page_says_everything_before_any_script_has_run() {
    let public = listening("--peer-id hub").await;
    let link = Link::register(public.listen(), "site", &[NAME]).await;
    drop(link.into_stream());
    public
        .until("the name to be down", |m| m.value("ops_proxy_clients_connected", &[]) == 0.0)
        .await;
    assert_eq!(client::get(public.listen(), "/", NAME).await.status, 503);
    let page = public.page("/").await;
    let policy = page.field("content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"));
    let text = page.text();
    let before = text.split("<script>").next().unwrap();
    for said in
        ["Degraded", &format!("{NAME} is down"), "no_client", "no peer serves this name now"]
    {
        assert!(before.contains(said), "{said} is not on the page");
    }
    assert!(!text.contains("style=\"") && !text.contains("http-equiv"));
    assert!(!text.contains("src=") && !text.contains("//cdn"), "nothing comes from elsewhere");
}
