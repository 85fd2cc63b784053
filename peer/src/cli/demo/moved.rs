//! Which metrics changed between two scrapes.

use std::collections::BTreeMap;

/// Series, without the labels that are the same on all of them, and their values.
pub(super) type Series = BTreeMap<String, f64>;

/// The series of a Prometheus text (format 0.0.4) that are worth showing: of a
/// histogram only the count.
pub(super) fn series(text: &str) -> Series {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, value)| (without_place(series), value))
        .filter(|(series, _)| {
            let name = series.split('{').next().unwrap_or_default();
            !name.ends_with("_bucket") && !name.ends_with("_sum")
        })
        .filter_map(|(series, value)| Some((series, value.parse().ok()?)))
        .collect()
}

/// One line for each series that changed or is new and not zero.
pub(super) fn lines(before: &str, after: &str) -> Vec<String> {
    let before = series(before);
    let after = series(after);
    let old = |series: &String| before.get(series).copied().unwrap_or(0.0);
    let changed = after.iter().filter(|(series, value)| old(series) != **value);
    changed
        .map(|(series, value)| format!("{series} {} -> {}", number(old(series)), number(*value)))
        .collect()
}

/// Six places are enough for seconds, and none is shown for a count.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The series without its `node` and `pod`. The label values of the demo hold
/// neither comma nor brace.
fn without_place(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let labels: Vec<&str> = labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.starts_with("node=") && !label.starts_with("pod="))
        .collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_shown_without_place_and_buckets() {
        let before = "# HELP a x\na{n=\"x\",node=\"n\",pod=\"p\"} 1\nb{node=\"n\",pod=\"p\"} 2\n";
        let after = "a{n=\"x\",node=\"n\",pod=\"p\"} 10\nb{node=\"n\",pod=\"p\"} 2\n\
                     c{node=\"n\"} 0.0012345678\nd_bucket{le=\"1\"} 1\nd_sum 3\nd_count 1\ne 0\n";
        assert_eq!(
            lines(before, after),
            ["a{n=\"x\"} 1 -> 10", "c 0 -> 0.001235", "d_count 0 -> 1"]
        );
    }
}
