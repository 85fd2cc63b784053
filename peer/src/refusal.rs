//! What is answered to a public client that cannot be served, in its protocol.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::forward::NotForwarded;
use crate::limits::{REFUSE_DRAIN_BYTES, REFUSE_LINGER, RETRY_AFTER, WRITE_TIMEOUT};
use crate::mesh::ForwardError;

/// Why a public client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The head breaks the rules.
    BadHead,
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
    /// A TLS peer that cannot be authenticated here.
    TlsPeer,
    /// This peer is about to end.
    Draining,
    /// A limit of this peer is reached.
    Full,
    /// The request could not be forwarded.
    NotForwarded(NotForwarded),
}

/// The whole answer to an HTTP/1 client, with the body left out for HEAD.
pub fn http_answer(cause: Cause, is_head: bool) -> Vec<u8> {
    let (status, text) = match cause {
        Cause::HeadTooLarge => {
            ("431 Request Header Fields Too Large", "the request head is too large")
        }
        Cause::HeadTimeout => ("408 Request Timeout", "the request head did not arrive in time"),
        Cause::NotForwarded(NotForwarded::UnknownName) => ("404 Not Found", "no such name here"),
        Cause::NotForwarded(NotForwarded::NoProvider) => {
            ("503 Service Unavailable", "no peer serves this name now")
        }
        Cause::Full | Cause::NotForwarded(NotForwarded::Full) => {
            ("503 Service Unavailable", "this peer carries all that it may")
        }
        Cause::Draining => ("503 Service Unavailable", "this peer is about to end"),
        Cause::NotForwarded(NotForwarded::Failed(ForwardError::Timeout)) => {
            ("504 Gateway Timeout", "the peer of this name did not answer in time")
        }
        Cause::NotForwarded(NotForwarded::Failed(_)) => {
            ("502 Bad Gateway", "the backend of this name cannot be reached")
        }
        _ => ("400 Bad Request", "the request head is malformed"),
    };
    let retry = match cause {
        Cause::NotForwarded(NotForwarded::NoProvider | NotForwarded::Full)
        | Cause::Draining
        | Cause::Full => {
            format!("Retry-After: {}\r\n", RETRY_AFTER.as_secs())
        }
        _ => String::new(),
    };
    let body = format!("ops-proxy: {text}\n");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{retry}Connection: close\r\n\r\n",
        body.len()
    );
    if !is_head {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

/// A fatal alert in a record of its own (RFC 8446 §6). The record says TLS 1.2,
/// as all do before a version was agreed on.
pub fn tls_alert(cause: Cause) -> Vec<u8> {
    let description = match cause {
        Cause::BadClientHello => 50,                           // decode_error
        Cause::BadSni => 47,                                   // illegal_parameter
        Cause::NoSni => 109,                                   // missing_extension
        Cause::TlsPeer => 120,                                 // no_application_protocol
        Cause::NotForwarded(NotForwarded::UnknownName) => 112, // unrecognized_name
        _ => 80,                                               // internal_error
    };
    vec![0x15, 3, 3, 0, 2, 2, description]
}

/// To a client that began HTTP/2 without asking: an empty SETTINGS frame, which
/// must come first, and GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 §3.4, §7).
pub fn h2_goaway() -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xd];
    [&SETTINGS[..], &GOAWAY].concat()
}

/// Writes the answer and closes so that it arrives: what the other end still sends
/// is read for a moment, for closing on unread bytes would reset the connection
/// under the answer (RFC 9112 §9.6).
pub async fn refuse<S>(mut stream: S, answer: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let write = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    // The other end may have gone; then nobody is left to tell.
    let Ok(Ok(())) = timeout(WRITE_TIMEOUT, write).await else { return };
    let mut drained = 0;
    let mut sink = [0; 1024];
    let drain = async {
        while drained < REFUSE_DRAIN_BYTES {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
        }
    };
    let _ = timeout(REFUSE_LINGER, drain).await;
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
            (Cause::NotForwarded(Full), "503"),
            (Cause::Full, "503"),
            (Cause::Draining, "503"),
            (Cause::NotForwarded(Failed(ForwardError::Timeout)), "504"),
            (Cause::NotForwarded(Failed(ForwardError::LinkLost)), "502"),
        ];
        for (cause, status) in causes {
            let answer = String::from_utf8(http_answer(cause, false)).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            assert!(head.ends_with("Connection: close"), "{head}");
            assert_eq!(head.contains("Retry-After"), status == "503");
            let to_head = String::from_utf8(http_answer(cause, true)).unwrap();
            assert_eq!(to_head, format!("{head}\r\n\r\n"));
        }
    }
}
