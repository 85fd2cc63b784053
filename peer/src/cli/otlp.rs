//! Spans by OTLP: each request that has ended goes into a queue, and in batches to a collector
//! of OpenTelemetry. Nobody waits for that, and what cannot be sent is lost and counted.

mod batches;
mod client;
mod span;

pub(super) use batches::Exporter;
