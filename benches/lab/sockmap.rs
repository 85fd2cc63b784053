//! A BPF program that the kernel asks, as bytes arrive, into which socket they go. This process
//! only accepts, dials, and passes ends on.
#![expect(unsafe_code, reason = "no library speaks of BPF in so few words")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use slab::Slab;

const LISTENER: u64 = u64::MAX;

/// Relays what the listener accepts; does not return.
pub(crate) fn relay(listener: TcpListener, to: SocketAddr) {
    let map = Map::that_redirects();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).unwrap();
    let mut pairs: Slab<[TcpStream; 2]> = Slab::new();
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in &events {
            let data = event.data.u64();
            if data != LISTENER {
                // One end is over: so is the other, for keep-alive needs no half of a connection.
                if let Some(pair) = pairs.try_remove(data as usize) {
                    let _ = pair.map(|end| end.shutdown(Shutdown::Both));
                }
                continue;
            }
            while let Ok((mut client, _)) = listener.accept() {
                // What has come before the kernel is told stays with us: clients speak first, and
                // then wait for an answer.
                let mut early = [0; 4096];
                let Ok(read @ 1..) = client.read(&mut early) else { continue };
                let mut server = TcpStream::connect(to).unwrap();
                server.set_nodelay(true).unwrap();
                map.join(&client, &server);
                server.write_all(&early[..read]).unwrap();
                let pair = pairs.insert([client, server]);
                for end in &pairs[pair] {
                    let data = EventData::new_u64(pair as u64);
                    epoll::add(&epoll, end, data, EventFlags::RDHUP | EventFlags::ET).unwrap();
                }
            }
        }
    }
}

/// Sockets by the ports of the socket whose bytes go there.
struct Map(OwnedFd);

impl Map {
    /// A map with the program attached to it.
    fn that_redirects() -> Self {
        let map = bpf(MAP_CREATE, &[word(SOCKHASH), word(8), word(4), word(65536)].concat());
        let code: Vec<u8> = program(map.as_raw_fd()).concat();
        let count = (code.len() / 8) as u32;
        let license = c"GPL";
        let attributes =
            [word(SK_SKB).as_slice(), &word(count), &long(&code[0]), &long(license)].concat();
        let program = bpf(PROG_LOAD, &attributes);
        let [target, attached] = [&map, &program].map(|fd| word(fd.as_raw_fd() as u32));
        command(PROG_ATTACH, &[target, attached, word(SK_SKB_STREAM_VERDICT)].concat());
        // The map keeps what is attached to it.
        Self(map)
    }

    /// From now on, what arrives at one leaves at the other.
    fn join(&self, client: &TcpStream, server: &TcpStream) {
        for (from, into) in [(client, server), (server, client)] {
            let remote = u32::from(from.peer_addr().unwrap().port()).to_be();
            let local = u32::from(from.local_addr().unwrap().port());
            let key = [word(remote), word(local)].concat();
            let value = word(into.as_raw_fd() as u32);
            let map = word(self.0.as_raw_fd() as u32);
            let attributes = [map, word(0)].concat();
            command(
                MAP_UPDATE,
                &[&attributes[..], &long(&key[0]), &long(&value), &[0; 8]].concat(),
            );
        }
    }
}

// Numbers of <linux/bpf.h>.
const MAP_CREATE: i64 = 0;
const MAP_UPDATE: i64 = 2;
const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;
const SOCKHASH: u32 = 18;
const SK_SKB: u32 = 14;
const SK_SKB_STREAM_VERDICT: u32 = 5;
const SK_REDIRECT_HASH: i32 = 72;
/// Of `struct __sk_buff`, in bytes: ports, the first in network order, the second in that of the host.
const REMOTE_PORT: i16 = 132;
const LOCAL_PORT: i16 = 136;

/// `return bpf_sk_redirect_hash(skb, &map, &(struct key){skb->remote_port, skb->local_port}, 0)`
fn program(map: i32) -> [[u8; 8]; 11] {
    // Code, registers (source, destination), offset, immediate: <linux/bpf.h>, `struct bpf_insn`.
    let code = |code: u8, source: u8, destination: u8, offset: i16, immediate: i32| {
        let ([o1, o2], [i1, i2, i3, i4]) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
        [code, source << 4 | destination, o1, o2, i1, i2, i3, i4]
    };
    let (load, store, copy, set, add) = (0x61, 0x63, 0xbf, 0xb7, 0x07);
    [
        code(load, 1, 2, REMOTE_PORT, 0),
        code(store, 2, 10, -8, 0),
        code(load, 1, 2, LOCAL_PORT, 0),
        code(store, 2, 10, -4, 0),
        // The map's descriptor, in two halves: BPF_PSEUDO_MAP_FD.
        code(0x18, 1, 2, 0, map),
        code(0, 0, 0, 0, 0),
        code(copy, 10, 3, 0, 0),
        code(add, 0, 3, 0, -8),
        code(set, 0, 4, 0, 0),
        code(0x85, 0, 0, 0, SK_REDIRECT_HASH),
        code(0x95, 0, 0, 0, 0),
    ]
}

fn word(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// The address of what the kernel is to read.
fn long<T: ?Sized>(of: &T) -> [u8; 8] {
    (std::ptr::from_ref(of).addr() as u64).to_ne_bytes()
}

/// A command that answers with a descriptor.
fn bpf(number: i64, attributes: &[u8]) -> OwnedFd {
    let fd = command(number, attributes);
    // SAFETY: the kernel has just made it, for us.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn command(number: i64, attributes: &[u8]) -> i64 {
    // Fields behind those that are given are zero.
    let mut whole = [0_u64; 16];
    for (field, bytes) in whole.iter_mut().zip(attributes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *field = u64::from_ne_bytes(padded);
    }
    // SAFETY: the attributes are as long as said, and what they point to lives during the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, number, whole.as_ptr(), size_of_val(&whole)) };
    let error = std::io::Error::last_os_error();
    assert!(result >= 0, "bpf command {number}, which needs root: {error}");
    result
}
