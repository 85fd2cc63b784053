//! An HTTP conversation, driven by one task like any other relay, and how its stretch ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::carrier::Carrier;
use super::gated::{Answers, Gated, Requests, Stopped};
use super::meter::{Meter, RelayError};
use super::patience::Patience;
use super::side::Side;
use super::vigil::{Outstanding, Vigil};
use crate::http::{Conversation, Flaw, Standstill, Stop};

/// What was read of a client before its stretch began.
#[derive(Debug, Default)]
pub struct Ahead {
    /// Bytes that the conversation has let pass already.
    pub admitted: Bytes,
    /// Bytes behind those.
    pub held: BytesMut,
}

/// Who takes no more requests; the task must be woken when
/// either of the last two begins to.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// This peer: the client is told with its next answer.
    pub soon: &'a AtomicBool,
    /// This peer: nobody waits for another request.
    pub peer: &'a AtomicBool,
    /// The provider that carries this stretch: another one may have the next.
    pub provider: &'a AtomicBool,
}

/// How a stretch ended without either end failing.
#[derive(Debug, PartialEq, Eq)]
pub enum Over {
    /// Both directions are closed.
    Closed,
    /// All is answered. The client may go on, and this was read of what it has sent since;
    /// the backend has not been told of the end.
    Next(BytesMut),
    /// The same, but the backend's connection broke, while nothing was asked of it.
    Broken(BytesMut),
    /// All is answered, and no other request came for
    /// [`KEEP_ALIVE`](crate::limits::KEEP_ALIVE), or none is waited for any more.
    Idle,
    /// All is answered but what the client sent next, which has no one meaning.
    Flawed(Flaw),
    /// All is answered but a head that was not whole within
    /// [`HEAD_DEADLINE`](crate::limits::HEAD_DEADLINE).
    Late,
    /// All is answered, but the backend has sent more than was asked for. What was read of
    /// the client since.
    Unasked(BytesMut),
    /// The backend's answer has no one meaning; none of it was passed on.
    BadAnswer(Flaw),
}

/// Passes requests and answers on for as long as they belong to this conversation, and waits
/// for another only while nobody is `leaving`.
///
/// # Errors
/// As [`copy_both`](super::copy_both).
pub async fn converse<C, A, B, M>(
    public: &mut Side<A>,
    backend: &mut Side<B>,
    ahead: Ahead,
    conversation: &mut Conversation,
    meter: &M,
    leaving: Leaving<'_>,
    outstanding: Option<impl Fn(&A, &B) -> Outstanding>,
) -> Result<Over, RelayError>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    let to_backend = Gated::<C>::new(ahead.admitted, ahead.held);
    let to_public = Gated::<C>::new(Bytes::new(), BytesMut::new());
    let written = Cell::new(false);
    let mut talk = Talk { public, backend, conversation, meter, written, to_backend, to_public };
    let (mut vigil, mut patience) = (Vigil::default(), Patience::default());
    let over = poll_fn(|cx| {
        let now = Instant::now();
        talk.conversation.at(now);
        if leaving.soon.load(Acquire) {
            talk.conversation.take_leave();
        }
        talk.written.set(false);
        loop {
            let moved = talk.poll(cx);
            talk.conversation.finished().for_each(|exchange| meter.exchanged(exchange));
            if let Poll::Ready(ending) = moved {
                return Poll::Ready(ending);
            }
            let standstill = talk.conversation.standstill();
            let has_passed_all = talk.to_public.has_passed_all();
            if has_passed_all && talk.conversation.has_taken_leave() && talk.conversation.is_idle()
            {
                return Poll::Ready(Ok(Ending::Idle));
            }
            let is_idle = has_passed_all && matches!(standstill, Standstill::Idle(_));
            if is_idle && leaving.peer.load(Acquire) {
                return Poll::Ready(Ok(Ending::Idle));
            }
            if is_idle && leaving.provider.load(Acquire) {
                return Poll::Ready(Ok(Ending::BackendLeft));
            }
            // A client that has closed its direction has had the backend told.
            if talk.conversation.is_over() && !talk.to_backend.is_closed() {
                return Poll::Ready(Ok(Ending::LastAnswer));
            }
            match patience.is_over(cx, standstill, now) {
                true if is_idle => return Poll::Ready(Ok(Ending::Idle)),
                true => talk.conversation.give_up_head(),
                false => break,
            }
        }
        let Some(outstanding) = &outstanding else { return Poll::Pending };
        let outstanding = || outstanding(&talk.public.stream, &talk.backend.stream);
        match vigil.poll(cx, talk.written.get(), outstanding) {
            Ok(()) => Poll::Pending,
            Err(vanished) => Poll::Ready(Err(vanished)),
        }
    })
    .await;
    let Talk { conversation, to_backend, .. } = talk;
    let over = match over {
        // It failed in nothing that was asked of it.
        Err(RelayError::Backend(_)) if conversation.withdraw() => {
            return Ok(Over::Broken(to_backend.into_held()));
        }
        over => over?,
    };
    Ok(match over {
        Ending::Closed => Over::Closed,
        Ending::Idle => Over::Idle,
        Ending::BackendLeft | Ending::LastAnswer | Ending::Asked(Stop::Other) => {
            Over::Next(to_backend.into_held())
        }
        Ending::Asked(Stop::Flawed(flaw)) => Over::Flawed(flaw),
        Ending::Asked(Stop::Late) => Over::Late,
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
    Idle,
    BackendLeft,
    LastAnswer,
    Asked(Stop),
    Answered(Stop),
}

/// Both ends of a conversation, and how far each direction is.
struct Talk<'a, C, A, B, M> {
    public: &'a mut Side<A>,
    backend: &'a mut Side<B>,
    conversation: &'a mut Conversation,
    meter: &'a M,
    /// Whether anything was written in this poll.
    written: Cell<bool>,
    to_backend: Gated<C>,
    to_public: Gated<C>,
}

impl<C, A, B, M> Talk<'_, C, A, B, M>
where
    C: Carrier<A, B> + Carrier<B, A>,
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    M: Meter,
{
    /// Moves what can be moved now.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ending, RelayError>> {
        // A backend that has left between two requests is not to get the next one.
        let mut silent = false;
        if self.conversation.is_idle() {
            match self.poll_answers(cx)? {
                Poll::Ready(Some(ending)) => return Poll::Ready(Ok(ending)),
                Poll::Ready(None) => {}
                Poll::Pending => silent = true,
            }
        }
        loop {
            let asked = self.poll_requests(cx)?;
            if let Some(Stopped::At(stop)) = self.to_backend.stopped() {
                return Poll::Ready(Ok(Ending::Asked(stop)));
            }
            let was_waiting = self.conversation.is_waiting();
            // Who was silent a moment ago wakes this task when that is over.
            let answered = match std::mem::take(&mut silent) {
                true => Poll::Pending,
                false => self.poll_answers(cx)?,
            };
            if let Poll::Ready(Some(ending)) = answered {
                return Poll::Ready(Ok(ending));
            }
            // An answer may be what a request has waited for.
            if was_waiting && !self.conversation.is_waiting() {
                continue;
            }
            let is_closed = asked.is_ready() && answered.is_ready();
            return if is_closed { Poll::Ready(Ok(Ending::Closed)) } else { Poll::Pending };
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RelayError> {
        let Self { public, backend, conversation, meter, written, to_backend, .. } = self;
        let sent = |bytes| {
            written.set(true);
            meter.sent(bytes);
        };
        match to_backend.poll(cx, public, backend, &mut Requests(conversation), sent) {
            Poll::Ready(Err(broken)) => {
                Err(broken.between(RelayError::Public, RelayError::Backend))
            }
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Ready once its direction is over, and with it the stretch, or the client was told.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<Ending>>, RelayError> {
        let Self { public, backend, conversation, meter, written, to_backend, to_public } = self;
        let received = |bytes| {
            written.set(true);
            meter.received(bytes);
        };
        loop {
            let polled = to_public.poll(cx, backend, public, &mut Answers(conversation), received);
            if let Poll::Ready(Err(broken)) = polled {
                return Err(broken.between(RelayError::Backend, RelayError::Public));
            }
            match to_public.stopped() {
                Some(Stopped::At(stop)) => return Ok(Poll::Ready(Some(Ending::Answered(stop)))),
                // A client that has closed its direction is waiting for the other.
                Some(Stopped::Ended) if to_backend.is_closed() => to_public.close(),
                Some(Stopped::Ended) => return Ok(Poll::Ready(Some(Ending::BackendLeft))),
                None => return Ok(polled.map(|_| None)),
            }
        }
    }
}
