//! A ring of requests to the kernel: accepting and receiving are asked for once and told many
//! times, bytes arrive in buffers that the kernel chooses, and are sent on out of those.
#![expect(unsafe_code, reason = "the kernel is given addresses of buffers")]

use std::alloc::{Layout, alloc_zeroed};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;
use slab::Slab;
use socket2::{SockAddr, Socket};

use crate::cores;

const ENTRIES: u32 = 4096;
/// Buffers of the kernel's choice: a power of two, and the bytes of each.
const BUFFERS: u16 = 4096;
const BUFFER: usize = 4096;
const GROUP: u16 = 0;

/// What a completion is of: the kind, and a connection's number.
const ACCEPT: u64 = 0;
const CONNECT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;
const KIND: u64 = !0 << 32;

/// Relays what the listener accepts; does not return.
pub(crate) fn relay(listener: &TcpListener, to: SocketAddr) {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_defer_taskrun()
        .build(ENTRIES)
        .unwrap();
    let buffers = Buffers::registered(&ring);
    let mut relay = Relay { ring, buffers, to: to.into(), ends: Slab::new(), starved: Vec::new() };
    relay.ask(opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(ACCEPT));
    let mut completed = Vec::new();
    loop {
        relay.ring.submit_and_wait(1).unwrap();
        completed
            .extend(relay.ring.completion().map(|of| (of.user_data(), of.result(), of.flags())));
        for (about, result, flags) in completed.drain(..) {
            relay.take(about, result, flags);
        }
    }
}

struct Relay {
    ring: IoUring,
    buffers: Buffers,
    to: SockAddr,
    ends: Slab<End>,
    /// That found no buffer, and are to be received from again.
    starved: Vec<usize>,
}

/// One of the two connections of a pair.
struct End {
    socket: Socket,
    other: usize,
    /// Read from the other and not sent here: the first is being sent. An empty one is the end.
    unsent: VecDeque<(u16, u32)>,
    /// Completions that are still to come.
    awaited: u32,
    /// Nothing more comes from it.
    ended: bool,
    /// Nothing more goes to it.
    shut: bool,
}

impl Relay {
    fn ask(&mut self, entry: squeue::Entry) {
        // SAFETY: what an entry points to are buffers and an address that live as long as the ring.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().unwrap();
        }
    }

    fn take(&mut self, about: u64, result: i32, flags: u32) {
        let number = (about & !KIND) as usize;
        match about & KIND {
            ACCEPT => {
                assert!(cqueue::more(flags), "accepting has ended: {result}");
                self.accepted(result);
            }
            CONNECT => {
                self.ends[number].awaited -= 1;
                self.receive(number);
                self.receive(self.ends[number].other);
            }
            RECEIVE => self.received(number, result, flags),
            SEND => self.sent(number, result),
            _ => unreachable!("nothing else is asked for"),
        }
        self.forget(number);
    }

    fn accepted(&mut self, fd: RawFd) {
        // SAFETY: the kernel has just made it, for us.
        let client = unsafe { Socket::from_raw_fd(fd) };
        let server = cores::unconnected(self.to.as_socket().unwrap());
        let connected = Fd(server.as_raw_fd());
        let end = |socket, other| {
            let unsent = VecDeque::new();
            End { socket, other, unsent, awaited: 0, ended: false, shut: false }
        };
        let first = self.ends.insert(end(client, 0));
        let second = self.ends.insert(end(server, first));
        self.ends[first].other = second;
        self.ends[second].awaited += 1;
        let connect = opcode::Connect::new(connected, self.to.as_ptr().cast(), self.to.len());
        self.ask(connect.build().user_data(CONNECT | second as u64));
    }

    fn receive(&mut self, number: usize) {
        let end = &mut self.ends[number];
        end.awaited += 1;
        let receive = opcode::RecvMulti::new(Fd(end.socket.as_raw_fd()), GROUP);
        self.ask(receive.build().user_data(RECEIVE | number as u64));
    }

    fn received(&mut self, number: usize, result: i32, flags: u32) {
        let other = self.ends[number].other;
        if !cqueue::more(flags) {
            self.ends[number].awaited -= 1;
        }
        if result > 0 {
            let buffer = cqueue::buffer_select(flags).unwrap();
            self.send(other, (buffer, result as u32));
            if !cqueue::more(flags) {
                self.receive(number);
            }
        } else if result == -Errno::NOBUFS.raw_os_error() {
            self.starved.push(number);
        } else {
            self.ends[number].ended = true;
            self.send(other, (0, 0));
        }
    }

    fn send(&mut self, number: usize, bytes: (u16, u32)) {
        self.ends[number].unsent.push_back(bytes);
        if self.ends[number].unsent.len() == 1 {
            self.send_first(number);
        }
    }

    fn send_first(&mut self, number: usize) {
        let end = &mut self.ends[number];
        match end.unsent.front() {
            None => {}
            Some((_, 0)) => {
                // The other may be gone altogether.
                let _ = end.socket.shutdown(std::net::Shutdown::Write);
                end.shut = true;
                end.unsent.clear();
            }
            Some(&(buffer, length)) => {
                end.awaited += 1;
                let from = self.buffers.of(buffer);
                let send = opcode::Send::new(Fd(end.socket.as_raw_fd()), from, length);
                // The kernel goes on after a short write.
                let whole = send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL);
                self.ask(whole.build().user_data(SEND | number as u64));
            }
        }
    }

    fn sent(&mut self, number: usize, _result: i32) {
        let end = &mut self.ends[number];
        end.awaited -= 1;
        let (buffer, _) = end.unsent.pop_front().unwrap();
        self.buffers.give_back(buffer);
        self.send_first(number);
        for starved in std::mem::take(&mut self.starved) {
            self.receive(starved);
        }
    }

    /// Closes both connections, once neither has anything to come.
    fn forget(&mut self, number: usize) {
        let Some(end) = self.ends.get(number) else { return };
        let other = end.other;
        let over = |end: &End| end.ended && end.shut && end.awaited == 0;
        if over(end) && over(&self.ends[other]) {
            self.ends.remove(number);
            self.ends.remove(other);
        }
    }
}

/// What the kernel receives into.
struct Buffers {
    ring: *mut BufRingEntry,
    bytes: *mut u8,
    tail: u16,
}

impl Buffers {
    fn registered(ring: &IoUring) -> Self {
        let entries = size_of::<BufRingEntry>() * usize::from(BUFFERS);
        let room = |size| {
            // SAFETY: not of size zero. Never freed: a relay ends with its process.
            unsafe { alloc_zeroed(Layout::from_size_align(size, 4096).unwrap()) }
        };
        let bytes = room(BUFFER * usize::from(BUFFERS));
        let mut buffers = Self { ring: room(entries).cast(), bytes, tail: 0 };
        // SAFETY: the ring of buffers is never freed.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.ring as u64, BUFFERS, GROUP, 0)
        };
        registered.unwrap();
        (0..BUFFERS).for_each(|buffer| buffers.give_back(buffer));
        buffers
    }

    fn of(&self, buffer: u16) -> *const u8 {
        self.bytes.wrapping_add(usize::from(buffer) * BUFFER)
    }

    fn give_back(&mut self, buffer: u16) {
        let addr = self.of(buffer) as u64;
        // SAFETY: the index is within the ring, and the kernel reads no entry before its tail says so.
        unsafe {
            let entry = &mut *self.ring.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(addr);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.ring).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}
