//! Reading a scenario file, with errors that say file, line and key.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::Scenario;

/// Names closer than this are offered as what was meant (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.75;

/// What is wrong with a part of a scenario, found after it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key whose value is wrong.
    pub key: String,
    /// The wrong value, as text that stands in the file.
    pub value: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A wrong value of a key.
    pub fn new(key: &str, value: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), message: message.into() }
    }

    /// A name that is none of `known`.
    pub fn unknown<'a>(
        key: &str,
        what: &str,
        value: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let meant = suggest(value, &known);
        Self::new(key, value, format!("there is no {what} \"{value}\"{meant}"))
    }
}

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
        self.check_mesh().map_err(|problem| (problem, 0..text.len()))?;
        // A table's span is its header; the step goes on to the next one.
        let starts = self.steps.iter().map(|step| step.span().start);
        let ends = starts.clone().skip(1).chain([text.len()]);
        for (step, (start, end)) in self.steps.iter().zip(starts.zip(ends)) {
            step.as_ref().check(self).map_err(|problem| (problem, start..end))?;
        }
        Ok(())
    }

    fn check_mesh(&self) -> Result<(), Problem> {
        let mut seen = std::collections::BTreeSet::new();
        for host in self.hosts() {
            if !seen.insert(host) {
                return Err(Problem::new(host, host, "two hosts have this name"));
            }
        }
        for (host, peer) in &self.peers {
            let bad = |(key, value, message): (&str, String, String)| {
                Problem::new(&format!("peers.{host}.{key}"), &value, message)
            };
            peer.config(host).map_err(bad)?;
            for (key, endpoint) in peer.references() {
                let key = format!("peers.{host}.{key}");
                self.check_endpoint(&key, &endpoint.to_string())?;
            }
        }
        self.check_tls()?;
        if self.backends.values().any(|backend| backend.port == 0) {
            return Err(Problem::new("port", "0", "a port is 1 to 65535"));
        }
        Ok(())
    }

    /// `text` is `host:port` of a host here, or of a name that a step defines.
    pub(crate) fn check_endpoint(&self, key: &str, text: &str) -> Result<(), Problem> {
        let endpoint: Result<ops_proxy::config::Endpoint, _> = text.parse();
        let endpoint = endpoint.map_err(|error| Problem::new(key, text, error.to_string()))?;
        let defined = self.steps().any(|step| step.defines_name(&endpoint.host));
        if defined { Ok(()) } else { self.check_host(key, &endpoint.host) }
    }

    /// `name` is a host of this scenario.
    pub(crate) fn check_host(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.hosts().any(|host| host == name) {
            true => Ok(()),
            false => Err(Problem::unknown(key, "host", name, self.hosts())),
        }
    }

    /// `name` is a peer of this scenario.
    pub(crate) fn check_peer(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.peers.contains_key(name) {
            true => Ok(()),
            false => {
                Err(Problem::unknown(key, "peer", name, self.peers.keys().map(String::as_str)))
            }
        }
    }

    /// `name` is a client of this scenario.
    pub(crate) fn check_client(&self, key: &str, name: &str) -> Result<(), Problem> {
        match self.clients.iter().any(|client| client == name) {
            true => Ok(()),
            false => {
                Err(Problem::unknown(key, "client", name, self.clients.iter().map(String::as_str)))
            }
        }
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

fn suggest(word: &str, known: &[&str]) -> String {
    let score = |candidate: &&&str| (strsim::jaro_winkler(word, candidate) * 1e6) as u64;
    match known.iter().max_by_key(score) {
        Some(best) if strsim::jaro_winkler(word, best) >= SIMILAR => {
            format!("; did you mean \"{best}\"?")
        }
        _ => String::new(),
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
