//! What `/api/v1/` answers: one type for each answer, in JSON. `docs/openapi.json` describes the
//! same, and a test holds both together.
//!
//! Each field is always there; what is not known is `null`. Times are in seconds, moments in
//! RFC 3339 (UTC), bytes are payload. Fields are added within a version and never change their
//! meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a peer is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All that it knows is served, and all its links are up.
    Well,
    /// A known name has no provider, or a listening peer no link.
    Degraded,
    /// It is about to end.
    Draining,
}

/// Whether something can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Up {
    /// It can.
    Up,
    /// It cannot.
    Down,
}

/// The peer that answers: `/api/v1/peer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id, with its instance.
    pub id: String,
    /// The version of its program.
    pub version: String,
    /// The `node` label of its metrics.
    pub node: String,
    /// The `pod` label of its metrics.
    pub pod: String,
    /// How it is.
    pub state: State,
    /// Why it is not well: the names that are down and the listening peers without a link, one
    /// line each, ten at most.
    pub because: Vec<String>,
    /// How far it is in its life: `serving`, `draining`, `finishing` or `closing`.
    pub phase: String,
    /// Whether `/readyz` says so.
    pub ready: bool,
    /// `listening`, `connecting` or both.
    pub roles: Vec<String>,
    /// When it was started.
    pub started: String,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// Names that are known.
    pub names: u64,
    /// Those that somebody serves.
    pub names_up: u64,
    /// Open links of other peers to this one.
    pub links_in: u64,
    /// Open links of this peer to others.
    pub links_out: u64,
    /// Requests that run.
    pub requests: u64,
    /// Requests that wait for their DATA connection.
    pub pending: u64,
    /// The peers in `connect`.
    pub upstreams: Vec<Upstream>,
}

/// A listening peer that this one is to register with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// As configured.
    pub address: String,
    /// Whether the names are registered there.
    pub state: Up,
}

/// Names in order: `/api/v1/names`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// How many are known in all.
    pub total: u64,
    /// Where the next page begins, as `after`; `null` on the last.
    pub next: Option<String>,
    /// Some of them.
    pub names: Vec<Name>,
}

/// A name that clients can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Name {
    /// The name, which may be a wildcard.
    pub name: String,
    /// Whether anybody serves it.
    pub state: Up,
    /// For how long nobody has.
    pub down_for_seconds: Option<f64>,
    /// Somebody has withdrawn it, because its backend fails its checks.
    pub unhealthy: bool,
    /// The ways in which clients can reach it here: `http`, `https`, `tcp`, `connect`, `udp`.
    pub ways: Vec<String>,
    /// Who serves it: `local`, `upstream` or a peer id.
    pub providers: Vec<String>,
    /// The service behind it, if it is one of this peer.
    pub service: Option<Service>,
    /// Requests that run.
    pub active: u64,
    /// Requests that were routed to it.
    pub requests: u64,
    /// Those that ended well.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// Bytes from clients to backends.
    pub bytes_sent: u64,
    /// Bytes from backends to clients.
    pub bytes_received: u64,
    /// From routing to the first byte of the backend, on average.
    pub latency_seconds: Option<f64>,
    /// Requests that were refused or failed, by reason.
    pub errors: BTreeMap<String, u64>,
    /// What this peer did for listening peers that forwarded requests for it.
    pub served: Served,
    /// What came within the last minute, routed and served.
    pub last_minute: LastMinute,
}

/// Requests that a connecting peer has served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// FORWARDs that were taken.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Bytes to backends, of those that have ended.
    pub bytes_sent: u64,
    /// Bytes from backends, of those that have ended.
    pub bytes_received: u64,
}

/// What came within the last minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastMinute {
    /// Requests.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Bytes from clients to backends.
    pub bytes_sent: u64,
    /// Bytes from backends to clients.
    pub bytes_received: u64,
}

/// A service of this peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its backends.
    pub backends: Vec<Backend>,
    /// Whether they pass their checks; `null`, if they are not checked.
    pub health: Option<Up>,
    /// Why the last check failed that did.
    pub last_failure: Option<String>,
}

/// A backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Where it is.
    pub address: String,
    /// The ways that lead to it.
    pub ways: Vec<String>,
}

/// Open links, those of this peer to others first: `/api/v1/links`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Links {
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins, as `after`; `null` on the last.
    pub next: Option<String>,
    /// Some of them.
    pub links: Vec<Link>,
}

/// An open link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// What this peer is on it: `listening` or `connecting`.
    pub role: String,
    /// The id of the other peer, with its instance; `null` until it has said who it is.
    pub peer: Option<String>,
    /// How that is known: by certificate, token or address. `null` on the connecting side.
    pub identity: Option<String>,
    /// The upstream that it was opened for, on the connecting side.
    pub upstream: Option<String>,
    /// The other end of its connection.
    pub remote: Option<String>,
    /// For how long it has been open.
    pub age_seconds: f64,
    /// From the last heartbeat to its answer, on the connecting side.
    pub round_trip_seconds: Option<f64>,
    /// Names that are registered on it.
    pub names: u64,
    /// DATA connections that wait for its next requests.
    pub idle_data: u64,
}

/// Requests that run, the oldest first: `/api/v1/requests`. With an id, all that is known of
/// that one, the latest first: `/api/v1/requests/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// How many there are in all.
    pub total: u64,
    /// Where the next page begins, as `after`; `null` on the last.
    pub next: Option<String>,
    /// Some of them.
    pub requests: Vec<Request>,
}

/// A request: one stretch of a client's connection, to one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its proxy id, as in both peers' logs.
    pub id: String,
    /// What this peer does with it: `routed` or `served`.
    pub kind: String,
    /// The client, `IP:PORT`.
    pub client: String,
    /// What was asked for.
    pub name: String,
    /// How.
    pub way: String,
    /// Who serves it, or was to: `local`, `upstream` or a peer id.
    pub provider: String,
    /// The provider that was tried first and failed.
    pub first_tried: Option<FirstTried>,
    /// The listening peer that asked for it, where it is `served`.
    pub asked_by: Option<String>,
    /// When it began.
    pub began: String,
    /// For how long it has been running, or did.
    pub age_seconds: f64,
    /// From its beginning to when its provider was ready.
    pub connected_after_seconds: Option<f64>,
    /// From its beginning to the first byte of the backend.
    pub first_byte_after_seconds: Option<f64>,
    /// Bytes from the client to the backend.
    pub bytes_sent: u64,
    /// Bytes from the backend to the client.
    pub bytes_received: u64,
    /// HTTP requests within it that have ended.
    pub http_requests: u64,
    /// The status of the last of them that was answered.
    pub last_status: Option<u16>,
    /// `running`, `ok` or `failed`.
    pub outcome: String,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// A provider that did not take a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstTried {
    /// The id that it knew the request by.
    pub id: String,
    /// Who it is.
    pub provider: String,
}

/// Why a request failed or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// As in the metrics and the access log.
    pub reason: String,
    /// What the other peer said, where that tells more.
    pub detail: Option<String>,
    /// What it means, and what to do about it.
    pub words: String,
}

/// The last requests for known names that failed or were refused, the latest first:
/// `/api/v1/errors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// How many are kept.
    pub total: u64,
    /// Some of them.
    pub errors: Vec<Trouble>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// When it did last.
    pub at: String,
    /// How long ago that is.
    pub ago_seconds: f64,
    /// How often it did. Refusals of one name for one reason are told once, with the last
    /// client.
    pub times: u64,
    /// The proxy id, if the request was routed.
    pub id: Option<String>,
    /// What this peer did with it: `routed` or `served`.
    pub kind: String,
    /// What was asked for.
    pub name: String,
    /// How.
    pub way: String,
    /// The client, `IP:PORT`.
    pub client: String,
    /// Why.
    pub failure: Failure,
}

/// The certificates that this peer has loaded: `/api/v1/certificates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificates {
    /// How many there are.
    pub total: u64,
    /// Where the next page begins, as `after`; `null` on the last.
    pub next: Option<String>,
    /// Some of them.
    pub certificates: Vec<Certificate>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// What it is for: `peer`, `ca` or `public`.
    pub kind: String,
    /// Whose it is.
    pub subject: String,
    /// The names and URIs that it is valid for.
    pub names: Vec<String>,
    /// When it ends to be valid.
    pub not_after: Option<String>,
    /// Whole days until then; negative afterwards.
    pub days_left: Option<i64>,
    /// `valid`, `soon` within its last week, or `expired`.
    pub state: String,
}

/// What this peer was told to do, without its secrets: `/api/v1/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The settings in force, under their keys in the file.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Its value, in words.
    pub value: String,
}

/// Why there is no answer: with status 400, 404 or 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub error: String,
}
