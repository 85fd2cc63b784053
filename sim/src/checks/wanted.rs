//! Every registration that the configurations ask for, over every path, by what names mean
//! now.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ops_proxy::config::{Endpoint, Upstream};
use ops_proxy::limits::PATH_PEERS;
use ops_proxy::names::{Name, NamePattern, PeerId};

use crate::mesh::Mesh;
use crate::scenario::{PeerSpec, Scenario};

/// One registration that the configuration asks for: a name, from a connecting
/// peer, through one upstream, at a listening peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) listening: String,
    pub(super) name: String,
    /// `None` for a name that the listening peer serves itself.
    pub(super) connecting: Option<Connecting>,
    /// The host of another listening peer that is asked for it, and what that is dialled by.
    pub(super) asks: Option<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Connecting {
    pub(super) peer: String,
    /// The name by which it dials the listening peer.
    pub(super) dials: String,
    /// What it passes on, where it does not serve the name itself.
    pub(super) behind: Option<Box<Wanted>>,
}

impl Wanted {
    /// What the connecting peer passes on.
    pub(super) fn behind(&self) -> Option<&Self> {
        self.connecting.as_ref()?.behind.as_deref()
    }

    /// It, what is behind it, and so on.
    pub(super) fn all_hops(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |one| one.behind())
    }

    /// How many links it depends on.
    pub(super) fn hops(&self) -> u32 {
        let is_link = |one: &Self| one.connecting.is_some() || one.asks.is_some();
        self.all_hops().map(|one| u32::from(is_link(one))).sum()
    }

    /// The peer whose service it is.
    pub(super) fn served_by(&self) -> &str {
        let last = self.all_hops().last().unwrap_or(self);
        last.connecting.as_ref().map_or(&last.listening, |one| &one.peer)
    }

    /// The hosts of the peers that a request for it passes.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.all_hops().map(|one| one.listening.as_str()).chain([self.served_by()])
    }

    /// Whether a request for it passes this host.
    pub(super) fn passes(&self, host: &str) -> bool {
        self.served_by() == host || self.all_hops().any(|one| one.listening == host)
    }

    /// The ids of the peers that a request for it passes behind the listening peer, which
    /// would say so: the one that serves it first.
    pub(super) fn path(&self, mesh: &Mesh) -> Vec<PeerId> {
        let peers = self.all_hops().filter_map(|one| one.connecting.as_ref());
        let id = |one: &Connecting| {
            let spec = &mesh.scenario().peers[&one.peer];
            spec.id.as_deref().unwrap_or(&one.peer).parse().expect("a checked scenario has ids")
        };
        let mut path: Vec<PeerId> = peers.map(id).collect();
        path.reverse();
        path
    }
}

/// What is asked for, and what names meant when that was found out.
#[derive(Debug, Default)]
pub(super) struct Asked {
    hosts: BTreeMap<String, Vec<String>>,
    /// With the configurations of that time.
    scenario: Option<Rc<Scenario>>,
    all: BTreeSet<Wanted>,
}

impl Asked {
    /// Takes in what names mean now, and what peers are configured with. Whether that has
    /// changed.
    pub(super) fn look(&mut self, mesh: &Mesh) -> bool {
        let upstreams = mesh.scenario().peers.values().flat_map(upstreams);
        let hosts: BTreeMap<String, Vec<String>> =
            upstreams.map(|to| (to.host.clone(), mesh.hosts_of(&to.host))).collect();
        let configured = self.scenario.as_ref().is_some_and(|one| Rc::ptr_eq(one, mesh.scenario()));
        let is_new = hosts != self.hosts || !configured;
        if is_new {
            self.all = wanted(mesh);
            self.hosts = hosts;
            self.scenario = Some(mesh.scenario().clone());
        }
        is_new
    }

    /// All that is asked for.
    pub(super) fn all(&self) -> &BTreeSet<Wanted> {
        &self.all
    }
}

fn upstreams(peer: &PeerSpec) -> impl Iterator<Item = Endpoint> {
    peer.connect.iter().filter_map(|text| Some(text.parse::<Upstream>().ok()?.endpoint))
}

/// The listening peers that a peer's upstreams lead to now, each with what it dials. None
/// keeps a link to itself.
fn listening_peers(mesh: &Mesh, host: &str) -> Vec<(String, String)> {
    let listens = |listening: &str, port| {
        let peer = mesh.scenario().peers.get(listening);
        listening != host && peer.is_some_and(|peer| peer.listen == Some(port))
    };
    let mut all = Vec::new();
    for Endpoint { host: dials, port } in upstreams(&mesh.scenario().peers[host]) {
        let found = mesh.hosts_of(&dials).into_iter().filter(|one| listens(one, port));
        all.extend(found.map(|listening| (listening, dials.clone())));
    }
    all
}

/// Every registration that the configurations ask for.
pub(super) fn wanted(mesh: &Mesh) -> BTreeSet<Wanted> {
    let mut last = Vec::new();
    let mut all = BTreeSet::new();
    for (host, peer) in &mesh.scenario().peers {
        let asked = |listening: &String, connecting: Option<Connecting>| {
            let of = move |name: &String| Wanted {
                listening: listening.clone(),
                name: name.clone(),
                connecting: connecting.clone(),
                asks: None,
            };
            peer.services.keys().map(of).collect::<Vec<_>>()
        };
        if peer.listen.is_some() {
            all.extend(asked(host, None));
        }
        for (listening, dials) in listening_peers(mesh, host) {
            all.extend(peer.reach.iter().map(|name| Wanted {
                listening: host.clone(),
                name: name.clone(),
                connecting: None,
                asks: Some((listening.clone(), dials.clone())),
            }));
            let connecting = Connecting { peer: host.clone(), dials, behind: None };
            last.extend(asked(&listening, Some(connecting)));
        }
    }
    all.extend(last.iter().cloned());
    for _ in 1..PATH_PEERS {
        last = last.iter().flat_map(|one| passed_on(mesh, one)).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What a peer that has a registration asks for at its own upstreams.
fn passed_on(mesh: &Mesh, one: &Wanted) -> Vec<Wanted> {
    let host = &one.listening;
    let peer = &mesh.scenario().peers[host];
    let Ok(name) = one.name.parse::<Name>() else { return Vec::new() };
    let mut patterns = peer.transit.iter().filter_map(|text| text.parse::<NamePattern>().ok());
    if peer.services.contains_key(&one.name) || !patterns.any(|pattern| pattern.covers(&name)) {
        return Vec::new();
    }
    let listening = listening_peers(mesh, host).into_iter();
    let elsewhere = listening.filter(|(listening, _)| !one.passes(listening));
    let next = |(listening, dials)| Wanted {
        listening,
        asks: None,
        name: one.name.clone(),
        connecting: Some(Connecting {
            peer: host.clone(),
            dials,
            behind: Some(one.clone().into()),
        }),
    };
    elsewhere.map(next).collect()
}
