//! The text format of a scrape, in chunks: a page of 100,000 names is never entirely in
//! memory, and no chunk takes long to write.
//!
//! The per-name families are written here, directly from the rows. The crate
//! `prometheus`, which gathers and writes all others, would hold every label of every
//! series at once. Both write the same text; a test compares them.
//! Source: "Exposition formats", prometheus.io/docs/instrumenting.

use std::borrow::Borrow;
use std::vec;

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use super::exemplars::AllExemplars;
use super::families::{self, PER_NAME, WITH_OTHER};
use super::format::Format;
use super::open_metrics::{END, family_text};
use super::series::{Kind, PerName, Series, escaped, put, write_head};
use super::snapshot::{NameRow, Snapshot};
use crate::limits::SCRAPE_CHUNK_BYTES;

/// The label of unknown names. No name can have this text.
pub(super) const OTHER: &str = "_other";

/// A scrape being written: an iterator over the chunks of one text. A chunk exceeds
/// [`SCRAPE_CHUNK_BYTES`] by at most the series of one name.
pub struct Page<S> {
    snapshot: S,
    other: NameRow,
    /// The labels `node` and `pod`, as in every series.
    scope: String,
    /// In the order of the text, the next one first.
    families: vec::IntoIter<Family>,
    open: Option<Open>,
    format: Format,
    /// Written last, once.
    end: Option<&'static str>,
}

/// A family not yet written.
enum Family {
    /// Name and text.
    Written(String, String),
    /// From the rows of the snapshot.
    OfNames(&'static PerName),
}

/// The family being written.
struct Open {
    family: &'static PerName,
    /// The next row: 0 is what belongs to no known name.
    next: usize,
    has_head: bool,
}

impl<S: Borrow<Snapshot>> Page<S> {
    /// Families sorted by name: those `gathered` and, for a peer that listens, those
    /// of the snapshot.
    pub(super) fn new(
        (gathered, exemplars): (&[MetricFamily], &AllExemplars),
        snapshot: S,
        (node, pod): (&str, &str),
        listening: bool,
        format: Format,
    ) -> Self {
        let (node, pod) = (escaped(node), escaped(pod));
        let scope = format!("node=\"{node}\",pod=\"{pod}\"");
        let mut families: Vec<Family> =
            gathered.iter().map(|family| Family::encoded(family, exemplars, format)).collect();
        if listening {
            for gauge in families::of_peer(snapshot.borrow()) {
                let mut text = String::new();
                write_head(&mut text, gauge.name, gauge.help, Kind::Gauge, format);
                put(&mut text, format_args!("{}{{{scope}}} {}\n", gauge.name, gauge.value));
                families.push(Family::Written(gauge.name.to_owned(), text));
            }
            let of_links = families::of_links(snapshot.borrow(), (&node, &pod), format);
            families.extend(of_links.map(|(name, text)| Family::Written(name.to_owned(), text)));
            families.extend(PER_NAME.iter().map(Family::OfNames));
        }
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let counts = snapshot.borrow().other.clone();
        let other = NameRow { name: OTHER.to_owned(), providers: Vec::new(), pending: 0, counts };
        let (families, end) =
            (families.into_iter(), (format == Format::OpenMetrics).then_some(END));
        Self { snapshot, other, scope, families, open: None, format, end }
    }

    /// Writes of a family until it is done or the chunk is full; what is left of it.
    fn write_of(&self, mut open: Open, text: &mut String) -> Option<Open> {
        let family = open.family;
        let names = self.snapshot.borrow().names.iter().enumerate().skip(open.next.max(1) - 1);
        let names = names.map(|(index, row)| (index + 1, row));
        let counts_other = open.next == 0 && WITH_OTHER.contains(&family.name);
        let other = counts_other.then_some((0, &self.other));
        for (index, row) in other.into_iter().chain(names) {
            if text.len() >= SCRAPE_CHUNK_BYTES {
                open.next = index;
                return Some(open);
            }
            let (name, scope, has_head) = (&row.name, &self.scope, &mut open.has_head);
            let format = self.format;
            (family.of)(row, &mut Series { text, family, name, scope, format, has_head });
        }
        None
    }
}

impl<S: Borrow<Snapshot>> Iterator for Page<S> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        while text.len() < SCRAPE_CHUNK_BYTES {
            if let Some(open) = self.open.take() {
                self.open = self.write_of(open, &mut text);
                continue;
            }
            match self.families.next() {
                Some(Family::Written(_, family)) => text.push_str(&family),
                Some(Family::OfNames(family)) => {
                    self.open = Some(Open { family, next: 0, has_head: false });
                }
                None => match self.end.take() {
                    Some(end) => text.push_str(end),
                    None => break,
                },
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Family {
    fn encoded(family: &MetricFamily, exemplars: &AllExemplars, format: Format) -> Self {
        if format == Format::OpenMetrics {
            return Self::Written(family.name().to_owned(), family_text(family, exemplars));
        }
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(std::slice::from_ref(family), &mut text)
            .expect("writing to memory does not fail, and no family is empty");
        Self::Written(family.name().to_owned(), text)
    }

    fn name(&self) -> &str {
        match self {
            Self::Written(name, _) => name,
            Self::OfNames(family) => family.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Gauge, IntCounterVec, Opts, Registry};

    use super::*;
    use crate::limits::LINKED_PEERS_SHOWN;
    use crate::observe::metrics::families::PROXY_ERRORS;
    use crate::observe::metrics::{NameStats, Protocol, ProxyError};

    const SCOPE: (&str, &str) = ("a \"quoted\" \\ back\nslash", "pod");

    fn row(name: String, stats: &NameStats) -> NameRow {
        NameRow { name, providers: Vec::new(), pending: 0, counts: stats.snapshot() }
    }

    /// `count` names of which every third has had a request that failed.
    fn snapshot(count: usize) -> Snapshot {
        let rows = (0..count).map(|index| {
            let stats = NameStats::default();
            if index % 3 == 0 {
                stats.request_began(Protocol::Http);
                stats.first_byte(Protocol::Http, Duration::from_micros(1500));
                stats.request_failed(Protocol::Http, ProxyError::DataIoError);
            }
            row(format!("n{index}"), &stats)
        });
        let other = NameStats::default();
        other.no_client();
        Snapshot { names: rows.collect(), other: other.snapshot(), ..Snapshot::default() }
    }

    fn page(snapshot: &Snapshot, format: Format) -> Page<&Snapshot> {
        Page::new((&[], &AllExemplars::default()), snapshot, SCOPE, true, format)
    }

    fn text(snapshot: &Snapshot) -> String {
        page(snapshot, Format::Text).collect()
    }

    /// The family as the crate writes it.
    fn of_crate(family: &str, help: &str, label: &str, series: &[(&str, &str, u64)]) -> String {
        let opts = Opts::new(family, help).const_label("node", SCOPE.0).const_label("pod", SCOPE.1);
        let counters = IntCounterVec::new(opts, &["client_name", label]).unwrap();
        for (name, word, value) in series {
            counters.with_label_values(&[*name, *word]).inc_by(*value);
        }
        let registry = Registry::new();
        registry.register(Box::new(counters)).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn a_family_reads_as_the_crate_would_write_it() {
        let text = text(&snapshot(5));
        let requests = of_crate(
            "ops_proxy_requests_total",
            "Total number of proxy requests by protocol (http / https / tcp).",
            "protocol",
            &[("n0", "http", 1), ("n3", "http", 1)],
        );
        let errors = of_crate(
            PROXY_ERRORS,
            "Error counter by reason.",
            "reason",
            &[("_other", "no_client", 1), ("n0", "data_io_error", 1), ("n3", "data_io_error", 1)],
        );
        for family in [requests, errors] {
            assert!(text.contains(&family), "\n{family}is not in\n{text}");
        }
    }

    #[test]
    fn a_gauge_reads_as_the_crate_would_write_it() {
        let help =
            "Total number of registered routing names (services) in this listening peer instance.";
        let opts = Opts::new("ops_proxy_clients_total", help);
        let opts = opts.const_label("node", SCOPE.0).const_label("pod", SCOPE.1);
        let gauge = Gauge::with_opts(opts).unwrap();
        gauge.set(5.0);
        let registry = Registry::new();
        registry.register(Box::new(gauge)).unwrap();
        let family = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let text = text(&snapshot(5));
        assert!(text.contains(&family), "\n{family}is not in\n{text}");
    }

    #[test]
    fn open_metrics_calls_counters_without_total_and_says_that_it_ends() {
        let text: String = page(&snapshot(4), Format::OpenMetrics).collect();
        assert!(text.contains("\n# TYPE ops_proxy_requests counter\nops_proxy_requests_total{"));
        assert!(text.contains("\n# TYPE ops_proxy_clients_total gauge\nops_proxy_clients_total{"));
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    #[test]
    fn each_peer_has_its_links_and_those_that_are_too_many_have_theirs_together() {
        let links_by_peer =
            |count: usize| (0..count).map(|one| (format!("p{one:04}"), 2)).collect();
        let of =
            |count| text(&Snapshot { links_by_peer: links_by_peer(count), ..Snapshot::default() });
        let opts = Opts::new(
            "ops_proxy_peer_links",
            "Open links of each connecting peer, its instances together.",
        );
        let opts = opts.const_label("node", SCOPE.0).const_label("pod", SCOPE.1);
        let gauges = prometheus::IntGaugeVec::new(opts, &["peer"]).unwrap();
        ["p0000", "p0001"].iter().for_each(|peer| gauges.with_label_values(&[peer]).set(2));
        let registry = Registry::new();
        registry.register(Box::new(gauges)).unwrap();
        let family = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let few = of(2);
        assert!(few.contains(&family), "\n{family}is not in\n{few}");
        let many = of(LINKED_PEERS_SHOWN + 3);
        assert_eq!(many.matches("\nops_proxy_peer_links{").count(), LINKED_PEERS_SHOWN + 1);
        let others = many.lines().find(|line| line.contains("peer=\"(other)\"")).unwrap();
        assert!(others.ends_with(" 6"), "{others}");
        assert!(!of(0).contains("peer_links"));
    }

    #[test]
    fn a_family_without_series_is_left_out() {
        assert!(!text(&snapshot(5)).contains("forward_commands_total"));
        assert!(!text(&Snapshot::default()).contains("client_name"));
    }

    #[test]
    fn a_page_of_many_names_comes_in_chunks_and_each_line_once() {
        let snapshot = snapshot(2_000);
        let chunks: Vec<String> = page(&snapshot, Format::Text).collect();
        assert!(chunks.len() > 5, "{} chunks", chunks.len());
        let most = SCRAPE_CHUNK_BYTES + 1024;
        assert!(chunks.iter().all(|chunk| chunk.len() < most), "a chunk is too long");
        let text = chunks.concat();
        let mut lines: Vec<&str> = text.lines().collect();
        let in_all = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), in_all, "a line stands there twice");
        assert_eq!(text.matches("ops_proxy_client_up{").count(), 2_000);
        assert_eq!(text.matches("ops_proxy_requests_failed_total{").count(), 667);
        assert_eq!(text.matches("ops_proxy_proxy_errors_total{").count(), 668);
    }
}
