//! Follows the Services of one namespace: lists them, then watches for changes from there on, and
//! lists again when the API has forgotten where that was (410 Gone). While the API fails, what
//! is known stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::api::{Answer, Api, ApiError};
use super::object::{Annotated, Event, List, Object};
use crate::config::Namespace;
use crate::limits::{
    KUBERNETES_ALIVE, KUBERNETES_FAILURES_SAID, KUBERNETES_PAGE, KUBERNETES_PAGE_BYTES,
    KUBERNETES_RETRY_BASE, KUBERNETES_RETRY_CAP, KUBERNETES_TIMEOUT, KUBERNETES_WATCH,
    NAMES_PER_LINK,
};
use crate::observe::metrics::KubernetesServices;
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// The annotated Services of each namespace, by name; none for a namespace that has not been
/// listed yet.
pub(super) type Known = BTreeMap<Namespace, Option<BTreeMap<String, Annotated>>>;

/// Follows one namespace.
#[derive(Clone)]
pub(super) struct Watch {
    /// The API of its cluster.
    pub(super) api: Arc<Api>,
    /// Which it is.
    pub(super) namespace: Namespace,
    /// Where it is told what there is.
    pub(super) known: Arc<watch::Sender<Known>>,
    /// Where it is told whether that is up to date.
    pub(super) metrics: KubernetesServices,
}

/// How the last attempts went.
#[derive(Default)]
struct Luck {
    /// Failures in a row.
    failures: u32,
    /// What the log says is wrong.
    said: Option<String>,
}

impl Watch {
    /// Never returns. Cancel safe.
    pub(super) async fn keep(self) {
        let mut luck = Luck::default();
        let mut version = None;
        self.metrics.watch_up(&self.namespace, false);
        loop {
            let Err(error) = self.round(&mut version, &mut luck).await else { continue };
            if let ApiError::Gone = error {
                version = None;
            }
            self.failed(&mut luck, &error);
            sleep(wait(luck.failures)).await;
            luck.failures = luck.failures.saturating_add(1);
        }
    }

    /// Goes on from `version`, or from the start, until the API ends that.
    async fn round(&self, version: &mut Option<String>, luck: &mut Luck) -> Result<(), ApiError> {
        let from = match version {
            Some(version) => version,
            None => version.insert(self.list().await?),
        };
        let Self { namespace, .. } = self;
        let (seconds, encoded) = (KUBERNETES_WATCH.as_secs(), encoded(from));
        let path = format!(
            "/api/v1/namespaces/{namespace}/services?watch=1&allowWatchBookmarks=true\
             &timeoutSeconds={seconds}&resourceVersion={encoded}"
        );
        let mut answer = self.api.get(&path).await?;
        self.metrics.watch_up(namespace, true);
        let opened = Instant::now();
        let mut is_alive = false;
        loop {
            tokio::select! {
                biased;
                line = answer.line() => match line? {
                    Some(line) => self.take(&line, from)?,
                    None if is_alive => {
                        // Whoever ends it at once is not asked again at once.
                        sleep_until(opened + KUBERNETES_ALIVE).await;
                        return Ok(());
                    }
                    None => return Err(ApiError::EndedAtOnce),
                },
                () = sleep_until(opened + KUBERNETES_ALIVE), if !is_alive => {}
                () = sleep_until(opened + KUBERNETES_WATCH + KUBERNETES_TIMEOUT) => {
                    return Err(ApiError::Late);
                }
            }
            if !is_alive {
                is_alive = true;
                luck.failures = 0;
                if luck.said.take().is_some() {
                    tracing::info!(%namespace, "the Kubernetes API answers again");
                }
            }
        }
    }

    /// All Services, in pages; the version that a watch goes on from.
    async fn list(&self) -> Result<String, ApiError> {
        let Self { api, namespace, known, .. } = self;
        let mut found = BTreeMap::new();
        let mut next = String::new();
        loop {
            let path =
                format!("/api/v1/namespaces/{namespace}/services?limit={KUBERNETES_PAGE}{next}");
            let answer: Answer = api.get(&path).await?;
            let List { metadata, items } = answer.read(KUBERNETES_PAGE_BYTES).await?;
            for object in items.unwrap_or_default() {
                let name = object.name().to_owned();
                found.extend(object.annotated(namespace).map(|annotated| (name, annotated)));
            }
            if found.len() > NAMES_PER_LINK {
                return Err(ApiError::TooMany(NAMES_PER_LINK));
            }
            match metadata.next.filter(|next| !next.is_empty()) {
                Some(token) => next = format!("&continue={}", encoded(&token)),
                None => {
                    known.send_if_modified(|known| {
                        let found = Some(found);
                        let before = known.insert(namespace.clone(), found.clone());
                        before != Some(found)
                    });
                    return Ok(metadata.resource_version);
                }
            }
        }
    }

    /// Takes a line of a watch, and notes from which version on it is not to be asked again.
    fn take(&self, line: &[u8], version: &mut String) -> Result<(), ApiError> {
        let event = serde_json::from_slice(line);
        match event.map_err(|error| ApiError::Malformed(error.to_string()))? {
            Event::Added(object) | Event::Modified(object) => {
                object.version().clone_into(version);
                self.change(object, true)?;
            }
            Event::Deleted(object) => {
                object.version().clone_into(version);
                self.change(object, false)?;
            }
            Event::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            Event::Error(status) => return Err(status.into()),
        }
        Ok(())
    }

    /// A Service `is_there`, like this, or is gone.
    fn change(&self, object: Object, is_there: bool) -> Result<(), ApiError> {
        let name = object.name().to_owned();
        let now = object.annotated(&self.namespace).filter(|_| is_there);
        let mut is_too_many = false;
        self.known.send_if_modified(|known| {
            let services = known.entry(self.namespace.clone()).or_default();
            let services = services.get_or_insert_default();
            match now {
                None => services.remove(&name).is_some(),
                Some(now) if services.get(&name) == Some(&now) => false,
                Some(now) => {
                    is_too_many = services.len() >= NAMES_PER_LINK && !services.contains_key(&name);
                    if !is_too_many {
                        services.insert(name, now);
                    }
                    !is_too_many
                }
            }
        });
        if is_too_many { Err(ApiError::TooMany(NAMES_PER_LINK)) } else { Ok(()) }
    }

    /// Says what is wrong once, and only if that does not pass at the next attempt.
    fn failed(&self, luck: &mut Luck, error: &ApiError) {
        let Self { namespace, metrics, .. } = self;
        if luck.failures + 1 < KUBERNETES_FAILURES_SAID {
            tracing::debug!(%namespace, %error, "the Kubernetes API failed; asking again");
            return;
        }
        metrics.watch_up(namespace, false);
        let error = error.to_string();
        if luck.said.as_ref() != Some(&error) {
            tracing::warn!(%namespace, %error, "cannot follow the Services of Kubernetes; what was known of them stays until that works again");
            luck.said = Some(error);
        }
    }
}

/// How long to wait after so many failures in a row: uniform in the upper half of
/// [`KUBERNETES_RETRY_BASE`] doubled with each, so that the replicas of a site do not come back
/// in step.
fn wait(failures: u32) -> Duration {
    let mut random = [0; 4];
    TokioNet.fill_random(&mut random);
    let doubled = KUBERNETES_RETRY_BASE.saturating_mul(1 << failures.min(16));
    let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
    doubled.min(KUBERNETES_RETRY_CAP).mul_f64(0.5 + share / 2.0)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
