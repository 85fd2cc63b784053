//! What each kind of step does in the real world.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio_rustls::rustls;

use super::lab::{Lab, Raw};
use super::laws::check_growth;
use super::process::Process;
use super::scrape;
use crate::actions::{heard_amiss, metric_amiss, replaced, written};
use crate::client::{Heard, RawOrder, Say};
use crate::ground::Ground;
use crate::scenario::Kind;
use crate::scenario::steps;
use crate::tls::client_config;

impl Lab {
    /// Takes one step. One that expects something is for [`amiss`](Self::amiss).
    ///
    /// # Errors
    /// What made it impossible.
    pub(super) fn take(&mut self, step: Kind<'_>) -> Result<(), String> {
        self.listen_in();
        let done = match step {
            Kind::Request(one) => {
                for (later, request) in one.each() {
                    self.request_later(later, request);
                }
                Ok(())
            }
            Kind::Raw(one) => return self.write_raw(one),
            Kind::Hold(steps::Hold([a, b])) => self.namespaces.set_way(a, b, false),
            Kind::Release(steps::Release([a, b])) => self.namespaces.set_way(a, b, true),
            Kind::Partition(one) => self.partition(&one.0),
            Kind::Lose(one) => self.lose(&one.0),
            Kind::Heal(one) => self.heal(&one.0),
            Kind::Crash(one) => self.crash(&one.host, one.how),
            Kind::Restart(one) => self.start(&one.0),
            Kind::Dns(one) => {
                let takes = one.takes.map_or(Duration::ZERO, |takes| takes.0);
                self.set_name(&one.name, one.all(), takes);
                Ok(())
            }
            Kind::Backend(one) => {
                self.tempers[&one.host].change(|spec| {
                    spec.kind = one.kind;
                    spec.delay = one.delay;
                    spec.rate = one.rate;
                    spec.after = one.after;
                });
                self.hang_or_not(&one.host)
            }
            Kind::Configure(one) => {
                let after = one.of(&self.scenario.peers[&one.peer]);
                self.scenario.peers.insert(one.peer.clone(), after);
                self.write_files(&one.peer).map_err(|error| error.to_string())?;
                return self.signal(&one.peer, Signal::HUP);
            }
            Kind::Replace(one) => {
                if let Some(material) = self.materials.get_mut(&one.peer) {
                    *material = replaced(one, material);
                }
                self.write_files(&one.peer)
            }
            Kind::Reload(one) => return self.signal(&one.0, Signal::HUP),
            Kind::Drain(one) => return self.signal(&one.0, Signal::TERM),
            Kind::Stop(one) => {
                self.signal(&one.0, Signal::TERM)?;
                return self.signal(&one.0, Signal::INT);
            }
            Kind::Freeze(one) => return self.signal(&one.0, Signal::STOP),
            Kind::Thaw(one) => return self.signal(&one.0, Signal::CONT),
            Kind::Clock(_) => return Err("the clock of one host cannot be set apart".to_owned()),
            // How long a way takes is up to the kernel.
            Kind::Latency(_) | Kind::Expect(_) | Kind::Checkpoint(_) => Ok(()),
        };
        done.map_err(|error| error.to_string())
    }

    fn write_raw(&mut self, raw: &steps::Raw) -> Result<(), String> {
        if let (Some(from), Some(to)) = (&raw.from, &raw.to) {
            let tls = raw.certificate.as_ref().map(|certificate| {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
                client_config(&self.certificates, certificate, provider, clock)
            });
            let (says, receiver) = mpsc::unbounded_channel();
            let heard = Rc::<RefCell<Heard>>::default();
            self.orders[from].raw(RawOrder {
                to: to.clone(),
                tls: tls.transpose().map_err(|error| error.to_string())?,
                deaf: raw.deaf,
                says: receiver,
                heard: heard.clone(),
            });
            self.raws.insert(raw.conn.clone(), Raw { says, heard });
        }
        let bytes = written(raw, |which| self.forward_id(which))?;
        let conn = &self.raws[&raw.conn];
        if !bytes.is_empty() {
            // One that has ended hears nothing.
            let _ = conn.says.send(Say::Write(bytes, raw.every.map(|time| time.0)));
        }
        if let Some(close) = raw.close {
            let _ = conn.says.send(Say::Close(close));
        }
        Ok(())
    }

    /// What is not as expected, if anything.
    ///
    /// # Errors
    /// That, with what is so instead.
    pub(super) async fn amiss(&mut self, expect: &steps::Expect) -> Result<(), String> {
        if let Some(peer) = &expect.peer {
            if !expect.metric.is_empty() {
                self.scrape(peer).await?;
                metric_amiss(expect, &self.exported[peer])?;
            }
            if let Some(wanted) = expect.ready {
                let ready = scrape::is_ready(&self.nets[peer]).await;
                if ready != wanted {
                    return Err(format!("ready is {ready}"));
                }
            }
        }
        match &expect.conn {
            Some(conn) => {
                let raw = self.raws.get(conn).ok_or("it is not open yet")?;
                heard_amiss(expect, &raw.heard.borrow())
            }
            None => Ok(()),
        }
    }

    /// Asks a peer for its metrics; of one that has ended by itself, the last ones stay.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn scrape(&mut self, peer: &str) -> Result<(), String> {
        match scrape::metrics(&self.nets[peer]).await {
            Ok(exported) => {
                let forgets = self.scenario.peers[peer].name_retention.is_some();
                let same = !self.peers.get(peer).is_some_and(Process::was_upgraded);
                if let Some(before) = self.exported.get(peer).filter(|_| same)
                    && let Err(amiss) = check_growth(before, &exported, forgets)
                {
                    self.nets[peer].wrong(format!("at {peer}: {amiss}"));
                }
                self.exported.insert(peer.to_owned(), exported);
                Ok(())
            }
            Err(_) if self.exported.contains_key(peer) && !self.is_running(peer) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
