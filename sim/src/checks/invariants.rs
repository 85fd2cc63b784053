//! What must hold after every tick. Who has done nothing since he was looked at is not looked
//! at again.

use std::collections::BTreeMap;
use std::time::Duration;

use ops_proxy::observe::metrics::Snapshot;
use ops_proxy::peer::PeerHandle;

use super::calm::{Verdict, judge};
use super::counts::{check_growth, check_served, check_sums};
use super::model::Model;
use super::overheard::{check_asked_again, check_asked_once, check_overheard};
use super::seen::{Seen, counts_everything};
use crate::client::Outcome;
use crate::mesh::Mesh;
use crate::network::SimNet;
use crate::scenario::steps::Via;

/// What only time can change is looked at this often.
const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Checks one run.
#[derive(Debug, Default)]
pub struct Invariants {
    model: Model,
    /// Each peer as it was.
    before: BTreeMap<String, Before>,
    /// How often the software of all hosts had been polled when they were looked at last.
    polls: u64,
    /// What had been done to them by then.
    done: Option<u64>,
    looked: Duration,
}

/// A peer as it was when it was looked at last.
#[derive(Debug)]
struct Before {
    /// Which of its starts it is of.
    start: u64,
    /// How often it had been polled.
    polls: u64,
    numbers: Snapshot,
}

impl Invariants {
    /// Checks all peers as they are after a tick.
    ///
    /// # Errors
    /// The first thing that must not be so.
    pub fn check(&mut self, mesh: &Mesh) -> Result<(), String> {
        let (now, polls, done) = (mesh.now(), mesh.polls_of_all(), mesh.done_to_it());
        // What they do themselves changes nothing of what they could do.
        let observes = Some(done) != self.done || now >= self.looked + LOOKS_EVERY;
        if polls == self.polls && !observes {
            return Ok(());
        }
        if observes {
            (self.done, self.looked) = (Some(done), now);
            self.model.observe(mesh);
        }
        self.polls = polls;
        let seen = Seen::by_clients(mesh);
        for host in mesh.scenario().peers.keys() {
            let Some(handle) = mesh.peer(host) else {
                self.forget(mesh, host);
                continue;
            };
            let (start, polls) = (mesh.starts(host), mesh.polls(host));
            if self.before.get(host).is_some_and(|before| before.start != start) {
                self.forget(mesh, host);
            }
            let has_moved = self.before.get(host).is_none_or(|before| before.polls != polls);
            if has_moved {
                let numbers = self.look(mesh, host, &handle)?;
                self.model.saw(mesh, host, &numbers);
                self.before.insert(host.clone(), Before { start, polls, numbers });
            }
            let now = &self.before[host].numbers;
            let at = |error: String| format!("at {host}: {error}");
            check_overheard(mesh, host, now).map_err(at)?;
            if counts_everything(mesh, host) {
                let passed_on = match reads_http(mesh, host) {
                    true => 0,
                    false => mesh.fabric().state().forwards.asked_of(mesh.ip(host)),
                };
                seen.check(host, now, passed_on).map_err(at)?;
            }
            if (has_moved || observes) && mesh.is_running(host) {
                self.model.check(mesh, host, now)?;
            }
        }
        check_asked_once(mesh)?;
        check_asked_again(mesh)?;
        let wrongs = std::mem::take(&mut mesh.fabric().state().wrongs);
        wrongs.into_iter().next().map_or(Ok(()), Err)
    }

    /// How far it is known what became of a request, of all that it could have been.
    ///
    /// # Errors
    /// What its client saw, if it must not have.
    pub fn judge(&self, mesh: &Mesh, outcome: &Outcome) -> Result<Verdict, String> {
        judge(mesh, outcome, |hub, names| self.model.could_rely(mesh, outcome, hub, names))
    }

    /// What a peer counts now: what it must be in itself, and beside what it was.
    fn look(
        &self,
        mesh: &Mesh,
        host: &str,
        handle: &PeerHandle<SimNet>,
    ) -> Result<Snapshot, String> {
        let now = handle.snapshot();
        let at = |error: String| format!("at {host}: {error}");
        let unread = reads_http(mesh, host).then(|| http2_of(mesh, host));
        check_sums(&now, unread).map_err(at)?;
        let (of_services, in_all) = handle.served();
        let others = !mesh.scenario().peers[host].transit.is_empty()
            // Those that it no longer serves.
            || mesh.configurations(host) > 0;
        check_served(of_services, in_all, others).map_err(at)?;
        if let Some(Before { numbers: before, .. }) = self.before.get(host) {
            check_growth(before, &now).map_err(at)?;
            self.model.check_change(mesh, host, before, &now)?;
            if before.names.len() > now.names.len() {
                let known = |name: &str| now.names.iter().any(|row| row.name == name);
                mesh.fabric().state().forwards.forget(mesh.ip(host), known);
            }
        }
        Ok(now)
    }

    /// The peer on this host is another now, or none.
    fn forget(&mut self, mesh: &Mesh, host: &str) {
        if self.before.remove(host).is_some() {
            mesh.fabric().state().forwards.forget(mesh.ip(host), |_| false);
        }
    }
}

/// How many connections of HTTP/2 clients have opened to this host: they are passed on as they
/// are.
fn http2_of(mesh: &Mesh, host: &str) -> u64 {
    let is_one = |one: &&Outcome| one.request.via == Via::Http2 && one.request.is_to(host);
    mesh.outcomes().with(|all| all.iter().filter(is_one).count() as u64)
}

/// Whether the peer on this host reads all of its HTTP itself: what is passed on was read by
/// the peer before, what other peers ask for by them.
fn reads_http(mesh: &Mesh, host: &str) -> bool {
    let peers = &mesh.scenario().peers;
    peers[host].transit.is_empty() && peers.values().all(|one| one.reach.is_empty())
}
