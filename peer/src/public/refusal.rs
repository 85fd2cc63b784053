//! What is answered to a public client that cannot be served, in its protocol.

use std::net::SocketAddr;

use tokio::time::Instant;

use crate::forward::NotForwarded;
use crate::http::{self, Exchange};
use crate::limits::RETRY_AFTER;
use crate::mesh::waiting::ForwardError;
use crate::names::Name;
use crate::observe::access::{Access, Outcome};
use crate::observe::journal::Refusal;
use crate::observe::metrics::{ProxyError, Rejection};
use crate::offer;
use crate::shared::Shared;
use crate::stream::alert::{Alert, fatal_alert};
use crate::stream::lingering::close_after_telling;
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::wire::FailReason;

/// Why a public client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The head breaks the rules.
    BadHead,
    /// The head, or the body, can be read in more than one way.
    BadFraming,
    /// The backend's answer has no one meaning.
    BadAnswer,
    /// The backend ended before it answered.
    NoAnswer,
    /// The head is over its limit.
    HeadTooLarge,
    /// The head was not whole at the deadline.
    HeadTimeout,
    /// The ClientHello is malformed.
    BadClientHello,
    /// The ClientHello names no server.
    NoSni,
    /// The ClientHello names what cannot be a server.
    BadSni,
    /// The TLS that it came in is not valid for the name.
    Misdirected,
    /// It is to come by HTTPS.
    Redirect,
    /// This peer is about to end.
    Draining,
    /// A limit of this peer is reached.
    Full,
    /// The request could not be forwarded.
    NotForwarded(NotForwarded),
}

impl Cause {
    /// Whether the client has reset its connection.
    pub(super) fn is_client_gone(self) -> bool {
        self == Self::NotForwarded(NotForwarded::Failed(ForwardError::ClientReset))
    }
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is closed.
    Close,
    /// The client may go on.
    Stay,
}

/// The status of the answer to an HTTP/1 client.
pub(super) fn http_status(cause: Cause) -> u16 {
    let (status, _) = status_and_text(cause);
    status.split(' ').next().and_then(|code| code.parse().ok()).expect("a status has its code")
}

fn status_and_text(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::HeadTooLarge => {
            ("431 Request Header Fields Too Large", "the request head is too large")
        }
        Cause::HeadTimeout => ("408 Request Timeout", "the request head did not arrive in time"),
        Cause::NotForwarded(NotForwarded::UnknownName | NotForwarded::NotThisWay) => {
            ("404 Not Found", "no such name here")
        }
        Cause::NotForwarded(NotForwarded::NotAllowed) => {
            ("403 Forbidden", "this client may not reach this name")
        }
        Cause::NotForwarded(NotForwarded::NoProvider) => {
            ("503 Service Unavailable", "no peer serves this name now")
        }
        Cause::NotForwarded(NotForwarded::Unhealthy { .. }) => {
            ("503 Service Unavailable", "the backend of this name fails its health checks")
        }
        Cause::Full | Cause::NotForwarded(NotForwarded::Full) => {
            ("503 Service Unavailable", "this peer is at its request limit")
        }
        Cause::Draining => ("503 Service Unavailable", "the peer is shutting down"),
        Cause::NotForwarded(NotForwarded::Failed(ForwardError::Timeout)) => {
            ("504 Gateway Timeout", "the peer for this name did not reply in time")
        }
        Cause::NotForwarded(NotForwarded::Failed(ForwardError::Failed(FailReason::Loop))) => {
            ("508 Loop Detected", "the backend of this name leads back here")
        }
        Cause::NotForwarded(NotForwarded::Failed(_)) => {
            ("502 Bad Gateway", "the backend of this name cannot be reached")
        }
        Cause::Misdirected => {
            ("421 Misdirected Request", "this connection's certificate is not valid for that name")
        }
        Cause::Redirect => ("308 Permanent Redirect", "ask by HTTPS"),
        Cause::BadFraming => ("400 Bad Request", "the request can be read in more than one way"),
        Cause::NoAnswer => ("502 Bad Gateway", "the backend of this name ended without an answer"),
        Cause::BadAnswer => ("502 Bad Gateway", "the backend of this name sent a malformed answer"),
        _ => ("400 Bad Request", "the request head is malformed"),
    }
}

/// The whole answer to an HTTP/1 client, with the body left out for HEAD.
pub(super) fn http_answer(cause: Cause, is_head: bool, after: After) -> Vec<u8> {
    let (status, text) = status_and_text(cause);
    let seconds = match cause {
        Cause::NotForwarded(NotForwarded::Unhealthy { retry_after }) => Some(retry_after.into()),
        Cause::NotForwarded(NotForwarded::NoProvider | NotForwarded::Full)
        | Cause::Draining
        | Cause::Full => Some(RETRY_AFTER.as_secs()),
        _ => None,
    };
    let retry = seconds.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
    let connection = match after {
        After::Close => "Connection: close\r\n",
        After::Stay => "",
    };
    let body = format!("ops-proxy: {text}\n");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{retry}{connection}\r\n",
        body.len()
    );
    if !is_head {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

/// Sends a request for `name`, whose head this is, to HTTPS (RFC 9110 §15.4.9).
pub(super) fn redirect(name: &Name, head: &[u8]) -> Vec<u8> {
    let target = head.trim_ascii_start().split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let target = String::from_utf8_lossy(target);
    // The absolute form names its authority itself.
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None if target.starts_with('/') => &target,
        None => "/",
    };
    format!(
        "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://{name}{path}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The fatal alert for a TLS client.
pub(super) fn tls_alert(cause: Cause) -> Vec<u8> {
    let alert = match cause {
        Cause::BadClientHello => Alert::DecodeError,
        Cause::BadSni => Alert::IllegalParameter,
        Cause::NoSni => Alert::MissingExtension,
        Cause::NotForwarded(NotForwarded::UnknownName | NotForwarded::NotThisWay) => {
            Alert::UnrecognizedName
        }
        Cause::NotForwarded(NotForwarded::NotAllowed) => Alert::AccessDenied,
        _ => Alert::InternalError,
    };
    fatal_alert(alert).to_vec()
}

/// How a client came, and so how it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaks {
    /// An HTTP request, routed by its Host.
    Http {
        /// An answer has no body.
        is_head: bool,
    },
    /// An HTTP/2 request, routed by its `:authority`.
    Http2 {
        /// The stream that it is on.
        stream: u32,
    },
    /// An HTTP CONNECT.
    Connect,
    /// A ClientHello, routed by its SNI.
    Tls,
    /// A mapped port.
    Tcp,
}

/// A request that this peer refuses, or answers itself. In HTTP it is an exchange like any
/// other.
pub(super) struct Refused<'a, N: Net> {
    pub(super) shared: &'a Shared<N>,
    pub(super) client: SocketAddr,
    /// The name that it asked for, where it is known.
    pub(super) name: Option<&'a Name>,
    pub(super) speaks: Speaks,
    /// Since its head was read.
    pub(super) exchange: Exchange,
}

impl<'a, N: Net> Refused<'a, N> {
    /// Whose head was read just now.
    pub(super) fn now(
        shared: &'a Shared<N>,
        client: SocketAddr,
        name: Option<&'a Name>,
        speaks: Speaks,
    ) -> Self {
        Self { shared, client, name, speaks, exchange: Exchange::begin(1, None, Instant::now()) }
    }

    /// Tells the client why it is not served, in the way that it came, and closes.
    pub(super) async fn close(self, connection: Transport<N::Stream>, cause: Cause) {
        let answer = match self.speaks {
            Speaks::Http { is_head } => http_answer(cause, is_head, After::Close),
            Speaks::Http2 { stream } => {
                let (status, _) = status_and_text(cause);
                http::answer(stream, &status[..3])
            }
            Speaks::Connect => http_answer(cause, false, After::Close),
            Speaks::Tls => tls_alert(cause),
            // Raw TCP has no words for it.
            Speaks::Tcp => {
                self.shared.abort(connection);
                return self.answered(cause, false);
            }
        };
        self.close_with(connection, cause, &answer).await;
    }

    /// Gives the client `answer`, and closes.
    pub(super) async fn close_with(
        self,
        connection: Transport<N::Stream>,
        cause: Cause,
        answer: &[u8],
    ) {
        close_after_telling(connection, answer, |sent| self.answered(cause, sent)).await;
    }

    /// The client was told, if that could be `sent`.
    pub(super) fn answered(self, cause: Cause, sent: bool) {
        let Self { shared, client, name, speaks, exchange } = self;
        let is_http = matches!(speaks, Speaks::Http { .. } | Speaks::Connect);
        let status = (sent && is_http).then(|| http_status(cause));
        let exchange = exchange.answered_here(status, Instant::now());
        let duration = exchange.ended - exchange.asked;
        if is_http {
            let stats = name.and_then(|name| shared.mesh.stats_of(name));
            let stats = stats.as_deref().unwrap_or(shared.metrics.other());
            shared.metrics.exchanged(None, stats, status, duration);
        }
        if let Some(name) = name {
            tell(shared, client, name, speaks.offered(), cause);
        }
        let Some(log) = &shared.access else { return };
        log.take(Access {
            id: None,
            number: None,
            client: Some(client),
            name: name.cloned(),
            way: Some(speaks.offered()),
            line: exchange.line,
            status,
            sent: 0,
            received: 0,
            duration,
            first_byte: None,
            provider: None,
            outcome: outcome(cause),
            reason: Some(word(cause)),
        });
    }
}

/// Tells operators of a refusal that concerns a known name. One of
/// [`NotForwarded`] was told of where it was decided.
pub(super) fn tell<N: Net>(
    shared: &Shared<N>,
    client: SocketAddr,
    name: &Name,
    way: offer::Way,
    cause: Cause,
) {
    let concerns_name = matches!(cause, Cause::Draining | Cause::Full | Cause::Misdirected);
    if concerns_name && shared.mesh.stats_of(name).is_some() {
        shared.journal.refused(Refusal { client, name: name.clone(), way, reason: word(cause) });
    }
}

/// What became of it, in the access log.
pub(super) fn outcome(cause: Cause) -> Outcome {
    match cause {
        Cause::NotForwarded(NotForwarded::Failed(_)) => Outcome::Failed,
        _ => Outcome::Refused,
    }
}

/// Why, in the access log.
pub(super) fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::BadHead => Rejection::BadHead.as_str(),
        Cause::BadFraming => Rejection::BadFraming.as_str(),
        Cause::HeadTooLarge => Rejection::HeadTooLarge.as_str(),
        Cause::HeadTimeout => Rejection::HeadTimeout.as_str(),
        Cause::BadClientHello => Rejection::BadClientHello.as_str(),
        Cause::NoSni => Rejection::NoSni.as_str(),
        Cause::BadSni => Rejection::BadSni.as_str(),
        Cause::Misdirected => "misdirected",
        Cause::Redirect => "redirect",
        Cause::Draining => Rejection::Draining.as_str(),
        Cause::Full => Rejection::ConnectionLimit.as_str(),
        Cause::BadAnswer | Cause::NoAnswer => ProxyError::DataIoError.as_str(),
        Cause::NotForwarded(NotForwarded::UnknownName) => "unknown_name",
        Cause::NotForwarded(NotForwarded::NoProvider) => ProxyError::NoClient.as_str(),
        Cause::NotForwarded(NotForwarded::Unhealthy { .. }) => "unhealthy",
        Cause::NotForwarded(NotForwarded::NotThisWay) => Rejection::WayNotOffered.as_str(),
        Cause::NotForwarded(NotForwarded::NotAllowed) => Rejection::NotAllowed.as_str(),
        Cause::NotForwarded(NotForwarded::Full) => Rejection::PendingLimit.as_str(),
        Cause::NotForwarded(NotForwarded::Failed(error)) => ProxyError::from(error).as_str(),
    }
}

impl Speaks {
    /// As names offer it.
    pub(super) fn offered(self) -> offer::Way {
        match self {
            Self::Http { .. } | Self::Http2 { .. } => offer::Way::Http,
            Self::Connect => offer::Way::Connect,
            Self::Tls => offer::Way::Https,
            Self::Tcp => offer::Way::Tcp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_http_answer_has_its_status_and_exact_length() {
        use NotForwarded::*;
        let causes = [
            (Cause::BadHead, "400"),
            (Cause::HeadTimeout, "408"),
            (Cause::HeadTooLarge, "431"),
            (Cause::NotForwarded(UnknownName), "404"),
            (Cause::NotForwarded(NoProvider), "503"),
            (Cause::NotForwarded(Unhealthy { retry_after: 40 }), "503"),
            (Cause::NotForwarded(Full), "503"),
            (Cause::Full, "503"),
            (Cause::Draining, "503"),
            (Cause::BadFraming, "400"),
            (Cause::BadAnswer, "502"),
            (Cause::NoAnswer, "502"),
            (Cause::NotForwarded(Failed(ForwardError::Timeout)), "504"),
            (Cause::NotForwarded(Failed(ForwardError::LinkLost)), "502"),
            (Cause::NotForwarded(Failed(ForwardError::Failed(FailReason::Loop))), "508"),
        ];
        for (cause, status) in causes {
            assert_eq!(http_status(cause).to_string(), status);
            let answer = String::from_utf8(http_answer(cause, false, After::Close)).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            assert!(head.ends_with("Connection: close"), "{head}");
            assert_eq!(head.contains("Retry-After"), status == "503");
            let to_head = String::from_utf8(http_answer(cause, true, After::Close)).unwrap();
            assert_eq!(to_head, format!("{head}\r\n\r\n"));
        }
    }
}
