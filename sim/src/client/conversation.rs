//! Several HTTP requests on one connection, and whether each answer is the right one: of
//! a backend that may answer, to this request, with nothing lost or added.
//!
//! A fault excuses that the connection ends. It never excuses a wrong answer.

use std::cell::Cell;
use std::io;

use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::directions::{both, failed};
use super::orders::Order;
use super::outcome::{Answered, Ending};
use super::pace::{Reader, Writer};
use super::progress::Progress;
use super::script::{Turn, turns};
use super::told::{Asked, Told};
use crate::ground::Ground;
use crate::message::{BACKEND, Chunks, Head, READ, TOLD, trailers_of};
use crate::payload::Pattern;
use crate::scenario::steps::Answer;

/// What a peer itself may answer to a request without fault: that it cannot be forwarded.
pub(super) const NOT_FORWARDED: [u16; 6] = [404, 408, 502, 503, 504, 508];

/// Has all exchanges of the order on one connection.
pub(super) async fn converse<N: Ground>(
    progress: &Progress<N>,
    order: &Order,
    seed: u64,
    reader: &mut Reader<ReadHalf<N::Stream>>,
    writer: &mut Writer<WriteHalf<N::Stream>>,
) -> Result<Ending, Ending> {
    let turns = turns(order, seed);
    let signals = Signals::default();
    let abort_after = order.request.abort_after.map_or(u64::MAX, |size| size.0);
    let (ahead, told, left) = (Vec::new(), Told::default(), abort_after);
    let mut ear = Ear { progress, order, reader, ahead, told, left };
    let half_close = order.request.half_close;
    let sending = send(writer, &turns, &signals, order);
    let hearing = async {
        for (number, turn) in turns.iter().enumerate() {
            match ear.answer(turn, number, &signals).await? {
                Then::GoOn => signals.answered(number),
                Then::Last => {
                    ear.end().await?;
                    return Ok(Ending::Whole);
                }
                // It is the last answer, and more were to come.
                Then::Refused if number + 1 < turns.len() => return Err(Ending::Closed),
                Then::Refused => return Ok(Ending::Whole),
            }
        }
        if half_close {
            ear.end().await?;
        }
        Ok(Ending::Whole)
    };
    both(sending, hearing).await
}

/// What the client has heard that lets it go on sending.
#[derive(Default)]
struct Signals {
    /// Exchanges that are wholly answered.
    answers: Cell<usize>,
    /// Exchanges whose body may follow, if it has waited.
    bodies: Cell<usize>,
    changed: Notify,
}

impl Signals {
    fn answered(&self, number: usize) {
        self.answers.set(number + 1);
        self.changed.notify_one();
    }

    fn body_may_follow(&self, number: usize) {
        self.bodies.set(number + 1);
        self.changed.notify_one();
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            self.changed.notified().await;
        }
    }
}

async fn send(
    writer: &mut Writer<impl AsyncWrite + Unpin>,
    turns: &[Turn<'_>],
    signals: &Signals,
    order: &Order,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for (number, turn) in turns.iter().enumerate() {
        // What is wrong with a body that is too long shows only behind it.
        if !order.request.pipelined && !turn.is_bad {
            writer.send(&std::mem::take(&mut bytes)).await?;
            signals.until(|signals| signals.answers.get() >= number).await;
        }
        bytes.extend_from_slice(&turn.head);
        if turn.waits {
            writer.send(&std::mem::take(&mut bytes)).await?;
            let heard =
                |signals: &Signals| signals.bodies.get() > number || signals.answers.get() > number;
            signals.until(heard).await;
        }
        bytes.extend_from_slice(&turn.body);
    }
    writer.send(&bytes).await?;
    if order.request.half_close { writer.finish().await } else { Ok(()) }
}

/// What follows an answer.
enum Then {
    GoOn,
    /// Nothing: the connection ends.
    Last,
    /// Nothing: a peer could not forward, and says that it ends the connection.
    Refused,
}

/// The client's ear on one connection.
struct Ear<'a, N: Ground> {
    progress: &'a Progress<N>,
    order: &'a Order,
    reader: &'a mut Reader<ReadHalf<N::Stream>>,
    /// Heard, and part of nothing yet.
    ahead: Vec<u8>,
    /// What backends have said so far that they were told.
    told: Told,
    /// Payload after which the client has enough, in bytes.
    left: u64,
}

impl<N: Ground> Ear<'_, N> {
    /// 0 at the end.
    async fn more(&mut self) -> Result<usize, Ending> {
        let mut buffer = [0; 4096];
        let bytes = self.reader.read(&mut buffer).await.map_err(failed)?;
        self.ahead.extend_from_slice(&buffer[..bytes]);
        if bytes > 0 {
            self.progress.answered();
        }
        Ok(bytes)
    }

    /// At least a byte.
    async fn some(&mut self) -> Result<(), Ending> {
        match self.ahead.is_empty() && self.more().await? == 0 {
            true => Err(Ending::Cut),
            false => Ok(()),
        }
    }

    /// Payload of a backend has come.
    fn received(&mut self, bytes: usize) -> Result<(), Ending> {
        self.progress.received(bytes as u64);
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 { Err(Ending::Left) } else { Ok(()) }
    }

    async fn head(&mut self) -> Result<(u16, Head), Ending> {
        loop {
            match Head::read(&self.ahead) {
                Ok(Some(head)) => {
                    self.ahead.drain(..head.bytes);
                    let status = head.line.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3));
                    let status = status.and_then(|status| status.parse().ok());
                    let wrong = || wrong(&format!("no status line: {:?}", head.line));
                    return Ok((status.ok_or_else(wrong)?, head));
                }
                Ok(None) => {}
                Err(_) => return Err(wrong("the head of an answer is malformed")),
            }
            if self.more().await? == 0 {
                return Err(if self.ahead.is_empty() { Ending::Closed } else { Ending::Cut });
            }
        }
    }

    /// The whole answer to this turn.
    async fn answer(
        &mut self,
        turn: &Turn<'_>,
        number: usize,
        signals: &Signals,
    ) -> Result<Then, Ending> {
        let (mut interim, mut continued) = (0, 0);
        let (status, head) = loop {
            match self.head().await? {
                (100, _) => {
                    continued += 1;
                    signals.body_may_follow(number);
                }
                (103, _) => interim += 1,
                answer => break answer,
            }
        };
        let Some(by) = head.field(BACKEND) else { return self.refusal(turn, status, &head).await };
        let told = |what: &str| wrong(&format!("{by} answered {status}: {what}"));
        if !turn.by.backends.contains(by) {
            return Err(told(&format!("it does not serve {}", turn.exchange.name)));
        }
        let answered = Answered { status, by_backend: true };
        let Some(read) = head.field(READ) else {
            // It has not read the request, and resets the connection within its answer.
            if turn.exchange.is_head() {
                self.progress.got(answered);
                return Ok(Then::GoOn);
            }
            loop {
                self.some().await?;
                let bytes = std::mem::take(&mut self.ahead).len();
                self.received(bytes)?;
            }
        };
        if turn.is_bad {
            return Err(told("the request had to be refused"));
        }
        if read != turn.reads {
            return Err(told(&format!("it has read {read:?}, not {:?}", turn.reads)));
        }
        self.was_told(turn, head.field(TOLD)).map_err(|what| told(&what))?;
        if status != turn.exchange.answer.status() {
            return Err(told(&format!("it sent {}", turn.exchange.answer.status())));
        }
        let expected = (turn.exchange.interim, u32::from(turn.exchange.expects));
        if (interim, continued) != expected {
            return Err(told(&format!("{interim} and {continued} interim, not {expected:?}")));
        }
        self.body(turn, &head).await?;
        self.progress.sent_head(turn.lasting);
        self.progress.got(answered);
        if turn.exchange.answer == Answer::Upgrade {
            signals.body_may_follow(number);
            self.exactly(turn.up, turn.exchange.upload.0).await?;
        }
        self.progress.sent(turn.body.len() as u64);
        let is_over = turn.exchange.closes || turn.exchange.answer == Answer::UntilClose;
        Ok(if is_over { Then::Last } else { Then::GoOn })
    }

    /// What the backend says that it was told of the client.
    fn was_told(&mut self, turn: &Turn<'_>, said: Option<&str>) -> Result<(), String> {
        let Order { client, request, .. } = self.order;
        let (host, name) = (&turn.exchange.name, &turn.exchange.plain_name());
        let asked = Asked { client, tells: &turn.by.tells, host, name, claims: &request.claims };
        let progress = self.progress;
        if self.told.check(said, asked, |id| progress.is_new(id))? {
            progress.was_told();
        }
        Ok(())
    }

    /// The body of an answer, as its backend sent it.
    async fn body(&mut self, turn: &Turn<'_>, head: &Head) -> Result<(), Ending> {
        let length = turn.exchange.download.0;
        let has_length = matches!(turn.exchange.answer, Answer::Length | Answer::NotModified);
        if has_length != head.length().is_some_and(|said| said == length) {
            return Err(wrong("the length of an answer is another"));
        }
        if head.is_chunked() != (turn.exchange.answer == Answer::Chunked) {
            return Err(wrong("the framing of an answer is another"));
        }
        match turn.exchange.answer {
            _ if turn.exchange.is_bodiless() => Ok(()),
            Answer::Chunked => self.chunks(turn.down(), length).await,
            Answer::UntilClose => {
                self.exactly(turn.down(), length).await?;
                self.end().await
            }
            _ => self.exactly(turn.down(), length).await,
        }
    }

    async fn exactly(&mut self, pattern: Pattern, length: u64) -> Result<(), Ending> {
        let mut got = 0;
        while got < length {
            self.some().await?;
            let most = usize::try_from(length - got).unwrap_or(usize::MAX);
            let part: Vec<u8> = self.ahead.drain(..most.min(self.ahead.len())).collect();
            if !pattern.matches(got, &part) {
                return Err(wrong(&format!("foreign bytes after {got}")));
            }
            got += part.len() as u64;
            self.received(part.len())?;
        }
        Ok(())
    }

    async fn chunks(&mut self, pattern: Pattern, length: u64) -> Result<(), Ending> {
        let mut chunks = Chunks::default();
        while !chunks.is_over() {
            self.some().await?;
            let taken = chunks.take(&self.ahead).map_err(|_| wrong("a chunk is malformed"))?;
            self.ahead.drain(..taken);
            self.received(taken)?;
        }
        if chunks.body.len() as u64 != length || !pattern.matches(0, &chunks.body) {
            return Err(wrong("the chunks hold something else"));
        }
        if chunks.trailers != trailers_of(&chunks.body) {
            return Err(wrong(&format!("the trailers are {:?}", chunks.trailers)));
        }
        Ok(())
    }

    /// An answer of a peer, which could not forward or would not.
    async fn refusal(&mut self, turn: &Turn<'_>, status: u16, head: &Head) -> Result<Then, Ending> {
        let may_be = NOT_FORWARDED.contains(&status) || (turn.is_bad && status == 400);
        let length = head.length();
        let (true, Some(length)) = (may_be, length) else {
            return Err(wrong(&format!("nobody may answer {status}: {:?}", turn.reads)));
        };
        self.progress.got(Answered { status, by_backend: false });
        // Behind the last answer, it makes no difference where that ends.
        if !turn.exchange.is_head() {
            while (self.ahead.len() as u64) < length {
                if self.more().await? == 0 {
                    return Err(Ending::Cut);
                }
            }
            let text: Vec<u8> = self.ahead.drain(..length as usize).collect();
            if !text.starts_with(b"ops-proxy: ") {
                return Err(wrong("a refusal that no peer has written"));
            }
        }
        match (turn.is_bad, head.closes()) {
            (true, _) => Ok(Then::Last),
            (false, true) => Ok(Then::Refused),
            (false, false) => Ok(Then::GoOn),
        }
    }

    /// Nothing may follow.
    async fn end(&mut self) -> Result<(), Ending> {
        // A reset ends it as well.
        let ended = self.ahead.is_empty() && matches!(self.more().await, Ok(0) | Err(_));
        if ended { Ok(()) } else { Err(wrong("more came than was asked for")) }
    }
}

fn wrong(what: &str) -> Ending {
    Ending::Corrupt(what.to_owned())
}
