//! What the tables hold, for operators: some rows at a time, so that nobody who serves waits
//! for who looks.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::routes::LinkId;
use super::tables::Mesh;
use crate::names::{Name, PeerId};
use crate::observe::metrics::NameStats;
use crate::offer::Ways;
use crate::trust::Identity;

/// A name that is known.
#[derive(Debug, Clone)]
pub struct KnownName {
    /// The name, which may be a wildcard.
    pub name: String,
    /// Its live providers: `local`, `upstream` or a peer id.
    pub providers: Vec<String>,
    /// The ways in which it can be reached here.
    pub ways: Ways,
    /// Since when it has no provider.
    pub unserved_since: Option<Instant>,
    /// Whoever served it has withdrawn it, because its backend fails its checks.
    pub is_unhealthy: bool,
    /// Its counters.
    pub stats: Arc<NameStats>,
}

/// How many names there are, of some.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// Names that are known.
    pub count: usize,
    /// Those that somebody serves.
    pub up: usize,
    /// The first of those that nobody serves.
    pub down: Vec<String>,
    /// Where to go on.
    pub last: Option<Name>,
}

/// A link of a connecting peer.
#[derive(Debug, Clone)]
pub struct KnownLink {
    /// Its place in the order of opening.
    pub id: LinkId,
    /// What its peer calls itself.
    pub peer: PeerId,
    /// What it has proven.
    pub identity: Identity,
    /// Where it comes from, where that is known.
    pub source: Option<SocketAddr>,
    /// When it was opened.
    pub since: Instant,
    /// How many names it has registered.
    pub names: usize,
    /// How many DATA connections of it wait for a request.
    pub idle: usize,
}

impl<S> Mesh<S> {
    /// Where a link comes from.
    pub fn link_comes_from(&self, link: LinkId, source: SocketAddr) {
        self.lock().links.comes_from(link, source);
    }

    /// The first names after `last`, `most` at most, in order.
    pub fn names_after(&self, last: Option<&str>, most: usize) -> Vec<KnownName> {
        let tables = self.lock();
        let rows = tables.routes.rows_after(last).take(most).map(|row| KnownName {
            name: row.name.to_string(),
            providers: row.providers.iter().map(ToString::to_string).collect(),
            ways: row.ways,
            unserved_since: row.unserved_since,
            is_unhealthy: tables.unwell.retry_after(row.name.as_str()).is_some(),
            stats: row.stats.clone(),
        });
        rows.collect()
    }

    /// Counts the first names after `last`, `most` at most, and says which of them are down,
    /// up to `down` of them.
    pub fn census_after(&self, last: Option<&Name>, most: usize, down: usize) -> Census {
        let tables = self.lock();
        let mut census = Census::default();
        for row in tables.routes.rows_after(last.map(Name::as_str)).take(most) {
            census.count += 1;
            if row.unserved_since.is_none() && !row.providers.is_empty() {
                census.up += 1;
            } else if census.down.len() < down {
                census.down.push(row.name.to_string());
            }
            census.last = Some(row.name.clone());
        }
        census
    }

    /// The first links after `last`, `most` at most, in the order of their opening.
    pub fn links_after(&self, last: LinkId, most: usize) -> Vec<KnownLink> {
        let tables = self.lock();
        let rows = tables.links.after(last).take(most).filter_map(|(id, link)| {
            let (peer, names) = tables.routes.registered_by(id)?;
            Some(KnownLink {
                id,
                peer: peer.clone(),
                identity: link.principal.identity.clone(),
                source: link.source(),
                since: link.since(),
                names,
                idle: link.idle_count(),
            })
        });
        rows.collect()
    }

    /// How many links are open.
    pub fn link_count(&self) -> usize {
        self.lock().links.count()
    }
}
