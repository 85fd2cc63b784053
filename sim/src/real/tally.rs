//! What came of all scenarios: a line for each, and a sum.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::plan::{Plan, Told};
use super::verdict::Verdict;

/// What has come of the scenarios so far.
#[derive(Debug, Default)]
pub struct Tally {
    agree: AtomicUsize,
    differ: AtomicUsize,
    skipped: AtomicUsize,
    again: AtomicUsize,
    unexpected: AtomicUsize,
}

impl Tally {
    /// Prints a line about a scenario, and counts it.
    pub fn tell(&self, told: &Told<'_>) {
        let kind = match told.verdict {
            Verdict::Agrees => &self.agree,
            Verdict::Differs(_) => &self.differ,
            Verdict::Skipped(_) => &self.skipped,
        };
        kind.fetch_add(1, Relaxed);
        let known = &told.scenario.real;
        let seconds = told.took.as_secs_f64();
        let mut line = format!("{}: {} ({seconds:.1} s)", told.file.display(), told.verdict);
        if let Some(what) = &told.first {
            self.again.fetch_add(1, Relaxed);
            line += &format!("; the first time: {what}");
        }
        match told.verdict.judge(known) {
            Ok(()) => {
                let why = known.differs.iter().cloned();
                let apart = known.uncompared.iter();
                let apart = apart.map(|(metric, why)| format!("{metric} is not compared: {why}"));
                let causes: Vec<String> = match told.verdict {
                    Verdict::Agrees => apart.collect(),
                    Verdict::Differs(_) => why.collect(),
                    Verdict::Skipped(_) => Vec::new(),
                };
                if !causes.is_empty() {
                    line += &format!("; known: {}", causes.join("; "));
                }
            }
            Err(wrong) => {
                self.unexpected.fetch_add(1, Relaxed);
                line += &format!("; WRONG: {wrong}");
            }
        }
        println!("{line}");
    }

    /// Whether all of the plan was played, and came out as the files say.
    pub fn is_good(&self, plan: &Plan) -> bool {
        let told = [&self.agree, &self.differ, &self.skipped];
        let told: usize = told.iter().map(|count| count.load(Relaxed)).sum();
        told == plan.scenarios.len() && self.unexpected.load(Relaxed) == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [agree, differ, skipped, again, unexpected] =
            [&self.agree, &self.differ, &self.skipped, &self.again, &self.unexpected]
                .map(|count| count.load(Relaxed));
        write!(
            f,
            "{agree} agree, {differ} differ, {skipped} skipped; {again} played twice, {unexpected} \
             not as their files say"
        )
    }
}
