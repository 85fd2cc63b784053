//! What came of a scenario in two worlds, and whether that is as its file says.

use std::fmt;

use crate::scenario::RealSpec;

/// What came of a scenario on the real binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is as in the simulation.
    Agrees,
    /// The first thing that is not, with what was seen.
    Differs(String),
    /// It was not played, and why.
    Skipped(String),
}

impl Verdict {
    /// What is wrong with it, given what the scenario's file says.
    ///
    /// # Errors
    /// What to do about it.
    pub fn judge(&self, known: &RealSpec) -> Result<(), &'static str> {
        match (self, &known.differs) {
            (Self::Agrees, Some(_)) => Err("its file says that it differs: remove `differs`"),
            (Self::Differs(_), None) => Err("its file does not say that it differs"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees => f.write_str("agrees"),
            Self::Differs(what) => write!(f, "differs: {what}"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_must_be_known_and_what_is_known_must_differ() {
        let silent = RealSpec::default();
        let known = RealSpec { differs: Some("why".to_owned()), ..RealSpec::default() };
        let differs = Verdict::Differs("links is 2".to_owned());
        assert_eq!(Verdict::Agrees.judge(&silent), Ok(()));
        assert_eq!(differs.judge(&known), Ok(()));
        assert!(Verdict::Agrees.judge(&known).is_err());
        assert!(differs.judge(&silent).is_err());
        assert_eq!(Verdict::Skipped("why".to_owned()).judge(&known), Ok(()));
    }
}
