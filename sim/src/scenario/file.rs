//! One scenario, as its file has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::backend::BackendSpec;
use super::cast::Cast;
use super::certificate::{CertificateSpec, RevocationSpec};
use super::peer::PeerSpec;
use super::real::RealSpec;
use super::step::Step;
use super::units::Time;

/// One scenario, as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line.
    pub title: String,
    /// More about it, for a reader.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The numbers of the cases in the fault list that it covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<u8>,
    /// Where all randomness of the run comes from.
    #[serde(default)]
    pub seed: u64,
    /// A fault without any effect fails the run.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub faults_must_bite: bool,
    /// What is known of it on the real binary.
    #[serde(default, skip_serializing_if = "RealSpec::is_silent")]
    pub real: RealSpec,
    /// What holds for the whole network.
    #[serde(default)]
    pub network: Network,
    /// The CAs; the first is the one that is meant where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cas: Vec<String>,
    /// What the CAs sign.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, CertificateSpec>,
    /// What the CAs revoke.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub revocations: BTreeMap<String, RevocationSpec>,
    /// The peers, by the name of their host.
    #[serde(default)]
    pub peers: BTreeMap<String, PeerSpec>,
    /// The backends, by the name of their host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<String, BackendSpec>,
    /// The hosts from which requests and raw connections come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// What happens, in order.
    #[serde(default)]
    pub steps: Vec<Spanned<Step>>,
}

fn yes() -> bool {
    true
}

/// What holds for the whole network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The grain of simulated time between hosts.
    pub tick: Time,
    /// Shortest time from one host to another.
    pub latency: Time,
    /// Longest time from one host to another; the shortest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_max: Option<Time>,
    /// How long a connection that was cut takes to notice, by keepalive or the
    /// user timeout.
    pub notices_cut_after: Time,
    /// After the last step everything must be quiet within this time.
    pub quiet_within: Time,
    /// At the end all faults are healed and every name must be served again.
    pub heals: bool,
    /// In which order the tasks of a peer run that can run at the same time.
    #[serde(skip_serializing_if = "Order::is_woken")]
    pub order: Order,
}

/// In which order the tasks of a peer run that can run at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they were woken.
    #[default]
    Woken,
    /// As the seed says.
    Random,
}

impl Order {
    fn is_woken(&self) -> bool {
        *self == Self::Woken
    }
}

impl Default for Network {
    fn default() -> Self {
        Self {
            tick: Time::from_millis(5),
            latency: Time::from_millis(5),
            latency_max: None,
            notices_cut_after: Time::from_millis(15_000),
            quiet_within: Time::from_millis(120_000),
            heals: true,
            order: Order::Woken,
        }
    }
}

impl Scenario {
    /// Who takes part.
    pub fn cast(&self) -> Cast<'_> {
        let names = self.steps().filter_map(|step| step.dns.as_ref());
        let raws = self.steps().filter_map(|step| step.raw.as_ref());
        let opened = raws.filter(|raw| raw.to.is_some());
        Cast {
            cas: &self.cas,
            certificates: &self.certificates,
            revocations: &self.revocations,
            peers: &self.peers,
            backends: &self.backends,
            clients: &self.clients,
            hosts: self.hosts().collect(),
            names: names.map(|dns| dns.name.as_str()).collect(),
            raws: opened.map(|raw| raw.conn.as_str()).collect(),
        }
    }

    /// All host names: peers, backends, clients, in the order of their creation.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let peers = self.peers.keys().chain(self.backends.keys());
        peers.chain(&self.clients).map(String::as_str)
    }

    /// The hosts of all backends that a request for this name may reach, at whatever peer.
    pub fn backends_of(&self, name: &str) -> BTreeSet<String> {
        let configured = self.steps().filter_map(|step| step.configure.as_ref());
        let services = self.peers.values().map(|peer| &peer.services);
        let services = services.chain(configured.map(|step| &step.services)).flatten();
        let named = services.filter(|(service, _)| serves_for(service, name));
        let dialled = named.filter_map(|(_, backend)| backend.split(':').next());
        let dialled: BTreeSet<&str> = dialled.collect();
        let moved = self.steps().filter_map(|step| step.dns.as_ref());
        let moved = moved.filter(|dns| dialled.contains(dns.name.as_str()));
        let moved: Vec<&str> = moved.flat_map(|dns| dns.all()).collect();
        dialled.into_iter().chain(moved).map(str::to_owned).collect()
    }

    /// Whether backends of this name are told who their clients are, at whatever peer. Nothing
    /// is known if one of them is a peer, which goes by what it sees itself.
    pub fn tells(&self, name: &str) -> BTreeSet<bool> {
        if self.backends_of(name).iter().any(|host| self.peers.contains_key(host)) {
            return BTreeSet::new();
        }
        let configured = self.steps().filter_map(|step| step.configure.as_ref());
        let configured = configured.map(|step| (&step.services, &step.offers));
        let all = self.peers.values().map(|peer| (&peer.services, &peer.offers));
        let all = all.chain(configured).flat_map(|(services, offers)| {
            let meant = services.keys().filter(|service| serves_for(service, name));
            meant.map(|service| offers.get(service).is_some_and(|offer| offer.forwarded))
        });
        all.collect()
    }

    /// Whether the peer at `to` takes the word of whoever comes from `ip` for whom he speaks.
    pub fn trusts(&self, to: &str, ip: IpAddr) -> bool {
        let host = to.split(':').next().unwrap_or_default();
        let config = self.peers.get(host).and_then(|peer| peer.config(host).ok());
        config.is_some_and(|config| config.trusted_proxies.iter().any(|net| net.contains(&ip)))
    }

    /// The CA of this name, or the first one.
    pub fn ca_of<'a>(&'a self, name: Option<&'a str>) -> Option<&'a str> {
        name.or_else(|| self.cas.first().map(String::as_str))
    }

    /// The steps without their places in the file.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &Step> {
        self.steps.iter().map(AsRef::as_ref)
    }

    /// The scenario as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field of a scenario has a TOML form")
    }
}

/// Whether who has registered `known` gets requests for `name`: a wildcard covers one label.
pub fn serves_for(known: &str, name: &str) -> bool {
    let parent = name.split_once('.').map(|(_, parent)| parent);
    known == name || parent.is_some_and(|parent| known.strip_prefix("*.") == Some(parent))
}
