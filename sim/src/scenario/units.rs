//! Times as people write them (`"1s 500ms"`), moments before and after the start
//! (`"-1h"`), and sizes as numbers or as `"64 KiB"`.

use std::fmt;
use std::ops::{Add, Neg, Sub};
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

/// The first moment of every run, after the Unix epoch: a fixed day.
pub const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// A moment in whole seconds, as certificates have them: after the start of the
/// run, or before it if negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(i64);

impl Moment {
    /// A year after the start: longer than any run.
    pub const LONG: Self = Self(365 * 24 * 60 * 60);

    /// The moment at which so much of the run is over.
    pub fn after(start: Duration) -> Self {
        Self(i64::try_from(start.as_secs()).unwrap_or(i64::MAX))
    }

    /// The moment that is so much later, or earlier.
    pub fn shifted(self, by: Self) -> Self {
        Self(self.0.saturating_add(by.0))
    }

    /// The same moment where the run starts at `start`.
    pub fn counted_from<T>(self, start: T) -> T
    where
        T: Add<Duration, Output = T> + Sub<Duration, Output = T>,
    {
        let distance = Duration::from_secs(self.0.unsigned_abs());
        if self.0 < 0 { start - distance } else { start + distance }
    }
}

impl Neg for Moment {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let distance = Duration::from_secs(self.0.unsigned_abs());
        write!(f, "{sign}{}", humantime::format_duration(distance))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, distance) = match text.strip_prefix('-') {
            Some(distance) => (-1, distance),
            None => (1, text.as_str()),
        };
        let distance = humantime::parse_duration(distance).ok();
        let seconds = distance.filter(|distance| distance.subsec_nanos() == 0);
        // Dates far away have no form in a certificate.
        let near = |seconds: &i64| *seconds <= 10 * Self::LONG.0;
        let seconds = seconds.and_then(|distance| i64::try_from(distance.as_secs()).ok());
        let expected = "a moment within ten years of the start, in whole seconds: \"30s\" after it, \"-1h\" before it";
        let seconds = seconds.filter(near);
        let refused = || D::Error::invalid_value(Unexpected::Str(&text), &expected);
        seconds.map(|seconds| Self(sign * seconds)).ok_or_else(refused)
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

    #[derive(Debug, Serialize, Deserialize)]
    struct When {
        at: Moment,
    }

    #[test]
    fn a_moment_may_be_before_the_start() {
        let when: When = toml::from_str("at = '-1h 1s'").unwrap();
        assert_eq!(when.at.to_string(), "-1h 1s");
        let start = Duration::from_secs(5_000);
        assert_eq!(when.at.counted_from(start), Duration::from_secs(1_399));
        assert_eq!((-when.at).counted_from(start), Duration::from_secs(8_601));
        for wrong in ["soon", "1500ms", "--1s", "20y"] {
            let error = toml::from_str::<When>(&format!("at = '{wrong}'")).unwrap_err();
            assert!(error.message().contains("-1h"), "{error}");
        }
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
