//! HTTP/2 in clear text: a connection is one stretch, for the name of its first request.

use std::borrow::Cow;
use std::pin::pin;

use bytes::{Bytes, BytesMut};

use super::edge::{Edge, Kind, Stretch};
use super::refusal::{Cause, Refused, Speaks};
use crate::forward::{Asked, forward};
use crate::http::{Admission, Conversation};
use crate::names::Name;
use crate::observe::metrics::Rejection;
use crate::offer;
use crate::stream::net::Net;
use crate::stream::relay::Ahead;
use crate::tasks::Phase;
use tokio::time::Instant;

/// The first request of a connection of HTTP/2.
#[derive(Debug, Clone)]
pub(super) struct First {
    /// Whom it is for.
    pub(super) name: Name,
    /// The stream that it is on.
    pub(super) stream: u32,
    /// Whether the client was sent SETTINGS of our own.
    pub(super) was_greeted: bool,
}

impl<N: Net> Edge<N> {
    /// Serves a client of HTTP/2 until its connection ends.
    pub(super) async fn serve_http2(self, first: First) {
        if let Some(stretch) = Box::pin(self.connect_http2(first)).await {
            let next = stretch.carry().await;
            debug_assert!(next.is_none(), "HTTP/2 goes on to no other stretch");
        }
    }

    async fn connect_http2(mut self, first: First) -> Option<Stretch<N>> {
        let First { name, stream, was_greeted } = first;
        let speaks = Speaks::Http2 { stream };
        if self.shared.tasks.phase() >= Phase::Finishing {
            self.shared.metrics.rejected(Rejection::Draining);
            let refused = Refused::now(&self.shared, self.source, Some(&name), speaks);
            refused.close(self.stream, Cause::Draining).await;
            return None;
        }
        if self.front.as_ref().is_some_and(|front| !front.covers(&name)) {
            let refused = Refused::now(&self.shared, self.source, Some(&name), speaks);
            refused.close(self.stream, Cause::Misdirected).await;
            return None;
        }
        let mut conversation =
            Box::new(Conversation::http2(name.clone(), was_greeted, Instant::now()));
        let admitted = admit(&mut conversation, &mut self.read);
        let forwarded = {
            let bytes = &self.read[..admitted];
            // Heads of HTTP/2 are compressed, and go through as they are.
            let first = |_, _| Cow::Borrowed(bytes);
            let asked = Asked {
                id: None,
                deadline: None,
                name: &name,
                way: offer::Way::Http,
                protocol: self.protocol(),
                source: self.source,
                dest: self.dest,
                tls: self.front.as_ref().map(|front| front.version),
                trace: None,
                head: &first,
            };
            let reset = pin!(self.shared.net.reset(self.stream.inner_mut()));
            forward(&self.shared, asked, reset).await.map(|forwarded| forwarded.log(&asked, false))
        };
        match forwarded {
            Ok(forwarded) => {
                let admitted = self.read.split_to(admitted).freeze();
                let admitted = if forwarded.head_sent { Bytes::new() } else { admitted };
                let ahead = Ahead { admitted, held: std::mem::take(&mut self.read) };
                let kind = Kind::Conversation(conversation, ahead);
                Some(Stretch { edge: self, forwarded, kind })
            }
            Err(why) => {
                let refused = Refused::now(&self.shared, self.source, Some(&name), speaks);
                refused.close(self.stream, Cause::NotForwarded(why)).await;
                None
            }
        }
    }
}

/// How many of the first bytes may be passed on. What is not for the backend is taken out.
fn admit(conversation: &mut Conversation, read: &mut BytesMut) -> usize {
    let mut admitted = 0;
    while admitted < read.len() {
        match conversation.admit_request(&read[admitted..]) {
            Admission::Pass(count) => {
                let count = count.min((read.len() - admitted) as u64);
                conversation.passed_request(count);
                admitted += count as usize;
            }
            Admission::Skip(count) => {
                let behind = read.split_off(admitted + count);
                read.truncate(admitted);
                read.extend_from_slice(&behind);
            }
            Admission::Reword(_) | Admission::More | Admission::Wait | Admission::Stop(_) => break,
        }
    }
    admitted
}
