//! What tests of the real binary are made of: the process under test and its
//! metrics on one side, backends and clients of every kind on the other.
//!
//! | | |
//! |---|---|
//! | [`process`] | starts the command, reads its log, ends it |
//! | [`metrics`] | a strict reader of the Prometheus text format |
//! | [`backend`] | services behind a peer |
//! | [`visitors`] | clients that keep asking, and what they saw |
//! | [`dns`] | a server of DNS, and the command under test where it is asked |
//! | [`kubernetes`] | an API of Kubernetes, which fails when it is told to |
//! | [`client`] | public clients, HTTP by hand where exact bytes matter |
//! | [`datagrams`] | both ends of UDP, and a steady flow of numbered datagrams |
//! | [`hello`] | TLS clients and their first bytes |
//! | [`link`] | the other end of a link by hand, to misbehave with |
//! | [`pki`] | certificates, good and bad, and TLS by hand |
//! | [`kernel`] | how much of a connection is in the kernel |
//! | [`payload`] | bytes made as they are sent, and their SHA-256 |
//! | [`wait`] | waiting for a condition, with a limit |
//!
//! Everything here panics when it cannot go on: the panic is the failed test.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the far ends of the tests are real sockets, threads and processes"
)]
#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

pub mod backend;
pub mod client;
pub mod collector;
pub mod datagrams;
pub mod dns;
pub mod hello;
pub mod kernel;
pub mod kubernetes;
pub mod link;
pub mod metrics;
pub mod payload;
pub mod pki;
pub mod process;
pub mod visitors;
pub mod wait;
