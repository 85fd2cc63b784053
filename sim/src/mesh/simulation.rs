//! One run's simulation, tick by tick.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use turmoil::{Protocol, Segment, Sim};

use super::kept::Kept;
use super::obstacle::Obstacle;
use super::raws::RawConnection;
use super::slot::Slot;
use crate::backend::Temper;
use crate::client::{Order, Orders, Outcomes};
use crate::network::{Fabric, HostState};
use crate::scenario::Scenario;
use crate::tls::Certificates;

/// One run's hosts on one simulated network.
pub struct Mesh {
    pub(super) sim: Sim<'static>,
    pub(super) fabric: Fabric,
    pub(super) scenario: Rc<Scenario>,
    /// The scenario before anything was configured anew.
    pub(super) began_as: Rc<Scenario>,
    pub(super) certificates: Certificates,
    pub(super) ips: BTreeMap<String, IpAddr>,
    pub(super) ways: BTreeMap<(IpAddr, IpAddr), Obstacle>,
    /// From when on the second of two hosts sends nothing new, for it hears nothing of the first.
    pub(super) unheard: Vec<(Duration, IpAddr, IpAddr)>,
    /// When the process of a host last went on after it had been stopped.
    pub(super) thawed: BTreeMap<String, Duration>,
    pub(super) peers: BTreeMap<String, Rc<Slot>>,
    pub(super) tempers: BTreeMap<String, Rc<Temper>>,
    pub(super) clients: BTreeMap<String, Rc<Orders>>,
    pub(super) outcomes: Outcomes,
    pub(super) raws: BTreeMap<String, RawConnection>,
    pub(super) later: Vec<(Duration, Order)>,
    pub(super) asked: usize,
    pub(super) kept: Vec<Kept>,
}

impl Mesh {
    /// Lets one tick pass.
    ///
    /// # Errors
    /// A host whose software failed, and how.
    pub fn step(&mut self) -> Result<(), String> {
        let now = self.now();
        let due: Vec<Order> =
            self.later.extract_if(.., |(at, _)| *at <= now).map(|o| o.1).collect();
        for order in due {
            self.clients[&order.request.from].request(order);
        }
        self.silence_the_unheard();
        let farewells = self.farewells_in_flight();
        {
            let mut state = self.fabric.state();
            state.now = now;
            state.ledger.advance(now);
            let lost = state.lost.clone();
            state.ledger.tell_leaving(|from, to| {
                farewells.contains(&(from, to)) || lost.contains_key(&(from.ip(), to.ip()))
            });
        }
        self.sim.step().map_err(|error| error.to_string())?;
        self.fabric.state().now = self.now();
        Ok(())
    }

    fn farewells_in_flight(&self) -> Vec<(SocketAddr, SocketAddr)> {
        let mut found = Vec::new();
        if self.fabric.state().ledger.has_leaving() {
            self.sim.links(|links| {
                for sent in links.flatten() {
                    if let Protocol::Tcp(Segment::Fin(_) | Segment::Rst) = sent.protocol() {
                        found.push(sent.pair());
                    }
                }
            });
        }
        found
    }

    /// Simulated time since the start.
    pub fn now(&self) -> Duration {
        self.sim.elapsed()
    }

    /// The scenario that is played, with its peers as they are configured now.
    pub fn scenario(&self) -> &Rc<Scenario> {
        &self.scenario
    }

    /// What all hosts share.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// All requests so far.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    /// The address of a host.
    pub fn ip(&self, host: &str) -> IpAddr {
        self.ips[host]
    }

    /// A host's software runs now, or not.
    pub(super) fn set_state(&self, host: &str, to: HostState) {
        let mut state = self.fabric.state();
        state.hosts.get_mut(&self.ip(host)).expect("every host is known").state = to;
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.fabric.state().over = true;
    }
}
