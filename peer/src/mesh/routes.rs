//! Which providers serve which name, and which of them takes the next request.
//!
//! Pure: a table and its transitions. Every map is ordered, so that two runs of
//! the same inputs give the same outputs in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{NAMES, NAMES_PER_LINK, PATH_PEERS};
use crate::names::{Name, PeerId};
use crate::offer::{Offer, Terms, Way, Ways};
use crate::trust::identity::Owner;

/// One link of this process's life; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Who serves a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// This very peer, from its own configuration.
    Local,
    /// The connecting peer at the other end of this link.
    Link(LinkId),
    /// The listening peers that this one has links to, if they are asked.
    Upstream,
}

/// Who serves a name, for those who read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server<'a> {
    /// This very peer.
    Local,
    /// A peer that has registered the name.
    Peer(&'a PeerId),
    /// The listening peers that this one has links to.
    Upstream,
}

impl fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Peer(peer) => peer.fmt(f),
            Self::Upstream => f.write_str("upstream"),
        }
    }
}

/// What asking for a name gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<S> {
    /// Neither the name nor a wildcard over it is known.
    Unknown,
    /// Known, but nobody serves it now.
    NoProvider(S),
    /// Nobody who serves it lets it be reached in this way.
    NotThisWay,
    /// Nobody who serves it lets this client reach it.
    NotAllowed,
    /// Whoever serves it has as much to do as it may.
    Full,
    /// This provider takes the request, which counts as active with it until
    /// [`Routes::release`].
    Provided(Assigned<S>),
}

/// A request given to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned<S> {
    /// The registered name that matched, a wildcard where one did.
    pub name: Name,
    /// What is kept per name.
    pub stats: S,
    /// Who takes it.
    pub provider: Provider,
    /// The peer id at the other end of its link.
    pub peer: Option<PeerId>,
    /// The backend is to learn who the client is from the head of each HTTP request.
    pub forwarded: bool,
}

/// A request, as far as its provider is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name asked for.
    pub name: &'a Name,
    /// How the client came.
    pub way: Way,
    /// The client.
    pub client: IpAddr,
    /// Who was asked already.
    pub tried: Option<Provider>,
}

/// More names than one link may register, or than are kept in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many names")]
pub struct TooManyNames;

/// The routing table. `S` is what the caller keeps per name, such as counters.
#[derive(Debug)]
pub struct Routes<S> {
    names: BTreeMap<Name, Entry<S>>,
    links: BTreeMap<LinkId, Registrations>,
    by_owner: BTreeMap<Owner, LinkId>,
    /// Names without a provider, those that lost theirs first in front.
    unserved: BTreeSet<(Instant, Name)>,
    /// Counts assignments, to take turns between equals.
    turn: u64,
    /// Counts changes of who serves what on which terms.
    version: u64,
    names_per_link: usize,
    names_in_all: usize,
    /// The ways that are open here at all.
    ways: Ways,
    /// How many listening peers can be asked.
    upstream: usize,
}

#[derive(Debug)]
struct Entry<S> {
    stats: S,
    providers: Vec<Serving>,
    /// Requests that run, also with a provider that has withdrawn the name: it
    /// may come back to it while they do.
    active: BTreeMap<Provider, usize>,
    /// Set while there is no provider.
    unserved_since: Option<Instant>,
}

impl<S: Default> Entry<S> {
    fn new() -> Self {
        Self {
            stats: S::default(),
            providers: Vec::new(),
            active: BTreeMap::new(),
            unserved_since: None,
        }
    }
}

#[derive(Debug)]
struct Serving {
    provider: Provider,
    terms: Terms,
    last_turn: u64,
}

#[derive(Debug)]
struct Registrations {
    owner: Owner,
    names: BTreeSet<Name>,
}

/// One row of [`Routes::rows`].
#[derive(Debug)]
pub struct Row<'a, S> {
    /// The registered name.
    pub name: &'a Name,
    /// What is kept for it.
    pub stats: &'a S,
    /// Its live providers.
    pub providers: Vec<Server<'a>>,
    /// The ways in which at least one of them lets it be reached here.
    pub ways: Ways,
    /// Since when it has none.
    pub unserved_since: Option<Instant>,
}

impl<S> Default for Routes<S> {
    fn default() -> Self {
        Self::new(NAMES_PER_LINK, NAMES, Ways::ALL)
    }
}

impl<S> Routes<S> {
    /// None yet. One link may register `names_per_link` names; `names_in_all` are known
    /// at a time; all of them may be reached in these `ways` at most.
    pub fn new(names_per_link: usize, names_in_all: usize, ways: Ways) -> Self {
        Self {
            names: BTreeMap::new(),
            links: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            unserved: BTreeSet::new(),
            turn: 0,
            version: 0,
            names_per_link,
            names_in_all,
            ways,
            upstream: 0,
        }
    }
}

impl<S: Clone + Default> Routes<S> {
    /// Serves a name from this peer; returns what is kept for it, if that is new.
    pub fn serve_locally(&mut self, offer: Offer) -> Option<S> {
        let name = offer.name.clone();
        if self.is_served_locally(&name) {
            return None;
        }
        self.add_provider(offer, Provider::Local);
        self.names.get(&name).map(|entry| entry.stats.clone())
    }

    /// Knows a name that nobody serves yet, because it was known before; if there is room.
    pub fn recall(&mut self, name: Name, now: Instant) {
        if self.names.contains_key(&name) || !self.make_room(1, |_| false) {
            return;
        }
        let entry = Entry { unserved_since: Some(now), ..Entry::new() };
        self.names.insert(name.clone(), entry);
        self.unserved.insert((now, name));
    }

    /// Since when nobody has served this registered name; `None` if somebody does, or it
    /// is not known.
    pub fn unserved_since(&self, name: &Name) -> Option<Instant> {
        self.names.get(name)?.unserved_since
    }

    /// Asks the listening peers for a name, or those that a wildcard covers, when nobody
    /// nearer serves it.
    pub fn ask_upstream(&mut self, name: Name) {
        let terms = Terms { ways: Ways::ALL, ..Terms::default() };
        self.add_provider(Offer { name, terms }, Provider::Upstream);
    }

    /// What this peer says about a name that it serves itself has changed, perhaps.
    pub fn update_locally(&mut self, offer: &Offer) {
        let Some(entry) = self.names.get_mut(&offer.name) else { return };
        let mut providers = entry.providers.iter_mut();
        let own = providers.find(|one| one.provider == Provider::Local);
        if let Some(own) = own.filter(|own| own.terms != offer.terms) {
            own.terms = offer.terms.clone();
            self.version += 1;
        }
    }

    /// Asks nobody for a name any more.
    pub fn ask_nobody(&mut self, name: &Name, now: Instant) {
        self.remove_provider(name, Provider::Upstream, now);
    }

    /// From now on one link may register so many names, which may be reached in these ways
    /// at most. A link that has more already keeps them.
    pub fn set_limits(&mut self, names_per_link: usize, ways: Ways) {
        self.names_per_link = names_per_link;
        self.version += u64::from(self.ways != ways);
        self.ways = ways;
    }

    /// One more listening peer can be asked.
    pub fn upstream_opened(&mut self) {
        self.upstream += 1;
    }

    /// One less can be asked.
    pub fn upstream_closed(&mut self) {
        self.upstream -= 1;
    }

    /// Withdraws a name of this peer; returns what is kept for it, if it was served.
    pub fn withdraw_locally(&mut self, name: &Name, now: Instant) -> Option<S> {
        let served = self.is_served_locally(name);
        served.then(|| self.remove_provider(name, Provider::Local, now)).flatten()
    }

    fn is_served_locally(&self, name: &Name) -> bool {
        self.is_served_by(name, Provider::Local)
    }

    /// Whether `provider` serves this registered name.
    pub fn is_served_by(&self, name: &Name, provider: Provider) -> bool {
        let is_it = |one: &Serving| one.provider == provider;
        self.names.get(name).is_some_and(|entry| entry.providers.iter().any(is_it))
    }

    /// Whether `provider` has not ended.
    pub fn is_open(&self, provider: Provider) -> bool {
        match provider {
            Provider::Local | Provider::Upstream => true,
            Provider::Link(link) => self.links.contains_key(&link),
        }
    }

    /// The open link of `owner`.
    pub fn link_of(&self, owner: &Owner) -> Option<LinkId> {
        self.by_owner.get(owner).copied()
    }

    /// Whether a link of somebody else is open under the peer id of `owner`.
    pub fn shares_id(&self, owner: &Owner) -> bool {
        let with_id = self.by_owner.range(owner.first_with_id()..);
        let mut with_id = with_id.map(|(one, _)| one).take_while(|one| one.peer() == owner.peer());
        with_id.any(|one| one != owner)
    }

    /// Takes in a link of `owner`. It replaces none before it registers: a peer that has
    /// reached this one twice, through a balancer, notices that first and leaves.
    pub fn open_link(&mut self, link: LinkId, owner: Owner) {
        self.links.insert(link, Registrations { owner, names: BTreeSet::new() });
    }

    /// A link is about to register names: from now on it is the one of its owner. Returns
    /// the link that it replaces, which is then to be closed with
    /// [`close_link`](Self::close_link).
    pub fn take_over(&mut self, link: LinkId) -> Option<LinkId> {
        let owner = &self.links.get(&link)?.owner;
        if self.by_owner.get(owner) == Some(&link) {
            return None;
        }
        self.by_owner.insert(owner.clone(), link)
    }

    /// Adds or refreshes names of a link, whose terms may change with that; returns what is
    /// kept for each distinct one. A link that is no longer open registers nothing.
    ///
    /// # Errors
    /// [`TooManyNames`], and nothing of the list was registered.
    pub fn register(&mut self, link: LinkId, offers: &[Offer]) -> Result<Vec<S>, TooManyNames> {
        let Some(registrations) = self.links.get_mut(&link) else { return Ok(Vec::new()) };
        let offers: BTreeMap<&Name, &Offer> = offers.iter().map(|one| (&one.name, one)).collect();
        let is_new = |name: &&Name| !registrations.names.contains(*name);
        let new: Vec<Name> = offers.keys().copied().filter(is_new).cloned().collect();
        let unknown = new.iter().filter(|name| !self.names.contains_key(*name)).count();
        if registrations.names.len() + new.len() > self.names_per_link {
            return Err(TooManyNames);
        }
        registrations.names.extend(new.iter().cloned());
        if !self.make_room(unknown, |name| offers.contains_key(name)) {
            let registrations = self.links.get_mut(&link).expect("it was there a moment ago");
            new.iter().for_each(|name| {
                registrations.names.remove(name);
            });
            return Err(TooManyNames);
        }
        for name in new {
            self.add_provider(Offer::clone(offers[&name]), Provider::Link(link));
        }
        let refresh = |offer: &Offer| {
            let entry = self.names.get_mut(&offer.name)?;
            let mut providers = entry.providers.iter_mut();
            let serving = providers.find(|one| one.provider == Provider::Link(link));
            if let Some(serving) = serving.filter(|one| one.terms != offer.terms) {
                serving.terms = offer.terms.clone();
                self.version += 1;
            }
            Some(entry.stats.clone())
        };
        Ok(offers.into_values().filter_map(refresh).collect())
    }

    /// Withdraws names of a link; returns what is kept for each that it had.
    pub fn unregister(&mut self, link: LinkId, names: &[Name], now: Instant) -> Vec<S> {
        let Some(registrations) = self.links.get_mut(&link) else { return Vec::new() };
        let names: BTreeSet<Name> = names.iter().cloned().collect();
        let had: Vec<Name> =
            names.into_iter().filter(|name| registrations.names.remove(name)).collect();
        had.iter()
            .filter_map(|name| self.remove_provider(name, Provider::Link(link), now))
            .collect()
    }

    /// Forgets a link and withdraws its names; returns what is kept for each.
    pub fn close_link(&mut self, link: LinkId, now: Instant) -> Vec<S> {
        let Some(registrations) = self.links.remove(&link) else { return Vec::new() };
        if self.by_owner.get(&registrations.owner) == Some(&link) {
            self.by_owner.remove(&registrations.owner);
        }
        registrations
            .names
            .iter()
            .filter_map(|name| self.remove_provider(name, Provider::Link(link), now))
            .collect()
    }

    /// Gives a request to the provider with the shortest path, of those the one with the
    /// fewest active requests, the longest waiting among equals, if its terms permit it; to
    /// the listening peers if there is no other. An exact name wins over a wildcard, even
    /// while nobody serves it. Each link that `has_room` denies is passed over: it is
    /// asked with the name, and with whether that is the only one of the link.
    pub fn assign(
        &mut self,
        wanted: Wanted<'_>,
        has_room: impl Fn(LinkId, &Name, bool) -> bool,
    ) -> Lookup<S> {
        let Some(name) = self.matching(wanted.name) else { return Lookup::Unknown };
        let Some(entry) = self.names.get_mut(&name) else { return Lookup::Unknown };
        let links = &self.links;
        let upstream = self.upstream > 0;
        let is_there = |one: &Serving| upstream || one.provider != Provider::Upstream;
        let mut candidates: Vec<&mut Serving> = entry
            .providers
            .iter_mut()
            .filter(|one| Some(one.provider) != wanted.tried && is_there(one))
            .collect();
        if candidates.is_empty() {
            return Lookup::NoProvider(entry.stats.clone());
        }
        let is_open = self.ways.contains(wanted.way);
        candidates.retain(|one| is_open && one.terms.ways.contains(wanted.way));
        if candidates.is_empty() {
            return Lookup::NotThisWay;
        }
        candidates.retain(|one| one.terms.allows(wanted.client));
        if candidates.is_empty() {
            return Lookup::NotAllowed;
        }
        candidates.retain(|one| match one.provider {
            Provider::Local | Provider::Upstream => true,
            Provider::Link(link) => {
                has_room(link, &name, links.get(&link).is_none_or(|one| one.names.len() == 1))
            }
        });
        let active = |provider| entry.active.get(&provider).copied().unwrap_or(0);
        let next = candidates.into_iter().min_by_key(|one| {
            let is_upstream = one.provider == Provider::Upstream;
            (is_upstream, one.terms.path.len(), active(one.provider), one.last_turn)
        });
        let Some(chosen) = next else { return Lookup::Full };
        self.turn += 1;
        chosen.last_turn = self.turn;
        let (provider, forwarded) = (chosen.provider, chosen.terms.forwarded);
        *entry.active.entry(provider).or_default() += 1;
        let stats = entry.stats.clone();
        let peer = self.peer_of(provider).cloned();
        Lookup::Provided(Assigned { name, stats, provider, peer, forwarded })
    }

    /// Grows whenever it has changed who serves what, or on which terms.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The names that links have registered, as `own` may pass them on to `to`: those that
    /// are `meant`, each over its shortest path, unless that leads through `to` or would be
    /// too long.
    pub fn passed_on(
        &self,
        own: &PeerId,
        to: &PeerId,
        meant: impl Fn(&Name) -> bool,
    ) -> Vec<Offer> {
        let offered = |(name, entry): (&Name, &Entry<S>)| {
            let paths = entry.providers.iter().filter_map(|one| {
                let nearest = self.peer_of(one.provider)?;
                let path = match one.terms.path.is_empty() {
                    true => std::slice::from_ref(nearest),
                    false => &one.terms.path,
                };
                let is_loop = path.iter().any(|peer| peer == to || peer == own);
                (!is_loop && path.len() < PATH_PEERS).then_some((path, &one.terms))
            });
            let (path, terms) = paths.min_by_key(|(path, _)| (path.len(), path.to_vec()))?;
            let ways: Ways = terms.ways.iter().filter(|way| self.ways.contains(*way)).collect();
            let path = path.iter().chain([own]).cloned().collect();
            let terms = Terms { ways, path, ..terms.clone() };
            (!ways.is_empty()).then(|| Offer { name: name.clone(), terms })
        };
        self.names.iter().filter(|(name, _)| meant(name)).filter_map(offered).collect()
    }

    /// Whether a provider of `requested` has a backend that speaks HTTP/2 in clear text.
    pub fn offers_h2(&self, requested: &Name) -> bool {
        let entry = self.matching(requested).and_then(|name| self.names.get(&name));
        entry.is_some_and(|entry| entry.providers.iter().any(|one| one.terms.h2c))
    }

    /// What is kept for the name that a request for `requested` is for, if it is known.
    pub fn stats_of(&self, requested: &Name) -> Option<S> {
        let entry = self.names.get(&self.matching(requested)?)?;
        Some(entry.stats.clone())
    }

    /// A request that [`assign`](Self::assign) gave away has ended.
    pub fn release(&mut self, name: &Name, provider: Provider) {
        let Some(entry) = self.names.get_mut(name) else { return };
        if let Some(active) = entry.active.get_mut(&provider) {
            *active -= 1;
            if *active == 0 {
                entry.active.remove(&provider);
            }
        }
    }

    /// Forgets the names that nobody has served for `retention` and for which no request
    /// runs.
    pub fn forget(&mut self, now: Instant, retention: Duration) {
        let over = |since: Instant| now.duration_since(since) >= retention;
        let old = self.unserved.iter().take_while(|(since, _)| over(*since));
        let old: Vec<_> = old.filter(|(_, name)| self.is_unused(name)).cloned().collect();
        old.iter().for_each(|one| self.drop_name(one));
    }

    /// Makes room for so many more names, at the cost of those that have been without a
    /// provider for longest and are not `kept`. Whether there is room then.
    fn make_room(&mut self, wanted: usize, kept: impl Fn(&Name) -> bool) -> bool {
        let lacking = (self.names.len() + wanted).saturating_sub(self.names_in_all);
        if lacking == 0 {
            return true;
        }
        let unused = |name: &Name| !kept(name) && self.is_unused(name);
        let oldest = self.unserved.iter().filter(|(_, name)| unused(name));
        let oldest: Vec<_> = oldest.take(lacking).cloned().collect();
        oldest.iter().for_each(|one| self.drop_name(one));
        oldest.len() == lacking
    }

    fn is_unused(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|entry| entry.active.is_empty())
    }

    fn drop_name(&mut self, unserved: &(Instant, Name)) {
        self.unserved.remove(unserved);
        self.names.remove(&unserved.1);
    }

    /// All known names in order, each with its live providers.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_, S>> {
        self.rows_after(None)
    }

    /// As [`rows`](Self::rows), of the names after `last`.
    pub fn rows_after(&self, last: Option<&str>) -> impl Iterator<Item = Row<'_, S>> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range::<str, _>((from, Bound::Unbounded)).map(|(name, entry)| Row {
            name,
            stats: &entry.stats,
            providers: entry.providers.iter().filter_map(|one| self.server(one)).collect(),
            ways: self.ways_of(entry),
            unserved_since: entry.unserved_since,
        })
    }

    fn ways_of(&self, entry: &Entry<S>) -> Ways {
        let providers = || entry.providers.iter();
        let offered = |way: &Way| providers().any(|one| one.terms.ways.contains(*way));
        self.ways.iter().filter(offered).collect()
    }

    /// Who is at the other end of a link, and how many names it has registered.
    pub fn registered_by(&self, link: LinkId) -> Option<(&PeerId, usize)> {
        self.links.get(&link).map(|one| (one.owner.peer(), one.names.len()))
    }

    /// How many links are open.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The name, or else the wildcard, under which `requested` is known.
    pub fn matching(&self, requested: &Name) -> Option<Name> {
        let exact = self.names.get_key_value(requested);
        let found = exact.or_else(|| self.names.get_key_value(requested.wildcard()?.as_str()));
        found.map(|(name, _)| name.clone())
    }

    fn peer_of(&self, provider: Provider) -> Option<&PeerId> {
        match provider {
            Provider::Local | Provider::Upstream => None,
            Provider::Link(link) => self.links.get(&link).map(|one| one.owner.peer()),
        }
    }

    fn server(&self, serving: &Serving) -> Option<Server<'_>> {
        match serving.provider {
            Provider::Local => Some(Server::Local),
            Provider::Upstream => (self.upstream > 0).then_some(Server::Upstream),
            Provider::Link(_) => self.peer_of(serving.provider).map(Server::Peer),
        }
    }

    fn add_provider(&mut self, offer: Offer, provider: Provider) {
        let Offer { name, terms } = offer;
        let entry = self.names.entry(name.clone()).or_insert_with(Entry::new);
        entry.providers.push(Serving { provider, terms, last_turn: 0 });
        self.version += 1;
        if let Some(since) = entry.unserved_since.take() {
            self.unserved.remove(&(since, name));
        }
    }

    fn remove_provider(&mut self, name: &Name, provider: Provider, now: Instant) -> Option<S> {
        let entry = self.names.get_mut(name)?;
        entry.providers.retain(|one| one.provider != provider);
        self.version += 1;
        if entry.providers.is_empty() && entry.unserved_since.is_none() {
            entry.unserved_since = Some(now);
            self.unserved.insert((now, name.clone()));
        }
        Some(entry.stats.clone())
    }
}

#[cfg(test)]
mod tests;
