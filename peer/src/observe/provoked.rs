//! The log lines that the other end of a connection can provoke, held within bounds.

use std::sync::{Arc, MutexGuard};

use tokio::time::Instant;
use tracing::Level;

use super::log_limit::{LogLimit, LogSource, Summary};
use super::metrics::{LogReason, Metrics};
use crate::lock::Lock;

/// Decides about each line, and counts what is left out.
#[derive(Debug)]
pub struct Provoked {
    limit: Lock<LogLimit>,
    metrics: Arc<Metrics>,
}

impl Provoked {
    /// Nothing was logged yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let limit = LogLimit::new(Instant::now());
        Self { limit: Lock::new("the count of log lines", limit), metrics }
    }

    /// Whether a line that `source` provoked is to be written; if not, it is counted.
    pub fn may_log(&self, source: LogSource, reason: LogReason) -> bool {
        let allowed = self.limit().allows(source, reason, Instant::now());
        if !allowed {
            self.metrics.log_line_suppressed(reason);
        }
        allowed
    }

    /// Logs what was left out since the last time.
    pub fn summarise(&self) {
        let summary = self.limit().summarise(Instant::now());
        let Some(Summary { sources, others, lasted }) = summary else { return };
        let seconds = lasted.as_secs().max(1);
        for left_out in sources {
            let (source, count) = (left_out.source, left_out.count);
            let reason = left_out.reason.as_str();
            match left_out.reason.level() {
                Level::WARN => tracing::warn!(
                    reason,
                    "and {count} more like it from {source} in the last {seconds} s"
                ),
                _ => tracing::info!(
                    reason,
                    "and {count} more like it from {source} in the last {seconds} s"
                ),
            }
        }
        if others > 0 {
            tracing::warn!("and {others} more from other sources in the last {seconds} s");
        }
    }

    fn limit(&self) -> MutexGuard<'_, LogLimit> {
        self.limit.lock()
    }
}
