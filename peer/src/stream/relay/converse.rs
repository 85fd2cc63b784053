//! An HTTP conversation, driven by one task like any other relay, and how its stretch ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::carrier::Carrier;
use super::gated::{Answers, Gated, Requests, Stopped};
use super::meter::{Meter, RelayError};
use super::side::Side;
use super::vigil::{Outstanding, Vigil};
use crate::http::{Conversation, Flaw, Stop};

/// What was read of a client before its stretch began.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Bytes that the conversation has let pass already.
    pub admitted: Bytes,
    /// Bytes behind those.
    pub held: BytesMut,
}

/// How a stretch ended without either end failing.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    /// Both directions are closed.
    Closed,
    /// All is answered. The client may go on, and this was read of what it has sent since;
    /// the backend has not been told of the end.
    Next(BytesMut),
    /// All is answered but what the client sent next, which has no one meaning.
    Flawed(Flaw),
    /// All is answered, but the backend has sent more than was asked for. What was read of
    /// the client since.
    Unasked(BytesMut),
    /// The backend's answer has no one meaning; none of it was passed on.
    BadAnswer(Flaw),
}

/// Passes requests and answers on for as long as they belong to this conversation.
///
/// # Errors
/// As [`copy_both`](super::copy_both).
pub async fn converse<C, A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    ahead: Ahead,
    conversation: &mut Conversation,
    meter: &M,
    outstanding: Option<impl Fn(&A, &B) -> Outstanding>,
) -> Result<Over, RelayError>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let mut to_backend = Gated::<C>::new(ahead.admitted, ahead.held);
    let mut to_public = Gated::<C>::new(Bytes::new(), BytesMut::new());
    let mut vigil = Vigil::default();
    let over = poll_fn(|cx| {
        let written = Cell::new(false);
        loop {
            let asked = to_backend
                .poll(cx, public, backend, &mut Requests(conversation), |bytes| {
                    written.set(true);
                    meter.sent(bytes);
                })
                .map_err(|broken| broken.between(RelayError::Public, RelayError::Backend))?;
            if let Some(Stopped::At(stop)) = to_backend.stopped() {
                return Poll::Ready(Ok(Ending::Asked(stop)));
            }
            let was_waiting = conversation.is_waiting();
            let answered = to_public
                .poll(cx, backend, public, &mut Answers(conversation), |bytes| {
                    written.set(true);
                    meter.received(bytes);
                })
                .map_err(|broken| broken.between(RelayError::Backend, RelayError::Public))?;
            match to_public.stopped() {
                Some(Stopped::At(stop)) => return Poll::Ready(Ok(Ending::Answered(stop))),
                // A client that has closed its direction is waiting for the other.
                Some(Stopped::Ended) if to_backend.is_closed() => {
                    to_public.close();
                    continue;
                }
                Some(Stopped::Ended) => return Poll::Ready(Ok(Ending::BackendLeft)),
                None => {}
            }
            // A client that has closed its direction has had the backend told.
            if conversation.is_over() && !to_backend.is_closed() {
                return Poll::Ready(Ok(Ending::LastAnswer));
            }
            if asked.is_ready() && answered.is_ready() {
                return Poll::Ready(Ok(Ending::Closed));
            }
            // An answer may be what a request has waited for.
            if was_waiting && !conversation.is_waiting() {
                continue;
            }
            break;
        }
        let Some(outstanding) = &outstanding else { return Poll::Pending };
        let outstanding = || outstanding(&public.stream, &backend.stream);
        match vigil.poll(cx, written.get(), outstanding) {
            Ok(()) => Poll::Pending,
            Err(vanished) => Poll::Ready(Err(vanished)),
        }
    })
    .await?;
    Ok(match over {
        Ending::Closed => Over::Closed,
        Ending::BackendLeft | Ending::LastAnswer | Ending::Asked(Stop::Other) => {
            Over::Next(to_backend.into_held())
        }
        Ending::Asked(Stop::Flawed(flaw)) => Over::Flawed(flaw),
        Ending::Answered(Stop::Flawed(flaw)) if conversation.is_answering() => {
            let error = io::Error::new(io::ErrorKind::InvalidData, flaw);
            return Err(RelayError::Backend(error));
        }
        Ending::Answered(Stop::Flawed(flaw)) => Over::BadAnswer(flaw),
        Ending::Answered(_) | Ending::Asked(Stop::Unasked) => Over::Unasked(to_backend.into_held()),
    })
}

enum Ending {
    Closed,
    BackendLeft,
    LastAnswer,
    Asked(Stop),
    Answered(Stop),
}
