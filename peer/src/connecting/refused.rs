//! Names that a listening peer does not let us register. They are left out of the next
//! link, so that the others are served, and asked for again after that one.

use std::collections::BTreeSet;

use super::ended::Ended;
use crate::config::Endpoint;
use crate::names::Name;
use crate::offer::Offer;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::wire::{ErrorCode, ReportedError, forbidden_names, in_lines};

/// The refused names of one link.
#[derive(Default)]
pub(super) struct Refused {
    names: BTreeSet<Name>,
}

impl Refused {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Our names but for these, in groups of a line each.
    pub(super) fn others<N: Net>(&self, shared: &Shared<N>) -> Vec<Vec<Offer>> {
        in_lines(shared.config.offers().filter(|offer| !self.names.contains(&offer.name)))
    }

    /// Takes note of how a link ended. Whether the next one is to be opened at once, with
    /// fewer names.
    pub(super) fn learn<N: Net>(
        &mut self,
        shared: &Shared<N>,
        upstream: &Endpoint,
        ended: &Ended,
    ) -> bool {
        let before = self.names.len();
        if let Ended::Refused(ReportedError { code: ErrorCode::NameForbidden, text }) = ended {
            let is_ours = |name: &Name| shared.config.services.contains_key(name);
            self.names.extend(forbidden_names(text).into_iter().filter(is_ours));
        }
        if self.names.len() == before {
            self.names.clear();
            return false;
        }
        let names: Vec<&str> = self.names.iter().map(Name::as_str).collect();
        let others = shared.config.services.len() - names.len();
        tracing::warn!(
            %upstream,
            names = names.join(", "),
            others,
            "the listening peer refuses to register these names: the certificate or token of \
             this peer does not permit them; the others are served"
        );
        shared.metrics.client_names_refused(upstream, names.len());
        if others == 0 {
            self.names.clear();
        }
        others > 0
    }
}
