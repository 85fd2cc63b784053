//! Where spans go. What a build without OTLP lacks is left out here, and nowhere else.

#[cfg(feature = "otlp")]
use std::sync::Arc;

#[cfg(feature = "otlp")]
use super::otlp::Exporter;
use super::settings::{OtlpUrl, Share};
use crate::config::{ConfigError, PeerConfig};
use crate::observe::spans::Tracing;
use crate::peer::PeerHandle;
use crate::stream::net::tokio::TokioNet;

/// Where spans go, if anywhere.
pub(super) struct Spans {
    #[cfg(feature = "otlp")]
    exporter: Option<(Exporter, f64)>,
}

#[cfg(feature = "otlp")]
impl Spans {
    /// Sends the spans of a peer of this configuration to the collector at `url`, if there is
    /// one; of the traces that begin here, a share. To be called within a runtime.
    ///
    /// # Errors
    /// Nothing can be sent there.
    pub(super) fn begin(
        url: Option<&OtlpUrl>,
        share: Option<Share>,
        config: &PeerConfig,
    ) -> Result<Self, ConfigError> {
        let share = share.map_or(1.0, |share| share.0);
        let exporter = url.map(|url| Ok((Exporter::begin(url, config)?, share)));
        Ok(Self { exporter: exporter.transpose()? })
    }

    /// How the peer is to trace.
    pub(super) fn tracing(&self) -> Option<Tracing> {
        let (exporter, sample) = self.exporter.as_ref()?;
        Some(Tracing { sink: Arc::new(exporter.clone()), sample: *sample })
    }

    /// Has `/metrics` say what became of them. To be called once.
    pub(super) fn count(&self, handle: &PeerHandle<TokioNet>) {
        if let Some((exporter, _)) = &self.exporter {
            handle.export_spans(exporter.exported(), exporter.lost());
        }
    }

    /// Waits until they are sent, if that does not take too long.
    pub(super) async fn flush(&self) {
        if let Some((exporter, _)) = &self.exporter {
            exporter.flush().await;
        }
    }
}

#[cfg(not(feature = "otlp"))]
impl Spans {
    pub(super) fn begin(
        _url: Option<&OtlpUrl>,
        _share: Option<Share>,
        _config: &PeerConfig,
    ) -> Result<Self, ConfigError> {
        Ok(Self {})
    }

    pub(super) fn tracing(&self) -> Option<Tracing> {
        None
    }

    pub(super) fn count(&self, _handle: &PeerHandle<TokioNet>) {}

    pub(super) async fn flush(&self) {}
}
