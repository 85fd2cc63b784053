//! One connection, as it is overheard.

use ops_proxy::classify::PEER_ALPN;
use ops_proxy::wire::{Line, LineBuffer};

use super::records::Records;
use super::requests::Requests;
use crate::connection::End;

/// What a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing was written by its dialler yet, or nothing of the protocol.
    Other,
    /// A control connection.
    Link,
    /// A DATA connection.
    Data,
}

/// What an idle DATA connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idled {
    /// All that it has carried was in frames.
    Framed,
    /// Its last request has left the frames.
    LeftFrames,
    /// It was inside TLS, where bulk is copied.
    InTls,
}

#[derive(Debug)]
enum Reading {
    /// The first bytes of the dialler, until they say what it is.
    Opening(Vec<u8>),
    /// Lines, both ways.
    Lines { dialler: LineBuffer, acceptor: LineBuffer },
    /// An idle DATA connection, and the requests that come on it.
    Idle { dialler: Requests, acceptor: Requests },
    /// TLS between peers, and what is heard within.
    Tls { dialler: Records, acceptor: Records, within: Box<Heard> },
    /// Nothing more to learn.
    Done,
}

/// What was heard on one connection.
#[derive(Debug)]
pub(super) struct Heard {
    /// What it is.
    pub(super) role: Role,
    reading: Reading,
}

impl Heard {
    /// Nothing yet.
    pub(super) fn nothing() -> Self {
        Self { role: Role::Other, reading: Reading::Opening(Vec::new()) }
    }

    /// Whether this is a DATA connection that waits for a request.
    pub(super) fn is_idle(&self) -> bool {
        match &self.reading {
            Reading::Idle { dialler, acceptor } => dialler.is_idle() && acceptor.is_idle(),
            Reading::Tls { within, .. } => within.is_idle(),
            _ => false,
        }
    }

    /// What an idle DATA connection came to; `None` if this is none.
    pub(super) fn idled(&self) -> Option<Idled> {
        match &self.reading {
            Reading::Idle { dialler, acceptor } => {
                let left_frames = dialler.is_raw() || acceptor.is_raw();
                Some(if left_frames { Idled::LeftFrames } else { Idled::Framed })
            }
            Reading::Tls { within, .. } => within.idled().map(|_| Idled::InTls),
            _ => None,
        }
    }

    /// Takes in what one end wrote; returns the lines that it ended.
    pub(super) fn wrote(&mut self, end: End, bytes: &[u8]) -> Vec<String> {
        if let Reading::Opening(first) = &mut self.reading {
            if end == End::Acceptor {
                // Only a server that speaks first, and so no protocol of ours.
                self.reading = Reading::Done;
                return Vec::new();
            }
            first.extend_from_slice(bytes);
            let opening = std::mem::take(first);
            return self.opened(opening);
        }
        match &mut self.reading {
            Reading::Lines { dialler, acceptor } => {
                let buffer = if end == End::Dialler { dialler } else { acceptor };
                buffer.push(bytes);
                take_lines(buffer)
            }
            Reading::Idle { dialler, acceptor } => {
                let requests = if end == End::Dialler { dialler } else { acceptor };
                requests.wrote(bytes)
            }
            Reading::Tls { dialler, acceptor, within } => {
                let records = if end == End::Dialler { dialler } else { acceptor };
                let content = records.wrote(bytes);
                if content.is_empty() {
                    return Vec::new();
                }
                let lines = within.wrote(end, &content);
                self.role = within.role;
                lines
            }
            Reading::Opening(_) | Reading::Done => Vec::new(),
        }
    }

    fn opened(&mut self, opening: Vec<u8>) -> Vec<String> {
        if opening.first() == Some(&HANDSHAKE) && Records::first_is_open(&opening) {
            self.reading = Reading::Opening(opening);
            return Vec::new();
        }
        if is_peer_hello(&opening) {
            let mut dialler = Records::default();
            dialler.wrote(&opening);
            let acceptor = Records::default();
            self.reading = Reading::Tls { dialler, acceptor, within: Box::new(Self::nothing()) };
            return Vec::new();
        }
        let starts = |verb: &[u8]| verb.starts_with(&opening) || opening.starts_with(verb);
        if starts(b"HELLO:") && opening.len() >= 6 {
            self.role = Role::Link;
            let mut dialler = LineBuffer::starting_with(&opening);
            let lines = take_lines(&mut dialler);
            self.reading = Reading::Lines { dialler, acceptor: LineBuffer::default() };
            return lines;
        }
        let line_end = opening.iter().position(|&byte| byte == b'\n');
        if starts(b"DATA:") && opening.len() >= 5 {
            self.role = Role::Data;
            if let Some(line_end) = line_end {
                let line = String::from_utf8_lossy(&opening[..line_end]).into_owned();
                self.reading = match Line::parse(line.as_bytes()) {
                    Ok(Line::DataIdle { .. }) => Reading::Idle {
                        dialler: Requests::default(),
                        acceptor: Requests::default(),
                    },
                    _ => Reading::Done,
                };
                return vec![line];
            }
        }
        if starts(b"OPEN:")
            && let Some(line_end) = line_end
        {
            // What follows is a request's.
            self.reading = Reading::Done;
            return vec![String::from_utf8_lossy(&opening[..line_end]).into_owned()];
        }
        let undecided = [&b"HELLO:"[..], b"DATA:", b"OPEN:"].into_iter().any(starts);
        self.reading = if undecided && opening.len() < 128 {
            Reading::Opening(opening)
        } else {
            Reading::Done
        };
        Vec::new()
    }
}

/// The type of a record that is part of a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Whether this is a ClientHello of a peer.
fn is_peer_hello(opening: &[u8]) -> bool {
    opening.first() == Some(&HANDSHAKE)
        && opening.windows(PEER_ALPN.len()).any(|part| part == PEER_ALPN)
}

fn take_lines(buffer: &mut LineBuffer) -> Vec<String> {
    let lines = std::iter::from_fn(|| buffer.next_line().ok().flatten());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}
