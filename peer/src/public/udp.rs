//! Ports of UDP: the datagrams of one client address are one request.

mod client;
mod clients;
mod port;
mod request;

pub use port::datagram_loop;
