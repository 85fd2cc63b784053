//! A family that the crate `prometheus` has gathered, in the format of OpenMetrics, which the
//! crate does not write. Source: "OpenMetrics 1.0",
//! github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{AllExemplars, Exemplar, OfBuckets};
use super::format::Format;
use super::series::{Kind, escaped, put, write_head};

/// What stands after the last family.
pub(super) const END: &str = "# EOF\n";

/// The text of a family, with exemplars where it has histograms.
pub(super) fn family_text(family: &MetricFamily, exemplars: &AllExemplars) -> String {
    let mut text = String::new();
    let (name, kind) = (family.name(), family.get_field_type());
    let shown = match kind {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        _ => Kind::Gauge,
    };
    write_head(&mut text, name, family.help(), shown, Format::OpenMetrics);
    for metric in family.get_metric() {
        let labels = labels(metric.get_label());
        match kind {
            MetricType::HISTOGRAM => {
                let told_apart =
                    metric.get_label().iter().find(|label| !matches!(label.name(), "node" | "pod"));
                let of_buckets = exemplars.of(name, told_apart.map(LabelPair::value));
                histogram(&mut text, name, &labels, metric, of_buckets);
            }
            MetricType::COUNTER => {
                sample(&mut text, name, &labels, metric.get_counter().get_value())
            }
            _ => sample(&mut text, name, &labels, metric.get_gauge().get_value()),
        }
    }
    text
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    match labels {
        "" => put(text, format_args!("{name} {value}\n")),
        labels => put(text, format_args!("{name}{{{labels}}} {value}\n")),
    }
}

fn histogram(
    text: &mut String,
    name: &str,
    labels: &str,
    metric: &Metric,
    exemplars: Option<OfBuckets>,
) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let bounds = histogram
        .get_bucket()
        .iter()
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let finite = bounds.filter(|(bound, _)| bound.is_finite());
    let finite = finite.map(|(bound, count)| (format!("{bound:?}"), count));
    for (index, (bound, count)) in finite.chain([("+Inf".to_owned(), count)]).enumerate() {
        let separator = if labels.is_empty() { "" } else { "," };
        put(text, format_args!("{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {count}"));
        if let Some(Exemplar { id, seconds }) = exemplars.and_then(|all| *all.get(index)?) {
            put(text, format_args!(" # {{proxy_id=\"{id}\"}} {seconds}"));
        }
        text.push('\n');
    }
    sample(text, &format!("{name}_sum"), labels, histogram.get_sample_sum());
    sample(text, &format!("{name}_count"), labels, count as f64);
}

fn labels(labels: &[LabelPair]) -> String {
    let mut text = String::new();
    for (index, label) in labels.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let _ = write!(text, "{separator}{}=\"{}\"", label.name(), escaped(label.value()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

    use super::*;
    use crate::names::ProxyId;

    fn text(family: impl prometheus::core::Collector + 'static, all: &AllExemplars) -> String {
        let registry = Registry::new();
        registry.register(Box::new(family)).unwrap();
        registry.gather().iter().map(|family| family_text(family, all)).collect()
    }

    #[test]
    fn a_counter_is_called_by_its_name_without_total() {
        let counters = IntCounterVec::new(Opts::new("lost_total", "What \"was\" lost."), &["why"]);
        let counters = counters.unwrap();
        counters.with_label_values(&["a \"quoted\" \\ back\nslash"]).inc();
        let wanted = "# HELP lost What \\\"was\\\" lost.\n# TYPE lost counter\n\
                      lost_total{why=\"a \\\"quoted\\\" \\\\ back\\nslash\"} 1\n";
        assert_eq!(text(counters, &AllExemplars::default()), wanted);
    }

    #[test]
    fn a_histogram_has_exemplars_where_there_are_any() {
        let name = "ops_proxy_data_wait_seconds";
        let opts = HistogramOpts::new(name, "How long.").buckets(vec![0.001, 1.0]);
        let (histogram, all) = (Histogram::with_opts(opts).unwrap(), AllExemplars::default());
        histogram.observe(0.0005);
        all.data_wait.observe(ProxyId::from_random([0xab; 16]), Duration::from_micros(500));
        let id = "ab".repeat(16);
        let wanted = format!(
            "# HELP {name} How long.\n# TYPE {name} histogram\n\
             {name}_bucket{{le=\"0.001\"}} 1 # {{proxy_id=\"{id}\"}} 0.0005\n\
             {name}_bucket{{le=\"1.0\"}} 1\n\
             {name}_bucket{{le=\"+Inf\"}} 1\n\
             {name}_sum 0.0005\n{name}_count 1\n"
        );
        assert_eq!(text(histogram, &all), wanted);
    }
}
