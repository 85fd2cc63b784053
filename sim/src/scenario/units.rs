//! Times as people write them (`"1s 500ms"`), and sizes as numbers or as
//! `"64 KiB"`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time span or a point in simulated time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub Duration);

impl Time {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text);
        let expected = "a time such as \"500ms\" or \"1s 500ms\"";
        parsed.map(Self).map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &expected))
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, such as 1000, \"64 KiB\" or \"2 MiB\"")
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
        let refused = || E::invalid_value(Unexpected::Signed(bytes), &self);
        u64::try_from(bytes).map(Size).map_err(|_| refused())
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match text[digits..].trim() {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            _ => None,
        };
        let bytes = text[..digits].parse::<u64>().ok();
        let size = bytes.zip(unit).and_then(|(bytes, unit)| bytes.checked_mul(unit));
        size.map(Size).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Both {
        time: Time,
        size: Size,
    }

    #[test]
    fn units_read_back_what_they_write() {
        let both: Both = toml::from_str("time = '1s 500ms'\nsize = '2 KiB'").unwrap();
        assert_eq!((both.time, both.size), (Time::from_millis(1500), Size(2048)));
        let again: Both = toml::from_str(&toml::to_string(&both).unwrap()).unwrap();
        assert_eq!((again.time, again.size), (both.time, both.size));
    }

    #[test]
    fn a_wrong_unit_says_what_was_expected() {
        let error = toml::from_str::<Both>("time = '5 parsecs'\nsize = 1").unwrap_err();
        assert!(error.message().contains("500ms"), "{error}");
        let error = toml::from_str::<Both>("time = '5s'\nsize = '1 GB'").unwrap_err();
        assert!(error.message().contains("64 KiB"), "{error}");
    }
}
