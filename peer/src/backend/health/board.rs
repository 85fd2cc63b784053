//! Which services pass their checks now, for all who have to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::config::PeerConfig;
use crate::limits::HEALTH_CHECKS;
use crate::names::Name;
use crate::offer::Offer;
use crate::wire::Withdrawal;

/// What is known of each service that is checked.
#[derive(Debug)]
pub struct Board {
    standings: watch::Sender<BTreeMap<Name, Standing>>,
    /// Checks that may run at a time.
    pub(super) turns: Semaphore,
}

/// What is known of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it may be registered.
    pub is_up: bool,
    /// Why its last check failed that did.
    pub last_failure: Option<Arc<str>>,
    /// When clients may ask again while it is down, in seconds.
    retry_after: u16,
}

/// Our offers, as far as their backends are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// To be registered.
    pub up: Vec<Offer>,
    /// To be withdrawn.
    pub down: Vec<Withdrawal>,
}

impl Board {
    /// All services of this configuration are up until a check says otherwise.
    pub fn new(config: &PeerConfig) -> Self {
        Self {
            standings: watch::Sender::new(Self::all_up(config).collect()),
            turns: Semaphore::new(HEALTH_CHECKS),
        }
    }

    fn all_up(config: &PeerConfig) -> impl Iterator<Item = (Name, Standing)> {
        config.services.iter().filter_map(|(name, service)| {
            let retry_after = service.health.as_ref()?.retry_after();
            Some((name.clone(), Standing { is_up: true, last_failure: None, retry_after }))
        })
    }

    /// From now on the services of this configuration are checked. What is known of one
    /// stays, unless its checks have changed since `old`: then it is up until they say
    /// otherwise.
    pub fn reconfigure(&self, old: &PeerConfig, new: &PeerConfig) {
        self.standings.send_modify(|standings| {
            let health = |config: &PeerConfig, name: &Name| {
                config.services.get(name).and_then(|service| service.health.clone())
            };
            standings.retain(|name, _| {
                health(new, name).is_some() && health(new, name) == health(old, name)
            });
            for (name, standing) in Self::all_up(new) {
                standings.entry(name).or_insert(standing);
            }
        });
    }

    /// Whether `name` may be served, as far as its checks are concerned.
    pub fn is_up(&self, name: &Name) -> bool {
        self.standings.borrow().get(name).is_none_or(|standing| standing.is_up)
    }

    /// All services that are checked.
    pub fn standings(&self) -> BTreeMap<Name, Standing> {
        self.standings.borrow().clone()
    }

    /// Tells of each service that falls or rises.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<Name, Standing>> {
        self.standings.subscribe()
    }

    /// Tells those to be registered from those that are not.
    pub fn sort(&self, offers: impl IntoIterator<Item = Offer>) -> Sorted {
        let standings = self.standings.borrow();
        let mut sorted = Sorted { up: Vec::new(), down: Vec::new() };
        for offer in offers {
            match standings.get(&offer.name).filter(|standing| !standing.is_up) {
                Some(Standing { retry_after, .. }) => {
                    let unhealthy = Some(*retry_after);
                    sorted.down.push(Withdrawal { name: offer.name, unhealthy });
                }
                None => sorted.up.push(offer),
            }
        }
        sorted
    }

    /// A check of this service has ended: it is up now, or not. Whether that has changed.
    pub(super) fn checked(&self, name: &Name, is_up: bool, failure: Option<Arc<str>>) -> bool {
        self.standings.send_if_modified(|standings| {
            let Some(standing) = standings.get_mut(name) else { return false };
            standing.last_failure = failure.or(standing.last_failure.take());
            std::mem::replace(&mut standing.is_up, is_up) != is_up
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Health, Service};

    #[test]
    fn only_what_is_down_is_left_out_and_only_changes_are_told() {
        let mut config = PeerConfig::new("p".parse().unwrap());
        let plain: Service = "h:1".parse().unwrap();
        let checked = Service { health: Some(Health::default()), ..plain.clone() };
        let (app, other): (Name, Name) = ("app".parse().unwrap(), "other".parse().unwrap());
        config.services.insert(app.clone(), checked);
        config.services.insert(other.clone(), plain);
        let board = Board::new(&config);
        let mut changes = board.changes();
        assert!(board.sort(config.offers()).down.is_empty());
        assert!(!board.checked(&app, true, Some("slow".into())));
        assert!(!changes.has_changed().unwrap());
        assert!(board.checked(&app, false, Some("gone".into())));
        assert!(!board.checked(&app, false, None));
        assert!(changes.has_changed().unwrap());
        let Sorted { up, down } = board.sort(config.offers());
        assert_eq!(
            up,
            [Offer { name: other.clone(), terms: config.services[&other].terms.clone() }]
        );
        assert_eq!(down[0].to_string(), "app;unhealthy=10");
        assert_eq!(changes.borrow_and_update()[&app].last_failure.as_deref(), Some("gone"));
        assert!(board.checked(&app, true, None), "it is back");
        assert_eq!(board.sort(config.offers()).up.len(), 2);
    }
}
