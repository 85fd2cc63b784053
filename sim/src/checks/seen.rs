//! The numbers of one peer beside what its clients have seen.

use std::collections::BTreeMap;

use ops_proxy::observe::metrics::{Counts, Snapshot};

use super::calm::{is_calm, most_stretches, stretches_served};
use crate::client::Outcome;
use crate::mesh::Mesh;
use crate::scenario::steps::{Raw, Via};
use crate::scenario::{PeerSpec, Scenario};

/// No answer of a peer itself has a longer body.
const REFUSAL_BYTES: u64 = 1024;

/// What clients have seen so far at one listening peer, whatever the name.
#[derive(Debug, Default, Clone, Copy)]
struct SeenAt {
    /// Requests that may have been routed: one for each head that was sent on a
    /// connection, for any may begin a stretch of its own. Where nothing is broken, only
    /// those for another name do.
    heads: u64,
    /// Requests that got all that they asked for, and asked for something.
    whole: u64,
    /// Payload that was received at least, and that was sent by whole requests.
    received: u64,
    sent: u64,
}

/// What clients have seen, by host.
pub(super) struct Seen(BTreeMap<String, SeenAt>);

impl Seen {
    /// Adds up all requests so far.
    pub(super) fn by_clients(mesh: &Mesh) -> Self {
        let mut seen: BTreeMap<String, SeenAt> = BTreeMap::new();
        let scenario = mesh.scenario();
        let calm = is_calm(scenario).then_some(&**scenario);
        mesh.outcomes().with(|all| {
            for one in all {
                let host = one.request.to.split(':').next().unwrap_or_default();
                if !seen.contains_key(host) {
                    seen.insert(host.to_owned(), SeenAt::default());
                }
                if let Some(at) = seen.get_mut(host) {
                    at.add(one, calm);
                }
            }
        });
        let raws: Vec<&Raw> =
            mesh.scenario().steps().filter_map(|step| step.raw.as_ref()).collect();
        for raw in &raws {
            let host = raw.to.as_deref().and_then(|to| to.split(':').next()).unwrap_or_default();
            let same = raws.iter().filter(|one| one.conn == raw.conn);
            let heads: usize = same.map(|one| heads(one)).sum();
            seen.entry(host.to_owned()).or_default().heads += heads.max(1) as u64;
        }
        Self(seen)
    }

    /// Compares it with what the peer on `host` has counted.
    /// `passed_on` more may have been asked for by other peers.
    pub(super) fn check(&self, host: &str, now: &Snapshot, passed_on: u64) -> Result<(), String> {
        let seen = self.0.get(host).copied().unwrap_or_default();
        let of_all = |number: fn(&Counts) -> u64| -> u64 {
            now.names.iter().map(|row| number(&row.counts)).sum()
        };
        let requests = of_all(|counts| counts.requests_in_all().0);
        let (tx, rx) = (of_all(|counts| counts.bytes_tx), of_all(|counts| counts.bytes_rx));
        let SeenAt { heads, whole, received, sent } = seen;
        if requests > heads + passed_on || requests < whole {
            return Err(format!(
                "{requests} requests counted, but {heads} sent, {passed_on} passed on, and {whole} \
                 served"
            ));
        }
        if rx < received {
            return Err(format!("clients received {received} B, but {rx} are counted"));
        }
        if tx < sent {
            return Err(format!("clients sent {sent} B, but {tx} are counted"));
        }
        Ok(())
    }
}

/// How many HTTP heads a step may send.
fn heads(raw: &Raw) -> usize {
    raw.send.matches(" HTTP/1.").count() * raw.repeat.unwrap_or(1) as usize
}

impl SeenAt {
    /// Adds one connection; `calm` is the scenario of a run in which nothing is broken.
    fn add(&mut self, outcome: &Outcome, calm: Option<&Scenario>) {
        let request = &outcome.request;
        if !request.exchanges.is_empty() {
            self.heads += match calm {
                // Nothing of one connection goes two ways.
                None if request.via == Via::Http2 => 1,
                Some(scenario) => most_stretches(scenario, request),
                None => request.exchanges.len() as u64,
            };
            self.whole += stretches_served(outcome);
            self.received += outcome.received;
            self.sent += outcome.sent + outcome.heads_sent;
            return;
        }
        self.heads += match request.via {
            _ if calm.is_some() => 1,
            // Whoever is refused begins another with his next datagram.
            Via::Udp => request.datagrams().len() as u64,
            _ => u64::from(request.keep_alive),
        };
        // Who asks for nothing is content whatever happens.
        self.whole += u64::from(outcome.is_whole() && outcome.received > 0);
        // What is small may be the answer of a peer that refuses.
        if outcome.is_whole() || outcome.received > REFUSAL_BYTES {
            self.received += outcome.received;
        }
        if outcome.is_whole() {
            self.sent += match outcome.request.via {
                Via::Http => outcome.sent + outcome.heads_sent,
                // A stream is what came back, the ClientHello too.
                Via::Http2 | Via::Tls | Via::Connect | Via::Tcp | Via::Udp => outcome.received,
            };
        }
    }
}

/// Whether the peer on this host has counters for all that it ever did, and nobody but
/// clients and the peers that have it pass on asked it: no other peer has it for a backend
/// or for a proxy, or asks it for names.
pub(super) fn counts_everything(mesh: &Mesh, host: &str) -> bool {
    let peers = &mesh.scenario().peers;
    let is_host = |text: &String| text.rsplit_once(':').is_some_and(|(name, _)| name == host);
    let asks = |peer: &PeerSpec| !peer.reach.is_empty() && peer.connect.iter().any(is_host);
    mesh.starts(host) == 1
        && peers[host].name_retention.is_none()
        && !peers.values().any(|peer| peer.services.values().chain(&peer.via).any(is_host))
        && !peers.values().any(asks)
}
