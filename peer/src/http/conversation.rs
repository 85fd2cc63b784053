//! A stretch of requests for one name, and their answers: which bytes of either direction
//! may be passed on, and when the stretch is over.
//!
//! As long as the name stays the same, requests go on to the same backend, pipelined or
//! not. Another name waits until all answers before it are complete.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::admission::{Admission, Stop};
use super::answer::read_answer;
use super::body::{Body, Part};
use super::flaw::Flaw;
use super::h2::Watch;
use super::head_end::HeadEnd;
use super::request::{Asks, RequestHead, read_request};
use super::told::Told;
use crate::names::Name;

/// A stretch of requests for one name.
#[derive(Debug)]
pub struct Conversation {
    name: Name,
    /// Where the requests are.
    asking: Stage<Asking>,
    /// Where the answers are.
    answering: Stage<()>,
    /// Requests that were passed on, at least in part, and are not wholly answered.
    unanswered: VecDeque<Unanswered>,
    /// No request or answer so far has asked for the connection to be closed.
    persists: bool,
    /// Requests that have begun.
    asked: u64,
    /// What the backend is told of the client with each.
    told: Option<Told>,
    /// Watches the requests of HTTP/2. Both directions are blind to HTTP/1 then.
    http2: Option<Box<Watch>>,
    /// The last answer is complete, and more was asked for.
    is_over: bool,
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
}

#[derive(Debug, Clone, Copy)]
struct Unanswered {
    asks: Asks,
    upgrade: bool,
    closes: bool,
}

impl Conversation {
    /// A stretch of `name`, before its first byte.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            asking: Stage::Head(HeadEnd::default()),
            answering: Stage::Head(HeadEnd::default()),
            unanswered: VecDeque::new(),
            persists: true,
            asked: 0,
            told: None,
            http2: None,
            is_over: false,
        }
    }

    /// A connection of HTTP/2 for `name`, before its first byte; `was_greeted` as for
    /// [`Watch::of`].
    pub fn http2(name: Name, was_greeted: bool) -> Self {
        Self {
            asking: Stage::Blind,
            answering: Stage::Blind,
            persists: false,
            http2: Some(Box::new(Watch::of(name.clone(), was_greeted))),
            ..Self::new(name)
        }
    }

    /// From now on, the backend is told this with each request.
    pub fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// The length of the request head that comes next and was looked at as a whole.
    pub fn request_head(&self) -> Option<usize> {
        match self.asking {
            Stage::Message { head, .. } if head > 0 => Some(head),
            _ => None,
        }
    }

    /// Writes `head`, the request head that comes next, as the backend is to get it.
    pub fn reword(&self, head: &[u8], out: &mut BytesMut) {
        match &self.told {
            Some(told) => told.reword(self.asked, head, out),
            None => out.extend_from_slice(head),
        }
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
                Stage::Waiting(Asking::Other) => return Admission::Stop(Stop::Other),
                Stage::Waiting(Asking::Flawed(flaw)) => {
                    return Admission::Stop(Stop::Flawed(*flaw));
                }
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
                // What follows may be of another protocol, if the answer says so.
                Stage::Head(_) if self.unanswered.back().is_some_and(|last| last.upgrade) => {
                    return Admission::Wait;
                }
                Stage::Head(end) => match request_at(end, bytes) {
                    Ok(None) => return Admission::More,
                    Ok(Some((length, head))) => self.begin(length, head),
                    Err(flaw) => self.asking = Stage::Waiting(Asking::Flawed(flaw)),
                },
            }
        }
    }

    fn begin(&mut self, length: usize, head: RequestHead) {
        let RequestHead { name, asks, body, closes, upgrade, .. } = head;
        if name != self.name || asks == Asks::Connect {
            self.asking = Stage::Waiting(Asking::Other);
            return;
        }
        self.asked += 1;
        self.unanswered.push_back(Unanswered { asks, upgrade, closes });
        self.asking = Stage::Message { head: length, body };
    }

    /// So many bytes of the client have been passed on.
    pub fn passed_request(&mut self, count: u64) {
        match &mut self.http2 {
            Some(watch) => watch.passed(count),
            None => passed(&mut self.asking, count),
        }
    }

    /// What may be done with `bytes`, the next ones of the backend.
    pub fn admit_answer(&mut self, bytes: &[u8]) -> Admission {
        loop {
            match &mut self.answering {
                Stage::Blind => return Admission::Pass(u64::MAX),
                Stage::Waiting(()) => return Admission::Stop(Stop::Unasked),
                Stage::Broken(flaw) => return Admission::Stop(Stop::Flawed(*flaw)),
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
                    let Some(front) = self.unanswered.front().copied() else {
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

    fn answer(&mut self, answer: Answer, asked: Unanswered) {
        match answer {
            Answer::Interim(head) => {
                self.answering = Stage::Message { head, body: Body::none() };
                // Another answer to the same request follows: it is asked for once more.
                self.unanswered.push_front(asked);
            }
            Answer::Final { head, body, closes } => {
                self.persists &= !closes && !asked.closes;
                self.answering = Stage::Message { head, body };
            }
            // Its head is passed with what follows it.
            Answer::Switched => {
                self.unanswered.clear();
                (self.asking, self.answering) = (Stage::Blind, Stage::Blind);
                self.persists = false;
            }
        }
    }

    /// So many bytes of the backend have been passed on.
    pub fn passed_answer(&mut self, count: u64) {
        passed(&mut self.answering, count);
        if let Stage::Message { head: 0, body } = &self.answering
            && body.is_over()
        {
            self.answered();
        }
    }

    /// An answer is complete. Behind one that closes the connection there is no other
    /// (RFC 9112 §9.6).
    fn answered(&mut self) {
        self.answering = Stage::Head(HeadEnd::default());
        self.unanswered.pop_front();
        if !self.persists && !self.unanswered.is_empty() {
            self.unanswered.clear();
            self.is_over = true;
        }
    }

    /// The backend has closed its direction. Whether that cuts an answer short.
    pub fn answers_ended(&mut self) -> bool {
        match &self.answering {
            Stage::Message { head: 0, body } if body.is_until_close() => {
                self.answered();
                false
            }
            Stage::Blind => false,
            Stage::Head(_) => !self.unanswered.is_empty(),
            Stage::Message { .. } | Stage::Waiting(()) | Stage::Broken(_) => true,
        }
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
        self.is_over
    }

    /// Whether a request waits for its answer.
    pub fn owes_answer(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Whether bytes of the client wait for an answer.
    pub fn is_waiting(&self) -> bool {
        let waits_for_protocol = self.unanswered.back().is_some_and(|last| last.upgrade);
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

/// The request head that `bytes` begin with, and its length, once it is whole.
fn request_at(end: &mut HeadEnd, bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, Flaw> {
    // One empty line before it is passed over (RFC 9112 §2.2).
    let start = match bytes {
        [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    if start > 0 {
        end.begin_at(start);
    }
    let Some(length) = end.find(bytes)? else { return Ok(None) };
    Ok(Some((length, read_request(&bytes[start..length])?)))
}

enum Answer {
    Interim(usize),
    Final { head: usize, body: Body, closes: bool },
    Switched,
}

/// The head of an answer that `bytes` begin with, once it is whole.
fn answer_at(end: &mut HeadEnd, bytes: &[u8], asked: Unanswered) -> Result<Option<Answer>, Flaw> {
    let Some(length) = end.find(bytes)? else { return Ok(None) };
    let head = read_answer(&bytes[..length], asked.asks)?;
    Ok(Some(match head.status {
        101 if asked.upgrade => Answer::Switched,
        101 => return Err(Flaw::Framing),
        _ if head.is_interim() => Answer::Interim(length),
        _ => Answer::Final { head: length, body: head.body, closes: head.closes },
    }))
}
