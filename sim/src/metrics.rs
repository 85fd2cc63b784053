//! Reading the Prometheus text that a peer exports, as an operator would.

use std::collections::BTreeMap;

/// All series of one peer at one moment: the family without its `ops_proxy_`,
/// the labels but for `node` and `pod`, the value.
#[derive(Debug, Clone, Default)]
pub struct Exported {
    series: Vec<Series>,
    counters: Vec<String>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The family, without its common prefix.
    pub name: String,
    /// The labels that tell series of one peer apart.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Series {
    /// The family with its labels, as they are exported.
    pub fn key(&self) -> String {
        let labels = self.labels.iter().map(|(label, value)| format!("{label}=\"{value}\""));
        format!("{}{{{}}}", self.name, labels.collect::<Vec<_>>().join(","))
    }
}

impl Exported {
    /// Reads text format 0.0.4.
    ///
    /// # Errors
    /// The first line that is not of that format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut exported = Self::default();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# TYPE ") {
                if let Some(name) = comment.strip_suffix(" counter") {
                    exported.counters.push(short(name).to_owned());
                }
            } else if !line.starts_with('#') && !line.is_empty() {
                let series = parse_series(line).ok_or_else(|| format!("no series: {line}"))?;
                exported.series.push(series);
            }
        }
        Ok(exported)
    }

    /// All series.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.series.iter()
    }

    /// The series that are counters.
    pub fn counters(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|series| self.counters.contains(&series.name))
    }

    /// The sum of the series that a selector such as
    /// `requests_total{protocol="http"}` takes in; `None` if there are none.
    ///
    /// # Errors
    /// A selector that is malformed.
    pub fn select(&self, selector: &str) -> Result<Option<f64>, String> {
        let wanted = parse_series(&format!("{selector} 0"))
            .ok_or_else(|| format!("not a metric with labels: {selector}"))?;
        let taken = |series: &&Series| {
            series.name == wanted.name
                && wanted
                    .labels
                    .iter()
                    .all(|(label, value)| series.labels.get(label) == Some(value))
        };
        let values: Vec<f64> = self.series.iter().filter(taken).map(|one| one.value).collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("ops_proxy_").unwrap_or(name)
}

fn parse_series(line: &str) -> Option<Series> {
    let (key, value) = line.rsplit_once(' ')?;
    let mut labels = BTreeMap::new();
    let name = match key.split_once('{') {
        None => key,
        Some((name, rest)) => {
            for pair in rest.strip_suffix('}')?.split(',').filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once('=')?;
                let value = value.strip_prefix('"')?.strip_suffix('"')?;
                if label != "node" && label != "pod" {
                    labels.insert(label.trim().to_owned(), value.to_owned());
                }
            }
            name
        }
    };
    let value = value.parse().ok()?;
    Some(Series { name: short(name.trim()).to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_sums_what_it_takes_in() {
        let text = "# TYPE ops_proxy_requests_total counter\n\
            ops_proxy_requests_total{client_name=\"a\",node=\"n\",pod=\"p\",protocol=\"http\"} 2\n\
            ops_proxy_requests_total{client_name=\"a\",node=\"n\",pod=\"p\",protocol=\"tcp\"} 3\n\
            ops_proxy_links{node=\"n\",pod=\"p\"} 1\n";
        let exported = Exported::parse(text).unwrap();
        assert_eq!(exported.select("requests_total{client_name=\"a\"}"), Ok(Some(5.0)));
        assert_eq!(exported.select("requests_total{protocol=\"tcp\"}"), Ok(Some(3.0)));
        assert_eq!(exported.select("links"), Ok(Some(1.0)));
        assert_eq!(exported.select("requests_total{client_name=\"b\"}"), Ok(None));
        assert!(exported.select("requests_total{client_name=a}").is_err());
        assert_eq!(exported.counters().count(), 2);
    }
}
