//! How long peers may need where nothing is broken.

use std::time::Duration;

use crate::scenario::Scenario;

/// A DATA timeout within which every peer has answered, however slow the network.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// How long a peer may need to answer for a request, where nothing is broken: several times
/// there and back, with handshakes and tasks that pause.
pub fn answers_within(scenario: &Scenario) -> Duration {
    let network = &scenario.network;
    let latency = network.latency_max.unwrap_or(network.latency).0;
    LONG_ENOUGH.min(12 * latency + 30 * network.tick.0 + Duration::from_millis(500))
}
