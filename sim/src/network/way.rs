//! The way between two hosts.

use std::net::IpAddr;

/// The two hosts of a way, in the order of their addresses.
pub fn way(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a < b { (a, b) } else { (b, a) }
}
