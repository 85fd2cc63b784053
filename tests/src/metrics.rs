//! A strict reader of the Prometheus text format, version 0.0.4.
//!
//! Stricter than Prometheus itself, which forgives much: HELP and TYPE stand
//! before the samples of their family, a family stands in one piece, no series
//! twice, every escape is known, every value a number.
//! Source: "Exposition formats", prometheus.io/docs/instrumenting.

use std::collections::{BTreeMap, BTreeSet};

/// Label names and values of one series.
pub type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    families: BTreeMap<String, Family>,
}

/// One metric family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it is for.
    pub help: String,
    /// Values by sample name (of a histogram, `_bucket` and its like) and labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

impl Metrics {
    /// Reads a whole scrape.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("the last line has no LF".to_owned());
        }
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.line(line).map_err(|why| format!("{why}: {line:?}"))?;
        }
        reader.finish()
    }

    /// The sum of all series of `family` whose labels hold all of `labels`; 0
    /// when there is none. Of a histogram, ask for `_count`, `_sum`, `_bucket`.
    pub fn value(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(family)
            .filter(|(found, _)| has_all(found, labels))
            .map(|(_, value)| value)
            .sum()
    }

    /// The values that `label` takes in `family`.
    pub fn label_values(&self, family: &str, label: &str) -> BTreeSet<String> {
        self.series(family).filter_map(|(labels, _)| labels.get(label).cloned()).collect()
    }

    /// All families by name.
    pub fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    fn series<'a>(&'a self, sample: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        let family = self.families.get(family_of(sample, |name| self.families.contains_key(name)));
        family
            .into_iter()
            .flat_map(|family| &family.samples)
            .filter(move |((name, _), _)| name == sample)
            .map(|((_, labels), value)| (labels, *value))
    }
}

fn has_all(found: &Labels, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
}

/// The family that a sample belongs to, given which families there are.
fn family_of(sample: &str, exists: impl Fn(&str) -> bool) -> &str {
    if exists(sample) {
        return sample;
    }
    let histogram = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| sample.strip_suffix(suffix))
        .find(|stem| exists(stem));
    histogram.unwrap_or(sample)
}

#[derive(Default)]
struct Reader {
    done: BTreeMap<String, Family>,
    current: Option<(String, Family)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without text")?;
            self.start(name)?.help = unescape(help, &['\\', 'n'])?;
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a type")?;
            return self.kind(name, kind);
        }
        if line.is_empty() || line.starts_with('#') {
            return Err("neither HELP, TYPE nor a sample".to_owned());
        }
        self.sample(line)
    }

    fn start(&mut self, name: &str) -> Result<&mut Family, String> {
        if !is_metric_name(name) {
            return Err(format!("{name:?} is no metric name"));
        }
        self.close()?;
        if self.done.contains_key(name) {
            return Err("a family in two pieces".to_owned());
        }
        Ok(&mut self.current.insert((name.to_owned(), Family::default())).1)
    }

    fn kind(&mut self, name: &str, kind: &str) -> Result<(), String> {
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return Err(format!("{kind:?} is no type used here"));
        }
        match &mut self.current {
            Some((current, family)) if current == name && family.kind.is_empty() => {
                family.kind = kind.to_owned();
                Ok(())
            }
            _ => Err("TYPE does not follow its HELP".to_owned()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (name, labels, value) = parse_sample(line)?;
        let (family_name, family) = self.current.as_mut().ok_or("a sample before any HELP")?;
        if family.kind.is_empty() {
            return Err("a sample before its TYPE".to_owned());
        }
        let stem = family_of(&name, |stem| stem == family_name && family.kind == "histogram");
        if stem != family_name && name != *family_name {
            return Err(format!("a sample among those of {family_name}"));
        }
        if family.kind == "counter" && !(value.is_finite() && value >= 0.0) {
            return Err("a counter below zero or not finite".to_owned());
        }
        match family.samples.insert((name, labels), value) {
            None => Ok(()),
            Some(_) => Err("a series twice".to_owned()),
        }
    }

    fn close(&mut self) -> Result<(), String> {
        let Some((name, family)) = self.current.take() else { return Ok(()) };
        if family.kind.is_empty() {
            return Err(format!("{name} has no TYPE"));
        }
        if family.help.is_empty() {
            return Err(format!("{name} has an empty HELP"));
        }
        if family.samples.is_empty() {
            return Err(format!("{name} has no samples"));
        }
        self.done.insert(name, family);
        Ok(())
    }

    fn finish(mut self) -> Result<Metrics, String> {
        self.close()?;
        Ok(Metrics { families: self.done })
    }
}

fn parse_sample(line: &str) -> Result<(String, Labels, f64), String> {
    let name_end = line.find(['{', ' ']).ok_or("a sample without a value")?;
    let (name, rest) = line.split_at(name_end);
    if !is_metric_name(name) {
        return Err(format!("{name:?} is no metric name"));
    }
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = value.strip_prefix(' ').ok_or("no space before the value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            number.parse().map_err(|_| format!("{number:?} is no number"))?
        }
        other => return Err(format!("{other:?} is no number")),
    };
    Ok((name.to_owned(), labels, value))
}

/// Reads `name="value",…}` and returns what follows.
fn parse_labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_label_name(name) {
            return Err(format!("{name:?} is no label name"));
        }
        let end = closing_quote(after).ok_or("a label value without an end")?;
        let value = unescape(&after[..end], &['\\', 'n', '"'])?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} twice"));
        }
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(after) if !after.starts_with('}') => rest = after,
            Some(_) => return Err("a comma before the closing brace".to_owned()),
            None if rest.starts_with('}') => {}
            None => return Err("no comma between labels".to_owned()),
        }
    }
    Ok((labels, &rest[1..]))
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescape(text: &str, known: &[char]) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next().filter(|next| known.contains(next)) {
            Some('n') => plain.push('\n'),
            Some(other) => plain.push(other),
            None => return Err("an unknown escape".to_owned()),
        }
    }
    Ok(plain)
}

fn is_metric_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(plain)
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a Bytes.\n# TYPE a counter\na{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\na{x=\"2\"} 4\n\
        # HELP h Seconds.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\nh_count 1\n";

    #[test]
    fn a_scrape_is_read() {
        let metrics = Metrics::parse(GOOD).unwrap();
        assert_eq!(metrics.value("a", &[]), 7.0);
        assert_eq!(metrics.value("a", &[("x", "2")]), 4.0);
        assert_eq!(metrics.value("a", &[("y", "q\"\\\n")]), 3.0);
        assert_eq!(metrics.value("a", &[("x", "3")]), 0.0);
        assert_eq!(metrics.value("h_count", &[]), 1.0);
        assert_eq!(metrics.families()["h"].kind, "histogram");
        assert_eq!(metrics.label_values("a", "x"), ["1".to_owned(), "2".to_owned()].into());
    }

    #[test]
    fn each_fault_is_found() {
        let head = "# HELP a A.\n# TYPE a counter\n";
        for (tail, why) in [
            ("a 1", "LF"),
            ("a 1\na 1\n", "series twice"),
            ("a{x=\"1\",x=\"2\"} 1\n", "label x twice"),
            ("a{x=\"1\",} 1\n", "comma"),
            ("a{x=\"\\t\"} 1\n", "escape"),
            ("a{1x=\"\"} 1\n", "label name"),
            ("a -1\n", "below zero"),
            ("a NaN\n", "not finite"),
            ("a one\n", "no number"),
            ("b 1\n", "among those of a"),
            ("a_count 1\n", "among those of a"),
            ("\n", "neither"),
            ("# HELP b B.\n", "a has no samples"),
            ("a 1\n# TYPE b counter\n", "does not follow"),
            ("a 1\n# HELP b B.\nb 1\n", "before its TYPE"),
            ("a 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n", "two pieces"),
        ] {
            let found = Metrics::parse(&format!("{head}{tail}")).unwrap_err();
            assert!(found.contains(why), "{tail:?}: {found}");
        }
    }
}
