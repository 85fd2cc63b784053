//! All connections of a run, as they are overheard.

use std::collections::BTreeMap;

use ops_proxy::wire::Line;

use super::heard::{Heard, Idled, Role};
use crate::connection::End;

/// What was heard on the connections of a run.
#[derive(Debug, Default)]
pub struct Tap {
    connections: BTreeMap<u64, Heard>,
    /// The ids of all FORWARD lines, in the order in which they were written.
    forwards: Vec<String>,
}

impl Tap {
    /// What a connection is, as far as its first bytes told.
    pub fn role(&self, conn: u64) -> Role {
        self.connections.get(&conn).map_or(Role::Other, |heard| heard.role)
    }

    /// Whether this is a DATA connection that waits for a request.
    pub fn is_idle(&self, conn: u64) -> bool {
        self.connections.get(&conn).is_some_and(Heard::is_idle)
    }

    /// What each idle DATA connection of the run has come to.
    pub fn idled(&self) -> impl Iterator<Item = Idled> {
        self.connections.values().filter_map(Heard::idled)
    }

    /// The proxy ids of all FORWARD lines so far.
    pub fn forwards(&self) -> &[String] {
        &self.forwards
    }

    /// Takes in what one end wrote; returns the protocol lines that it ended.
    pub fn wrote(&mut self, conn: u64, end: End, bytes: &[u8]) -> Vec<String> {
        let heard = self.connections.entry(conn).or_insert_with(Heard::nothing);
        let lines = heard.wrote(end, bytes);
        for line in &lines {
            if let Ok(Line::Forward(id, _)) = Line::parse(line.as_bytes()) {
                self.forwards.push(id.to_string());
            }
        }
        lines
    }
}
