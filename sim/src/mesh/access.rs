//! What the access log of a peer has told, by the numbers that can be held against its metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ops_proxy::observe::access::{Access, AccessLog, Outcome};
use ops_proxy::offer::Way;

/// The lines of one process, added up.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Sums>);

/// How many lines there were, and of how many bytes.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Of HTTP requests that were read, or answered by the peer itself.
    pub exchanges: u64,
    /// Of refusals that say neither what was asked for nor what was answered: of HTTP/2, or of
    /// HTTP/1 that is none or could not be answered.
    pub speechless: u64,
    /// Of anything else that was routed, by its way: in all, and those that failed.
    pub streams: BTreeMap<&'static str, (u64, u64)>,
    /// Payload bytes, client to backend.
    pub sent: u64,
    /// The same, backend to client.
    pub received: u64,
    /// The first line that contradicts itself, or those before it.
    pub nonsense: Option<String>,
    /// Of each stretch of HTTP requests, the number of the last one.
    numbers: BTreeMap<String, u64>,
}

impl Told {
    /// What it comes to so far.
    pub(super) fn sums(&self) -> Sums {
        self.0.lock().expect("nobody panics while holding this").clone()
    }
}

impl AccessLog for Told {
    fn take(&self, access: Access) {
        let mut sums = self.0.lock().expect("nobody panics while holding this");
        sums.sent += access.sent;
        sums.received += access.received;
        let before = access.id.zip(access.number).and_then(|(id, number)| {
            sums.numbers
                .insert(id.to_string(), number)
                .or(Some(0))
                .filter(|last| *last + 1 != number)
        });
        let skips = before.map(|_| "the requests of a stretch are told of in order");
        if let Some(what) = contradiction(&access).or(skips) {
            sums.nonsense.get_or_insert_with(|| format!("{what}: {access:?}"));
        }
        let way = access.way.map_or("none", Way::as_str);
        let is_http = matches!(access.way, Some(Way::Http | Way::Connect));
        match access.id {
            Some(_) if access.number.is_some() => sums.exchanges += 1,
            None if is_http && access.line.is_none() && access.status.is_none() => {
                sums.speechless += 1;
            }
            None if is_http => sums.exchanges += 1,
            None if access.outcome == Outcome::Refused => {}
            _ => {
                let (all, failed) = sums.streams.entry(way).or_default();
                *all += 1;
                *failed += u64::from(access.outcome == Outcome::Failed);
            }
        }
    }
}

/// What is wrong with a line, whatever the others say.
fn contradiction(access: &Access) -> Option<&'static str> {
    let Access { id, outcome, reason, provider, first_byte, duration, .. } = access;
    if (*outcome == Outcome::Ok) != reason.is_none() {
        return Some("what failed has a reason, and nothing else");
    }
    if id.is_some() != provider.is_some() {
        return Some("what was carried has somebody who served it, and nothing else");
    }
    if reason.is_some_and(str::is_empty) {
        return Some("a reason says something");
    }
    if first_byte.is_some_and(|first| first > *duration) {
        return Some("an answer does not begin after its end");
    }
    // Interim answers come before that of an HTTP request.
    if access.received > 0 && first_byte.is_none() && access.number.is_none() {
        return Some("what was received has a first byte");
    }
    None
}
