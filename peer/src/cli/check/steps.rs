//! What was tried to reach something, and how it went.

use crate::cli::table::{Column, table};

/// One thing that was tried.
#[derive(Debug)]
pub(super) struct Step {
    /// What was to be reached.
    what: String,
    /// Which part of the way.
    part: &'static str,
    outcome: Outcome,
}

/// How it went, in words for an operator.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Good(String),
    /// With the remedy.
    Failed(String),
    /// There was nothing to find out.
    Unknown(String),
}

impl Step {
    pub(super) fn good(what: &str, part: &'static str, said: impl Into<String>) -> Self {
        Self { what: what.to_owned(), part, outcome: Outcome::Good(said.into()) }
    }

    pub(super) fn failed(what: &str, part: &'static str, why: impl Into<String>) -> Self {
        Self { what: what.to_owned(), part, outcome: Outcome::Failed(why.into()) }
    }

    pub(super) fn unknown(what: &str, part: &'static str, why: impl Into<String>) -> Self {
        Self { what: what.to_owned(), part, outcome: Outcome::Unknown(why.into()) }
    }
}

/// How many of these have failed.
pub(super) fn failed(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count()
}

/// All of them, for a terminal.
pub(super) fn report(steps: &[Step]) -> String {
    let columns = ["DIALLED", "STEP", "RESULT", "DETAIL"].map(Column::Text);
    let rows = steps.iter().map(|Step { what, part, outcome }| {
        let (result, detail) = match outcome {
            Outcome::Good(said) => ("ok", said),
            Outcome::Failed(why) => ("FAILED", why),
            Outcome::Unknown(why) => ("-", why),
        };
        vec![what.clone(), (*part).to_owned(), result.to_owned(), detail.clone()]
    });
    table(&columns, &rows.collect::<Vec<_>>())
}
