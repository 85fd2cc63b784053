//! What must be so before the next step.

use std::time::Duration;

use super::effect::{Action, Effect};
use crate::client::Heard;
use crate::mesh::Mesh;
use crate::metrics::Exported;
use crate::scenario::steps::{Checkpoint, Described, Expect};

impl Action for Expect {
    fn begin(&self, _mesh: &mut Mesh) -> Result<Effect, String> {
        Ok(Effect::Had)
    }

    fn done(&self, mesh: &Mesh, waited: Duration) -> Result<bool, String> {
        match amiss(self, mesh) {
            Ok(()) => Ok(true),
            Err(_) if self.within.is_some_and(|within| waited < within.0) => Ok(false),
            Err(amiss) => Err(format!("{}: {amiss}", self.title())),
        }
    }
}

impl Action for Checkpoint {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.keep_metrics(&self.0);
        Ok(Effect::Had)
    }
}

/// What is not as said, if anything.
fn amiss(expect: &Expect, mesh: &Mesh) -> Result<(), String> {
    if let Some(peer) = &expect.peer {
        if !expect.metric.is_empty() {
            metric_amiss(expect, &mesh.exported(peer)?)?;
        }
        let ready = mesh.peer(peer).is_some_and(|handle| handle.is_ready());
        if expect.ready.is_some_and(|wanted| ready != wanted) {
            return Err(format!("ready is {ready}"));
        }
    }
    if let Some(conn) = &expect.conn {
        heard_amiss(expect, &mesh.heard_raw(conn).ok_or("it is not open yet")?)?;
    }
    Ok(())
}

/// Whether a raw connection is as said.
///
/// # Errors
/// What is not.
pub fn heard_amiss(expect: &Expect, heard: &Heard) -> Result<(), String> {
    let text = String::from_utf8_lossy(&heard.received);
    if let Some(wanted) = expect.received.as_ref().filter(|wanted| !text.contains(*wanted)) {
        return Err(format!("has not received {wanted:?} but {text:?}"));
    }
    if expect.ended.is_some() && heard.ended != expect.ended {
        return Err(format!("ended: {:?}", heard.ended));
    }
    Ok(())
}

/// Whether a metric is as said.
///
/// # Errors
/// What it is instead.
pub fn metric_amiss(expect: &Expect, exported: &Exported) -> Result<(), String> {
    let value = exported.select(&expect.metric)?.unwrap_or(0.0);
    let right = expect.is.is_none_or(|is| value == is)
        && expect.at_least.is_none_or(|least| value >= least)
        && expect.at_most.is_none_or(|most| value <= most);
    if right { Ok(()) } else { Err(format!("it is {value}")) }
}
