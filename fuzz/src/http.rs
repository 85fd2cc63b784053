//! Requests of one connection, read by hyper as well: `peer/src/http.rs`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ops_proxy::http::{Admission, Asks, Conversation, Flaw, HeadEnd, RequestHead, read_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use crate::splits::splits;

/// However the stream is cut, the same of it goes on; and what goes on is read by hyper as
/// the same requests: a backend finds no more and no fewer.
pub fn http(data: &[u8]) {
    let (messages, length) = messages(data);
    let Some(first) = messages.first() else { return };
    let goes_on = admitted(data, &[data.len()], first);
    for ends in splits(data) {
        assert_eq!(admitted(data, &ends, first), goes_on, "cut at {ends:?}");
    }
    // A CONNECT ends HTTP, and so may an upgrade.
    if messages.iter().any(|head| head.asks == Asks::Connect || head.upgrade || head.closes) {
        return;
    }
    let read = read_by_hyper(&data[..length]);
    assert_eq!(read, messages.len(), "{}", data[..length].escape_ascii());
}

/// The complete requests that the stream begins with, and where the last of them ends.
fn messages(data: &[u8]) -> (Vec<RequestHead>, usize) {
    let (mut messages, mut at) = (Vec::new(), 0);
    while let Ok(Some((length, head))) = request(&data[at..]) {
        let Some(body) = head.body.clone().end_in(&data[at + length..]) else { break };
        let is_last = head.asks == Asks::Connect;
        messages.push(head);
        at += length + body;
        if is_last {
            break;
        }
    }
    (messages, at)
}

fn request(bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, Flaw> {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let mut end = HeadEnd::default();
    end.begin_at(start);
    let Some(length) = end.find(bytes)? else { return Ok(None) };
    Ok(Some((length, read_request(&bytes[start..length])?)))
}

/// How many bytes go on in a conversation about the name of `first`, and why no more do.
fn admitted(data: &[u8], ends: &[usize], first: &RequestHead) -> (usize, Option<Admission>) {
    let mut conversation = Conversation::new(first.name.clone(), Instant::now());
    let (mut gone, mut then) = (0, None);
    for &end in ends {
        while gone < end {
            match conversation.admit_request(&data[gone..end]) {
                Admission::Pass(count) => {
                    let count = count.min((end - gone) as u64);
                    conversation.passed_request(count);
                    gone += count as usize;
                    then = None;
                }
                other => {
                    then = Some(other);
                    break;
                }
            }
        }
    }
    (gone, then)
}

/// How many requests hyper reads, each to its end.
fn read_by_hyper(bytes: &[u8]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let whole = Arc::new(AtomicUsize::new(0));
        let (near, mut far) = duplex(1 << 20);
        let counted = whole.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let counted = counted.clone();
            async move {
                if request.into_body().collect().await.is_ok() {
                    counted.fetch_add(1, Relaxed);
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(near), service);
        let client = async {
            far.write_all(bytes).await.expect("it fits");
            far.shutdown().await.expect("it is open");
            let _ = far.read_to_end(&mut Vec::new()).await;
        };
        let (_, ()) = tokio::join!(served, client);
        whole.load(Relaxed)
    })
}
