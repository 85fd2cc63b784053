//! What the kernel knows of a TCP connection, by `sock_diag(7)`: the way to ask that needs
//! no C structures from us. It is open to everyone, for sockets of its own namespace.
//!
//! The messages are those of `linux/netlink.h`, `linux/inet_diag.h` and `linux/tcp.h`, in
//! the byte order of the machine but for addresses and ports.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::stream::relay::Unacknowledged;

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const IPPROTO_TCP: u8 = 6;

/// Lengths of `nlmsghdr`, `inet_diag_req_v2`, `inet_diag_msg` and `nlattr`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
const ANSWER_BYTES: usize = 72;
const ATTRIBUTE_BYTES: usize = 4;

/// Where these stand in `inet_diag_msg` and `tcp_info`.
const IDIAG_WQUEUE: usize = 60;
const TCPI_RETRANSMITS: usize = 2;
const TCPI_PROBES: usize = 3;
const TCPI_LAST_ACK_RECV: usize = 56;

/// What was written to `stream` and not acknowledged; `None` if there is none.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn unacknowledged(stream: &TcpStream) -> io::Result<Option<Unacknowledged>> {
    let request = request(stream.local_addr()?, stream.peer_addr()?);
    let kernel = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM.nonblocking(),
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )?;
    // The kernel answers before the write returns.
    (&kernel).write_all(&request)?;
    let mut answer = [0; 1024];
    let length = (&kernel).read(&mut answer)?;
    read(&answer[..length]).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn request(near: SocketAddr, far: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    bytes.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // A sequence number and a sender: one question, and the kernel knows whose.
    bytes.extend([0; 8]);
    let family = if near.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    bytes.extend([i32::from(family) as u8, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(near.port().to_be_bytes());
    bytes.extend(far.port().to_be_bytes());
    for addr in [near, far] {
        let mut field = [0; 16];
        match addr.ip() {
            IpAddr::V4(ip) => field[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => field = ip.octets(),
        }
        bytes.extend(field);
    }
    let interface = if let SocketAddr::V6(addr) = far { addr.scope_id() } else { 0 };
    bytes.extend(interface.to_ne_bytes());
    // No cookie: whichever socket has these ends.
    bytes.extend([0xff; 8]);
    bytes
}

/// What an answer says; `None` if it is none.
fn read(answer: &[u8]) -> Option<Option<Unacknowledged>> {
    let length = usize::try_from(number(answer, 0)?).ok()?;
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let body = answer.get(HEADER_BYTES..length).filter(|_| kind == SOCK_DIAG_BY_FAMILY)?;
    if number(body, IDIAG_WQUEUE)? == 0 {
        return Some(None);
    }
    let mut attributes = body.get(ANSWER_BYTES..)?;
    loop {
        let length = u16::from_ne_bytes(*attributes.first_chunk()?);
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let content = attributes.get(ATTRIBUTE_BYTES..usize::from(length))?;
        if kind == INET_DIAG_INFO {
            let tries = |at: usize| content.get(at).copied().map(u32::from);
            return Some(Some(Unacknowledged {
                silent_for: Duration::from_millis(number(content, TCPI_LAST_ACK_RECV)?.into()),
                tries: tries(TCPI_RETRANSMITS)?.max(tries(TCPI_PROBES)?),
            }));
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stream::net::tokio::TokioNet;
    use crate::stream::net::{Listener, Net};

    #[tokio::test]
    async fn the_kernel_tells_what_a_reader_has_not_taken_in_both_families() {
        for addr in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            // No machine need have IPv6.
            let Ok(listener) = TokioNet.bind(addr.parse().unwrap()).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let ip: IpAddr = if addr == "[::1]:0" { "::1" } else { "127.0.0.1" }.parse().unwrap();
            let dialled = TokioNet.connect((ip, port).into());
            let (reader, writer) = tokio::join!(dialled, listener.accept());
            let (mut reader, mut writer) = (reader.unwrap(), writer.unwrap().0);
            assert_eq!(unacknowledged(&writer).unwrap(), None, "{addr}");
            let mut written = 0;
            // Until its window is closed and the queue before it is full.
            loop {
                match writer.try_write(&[b'x'; 65536]) {
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let waiting = unacknowledged(&writer).unwrap().unwrap();
            assert!(waiting.silent_for < Duration::from_secs(60), "{addr}: {waiting:?}");
            assert!(waiting.tries <= 1, "{addr}: {waiting:?}");
            let mut taken = vec![0; written];
            reader.read_exact(&mut taken).await.unwrap();
            // What is answered now was sent behind all of that.
            writer.write_all(b"!").await.unwrap();
            reader.read_exact(&mut taken[..1]).await.unwrap();
            reader.write_all(b"?").await.unwrap();
            writer.read_exact(&mut taken[..1]).await.unwrap();
            assert_eq!(unacknowledged(&writer).unwrap(), None, "{addr}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_says_nothing() {
        let mut answer = vec![0; HEADER_BYTES + ANSWER_BYTES];
        let length = (answer.len() + ATTRIBUTE_BYTES + 64) as u32;
        answer[..4].copy_from_slice(&length.to_ne_bytes());
        answer[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        answer[HEADER_BYTES + IDIAG_WQUEUE] = 1;
        answer.extend([68_u16.to_ne_bytes(), INET_DIAG_INFO.to_ne_bytes()].concat());
        let mut info = [0; 64];
        (info[TCPI_RETRANSMITS], info[TCPI_LAST_ACK_RECV]) = (7, 9);
        answer.extend(info);
        let silent_for = Duration::from_millis(u32::from_ne_bytes([9, 0, 0, 0]).into());
        assert_eq!(read(&answer), Some(Some(Unacknowledged { silent_for, tries: 7 })));
        for cut in 0..answer.len() {
            assert_eq!(read(&answer[..cut]), None, "{cut}");
        }
    }
}
