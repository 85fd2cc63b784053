//! Connections written by hand: peers and clients that do not behave.

use serde::{Deserialize, Serialize};

use super::{Action, Effect};
use crate::client::raw::Say;
use crate::mesh::{Mesh, Opening};
use crate::scenario::{Problem, Scenario, Time};

/// Opens a raw connection, or writes on one that is open, or closes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// What the connection is called in this scenario.
    pub conn: String,
    /// The client that opens it; absent once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where to, as `host:port`; absent once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The certificate with which it speaks peer TLS; absent, it is in clear text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What to write. `{forward:last}` and `{forward:1}` stand for the id of the
    /// last and of the first FORWARD line that any peer has sent, `{n}` for the
    /// number of the repetition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub send: String,
    /// What to write instead of `send`, in hex digits; spaces are for the eye.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
    /// It is written so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<u32>,
    /// Time between two bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Time>,
    /// It never reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deaf: bool,
    /// How to close it, after writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<Close>,
}

/// How a raw connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// Cleanly.
    End,
    /// With a reset.
    Reset,
    /// Only the writing direction.
    Half,
}

impl Action for Raw {
    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        if unhex(&self.hex).is_none() || !(self.hex.is_empty() || self.send.is_empty()) {
            return Err(Problem::new("hex", &self.hex, "pairs of hex digits, and no `send`"));
        }
        if let Some(certificate) = &self.certificate {
            scenario.check_certificate("certificate", certificate)?;
        }
        match (&self.from, &self.to) {
            (None, None) if self.certificate.is_some() => {
                let message = "a connection speaks TLS from its opening on, or never";
                Err(Problem::new("certificate", &self.conn, message))
            }
            (Some(from), Some(to)) => {
                scenario.check_client("from", from)?;
                scenario.check_endpoint("to", to)
            }
            (None, None) => {
                let raws = scenario.steps().filter_map(|step| step.raw.as_ref());
                let opened: Vec<&str> =
                    raws.filter(|raw| raw.to.is_some()).map(|raw| raw.conn.as_str()).collect();
                match opened.contains(&self.conn.as_str()) {
                    true => Ok(()),
                    false => Err(Problem::unknown("conn", "raw connection", &self.conn, opened)),
                }
            }
            _ => Err(Problem::new("to", &self.conn, "`from` and `to` open it, so both or none")),
        }
    }

    fn title(&self) -> String {
        let certificate = self.certificate.as_ref();
        let shown = certificate.map_or(String::new(), |name| format!(" as {name}"));
        let opens = self.to.as_ref().map_or(String::new(), |to| format!(" opens {to}{shown},"));
        let shown: String = self
            .send
            .chars()
            .chain(self.hex.chars())
            .take(60)
            .flat_map(char::escape_default)
            .collect();
        let close = self.close.map_or(String::new(), |close| format!(", then {close:?}"));
        format!("raw {}:{opens} writes \"{shown}\"{close}", self.conn)
    }

    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let (to, certificate) = (to.clone(), self.certificate.clone());
            mesh.open_raw(&self.conn, from, &Opening { to, deaf: self.deaf, certificate })?;
        }
        let bytes = self.bytes(mesh)?;
        let writes = !bytes.is_empty();
        if writes {
            mesh.say_raw(&self.conn, Say::Write(bytes, self.every.map(|time| time.0)))?;
        }
        if let Some(close) = self.close {
            mesh.say_raw(&self.conn, Say::Close(close))?;
        }
        let conn = self.conn.clone();
        let before = mesh.heard_raw(&conn).map_or(0, |heard| heard.written);
        Ok(Effect::Watch(Box::new(move |mesh| {
            mesh.heard_raw(&conn).is_some_and(|heard| {
                let stood = heard.open || heard.ended.is_some();
                if writes { heard.written > before } else { stood }
            })
        })))
    }
}

impl Raw {
    /// All that is to be written.
    fn bytes(&self, mesh: &Mesh) -> Result<Vec<u8>, String> {
        let repeat = self.repeat.unwrap_or(1);
        if !self.hex.is_empty() {
            return Ok(unhex(&self.hex).unwrap_or_default().repeat(repeat as usize));
        }
        let text = fill_in(&self.send, mesh)?;
        Ok((1..=repeat).map(|n| text.replace("{n}", &n.to_string())).collect::<String>().into())
    }
}

/// The bytes of hex digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
}

/// Puts ids into their places.
fn fill_in(text: &str, mesh: &Mesh) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{forward:") {
        let (which, after) = after.split_once('}').ok_or("a `{forward:` is never closed")?;
        out.push_str(before);
        out.push_str(&mesh.forward_id(which)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
