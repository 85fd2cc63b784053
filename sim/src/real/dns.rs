//! The server of DNS that tells the peer on one host what names resolve to.

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ops_proxy::stream::net::Net;

use super::names::{Names, SERVER};
use super::net::RealNet;

/// The longest message of DNS over UDP (RFC 1035 §2.3.4).
const MESSAGE_BYTES: usize = 512;

/// Answers the questions of one host for ever.
pub(super) async fn serve(net: RealNet, names: Names) -> io::Result<()> {
    let socket = Rc::new(net.bind_udp(SERVER).await?);
    let mut query = [0; MESSAGE_BYTES];
    loop {
        socket.readable().await?;
        let Ok((length, from)) = socket.try_recv_from(&mut query) else { continue };
        let Some(question) = Question::read(&query[..length]) else { continue };
        let takes: Duration = names.lookup_time(&question.name);
        let answer = question.answer(names.of(&question.name));
        let socket = Rc::clone(&socket);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(takes).await;
            // Whoever has asked and gone needs no answer.
            let _ = socket.try_send_to(&answer, from);
        });
    }
}

/// One question (RFC 1035 §4.1).
#[derive(Debug)]
struct Question {
    id: [u8; 2],
    name: String,
    /// It is for addresses of version 4.
    is_for_v4: bool,
    /// As it came.
    section: Vec<u8>,
}

impl Question {
    fn read(query: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = 12;
        while let length @ 1.. = usize::from(*query.get(at)?) {
            let label = query.get(at + 1..at + 1 + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let section = query.get(12..at + 5)?.to_vec();
        let is_for_v4 = query.get(at + 1..at + 3)? == [0, 1];
        let id = query.get(..2)?.try_into().ok()?;
        Some(Self { id, name: labels.join("."), is_for_v4, section })
    }

    /// With these addresses; without any there is no such name.
    fn answer(&self, mut ips: Vec<Ipv4Addr>) -> Vec<u8> {
        // A response, recursion desired and available; 3: there is no such name.
        let flags = [0x81, if ips.is_empty() { 0x83 } else { 0x80 }];
        if !self.is_for_v4 {
            ips.clear();
        }
        let counts = [0, 1, 0, u8::try_from(ips.len()).unwrap_or(u8::MAX), 0, 0, 0, 0];
        let mut answer = [&self.id[..], &flags, &counts, &self.section].concat();
        for ip in ips {
            // The name of the question, A, IN, not to be kept, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(ip.octets());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_with_what_the_name_resolves_to() {
        let header = [7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let section = b"\x04EDGE\x08internal\x00\x00\x01\x00\x01";
        let question = Question::read(&[&header[..], section].concat()).unwrap();
        assert_eq!(question.name, "edge.internal");
        assert!(question.is_for_v4);
        let answer = question.answer(vec![Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(answer[..4], [7, 9, 0x81, 0x80]);
        assert!(answer.ends_with(&[10, 0, 0, 2]));
        assert_eq!(question.answer(Vec::new())[3], 0x83);
        assert!(Question::read(&header).is_none());
    }
}
