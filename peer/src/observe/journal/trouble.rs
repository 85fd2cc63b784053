//! The last things that went wrong with requests for known names, and what an operator does
//! about each.

use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::record::{Failure, Kind, Record};
use crate::limits::TROUBLES_KEPT;
use crate::names::{Name, ProxyId};
use crate::offer::Way;

/// A request that was refused before it was routed.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The client.
    pub client: SocketAddr,
    /// What was asked for; a name that is known here.
    pub name: Name,
    /// How.
    pub way: Way,
    /// Why.
    pub reason: &'static str,
}

/// Something that went wrong.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// When it did last.
    pub at: Instant,
    /// The request, if it was routed.
    pub id: Option<ProxyId>,
    /// What this peer did with it.
    pub kind: Kind,
    /// The client.
    pub client: SocketAddr,
    /// What was asked for.
    pub name: Name,
    /// How.
    pub way: Way,
    /// Why.
    pub failure: Failure,
    /// How often. What is refused for one name and reason is told once, with the last client.
    pub times: u64,
}

impl Trouble {
    pub(super) fn of(record: &Record, failure: Failure) -> Self {
        let known = &record.known;
        Self {
            at: Instant::now(),
            id: Some(record.id()),
            kind: known.kind,
            client: known.client,
            name: known.name.clone(),
            way: known.way,
            failure,
            times: 1,
        }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        let Refusal { client, name, way, reason } = refusal;
        let failure = Failure { reason, detail: None };
        let (at, kind) = (Instant::now(), Kind::Routed);
        Self { at, id: None, kind, client, name, way, failure, times: 1 }
    }

    fn is_again(&self, other: &Self) -> bool {
        self.id.is_none()
            && other.id.is_none()
            && self.failure == other.failure
            && self.name == other.name
    }
}

/// The last of them, oldest first.
#[derive(Debug)]
pub(super) struct Troubles(VecDeque<Trouble>);

impl Troubles {
    pub(super) fn new() -> Self {
        Self(VecDeque::with_capacity(TROUBLES_KEPT))
    }

    pub(super) fn add(&mut self, mut trouble: Trouble) {
        let Self(all) = self;
        let again = all.iter().position(|one| one.is_again(&trouble));
        let before = match again {
            Some(index) => all.remove(index),
            None if all.len() == TROUBLES_KEPT => all.pop_front().and(None),
            None => None,
        };
        trouble.times += before.map_or(0, |before| before.times);
        all.push_back(trouble);
    }

    pub(super) fn latest_first(&self) -> Vec<Trouble> {
        self.0.iter().rev().cloned().collect()
    }
}

impl Failure {
    /// What it means, and what to do about it.
    pub fn in_words(self) -> &'static str {
        match self.detail.unwrap_or(self.reason) {
            "no_client" => "no peer serves this name now: look at the peer beside its backend",
            "no_provider" => "the listening peer that was asked has nobody who serves it now",
            "unhealthy" => "the backend fails its health checks: look at the backend",
            "forward_write_error" => {
                "the link to the provider took no more: look at the network to that peer"
            }
            "data_timeout" => {
                "the provider did not answer within the data timeout: look at its log"
            }
            "data_io_error" => {
                "the stream broke after it had begun: a client, a backend or the network cut it"
            }
            "backend_unreachable" => "the provider cannot reach the backend: look at its log",
            "backend_refused" => "the backend refuses connections: is it running on that port?",
            "backend_timeout" => {
                "the backend accepted no connection in time: is its address right, and a firewall open?"
            }
            "unknown_name" => {
                "the provider serves no such name any more: look at its configuration"
            }
            "overloaded" => {
                "the provider is at a limit, or could not open a DATA connection: look at its log"
            }
            "data_dial" => {
                "no DATA connection to the listening peer could be opened: look at the log"
            }
            "link_lost" => "the link to the provider ended while the request waited",
            "client_reset" => "the client left before its request was connected",
            "loop" => {
                "the request came back to a peer that had sent it out: look where the backend leads"
            }
            "way_not_offered" => {
                "the name cannot be reached in this way: its service must name the way"
            }
            "not_allowed" => "the service does not allow this client: see its allow list",
            "not_permitted" => "the certificate or token does not permit it",
            "pending_limit" => "too many requests already wait for this provider",
            "connection_limit" => "this peer is at its limit of connections",
            "draining" => "this peer is shutting down",
            "misdirected" => "the certificate of the client's connection does not cover the name",
            _ => "see the log of this peer",
        }
    }
}
