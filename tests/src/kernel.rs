//! What the kernel holds of a TCP connection, so that what a process holds can
//! be told: bytes sent, less those taken, less those in the kernel. And how many
//! files it lets the tests open.
//! Source: `proc_net_tcp` of the kernel's documentation.

use std::fs;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, which holds the other end of every connection, open as many
/// files as it may; returns how many that are.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised to the hard one");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Bytes in the queues of every IPv4 connection of this machine. Other tests have
/// thousands: a line is read when it is asked for.
#[derive(Debug)]
pub struct Queues(String);

impl Queues {
    /// The queues now.
    pub fn look() -> Self {
        Self(fs::read_to_string("/proc/net/tcp").expect("Linux has this table"))
    }

    /// Bytes under way from the socket `from` to the socket `to`: written and not
    /// acknowledged by the other end's kernel, or arrived there and not read. `None`
    /// when the connection is open no longer.
    pub fn between(&self, from: SocketAddr, to: SocketAddr) -> Option<usize> {
        let (unsent, _) = self.of(from, to)?;
        let (_, unread) = self.of(to, from)?;
        Some(unsent + unread)
    }

    /// The addresses that `to` was dialled from, by whomever.
    pub fn dialled_from(&self, to: SocketAddr) -> Vec<SocketAddr> {
        let to = written(to);
        let ends = self.0.lines().skip(1).map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            (fields.next().expect("its own address"), fields.next().expect("the other end's"))
        });
        ends.filter(|(_, far)| *far == to).map(|(near, _)| read(near)).collect()
    }

    /// The queues of the socket `near` that is connected to `far`.
    fn of(&self, near: SocketAddr, far: SocketAddr) -> Option<(usize, usize)> {
        let ends = format!(" {} {} ", written(near), written(far));
        let (_, line) = self.0.split_once(&ends)?;
        let queues = line.split_whitespace().nth(1).expect("the queues follow the state");
        let (unsent, unread) = queues.split_once(':').expect("two queues");
        let bytes = |hex| usize::from_str_radix(hex, 16).expect("a length in hex");
        Some((bytes(unsent), bytes(unread)))
    }
}

/// An address as the table writes it: the bytes of a machine word, then the port.
fn written(addr: SocketAddr) -> String {
    let SocketAddr::V4(addr) = addr else { panic!("{addr} is no IPv4 address") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
}

fn read(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').expect("an address and a port");
    let ip = u32::from_str_radix(ip, 16).expect("an address in hex").to_ne_bytes();
    (ip, u16::from_str_radix(port, 16).expect("a port in hex")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        let addr = "127.0.0.1:2020".parse().unwrap();
        assert_eq!(read(&written(addr)), addr);
        #[cfg(target_endian = "little")]
        assert_eq!(written(addr), "0100007F:07E4");
    }
}
