//! Who takes the spans of requests that have ended.

use std::fmt;

use super::record::Record;
use crate::trace_context::Span;

/// Takes spans, at once and without waiting for anything.
pub trait SpanSink: fmt::Debug + Send + Sync {
    /// Takes that of a request that has ended.
    fn take(&self, span: &Span, request: &Record);
}
