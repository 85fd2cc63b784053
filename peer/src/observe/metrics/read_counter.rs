//! A counter that is kept elsewhere and read at each scrape.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Opts};

/// A counter that is kept elsewhere and read at each scrape.
pub(super) struct ReadCounter<F> {
    /// What it is called and what its labels are.
    opts: Opts,
    desc: Desc,
    read: F,
}

impl<F: Fn() -> u64 + Send + Sync> ReadCounter<F> {
    /// # Errors
    /// A name or a label that is none.
    pub(super) fn new(opts: Opts, read: F) -> prometheus::Result<Self> {
        let built = IntCounter::with_opts(opts.clone())?;
        let desc = built.desc()[0].clone();
        Ok(Self { opts, desc, read })
    }
}

impl<F: Fn() -> u64 + Send + Sync> Collector for ReadCounter<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let built = IntCounter::with_opts(self.opts.clone()).expect("it could be built before");
        built.inc_by((self.read)());
        built.collect()
    }
}
