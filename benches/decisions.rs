//! The decisions that every line, connection and request waits for.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ops_proxy::classify::proxy_protocol::{self, Progress};
use ops_proxy::classify::{Verdict, classify};
use ops_proxy::http::{Admission, Client, Conversation, Told};
use ops_proxy::limits::NAMES_PER_LINK;
use ops_proxy::mesh::routes::{LinkId, Lookup, Routes, Wanted};
use ops_proxy::names::{Name, ProxyId};
use ops_proxy::offer::{Offer, Way};
use ops_proxy::trust::{Identity, Owner};
use ops_proxy::wire::{Line, LineBuffer, Requested};
use ops_proxy_tests::hello;
use tokio::time::Instant;

fn name(text: &str) -> Name {
    Name::registered(text).unwrap()
}

fn wanted(name: &Name) -> Wanted<'_> {
    Wanted { name, way: Way::Http, client: Ipv4Addr::LOCALHOST.into(), tried: None }
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("line");
    let id = ProxyId::from_random([0xa5; 16]);
    let requested = Requested {
        name: name("app.example.org"),
        way: Way::Http,
        source: "[2001:db8::7]:54321".parse().unwrap(),
        dest: None,
        authority: None,
        tls: None,
        trace: None,
    };
    let forward = Line::Forward(id, requested);
    let offer = |n| Offer::from(name(&format!("app-{n}.example")));
    let register = Line::Register((0..100).map(offer).collect());
    for (what, line) in [("FORWARD", forward), ("REGISTER of 100 names", register)] {
        let text = line.to_string();
        group.bench_function(BenchmarkId::new("parse", what), |b| {
            b.iter(|| Line::parse(black_box(text.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("format", what), |b| {
            b.iter(|| black_box(&line).to_string());
        });
        group.bench_function(BenchmarkId::new("cut", what), |b| {
            let text = format!("{text}\n");
            b.iter(|| LineBuffer::starting_with(black_box(text.as_bytes())).next_line());
        });
    }
    group.finish();
}

fn first_bytes(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    let fields = "Accept: text/html\r\nUser-Agent: a browser of some length/1.0\r\n\
        Accept-Language: en\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n";
    let get = format!("GET /a/path?with=a&query HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n");
    let connect = "CONNECT app.example:443 HTTP/1.1\r\nHost: app.example:443\r\n\r\n";
    let peer = "HELLO:1:a-peer\n";
    for (what, bytes) in [
        ("GET", get.into_bytes()),
        ("CONNECT", connect.as_bytes().to_vec()),
        ("ClientHello", hello::first_bytes("app.example")),
        ("peer", peer.as_bytes().to_vec()),
    ] {
        let verdict = classify(&bytes);
        assert!(verdict.is_some_and(|found| !matches!(found, Verdict::Refused(_))), "{what}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(what, |b| b.iter(|| classify(black_box(&bytes))));
    }
    group.finish();
}

/// What a trusted proxy sends before those.
fn proxy_headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("PROXY");
    let first = b"PROXY TCP4 203.0.113.7 192.0.2.1 54321 443\r\n".to_vec();
    let second = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[203, 0, 113, 7, 192, 0, 2, 1, 0xd4, 0x31, 1, 0xbb],
    ];
    for (what, bytes) in [("version 1", first), ("version 2", second.concat())] {
        let read = proxy_protocol::parse(&bytes);
        assert!(matches!(read, Progress::Header { ends: Some(_), .. }), "{what}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(what, |b| b.iter(|| proxy_protocol::parse(black_box(&bytes))));
    }
    group.finish();
}

/// A request of a stretch and its answer, from the first byte to the count.
fn exchanges(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    let request = b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";
    let answer = [
        &b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 05:00:00 GMT\r\n\
        Content-Type: application/octet-stream\r\nContent-Length: 64\r\n\
        Connection: keep-alive\r\n\r\n"[..],
        &[b'x'; 64],
    ]
    .concat();
    for (what, told) in [("unchanged", false), ("with its client", true)] {
        let mut conversation = Conversation::new(name("app.example"), Instant::now());
        if told {
            let client = Client { ip: Ipv4Addr::LOCALHOST.into(), secure: false, trusted: false };
            conversation.tell(Told::new(client, ProxyId::from_random([0xa5; 16])));
        }
        group.bench_function(what, |b| {
            b.iter(|| {
                let mut out = BytesMut::new();
                match conversation.admit_request(black_box(request)) {
                    Admission::Reword(length) => conversation.reword(&request[..length], &mut out),
                    admission => assert_eq!(admission, Admission::Pass(request.len() as u64)),
                }
                conversation.passed_request(request.len() as u64);
                let admission = conversation.admit_answer(black_box(&answer));
                assert_eq!(admission, Admission::Pass(answer.len() as u64));
                conversation.passed_answer(answer.len() as u64);
                assert_eq!(conversation.finished().count(), 1);
                out
            });
        });
    }
    group.finish();
}

/// `count` names, each served by one link.
fn table(count: usize) -> Routes<()> {
    let mut routes = Routes::default();
    let offer = |n| Offer::from(name(&format!("app-{n}.example")));
    let offers: Vec<Offer> = (0..count).map(offer).collect();
    for (link, offers) in offers.chunks(NAMES_PER_LINK).enumerate() {
        let id = LinkId(link as u64);
        let peer = format!("peer-{link}").parse().unwrap();
        routes.open_link(id, Owner::new(peer, &Identity::Plaintext(Ipv4Addr::LOCALHOST.into())));
        routes.register(id, offers).unwrap();
    }
    routes
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [10, 10_000, 100_000] {
        let mut routes = table(count);
        let known = Name::requested(&format!("app-{}.example", count / 2)).unwrap();
        group.bench_function(BenchmarkId::new("known", count), |b| {
            b.iter(|| match routes.assign(wanted(black_box(&known)), |_, _, _| true) {
                Lookup::Provided(assigned) => routes.release(&assigned.name, assigned.provider),
                _ => panic!("the name is served"),
            });
        });
        let unknown = Name::requested("nobody.example").unwrap();
        group.bench_function(BenchmarkId::new("unknown", count), |b| {
            b.iter(|| routes.assign(wanted(black_box(&unknown)), |_, _, _| true));
        });
    }
    group.finish();
}

criterion_group!(benches, lines, first_bytes, proxy_headers, exchanges, routes);
criterion_main!(benches);
