//! What is counted of a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Counters by which a step's effect is recognised.
#[derive(Debug, Default, Clone)]
pub struct Counters {
    /// Writes and dials between two hosts, either way.
    pub traffic: BTreeMap<(IpAddr, IpAddr), u64>,
    /// Dials that waited because the way was cut.
    pub blocked: BTreeMap<(IpAddr, IpAddr), u64>,
    /// How often a way was healed.
    pub heals: BTreeMap<(IpAddr, IpAddr), u64>,
    /// Dials to a host, whatever came of them.
    pub dials: BTreeMap<IpAddr, u64>,
    /// Lookups of a name.
    pub lookups: BTreeMap<String, u64>,
    /// Looks at a host's wall clock.
    pub clock_reads: BTreeMap<IpAddr, u64>,
    /// What became of bulk.
    pub bulk: Bulk,
}

/// What became of bulk that was to be carried past the frames.
#[derive(Debug, Default, Clone)]
pub struct Bulk {
    /// Pipes that were lent for it.
    pub lent: u64,
    /// How often there was none to be had.
    pub refused: u64,
    /// How often a stream failed under one.
    pub failed: u64,
    /// Pipes that were let go with bytes in them.
    pub spilt: u64,
}
