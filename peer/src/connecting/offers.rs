//! What a link registers: our own services, and names that are passed on. Which of them
//! are new, and which are gone, since it last said so.

use std::collections::BTreeMap;

use super::refused::Refused;
use crate::limits::NAMES_PER_LINK;
use crate::names::{Name, PeerId};
use crate::offer::{Offer, Terms};
use crate::shared::Shared;
use crate::stream::net::Net;

/// What a link has registered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    said: BTreeMap<Name, Terms>,
}

/// What a link has to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// New names, and names whose terms have changed.
    pub(super) register: Vec<Offer>,
    /// Names that are gone.
    pub(super) unregister: Vec<Name>,
}

impl Offers {
    /// All names that have been said, with their terms, in order.
    pub(super) fn said(&self) -> impl Iterator<Item = Offer> {
        self.said.iter().map(|(name, terms)| Offer { name: name.clone(), terms: terms.clone() })
    }

    /// How many those are.
    pub(super) fn count(&self) -> usize {
        self.said.len()
    }

    /// What there is to say about these.
    pub(super) fn change(&mut self, offers: Vec<Offer>) -> Change {
        let now: BTreeMap<Name, Terms> =
            offers.into_iter().map(|offer| (offer.name, offer.terms)).collect();
        let is_new = |(name, terms): &(&Name, &Terms)| self.said.get(*name) != Some(*terms);
        let register = now.iter().filter(is_new);
        let register =
            register.map(|(name, terms)| Offer { name: name.clone(), terms: terms.clone() });
        let gone = self.said.keys().filter(|name| !now.contains_key(*name));
        let change = Change { register: register.collect(), unregister: gone.cloned().collect() };
        self.said = now;
        change
    }
}

/// What may be registered with `hub`, which is not known before it has answered: our own
/// services, and what is passed on, but for what it has refused. No more than fit a link.
pub(super) fn offers_to<N: Net>(
    shared: &Shared<N>,
    hub: Option<&PeerId>,
    refused: &Refused,
) -> Vec<Offer> {
    let config = shared.config();
    let mut offers: Vec<Offer> = config.offers().collect();
    if let Some(hub) = hub.filter(|_| !config.transit.is_empty()) {
        let meant = |name: &Name| !config.services.contains_key(name) && config.passes_on(name);
        offers.extend(shared.mesh.passed_on(&config.peer_id, hub, meant));
    }
    offers.retain(|offer| !refused.names().contains(&offer.name));
    offers.truncate(NAMES_PER_LINK);
    offers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(texts: &[&str]) -> Vec<Offer> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_what_has_changed_is_said() {
        let mut said = Offers::default();
        let change = said.change(offers(&["a@site>mid", "b", "c"]));
        assert_eq!(change.register.len(), 3);
        assert_eq!(said.change(offers(&["a@site>mid", "b", "c"])), Change::default());
        let change = said.change(offers(&["a@site>other>mid", "c"]));
        assert_eq!(change.register, offers(&["a@site>other>mid"]));
        assert_eq!(change.unregister, ["b".parse().unwrap()]);
        assert_eq!(said.said().collect::<Vec<_>>(), offers(&["a@site>other>mid", "c"]));
    }
}
