//! Which providers serve which name, and which of them takes the next request.
//!
//! Pure: a table and its transitions. Every map is ordered, so that two runs of
//! the same inputs give the same outputs in the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{NAMES, NAMES_PER_LINK};
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
    names_per_link: usize,
    names_in_all: usize,
    /// The ways that are open here at all.
    ways: Ways,
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
    /// Its live providers, the peer id of each link.
    pub providers: Vec<Option<&'a PeerId>>,
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
            names_per_link,
            names_in_all,
            ways,
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

    /// Withdraws a name of this peer; returns what is kept for it, if it was served.
    pub fn withdraw_locally(&mut self, name: &Name, now: Instant) -> Option<S> {
        let served = self.is_served_locally(name);
        served.then(|| self.remove_provider(name, Provider::Local, now)).flatten()
    }

    fn is_served_locally(&self, name: &Name) -> bool {
        let is_local = |one: &Serving| one.provider == Provider::Local;
        self.names.get(name).is_some_and(|entry| entry.providers.iter().any(is_local))
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

    /// Takes in a link of `owner` and returns the link that it replaces, which is
    /// then to be closed with [`close_link`](Self::close_link).
    pub fn open_link(&mut self, link: LinkId, owner: Owner) -> Option<LinkId> {
        self.links.insert(link, Registrations { owner: owner.clone(), names: BTreeSet::new() });
        self.by_owner.insert(owner, link)
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

    /// Gives a request to the provider with the fewest active ones, the longest waiting
    /// among equals, of those whose terms permit it. An exact name wins over a wildcard,
    /// even while nobody serves it. Each link that `has_room` denies is passed over: it is
    /// asked with the name, and with whether that is the only one of the link.
    pub fn assign(
        &mut self,
        wanted: Wanted<'_>,
        has_room: impl Fn(LinkId, &Name, bool) -> bool,
    ) -> Lookup<S> {
        let Some(name) = self.matching(wanted.name) else { return Lookup::Unknown };
        let Some(entry) = self.names.get_mut(&name) else { return Lookup::Unknown };
        let links = &self.links;
        let mut candidates: Vec<&mut Serving> =
            entry.providers.iter_mut().filter(|one| Some(one.provider) != wanted.tried).collect();
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
            Provider::Local => true,
            Provider::Link(link) => {
                has_room(link, &name, links.get(&link).is_none_or(|one| one.names.len() == 1))
            }
        });
        let active = |provider| entry.active.get(&provider).copied().unwrap_or(0);
        let next = candidates.into_iter().min_by_key(|one| (active(one.provider), one.last_turn));
        let Some(chosen) = next else { return Lookup::Full };
        self.turn += 1;
        chosen.last_turn = self.turn;
        let (provider, forwarded) = (chosen.provider, chosen.terms.forwarded);
        *entry.active.entry(provider).or_default() += 1;
        let stats = entry.stats.clone();
        let peer = self.peer_of(provider).cloned();
        Lookup::Provided(Assigned { name, stats, provider, peer, forwarded })
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
            providers: entry.providers.iter().map(|one| self.peer_of(one.provider)).collect(),
        })
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
            Provider::Local => None,
            Provider::Link(link) => self.links.get(&link).map(|one| one.owner.peer()),
        }
    }

    fn add_provider(&mut self, offer: Offer, provider: Provider) {
        let Offer { name, terms } = offer;
        let entry = self.names.entry(name.clone()).or_insert_with(|| Entry {
            stats: S::default(),
            providers: Vec::new(),
            active: BTreeMap::new(),
            unserved_since: None,
        });
        entry.providers.push(Serving { provider, terms, last_turn: 0 });
        if let Some(since) = entry.unserved_since.take() {
            self.unserved.remove(&(since, name));
        }
    }

    fn remove_provider(&mut self, name: &Name, provider: Provider, now: Instant) -> Option<S> {
        let entry = self.names.get_mut(name)?;
        entry.providers.retain(|one| one.provider != provider);
        if entry.providers.is_empty() && entry.unserved_since.is_none() {
            entry.unserved_since = Some(now);
            self.unserved.insert((now, name.clone()));
        }
        Some(entry.stats.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::trust::{Identity, TokenRules};

    fn name(text: &str) -> Name {
        Name::registered(text).unwrap()
    }

    fn peer(text: &str) -> Owner {
        Owner::new(text.parse().unwrap(), &Identity::Plaintext(Ipv4Addr::LOCALHOST.into()))
    }

    fn offer(text: &str) -> Offer {
        text.parse().unwrap()
    }

    /// By HTTP, from loopback, with room everywhere.
    fn assign(routes: &mut Routes<()>, text: &str, tried: Option<Provider>) -> Lookup<()> {
        reach(routes, text, Way::Http, "127.0.0.1", tried)
    }

    fn reach(
        routes: &mut Routes<()>,
        text: &str,
        way: Way,
        client: &str,
        tried: Option<Provider>,
    ) -> Lookup<()> {
        let (name, client) = (name(text), client.parse().unwrap());
        routes.assign(Wanted { name: &name, way, client, tried }, |_, _, _| true)
    }

    fn chosen(lookup: Lookup<()>) -> Option<Provider> {
        match lookup {
            Lookup::Provided(assigned) => Some(assigned.provider),
            _ => None,
        }
    }

    fn two_providers() -> Routes<()> {
        let mut routes = Routes::default();
        for (link, id) in [(LinkId(1), "a"), (LinkId(2), "b")] {
            routes.open_link(link, peer(id));
            routes.register(link, &[offer("app")]).unwrap();
        }
        routes
    }

    #[test]
    fn the_provider_with_fewest_active_requests_is_next() {
        let mut routes = two_providers();
        let (first, second) = (Provider::Link(LinkId(1)), Provider::Link(LinkId(2)));
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
        routes.release(&name("app"), second);
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
        routes.release(&name("app"), first);
        routes.release(&name("app"), second);
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first), "equals take turns");
    }

    #[test]
    fn a_name_withdrawn_and_registered_again_still_has_its_running_requests() {
        let mut routes = two_providers();
        let (first, second) = (Provider::Link(LinkId(1)), Provider::Link(LinkId(2)));
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
        routes.unregister(LinkId(1), &[name("app")], Instant::now());
        routes.register(LinkId(1), &[offer("app")]).unwrap();
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
        routes.release(&name("app"), first);
        assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second), "one each");
    }

    #[test]
    fn the_provider_already_tried_is_passed_over() {
        let mut routes = two_providers();
        let first = Provider::Link(LinkId(1));
        let second = Provider::Link(LinkId(2));
        assert_eq!(chosen(assign(&mut routes, "app", Some(first))), Some(second));
        routes.close_link(LinkId(2), Instant::now());
        assert_eq!(assign(&mut routes, "app", Some(first)), Lookup::NoProvider(()));
    }

    #[test]
    fn a_provider_without_room_is_passed_over() {
        let mut routes = two_providers();
        let second = Provider::Link(LinkId(2));
        let (app, client) = (name("app"), Ipv4Addr::LOCALHOST.into());
        let wanted = Wanted { name: &app, way: Way::Http, client, tried: None };
        assert_eq!(
            chosen(routes.assign(wanted, |one, _, _| Provider::Link(one) == second)),
            Some(second)
        );
        assert_eq!(routes.assign(wanted, |_, _, _| false), Lookup::Full);
    }

    #[test]
    fn a_name_is_reached_only_in_the_ways_and_by_the_clients_of_its_terms() {
        let mut routes = Routes::<()>::new(10, 10, [Way::Http, Way::Tcp].into_iter().collect());
        routes.open_link(LinkId(1), peer("a"));
        routes.open_link(LinkId(2), peer("b"));
        let first = ["app;ways=http+https;allow=10.0.0.0/8", "raw;ways=tcp"].map(offer);
        routes.register(LinkId(1), &first).unwrap();
        let mut reached = |text, way, client| match reach(&mut routes, text, way, client, None) {
            Lookup::Provided(assigned) => assigned.peer.unwrap().to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(reached("app", Way::Http, "10.1.2.3"), "a");
        assert_eq!(reached("app", Way::Http, "11.1.2.3"), "NotAllowed");
        assert_eq!(reached("app", Way::Connect, "10.1.2.3"), "NotThisWay");
        assert_eq!(reached("app", Way::Https, "10.1.2.3"), "NotThisWay", "this peer says less");
        assert_eq!(reached("raw", Way::Http, "10.1.2.3"), "NotThisWay");
        assert_eq!(reached("raw", Way::Tcp, "10.1.2.3"), "a");
        // Another provider may be more open, and any refresh may change the terms.
        routes.register(LinkId(2), &[offer("app")]).unwrap();
        let served = reach(&mut routes, "app", Way::Http, "11.1.2.3", None);
        assert_eq!(chosen(served), Some(Provider::Link(LinkId(2))));
        routes.register(LinkId(2), &[offer("app;ways=connect;h2c=yes")]).unwrap();
        assert_eq!(reach(&mut routes, "app", Way::Http, "11.1.2.3", None), Lookup::NotAllowed);
        assert!(routes.offers_h2(&name("app")) && !routes.offers_h2(&name("raw")));
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_even_unserved() {
        let mut routes = Routes::<()>::default();
        routes.open_link(LinkId(1), peer("a"));
        routes.register(LinkId(1), &[offer("*.example"), offer("app.example")]).unwrap();
        let matched = |routes: &mut Routes<()>, text| match assign(routes, text, None) {
            Lookup::Provided(assigned) => Some(assigned.name.to_string()),
            _ => None,
        };
        assert_eq!(matched(&mut routes, "app.example").as_deref(), Some("app.example"));
        assert_eq!(matched(&mut routes, "web.example").as_deref(), Some("*.example"));
        assert_eq!(assign(&mut routes, "a.b.example", None), Lookup::Unknown);
        routes.unregister(LinkId(1), &[name("app.example")], Instant::now());
        assert_eq!(assign(&mut routes, "app.example", None), Lookup::NoProvider(()));
    }

    #[test]
    fn a_returning_peer_replaces_its_old_link() {
        let mut routes = two_providers();
        assert_eq!(routes.open_link(LinkId(3), peer("a")), Some(LinkId(1)));
        assert_eq!(routes.close_link(LinkId(1), Instant::now()).len(), 1);
        assert_eq!(routes.close_link(LinkId(1), Instant::now()).len(), 0, "only once");
        routes.register(LinkId(3), &[offer("app")]).unwrap();
        assert_eq!(routes.open_link(LinkId(4), peer("a")), Some(LinkId(3)));
    }

    #[test]
    fn a_peer_id_alone_replaces_nobody_who_proved_his() {
        let mut routes = two_providers();
        let id: PeerId = "a".parse().unwrap();
        let owner = |identity| Owner::new(id.clone(), &identity);
        let certificate = |domain: &str| {
            owner(Identity::Certificate { trust_domain: domain.to_owned(), peer: id.clone() })
        };
        assert_eq!(routes.open_link(LinkId(3), certificate("one")), None);
        assert_eq!(routes.open_link(LinkId(4), certificate("two")), None);
        let token = |rule: &str| {
            let rules = format!("[[token]]\nname = '{rule}'\nsecret = '{}'", "s".repeat(32));
            let rule = TokenRules::from_toml(&rules).unwrap().ids().next().unwrap().clone();
            owner(Identity::Token { rule, peer: id.clone() })
        };
        assert_eq!(routes.open_link(LinkId(5), token("one")), None);
        assert_eq!(routes.open_link(LinkId(8), token("two")), None, "another rule");
        assert!(routes.shares_id(&token("three")));
        assert_eq!(routes.open_link(LinkId(9), token("one")), Some(LinkId(5)));
        assert_eq!(routes.open_link(LinkId(6), certificate("one")), Some(LinkId(3)));
        // In plaintext a peer may come back from elsewhere.
        let moved = owner(Identity::Plaintext("10.0.0.9".parse().unwrap()));
        assert_eq!(routes.open_link(LinkId(7), moved), Some(LinkId(1)));
    }

    #[test]
    fn a_name_is_forgotten_after_its_retention_unless_in_use() {
        let start = Instant::now();
        let minute = Duration::from_secs(60);
        let mut routes = two_providers();
        routes.close_link(LinkId(1), start);
        routes.close_link(LinkId(2), start + minute);
        routes.forget(start + minute, minute);
        assert_eq!(routes.rows().count(), 1);
        let running = routes.open_link(LinkId(3), peer("a"));
        assert_eq!(running, None);
        routes.register(LinkId(3), &[offer("app")]).unwrap();
        let provider = chosen(assign(&mut routes, "app", None)).unwrap();
        routes.close_link(LinkId(3), start + minute);
        routes.forget(start + 2 * minute, minute);
        assert_eq!(routes.rows().count(), 1, "a request runs");
        routes.release(&name("app"), provider);
        routes.forget(start + 2 * minute, minute);
        assert_eq!(assign(&mut routes, "app", None), Lookup::Unknown);
    }

    #[test]
    fn rows_go_on_after_a_name_that_may_be_gone() {
        let mut routes = Routes::<()>::default();
        for text in ["a", "b", "d"] {
            routes.serve_locally(offer(text));
        }
        let after = |last| routes.rows_after(last).map(|row| row.name.as_str()).collect::<Vec<_>>();
        assert_eq!(after(None), ["a", "b", "d"]);
        assert_eq!(after(Some("b")), ["d"]);
        assert_eq!(after(Some("c")), ["d"]);
        assert!(after(Some("d")).is_empty());
    }

    #[test]
    fn a_list_over_the_limit_registers_nothing() {
        let mut routes = Routes::<()>::default();
        routes.open_link(LinkId(1), peer("a"));
        let names: Vec<Offer> = (0..=NAMES_PER_LINK).map(|n| offer(&format!("n{n}"))).collect();
        assert_eq!(routes.register(LinkId(1), &names), Err(TooManyNames));
        assert_eq!(routes.rows().count(), 0);
        assert_eq!(routes.register(LinkId(1), &names[1..]).unwrap().len(), NAMES_PER_LINK);
        assert_eq!(routes.register(LinkId(1), &names[1..]).unwrap().len(), NAMES_PER_LINK);
    }

    #[test]
    fn when_there_are_too_many_names_the_oldest_unserved_ones_make_room() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut routes = Routes::<()>::new(10, 3, Ways::ALL);
        let pass = |routes: &mut Routes<()>, link: u64, text: &str, at: Duration| {
            routes.open_link(LinkId(link), peer(text));
            let taken = routes.register(LinkId(link), &[offer(text)]);
            if at > Duration::ZERO {
                routes.close_link(LinkId(link), start + at);
            }
            taken.map(|taken| taken.len())
        };
        assert_eq!(pass(&mut routes, 1, "served", Duration::ZERO), Ok(1));
        for (link, text) in [(2, "first"), (3, "second"), (4, "third")] {
            assert_eq!(pass(&mut routes, link, text, link as u32 * second), Ok(1));
        }
        let known = |routes: &Routes<()>| {
            routes.rows().map(|row| row.name.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(known(&routes), "second served third");
        routes.open_link(LinkId(5), peer("greedy"));
        let names = ["n1", "n2", "n3"].map(offer);
        assert_eq!(routes.register(LinkId(5), &names), Err(TooManyNames), "one is served");
        assert_eq!(routes.register(LinkId(5), &names[..2]).map(|taken| taken.len()), Ok(2));
        assert_eq!(known(&routes), "n1 n2 served");
    }

    #[derive(Debug, Clone)]
    enum Op {
        Open(u64, u8),
        Register(u64, u8),
        Unregister(u64, u8),
        Close(u64),
        Assign(u8),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            (0..6_u64, 0..3_u8).prop_map(|(link, peer)| Op::Open(link, peer)),
            (0..6_u64, 0..4_u8).prop_map(|(link, name)| Op::Register(link, name)),
            (0..6_u64, 0..4_u8).prop_map(|(link, name)| Op::Unregister(link, name)),
            (0..6_u64).prop_map(Op::Close),
            (0..4_u8).prop_map(Op::Assign),
        ];
        prop::collection::vec(op, 0..60)
    }

    proptest! {
        /// A model that keeps nothing but the set of live (link, name) pairs.
        #[test]
        fn a_name_is_served_exactly_while_a_link_registers_it(ops in ops()) {
            let now = Instant::now();
            let mut routes = Routes::<()>::default();
            let mut open: BTreeMap<u64, u8> = BTreeMap::new();
            let mut live: BTreeSet<(u64, u8)> = BTreeSet::new();
            let label = |n: u8| name(&format!("n{n}"));
            for op in ops {
                match op {
                    Op::Open(link, id) if !open.contains_key(&link) => {
                        let old = open.iter().find(|(_, peer)| **peer == id).map(|(link, _)| *link);
                        prop_assert_eq!(routes.open_link(LinkId(link), peer(&id.to_string())), old.map(LinkId));
                        open.insert(link, id);
                        if let Some(old) = old {
                            routes.close_link(LinkId(old), now);
                            open.remove(&old);
                            live.retain(|(link, _)| *link != old);
                        }
                    }
                    Op::Open(..) => {}
                    Op::Register(link, n) => {
                        let taken = routes.register(LinkId(link), &[label(n).into(), label(n).into()]).unwrap();
                        prop_assert_eq!(taken.len(), usize::from(open.contains_key(&link)));
                        if open.contains_key(&link) {
                            live.insert((link, n));
                        }
                    }
                    Op::Unregister(link, n) => {
                        let gone = routes.unregister(LinkId(link), &[label(n)], now);
                        prop_assert_eq!(gone.len(), usize::from(live.remove(&(link, n))));
                    }
                    Op::Close(link) => {
                        let gone = routes.close_link(LinkId(link), now).len();
                        let had = live.iter().filter(|(one, _)| *one == link).count();
                        prop_assert_eq!(gone, had);
                        open.remove(&link);
                        live.retain(|(one, _)| *one != link);
                    }
                    Op::Assign(n) => {
                        let served = chosen(assign(&mut routes, label(n).as_str(), None));
                        match served {
                            Some(Provider::Link(link)) => prop_assert!(live.contains(&(link.0, n))),
                            _ => prop_assert!(!live.iter().any(|(_, one)| *one == n)),
                        }
                    }
                }
                for row in routes.rows() {
                    let providers = live.iter().filter(|(_, n)| label(*n) == *row.name).count();
                    prop_assert_eq!(row.providers.len(), providers);
                }
            }
        }
    }
}
