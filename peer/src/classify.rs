//! What the first bytes of a public connection ask for.
//!
//! Pure and incremental: the caller keeps every byte it has read, hands them
//! all to [`Classifier::advance`] after each read, and gets a [`Verdict`] as
//! soon as one is certain. One byte at a time gives the verdict of all at once,
//! and bytes after the deciding ones never change it. Deadlines are the
//! caller's business.
//!
//! | first bytes | way |
//! |---|---|
//! | `0x16` | `tls`: a ClientHello, routed by SNI, or a peer by ALPN |
//! | an SSLv2 CLIENT-HELLO | refused as a bad hello |
//! | `HELLO:`, `DATA:` | a peer in clear text |
//! | a method token and a space | `http`: routed by Host, or a CONNECT |
//! | `PRI * HTTP/2.0` | `http`: HTTP/2, routed by the `:authority` of its first request |
//! | anything else | refused as soon as it shows |
//!
//! A PROXY protocol header comes before all of these and is not known here: ask
//! [`proxy_protocol::looks_like_header`] first, and classify what follows it.

mod classifier;
mod http;
mod http2;
mod opening;
pub mod proxy_protocol;
mod tls;
mod verdict;

pub use classifier::{Classifier, classify};
pub use verdict::{MOST_BYTES, PEER_ALPN, Refusal, Verdict};
