//! A stretch of requests for one name, and their answers: which bytes of either direction
//! may be passed on, and when the stretch is over.
//!
//! As long as the name stays the same, requests go on to the same backend, pipelined or
//! not. Another name waits until all answers before it are complete.

use std::collections::VecDeque;
use std::vec::Drain;

use bytes::BytesMut;
use tokio::time::Instant;

use super::admission::{Admission, Standstill, Stop};
use super::body::{Body, Part};
use super::exchange::{Exchange, RequestLine};
use super::flaw::Flaw;
use super::h2::Watch;
use super::head_at::{Answer, Asked, answer_at, request_at};
use super::head_end::HeadEnd;
use super::request::{Asks, RequestHead};
use super::told::Told;
use crate::names::Name;

/// A stretch of requests for one name. Whoever drives it tells it the
/// [time](Self::at) and takes the exchanges that are [finished](Self::finished).
#[derive(Debug)]
pub struct Conversation {
    name: Name,
    now: Instant,
    /// Whether exchanges keep what they asked for.
    keeps_lines: bool,
    /// Where the requests are.
    asking: Stage<Asking>,
    /// Where the answers are.
    answering: Stage<()>,
    /// Requests that were passed on, at least in part, and are not wholly answered.
    unanswered: VecDeque<Unanswered>,
    /// The status of the answer that is passed on; none while it is an interim one.
    status: Option<u16>,
    /// The request that was answered with 101, until its tunnel ends.
    upgraded: Option<Exchange>,
    finished: Vec<Exchange>,
    /// Since when a head is there in part.
    head_since: Option<Instant>,
    /// Since when all requests so far are answered.
    answered_since: Instant,
    /// No request or answer so far has asked for the connection to be closed.
    persists: bool,
    /// Requests that have begun.
    asked: u64,
    /// What the backend is told of the client with each.
    told: Option<Told>,
    /// Watches the requests of HTTP/2. Both directions are blind to HTTP/1 then.
    http2: Option<Box<Watch>>,
    /// More was asked for than the last request.
    more_came: bool,
    /// Whether this peer takes leave of the client.
    leave: Leave,
}

/// How far the client has been told that no more requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    No,
    /// With the next answer behind which no other is owed.
    Wanted,
    /// With the head of an answer, of which nothing has been passed on.
    InHead,
    /// It has been.
    Said,
}

/// Where one direction is.
#[derive(Debug)]
enum Stage<H> {
    /// In a head, or before it.
    Head(HeadEnd),
    /// At a head of another stretch, which waits for its turn.
    Waiting(H),
    /// Within a message: first its head, of which so many bytes are left, then its body.
    Message { head: usize, body: Body },
    /// Within a message that has no one meaning; its head has been passed on.
    Broken(Flaw),
    /// Not HTTP/1, or not any more: 101.
    Blind,
}

/// What waits for the answers before it.
#[derive(Debug, Clone, Copy)]
enum Asking {
    /// A head for another name, or a CONNECT.
    Other,
    Flawed(Flaw),
    /// A head that does not get whole.
    Late,
}

#[derive(Debug)]
struct Unanswered {
    asked: Asked,
    exchange: Exchange,
}

impl Conversation {
    /// A stretch of `name`, before its first byte.
    pub fn new(name: Name, now: Instant) -> Self {
        Self {
            name,
            now,
            keeps_lines: false,
            status: None,
            upgraded: None,
            finished: Vec::new(),
            head_since: None,
            answered_since: now,
            asking: Stage::Head(HeadEnd::default()),
            answering: Stage::Head(HeadEnd::default()),
            unanswered: VecDeque::new(),
            persists: true,
            asked: 0,
            told: None,
            http2: None,
            more_came: false,
            leave: Leave::No,
        }
    }

    /// A connection of HTTP/2 for `name`, before its first byte; `was_greeted` as for
    /// [`Watch::of`].
    pub fn http2(name: Name, was_greeted: bool, now: Instant) -> Self {
        Self {
            asking: Stage::Blind,
            answering: Stage::Blind,
            persists: false,
            http2: Some(Box::new(Watch::of(name.clone(), was_greeted))),
            ..Self::new(name, now)
        }
    }

    /// From now on, the backend is told this with each request.
    pub fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// No more requests are wanted. The next answer behind which no other is owed says that
    /// the connection closes, and no request after it is taken.
    pub fn take_leave(&mut self) {
        if self.leave == Leave::No {
            self.leave = Leave::Wanted;
        }
    }

    /// Whether the client was told that the last answer was the last.
    pub fn has_taken_leave(&self) -> bool {
        self.leave == Leave::Said
    }

    /// Writes `head`, the head of an answer that comes next, with the leave that is taken.
    pub fn reword_answer(&mut self, head: &[u8], out: &mut BytesMut) {
        // RFC 9112 §9.6: whatever else it says, a connection with this option closes.
        const LAST: &[u8] = b"Connection: close\r\n\r\n";
        out.extend_from_slice(&head[..head.len() - b"\r\n".len()]);
        out.extend_from_slice(LAST);
        self.leave = Leave::Said;
        if let Some(Unanswered { exchange, .. }) = self.unanswered.front_mut() {
            exchange.received += (LAST.len() - b"\r\n".len()) as u64;
        }
    }

    /// The length of the request head that comes next and was looked at as a whole.
    pub fn request_head(&self) -> Option<usize> {
        match self.asking {
            Stage::Message { head, .. } if head > 0 => Some(head),
            _ => None,
        }
    }

    /// Writes `head`, the request head that comes next, as the backend is to get it.
    pub fn reword(&mut self, head: &[u8], out: &mut BytesMut) {
        let Some(told) = &mut self.told else { return out.extend_from_slice(head) };
        let before = out.len();
        told.reword(self.asked, head, out);
        if let Some(Unanswered { exchange, .. }) = self.unanswered.back_mut() {
            exchange.reworded(head.len(), out.len() - before);
        }
    }

    /// The heads of the requests so far have gone on in other words: each of the first length
    /// as one of the second.
    pub fn reworded(&mut self, lengths: impl IntoIterator<Item = (usize, usize)>) {
        for (Unanswered { exchange, .. }, (head, instead)) in
            self.unanswered.iter_mut().zip(lengths)
        {
            exchange.reworded(head, instead);
        }
    }

    /// Has its exchanges keep what they ask for.
    pub fn keep_lines(&mut self) {
        self.keeps_lines = true;
    }

    /// What happens from here on happens at `now`.
    pub fn at(&mut self, now: Instant) {
        self.now = now;
    }

    /// Takes the exchanges that have ended, in their order.
    pub fn finished(&mut self) -> Drain<'_, Exchange> {
        self.finished.drain(..)
    }

    /// Nothing more is passed on: what is not answered ends here, after this peer has
    /// answered the first of it with `status`, if it has. A tunnel has ended as it should if
    /// the stretch `is_clean`.
    pub fn end(&mut self, status: Option<u16>, is_clean: bool) {
        let Self { upgraded, unanswered, finished, now, .. } = self;
        finished.extend(upgraded.take().map(|exchange| exchange.end(is_clean, *now)));
        let mut status = status;
        for Unanswered { exchange, .. } in unanswered.drain(..) {
            finished.push(exchange.answered_here(status.take(), *now));
        }
    }

    /// The exchange of the first request, where none of them got as far as a backend. `None`
    /// if there was none.
    pub fn into_first(self) -> Option<Exchange> {
        let first = self.unanswered.into_iter().next()?;
        Some(Exchange { sent: 0, ..first.exchange })
    }

    /// The name that all its requests are for.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What may be done with `bytes`, the next ones of the client.
    pub fn admit_request(&mut self, bytes: &[u8]) -> Admission {
        if let Some(watch) = &mut self.http2 {
            return watch.admit(bytes);
        }
        loop {
            match &mut self.asking {
                Stage::Blind => return Admission::Pass(u64::MAX),
                Stage::Waiting(_) if !self.unanswered.is_empty() => return Admission::Wait,
                // Nobody is told what is wrong with it, either.
                Stage::Waiting(_) | Stage::Broken(_)
                    if !self.persists && self.unanswered.is_empty() =>
                {
                    self.more_came = true;
                    return Admission::Wait;
                }
                Stage::Waiting(Asking::Other) => return Admission::Stop(Stop::Other),
                Stage::Waiting(Asking::Flawed(flaw)) => {
                    return Admission::Stop(Stop::Flawed(*flaw));
                }
                Stage::Waiting(Asking::Late) => return Admission::Stop(Stop::Late),
                Stage::Message { head, .. } if *head > 0 && self.told.is_some() => {
                    return Admission::Reword(*head);
                }
                Stage::Message { head, body } => match next_of(*head, body, bytes) {
                    Ok(Part::Bytes(count)) => return Admission::Pass(count),
                    Ok(Part::More) => return Admission::More,
                    Ok(Part::End) => self.asking = Stage::Head(HeadEnd::default()),
                    Err(flaw) => self.asking = Stage::Broken(flaw),
                },
                // Its own answer may never come, for the backend waits for the rest.
                Stage::Broken(_) if self.unanswered.len() > 1 => return Admission::Wait,
                Stage::Broken(flaw) => return Admission::Stop(Stop::Flawed(*flaw)),
                Stage::Head(_) if bytes.is_empty() => return Admission::More,
                Stage::Head(_) if matches!(self.leave, Leave::InHead | Leave::Said) => {
                    return Admission::Wait;
                }
                // Behind the last there is no other (RFC 9112 §9.6). Whoever is not read is not
                // seen to leave.
                Stage::Head(_)
                    if !self.persists
                        || self.unanswered.back().is_some_and(|last| last.asked.closes) =>
                {
                    self.more_came = true;
                    return Admission::Skip(bytes.len());
                }
                // What follows may be of another protocol, if the answer says so.
                Stage::Head(_) if self.unanswered.back().is_some_and(|last| last.asked.upgrade) => {
                    return Admission::Wait;
                }
                Stage::Head(end) => match request_at(end, bytes, &self.name) {
                    Ok(None) => {
                        // An empty line begins no head.
                        if !b"\r\n".starts_with(bytes) {
                            self.head_since.get_or_insert(self.now);
                        }
                        return Admission::More;
                    }
                    Ok(Some((length, head))) => self.begin(head, &bytes[..length]),
                    Err(flaw) => self.asking = Stage::Waiting(Asking::Flawed(flaw)),
                },
            }
        }
    }

    fn begin(&mut self, head: RequestHead, bytes: &[u8]) {
        let RequestHead { name, asks, body, closes, upgrade, .. } = head;
        self.head_since = None;
        if name != self.name || asks == Asks::Connect {
            self.asking = Stage::Waiting(Asking::Other);
            return;
        }
        self.asked += 1;
        let line = if self.keeps_lines { RequestLine::of(bytes) } else { None };
        let exchange = Exchange::begin(self.asked, line, self.now);
        let asked = Asked { asks, upgrade, closes };
        self.unanswered.push_back(Unanswered { asked, exchange });
        self.asking = Stage::Message { head: bytes.len(), body };
    }

    /// So many bytes of the client have been passed on.
    pub fn passed_request(&mut self, count: u64) {
        match &mut self.http2 {
            Some(watch) => watch.passed(count),
            None => passed(&mut self.asking, count),
        }
        let last = self.unanswered.back_mut().map(|last| &mut last.exchange);
        // The answer may be complete before the body is.
        if let Some(exchange) = last.or(self.upgraded.as_mut()) {
            exchange.sent = exchange.sent.wrapping_add(count);
        }
    }

    /// What may be done with `bytes`, the next ones of the backend.
    pub fn admit_answer(&mut self, bytes: &[u8]) -> Admission {
        loop {
            match &mut self.answering {
                Stage::Blind => return Admission::Pass(u64::MAX),
                Stage::Waiting(()) => return Admission::Stop(Stop::Unasked),
                Stage::Broken(flaw) => return Admission::Stop(Stop::Flawed(*flaw)),
                Stage::Message { head, .. } if *head > 0 && self.leave == Leave::InHead => {
                    return Admission::Reword(*head);
                }
                Stage::Message { head, body } => match next_of(*head, body, bytes) {
                    Ok(Part::Bytes(count)) => return Admission::Pass(count),
                    Ok(Part::More) => return Admission::More,
                    Ok(Part::End) => {
                        self.answering = Stage::Head(HeadEnd::default());
                    }
                    Err(flaw) => self.answering = Stage::Broken(flaw),
                },
                Stage::Head(_) if bytes.is_empty() => return Admission::More,
                Stage::Head(end) => {
                    let Some(front) = self.unanswered.front().map(|front| front.asked) else {
                        self.answering = Stage::Waiting(());
                        continue;
                    };
                    match answer_at(end, bytes, front) {
                        Ok(None) => return Admission::More,
                        Ok(Some(answer)) => self.answer(answer, front),
                        Err(flaw) => return Admission::Stop(Stop::Flawed(flaw)),
                    }
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer, asked: Asked) {
        match answer {
            // Another answer to the same request follows.
            Answer::Interim(head) => {
                self.status = None;
                self.answering = Stage::Message { head, body: Body::none() };
            }
            Answer::Final { status, head, body, closes } => {
                self.status = Some(status);
                self.persists &= !closes && !asked.closes;
                let is_last = self.persists && self.unanswered.len() == 1;
                if self.leave == Leave::Wanted && is_last && !body.is_until_close() {
                    (self.leave, self.persists) = (Leave::InHead, false);
                }
                self.answering = Stage::Message { head, body };
            }
            // Its head is passed with what follows it.
            Answer::Switched => {
                self.status = Some(101);
                // Nothing follows a request to switch before its answer.
                self.upgraded = self.unanswered.pop_front().map(|front| front.exchange);
                (self.asking, self.answering) = (Stage::Blind, Stage::Blind);
                (self.persists, self.more_came) = (false, false);
            }
        }
    }

    /// So many bytes of the backend have been passed on.
    pub fn passed_answer(&mut self, count: u64) {
        passed(&mut self.answering, count);
        let front = self.unanswered.front_mut().map(|front| &mut front.exchange);
        if let Some(exchange) = self.upgraded.as_mut().or(front)
            && count > 0
        {
            exchange.received += count;
            if let Some(status) = self.status {
                exchange.answer(status, self.now);
            }
        }
        if let Stage::Message { head: 0, body } = &self.answering
            && body.is_over()
        {
            self.answering = Stage::Head(HeadEnd::default());
            if self.status.is_some() {
                self.finish();
            }
        }
    }

    /// The first request is wholly answered.
    fn finish(&mut self) {
        if let Some(Unanswered { exchange, .. }) = self.unanswered.pop_front() {
            self.finished.push(exchange.end(true, self.now));
        }
        self.answered_since = self.now;
        if !self.persists && !self.unanswered.is_empty() {
            self.end(None, false);
            self.more_came = true;
        }
    }

    /// The backend has closed its direction. Whether that cuts an answer short.
    pub fn answers_ended(&mut self) -> bool {
        match &self.answering {
            Stage::Message { head: 0, body } if body.is_until_close() => {
                self.persists = false;
                self.answering = Stage::Head(HeadEnd::default());
                self.finish();
                false
            }
            Stage::Blind => false,
            Stage::Head(_) => !self.unanswered.is_empty(),
            Stage::Message { .. } | Stage::Waiting(()) | Stage::Broken(_) => true,
        }
    }

    /// Takes back a request of which nothing has been passed on, if nothing else is under
    /// way: it may go elsewhere. Whether that is so.
    pub fn withdraw(&mut self) -> bool {
        let untouched = self.unanswered.len() == 1 && self.unanswered[0].exchange.sent == 0;
        if untouched && matches!(self.answering, Stage::Head(_)) {
            self.unanswered.clear();
            self.asking = Stage::Head(HeadEnd::default());
        }
        self.is_idle()
    }

    /// What it waits for while nothing moves.
    pub fn standstill(&self) -> Standstill {
        match (self.head_since, &self.asking) {
            (Some(since), Stage::Head(_) | Stage::Broken(_)) => Standstill::Head(since),
            _ if self.is_idle() => Standstill::Idle(self.answered_since),
            _ => Standstill::Busy,
        }
    }

    /// The head that has begun did not become whole in time.
    pub fn give_up_head(&mut self) {
        self.asking = Stage::Waiting(Asking::Late);
    }

    /// Whether nothing is under way: all requests so far are answered, and no other has
    /// begun. Never so once HTTP has ended.
    pub fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
            && !matches!(self.answering, Stage::Blind)
            && match &self.asking {
                Stage::Head(_) | Stage::Waiting(_) => true,
                Stage::Message { head, body } => *head == 0 && body.is_over(),
                Stage::Broken(_) | Stage::Blind => false,
            }
    }

    /// Whether the last answer is complete, and requests behind it are never answered.
    pub fn is_over(&self) -> bool {
        self.more_came && !self.owes_answer()
    }

    /// Whether a request waits for its answer.
    pub fn owes_answer(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether the answer that comes next is one to a HEAD, which has no body.
    pub fn owes_head(&self) -> bool {
        self.unanswered.front().is_some_and(|front| front.asked.asks == Asks::Head)
    }

    /// The client has ended its direction behind bytes that wait. Whether the backend gets none
    /// of them, and may be told. Else it is not, for as long as a head may take: what waits is
    /// owed to it if it switches protocols, or is a body of which it must not see the cut before
    /// it has answered.
    pub fn ended_behind(&mut self) -> bool {
        let is_spent = matches!(self.asking, Stage::Waiting(_));
        if !is_spent && self.is_waiting() {
            self.head_since.get_or_insert(self.now);
        }
        is_spent
    }

    /// Whether bytes of the client wait for an answer.
    pub fn is_waiting(&self) -> bool {
        let waits_for_protocol = self.unanswered.back().is_some_and(|last| last.asked.upgrade);
        match &self.asking {
            Stage::Waiting(_) => !self.unanswered.is_empty(),
            Stage::Broken(_) => self.unanswered.len() > 1,
            _ => waits_for_protocol,
        }
    }

    /// Whether a part of an answer has been passed on, and not all of it.
    pub fn is_answering(&self) -> bool {
        matches!(&self.answering, Stage::Message { .. } | Stage::Broken(_) | Stage::Blind)
    }

    /// Whether the client may go on with another request on its connection.
    pub fn persists(&self) -> bool {
        self.persists
    }
}

/// What the next bytes are to a message.
fn next_of(head: usize, body: &mut Body, bytes: &[u8]) -> Result<Part, Flaw> {
    if head == 0 {
        return body.next(bytes);
    }
    // A body of known length is one with its head.
    Ok(Part::Bytes(head as u64 + body.left()))
}

fn passed<H>(stage: &mut Stage<H>, count: u64) {
    if let Stage::Message { head, body } = stage {
        let of_head = count.min(*head as u64);
        *head -= of_head as usize;
        body.passed(count - of_head);
    }
}

#[cfg(test)]
mod tests;
