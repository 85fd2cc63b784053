//! Whether a service counts as up, after one check and another.
//!
//! Pure: how a check went comes in, and a change comes out.

/// What has been seen of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judge {
    fall: u32,
    rise: u32,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing: it counts as up, and the first check decides alone.
    Nothing,
    /// It is up, and has failed so many times in a row.
    Up(u32),
    /// It is down, and has passed so many times in a row.
    Down(u32),
}

impl Judge {
    /// Nothing has been seen; so many failures make it fall, and so many successes rise.
    pub(super) fn new(fall: u32, rise: u32) -> Self {
        Self { fall, rise, seen: Seen::Nothing }
    }

    /// Takes in a check; whether the service is up now.
    pub(super) fn take(&mut self, passed: bool) -> bool {
        self.seen = match (self.seen, passed) {
            (Seen::Nothing | Seen::Up(_), true) => Seen::Up(0),
            (Seen::Nothing, false) => Seen::Down(0),
            (Seen::Up(failed), false) if failed + 1 >= self.fall => Seen::Down(0),
            (Seen::Up(failed), false) => Seen::Up(failed + 1),
            (Seen::Down(passed), true) if passed + 1 >= self.rise => Seen::Up(0),
            (Seen::Down(passed), true) => Seen::Down(passed + 1),
            (Seen::Down(_), false) => Seen::Down(0),
        };
        matches!(self.seen, Seen::Up(_))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each check, `.` for one that passed, and whether the service was up after it.
    fn judged(mut judge: Judge, checks: &str) -> String {
        let after = |check| if judge.take(check == '.') { 'u' } else { 'd' };
        checks.chars().map(after).collect()
    }

    #[test]
    fn the_first_check_decides_alone() {
        assert_eq!(judged(Judge::new(3, 2), "x"), "d");
        assert_eq!(judged(Judge::new(3, 2), "."), "u");
    }

    #[test]
    fn it_falls_after_failures_in_a_row_and_rises_after_successes_in_a_row() {
        assert_eq!(judged(Judge::new(3, 2), "..xx.xxx..x"), "uuuuuuudduu");
        assert_eq!(judged(Judge::new(3, 2), ".xxx.x.x.."), "uuuddddddu");
        assert_eq!(judged(Judge::new(1, 1), ".x.x"), "udud");
    }

    proptest! {
        /// Up and down change only after as many checks in a row as were asked for.
        #[test]
        fn no_change_comes_sooner(fall in 1..5_u32, rise in 1..5_u32, checks: Vec<bool>) {
            let mut judge = Judge::new(fall, rise);
            let mut was = None;
            let mut row = (true, 0);
            for passed in checks {
                row = if row.0 == passed { (passed, row.1 + 1) } else { (passed, 1) };
                let is = judge.take(passed);
                match was {
                    None => prop_assert_eq!(is, passed),
                    Some(true) if !is => prop_assert!(!passed && row.1 >= fall),
                    Some(false) if is => prop_assert!(passed && row.1 >= rise),
                    Some(true) => prop_assert!(passed || row.1 < fall),
                    Some(false) => prop_assert!(!passed || row.1 < rise),
                }
                if was.is_none_or(|was| was != is) {
                    // What was needed for this change is not counted again.
                    row.1 = 0;
                }
                was = Some(is);
            }
        }
    }
}
