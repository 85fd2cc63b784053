//! Carries a connected request to its end.

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::refusal::Speaks;
use crate::forward::Forwarded;
use crate::http::Exchange;
use crate::limits::WRITE_TIMEOUT;
use crate::observe::metrics::ProxyError;
use crate::shared::Shared;
use crate::stream::net::Net;
use crate::stream::relay::{Meter, Side};
use crate::stream::transport::{Transport, relay};

/// Carries a connected request to its end. A CONNECT is an `exchange`, too.
pub(super) async fn carry<N: Net>(
    shared: &Shared<N>,
    mut client: Side<Transport<N::Stream>>,
    forwarded: Forwarded<N>,
    speaks: Speaks,
    mut exchange: Option<Box<Exchange>>,
) {
    let Forwarded { request, mut backend, assigned, outgoing: _outgoing, .. } = forwarded;
    let carried = async {
        if matches!(speaks, Speaks::Connect) {
            let established = async {
                let answer = b"HTTP/1.1 200 Connection Established\r\n\r\n";
                client.stream.write_all(answer).await?;
                client.stream.flush().await
            };
            timeout(WRITE_TIMEOUT, established).await??;
            exchange.iter_mut().for_each(|exchange| exchange.answer(200, Instant::now()));
        }
        relay(&shared.net, &mut client, &mut backend, &request).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    };
    let ended = shared.tasks.until_closing(carried).await;
    let ended = ended.unwrap_or_else(|| Err("this process is shutting down".into()));
    if let Some(exchange) = exchange {
        request.exchanged(exchange.end(ended.is_ok(), Instant::now()));
    }
    match ended {
        Ok(()) => {
            assigned.keep(backend);
            request.succeeded();
        }
        Err(error) => {
            tracing::debug!(%error, "request failed");
            // Neither end may take the cut for a clean end.
            shared.abort(client.stream);
            shared.abort(backend.stream);
            request.failed(ProxyError::DataIoError);
        }
    }
}
