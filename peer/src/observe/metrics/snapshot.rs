//! The numbers of one peer at one moment.

use super::name_stats::Counts;

/// The numbers of one peer at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// One row per known name, in order.
    pub names: Vec<NameRow>,
    /// What was counted under `_other`.
    pub other: Counts,
    /// Ids waiting for a DATA connection.
    pub pending: u64,
    /// Open links of connecting peers.
    pub links: u64,
    /// Of each connecting peer, its instances together, how many links are open; in order.
    pub links_by_peer: Vec<(String, u64)>,
    /// Names that are expected back after a start, and are not.
    pub expected: u64,
    /// Requests that wait for a provider to come back.
    pub held: u64,
    /// DATA connections that wait for a request.
    pub idle_data: u64,
    /// DATA connections that matched nothing.
    pub unexpected: u64,
    /// HTTP requests that have ended, those for names that were forgotten included.
    pub exchanges: u64,
    /// Tasks that panicked.
    pub panics: u64,
}

/// The numbers of one name.
#[derive(Debug, Clone)]
pub struct NameRow {
    /// The `client_name` label.
    pub name: String,
    /// Live providers; for humans, `local` or a peer id.
    pub providers: Vec<String>,
    /// Ids waiting for a DATA connection of this name.
    pub pending: u64,
    /// The counters.
    pub counts: Counts,
}
