//! Keeps all links to one configured upstream: one to each address that its host resolves
//! to, or one to each of several peers behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::addresses::{Addresses, Wish};
use super::backoff::Backoff;
use super::held::{Held, Slot};
use super::keeper::Keeper;
use crate::config::{Endpoint, Upstream};
use crate::limits::{CONNECT_TIMEOUT, LINKS_PER_UPSTREAM, LOOK_INTERVAL, SUCCESSOR_WINDOW};
use crate::mesh::hubs::To;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::stream::resolve;
use crate::tasks::Phase;

/// Returns once `upstream` is no longer one of the configuration.
async fn until_gone<N: Net>(shared: &Shared<N>, upstream: &Upstream) {
    let mut reconfigurations = shared.reconfigurations();
    while shared.config().connect.contains(upstream) {
        // The sender is shared by all and outlives the wait.
        let _ = reconfigurations.changed().await;
    }
}

/// Keeps the links to `upstream` until the peer closes, or the configuration has it no
/// longer: then its links end once their requests have.
pub async fn keep_links<N: Net>(shared: Arc<Shared<N>>, held: Arc<Held>, upstream: Upstream) {
    // Behind a proxy, it is the proxy that looks the host up, and any peer may answer.
    let is_proxied = shared.config().proxies.to(&upstream.endpoint).is_some();
    match upstream.peers.or(is_proxied.then_some(1)) {
        Some(peers) => keep_number(&shared, &held, &upstream, peers).await,
        None => Follower::new(shared.clone(), held, upstream.clone()).run().await,
    }
    let same = |one: &Upstream| one.endpoint == upstream.endpoint;
    if !shared.config().connect.iter().any(same) {
        shared.metrics.forget_upstream(&upstream.endpoint);
    }
}

/// One link to each of so many peers behind one endpoint.
async fn keep_number<N: Net>(
    shared: &Arc<Shared<N>>,
    held: &Arc<Held>,
    upstream: &Upstream,
    peers: usize,
) {
    let mut links = JoinSet::new();
    let (wishes, wish) = watch::channel(Wish::Keep);
    for number in 0..peers {
        let slot = Slot { upstream: upstream.endpoint.clone(), to: To::Behind(number) };
        let (shared, wish) = (shared.clone(), wish.clone());
        let wanted = Arc::new(held.want(slot));
        let ended = Arc::new(Notify::new());
        let net = shared.net.clone();
        links.spawn(net.scheduled(async move {
            Keeper { shared, wanted, wish, ended }.keep_link().await;
        }));
    }
    let mut gone = pin!(until_gone(shared, upstream));
    loop {
        tokio::select! {
            biased;
            ended = links.join_next() => match ended {
                Some(ended) => resume(ended),
                None => return,
            },
            () = &mut gone, if *wishes.borrow() == Wish::Keep => {
                wishes.send_replace(Wish::Retire);
            }
        }
    }
}

/// Follows what a host resolves to.
struct Follower<N: Net> {
    shared: Arc<Shared<N>>,
    held: Arc<Held>,
    configured: Upstream,
    upstream: Endpoint,
    addresses: Addresses,
    wishes: BTreeMap<IpAddr, watch::Sender<Wish>>,
    /// Each ends with its address.
    links: JoinSet<IpAddr>,
    /// A link has ended, or cannot be opened: it is time for a look.
    ended: Arc<Notify>,
    /// What the host resolved to at the last look.
    last: Option<resolve::Addresses>,
}

impl<N: Net> Follower<N> {
    fn new(shared: Arc<Shared<N>>, held: Arc<Held>, configured: Upstream) -> Self {
        Self {
            shared,
            held,
            upstream: configured.endpoint.clone(),
            configured,
            addresses: Addresses::default(),
            wishes: BTreeMap::new(),
            links: JoinSet::new(),
            ended: Arc::new(Notify::new()),
            last: None,
        }
    }

    async fn run(mut self) {
        let shared = self.shared.clone();
        let configured = self.configured.clone();
        let mut gone = pin!(until_gone(&shared, &configured));
        let mut backoff = Backoff::default();
        // Links that have ended with their addresses and nothing came in their place, and until
        // when that is expected.
        let (mut missing, mut expected) = (0_usize, Instant::now());
        while shared.tasks.phase() < Phase::Draining {
            missing = missing.saturating_sub(self.look().await);
            // What is missing is looked for as if it were dialled.
            let wait = match missing > 0 && Instant::now() < expected || self.wishes.is_empty() {
                true => backoff.next(shared.random()),
                false => LOOK_INTERVAL,
            };
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Draining) => {}
                () = &mut gone => {
                    for wish in self.wishes.values() {
                        wish.send_replace(Wish::Retire);
                    }
                    break;
                }
                Some(ended) = self.links.join_next() => {
                    let ip = resume(ended);
                    self.addresses.ended(ip);
                    self.wishes.remove(&ip);
                    // A peer that is started anew leaves DNS for a while, or for good, and its
                    // successor has an address of its own.
                    missing += 1;
                    expected = Instant::now() + SUCCESSOR_WINDOW;
                    backoff = Backoff::default();
                }
                () = self.ended.notified() => {
                    // What was found a moment ago may be the reason.
                    if let Some(last) = &self.last {
                        shared.resolver.forget(&self.upstream.host, last);
                    }
                }
                () = sleep(wait) => {}
            }
        }
        while let Some(ended) = self.links.join_next().await {
            resume(ended);
        }
    }

    /// Looks the host up, opens links to new addresses and tells the others what is to
    /// become of them. What is known stays if there is no answer. Returns how many are new.
    async fn look(&mut self) -> usize {
        let upstream = &self.upstream;
        let mut opened = 0;
        let looked = timeout(CONNECT_TIMEOUT, self.shared.resolver.addresses(&upstream.host));
        let now = match looked.await {
            Ok(Ok(found)) => {
                let now = Instant::now();
                let new = self.addresses.look(&found.ips, now);
                if found.ips.len() > LINKS_PER_UPSTREAM && !new.is_empty() {
                    tracing::warn!(
                        %upstream,
                        addresses = found.ips.len(),
                        "the host has more addresses than links are kept; {LINKS_PER_UPSTREAM} of \
                         them get one"
                    );
                }
                self.last = Some(found);
                opened = new.len();
                new.into_iter().for_each(|ip| self.open(ip));
                now
            }
            Ok(Err(error)) if self.wishes.is_empty() => {
                tracing::warn!(%upstream, %error, "cannot resolve the listening peer");
                return opened;
            }
            Err(_) if self.wishes.is_empty() => {
                tracing::warn!(
                    %upstream,
                    "cannot resolve the listening peer: DNS did not answer in time; look at this \
                     machine's resolver"
                );
                return opened;
            }
            Ok(Err(_)) | Err(_) => Instant::now(),
        };
        for (ip, wish) in self.addresses.wishes(now) {
            if let Some(sender) = self.wishes.get(&ip) {
                sender.send_if_modified(|old| std::mem::replace(old, wish) != wish);
            }
        }
        opened
    }

    fn open(&mut self, ip: IpAddr) {
        let slot = Slot { upstream: self.upstream.clone(), to: To::Address(ip) };
        let wanted = Arc::new(self.held.want(slot));
        let (sender, wish) = watch::channel(Wish::Keep);
        self.wishes.insert(ip, sender);
        let keeper =
            Keeper { shared: self.shared.clone(), wanted, wish, ended: self.ended.clone() };
        self.links.spawn(self.shared.net.scheduled(async move {
            keeper.keep_link().await;
            ip
        }));
    }
}

/// What a task ended with; its panic goes on here.
fn resume<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended {
        Ok(ended) => ended,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
