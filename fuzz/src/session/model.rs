//! The mesh beside a model of it, which knows nothing of how it is built: a list
//! of links, a list of requests, and sums over them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use ops_proxy::config::Capacity;
use ops_proxy::config::PeerConfig;
use ops_proxy::mesh::links::Opened;
use ops_proxy::mesh::request::Request;
use ops_proxy::mesh::routes::{LinkId, Lookup, Provider, Wanted};
use ops_proxy::mesh::tables::{Assignment, Mesh};
use ops_proxy::mesh::waiting::{Dialled, Forward, ForwardError};
use ops_proxy::names::{Name, PeerId, ProxyId};
use ops_proxy::observe::journal::{Journal, Kind, Known, ServedBy};
use ops_proxy::observe::metrics::{Counts, ForwardFailure, Metrics, Protocol, ProxyError};
use ops_proxy::offer::{Offer, Way, Ways};
use ops_proxy::stream::relay::Side;
use ops_proxy::trust::{Identity, Permission, Principal};
use ops_proxy::wire::{FailReason, Line, Requested};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant};

use super::sent::sent;

/// Longer than any run, so that no time that passes matters.
const FAR: Duration = Duration::from_secs(3600);

thread_local! {
    // Making a registry takes longer than a whole session.
    static METRICS: Arc<Metrics> = {
        let id = "listening".parse().expect("this is a peer id");
        Arc::new(Metrics::new(&PeerConfig::new(id)))
    };
}

/// A mesh and what is known of it.
pub(super) struct Session {
    mesh: Mesh<u64>,
    metrics: Arc<Metrics>,
    journal: Arc<Journal>,
    /// What other sessions of this thread have counted.
    unexpected_before: u64,
    unexpected: u64,
    local: Option<Name>,
    known: BTreeMap<Name, Expected>,
    links: Vec<Link>,
    requests: Vec<Routed>,
    /// Tells DATA connections apart.
    data: u64,
}

/// What is counted of a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    registrations: u64,
    disconnects: u64,
    forwards: u64,
    matched: u64,
    timed_out: u64,
    forwards_failed: [u64; ForwardFailure::ALL.len()],
    routed: u64,
    succeeded: u64,
    failed: u64,
}

struct Link {
    id: LinkId,
    peer: PeerId,
    source: IpAddr,
    open: bool,
    /// It has registered names, and replaced who had before.
    registers: bool,
    names: BTreeSet<Name>,
    forwards: mpsc::Receiver<Forward>,
}

struct Routed {
    id: ProxyId,
    assignment: Assignment,
    /// Taken when it ends.
    running: Option<Request>,
    /// Taken when the id leaves the table.
    waiting: Option<Waiting>,
}

struct Waiting {
    link: usize,
    written: bool,
    in_time: bool,
    answer: oneshot::Receiver<Dialled<u64>>,
}

/// How an id left the table.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// With this DATA connection.
    Matched(u64),
    Failed(ForwardError),
    /// By the request's own decision: it gets no answer.
    Expired,
}

impl Session {
    /// A session with a mesh that may serve a name by itself.
    pub(super) fn new(local: Option<Name>) -> Self {
        let metrics = METRICS.with(Arc::clone);
        let known = local.iter().map(|name| (name.clone(), Expected::default())).collect();
        Self {
            mesh: Mesh::new(
                metrics.clone(),
                Capacity::default(),
                Ways::ALL,
                local.clone().into_iter().map(Offer::from),
            ),
            journal: Arc::new(Journal::default()),
            unexpected_before: metrics.unexpected_count(),
            unexpected: 0,
            metrics,
            local,
            known,
            links: Vec::new(),
            requests: Vec::new(),
            data: 0,
        }
    }

    /// The id of one of the requests, or of none.
    pub(super) fn id(&self, choice: usize) -> ProxyId {
        id_of(choice % (self.requests.len() + 1))
    }

    pub(super) fn hello(&mut self, peer: PeerId, source: IpAddr) {
        let Opened { id, forwards, .. } = self.mesh.open_link(peer.clone(), principal(source));
        let names = BTreeSet::new();
        self.links.push(Link { id, peer, source, open: true, registers: false, names, forwards });
    }

    pub(super) fn register(&mut self, choice: usize, offers: &[Offer]) {
        let Some(link) = self.link(choice) else { return };
        let taken = self.mesh.register(self.links[link].id, offers).expect("there are few names");
        self.take_over(link);
        let link = &mut self.links[link];
        let distinct: BTreeSet<Name> = offers.iter().map(|offer| offer.name.clone()).collect();
        assert_eq!(taken, if link.open { distinct.len() } else { 0 });
        if link.open {
            for name in &distinct {
                self.known.entry(name.clone()).or_default().registrations += 1;
            }
            link.names.extend(distinct);
        }
    }

    /// With its first REGISTER, a link replaces the one of its peer that registered before.
    fn take_over(&mut self, link: usize) {
        if !self.links[link].open || self.links[link].registers {
            return;
        }
        let peer = &self.links[link].peer;
        let old = self.links.iter().position(|one| one.open && one.registers && one.peer == *peer);
        if let Some(old) = old {
            self.gone(old);
        }
        self.links[link].registers = true;
    }

    pub(super) fn unregister(&mut self, choice: usize, names: &[Name]) {
        let Some(link) = self.link(choice) else { return };
        let link = &mut self.links[link];
        let had = self.mesh.unregister(link.id, names);
        let before = link.names.len();
        for name in names {
            if link.names.remove(name) {
                counted(&mut self.known, name).disconnects += 1;
            }
        }
        assert_eq!(had, before - link.names.len());
    }

    /// The connection of a link ends; perhaps of one that was replaced before.
    pub(super) fn close(&mut self, choice: usize) {
        let Some(link) = self.link(choice) else { return };
        self.mesh.close_link(self.links[link].id);
        self.gone(link);
    }

    /// A public connection asks for a name.
    pub(super) fn request(&mut self, requested: &Name, in_time: bool, retry: bool) {
        let tried = self.requests.last().map(|last| last.assignment.provider).filter(|_| retry);
        let wildcard = requested.wildcard().and_then(|text| Name::registered(&text).ok());
        let matching = [Some(requested.clone()), wildcard]
            .into_iter()
            .flatten()
            .find(|name| self.known.contains_key(name));
        let candidates: Vec<Provider> = matching
            .iter()
            .flat_map(|name| self.providers(name))
            .filter(|provider| Some(*provider) != tried)
            .collect();
        let wanted = Wanted { name: requested, way: Way::Http, client: client().ip(), tried };
        match self.mesh.assign(wanted) {
            Lookup::NotThisWay | Lookup::NotAllowed => unreachable!("all is open to everybody"),
            Lookup::Unknown => assert_eq!(matching, None),
            Lookup::NoProvider(_) => assert!(matching.is_some() && candidates.is_empty()),
            Lookup::Full => unreachable!("no link has room for fewer than the steps"),
            Lookup::Provided(assignment) => {
                assert_eq!(Some(&assignment.name), matching.as_ref());
                assert!(candidates.contains(&assignment.provider));
                let active = |provider| self.active(&assignment.name, provider);
                let fewest = candidates.into_iter().map(active).min();
                assert_eq!(Some(active(assignment.provider)), fewest, "another has fewer");
                self.route(assignment, in_time);
            }
        }
    }

    /// The writer of a link comes round to one FORWARD.
    pub(super) fn write(&mut self, choice: usize) {
        let Some(link) = self.link(choice) else { return };
        let link = &mut self.links[link];
        let Ok(Forward { id, line }) = link.forwards.try_recv() else { return };
        assert!(matches!(sent(line), Line::Forward(named, _) if named == id));
        self.mesh.forward_written(id);
        if let Some(routed) = self.requests.iter_mut().find(|routed| routed.id == id)
            && let Some(waiting) = routed.waiting.as_mut().filter(|waiting| !waiting.written)
        {
            waiting.written = true;
            counted(&mut self.known, &routed.assignment.name).forwards += 1;
        }
    }

    /// A DATA connection names an id.
    pub(super) fn data(&mut self, id: ProxyId, source: IpAddr) {
        self.data += 1;
        let data = Side::raw(self.data, Bytes::new());
        let claimed = self.mesh.claim(id, Some(&principal(source)), data).is_ok();
        let rightful =
            |waiting: &Waiting| waiting.in_time && self.links[waiting.link].source == source;
        let expected = self.waiting(id, rightful);
        assert_eq!(claimed, expected.is_some());
        match expected {
            Some(request) => self.left(request, Left::Matched(self.data)),
            None => self.unexpected += 1,
        }
    }

    pub(super) fn fail(&mut self, choice: usize, id: ProxyId, reason: FailReason) {
        let Some(link) = self.link(choice) else { return };
        self.mesh.fail(id, self.links[link].id, reason);
        if let Some(request) = self.waiting(id, |waiting| waiting.link == link) {
            self.left(request, Left::Failed(ForwardError::Failed(reason)));
        }
    }

    /// The deadline of a request comes.
    pub(super) fn expire(&mut self, choice: usize) {
        let Some(request) = choice.checked_rem(self.requests.len()) else { return };
        let id = self.requests[request].id;
        let expected = self.requests[request].waiting.as_ref().map(|waiting| {
            if waiting.written { ForwardError::Timeout } else { ForwardError::NotWritten }
        });
        assert_eq!(self.mesh.expire(id), expected);
        if expected.is_some() {
            self.left(request, Left::Expired);
        }
    }

    /// A request ends. One that still waits gives up first.
    pub(super) fn end(&mut self, choice: usize, cleanly: bool) {
        let Some(request) = choice.checked_rem(self.requests.len()) else { return };
        self.expire(request);
        let routed = &mut self.requests[request];
        let Some(running) = routed.running.take() else { return };
        self.mesh.release(&routed.assignment);
        let counts = counted(&mut self.known, &routed.assignment.name);
        if cleanly {
            running.succeeded();
            counts.succeeded += 1;
        } else {
            running.failed(ProxyError::DataIoError);
            counts.failed += 1;
        }
    }

    /// Names that nobody serves are looked over, at once or within their retention.
    pub(super) fn forget(&mut self, at_once: bool) {
        self.mesh.forget_names(if at_once { Duration::ZERO } else { FAR });
        if at_once {
            let known = std::mem::take(&mut self.known);
            self.known = known
                .into_iter()
                .filter(|(name, counts)| {
                    self.providers(name).next().is_some() || counts.active() > 0
                })
                .collect();
        }
    }

    /// The mesh is what the model says.
    pub(super) fn check(&mut self) {
        let snapshot = self.mesh.snapshot();
        let names: Vec<&str> = snapshot.names.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, self.known.keys().map(Name::as_str).collect::<Vec<_>>());
        for (row, (name, expected)) in snapshot.names.iter().zip(&self.known) {
            assert_eq!(row.providers.len(), self.providers(name).count(), "providers of {name}");
            assert_eq!(Expected::from(&row.counts), *expected, "{name}");
            assert_eq!(row.counts.active, expected.active(), "{name}");
            assert_eq!(row.pending, self.pending(name), "{name}");
            assert_eq!(expected.forwards, expected.forwards_answered() + row.pending, "{name}");
        }
        let pending: u64 = self.known.keys().map(|name| self.pending(name)).sum();
        assert_eq!(snapshot.pending, pending);
        assert_eq!(snapshot.links, self.links.iter().filter(|link| link.open).count() as u64);
        assert_eq!(snapshot.unexpected - self.unexpected_before, self.unexpected);
        for waiting in self.requests.iter_mut().filter_map(|routed| routed.waiting.as_mut()) {
            let answer = waiting.answer.try_recv();
            assert!(matches!(answer, Err(oneshot::error::TryRecvError::Empty)), "{answer:?}");
        }
    }

    fn link(&self, choice: usize) -> Option<usize> {
        choice.checked_rem(self.links.len())
    }

    fn providers(&self, name: &Name) -> impl Iterator<Item = Provider> {
        let local = self.local.iter().filter(move |local| *local == name);
        let links = self.links.iter().filter(move |link| link.names.contains(name));
        local.map(|_| Provider::Local).chain(links.map(|link| Provider::Link(link.id)))
    }

    /// Requests of a name that run with a provider.
    fn active(&self, name: &Name, provider: Provider) -> usize {
        let runs = |routed: &&Routed| {
            routed.running.is_some()
                && routed.assignment.name == *name
                && routed.assignment.provider == provider
        };
        self.requests.iter().filter(runs).count()
    }

    fn pending(&self, name: &Name) -> u64 {
        let pending = |routed: &&Routed| {
            routed.assignment.name == *name
                && routed.waiting.as_ref().is_some_and(|waiting| waiting.written)
        };
        self.requests.iter().filter(pending).count() as u64
    }

    /// The request that waits with this id, if it is `rightful` to end that.
    fn waiting(&self, id: ProxyId, rightful: impl Fn(&Waiting) -> bool) -> Option<usize> {
        self.requests
            .iter()
            .position(|routed| routed.id == id && routed.waiting.as_ref().is_some_and(&rightful))
    }

    fn route(&mut self, assignment: Assignment, in_time: bool) {
        let id = id_of(self.requests.len());
        counted(&mut self.known, &assignment.name).routed += 1;
        let running = self.journal.begin(Known {
            kind: Kind::Routed,
            id,
            client: SocketAddr::from(([192, 0, 2, 1], 4711)),
            name: assignment.name.clone(),
            way: Way::Http,
            by: ServedBy::Local,
            asked_by: None,
            span: None,
        });
        let (metrics, stats) = (self.metrics.clone(), assignment.stats.clone());
        let running = Request::begin(metrics, stats, Protocol::Http, running);
        let waiting = match assignment.provider {
            Provider::Local | Provider::Upstream => None,
            Provider::Link(link) => Some(self.forward(id, link, &assignment, in_time)),
        };
        self.requests.push(Routed { id, assignment, running: Some(running), waiting });
    }

    fn forward(
        &self,
        id: ProxyId,
        link: LinkId,
        assignment: &Assignment,
        in_time: bool,
    ) -> Waiting {
        let requested = Requested {
            name: assignment.name.clone(),
            way: Way::Http,
            source: client(),
            dest: None,
            authority: None,
            tls: None,
            trace: None,
        };
        let line = Line::Forward(id, requested);
        let now = Instant::now();
        let deadline = if in_time { now + FAR } else { now };
        let answer = self
            .mesh
            .forward(link, assignment, Forward { id, line }, deadline)
            .expect("the link is open and its queue is long");
        let link = self.links.iter().position(|one| one.id == link).expect("a link we opened");
        Waiting { link, written: false, in_time, answer }
    }

    /// A link is no longer in the tables.
    fn gone(&mut self, link: usize) {
        self.links[link].open = false;
        for name in std::mem::take(&mut self.links[link].names) {
            counted(&mut self.known, &name).disconnects += 1;
        }
        for request in 0..self.requests.len() {
            let waiting = self.requests[request].waiting.as_ref();
            if let Some(waiting) = waiting.filter(|waiting| waiting.link == link) {
                let written = waiting.written;
                let error = if written { ForwardError::LinkLost } else { ForwardError::NotWritten };
                self.left(request, Left::Failed(error));
            }
        }
    }

    /// An id has left the table: its request has this answer, and it was counted.
    fn left(&mut self, request: usize, how: Left) {
        let routed = &mut self.requests[request];
        let mut waiting = routed.waiting.take().expect("an id leaves once");
        let answer = match waiting.answer.try_recv() {
            Ok(Ok((side, _))) => Left::Matched(side.stream),
            Ok(Err(error)) => Left::Failed(error),
            Err(_) => Left::Expired,
        };
        assert_eq!(answer, how);
        let counts = counted(&mut self.known, &routed.assignment.name);
        let answered = matches!(how, Left::Matched(_) | Left::Failed(ForwardError::Failed(_)));
        // An answer shows that the FORWARD was written.
        counts.forwards += u64::from(answered && !waiting.written);
        match how {
            Left::Matched(_) => counts.matched += 1,
            Left::Failed(ForwardError::Failed(reason)) => {
                counts.forwards_failed[ForwardFailure::from(reason) as usize] += 1;
            }
            Left::Failed(ForwardError::LinkLost) => {
                counts.forwards_failed[ForwardFailure::LinkLost as usize] += 1;
            }
            Left::Expired if waiting.written => counts.timed_out += 1,
            Left::Failed(_) | Left::Expired => {}
        }
    }
}

impl Expected {
    fn active(&self) -> u64 {
        self.routed - self.succeeded - self.failed
    }

    fn forwards_answered(&self) -> u64 {
        self.matched + self.timed_out + self.forwards_failed.iter().sum::<u64>()
    }
}

impl From<&Counts> for Expected {
    fn from(counts: &Counts) -> Self {
        let (routed, succeeded, failed) = counts.requests_in_all();
        Self {
            registrations: counts.registrations,
            disconnects: counts.disconnects,
            forwards: counts.forwards,
            matched: counts.matched,
            timed_out: counts.timed_out,
            forwards_failed: counts.forwards_failed,
            routed,
            succeeded,
            failed,
        }
    }
}

fn counted<'a>(known: &'a mut BTreeMap<Name, Expected>, name: &Name) -> &'a mut Expected {
    known.get_mut(name).expect("a name in use is known")
}

fn principal(source: IpAddr) -> Principal {
    Principal { identity: Identity::Plaintext(source), permission: Permission::Any }
}

fn id_of(request: usize) -> ProxyId {
    ProxyId::from_random((request as u128).to_be_bytes())
}

/// Where public clients come from.
fn client() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 80).into()
}
