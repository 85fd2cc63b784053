//! Names that a listening peer does not let us register. They are left out of the next
//! link, so that the others are served, and asked for again after that one.

use std::collections::BTreeSet;

use super::ended::Ended;
use crate::config::Endpoint;
use crate::names::Name;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::wire::{ErrorCode, ReportedError, forbidden_names};

/// The refused names of one link.
#[derive(Clone, Default)]
pub(super) struct Refused {
    names: BTreeSet<Name>,
}

impl Refused {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Them.
    pub(super) fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }

    /// Takes note of how a link ended that had said so many names. Whether the next one is
    /// to be opened at once, with fewer.
    pub(super) fn learn<N: Net>(
        &mut self,
        shared: &Shared<N>,
        upstream: &Endpoint,
        ended: &Ended,
        said: usize,
    ) -> bool {
        let before = self.names.len();
        if let Ended::Refused(ReportedError {
            code: ErrorCode::NameForbidden | ErrorCode::Loop,
            text,
        }) = ended
        {
            let config = shared.config();
            let is_ours =
                |name: &Name| config.services.contains_key(name) || config.passes_on(name);
            self.names.extend(forbidden_names(text).into_iter().filter(is_ours));
        }
        if self.names.len() == before {
            self.names.clear();
            return false;
        }
        let names: Vec<&str> = self.names.iter().map(Name::as_str).collect();
        let others = said.saturating_sub(names.len() - before);
        tracing::warn!(
            %upstream,
            names = names.join(", "),
            others,
            "the listening peer refuses to register these names: the certificate or token of \
             this peer does not permit them, or they would be passed on in a circle; the others \
             are served"
        );
        shared.metrics.client_names_refused(upstream, names.len());
        if others == 0 {
            self.names.clear();
        }
        others > 0
    }
}
