//! Both directions of one request, driven by one task.

use std::future::poll_fn;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};

use super::buffer::Buffer;
use super::carrier::Carrier;
use super::direction::Direction;
use super::meter::{Meter, RelayError};
use super::side::Side;

/// Copies both ways until both directions have ended cleanly. The end of one
/// direction is passed on as a half-close while the other goes on.
///
/// # Errors
/// The first failure of either stream. The caller must then abort both, so that neither
/// end takes the cut for a clean end.
pub async fn copy_both<A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    meter: &M,
) -> Result<(), RelayError>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    carry_both::<Buffer, A, B, M>(public, backend, meter).await
}

/// Like [`copy_both`], with bulk carried by `C`.
///
/// # Errors
/// As [`copy_both`].
pub async fn carry_both<C, A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    meter: &M,
) -> Result<(), RelayError>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let (mut to_backend, mut to_public) = (Direction::<C>::Reading, Direction::<C>::Reading);
    poll_fn(|cx| {
        let sent = to_backend
            .poll(cx, public, backend, |bytes| meter.sent(bytes))
            .map_err(|broken| broken.between(RelayError::Public, RelayError::Backend))?;
        let received = to_public
            .poll(cx, backend, public, |bytes| meter.received(bytes))
            .map_err(|broken| broken.between(RelayError::Backend, RelayError::Public))?;
        if sent.is_ready() && received.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
