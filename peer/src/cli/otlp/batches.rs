//! The queue of spans, and the task that sends them in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::span::{resource, span_data};
use crate::cli::settings::OtlpUrl;
use crate::config::{ConfigError, PeerConfig};
use crate::limits::{
    OTLP_BATCH, OTLP_BATCH_WAIT, OTLP_FLUSH, OTLP_LOG_INTERVAL, OTLP_QUEUED, OTLP_TIMEOUT,
};
use crate::observe::journal::{Record, SpanSink};
use crate::trace_context::Span;

/// Sends spans to a collector.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Exporter {
    queue: mpsc::Sender<Queued>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Queued {
    Span(Box<SpanData>),
    /// All before it are to be sent; this is dropped then.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    lost: AtomicU64,
}

impl Exporter {
    /// Sends to the collector at `url` from now on. To be called within a runtime.
    ///
    /// # Errors
    /// No request to that URL can be made.
    pub(in crate::cli) fn begin(url: &OtlpUrl, config: &PeerConfig) -> Result<Self, ConfigError> {
        let OtlpUrl { endpoint, path } = url;
        let built = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new(endpoint.clone()))
            .with_endpoint(format!("http://{endpoint}{path}"))
            .with_timeout(OTLP_TIMEOUT)
            .build();
        let mut spans = built.map_err(|error| ConfigError::new("otlp", error.to_string()))?;
        spans.set_resource(&resource(config));
        let (queue, receiver) = mpsc::channel(OTLP_QUEUED);
        let counts = Arc::new(Counts::default());
        let collector = endpoint.to_string();
        let batches = Batches { receiver, spans, counts: counts.clone(), collector, failing: None };
        tokio::spawn(batches.send());
        Ok(Self { queue, counts })
    }

    /// Says how many spans were sent.
    pub(in crate::cli) fn exported(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counts = self.counts.clone();
        move || counts.exported.load(Relaxed)
    }

    /// Says how many were not.
    pub(in crate::cli) fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counts = self.counts.clone();
        move || counts.lost.load(Relaxed)
    }

    /// Returns once all spans have been sent that are known by now, as far as that takes no
    /// longer than [`OTLP_FLUSH`].
    pub(in crate::cli) async fn flush(&self) {
        let (held, sent) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Queued::Flush(held)).await.is_ok() {
                // It ends when the other half is let go.
                let _ = sent.await;
            }
        };
        let _ = timeout(OTLP_FLUSH, flushed).await;
    }
}

impl SpanSink for Exporter {
    #[allow(clippy::disallowed_methods, reason = "a span tells the time of day")]
    fn take(&self, span: &Span, request: &Record) {
        // Where there is no room, nothing need be made.
        let Ok(room) = self.queue.try_reserve() else {
            self.counts.lost.fetch_add(1, Relaxed);
            return;
        };
        room.send(Queued::Span(Box::new(span_data(span, request, SystemTime::now()))));
    }
}

/// The task that sends.
struct Batches {
    receiver: mpsc::Receiver<Queued>,
    spans: SpanExporter,
    counts: Arc<Counts>,
    collector: String,
    /// Since when none could be sent and the log has said so; what was lost since then.
    failing: Option<(Instant, u64)>,
}

impl Batches {
    async fn send(mut self) {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        while let Some(first) = self.receiver.recv().await {
            let deadline = Instant::now() + OTLP_BATCH_WAIT;
            let mut next = Some(first);
            while let Some(queued) = next.take() {
                match queued {
                    Queued::Span(span) => batch.push(*span),
                    Queued::Flush(held) => flushed.push(held),
                }
                if batch.len() < OTLP_BATCH && flushed.is_empty() {
                    next = timeout_at(deadline, self.receiver.recv()).await.ok().flatten();
                }
            }
            self.export(std::mem::take(&mut batch)).await;
            flushed.clear();
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        if count == 0 {
            return;
        }
        let Err(error) = self.spans.export(batch).await else {
            self.counts.exported.fetch_add(count, Relaxed);
            if let Some((_, lost)) = self.failing.take() {
                tracing::info!(collector = %self.collector, lost, "spans are taken again");
            }
            return;
        };
        self.counts.lost.fetch_add(count, Relaxed);
        let (said, lost) = self.failing.unwrap_or((Instant::now(), 0));
        let is_due = lost == 0 || said.elapsed() >= OTLP_LOG_INTERVAL;
        self.failing = Some((if is_due { Instant::now() } else { said }, lost + count));
        if is_due {
            tracing::warn!(collector = %self.collector, lost = lost + count, %error, "cannot send spans, and they are lost; is this the address of a collector that takes OTLP over HTTP?");
        }
    }
}
