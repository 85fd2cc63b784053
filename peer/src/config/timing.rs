//! The durations that an operator may set.

use std::time::Duration;

use super::error::ConfigError;
use crate::limits::{ANSWER_FIFTHS, BACKEND_DIAL_FIFTHS, CONNECT_TIMEOUT};

/// The longest duration that may be set: anything longer is a mistake, and adding it to
/// a clock must not overflow.
const LONGEST_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The durations that an operator may set. All are longer than zero, unless they say
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From FORWARD to its DATA connection. A connecting peer goes by its own, and
    /// must not have a longer one than its listening peers, or its FAIL comes too late.
    pub data_timeout: Duration,
    /// Between two REGISTER refreshes.
    pub heartbeat: Duration,
    /// A link that has received nothing for this long is dead.
    pub peer_timeout: Duration,
    /// While draining, new connections are accepted for this long.
    pub drain_grace: Duration,
    /// While draining, running requests may last this long after the grace.
    pub drain_limit: Duration,
    /// A name without a provider is remembered for this long.
    pub name_retention: Duration,
    /// A request waits for this long, from the loss of the last provider of its name, for
    /// one to come back; may be zero.
    pub hold: Duration,
    /// A peer that listens is ready when the names that it expects are there, but after
    /// this long at the latest; may be zero.
    pub warm_up: Duration,
    /// A request over UDP ends when no datagram has come either way for this long.
    pub udp_idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            data_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            peer_timeout: Duration::from_secs(30),
            drain_grace: Duration::from_secs(5),
            drain_limit: Duration::from_secs(30),
            name_retention: Duration::from_secs(600),
            hold: Duration::ZERO,
            warm_up: Duration::from_secs(10),
            udp_idle: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// A backend must be found in DNS and accept a connection within this time.
    pub fn backend_dial(&self) -> Duration {
        CONNECT_TIMEOUT.min(self.data_timeout * BACKEND_DIAL_FIFTHS / 5)
    }

    /// From FORWARD, a connecting peer has this long until its DATA is on its way.
    pub fn answer(&self) -> Duration {
        self.data_timeout * ANSWER_FIFTHS / 5
    }

    /// Each under the key of its setting.
    pub fn by_key(&self) -> [(&'static str, Duration); 9] {
        [
            ("data_timeout", self.data_timeout),
            ("heartbeat", self.heartbeat),
            ("peer_timeout", self.peer_timeout),
            ("drain_grace", self.drain_grace),
            ("drain_limit", self.drain_limit),
            ("name_retention", self.name_retention),
            ("hold", self.hold),
            ("warm_up", self.warm_up),
            ("udp_idle", self.udp_idle),
        ]
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, time) in self.by_key() {
            let may_be_zero = ["hold", "warm_up"].contains(&key);
            if time.is_zero() && !may_be_zero {
                return Err(ConfigError::new(key, "must be longer than zero"));
            }
            if time > LONGEST_TIME {
                return Err(ConfigError::new(key, "must be at most 366 days"));
            }
        }
        if self.heartbeat >= self.peer_timeout {
            let timeout = humantime::format_duration(self.peer_timeout);
            let problem = format!("must be shorter than peer_timeout ({timeout})");
            return Err(ConfigError::new("heartbeat", problem));
        }
        Ok(())
    }
}
