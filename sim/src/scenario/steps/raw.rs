//! Connections written by hand: peers and clients that do not behave.

use serde::{Deserialize, Serialize};

use super::described::Described;
use crate::scenario::cast::Cast;
use crate::scenario::problem::Problem;
use crate::scenario::units::Time;

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

impl Raw {
    /// The bytes of `hex`; nothing if those are no pairs of digits.
    pub fn hex_bytes(&self) -> Option<Vec<u8>> {
        let digits = self.hex.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let digits: Vec<u8> = digits.collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect())?
    }
}

impl Described for Raw {
    fn check(&self, cast: &Cast<'_>) -> Result<(), Problem> {
        if self.hex_bytes().is_none() || !(self.hex.is_empty() || self.send.is_empty()) {
            return Err(Problem::new("hex", &self.hex, "pairs of hex digits, and no `send`"));
        }
        if let Some(certificate) = &self.certificate {
            cast.check_certificate("certificate", certificate)?;
        }
        match (&self.from, &self.to) {
            (None, None) if self.certificate.is_some() => {
                let message = "a connection speaks TLS from its opening on, or never";
                Err(Problem::new("certificate", &self.conn, message))
            }
            (Some(from), Some(to)) => {
                cast.check_client("from", from)?;
                cast.check_endpoint("to", to)
            }
            (None, None) => {
                let opened = cast.raws.iter().copied();
                match cast.raws.contains(&self.conn.as_str()) {
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
}
