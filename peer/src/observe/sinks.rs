//! Who takes what a peer has to tell of each request; nobody, by default.

use std::sync::Arc;

use super::access::AccessLog;
use super::spans::Tracing;

/// Who takes what a peer has to tell of each request.
#[derive(Debug, Clone, Default)]
pub struct Sinks {
    /// The access log.
    pub access: Option<Arc<dyn AccessLog>>,
    /// Spans.
    pub tracing: Option<Tracing>,
}
