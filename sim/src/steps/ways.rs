//! What happens to the way between two hosts.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::{Problem, Scenario, Time};

fn check_both(scenario: &Scenario, [a, b]: &[String; 2]) -> Result<(), Problem> {
    scenario.check_host("between", a)?;
    scenario.check_host("between", b)?;
    if a == b { Err(Problem::new("between", a, "two different hosts are needed")) } else { Ok(()) }
}

/// Everything between two hosts waits: what a lossy way looks like above TCP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold(pub [String; 2]);

impl Action for Hold {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        check_both(scenario, &self.0)
    }

    fn title(&self) -> String {
        format!("hold {} and {}", self.0[0], self.0[1])
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.0.clone();
        mesh.hold(&a, &b)?;
        Ok(Effect::Watch(Box::new(move |mesh| mesh.is_held(&a, &b) && mesh.in_flight(&a, &b) > 0)))
    }

    fn is_fault(&self) -> bool {
        true
    }
}

/// What was held goes on, all at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release(pub [String; 2]);

impl Action for Release {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        check_both(scenario, &self.0)
    }

    fn title(&self) -> String {
        format!("release {} and {}", self.0[0], self.0[1])
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.release(&self.0[0], &self.0[1])?;
        Ok(Effect::Had)
    }
}

/// Everything between two hosts is lost from now on. Their connections are dead,
/// which both ends notice after the network's `notices_cut_after`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partition(pub [String; 2]);

impl Action for Partition {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        check_both(scenario, &self.0)
    }

    fn title(&self) -> String {
        format!("partition {} and {}", self.0[0], self.0[1])
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.0.clone();
        if mesh.partition(&a, &b)? > 0 {
            return Ok(Effect::Had);
        }
        let before = mesh.blocked(&a, &b);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.blocked(&a, &b) > before)))
    }

    fn is_fault(&self) -> bool {
        true
    }
}

/// Ends a partition: what is sent from now on arrives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heal(pub [String; 2]);

impl Action for Heal {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        check_both(scenario, &self.0)
    }

    fn title(&self) -> String {
        format!("heal {} and {}", self.0[0], self.0[1])
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.heal(&self.0[0], &self.0[1])?;
        Ok(Effect::Had)
    }
}

/// Changes how long the way between two hosts takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The two hosts.
    pub between: [String; 2],
    /// The time one way.
    pub is: Time,
}

impl Action for Latency {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        check_both(scenario, &self.between)
    }

    fn title(&self) -> String {
        format!("{} between {} and {}", self.is, self.between[0], self.between[1])
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        let [a, b] = self.between.clone();
        mesh.set_latency(&a, &b, self.is.0);
        let before = mesh.traffic(&a, &b);
        Ok(Effect::Watch(Box::new(move |mesh| mesh.traffic(&a, &b) > before)))
    }

    fn is_fault(&self) -> bool {
        true
    }
}
