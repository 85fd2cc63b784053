//! Looking into peers, and telling them to end.

use std::rc::Rc;

use ops_proxy::peer::PeerHandle;

use super::access::Sums;
use super::kept::Kept;
use super::simulation::Mesh;
use crate::metrics::Exported;
use crate::network::SimNet;
use crate::scenario::{PeerSpec, Scenario};

impl Mesh {
    /// The peer on a host, if one was started and has not crashed.
    pub fn peer(&self, host: &str) -> Option<PeerHandle<SimNet>> {
        self.peers[host].handle.borrow().clone()
    }

    /// What the access log of the peer on this host comes to, if one was started and has not
    /// crashed.
    pub fn told(&self, host: &str) -> Option<Sums> {
        let slot = &self.peers[host];
        slot.handle.borrow().is_some().then(|| slot.told.borrow().sums())
    }

    /// How often the peer on this host was started.
    pub fn starts(&self, host: &str) -> u64 {
        self.peers[host].starts.get()
    }

    /// Whether the peer on this host was told to end.
    pub fn is_leaving(&self, host: &str) -> bool {
        self.peers[host].leaving.get()
    }

    /// Changes what a peer is configured with; one that runs takes that in.
    pub fn configure(&mut self, host: &str, change: impl FnOnce(&PeerSpec) -> PeerSpec) {
        let mut scenario = Scenario::clone(&self.scenario);
        let spec = scenario.peers.get_mut(host).expect("a checked step is of a peer");
        *spec = change(spec);
        let config = spec.config(host).expect("a checked step has a valid configuration");
        self.scenario = Rc::new(scenario);
        let slot = &self.peers[host];
        *slot.config.borrow_mut() = Some(config);
        if self.is_running(host) {
            slot.configured.notify_one();
        }
    }

    /// How often the peers on this host have taken in another configuration.
    pub fn configurations(&self, host: &str) -> u64 {
        self.peers[host].configurations.get()
    }

    /// The peer drains.
    ///
    /// # Errors
    /// It does not run.
    pub fn drain(&mut self, host: &str) -> Result<(), String> {
        self.running(host)?.drain();
        self.peers[host].leaving.set(true);
        Ok(())
    }

    /// The peer stops now.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, host: &str) -> Result<(), String> {
        self.running(host)?.stop();
        self.peers[host].leaving.set(true);
        Ok(())
    }

    pub(super) fn running(&self, host: &str) -> Result<PeerHandle<SimNet>, String> {
        let handle = self.peer(host).filter(|_| self.is_running(host));
        handle.ok_or_else(|| format!("{host} does not run"))
    }

    /// What a peer exports now.
    ///
    /// # Errors
    /// It does not run, or its text is malformed.
    pub fn exported(&self, host: &str) -> Result<Exported, String> {
        let handle = self.peer(host).ok_or_else(|| format!("{host} does not run"))?;
        Exported::parse(&handle.metrics_text())
    }

    /// Keeps the metrics of all peers that listen, under a label.
    pub fn keep_metrics(&mut self, label: &str) {
        for (host, spec) in &self.scenario.peers {
            let listens = spec.listen.is_some() || !spec.tcp.is_empty();
            if let Some(handle) = self.peer(host).filter(|_| listens) {
                let (label, peer) = (label.to_owned(), host.clone());
                self.kept.push(Kept { label, peer, text: handle.metrics_text() });
            }
        }
    }

    /// The metrics that were kept.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }
}
