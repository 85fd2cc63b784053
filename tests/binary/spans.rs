//! Spans by OTLP: one of each request on each peer, all in one trace.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use ops_proxy_tests::backend::{self, Backend};
use ops_proxy_tests::client::{self, connect};
use ops_proxy_tests::collector::{Collector, Posted};
use ops_proxy_tests::link::Link;
use ops_proxy_tests::process::Peer;
use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::{NAME, connecting, launch, listening};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// What a collector was told of a request.
#[derive(Debug, Clone)]
struct Told {
    peer: String,
    trace: String,
    span: String,
    parent: String,
    name: String,
    failed: bool,
    nanos: u64,
    events: Vec<String>,
    attributes: BTreeMap<String, String>,
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |one: &KeyValue| match one.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some((one.key.clone(), text.clone())),
        Value::IntValue(number) => Some((one.key.clone(), number.to_string())),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn told(posted: &[Posted]) -> Vec<Told> {
    let mut told = Vec::new();
    for one in posted {
        assert_eq!(one.path, "/v1/traces");
        assert_eq!(one.fields["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(&one.body[..]).expect("OTLP in protobuf");
        for resource in request.resource_spans {
            let of_peer = attributes(&resource.resource.expect("who sends is told").attributes);
            assert_eq!(of_peer["service.name"], "ops-proxy");
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            told.extend(spans.map(|span| Told {
                peer: of_peer["service.instance.id"].clone(),
                trace: hex(&span.trace_id),
                span: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                failed: span.status.is_some_and(|status| status.code == 2),
                nanos: span.end_time_unix_nano - span.start_time_unix_nano,
                events: span.events.into_iter().map(|event| event.name).collect(),
                attributes: attributes(&span.attributes),
            }));
        }
    }
    told
}

/// The spans of `peer`, once there are so many.
async fn of(collector: &Collector, peer: &str, count: usize) -> Vec<Told> {
    collector
        .until(&format!("{count} spans of {peer}"), |posted| {
            let told = told(posted).into_iter().filter(|one| one.peer == peer);
            let told: Vec<Told> = told.collect();
            (told.len() >= count).then_some(told)
        })
        .await
}

async fn ask(peer: &Peer, name: &str, fields: &str) -> client::Answer {
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n{fields}Connection: close\r\n\r\n");
    client::exchange(peer.listen(), request.as_bytes()).await
}

#[tokio::test]
async fn a_request_is_a_span_on_each_peer_in_the_trace_of_its_client() {
    let (http, collector) = (Backend::http().await, Collector::answering(200).await);
    let otlp = format!("--otlp {}", collector.url());
    let hub = listening(&format!("--peer-id hub {otlp}")).await;
    let service = format!("--service {NAME}={}", http.addr());
    let _site = connecting(hub.listen(), &format!("{service} --peer-id site {otlp}")).await;
    hub.serves(&[NAME]).await;
    let field = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    assert_eq!(ask(&hub, NAME, &field).await.status, 200);
    let of_hub = of(&collector, "hub", 1).await.remove(0);
    let of_site = of(&collector, "site", 1).await.remove(0);
    assert_eq!((&*of_hub.trace, &*of_hub.parent), (TRACE, PARENT));
    assert_eq!((&*of_site.trace, &of_site.parent), (TRACE, &of_hub.span));
    for (one, kind, provider) in [(&of_hub, "routed", "site"), (&of_site, "served", "local")] {
        assert_eq!(one.name, format!("http {NAME}"));
        assert!(!one.failed && one.nanos > 0, "{one:?}");
        assert_eq!(one.events, ["connected", "first byte"]);
        assert_eq!(one.attributes["ops_proxy.kind"], kind);
        assert_eq!(one.attributes["ops_proxy.provider"], provider);
        assert_eq!(one.attributes["ops_proxy.id"], of_hub.attributes["ops_proxy.id"]);
        assert_eq!(one.attributes["client.address"], "127.0.0.1");
    }
    assert_eq!(of_hub.attributes["http.response.status_code"], "200");
    let traced = hub.page(&format!("/api/v1/requests/{}", of_hub.attributes["ops_proxy.id"])).await;
    assert_eq!(traced.status, 200);
    hub.until("the count of spans", |metrics| {
        metrics.value("ops_proxy_spans_sent_total", &[]) == 1.0
    })
    .await;
    assert_eq!(hub.metrics().await.value("ops_proxy_spans_lost_total", &[]), 0.0);
}

#[tokio::test]
async fn what_a_client_has_not_sampled_is_not_sent_and_what_begins_here_is() {
    let (http, collector) = (Backend::http().await, Collector::answering(200).await);
    let (_socket, refusing) = backend::refusing();
    let services = format!("--service {NAME}={} --service dead.example={refusing}", http.addr());
    let args = format!("--peer-id hub --otlp {} {services}", collector.url());
    let hub = listening(&args).await;
    let field = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    assert_eq!(ask(&hub, NAME, &field).await.status, 200);
    assert_eq!(ask(&hub, "dead.example", "").await.status, 502);
    // What a client says wrongly begins a trace, too.
    assert_eq!(ask(&hub, NAME, "traceparent: nonsense\r\n").await.status, 200);
    let spans = of(&collector, "hub", 2).await;
    assert!(spans.iter().all(|one| one.trace != TRACE && one.parent.is_empty()), "{spans:?}");
    assert_ne!(spans[0].trace, spans[1].trace);
    let dead = spans.iter().find(|one| one.name == "http dead.example").unwrap();
    assert!(dead.failed);
    assert_eq!(dead.attributes["error.type"], "backend_unreachable");
}

#[tokio::test]
async fn a_peer_that_records_no_trace_of_its_own_says_so_to_the_next() {
    let collector = Collector::answering(200).await;
    let hub = listening(&format!("--otlp {} --otlp-sample 0", collector.url())).await;
    let mut link = Link::register(hub.listen(), "by-hand", &[NAME]).await;
    for (field, wanted) in [
        (String::new(), ("", "-00")),
        (format!("TraceParent: 00-{TRACE}-{PARENT}-01\r\n"), (TRACE, "-01")),
    ] {
        let mut client = connect(hub.listen()).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n{field}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let line = link.line().await;
        let (_, context) = line.split_once(";traceparent=00-").expect("FORWARD tells the trace");
        let (trace, end) = wanted;
        assert!(context.starts_with(trace) && context.ends_with(end), "{line}");
        assert!(!context.contains(PARENT), "the span is the hub's own: {line}");
    }
    // Without --otlp, nothing is told.
    let hub = listening("").await;
    let mut link = Link::register(hub.listen(), "by-hand", &[NAME]).await;
    let mut client = connect(hub.listen()).await;
    let request =
        format!("GET / HTTP/1.1\r\nHost: {NAME}\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(!link.line().await.contains("traceparent"));
}

#[tokio::test]
async fn spans_that_cannot_be_sent_are_counted_and_hold_nothing_up() {
    let (http, collector) = (Backend::http().await, Collector::answering(503).await);
    let service = format!("--service {NAME}={}", http.addr());
    let hub = listening(&format!("{service} --otlp {}", collector.url())).await;
    for _ in 0..3 {
        assert_eq!(ask(&hub, NAME, "").await.status, 200);
    }
    let metrics = hub
        .until("lost spans", |metrics| metrics.value("ops_proxy_spans_lost_total", &[]) == 3.0)
        .await;
    assert_eq!(metrics.value("ops_proxy_spans_sent_total", &[]), 0.0);
    let said =
        hub.logged("what is lost", |event| event.message().contains("cannot send spans")).await;
    assert!(said.field("error").contains("503"), "{said:?}");
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_process_ends() {
    let (http, collector) = (Backend::http().await, Collector::answering(200).await);
    let service = format!("--service {NAME}={}", http.addr());
    let args = format!("--peer-id hub --drain-grace 10ms {service} --otlp {}", collector.url());
    let mut hub = listening(&args).await;
    assert_eq!(ask(&hub, NAME, "").await.status, 200);
    hub.terminate();
    assert_eq!(hub.process().first_ended().await, Some(0));
    assert_eq!(told(&collector.posted()).len(), 1);
}

#[tokio::test]
async fn a_collector_that_cannot_be_is_refused_with_the_remedy() {
    for (args, wanted) in [
        ("--otlp https://collector:4318", "use http://"),
        ("--otlp collector:4318", "such as http://127.0.0.1:4318"),
        ("--otlp http://:4318", "such as http://127.0.0.1:4318"),
        ("--otlp-sample 0.5", "set otlp, too"),
        ("--otlp http://[::1] --otlp-sample 2", "from 0 to 1"),
    ] {
        let args = format!("check --listen 127.0.0.1:0 {args}");
        let (code, _, said) = launch().args(&args).start().output().await;
        assert_eq!(code, Some(2), "{args}: {said}");
        assert!(said.contains(wanted), "{args}: {said}");
    }
}
