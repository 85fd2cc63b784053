//! Closing so that the last words arrive.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{REFUSE_DRAIN_BYTES, REFUSE_LINGER, WRITE_TIMEOUT};

/// Writes the answer and closes so that it arrives: what the other end still sends
/// is read for a moment, for closing on unread bytes would reset the connection
/// under the answer (RFC 9112 §9.6).
pub async fn close_after<S>(stream: S, answer: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    close_after_telling(stream, answer, |_| ()).await;
}

/// As [`close_after`], and `told` learns whether the answer was written, before what
/// follows it is waited for.
pub async fn close_after_telling<S>(mut stream: S, answer: &[u8], told: impl FnOnce(bool))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let write = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    // The other end may have gone; then nobody is left to tell.
    let written = timeout(WRITE_TIMEOUT, write).await;
    told(matches!(written, Ok(Ok(()))));
    let Ok(Ok(())) = written else { return };
    let mut drained = 0;
    let mut sink = [0; 1024];
    let drain = async {
        while drained < REFUSE_DRAIN_BYTES {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
        }
    };
    let _ = timeout(REFUSE_LINGER, drain).await;
}
