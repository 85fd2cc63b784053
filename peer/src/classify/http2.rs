//! The first request of a connection of HTTP/2. What its frames are, [`http`](crate::http)
//! decides.

use super::verdict::{Refusal, Verdict};
use crate::http::{H2Flaw, Watch};
use crate::limits::HEAD_BYTES;

/// The frames up to the first request.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames(Watch);

impl Frames {
    /// The verdict, once the first header block is complete, or is not to come within
    /// [`HEAD_BYTES`] of the start.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.0.admit(&bytes[..bytes.len().min(HEAD_BYTES)]);
        if let Some((name, stream)) = self.0.first_request() {
            return Some(Verdict::Http2 { name: name.clone(), stream });
        }
        if let Some(flaw) = self.0.flaw() {
            return Some(Verdict::Refused(Refusal::Http2(flaw)));
        }
        let is_too_long = bytes.len() >= HEAD_BYTES;
        is_too_long.then_some(Verdict::Refused(Refusal::Http2(H2Flaw::TooLarge)))
    }

    /// Whether the client may be waiting for the server's SETTINGS.
    pub(super) fn may_await_settings(&self) -> bool {
        self.0.may_await_settings()
    }
}
