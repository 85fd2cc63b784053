//! What a FORWARD has led to: a backend of our own, or the next peer.

use crate::forward::Assigned;
use crate::mesh::outgoing::Registered;
use crate::mesh::request::Request;
use crate::observe::metrics::ProxyError;
use crate::shared::Shared;
use crate::stream::datagrams::ConnectedEnd;
use crate::stream::net::Net;
use crate::stream::relay::Side;
use crate::stream::transport::Transport;

/// One end of a forwarded request.
pub(super) type Half<N> = Side<Transport<<N as Net>::Stream>>;

/// A backend that is ready.
pub(super) enum Backend<N: Net> {
    Stream(Half<N>),
    Datagrams(ConnectedEnd<N::Datagrams>),
}

impl<N: Net> Backend<N> {
    /// Lets it take what was cut for no clean end.
    fn abort(self, shared: &Shared<N>) {
        match self {
            Self::Stream(side) => shared.abort(side.stream),
            // Datagrams have no end.
            Self::Datagrams(_) => {}
        }
    }
}

/// What a FORWARD has led to.
pub(super) struct Reached<N: Net> {
    /// The backend of our own, or the next DATA connection.
    pub(super) backend: Backend<N>,
    /// Whether the bytes behind the FORWARD went with it.
    pub(super) head_sent: bool,
    pub(super) by: By<N>,
}

/// Through whom it was reached.
pub(super) enum By<N: Net> {
    /// This peer alone.
    Own(#[expect(dead_code, reason = "it is known as long as this lives")] Option<Registered>),
    /// Another peer, for which the request is counted here, too.
    Another(Box<Passed<N>>),
}

/// A request that is passed on.
pub(super) struct Passed<N: Net> {
    pub(super) request: Request,
    pub(super) assigned: Assigned<N>,
}

impl<N: Net> Reached<N> {
    /// The request has ended, cleanly.
    pub(super) fn succeeded(self) {
        if let By::Another(passed) = self.by {
            if let Backend::Stream(data) = self.backend {
                passed.assigned.keep(data);
            }
            passed.request.succeeded();
        }
    }

    /// It has not.
    pub(super) fn failed(self, shared: &Shared<N>) {
        self.backend.abort(shared);
        if let By::Another(passed) = self.by {
            passed.request.failed(ProxyError::DataIoError);
        }
    }
}
