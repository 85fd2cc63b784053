//! Both directions of one request, driven by one task.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};

use super::buffer::Buffer;
use super::carrier::Carrier;
use super::direction::Direction;
use super::meter::{Meter, RelayError};
use super::side::Side;
use super::vigil::{Outstanding, Vigil};

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
    carry_both::<Buffer, A, B, M>(public, backend, meter, None::<fn(&A, &B) -> Outstanding>).await
}

/// Like [`copy_both`], with bulk carried by `C`. What is `outstanding` at both ends, if the
/// network tells, shows when one of them has vanished.
///
/// # Errors
/// As [`copy_both`].
pub async fn carry_both<C, A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    meter: &M,
    outstanding: Option<impl Fn(&A, &B) -> Outstanding>,
) -> Result<(), RelayError>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let (mut to_backend, mut to_public) = (Direction::<C>::Reading, Direction::<C>::Reading);
    let mut vigil = Vigil::default();
    let mut ended = (false, false);
    poll_fn(|cx| {
        let written = Cell::new(false);
        let sent = to_backend
            .poll(cx, public, backend, |bytes| {
                written.set(true);
                meter.sent(bytes);
            })
            .map_err(|broken| broken.between(RelayError::Public, RelayError::Backend))?;
        let received = to_public
            .poll(cx, backend, public, |bytes| {
                written.set(true);
                meter.received(bytes);
            })
            .map_err(|broken| broken.between(RelayError::Backend, RelayError::Public))?;
        if sent.is_ready() && received.is_ready() {
            return Poll::Ready(Ok(()));
        }
        // An end, too, is to arrive.
        let now_ended = (sent.is_ready(), received.is_ready());
        let written = written.get() | (std::mem::replace(&mut ended, now_ended) != now_ended);
        let Some(outstanding) = &outstanding else { return Poll::Pending };
        let outstanding = || outstanding(&public.stream, &backend.stream);
        match vigil.poll(cx, written, outstanding) {
            Ok(()) => Poll::Pending,
            Err(vanished) => Poll::Ready(Err(vanished)),
        }
    })
    .await
}
