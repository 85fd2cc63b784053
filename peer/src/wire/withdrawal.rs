//! One name of UNREGISTER, and whether it is only for a time.

use std::fmt;
use std::str::FromStr;

use crate::limits::RETRY_UNHEALTHY_MOST;
use crate::names::Name;
use crate::offer::BadOffer;

/// `<name>[;unhealthy=<seconds>]`, as in UNREGISTER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The name.
    pub name: Name,
    /// Its backend fails its checks. A client may ask again after so many seconds, 1 to
    /// [`RETRY_UNHEALTHY_MOST`].
    pub unhealthy: Option<u16>,
}

impl From<Name> for Withdrawal {
    /// For good.
    fn from(name: Name) -> Self {
        Self { name, unhealthy: None }
    }
}

impl FromStr for Withdrawal {
    type Err = BadOffer;

    fn from_str(text: &str) -> Result<Self, BadOffer> {
        let (name, terms) = match text.split_once(';') {
            Some((name, terms)) => (name, Some(terms)),
            None => (text, None),
        };
        let name = Name::registered(name).map_err(|_| BadOffer::Name)?;
        let unhealthy = terms.map(|terms| seconds(terms).ok_or(BadOffer::Terms)).transpose()?;
        Ok(Self { name, unhealthy })
    }
}

fn seconds(terms: &str) -> Option<u16> {
    let text = terms.strip_prefix("unhealthy=")?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|seconds| digits && (1..=RETRY_UNHEALTHY_MOST).contains(seconds))
}

impl fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match self.unhealthy {
            Some(seconds) => write!(f, ";unhealthy={seconds}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in ["app", "*.app;unhealthy=1", "app;unhealthy=300"] {
            assert_eq!(text.parse::<Withdrawal>().unwrap().to_string(), text);
        }
        for text in [
            "app;",
            "app;unhealthy",
            "app;unhealthy=",
            "app;unhealthy=0",
            "app;unhealthy=+5",
            "app;unhealthy=301",
            "app;unhealthy=70000",
            "app;unhealthy=5;more=1",
            "app;ways=http",
        ] {
            assert_eq!(text.parse::<Withdrawal>(), Err(BadOffer::Terms), "{text}");
        }
        assert_eq!(";unhealthy=5".parse::<Withdrawal>(), Err(BadOffer::Name));
    }
}
