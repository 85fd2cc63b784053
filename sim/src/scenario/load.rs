//! Reading a scenario file, with errors that say file, line and key.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::file::Scenario;
use super::problem::{Problem, suggest};

/// A scenario file that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadScenario {
    file: String,
    line: usize,
    key: String,
    message: String,
}

impl fmt::Display for BadScenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Scenario {
    /// Reads and checks a scenario file.
    ///
    /// # Errors
    /// [`BadScenario`] with the file, the line and the key at fault.
    pub fn load(path: &Path) -> Result<Self, BadScenario> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| BadScenario {
            file: file.clone(),
            line: 0,
            key: String::new(),
            message: error.to_string(),
        })?;
        Self::parse(&file, &text)
    }

    /// Reads and checks the text of a scenario; `file` is for the errors.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(file: &str, text: &str) -> Result<Self, BadScenario> {
        let scenario: Self = toml::from_str(text).map_err(|error| syntax(file, text, &error))?;
        match scenario.check(text) {
            Ok(()) => Ok(scenario),
            Err((problem, within)) => Err(BadScenario {
                file: file.to_owned(),
                line: line_of(text, find(text, within, &problem)),
                key: problem.key,
                message: problem.message,
            }),
        }
    }

    fn check(&self, text: &str) -> Result<(), (Problem, Range<usize>)> {
        self.real.check().map_err(|problem| (problem, 0..text.len()))?;
        let cast = self.cast();
        cast.check_hosts().map_err(|problem| (problem, 0..text.len()))?;
        // A table's span is its header; the step goes on to the next one.
        let starts = self.steps.iter().map(|step| step.span().start);
        let ends = starts.clone().skip(1).chain([text.len()]);
        for (step, (start, end)) in self.steps.iter().zip(starts.zip(ends)) {
            step.as_ref().check(&cast).map_err(|problem| (problem, start..end))?;
        }
        Ok(())
    }
}

/// What serde said, with its line, its key, and what a mistyped key may mean.
fn syntax(file: &str, text: &str, error: &toml::de::Error) -> BadScenario {
    let at = error.span().map_or(0, |span| span.start);
    let line_text = text[..at].rfind('\n').map_or(text, |newline| &text[newline + 1..]);
    let key = line_text.lines().next().unwrap_or("").split_once('=').map_or("", |(key, _)| key);
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (key, meant) = match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown ") => {
            (*unknown, suggest(unknown, known))
        }
        _ => (key.trim(), String::new()),
    };
    BadScenario {
        file: file.to_owned(),
        line: line_of(text, at),
        key: key.to_owned(),
        message: format!("{message}{meant}"),
    }
}

/// Where the wrong value stands, or at least where its part begins.
fn find(text: &str, within: Range<usize>, problem: &Problem) -> usize {
    let part = &text[within.clone()];
    let quoted = format!("\"{}\"", problem.value);
    let key = problem.key.rsplit('.').next().unwrap_or(&problem.key);
    let place = part.find(&quoted).or_else(|| part.find(key));
    within.start + place.unwrap_or(0)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}
