//! From what a peer holds to what operators are told. Names and requests are read some at a
//! time, with room for others between two readings.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::backend::health::board::Standing;
use crate::config::{PeerConfig, Service};
use crate::limits::{
    CERTIFICATE_SOON, DAY, RATE_EVERY, SNAPSHOT_ROWS, STATUS_NAMES, STATUS_REASONS,
};
use crate::mesh::look::{KnownLink, KnownName};
use crate::mesh::routes::LinkId;
use crate::names::{Name, ProxyId};
use crate::observe::api;
use crate::observe::journal::{Failure, Record, ServedBy, Trouble};
use crate::observe::metrics::{Counts, ProxyError, Served};
use crate::observe::own_links::OwnLink;
use crate::observe::rates::Counted;
use crate::offer::Ways;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;
use crate::trust::HeldCertificate;
use crate::version;

/// Which rows are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The first ones after this.
    pub(super) after: Option<String>,
    /// So many at most.
    pub(super) limit: usize,
}

impl Wanted {
    /// The first ones.
    pub(super) fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// Where a list goes on that is counted.
    fn number(&self) -> u64 {
        self.after.as_deref().and_then(|after| after.parse().ok()).unwrap_or(0)
    }
}

/// Reads the counters from time to time, so that there is a last minute to tell of.
pub(super) async fn keep_reading<N: Net>(shared: &Shared<N>) {
    loop {
        let served = shared.metrics.served_by_name();
        let mut reading = BTreeMap::new();
        each_name(shared, None, STATUS_NAMES, |known| {
            let counted = counted(&known.stats.snapshot(), served_of(&served, &known.name));
            reading.insert(known.name, counted);
        })
        .await;
        shared.rates.read(Instant::now(), reading);
        sleep(RATE_EVERY).await;
    }
}

/// The peer itself.
pub(super) async fn peer<N: Net>(shared: &Shared<N>) -> api::Peer {
    let config = shared.config_of_now();
    let census = census(shared).await;
    let phase = shared.tasks.phase();
    let upstream = |one: &crate::config::Upstream| api::Upstream {
        address: one.to_string(),
        state: up(shared.metrics.is_link_up(&one.endpoint)),
    };
    let upstreams: Vec<api::Upstream> = config.connect.iter().map(upstream).collect();
    let mut because: Vec<String> =
        census.down.iter().map(|name| format!("{name} is down")).collect();
    let unlinked = upstreams.iter().filter(|one| one.state == api::Up::Down);
    because.extend(unlinked.map(|one| format!("no link to {}", one.address)));
    because.truncate(STATUS_REASONS);
    let state = match phase {
        Phase::Draining | Phase::Finishing | Phase::Closing => api::State::Draining,
        Phase::Serving if because.is_empty() => api::State::Well,
        Phase::Serving => api::State::Degraded,
    };
    let roles = [("listening", config.is_listening()), ("connecting", config.is_connecting())];
    let uptime = shared.journal.began().elapsed();
    api::Peer {
        id: shared.peer_id.to_string(),
        version: version::NUMBER.to_owned(),
        node: config.node.clone(),
        pod: config.pod.clone(),
        state,
        because,
        phase: phase_word(phase).to_owned(),
        ready: shared.is_ready(),
        roles: roles.iter().filter(|(_, is)| *is).map(|(role, _)| (*role).to_owned()).collect(),
        started: ago(shared, uptime),
        uptime_seconds: seconds(uptime),
        names: census.count as u64,
        names_up: census.up as u64,
        links_in: shared.mesh.link_count() as u64,
        links_out: shared.own_links.all().len() as u64,
        requests: shared.journal.running_count() as u64,
        pending: shared.mesh.snapshot_without_names().pending,
        upstreams,
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Draining => "draining",
        Phase::Finishing => "finishing",
        Phase::Closing => "closing",
    }
}

struct AllNames {
    count: usize,
    up: usize,
    down: Vec<String>,
}

async fn census<N: Net>(shared: &Shared<N>) -> AllNames {
    let mut all = AllNames { count: 0, up: 0, down: Vec::new() };
    let mut last: Option<Name> = None;
    loop {
        let room = STATUS_REASONS - all.down.len();
        let some = shared.mesh.census_after(last.as_ref(), SNAPSHOT_ROWS, room);
        all.count += some.count;
        all.up += some.up;
        all.down.extend(some.down);
        last = some.last.or(last);
        if some.count < SNAPSHOT_ROWS {
            return all;
        }
        yield_now().await;
    }
}

/// Hands over the first names after `after`, `most` at most; whether there are more.
async fn each_name<N: Net>(
    shared: &Shared<N>,
    after: Option<String>,
    most: usize,
    mut take: impl FnMut(KnownName),
) -> bool {
    let (mut last, mut left) = (after, most);
    while left > 0 {
        let wanted = left.min(SNAPSHOT_ROWS);
        let rows = shared.mesh.names_after(last.as_deref(), wanted);
        let count = rows.len();
        last = rows.last().map(|row| row.name.clone()).or(last);
        left -= count;
        rows.into_iter().for_each(&mut take);
        if count < wanted {
            return false;
        }
        yield_now().await;
    }
    !shared.mesh.names_after(last.as_deref(), 1).is_empty()
}

/// Some of the names.
pub(super) async fn names<N: Net>(shared: &Shared<N>, wanted: Wanted) -> api::Names {
    let (config, standings) = (shared.config_of_now(), shared.health.standings());
    let served = shared.metrics.served_by_name();
    let mut names: Vec<api::Name> = Vec::new();
    let mut all_counted: Vec<Counted> = Vec::new();
    let has_more = each_name(shared, wanted.after, wanted.limit, |known| {
        let counts = known.stats.snapshot();
        let served = served_of(&served, &known.name);
        all_counted.push(counted(&counts, served));
        names.push(name(known, &counts, served, &config, &standings));
    })
    .await;
    let counted = names.iter().map(|one| one.name.as_str()).zip(all_counted);
    let last_minute = shared.rates.last_minute(Instant::now(), counted);
    for (name, last_minute) in names.iter_mut().zip(last_minute) {
        name.last_minute = api::LastMinute {
            requests: last_minute.requests,
            failed: last_minute.failed,
            bytes_sent: last_minute.sent,
            bytes_received: last_minute.received,
        };
    }
    let next = names.last().filter(|_| has_more).map(|last| last.name.clone());
    api::Names { total: census(shared).await.count as u64, next, names }
}

fn served_of(served: &BTreeMap<String, Served>, name: &str) -> Served {
    served.get(name).copied().unwrap_or_default()
}

/// What passed through this peer for a name, in either of its roles.
fn counted(counts: &Counts, served: Served) -> Counted {
    let (requests, _, failed) = counts.requests_in_all();
    Counted {
        requests: requests + served.total,
        failed: failed + served.failed,
        sent: counts.bytes_tx + served.sent,
        received: counts.bytes_rx + served.received,
    }
}

fn name(
    known: KnownName,
    counts: &Counts,
    served: Served,
    config: &PeerConfig,
    standings: &BTreeMap<Name, Standing>,
) -> api::Name {
    let (requests, succeeded, failed) = counts.requests_in_all();
    let latency = counts.requests.iter().fold((Duration::ZERO, 0), |(sum, count), one| {
        (sum + one.latency_sum, count + one.latency_count)
    });
    let errors = ProxyError::ALL.iter().zip(&counts.errors).filter(|(_, count)| **count > 0);
    let service = config.services.get(known.name.as_str());
    api::Name {
        state: up(!known.providers.is_empty()),
        down_for_seconds: known.unserved_since.map(|since| seconds(since.elapsed())),
        unhealthy: known.is_unhealthy,
        ways: words(known.ways),
        providers: known.providers,
        service: service.map(|one| service_of(one, standings.get(known.name.as_str()))),
        active: counts.active,
        requests,
        succeeded,
        failed,
        bytes_sent: counts.bytes_tx,
        bytes_received: counts.bytes_rx,
        latency_seconds: (latency.1 > 0).then(|| latency.0.as_secs_f64() / latency.1 as f64),
        errors: errors.map(|(reason, count)| (reason.to_string(), *count)).collect(),
        served: api::Served {
            requests: served.total,
            failed: served.failed,
            bytes_sent: served.sent,
            bytes_received: served.received,
        },
        last_minute: api::LastMinute::default(),
        name: known.name,
    }
}

fn words(ways: Ways) -> Vec<String> {
    ways.iter().map(|way| way.to_string()).collect()
}

fn service_of(service: &Service, standing: Option<&Standing>) -> api::Service {
    let leads_to = |address: &crate::config::Endpoint| {
        let ways = service.terms.ways.iter();
        let ways = ways.filter(|way| service.backend(*way) == Some(address));
        api::Backend {
            address: address.to_string(),
            ways: ways.map(|way| way.to_string()).collect(),
        }
    };
    api::Service {
        backends: service.backends().into_iter().map(leads_to).collect(),
        health: standing.map(|standing| up(standing.is_up)),
        last_failure: standing.and_then(|one| one.last_failure.as_deref().map(str::to_owned)),
    }
}

fn up(is_up: bool) -> api::Up {
    if is_up { api::Up::Up } else { api::Up::Down }
}

/// Some of the links: on the first page, those of this peer to others, however many; then the
/// links of others to this one.
pub(super) fn links<N: Net>(shared: &Shared<N>, wanted: &Wanted) -> api::Links {
    let own = shared.own_links.all();
    let total = (own.len() + shared.mesh.link_count()) as u64;
    let mut links = match wanted.after {
        None => own.iter().map(|link| own_link(link)).collect(),
        Some(_) => Vec::new(),
    };
    let room = wanted.limit.saturating_sub(links.len()).max(1);
    let others = shared.mesh.links_after(LinkId(wanted.number()), room + 1);
    let next = others.get(room - 1).filter(|_| others.len() > room);
    let next = next.map(|last| last.id.0.to_string());
    links.extend(others.iter().take(room).map(link));
    api::Links { total, next, links }
}

fn own_link(link: &OwnLink) -> api::Link {
    api::Link {
        role: "connecting".to_owned(),
        peer: link.hub().map(ToString::to_string),
        identity: None,
        upstream: Some(link.upstream.clone()),
        remote: link.remote.map(|remote| remote.to_string()),
        age_seconds: seconds(link.since.elapsed()),
        round_trip_seconds: link.round_trip().map(seconds),
        names: link.names() as u64,
        idle_data: link.idle() as u64,
    }
}

fn link(link: &KnownLink) -> api::Link {
    api::Link {
        role: "listening".to_owned(),
        peer: Some(link.peer.to_string()),
        identity: Some(link.identity.to_string()),
        upstream: None,
        remote: link.source.map(|source| source.to_string()),
        age_seconds: seconds(link.since.elapsed()),
        round_trip_seconds: None,
        names: link.names as u64,
        idle_data: link.idle as u64,
    }
}

/// Some of the requests that run.
pub(super) async fn requests<N: Net>(shared: &Shared<N>, wanted: Wanted) -> api::Requests {
    let (mut place, mut left) = (wanted.number(), wanted.limit);
    let mut requests = Vec::new();
    while left > 0 {
        let some = shared.journal.running_after(place, left.min(SNAPSHOT_ROWS));
        let Some((last, _)) = some.last() else { break };
        (place, left) = (*last, left - some.len());
        requests.extend(some.iter().map(|(_, record)| request(shared, record)));
        yield_now().await;
    }
    let has_more = !shared.journal.running_after(place, 1).is_empty();
    let total = shared.journal.running_count() as u64;
    api::Requests { total, next: has_more.then(|| place.to_string()), requests }
}

/// All that is known of one request.
pub(super) fn found<N: Net>(shared: &Shared<N>, id: ProxyId) -> api::Requests {
    let found = shared.journal.find(id);
    let requests: Vec<_> = found.iter().map(|record| request(shared, record)).collect();
    api::Requests { total: requests.len() as u64, next: None, requests }
}

fn request<N: Net>(shared: &Shared<N>, record: &Record) -> api::Request {
    let (known, end) = (&record.known, record.end());
    let (outcome, failure) = match end {
        None => ("running", None),
        Some(end) if end.failure.is_none() => ("ok", None),
        Some(end) => ("failed", end.failure),
    };
    let first_tried = record.first_tried();
    api::Request {
        id: record.id().to_string(),
        kind: known.kind.to_string(),
        client: known.client.to_string(),
        name: known.name.to_string(),
        way: known.way.to_string(),
        provider: by(&record.by()),
        first_tried: first_tried
            .map(|(id, tried)| api::FirstTried { id: id.to_string(), provider: by(tried) }),
        asked_by: known.asked_by.as_ref().map(ToString::to_string),
        began: ago(shared, record.age()),
        age_seconds: seconds(end.map_or_else(|| record.age(), |end| end.after)),
        connected_after_seconds: record.connected().map(seconds),
        first_byte_after_seconds: record.first_byte().map(seconds),
        bytes_sent: record.sent(),
        bytes_received: record.received(),
        http_requests: record.exchanges(),
        last_status: record.status(),
        outcome: outcome.to_owned(),
        failure: failure.map(explained),
    }
}

fn by(by: &ServedBy) -> String {
    match by {
        ServedBy::Local => "local".to_owned(),
        ServedBy::Upstream => "upstream".to_owned(),
        ServedBy::Peer(peer) => peer.to_string(),
    }
}

fn explained(failure: Failure) -> api::Failure {
    api::Failure {
        reason: failure.reason.to_owned(),
        detail: failure.detail.map(str::to_owned),
        words: failure.in_words().to_owned(),
    }
}

/// What went wrong last.
pub(super) fn errors<N: Net>(shared: &Shared<N>, limit: usize) -> api::Errors {
    let all = shared.journal.troubles();
    let total = all.len() as u64;
    let errors = all.iter().take(limit).map(|one| trouble(shared, one)).collect();
    api::Errors { total, errors }
}

fn trouble<N: Net>(shared: &Shared<N>, trouble: &Trouble) -> api::Trouble {
    let elapsed = trouble.at.elapsed();
    api::Trouble {
        at: ago(shared, elapsed),
        ago_seconds: seconds(elapsed),
        times: trouble.times,
        id: trouble.id.map(|id| id.to_string()),
        kind: trouble.kind.to_string(),
        name: trouble.name.to_string(),
        way: trouble.way.to_string(),
        client: trouble.client.to_string(),
        failure: explained(trouble.failure),
    }
}

/// Some of the certificates that are loaded.
pub(super) fn certificates<N: Net>(shared: &Shared<N>, wanted: &Wanted) -> api::Certificates {
    let loaded = shared.tls.as_ref().map(|tls| tls.current());
    let mut held = loaded.map(|loaded| loaded.held().to_vec()).unwrap_or_default();
    held.extend(shared.front.iter().flat_map(|front| front.held()));
    let first = usize::try_from(wanted.number()).unwrap_or(usize::MAX).min(held.len());
    let last = first.saturating_add(wanted.limit).min(held.len());
    let now = shared.net.unix_time();
    api::Certificates {
        total: held.len() as u64,
        next: (last < held.len()).then(|| last.to_string()),
        certificates: held[first..last].iter().map(|one| certificate(one, now)).collect(),
    }
}

fn certificate(held: &HeldCertificate, now: Duration) -> api::Certificate {
    let HeldCertificate { kind, subject, names, not_after } = held;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let left = not_after.map(|at| at.saturating_sub(now));
    let state = match left {
        Some(left) if left <= 0 => "expired",
        Some(left) if left.unsigned_abs() <= CERTIFICATE_SOON.as_secs() => "soon",
        _ => "valid",
    };
    let moment = |at: &i64| moment(Duration::new(u64::try_from(*at).unwrap_or(0), 0));
    api::Certificate {
        kind: (*kind).to_owned(),
        subject: subject.clone(),
        names: names.clone(),
        not_after: not_after.as_ref().map(moment),
        days_left: left.map(|left| left.div_euclid(DAY.as_secs() as i64)),
        state: state.to_owned(),
    }
}

/// The moment so long ago.
fn ago<N: Net>(shared: &Shared<N>, elapsed: Duration) -> String {
    moment(shared.net.unix_time().saturating_sub(elapsed))
}

fn moment(since_epoch: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
}

/// To the microsecond, which is more than anyone needs.
fn seconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e6
}
