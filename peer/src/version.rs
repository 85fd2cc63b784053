//! Which build this is: its version, and the commit and date of its sources where the build
//! was told.
//!
//! A release is built with `OPS_PROXY_COMMIT` and `OPS_PROXY_DATE` set. Nothing here looks for
//! them elsewhere: a new commit alone is no reason to build anything again.

use std::sync::LazyLock;

/// The version of this program.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");

const COMMIT: Option<&str> = option_env!("OPS_PROXY_COMMIT");
const DATE: Option<&str> = option_env!("OPS_PROXY_DATE");

/// The commit that this program was built from, if the build was told.
pub fn commit() -> Option<&'static str> {
    COMMIT.filter(|commit| !commit.is_empty())
}

/// The version, and in parentheses the commit and its date, as far as they are known.
pub fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| text(NUMBER, COMMIT, DATE));
    &TEXT
}

fn text(number: &str, commit: Option<&str>, date: Option<&str>) -> String {
    let known = [commit, date].into_iter().flatten().filter(|part| !part.is_empty());
    let known: Vec<&str> = known.collect();
    match known.is_empty() {
        true => number.to_owned(),
        false => format!("{number} ({})", known.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_build_was_not_told_is_left_out() {
        let of = |commit, date| text("0.1.0", commit, date);
        assert_eq!(of(Some("abc1234"), Some("2026-11-27")), "0.1.0 (abc1234 2026-11-27)");
        assert_eq!(of(Some("abc1234"), None), "0.1.0 (abc1234)");
        assert_eq!(of(None, None), "0.1.0");
        // As a build argument that nobody gave arrives.
        assert_eq!(of(Some(""), Some("")), "0.1.0");
    }
}
