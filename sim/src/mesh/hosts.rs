//! Hosts that go and come, what names mean, how backends behave.

use std::net::IpAddr;
use std::time::Duration;

use ops_proxy::config::Endpoint;

use super::obstacle::Obstacle;
use super::simulation::Mesh;
use crate::network::{Farewell, HostState, way};
use crate::scenario::steps::{How, Via};
use crate::scenario::{BackendKind, BackendSpec, Moment};

impl Mesh {
    /// Whether a host's software runs.
    pub fn is_running(&self, host: &str) -> bool {
        self.fabric.state().hosts[&self.ip(host)].state == HostState::Up
    }

    /// How often a host's software was polled so far: if no more than before, it has done
    /// nothing since.
    pub fn polls(&self, host: &str) -> u64 {
        self.fabric.state().hosts[&self.ip(host)].polls
    }

    /// How often the software of all hosts was polled so far.
    pub fn polls_of_all(&self) -> u64 {
        self.fabric.state().polls
    }

    /// Something is done to the mesh, or to one of its hosts, and not by their software.
    pub fn do_to_it(&self) {
        self.fabric.state().done += 1;
    }

    /// How often anything was [done](Self::do_to_it), or a host's software has ended.
    pub fn done_to_it(&self) -> u64 {
        self.fabric.state().done
    }

    /// Stops the process of a host.
    ///
    /// # Errors
    /// It does not run, or is stopped already.
    pub fn freeze(&mut self, host: &str) -> Result<(), String> {
        if !self.is_running(host) || self.is_frozen(host) {
            return Err(format!("{host} does not run"));
        }
        self.fabric.state().freeze(self.ip(host));
        Ok(())
    }

    /// The process of a host goes on.
    ///
    /// # Errors
    /// It was not stopped.
    pub fn thaw(&mut self, host: &str) -> Result<(), String> {
        if !self.is_frozen(host) {
            return Err(format!("{host} was not frozen"));
        }
        self.fabric.state().thaw(self.ip(host));
        let now = self.now();
        self.thawed.insert(host.to_owned(), now);
        Ok(())
    }

    /// Whether the process of a host is stopped.
    pub fn is_frozen(&self, host: &str) -> bool {
        self.fabric.state().frozen(self.ip(host)).is_some()
    }

    /// Whether the process of a host is stopped, and something has come that it would act on.
    pub fn is_held_back(&self, host: &str) -> bool {
        self.fabric.state().frozen(self.ip(host)).is_some_and(|held| held > 0)
    }

    /// When the process of a host last went on after it had been stopped.
    pub fn thawed(&self, host: &str) -> Option<Duration> {
        self.thawed.get(host).copied()
    }

    /// Ends a host's software without notice.
    ///
    /// # Errors
    /// It does not run.
    pub fn crash(&mut self, host: &str, how: How) -> Result<(), String> {
        if !self.is_running(host) {
            return Err(format!("{host} does not run"));
        }
        let ip = self.ip(host);
        self.fabric.state().thaw(ip);
        let others: Vec<IpAddr> = self.ips.values().copied().filter(|other| *other != ip).collect();
        let farewell = match how {
            How::Reset => Farewell::Reset,
            How::Silent => Farewell::Nothing,
            How::End => Farewell::Clean,
        };
        if how == How::Silent {
            others.iter().for_each(|other| self.sim.partition(ip, *other));
            let noticed = self.now() + self.scenario.network.notices_cut_after.0;
            self.fabric.state().ledger.doom(noticed, |a, b| a == ip || b == ip);
        }
        self.fabric.state().tear_down(ip, farewell);
        if let Some(slot) = self.peers.get(host) {
            slot.handle.take();
        }
        self.sim.crash(ip);
        self.fabric.state().torn_down(ip);
        self.set_state(host, if how == How::Silent { HostState::Dark } else { HostState::Down });
        if how == How::Silent {
            for other in others {
                self.restore_way(ip, other);
            }
        }
        Ok(())
    }

    /// Makes turmoil's view of a way what it should be.
    fn restore_way(&mut self, a: IpAddr, b: IpAddr) {
        match self.ways.get(&way(a, b)) {
            None => self.sim.repair(a, b),
            Some(Obstacle::Held) => self.sim.hold(a, b),
            Some(Obstacle::Cut) => self.sim.partition(a, b),
            Some(Obstacle::Lost(from)) => {
                let to = if *from == a { b } else { a };
                self.sim.repair(a, b);
                self.sim.partition_oneway(*from, to);
            }
        }
    }

    /// Starts a host's software; one that runs is killed first.
    pub fn restart(&mut self, host: &str) {
        if self.is_running(host) {
            // It runs: that was just asked.
            let _ = self.crash(host, How::Reset);
        }
        if let Some(slot) = self.peers.get(host) {
            slot.handle.take();
        }
        self.set_state(host, HostState::Up);
        self.sim.bounce(self.ip(host));
        self.fabric.ways_changed();
    }

    /// Changes what a name resolves to.
    pub fn set_name<'a>(&mut self, name: &str, hosts: impl Iterator<Item = &'a str>) {
        let ips: Vec<_> = hosts.map(|host| self.ip(host)).collect();
        let mut state = self.fabric.state();
        match ips.is_empty() {
            false => state.names.insert(name.to_owned(), ips),
            true => state.names.remove(name),
        };
    }

    /// Changes how long it takes to look a name up.
    pub fn set_lookup_time(&mut self, name: &str, takes: Option<Duration>) {
        let mut state = self.fabric.state();
        match takes {
            Some(takes) => state.lookup_times.insert(name.to_owned(), takes),
            None => state.lookup_times.remove(name),
        };
    }

    /// Sets a host's wall clock so far ahead of the right time, or behind it.
    pub fn set_clock(&mut self, host: &str, ahead: Moment) {
        self.fabric.state().clocks.insert(self.ip(host), ahead);
    }

    /// The time that a host's wall clock shows.
    pub fn clock(&self, host: &str) -> Moment {
        let now = Moment::after(self.now());
        self.fabric.state().clocks.get(&self.ip(host)).map_or(now, |ahead| now.shifted(*ahead))
    }

    /// Looks at a host's wall clock so far.
    pub fn clock_reads(&self, host: &str) -> u64 {
        self.fabric.state().counters.clock_reads.get(&self.ip(host)).copied().unwrap_or(0)
    }

    /// All lookups take no time, and all clocks are right.
    pub fn set_names_and_clocks_right(&mut self) {
        let mut state = self.fabric.state();
        state.lookup_times.clear();
        state.clocks.clear();
    }

    /// The hosts that a name stands for now.
    pub fn hosts_of(&self, name: &str) -> Vec<String> {
        let state = self.fabric.state();
        let ips = state.names.get(name).into_iter().flatten();
        ips.map(|ip| state.host_name(*ip)).collect()
    }

    /// Lookups of a name so far.
    pub fn lookups(&self, name: &str) -> u64 {
        self.fabric.state().counters.lookups.get(name).copied().unwrap_or(0)
    }

    /// Changes how a backend treats connections to come.
    pub fn change_backend(&mut self, host: &str, change: impl FnOnce(&mut BackendSpec)) {
        self.tempers[host].change(change);
    }

    /// How a backend treats connections now.
    pub fn backend(&self, host: &str) -> Option<BackendSpec> {
        self.tempers.get(host).map(|temper| temper.now())
    }

    /// Dials to a host so far.
    pub fn dials(&self, host: &str) -> u64 {
        self.fabric.state().counters.dials.get(&self.ip(host)).copied().unwrap_or(0)
    }

    /// How a request for this name can succeed at every one of its providers;
    /// `None` if it cannot.
    pub fn answers_by(&self, name: &str) -> Option<Via> {
        let peers = self.scenario().peers.values();
        let backends = peers.filter_map(|peer| peer.services.get(name));
        let kinds: Option<Vec<BackendKind>> = backends
            .map(|backend| {
                let endpoint: Endpoint = backend.parse().ok()?;
                let backend = self.backend(self.hosts_of(&endpoint.host).first()?)?;
                (backend.port == endpoint.port).then_some(backend.kind)
            })
            .collect();
        let kinds = kinds?;
        let all = |kind| !kinds.is_empty() && kinds.iter().all(|one| *one == kind);
        match () {
            () if all(BackendKind::Http) => Some(Via::Http),
            () if all(BackendKind::Echo) => Some(Via::Connect),
            () => None,
        }
    }
}
