//! Serial numbers of certificates (RFC 5280 §4.1.2.2), as text in hex.

use std::fmt;
use std::str::FromStr;

/// Longest serial number: 20 bytes (RFC 5280 §4.1.2.2).
const SERIAL_BYTES: usize = 20;

/// A serial number: big endian, without leading zeros. Its text is lower-case hex;
/// colons between the bytes and upper case, as OpenSSL prints them, are read too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serial(Vec<u8>);

impl Serial {
    /// The number that these bytes are, big endian.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    /// Big endian, without leading zeros.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|letter| *letter != ':')
            .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match digits {
            Some(digits) if (1..=2 * SERIAL_BYTES).contains(&digits.len()) => {
                let bytes = digits.rchunks(2).rev().map(|pair| match *pair {
                    [high, low] => high << 4 | low,
                    [low] => low,
                    _ => unreachable!("chunks of two"),
                });
                Ok(Self::from_bytes(&bytes.collect::<Vec<u8>>()))
            }
            _ => Err("expected a serial number in hex, as `ops-proxy pki list` shows it"),
        }
    }
}
