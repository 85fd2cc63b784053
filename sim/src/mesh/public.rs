//! What clients are told to do, and the connections written by hand.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::raws::{Opening, RawConnection};
use super::simulation::Mesh;
use crate::client::{Heard, Order, RawOrder, Say};
use crate::scenario::steps::Request;
use crate::tls::{SimClock, client_config, crypto};

impl Mesh {
    /// A client shall make this request, `later` from now.
    pub fn request_later(&mut self, later: Duration, request: Request) {
        self.asked += 1;
        let ip = self.ip(&request.from);
        let order = Order::new(self.asked, request, &self.began_as, ip);
        self.later.push((self.now() + later, order));
    }

    /// Whether every request that was ordered is over.
    pub fn all_asked(&self) -> bool {
        self.later.is_empty()
            && self.clients.values().all(|orders| orders.is_empty())
            && self.outcomes.with(|all| all.iter().all(|one| one.ended.is_some()))
    }

    /// Opens a raw connection.
    ///
    /// # Errors
    /// What keeps the certificate from being used.
    pub fn open_raw(&mut self, conn: &str, from: &str, opening: &Opening) -> Result<(), String> {
        let (says, receiver) = mpsc::unbounded_channel();
        let heard = Rc::<RefCell<Heard>>::default();
        let Opening { to, deaf, certificate } = opening;
        let tls = certificate.as_ref().map(|name| {
            let (provider, clock) = (crypto::provider(), Arc::new(SimClock));
            client_config(&self.certificates, name, provider, clock)
        });
        let order = RawOrder {
            to: to.clone(),
            tls: tls.transpose().map_err(|error| error.to_string())?,
            deaf: *deaf,
            says: receiver,
            heard: heard.clone(),
        };
        self.clients[from].raw(order);
        self.raws.insert(conn.to_owned(), RawConnection { says, heard });
        Ok(())
    }

    /// Says something on a raw connection.
    ///
    /// # Errors
    /// It was never opened.
    pub fn say_raw(&mut self, conn: &str, say: Say) -> Result<(), String> {
        let raw = self.raws.get(conn).ok_or_else(|| format!("{conn} was never opened"))?;
        // One that has ended hears nothing; the step's effect will be missing.
        let _ = raw.says.send(say);
        Ok(())
    }

    /// What was heard on a raw connection.
    pub fn heard_raw(&self, conn: &str) -> Option<Heard> {
        self.raws.get(conn).map(|raw| raw.heard.borrow().clone())
    }

    /// All raw connections and what was heard on them.
    pub fn raws(&self) -> Vec<(String, Heard)> {
        let heard = |raw: &RawConnection| raw.heard.borrow().clone();
        self.raws.iter().map(|(conn, raw)| (conn.clone(), heard(raw))).collect()
    }

    /// The proxy id of a FORWARD line: `last`, or its number from 1 on.
    ///
    /// # Errors
    /// There was no such line.
    pub fn forward_id(&self, which: &str) -> Result<String, String> {
        let state = self.fabric.state();
        let forwards = state.tap.forwards();
        let id = match which {
            "last" => forwards.last(),
            number => number.parse::<usize>().ok().and_then(|n| forwards.get(n.wrapping_sub(1))),
        };
        id.cloned().ok_or_else(|| {
            format!("there was no FORWARD line {which:?}, only {} so far", forwards.len())
        })
    }
}
