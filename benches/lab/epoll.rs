//! A loop over edge-triggered events: one read and one write for each message, and one wait for as
//! many messages as have come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slab::Slab;

use crate::cores;

/// Of the listener; connections have lower ones.
const LISTENER: u64 = u64::MAX;
const BUFFER: usize = 64 << 10;

/// Relays what the listener accepts; does not return.
pub(crate) fn relay(listener: TcpListener, to: SocketAddr) {
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).unwrap();
    let mut relay = Relay { epoll, listener, to, pairs: Slab::new(), buffer: vec![0; BUFFER] };
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&relay.epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        relay.take(&events);
    }
}

struct Relay {
    epoll: OwnedFd,
    listener: TcpListener,
    to: SocketAddr,
    pairs: Slab<[End; 2]>,
    buffer: Vec<u8>,
}

/// One of the two connections of a pair.
struct End {
    stream: TcpStream,
    /// Read from it, and not taken by the other; it is not read on before.
    unsent: Vec<u8>,
    ended: bool,
}

impl Relay {
    fn take(&mut self, events: &[Event]) {
        // Gone only after all events: a later one may be of the same pair.
        let mut over = Vec::new();
        for event in events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == LISTENER {
                self.accept();
                continue;
            }
            let (pair, side) = ((data / 2) as usize, (data % 2) as usize);
            if self.step(pair, side, flags).is_err() || self.pairs[pair].iter().all(|end| end.ended)
            {
                over.push(pair);
            }
        }
        for pair in over {
            self.pairs.try_remove(pair);
        }
    }

    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            client.set_nonblocking(true).unwrap();
            let server = cores::dial(self.to).into();
            let ends = [client, server].map(|stream| End { stream, unsent: vec![], ended: false });
            let pair = self.pairs.insert(ends);
            for (side, end) in self.pairs[pair].iter().enumerate() {
                let data = EventData::new_u64((2 * pair + side) as u64);
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                epoll::add(&self.epoll, &end.stream, data, flags).unwrap();
            }
        }
    }

    fn step(&mut self, pair: usize, side: usize, flags: EventFlags) -> std::io::Result<()> {
        let ends = &mut self.pairs[pair];
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::OUT) && !ends[1 - side].unsent.is_empty() {
            let unsent = std::mem::take(&mut ends[1 - side].unsent);
            if send(ends, 1 - side, &unsent)? {
                pump(ends, 1 - side, &mut self.buffer, true)?;
            }
        }
        if flags.contains(EventFlags::IN) || ended {
            pump(ends, side, &mut self.buffer, ended)?;
        }
        Ok(())
    }
}

/// Reads from `side` what there is; after a short read only if its end is `expected`.
fn pump(
    ends: &mut [End; 2],
    side: usize,
    buffer: &mut [u8],
    expected: bool,
) -> std::io::Result<()> {
    while ends[side].unsent.is_empty() && !ends[side].ended {
        match ends[side].stream.read(buffer) {
            Ok(0) => {
                ends[side].ended = true;
                ends[1 - side].stream.shutdown(Shutdown::Write)?;
            }
            Ok(read) => {
                let sent = send(ends, side, &buffer[..read])?;
                if !sent || read < buffer.len() && !expected {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the other end of `side` took all of it; the rest is kept.
fn send(ends: &mut [End; 2], side: usize, bytes: &[u8]) -> std::io::Result<bool> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match ends[1 - side].stream.write(rest) {
            Ok(sent) => rest = &rest[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    ends[side].unsent = rest.to_vec();
    Ok(rest.is_empty())
}
