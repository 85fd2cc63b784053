//! The ways between hosts: held, cut, slow, or open in one direction only.

use std::net::IpAddr;
use std::time::Duration;

use super::obstacle::Obstacle;
use super::simulation::Mesh;
use crate::network::way;

/// Until a kernel sends again what was not acknowledged, and nothing behind it: the shortest time
/// that Linux waits.
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(200);

impl Mesh {
    /// From now on everything between `a` and `b` waits.
    ///
    /// # Errors
    /// The way is held or cut already.
    pub fn hold(&mut self, a: &str, b: &str) -> Result<(), String> {
        self.obstruct(a, b, Obstacle::Held)?;
        self.sim.hold(self.ip(a), self.ip(b));
        Ok(())
    }

    /// What was held goes on.
    ///
    /// # Errors
    /// Nothing was held.
    pub fn release(&mut self, a: &str, b: &str) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.get(&pair) != Some(&Obstacle::Held) {
            return Err(format!("the way between {a} and {b} is not held"));
        }
        self.ways.remove(&pair);
        self.sim.release(pair.0, pair.1);
        Ok(())
    }

    /// Cuts the way for good, and returns how many connections die of it.
    ///
    /// # Errors
    /// The way is held or cut already.
    pub fn partition(&mut self, a: &str, b: &str) -> Result<usize, String> {
        let (a_ip, b_ip) = (self.ip(a), self.ip(b));
        self.obstruct(a, b, Obstacle::Cut)?;
        self.sim.partition(a_ip, b_ip);
        Ok(self.lose_all(&[(a_ip, b_ip), (b_ip, a_ip)]))
    }

    /// What `from` sends to `to` is lost, the acknowledgements of what `to` sends among it, so that
    /// nothing of `to` arrives, either, after a while. Returns how many connections die of it.
    ///
    /// # Errors
    /// The way is held or cut already.
    pub fn lose(&mut self, from: &str, to: &str) -> Result<usize, String> {
        let (from_ip, to_ip) = (self.ip(from), self.ip(to));
        self.obstruct(from, to, Obstacle::Lost(from_ip))?;
        self.sim.partition_oneway(from_ip, to_ip);
        self.unheard.push((self.now() + RETRANSMISSION_TIMEOUT, from_ip, to_ip));
        Ok(self.lose_all(&[(from_ip, to_ip)]))
    }

    /// Those who have heard of nothing for so long send nothing new.
    pub(super) fn silence_the_unheard(&mut self) {
        let now = self.now();
        let due: Vec<(Duration, IpAddr, IpAddr)> =
            self.unheard.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, from, to) in due {
            // It may have been healed.
            if self.ways.get(&way(from, to)) == Some(&Obstacle::Lost(from)) {
                self.ways.insert(way(from, to), Obstacle::Cut);
                self.sim.partition(from, to);
                self.lose_all(&[(to, from)]);
            }
        }
    }

    fn obstruct(&mut self, a: &str, b: &str, obstacle: Obstacle) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if self.ways.contains_key(&pair) {
            return Err(format!("the way between {a} and {b} is held or cut already"));
        }
        self.ways.insert(pair, obstacle);
        Ok(())
    }

    /// What is sent these ways is lost; how many connections die of it.
    fn lose_all(&mut self, ways: &[(IpAddr, IpAddr)]) -> usize {
        let noticed = self.now() + self.scenario.network.notices_cut_after.0;
        let mut state = self.fabric.state();
        state.lost.extend(ways.iter().map(|way| (*way, noticed)));
        state.ledger.doom(noticed, |from, to| ways.contains(&(from, to)))
    }

    /// What is sent from now on arrives again.
    ///
    /// # Errors
    /// The way is not cut.
    pub fn heal(&mut self, a: &str, b: &str) -> Result<(), String> {
        let pair = way(self.ip(a), self.ip(b));
        if !matches!(self.ways.get(&pair), Some(Obstacle::Cut | Obstacle::Lost(_))) {
            return Err(format!("the way between {a} and {b} is not cut"));
        }
        self.ways.remove(&pair);
        self.sim.repair(pair.0, pair.1);
        {
            let mut state = self.fabric.state();
            state.lost.retain(|(from, to), _| way(*from, *to) != pair);
            *state.counters.heals.entry(pair).or_default() += 1;
        }
        self.fabric.ways_changed();
        Ok(())
    }

    /// Sets the time from one host to the other.
    pub fn set_latency(&mut self, a: &str, b: &str, latency: Duration) {
        self.sim.set_link_latency(self.ip(a), self.ip(b), latency);
    }

    /// Every way takes as long as at the start.
    pub fn reset_latencies(&mut self) {
        let network = &self.scenario.network;
        let most = network.latency_max.unwrap_or(network.latency).0;
        let ips: Vec<IpAddr> = self.ips.values().copied().collect();
        for (index, a) in ips.iter().enumerate() {
            for b in &ips[index + 1..] {
                self.sim.set_link_latency(*a, *b, network.latency.0);
                self.sim.set_link_max_message_latency(*a, *b, most);
            }
        }
    }

    /// Whether everything between `a` and `b` waits.
    pub fn is_held(&self, a: &str, b: &str) -> bool {
        self.ways.get(&way(self.ip(a), self.ip(b))) == Some(&Obstacle::Held)
    }

    /// Whether what `a` sends now reaches `b`, as far as the way is concerned.
    pub fn is_open(&self, a: &str, b: &str) -> bool {
        !self.ways.contains_key(&way(self.ip(a), self.ip(b)))
    }

    /// Segments on their way between `a` and `b`.
    pub fn in_flight(&self, a: &str, b: &str) -> usize {
        let pair = way(self.ip(a), self.ip(b));
        let mut count = 0;
        self.sim.links(|links| {
            for link in links {
                let (a, b) = link.pair();
                if way(a, b) == pair {
                    count += link.count();
                }
            }
        });
        count
    }

    /// Writes and dials between `a` and `b` so far.
    pub fn traffic(&self, a: &str, b: &str) -> u64 {
        let pair = way(self.ip(a), self.ip(b));
        self.fabric.state().counters.traffic.get(&pair).copied().unwrap_or(0)
    }

    /// Dials between `a` and `b` that a cut has swallowed.
    pub fn blocked(&self, a: &str, b: &str) -> u64 {
        let pair = way(self.ip(a), self.ip(b));
        self.fabric.state().counters.blocked.get(&pair).copied().unwrap_or(0)
    }
}
