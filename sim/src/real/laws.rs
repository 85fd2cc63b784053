//! What the counters of a peer must be to each other and to those before, whatever has happened.
//! While nothing runs: an export is not taken at one moment.

use std::collections::BTreeMap;

use crate::metrics::Exported;

/// The label by which series are of one name.
const NAME: &str = "client_name";

/// One sum of families for each name, and another that is the same.
const SUMS: [(&[&str], &[&str]); 3] = [
    (
        &["requests_total"],
        &["requests_success_total", "requests_failed_total", "connections_active"],
    ),
    (
        &["forward_commands_total"],
        &[
            "data_connections_matched_total",
            "data_connections_timeout_total",
            "forwards_failed_total",
        ],
    ),
    (&["requests_failed_total"], &["proxy_errors_total"]),
];

/// Checks what one export must be in itself.
///
/// # Errors
/// The first thing that must not be so.
pub(super) fn check_sums(exported: &Exported) -> Result<(), String> {
    for (one, other) in SUMS {
        let [left, right] = [one, other].map(|families| by_name(exported, families));
        for (name, sum) in &left {
            let same = right.get(name).copied().unwrap_or(0.0);
            if *sum != same {
                let [one, other] = [one, other].map(|families| families.join(" + "));
                return Err(format!("{name}: {one} is {sum}, but {other} is {same}"));
            }
        }
    }
    match exported.select("panics_total")? {
        Some(panics) if panics > 0.0 => Err("a task panicked".to_owned()),
        _ => Ok(()),
    }
}

/// Checks that no counter of a process has fallen. One whose series goes with its name may begin
/// again.
///
/// # Errors
/// The first that has.
pub(super) fn check_growth(before: &Exported, now: &Exported) -> Result<(), String> {
    let now: BTreeMap<_, _> =
        now.counters().map(|series| ((&series.name, &series.labels), series.value)).collect();
    let fallen = before.counters().find_map(|series| {
        let value = *now.get(&(&series.name, &series.labels))?;
        (value < series.value).then_some((series, value))
    });
    match fallen {
        None => Ok(()),
        Some((series, value)) => {
            let (name, labels, before) = (&series.name, &series.labels, series.value);
            Err(format!("{name}{labels:?} fell from {before} to {value}"))
        }
    }
}

/// The sums of these families. A request that was never routed has not failed.
fn by_name<'a>(exported: &'a Exported, families: &[&str]) -> BTreeMap<&'a str, f64> {
    let mut sums = BTreeMap::new();
    for series in exported.series().filter(|series| families.contains(&series.name.as_str())) {
        let reason = series.labels.get("reason").map_or("", String::as_str);
        if (series.name.as_str(), reason) == ("proxy_errors_total", "no_client") {
            continue;
        }
        if let Some(name) = series.labels.get(NAME) {
            *sums.entry(name.as_str()).or_default() += series.value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(lines: &[&str]) -> Exported {
        let line = |line: &&str| {
            let family = line.split(['{', ' ']).next().unwrap_or_default();
            format!("# TYPE ops_proxy_{family} counter\nops_proxy_{line}\n")
        };
        Exported::parse(&lines.iter().map(line).collect::<String>()).unwrap()
    }

    #[test]
    fn every_request_came_to_an_end_and_every_failure_has_a_reason() {
        let requests = [
            "requests_total{client_name=\"a\",protocol=\"http\"} 2",
            "requests_total{client_name=\"a\",protocol=\"tcp\"} 1",
            "requests_success_total{client_name=\"a\",protocol=\"http\"} 2",
            "requests_failed_total{client_name=\"a\",protocol=\"tcp\"} 1",
            "proxy_errors_total{client_name=\"a\",reason=\"no_client\"} 7",
        ];
        let failed = "proxy_errors_total{client_name=\"a\",reason=\"data_timeout\"} 1";
        assert!(check_sums(&exported(&requests)).is_err(), "a failure for no reason");
        let mut whole = requests.to_vec();
        whole.push(failed);
        assert_eq!(check_sums(&exported(&whole)), Ok(()));
        whole.remove(2);
        assert!(check_sums(&exported(&whole)).is_err(), "two requests without an end");
        assert!(check_sums(&exported(&["panics_total 1"])).is_err());
    }

    #[test]
    fn a_counter_may_go_and_may_not_fall() {
        let [one, two] = [1, 2].map(|value| exported(&[&format!("requests_total{{}} {value}")]));
        assert_eq!(check_growth(&one, &two), Ok(()));
        assert_eq!(check_growth(&two, &exported(&[])), Ok(()));
        assert!(check_growth(&two, &one).is_err());
    }
}
