//! Requests of one connection of HTTP/2, read by hyper as well: `peer/src/http/h2.rs`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ops_proxy::http::{Admission, Conversation, PREFACE, Watch, greeting};
use ops_proxy::names::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::splits::splits;

/// `data` is what a client sends behind its preface and its SETTINGS. However it is cut, the
/// same of it goes on; and hyper finds in that no request for another name.
pub fn h2(data: &[u8]) {
    let data = [PREFACE, &greeting(), data].concat();
    let mut watch = Watch::default();
    watch.admit(&data);
    let Some((name, _)) = watch.first_request() else { return };
    let goes_on = admitted(&data, &[data.len()], name);
    for ends in splits(&data) {
        assert_eq!(admitted(&data, &ends, name), goes_on, "cut at {ends:?}");
    }
    for read in read_by_hyper(&goes_on.0) {
        assert_eq!(Name::requested(&read).as_ref(), Ok(name), "{}", data.escape_ascii());
    }
}

/// What goes on of a connection for `name`, and why no more does.
fn admitted(data: &[u8], ends: &[usize], name: &Name) -> (Vec<u8>, Option<Admission>) {
    let mut conversation = Conversation::http2(name.clone(), true, Instant::now());
    let (mut at, mut gone, mut then) = (0, Vec::new(), None);
    for &end in ends {
        while at < end {
            match conversation.admit_request(&data[at..end]) {
                Admission::Pass(count) => {
                    let count = count.min((end - at) as u64);
                    conversation.passed_request(count);
                    gone.extend_from_slice(&data[at..at + count as usize]);
                    at += count as usize;
                    then = None;
                }
                Admission::Skip(count) => at += count,
                other => {
                    then = Some(other);
                    break;
                }
            }
        }
    }
    (gone, then)
}

/// Whom the requests that hyper reads are for.
fn read_by_hyper(bytes: &[u8]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let names = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let (near, mut far) = duplex(1 << 20);
        let heard = names.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let authority = request.uri().authority().map(|authority| authority.as_str());
            let host = || request.headers().get("host").and_then(|host| host.to_str().ok());
            let name = authority.or_else(host).unwrap_or_default().to_owned();
            heard.lock().expect("nobody panics with it").push(name);
            async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let served = server.serve_connection(TokioIo::new(near), service);
        let client = async {
            // A server that refuses what follows closes.
            let _ = far.write_all(bytes).await;
            let _ = far.shutdown().await;
            let _ = far.read_to_end(&mut Vec::new()).await;
        };
        let (_, ()) = tokio::join!(served, client);
    });
    std::mem::take(&mut names.lock().expect("nobody panics with it"))
}
