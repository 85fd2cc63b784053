//! Which links this process keeps, and which listening peer each of them has reached.
//!
//! Two links that reach the same peer would replace each other for ever: whoever comes
//! second gives way. This table says who that is, and the metrics of links are read from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::reserve::Budget;
use crate::config::Endpoint;
use crate::lock::Lock;
use crate::mesh::hubs::To;
use crate::names::PeerId;
use crate::observe::metrics::Metrics;

/// One link that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// What it was configured as.
    pub(super) upstream: Endpoint,
    /// Which of the links to it.
    pub(super) to: To,
}

/// The table. One for a peer.
#[derive(Debug)]
pub struct Held {
    slots: Lock<BTreeMap<Slot, State>>,
    changes: watch::Sender<()>,
    metrics: Arc<Metrics>,
    /// For the idle DATA connections of all links.
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct State {
    /// Who answered, while the link is open.
    hub: Option<PeerId>,
    registered: bool,
    leads: Leads,
}

/// What a link that is to be kept has turned out to lead to.
#[derive(Debug, Default, PartialEq, Eq)]
enum Leads {
    /// A peer of its own, as far as is known: only this is counted.
    #[default]
    Anew,
    /// This peer, which another link holds.
    ToHeld(PeerId),
    /// This very peer.
    Nowhere,
}

impl Held {
    /// No links yet, which may keep so many idle DATA connections together.
    pub fn new(metrics: Arc<Metrics>, idle_data: usize) -> Arc<Self> {
        let slots = Lock::new("the table of kept links", BTreeMap::new());
        let (changes, budget) = (watch::Sender::new(()), Budget::new(idle_data));
        Arc::new(Self { slots, changes, metrics, budget })
    }

    /// A link is to be kept for as long as the guard lives.
    pub(super) fn want(self: &Arc<Self>, slot: Slot) -> Wanted {
        self.change(&slot, |slots| {
            slots.insert(slot.clone(), State::default());
        });
        Wanted { held: self.clone(), slot }
    }

    fn change<T>(&self, slot: &Slot, change: impl FnOnce(&mut BTreeMap<Slot, State>) -> T) -> T {
        let mut slots = self.slots.lock();
        let result = change(&mut slots);
        let of_upstream = slots.iter().filter(|(one, _)| one.upstream == slot.upstream);
        let counted = of_upstream.filter(|(_, state)| state.leads == Leads::Anew);
        let (wanted, held) = counted.fold((0, 0), |(wanted, held), (_, state)| {
            (wanted + 1, held + usize::from(state.registered))
        });
        // Before the first look, the number of addresses is not known.
        self.metrics.client_links(&slot.upstream, wanted.max(1), held);
        drop(slots);
        self.changes.send_replace(());
        result
    }
}

/// A link that is to be kept.
#[derive(Debug)]
pub(super) struct Wanted {
    held: Arc<Held>,
    slot: Slot,
}

impl Wanted {
    /// What the idle DATA connections of the link are taken from.
    pub(super) fn budget(&self) -> Arc<Budget> {
        self.held.budget.clone()
    }

    /// What the link is to.
    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.held.change(&self.slot, |slots| slots.get_mut(&self.slot).map(change));
    }

    /// `hub` answered. Whether it is this link's: no other link has reached it before.
    pub(super) fn reached(&self, hub: &PeerId) -> bool {
        self.held.change(&self.slot, |slots| {
            let is_free = !holds(slots, hub, &self.slot);
            if let Some(state) = slots.get_mut(&self.slot) {
                state.hub = Some(hub.clone());
                state.leads = Leads::Anew;
            }
            is_free
        })
    }

    /// The address leads to this very peer: it is not counted.
    pub(super) fn leads_nowhere(&self) {
        self.set(|state| state.leads = Leads::Nowhere);
    }

    /// The names are registered.
    pub(super) fn registered(&self) {
        self.set(|state| state.registered = true);
    }

    /// The link has ended.
    pub(super) fn ended(&self) {
        self.set(|state| (state.hub, state.registered) = (None, false));
    }

    /// Whether another link of this process has reached `hub`.
    pub(super) fn is_elsewhere(&self, hub: &PeerId) -> bool {
        holds(&self.held.slots.lock(), hub, &self.slot)
    }

    /// The address leads to a peer that another link holds: returns once that is over.
    pub(super) async fn until_free(&self, hub: &PeerId) {
        self.set(|state| state.leads = Leads::ToHeld(hub.clone()));
        let mut changes = self.held.changes.subscribe();
        while self.is_elsewhere(hub) {
            // The sender is in the table and outlives the wait.
            let _ = changes.changed().await;
        }
        self.set(|state| state.leads = Leads::Anew);
    }

    /// Returns once no other link waits for the end of this one, which holds a peer that both
    /// lead to.
    pub(super) async fn until_alone(&self) {
        let mut changes = self.held.changes.subscribe();
        while self.is_waited_for() {
            // The sender is in the table and outlives the wait.
            let _ = changes.changed().await;
        }
    }

    fn is_waited_for(&self) -> bool {
        let slots = self.held.slots.lock();
        let hub = slots.get(&self.slot).and_then(|state| state.hub.clone());
        hub.map(Leads::ToHeld).is_some_and(|held| slots.values().any(|one| one.leads == held))
    }

    /// How many links to this upstream are up, for the log.
    pub(super) fn of_upstream(&self) -> usize {
        let slots = self.held.slots.lock();
        let own = slots.iter().filter(|(one, _)| one.upstream == self.slot.upstream);
        own.filter(|(_, state)| state.registered).count()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.held.change(&self.slot, |slots| slots.remove(&self.slot));
    }
}

fn holds(slots: &BTreeMap<Slot, State>, hub: &PeerId, but: &Slot) -> bool {
    slots.iter().any(|(one, state)| one != but && state.hub.as_ref() == Some(hub))
}
