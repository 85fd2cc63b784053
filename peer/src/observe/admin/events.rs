//! `/events`: a status page hears of each part of it that has changed, as server-sent events
//! (HTML Living Standard §9.2). All pages that are open share one look at the peer.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, interval, timeout};

use super::status::{Parts, parts};
use crate::limits::{ADMIN_SCRAPE_STALL, STATUS_EVERY, STATUS_RETRY};
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;

/// What the open pages show.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<Option<Look>>);

#[derive(Debug, Clone)]
struct Look {
    at: Instant,
    phase: Phase,
    parts: Arc<Parts>,
}

impl Shown {
    /// The parts as they were less than [`STATUS_EVERY`] ago, in this phase of the peer.
    async fn parts<N: Net>(&self, shared: &Shared<N>) -> Arc<Parts> {
        let Self(look) = self;
        let mut look = look.lock().await;
        let phase = shared.tasks.phase();
        let is_new = |one: &&Look| one.phase == phase && one.at.elapsed() < STATUS_EVERY / 2;
        if let Some(one) = look.as_ref().filter(is_new) {
            return one.parts.clone();
        }
        let parts = Arc::new(parts(shared).await);
        *look = Some(Look { at: Instant::now(), phase, parts: parts.clone() });
        parts
    }
}

/// Tells of what changes until the peer ends, or nobody listens.
pub(super) async fn tell<N: Net>(
    shared: Arc<Shared<N>>,
    shown: Arc<Shown>,
    page: mpsc::Sender<Bytes>,
) {
    let mut told = BTreeMap::new();
    let mut ticks = interval(STATUS_EVERY);
    let mut is_draining = false;
    let retry = format!("retry: {}\n\n", STATUS_RETRY.as_millis());
    let mut text = retry;
    loop {
        tokio::select! {
            biased;
            () = page.closed() => return,
            () = shared.tasks.entered(Phase::Closing) => return,
            () = shared.tasks.entered(Phase::Draining), if !is_draining => is_draining = true,
            _ = ticks.tick() => {}
        }
        let parts = shown.parts(&shared).await;
        write_changes(&mut text, &mut told, &parts);
        if text.is_empty() {
            continue;
        }
        let piece = Bytes::from(std::mem::take(&mut text));
        // Who takes nothing does not read, or is gone.
        if !matches!(timeout(ADMIN_SCRAPE_STALL, page.send(piece)).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn write_changes(text: &mut String, told: &mut BTreeMap<String, u64>, parts: &Parts) {
    for (id, html) in parts {
        let mut hasher = DefaultHasher::new();
        html.hash(&mut hasher);
        if told.insert(id.clone(), hasher.finish()) != Some(hasher.finish()) {
            // JSON has no line of its own within a string.
            text.push_str(&format!("event: part\ndata: {}\n\n", json!({ "id": id, "html": html })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_told() {
        let (mut text, mut told) = (String::new(), BTreeMap::new());
        let mut parts: Parts =
            [("a".to_owned(), "1\n2".to_owned()), ("b".to_owned(), "3".to_owned())].into();
        write_changes(&mut text, &mut told, &parts);
        assert_eq!(text.matches("event: part\n").count(), 2);
        assert!(text.contains(r#"data: {"html":"1\n2","id":"a"}"#), "{text}");
        text.clear();
        write_changes(&mut text, &mut told, &parts);
        assert_eq!(text, "");
        parts.insert("b".to_owned(), "4".to_owned());
        write_changes(&mut text, &mut told, &parts);
        assert_eq!(text, "event: part\ndata: {\"html\":\"4\",\"id\":\"b\"}\n\n");
    }
}
