//! The text of one family: its header and its series.

use std::fmt::{Display, Write};

use super::format::Format;
use super::snapshot::NameRow;

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what falls below each of some bounds.
    Histogram,
}

/// A family with one or more series for each name.
pub(super) struct PerName {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) help: &'static str,
    /// Counter or gauge.
    pub(super) kind: Kind,
    /// Adds the series of one name, if it has any.
    pub(super) of: fn(&NameRow, &mut Series<'_>),
}

/// Takes the series of one name in one family.
pub(super) struct Series<'a> {
    pub(super) text: &'a mut String,
    pub(super) family: &'static PerName,
    pub(super) name: &'a str,
    pub(super) scope: &'a str,
    pub(super) format: Format,
    pub(super) has_head: &'a mut bool,
}

impl Series<'_> {
    /// The only series of a name.
    pub(super) fn add(&mut self, value: impl Display) {
        self.begin();
        put(self.text, format_args!("}} {value}\n"));
    }

    /// A series with one more label, which sorts after `pod`.
    pub(super) fn add_with(&mut self, (label, word): (&str, &str), value: impl Display) {
        self.begin();
        put(self.text, format_args!(",{label}=\"{word}\"}} {value}\n"));
    }

    fn begin(&mut self) {
        let family = self.family;
        if !std::mem::replace(self.has_head, true) {
            write_head(self.text, family.name, family.help, family.kind, self.format);
        }
        // A name holds nothing that would have to be escaped.
        for part in [family.name, "{client_name=\"", self.name, "\",", self.scope] {
            self.text.push_str(part);
        }
    }
}

/// A family of OpenMetrics has no `_total` at the end of its name, its counters have.
pub(super) fn write_head(text: &mut String, name: &str, help: &str, kind: Kind, format: Format) {
    let (name, help) = match (format, kind) {
        (Format::Text, _) => (name, help.to_owned()),
        (Format::OpenMetrics, Kind::Counter) => {
            (name.strip_suffix("_total").unwrap_or(name), escaped(help))
        }
        (Format::OpenMetrics, _) => (name, escaped(help)),
    };
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// As it stands between quotation marks.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to memory does not fail");
}
