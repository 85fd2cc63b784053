//! A scrape of `/metrics`, and what a request pays for being counted.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ops_proxy::config::Capacity;
use ops_proxy::config::PeerConfig;
use ops_proxy::mesh::routes::{Lookup, Wanted};
use ops_proxy::mesh::tables::Mesh;
use ops_proxy::names::Name;
use ops_proxy::observe::metrics::{Metrics, NameStats, Protocol};
use ops_proxy::offer::{Offer, Way, Ways};

fn metrics() -> Arc<Metrics> {
    let mut config = PeerConfig::new("bench".parse().unwrap());
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    Arc::new(Metrics::new(&config))
}

/// A mesh that serves `count` names, each of which has had one request.
fn mesh(metrics: &Arc<Metrics>, count: usize) -> Mesh<()> {
    let names: Vec<Name> =
        (0..count).map(|n| Name::registered(&format!("app-{n}.example")).unwrap()).collect();
    let offers = names.iter().cloned().map(Offer::from);
    let mesh = Mesh::new(metrics.clone(), Capacity::default(), Ways::ALL, offers);
    for name in &names {
        let client = Ipv4Addr::LOCALHOST.into();
        let wanted = Wanted { name, way: Way::Http, client, tried: None };
        let Lookup::Provided(assignment) = mesh.assign(wanted) else { panic!("served") };
        assignment.stats.request_began(Protocol::Http);
        assignment.stats.first_byte(Protocol::Http, Duration::from_millis(3));
        assignment.stats.request_succeeded(Protocol::Http);
        mesh.release(&assignment);
    }
    mesh
}

fn scrape(c: &mut Criterion) {
    let mut group = c.benchmark_group("scrape");
    group.sample_size(10);
    for count in [10, 10_000, 100_000] {
        let metrics = metrics();
        let mesh = mesh(&metrics, count);
        // Requests wait for the lock that a snapshot holds; for rendering, nobody.
        group.bench_function(BenchmarkId::new("snapshot", count), |b| b.iter(|| mesh.snapshot()));
        let snapshot = mesh.snapshot();
        group.bench_function(BenchmarkId::new("render", count), |b| {
            b.iter(|| metrics.render(black_box(&snapshot)));
        });
    }
    group.finish();
}

fn count(c: &mut Criterion) {
    let stats = NameStats::default();
    c.bench_function("count/a request", |b| {
        b.iter(|| {
            stats.request_began(Protocol::Https);
            stats.first_byte(Protocol::Https, Duration::from_millis(3));
            stats.request_succeeded(Protocol::Https);
        });
    });
    c.bench_function("count/a chunk", |b| b.iter(|| stats.sent(black_box(16 * 1024))));
}

criterion_group!(benches, scrape, count);
criterion_main!(benches);
