//! How a service's backends are checked, and what follows.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::{
    HEALTH_COUNT_MOST, HEALTH_EVERY, HEALTH_EVERY_LEAST, HEALTH_EVERY_MOST, HEALTH_FALL,
    HEALTH_RISE, HEALTH_TIMEOUT, RETRY_UNHEALTHY_MOST,
};
use crate::names::Name;

/// How a service's backends are checked, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked of a backend.
    pub probe: Probe,
    /// From the beginning of one check to that of the next.
    pub every: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// After so many failures in a row, the service is withdrawn.
    pub fall: u32,
    /// After so many successes in a row, it comes back.
    pub rise: u32,
}

/// What is asked of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// That it accepts a connection.
    Tcp,
    /// That it answers a GET.
    Http {
        /// The target of the request.
        path: String,
        /// Its Host; the service's name if there is none.
        host: Option<Name>,
        /// The statuses that are good.
        expect: Expect,
    },
}

/// A range of HTTP statuses: `200`, `2xx`, or `200-399`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    first: u16,
    last: u16,
}

/// Not a range of HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected HTTP statuses, such as 200, 2xx or 200-399")]
pub struct BadExpect;

impl Default for Health {
    /// A connection, at the usual pace.
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            every: HEALTH_EVERY,
            timeout: HEALTH_TIMEOUT,
            fall: HEALTH_FALL,
            rise: HEALTH_RISE,
        }
    }
}

impl Health {
    /// When a client that was refused may ask again, in seconds: no backend is back
    /// before so many checks. At least 1, and at most [`RETRY_UNHEALTHY_MOST`].
    pub fn retry_after(&self) -> u16 {
        let back = self.every.saturating_mul(self.rise).as_secs();
        u16::try_from(back).unwrap_or(u16::MAX).clamp(1, RETRY_UNHEALTHY_MOST)
    }

    /// Whether it can be meant.
    pub(super) fn check(&self) -> Result<(), String> {
        let shown = humantime::format_duration;
        if let Probe::Http { path, .. } = &self.probe
            && (!path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(format!(
                "health.http must begin with / and hold no spaces, such as \"/healthz\", \
                 not {path:?}"
            ));
        }
        if self.every < HEALTH_EVERY_LEAST || self.every > HEALTH_EVERY_MOST {
            let (least, most) = (shown(HEALTH_EVERY_LEAST), shown(HEALTH_EVERY_MOST));
            return Err(format!("health.every must be {least} to {most}"));
        }
        if self.timeout.is_zero() || self.timeout > self.every {
            let every = shown(self.every);
            return Err(format!(
                "health.timeout must be longer than zero and at most health.every ({every})"
            ));
        }
        for (key, count) in [("fall", self.fall), ("rise", self.rise)] {
            if count == 0 || count > HEALTH_COUNT_MOST {
                return Err(format!("health.{key} must be 1 to {HEALTH_COUNT_MOST}"));
            }
        }
        Ok(())
    }
}

impl Expect {
    /// Those of success: `2xx`.
    pub const SUCCESS: Self = Self { first: 200, last: 299 };

    /// Whether `status` is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for Expect {
    type Err = BadExpect;

    fn from_str(text: &str) -> Result<Self, BadExpect> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            // What is below is an answer to come, and what is above is no status.
            let status = text.parse().ok().filter(|status| digits && (200..=599).contains(status));
            status.ok_or(BadExpect)
        };
        let (first, last) = match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => (status(&format!("{class}00"))?, status(&format!("{class}99"))?),
            (None, Some((first, last))) => (status(first)?, status(last)?),
            (None, None) => (status(text)?, status(text)?),
        };
        if first <= last { Ok(Self { first, last }) } else { Err(BadExpect) }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = *self;
        match (first % 100, last - first) {
            (_, 0) => write!(f, "{first}"),
            (0, 99) => write!(f, "{}xx", first / 100),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

impl fmt::Display for Health {
    /// For an operator: what is done, how often, and what follows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Tcp => f.write_str("a connection must be accepted")?,
            Probe::Http { path, expect, .. } => write!(f, "GET {path} must be answered {expect}")?,
        }
        let shown = humantime::format_duration;
        let Self { every, timeout, fall, rise, .. } = self;
        write!(
            f,
            " within {}, every {}; withdrawn after {fall} failures, back after {rise} successes",
            shown(*timeout),
            shown(*every)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_a_class_or_a_range() {
        for text in ["200", "2xx", "5xx", "200-399", "201-299"] {
            assert_eq!(text.parse::<Expect>().unwrap().to_string(), text);
        }
        let range: Expect = "200-399".parse().unwrap();
        assert!(range.contains(200) && range.contains(399));
        assert!(!range.contains(199) && !range.contains(400));
        assert_eq!("2xx".parse(), Ok(Expect::SUCCESS));
        for text in [
            "", "2", "2x", "xx", "1xx", "6xx", "22xx", "100", "600", "399-200", "200-", "+20", "ok",
        ] {
            assert_eq!(text.parse::<Expect>(), Err(BadExpect), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let second = Duration::from_secs(1);
        let usual = Health::default;
        let http =
            |path: &str| Probe::Http { path: path.to_owned(), host: None, expect: Expect::SUCCESS };
        assert_eq!(usual().check(), Ok(()));
        assert_eq!(Health { probe: http("/a?b"), ..usual() }.check(), Ok(()));
        for (health, key) in [
            (Health { probe: http("healthz"), ..usual() }, "health.http"),
            (Health { probe: http("/a b"), ..usual() }, "health.http"),
            (Health { probe: http("/a\r\nHost: b"), ..usual() }, "health.http"),
            (Health { every: second / 2, ..usual() }, "health.every"),
            (Health { every: 3601 * second, ..usual() }, "health.every"),
            (Health { timeout: 6 * second, ..usual() }, "health.timeout"),
            (Health { timeout: Duration::ZERO, ..usual() }, "health.timeout"),
            (Health { fall: 0, ..usual() }, "health.fall"),
            (Health { rise: 11, ..usual() }, "health.rise"),
        ] {
            let problem = health.check().unwrap_err();
            assert!(problem.contains(key), "{problem}");
        }
    }

    #[test]
    fn clients_are_told_to_come_back_when_a_backend_could() {
        let usual = Health::default();
        assert_eq!(usual.retry_after(), 10);
        assert_eq!(Health { every: HEALTH_EVERY_LEAST, rise: 1, ..usual.clone() }.retry_after(), 1);
        let slow = Health { every: HEALTH_EVERY_MOST, rise: HEALTH_COUNT_MOST, ..usual };
        assert_eq!(slow.retry_after(), RETRY_UNHEALTHY_MOST);
    }
}
