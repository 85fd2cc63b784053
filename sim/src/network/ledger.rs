//! The fates of connections that turmoil cannot express: resets, death by
//! timeout, and a send window in bytes.
//!
//! turmoil's TCP closes with FIN whatever the sender wants, loses everything for
//! ever in a partition without telling either end, and leaves a writer that
//! waits for window asleep when the other end is gone. This ledger, shared by
//! all hosts of one run, adds what a real kernel would do.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;
use std::time::Duration;

use crate::connection::{End, Pair};

/// Unread bytes that one direction of a connection holds before its writer waits.
pub const WINDOW_BYTES: usize = 64 * 1024;

/// Unread writes that one direction holds before its writer waits. Well below
/// turmoil's own capacity, in which a FIN must always find room.
pub const WINDOW_SEGMENTS: usize = 256;

/// What the other end is told when one end lets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// FIN.
    Clean,
    /// RST.
    Reset,
    /// Nothing: the host has lost its power.
    Nothing,
}

/// What one end of a connection has before it.
#[derive(Debug, Default)]
struct Half {
    /// This end was dropped.
    gone: bool,
    /// The other end reset the connection; its FIN, when it arrives, says so.
    reset_on_end: bool,
    /// The other end is known to have gone: what is written now is refused.
    deserted: bool,
    /// Nothing can be written, or not even read, any more.
    broken: Option<Broken>,
    /// What this end wrote and the other has not read, write by write.
    unread: VecDeque<usize>,
    unread_bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// What was received may still be read.
    Writing(io::ErrorKind),
    Both(io::ErrorKind),
}

impl Half {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// One connection of the run.
#[derive(Debug)]
struct Connection {
    /// Numbered in the order of accepts.
    id: u64,
    halves: [Half; 2],
    /// Cut for good: nothing that this end writes arrives any more.
    severed: [bool; 2],
}

/// All connections that at least one end still holds.
#[derive(Debug, Default)]
pub struct Ledger {
    open: BTreeMap<Pair, Connection>,
    opened: u64,
    /// Ends that went, of which the other end has not been told.
    leaving: Vec<(Pair, End)>,
    /// Connections cut for good, and when both ends notice.
    doomed: Vec<(Duration, Pair)>,
}

impl Ledger {
    /// A connection was accepted; returns its number.
    pub fn open(&mut self, pair: Pair) -> u64 {
        self.opened += 1;
        let connection =
            Connection { id: self.opened, halves: Default::default(), severed: [false; 2] };
        self.open.insert(pair, connection);
        self.opened
    }

    /// The number of a connection that is open.
    pub fn id(&self, pair: Pair) -> Option<u64> {
        self.open.get(&pair).map(|connection| connection.id)
    }

    /// The connections that at least one end still holds.
    pub fn pairs(&self) -> impl Iterator<Item = (Pair, u64)> + '_ {
        self.open.iter().map(|(pair, connection)| (*pair, connection.id))
    }

    fn half(&mut self, pair: Pair, end: End) -> Option<&mut Half> {
        self.open.get_mut(&pair).map(|connection| &mut connection.halves[end as usize])
    }

    /// Why this end can no longer read, if so; else `waker` is woken when that
    /// changes.
    pub fn check_read(&mut self, pair: Pair, end: End, waker: &Waker) -> io::Result<()> {
        let Some(half) = self.half(pair, end) else { return Ok(()) };
        match half.broken {
            Some(Broken::Both(kind)) => Err(kind.into()),
            _ => {
                half.reader = Some(waker.clone());
                Ok(())
            }
        }
    }

    /// How many bytes this end may write now; 0 means wait, and `waker` is woken
    /// when to try again.
    pub fn check_write(&mut self, pair: Pair, end: End, waker: &Waker) -> io::Result<usize> {
        let Some(half) = self.half(pair, end) else { return Ok(WINDOW_BYTES) };
        if let Some(Broken::Writing(kind) | Broken::Both(kind)) = half.broken {
            return Err(kind.into());
        }
        if half.unread.len() >= WINDOW_SEGMENTS || half.unread_bytes >= WINDOW_BYTES {
            // A kernel would have sent RST for the first byte of it by now.
            if half.deserted {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            half.writer = Some(waker.clone());
            return Ok(0);
        }
        Ok(WINDOW_BYTES - half.unread_bytes)
    }

    /// This end handed `bytes` to the network.
    pub fn wrote(&mut self, pair: Pair, end: End, bytes: usize) {
        if let Some(half) = self.half(pair, end) {
            half.unread.push_back(bytes);
            half.unread_bytes += bytes;
        }
    }

    /// This end took `bytes` from the network, which makes room for the other.
    pub fn read(&mut self, pair: Pair, end: End, mut bytes: usize) {
        let Some(half) = self.half(pair, end.other()) else { return };
        half.unread_bytes = half.unread_bytes.saturating_sub(bytes);
        while let Some(first) = half.unread.front_mut() {
            if *first > bytes {
                *first -= bytes;
                break;
            }
            bytes -= *first;
            half.unread.pop_front();
        }
        if let Some(waker) = half.writer.take() {
            waker.wake();
        }
    }

    /// Whether the end of the stream that this end just saw is a reset.
    pub fn end_is_reset(&mut self, pair: Pair, end: End) -> bool {
        self.half(pair, end).is_some_and(|half| half.reset_on_end)
    }

    /// This end lets go. Returns whether it was still open.
    pub fn close(&mut self, pair: Pair, end: End, farewell: Farewell) -> bool {
        let Some(connection) = self.open.get_mut(&pair) else { return false };
        let half = &mut connection.halves[end as usize];
        if std::mem::replace(&mut half.gone, true) {
            return false;
        }
        let other = &mut connection.halves[end.other() as usize];
        if other.gone {
            self.open.remove(&pair);
        } else if farewell != Farewell::Nothing {
            other.reset_on_end |= farewell == Farewell::Reset;
            self.leaving.push((pair, end));
        }
        true
    }

    /// Whether anybody waits to be told that an end has gone.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Tells those whose other end has gone, unless its farewell is still
    /// `in_flight`: from now on they cannot write.
    pub fn tell_leaving(&mut self, mut in_flight: impl FnMut(SocketAddr, SocketAddr) -> bool) {
        let leaving = std::mem::take(&mut self.leaving);
        for (pair, end) in leaving {
            if in_flight(pair.addr(end), pair.addr(end.other())) {
                self.leaving.push((pair, end));
            } else if let Some(half) = self.half(pair, end.other()) {
                let kind = if half.reset_on_end {
                    io::ErrorKind::ConnectionReset
                } else {
                    io::ErrorKind::BrokenPipe
                };
                // A clean close only shows once something is written to it,
                // which turmoil does by itself, unless the window is full.
                half.deserted = true;
                if half.reset_on_end || half.unread_bytes > 0 {
                    half.broken.get_or_insert(Broken::Writing(kind));
                    half.wake();
                }
            }
        }
    }

    /// Every connection on which what one end sends `is_lost` on its way to the other is cut: both
    /// ends fail at `at`, as by keepalive or the user timeout. Returns how many there are.
    pub fn doom(&mut self, at: Duration, is_lost: impl Fn(IpAddr, IpAddr) -> bool) -> usize {
        let before = self.doomed.len();
        let pairs: Vec<Pair> = self.open.keys().copied().collect();
        for pair in pairs {
            let (dialler, acceptor) = (pair.dialler.ip(), pair.acceptor.ip());
            self.sever(pair, at, [is_lost(dialler, acceptor), is_lost(acceptor, dialler)]);
        }
        self.doomed.len() - before
    }

    /// What the dialler sends is `lost`, or what the acceptor does: both ends fail at `at`.
    pub fn sever(&mut self, pair: Pair, at: Duration, lost: [bool; 2]) {
        let Some(connection) = self.open.get_mut(&pair).filter(|_| lost.contains(&true)) else {
            return;
        };
        for (severed, lost) in connection.severed.iter_mut().zip(lost) {
            *severed |= lost;
        }
        self.doomed.push((at, pair));
    }

    /// Whether what this end writes is lost.
    pub fn is_severed(&self, pair: Pair, end: End) -> bool {
        self.open.get(&pair).is_some_and(|connection| connection.severed[end as usize])
    }

    /// Whether a connection between two of these hosts was cut, and may still be taken for whole.
    pub fn has_severed_among(&self, hosts: &[IpAddr]) -> bool {
        let is_among =
            |pair: &Pair| [pair.dialler, pair.acceptor].iter().all(|end| hosts.contains(&end.ip()));
        self.open.iter().any(|(pair, one)| one.severed.contains(&true) && is_among(pair))
    }

    /// Whether some connections were cut, and not all ends have noticed.
    pub fn has_severed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Ends the connections whose time has come.
    pub fn advance(&mut self, now: Duration) {
        if self.doomed.iter().all(|(at, _)| *at > now) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.doomed).into_iter().partition(|d| d.0 <= now);
        self.doomed = later;
        let due: Vec<(Duration, Pair)> = due;
        for (_, pair) in due {
            for end in [End::Dialler, End::Acceptor] {
                if let Some(half) = self.half(pair, end) {
                    half.broken = Some(Broken::Both(io::ErrorKind::TimedOut));
                    half.wake();
                }
            }
        }
    }
}
