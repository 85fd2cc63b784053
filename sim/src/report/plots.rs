//! Metrics over time, a small plot for each, a line for each listening peer.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::html::escape;
use crate::run::{Played, Sample};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 90.0;

/// Left of and below the plot itself.
const MARGIN: f64 = 16.0;

const COLOURS: [&str; 6] = ["#3c78d2", "#d2823c", "#2a8f4f", "#9a4fb8", "#d23c3c", "#8a8a8a"];

pub(super) fn of(played: &Played) -> String {
    let mut by_peer: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in &played.samples {
        by_peer.entry(&sample.peer).or_default().push(sample);
    }
    let mut out = String::from("<div class=\"plots\">\n");
    for (index, metric) in Sample::METRICS.iter().enumerate() {
        out.push_str(&plot(played, &by_peer, metric, index));
    }
    out.push_str("</div>\n<p>");
    for (peer, colour) in by_peer.keys().zip(COLOURS.iter().cycle()) {
        let _ = write!(out, "<span style=\"color:{colour}\">&#9632;</span> {} ", escape(peer));
    }
    out.push_str("</p>\n");
    out
}

fn plot(
    played: &Played,
    by_peer: &BTreeMap<&str, Vec<&Sample>>,
    metric: &str,
    index: usize,
) -> String {
    let most = played.samples.iter().map(|sample| sample.values[index]).max().unwrap_or(0);
    let lasted = played.lasted.as_secs_f64().max(f64::EPSILON);
    let x = |sample: &Sample| MARGIN + sample.at.as_secs_f64() / lasted * WIDTH;
    let y = |value: u64| MARGIN + HEIGHT - value as f64 / most.max(1) as f64 * HEIGHT;
    let mut out = format!(
        "<figure><figcaption>{metric} <span class=\"faint\">0 to {most}</span></figcaption>\
         <svg viewBox=\"0 0 {} {}\"><path class=\"host\" d=\"M{MARGIN} {} h{WIDTH}\"/>",
        WIDTH + 2.0 * MARGIN,
        HEIGHT + 2.0 * MARGIN,
        y(0),
    );
    for (samples, colour) in by_peer.values().zip(COLOURS.iter().cycle()) {
        let _ = write!(
            out,
            "<path fill=\"none\" stroke=\"{colour}\" d=\"{}\"/>",
            path(samples, x, |s| y(s.values[index]))
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{0}\">0 s</text>\
         <text x=\"{1}\" y=\"{0}\" text-anchor=\"end\">{lasted:.1} s</text></svg></figure>",
        HEIGHT + 2.0 * MARGIN - 3.0,
        WIDTH + MARGIN,
    );
    out
}

/// Steps, not slopes: a value holds until the next one.
fn path(samples: &[&Sample], x: impl Fn(&Sample) -> f64, y: impl Fn(&Sample) -> f64) -> String {
    let mut out = String::new();
    let mut last = None;
    for sample in samples {
        let (x, y) = (x(sample), y(sample));
        match last {
            None => {
                let _ = write!(out, "M{x:.1} {y:.1}");
            }
            Some(before) if before == y => {}
            Some(_) => {
                let _ = write!(out, "H{x:.1}V{y:.1}");
            }
        }
        last = Some(y);
    }
    if let Some(sample) = samples.last() {
        let _ = write!(out, "H{:.1}", x(sample));
    }
    out
}
