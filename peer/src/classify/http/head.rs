//! The head of a first request. Its end is searched for while it arrives; it is parsed
//! once, when it is complete.

use super::super::verdict::{Refusal, Verdict};
use crate::http::{Asks, Flaw, HeadEnd, read_request};

/// An incoming request head.
#[derive(Debug, Clone)]
pub(in crate::classify) struct Head {
    /// Where the method starts.
    start: usize,
    end: HeadEnd,
}

impl Head {
    pub(in crate::classify) fn starting_at(start: usize) -> Self {
        let mut end = HeadEnd::default();
        end.begin_at(start);
        Self { start, end }
    }

    /// The verdict, once the head is complete, too large or malformed.
    pub(in crate::classify) fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        let end = match self.end.find(bytes) {
            Ok(Some(end)) => end,
            Ok(None) => return None,
            Err(flaw) => return Some(Verdict::Refused(flaw.into())),
        };
        let read = read_request(&bytes[self.start..end]);
        Some(read.map_or_else(
            |flaw| Verdict::Refused(flaw.into()),
            |head| match head.asks {
                Asks::Connect => Verdict::Connect { name: head.name, consumed: end },
                asks => Verdict::Http { name: head.name, is_head: asks == Asks::Head },
            },
        ))
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Head => Self::BadHead,
            Flaw::TooLarge => Self::HeadTooLarge,
            Flaw::Framing => Self::BadFraming,
            Flaw::Http2(flaw) => Self::Http2(flaw),
        }
    }
}
