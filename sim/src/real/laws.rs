//! What the counters of a peer must be to each other and to those before, whatever has happened.
//! While nothing runs: an export is not taken at one moment.

use std::collections::BTreeMap;

use crate::metrics::{Exported, Series};

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
        for name in left.keys().chain(right.keys()) {
            let [left, right] = [&left, &right].map(|sums| sums.get(name).copied().unwrap_or(0.0));
            if left != right {
                let [one, other] = [one, other].map(|families| families.join(" + "));
                return Err(format!("{name}: {one} is {left}, but {other} is {right}"));
            }
        }
    }
    match exported.select("panics_total")? {
        Some(panics) if panics > 0.0 => Err("a task panicked".to_owned()),
        _ => Ok(()),
    }
}

/// Checks that no counter of a process has fallen. Those of a name may begin again where it is
/// `forgotten` after a while.
///
/// # Errors
/// The first that has.
pub(super) fn check_growth(
    before: &Exported,
    now: &Exported,
    forgotten: bool,
) -> Result<(), String> {
    let now: BTreeMap<_, _> =
        now.counters().map(|series| ((&series.name, &series.labels), series.value)).collect();
    let stays = |series: &&Series| !forgotten || !series.labels.contains_key(NAME);
    let fallen = before.counters().filter(stays).find_map(|series| {
        let value = *now.get(&(&series.name, &series.labels))?;
        (value < series.value).then_some((series, value))
    });
    match fallen {
        None => Ok(()),
        Some((series, value)) => {
            Err(format!("{} fell from {} to {value}", series.key(), series.value))
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
        let ends = ["requests_success_total{client_name=\"a\"} 1"];
        assert!(check_sums(&exported(&ends)).is_err(), "an end of no request");
        assert!(check_sums(&exported(&["panics_total 1"])).is_err());
    }

    #[test]
    fn a_counter_may_go_and_may_not_fall() {
        let of_a_name = |value| format!("requests_total{{client_name=\"a\"}} {value}");
        let [one, two] = [1, 2].map(|value| exported(&[&of_a_name(value)]));
        assert_eq!(check_growth(&one, &two, false), Ok(()));
        assert_eq!(check_growth(&two, &exported(&[]), false), Ok(()));
        assert!(check_growth(&two, &one, false).unwrap_err().contains("fell from 2 to 1"));
        assert_eq!(check_growth(&two, &one, true), Ok(()), "the name was forgotten meanwhile");
        let [one, two] = [1, 2].map(|value| exported(&[&format!("panics_total {value}")]));
        assert!(check_growth(&two, &one, true).is_err());
    }
}
