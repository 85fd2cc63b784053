//! Keeps one task for each thing that the configuration names, as it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::PeerConfig;
use crate::lock::Lock;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::tasks::Phase;

/// The things that a task is kept for.
#[derive(Debug)]
pub(crate) struct Kept<K> {
    running: Lock<BTreeSet<K>>,
    ended: Notify,
}

impl<K: Ord> Kept<K> {
    /// None yet.
    pub(crate) fn new() -> Arc<Self> {
        let running = Lock::new("the set of kept tasks", BTreeSet::new());
        Arc::new(Self { running, ended: Notify::new() })
    }
}

/// Keeps a task, made by `begin`, for each thing that is `named` by the configuration, until
/// the peer drains. Each finds out by itself that its thing is gone, and ends; if the thing
/// comes back before, it waits for that.
pub(crate) async fn follow<N: Net, K, F>(
    shared: Arc<Shared<N>>,
    kept: Arc<Kept<K>>,
    what: &'static str,
    named: fn(&PeerConfig) -> Vec<K>,
    begin: impl Fn(K) -> F + Clone + Send + 'static,
) where
    K: Ord + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut reconfigurations = shared.reconfigurations();
    loop {
        for key in named(&shared.config_of_now()) {
            if kept.running.lock().insert(key.clone()) {
                let (kept, begin) = (kept.clone(), begin.clone());
                shared.keep(what, move || {
                    let (task, kept, key) = (begin(key.clone()), kept.clone(), key.clone());
                    async move {
                        task.await;
                        kept.running.lock().remove(&key);
                        kept.ended.notify_one();
                    }
                });
            }
        }
        tokio::select! {
            biased;
            () = shared.tasks.entered(Phase::Draining) => return,
            Ok(()) = reconfigurations.changed() => {}
            () = kept.ended.notified() => {}
        }
    }
}
