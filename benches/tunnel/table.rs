//! Figures by rig: medians, and ratios within a round.

use std::collections::BTreeMap;
use std::fmt;

/// What was measured, in which unit, and whether more of it is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    order: u8,
    name: &'static str,
    unit: &'static str,
    scale: u32,
}

impl Figure {
    /// Download of one large file.
    pub(crate) const BULK: Self = Self { order: 0, name: "bulk", unit: "MB/s", scale: 1_000_000 };
    /// Requests on connections that stay.
    pub(crate) const KEEP_ALIVE: Self =
        Self { order: 1, name: "keep-alive", unit: "requests/s", scale: 1 };
    /// What one in a hundred of them waits at least.
    pub(crate) const KEEP_ALIVE_P99: Self =
        Self { order: 2, name: "keep-alive, p99", unit: "ms", scale: 1 };
    /// Requests on connections of their own.
    pub(crate) const CLOSE: Self = Self { order: 3, name: "new connections", unit: "/s", scale: 1 };
    /// What one in a hundred of them waits at least.
    pub(crate) const CLOSE_P99: Self =
        Self { order: 4, name: "new connections, p99", unit: "ms", scale: 1 };
    /// What a lone client waits for its answer on a new connection.
    pub(crate) const LONE: Self =
        Self { order: 5, name: "one new connection, median", unit: "ms", scale: 1 };

    /// Its name and unit.
    pub(crate) fn label(self) -> String {
        format!("{} ({})", self.name, self.unit)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The rig that all others are compared with.
pub(crate) const YARDSTICK: &str = "haproxy";

/// All figures of a run, with the rigs in the order in which they were first measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rigs: Vec<&'static str>,
    figures: BTreeMap<Figure, BTreeMap<&'static str, Vec<f64>>>,
}

impl Table {
    /// One more measurement: one of each round, in their order.
    pub(crate) fn add(&mut self, figure: Figure, rig: &'static str, value: f64) {
        if !self.rigs.contains(&rig) {
            self.rigs.push(rig);
        }
        self.figures.entry(figure).or_default().entry(rig).or_default().push(value);
    }

    /// Rigs in their order.
    pub(crate) fn rigs(&self) -> &[&'static str] {
        &self.rigs
    }

    /// What was measured.
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        self.figures.keys().copied()
    }

    /// The median of all measurements.
    pub(crate) fn median(&self, figure: Figure, rig: &str) -> f64 {
        median(self.figures[&figure][rig].clone())
    }

    /// The median of what the rounds have measured, each in terms of the yardstick's: a round in
    /// which the machine was slow was slow for both.
    pub(crate) fn ratio(&self, figure: Figure, rig: &str) -> f64 {
        let figures = &self.figures[&figure];
        let rounds = figures[rig].iter().zip(&figures[YARDSTICK]);
        median(rounds.map(|(value, yardstick)| value / yardstick).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Markdown: the ratio to the yardstick, and the median itself behind it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| ratio to two chained HAProxies in TCP mode | {} |", self.rigs.join(" | "))?;
        writeln!(f, "|---{}|", "|---:".repeat(self.rigs.len()))?;
        for figure in self.figures() {
            write!(f, "| {} |", figure.label())?;
            for rig in &self.rigs {
                let median = self.median(figure, rig) / f64::from(figure.scale);
                let digits = if median < 10.0 { 2 } else { 0 };
                write!(f, " {:.2} ({median:.digits$}) |", self.ratio(figure, rig))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
