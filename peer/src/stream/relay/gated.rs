//! One direction of an HTTP conversation: no byte goes on before it is known to belong to
//! the stretch. Bodies are carried as bulk is elsewhere.

use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::direction::{After, Broken, flush, read_all, shut_down, write_rest, write_some};
use super::side::Side;
use crate::http::{Admission, Conversation, Stop};
use crate::limits::RELAY_BYTES;

/// How far the bytes of a direction may go.
pub(super) trait Gate {
    /// What may be done with the next bytes.
    fn admit(&mut self, bytes: &[u8]) -> Admission;

    /// So many of them have gone on.
    fn passed(&mut self, count: u64);

    /// Writes a head as it is to go on.
    fn reword(&mut self, head: &[u8], out: &mut BytesMut);

    /// The reader has ended behind bytes that wait. Whether the writer is to be told now, for it
    /// gets none of them.
    fn ended_behind(&mut self) -> bool;

    /// The reader has ended.
    fn ended(&mut self) -> End;
}

/// What the end of a reader means.
pub(super) enum End {
    /// The writer is to be told.
    Close,
    /// Nobody need be told: the stretch is over, and its client may go on.
    Keep,
    /// A message was cut short.
    Cut,
}

/// From the client to the backend.
pub(super) struct Requests<'a>(pub(super) &'a mut Conversation);

impl Gate for Requests<'_> {
    fn admit(&mut self, bytes: &[u8]) -> Admission {
        self.0.admit_request(bytes)
    }

    fn passed(&mut self, count: u64) {
        self.0.passed_request(count);
    }

    fn reword(&mut self, head: &[u8], out: &mut BytesMut) {
        self.0.reword(head, out);
    }

    fn ended_behind(&mut self) -> bool {
        self.0.ended_behind()
    }

    fn ended(&mut self) -> End {
        End::Close
    }
}

/// From the backend to the client.
pub(super) struct Answers<'a>(pub(super) &'a mut Conversation);

impl Gate for Answers<'_> {
    fn admit(&mut self, bytes: &[u8]) -> Admission {
        self.0.admit_answer(bytes)
    }

    fn passed(&mut self, count: u64) {
        self.0.passed_answer(count);
    }

    fn reword(&mut self, head: &[u8], out: &mut BytesMut) {
        self.0.reword_answer(head, out);
    }

    fn ended_behind(&mut self) -> bool {
        false
    }

    fn ended(&mut self) -> End {
        if self.0.answers_ended() {
            End::Cut
        } else if self.0.is_idle() && self.0.persists() {
            End::Keep
        } else {
            End::Close
        }
    }
}

/// One direction, up to where it is.
pub(super) struct Gated<C> {
    /// What has been admitted and goes first.
    admitted: Bytes,
    /// What was read and is not admitted yet, or not taken by the writer.
    held: BytesMut,
    /// The reader has ended.
    ended: bool,
    /// The writer was told of the end while bytes wait.
    told: bool,
    /// Bulk flows, or has flowed and paused within one body.
    is_bulk: bool,
    state: State<C>,
}

enum State<C> {
    Moving,
    /// Bulk is carried; so many bytes of the body have not been taken.
    Carrying(C, u64),
    Closing,
    Closed,
    Stopped(Stopped),
}

/// How a direction is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// What was read does not belong here.
    At(Stop),
    /// The reader has ended, and the writer need not know.
    Ended,
}

impl<C> Gated<C> {
    /// Before its first byte; `admitted` was read and let pass before, `held` was read.
    pub(super) fn new(admitted: Bytes, held: BytesMut) -> Self {
        Self { admitted, held, ended: false, told: false, is_bulk: false, state: State::Moving }
    }

    /// What was read and did not go on.
    pub(super) fn into_held(self) -> BytesMut {
        self.held
    }

    /// How it is over, if it is without the writer having been told.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        match self.state {
            State::Stopped(stopped) => Some(stopped),
            _ => None,
        }
    }

    /// Whether all that was said to have gone on has.
    pub(super) fn has_passed_all(&self) -> bool {
        self.admitted.is_empty()
    }

    /// Whether nothing that was read is left, and nothing has stopped it.
    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.admitted.is_empty() && matches!(self.state, State::Moving)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Has the writer told of the end after all.
    pub(super) fn close(&mut self) {
        self.state = State::Closing;
    }

    /// Moves what can be moved now; ready once it is over.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        writer: &mut Side<W>,
        gate: &mut impl Gate,
        count: impl Fn(usize),
    ) -> Poll<Result<(), Broken>>
    where
        C: Carrier<R, W>,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.admitted.has_remaining() {
                ready!(write_rest(cx, writer, &mut self.admitted, &count))?;
                self.admitted = Bytes::new();
            }
            match &mut self.state {
                State::Moving => ready!(self.advance(cx, reader, writer, gate, &count))?,
                State::Carrying(carrier, left) if carrier.is_empty() => {
                    if *left == 0 {
                        self.is_bulk = false;
                        self.state = State::Moving;
                        continue;
                    }
                    let limit = usize::try_from(*left).unwrap_or(usize::MAX);
                    match carrier.poll_fill(cx, reader, limit).map_err(Broken::Reader)? {
                        Poll::Ready(0) => {
                            self.ended = true;
                            self.state = State::Moving;
                        }
                        Poll::Ready(taken) => *left -= taken as u64,
                        Poll::Pending => {
                            self.state = State::Moving;
                            return flush(cx, writer);
                        }
                    }
                }
                State::Carrying(carrier, _) => {
                    match ready!(carrier.poll_drain(cx, writer)).map_err(Broken::Writer)? {
                        0 => return Poll::Ready(Err(nothing_written())),
                        written => {
                            count(written);
                            gate.passed(written as u64);
                        }
                    }
                }
                State::Closing => {
                    ready!(shut_down(cx, writer))?;
                    self.state = State::Closed;
                }
                State::Closed | State::Stopped(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// One step while nothing is carried: passes what is held, or reads.
    fn advance<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        writer: &mut Side<W>,
        gate: &mut impl Gate,
        count: &impl Fn(usize),
    ) -> Poll<Result<(), Broken>>
    where
        C: Carrier<R, W>,
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if !self.held.is_empty() {
            let mut held = std::mem::take(&mut self.held);
            let (passed, then) = self.pass(cx, &held, false, writer, gate, count);
            held.advance(passed);
            if !held.is_empty() {
                self.held = held;
            }
            match then {
                Rest::None | Rest::More => {}
                Rest::Reworded => return Poll::Ready(Ok(())),
                Rest::Wait if self.ended => {
                    // The backend learns that its client is gone, as it does without bytes that
                    // wait.
                    if gate.ended_behind() && !self.told {
                        ready!(shut_down(cx, writer))?;
                        self.told = true;
                    }
                    return flush(cx, writer);
                }
                Rest::Wait if self.held.len() >= RELAY_BYTES => return flush(cx, writer),
                // Whoever is not read is not seen to leave.
                Rest::Wait => return self.read(cx, reader, writer, gate, count),
                Rest::Pending => return Poll::Pending,
                Rest::Broken(broken) => return Poll::Ready(Err(broken)),
                Rest::Stop(stop) => {
                    self.state = State::Stopped(Stopped::At(stop));
                    return Poll::Ready(Ok(()));
                }
            }
        }
        if self.ended {
            self.state = match gate.ended() {
                End::Close => State::Closing,
                End::Keep => State::Stopped(Stopped::Ended),
                End::Cut => {
                    let cut = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(Broken::Reader(cut)));
                }
            };
            return Poll::Ready(Ok(()));
        }
        if self.is_bulk && self.held.is_empty() {
            let left = match gate.admit(&[]) {
                Admission::Pass(left) => left,
                _ => 0,
            };
            if left >= RELAY_BYTES as u64 && (!C::RAW || reader.is_raw()) {
                if C::RAW {
                    ready!(writer.poll_raw(cx)).map_err(Broken::Writer)?;
                }
                if let Some(carrier) = C::acquire(reader) {
                    self.state = State::Carrying(carrier, left);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        self.read(cx, reader, writer, gate, count)
    }

    /// Reads what is available at once, and passes what may go on. The buffer is on this
    /// function's stack: it costs nothing while the relay waits.
    fn read<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Side<R>,
        writer: &mut Side<W>,
        gate: &mut impl Gate,
        count: &impl Fn(usize),
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut storage = [MaybeUninit::uninit(); RELAY_BYTES];
        let mut buffer = ReadBuf::uninit(&mut storage);
        let after = match read_all(cx, reader, &mut buffer) {
            Poll::Ready(after) => after.map_err(Broken::Reader)?,
            Poll::Pending => return flush(cx, writer),
        };
        let bytes = buffer.filled();
        self.is_bulk = matches!(after, After::Bulk);
        self.ended = matches!(after, After::End);
        if !self.held.is_empty() {
            // The rest of a head: it is looked at as a whole.
            self.held.extend_from_slice(bytes);
        } else {
            let (passed, then) = self.pass(cx, bytes, self.ended, writer, gate, count);
            self.held.extend_from_slice(&bytes[passed..]);
            match then {
                Rest::Stop(stop) => self.state = State::Stopped(Stopped::At(stop)),
                Rest::Broken(broken) => return Poll::Ready(Err(broken)),
                Rest::None | Rest::More | Rest::Wait | Rest::Reworded | Rest::Pending => {}
            }
        }
        match after {
            After::Failure(error) => Poll::Ready(Err(Broken::Reader(error))),
            // All that there is has gone on.
            After::Pause if self.is_empty() => flush(cx, writer),
            After::Pause | After::Bulk | After::End => Poll::Ready(Ok(())),
        }
    }

    /// Writes as many of `bytes` as may go on and are taken; if they are the `last`, the
    /// end goes with them where that needs no close. A head that is reworded is written with
    /// what follows it; what is not taken of it is admitted.
    fn pass<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        last: bool,
        writer: &mut Side<W>,
        gate: &mut impl Gate,
        count: &impl Fn(usize),
    ) -> (usize, Rest) {
        let mut passed = 0;
        let mut reworded = BytesMut::new();
        let rest = loop {
            let rest = &bytes[passed..];
            if rest.is_empty() {
                break Rest::None;
            }
            let admitted = match gate.admit(rest) {
                Admission::Pass(count) => {
                    usize::try_from(count).unwrap_or(usize::MAX).min(rest.len())
                }
                Admission::Reword(length) => {
                    gate.reword(&rest[..length], &mut reworded);
                    gate.passed(length as u64);
                    passed += length;
                    continue;
                }
                Admission::Skip(count) => {
                    passed += count;
                    continue;
                }
                Admission::More => break Rest::More,
                Admission::Wait => break Rest::Wait,
                Admission::Stop(stop) => break Rest::Stop(stop),
            };
            if !reworded.is_empty() {
                // One write for both.
                reworded.extend_from_slice(&rest[..admitted]);
                gate.passed(admitted as u64);
                passed += admitted;
                continue;
            }
            let written = if last && admitted == rest.len() {
                writer.poll_write_last(cx, rest).map_err(Broken::Writer)
            } else {
                write_some(cx, writer, &rest[..admitted])
            };
            match written {
                Poll::Pending => break Rest::Pending,
                Poll::Ready(Ok(0)) => break Rest::Broken(nothing_written()),
                Poll::Ready(Err(broken)) => break Rest::Broken(broken),
                Poll::Ready(Ok(written)) => {
                    count(written);
                    gate.passed(written as u64);
                    passed += written;
                }
            }
        };
        if reworded.is_empty() {
            return (passed, rest);
        }
        while !reworded.is_empty() {
            match write_some(cx, writer, &reworded) {
                Poll::Ready(Ok(written)) => {
                    count(written);
                    reworded.advance(written);
                }
                Poll::Ready(Err(broken)) => return (passed, Rest::Broken(broken)),
                Poll::Pending => {
                    self.admitted = reworded.freeze();
                    break;
                }
            }
        }
        // What stops the rest is asked again behind it.
        (passed, Rest::Reworded)
    }
}

/// Why bytes were left.
enum Rest {
    /// There are none.
    None,
    /// They are too few to decide.
    More,
    /// They wait for the other direction.
    Wait,
    /// What was reworded goes before them.
    Reworded,
    /// The writer does not take them now.
    Pending,
    Stop(Stop),
    /// The writer has failed.
    Broken(Broken),
}

fn nothing_written() -> Broken {
    Broken::Writer(io::ErrorKind::WriteZero.into())
}
