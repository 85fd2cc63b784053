//! The journal itself: which requests run, and which have ended.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::record::{Failure, Known, Record};
use super::span_sink::SpanSink;
use super::trouble::{Refusal, Trouble, Troubles};
use crate::limits::ENDED_KEPT;
use crate::names::ProxyId;
use crate::observe::metrics::ProxyError;

/// The journal of one peer. One that a panic left half changed is still shown: nothing depends
/// on it.
#[derive(Debug)]
pub struct Journal {
    began: Instant,
    pages: Mutex<Pages>,
    spans: Option<Arc<dyn SpanSink>>,
}

#[derive(Debug)]
struct Pages {
    /// By the order of their beginning.
    running: BTreeMap<u64, Arc<Record>>,
    begun: u64,
    /// By value, in one block: a record that stays where it was made, for as long as a thousand
    /// requests take, would scatter what every later one needs over cold memory.
    ended: VecDeque<Record>,
    troubles: Troubles,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Journal {
    /// Empty, and begun now; who takes the `spans` of its requests.
    pub fn new(spans: Option<Arc<dyn SpanSink>>) -> Self {
        let pages = Pages {
            running: BTreeMap::new(),
            begun: 0,
            ended: VecDeque::with_capacity(ENDED_KEPT),
            troubles: Troubles::new(),
        };
        Self { began: Instant::now(), pages: Mutex::new(pages), spans }
    }

    /// When this peer was started.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// A request is known from now on.
    pub fn begin(self: &Arc<Self>, known: Known) -> Running {
        let record = Arc::new(Record::new(known));
        let mut pages = self.pages();
        pages.begun += 1;
        let place = pages.begun;
        pages.running.insert(place, record.clone());
        drop(pages);
        Running { record, journal: self.clone(), place }
    }

    fn end(&self, place: u64, record: &Arc<Record>) {
        let failure = record.end().and_then(|end| end.failure);
        let trouble = failure.map(|failure| Trouble::of(record, failure));
        if let Some((spans, span)) = self.spans.as_ref().zip(record.known.span.as_deref())
            && span.context.is_sampled
        {
            spans.take(span, record);
        }
        let mut pages = self.pages();
        pages.running.remove(&place);
        let oldest = (pages.ended.len() == ENDED_KEPT).then(|| pages.ended.pop_front());
        pages.ended.push_back(record.copy());
        if let Some(trouble) = trouble {
            pages.troubles.add(trouble);
        }
        drop(pages);
        // Freed when nobody waits.
        drop(oldest);
    }

    /// A request for a known name was refused before it was routed.
    pub fn refused(&self, refusal: Refusal) {
        let trouble = Trouble::refused(refusal);
        self.pages().troubles.add(trouble);
    }

    /// The requests that run, the oldest first: `most` of those after `place`, each with its
    /// own.
    pub fn running_after(&self, place: u64, most: usize) -> Vec<(u64, Arc<Record>)> {
        let pages = self.pages();
        let after = pages.running.range(place.saturating_add(1)..).take(most);
        after.map(|(place, record)| (*place, record.clone())).collect()
    }

    /// How many requests run.
    pub fn running_count(&self) -> usize {
        self.pages().running.len()
    }

    /// The last requests that ended, the latest first; `most` at most.
    pub fn ended(&self, most: usize) -> Vec<Arc<Record>> {
        self.pages().ended.iter().rev().take(most).map(|one| Arc::new(one.copy())).collect()
    }

    /// All that is known of a request, the latest first. One that came through this peer
    /// twice is there twice.
    pub fn find(&self, id: ProxyId) -> Vec<Arc<Record>> {
        let pages = self.pages();
        let running = pages.running.values().rev().filter(|record| record.is(id)).cloned();
        let ended = pages.ended.iter().rev().filter(|record| record.is(id));
        running.chain(ended.map(|record| Arc::new(record.copy()))).collect()
    }

    /// What went wrong last, the latest first.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.pages().troubles.latest_first()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that runs. One that is dropped has failed, unless it has ended before.
#[derive(Debug)]
pub struct Running {
    record: Arc<Record>,
    journal: Arc<Journal>,
    place: u64,
}

impl Running {
    /// It has ended, now; how long it lasted. Only the first end counts.
    pub fn end(&self, failure: Option<Failure>) -> Duration {
        let (after, is_first) = self.record.ends(failure);
        if is_first {
            self.journal.end(self.place, &self.record);
        }
        after
    }
}

impl Deref for Running {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.record.end().is_none() {
            self.end(Some(ProxyError::DataIoError.into()));
        }
    }
}

#[cfg(test)]
mod tests;
