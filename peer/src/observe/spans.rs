//! Spans: one for each request that a peer routes or serves, in the trace that its client or
//! the peer before began. The journal hands each one over when its request has ended.

use std::sync::Arc;

use super::journal::SpanSink;
use crate::trace_context::{Span, TraceContext};

/// Whether and how a peer traces.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Takes the spans.
    pub sink: Arc<dyn SpanSink>,
    /// The share of the traces that begin here that is recorded, from 0 to 1.
    pub sample: f64,
}

impl Tracing {
    /// The span of a request that `parent` has caused, if any did. `random` bytes make it
    /// different from all others, and a new trace as well.
    pub fn span(&self, parent: Option<TraceContext>, random: [u8; 24]) -> Span {
        let (trace, span) = random.split_at(16);
        let (trace, span) = (trace.try_into(), span.try_into());
        let trace: [u8; 16] = trace.expect("24 are 16 and 8");
        let span = span.expect("24 are 16 and 8");
        match parent {
            Some(TraceContext { trace, span: parent, is_sampled }) => {
                let context = TraceContext { trace, span, is_sampled };
                Span { context, parent: Some(parent) }
            }
            None => {
                let (low, _) = trace.split_first_chunk::<8>().expect("16 are more than 8");
                let share = u64::from_be_bytes(*low) as f64 / u64::MAX as f64;
                // Of 1, all; of 0, none.
                let is_sampled = share < self.sample || self.sample >= 1.0;
                Span { context: TraceContext { trace, span, is_sampled }, parent: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::journal::Record;

    #[derive(Debug)]
    struct Nobody;

    impl SpanSink for Nobody {
        fn take(&self, _: &Span, _: &Record) {}
    }

    fn tracing(sample: f64) -> Tracing {
        Tracing { sink: Arc::new(Nobody), sample }
    }

    #[test]
    fn a_span_belongs_to_the_trace_of_its_parent_and_is_recorded_as_that_is() {
        for is_sampled in [true, false] {
            let parent = TraceContext { trace: [1; 16], span: [2; 8], is_sampled };
            // Whatever the share of its own.
            let span = tracing(if is_sampled { 0.0 } else { 1.0 }).span(Some(parent), [3; 24]);
            assert_eq!(span.parent, Some([2; 8]));
            assert_eq!(span.context, TraceContext { trace: [1; 16], span: [3; 8], is_sampled });
        }
    }

    #[test]
    fn of_new_traces_a_share_is_recorded() {
        let recorded = |sample: f64| {
            let random = |number: u32| {
                let mut bytes = [7; 24];
                let spread = u64::from(number) * (u64::MAX / 1000);
                bytes[..8].copy_from_slice(&spread.to_be_bytes());
                bytes
            };
            let spans = (0..1000).map(|number| tracing(sample).span(None, random(number)));
            spans.filter(|span| span.context.is_sampled).count()
        };
        assert_eq!((recorded(0.0), recorded(1.0)), (0, 1000));
        assert!((245..=255).contains(&recorded(0.25)), "{}", recorded(0.25));
    }
}
