//! What a backend says and hears on one connection.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ops_proxy::stream::transport::Rewound;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::answer;
use super::asked::Asked;
use super::http2::Server;
use crate::ground::Ground;
use crate::message::{BACKEND, Chunks, H2_PREFACE, HIDDEN, Head};
use crate::payload::{ENDLESS, GREETING, Pattern};
use crate::scenario::steps::Answer;
use crate::scenario::{BackendKind, BackendSpec};

/// Bytes written at once where no rate is set.
const CHUNK: usize = 8192;

/// What a resetting backend promises to an HTTP client: more than it sends.
const PROMISED: u64 = 1 << 20;

/// One connection to a backend.
pub(super) struct Connection<N: Ground> {
    /// The host's name.
    name: Rc<str>,
    spec: BackendSpec,
    stream: N::Stream,
    /// Read, but not consumed.
    ahead: Vec<u8>,
    net: N,
}

impl<N: Ground> Connection<N> {
    /// One that was just accepted.
    pub(super) fn new(name: Rc<str>, spec: BackendSpec, stream: N::Stream, net: N) -> Self {
        Self { name, spec, stream, ahead: Vec::new(), net }
    }

    /// Behaves as it was told, to the end.
    pub(super) async fn serve(mut self) {
        let served = match self.spec.kind {
            BackendKind::Http => self.http().await,
            BackendKind::Echo => self.echo(u64::MAX).await,
            BackendKind::Greeting => self.greet().await,
            BackendKind::Mute => self.swallow().await,
            BackendKind::Resetting => self.disappoint().await,
            BackendKind::Endless => self.pour().await,
            BackendKind::Scripted => self.recite().await,
            // Those accept no connection.
            BackendKind::Refusing | BackendKind::Hanging | BackendKind::Datagrams => Ok(()),
        };
        // A client that went away is not the backend's business.
        if served.is_err() || self.spec.kind == BackendKind::Resetting {
            self.net.abort(self.stream);
        }
    }

    async fn pause(&self) {
        if let Some(delay) = self.spec.delay {
            tokio::time::sleep(delay.0).await;
        }
    }

    /// Writes at the backend's pace.
    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(rate) = self.spec.rate.map(|rate| rate.0.max(1)) else {
            return self.stream.write_all(bytes).await;
        };
        let sip = usize::try_from(rate / 10).unwrap_or(CHUNK).clamp(1, CHUNK);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(sip.min(bytes.len()));
            tokio::time::sleep(Duration::from_secs_f64(now.len() as f64 / rate as f64)).await;
            self.stream.write_all(now).await?;
            bytes = later;
        }
        Ok(())
    }

    async fn write_pattern(&mut self, pattern: Pattern, length: u64) -> io::Result<()> {
        let mut at = 0;
        let mut buffer = vec![0; CHUNK];
        while at < length {
            let part = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
            pattern.fill(at, &mut buffer[..part]);
            self.write(&buffer[..part]).await?;
            at += part as u64;
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; CHUNK];
        let bytes = self.stream.read(&mut buffer).await?;
        let seen = self.ahead.len().saturating_sub(HIDDEN.len());
        self.ahead.extend_from_slice(&buffer[..bytes]);
        if find(&self.ahead[seen..], HIDDEN.as_bytes()).is_some() {
            let name = &self.name;
            self.net.wrong(format!("{name} got bytes from behind the last request"));
        }
        Ok(bytes)
    }

    /// Answers requests until the client ends, or asks for another protocol, which echoes.
    async fn http(&mut self) -> io::Result<()> {
        if self.begins_http2().await? {
            let (server, stream) = self.http2();
            return server.serve(stream).await;
        }
        while let Some(request) = self.request().await? {
            if request.expects {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let read = self.body(&request).await?;
            self.pause().await;
            if let Some((wish, _)) = request.wish {
                self.write(&answer(&self.name, &request, &read)).await?;
                match wish {
                    Answer::Upgrade => return self.echo(u64::MAX).await,
                    Answer::UntilClose => break,
                    _ if request.closes => break,
                    _ => continue,
                }
            }
            if let Some(protocol) = &request.upgrade {
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                );
                self.write(head.as_bytes()).await?;
                return self.echo(u64::MAX).await;
            }
            let Asked { told, download, .. } = &request;
            let head = format!("HTTP/1.1 200 OK\r\n{told}Content-Length: {download}\r\n\r\n");
            self.write(head.as_bytes()).await?;
            if !request.is_head {
                self.write_pattern(Pattern(request.seed | 1), request.download).await?;
            }
        }
        self.linger().await
    }

    /// Whether the client speaks HTTP/2, as its first bytes say.
    async fn begins_http2(&mut self) -> io::Result<bool> {
        while self.ahead.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&self.ahead) {
            if self.more().await? == 0 {
                return Ok(false);
            }
        }
        Ok(self.ahead.starts_with(H2_PREFACE))
    }

    /// Who speaks it here, and all that the client says.
    fn http2(&mut self) -> (Server<N>, Rewound<&mut N::Stream>) {
        let Self { name, spec, stream, ahead, net } = self;
        let ahead = Bytes::from(std::mem::take(ahead));
        let server = Server { name: name.clone(), spec: spec.clone(), net: net.clone() };
        (server, Rewound::new(stream, ahead))
    }

    /// Ends the answer, and reads what still comes until the client ends, too: requests behind
    /// the last one would have the connection reset, and the reset may overtake the answer
    /// (RFC 9112, 9.6).
    async fn linger(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        while self.more().await? > 0 {
            self.ahead.clear();
        }
        Ok(())
    }

    /// The head of the next request; none at a clean end.
    async fn request(&mut self) -> io::Result<Option<Asked>> {
        loop {
            // One empty line before it is passed over (RFC 9112 §2.2).
            let start = if self.ahead.starts_with(b"\r\n") { 2 } else { 0 };
            if let Some(head) = Head::read(&self.ahead[start..])? {
                self.ahead.drain(..start + head.bytes);
                return Asked::parse(&head).map(Some);
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes the upload and compares it with what its client must have sent. The request
    /// as it was read.
    async fn body(&mut self, request: &Asked) -> io::Result<String> {
        let mut got = Vec::new();
        if request.chunked {
            let mut chunks = Chunks::default();
            while !chunks.is_over() {
                self.wait_for_more().await?;
                let taken = chunks.take(&self.ahead)?;
                self.ahead.drain(..taken);
            }
            return Ok(request.read(&chunks.body, &chunks.trailers));
        }
        while (got.len() as u64) < request.upload {
            self.wait_for_more().await?;
            let most = usize::try_from(request.upload).unwrap_or(usize::MAX) - got.len();
            let part: Vec<u8> = self.ahead.drain(..most.min(self.ahead.len())).collect();
            if request.has_seed && !Pattern(request.seed).matches(got.len() as u64, &part) {
                let (name, at) = (&self.name, got.len());
                self.net.wrong(format!("{name} got foreign bytes at {at}"));
            }
            got.extend(part);
        }
        Ok(request.read(&got, ""))
    }

    /// Something of the request is there.
    async fn wait_for_more(&mut self) -> io::Result<()> {
        match self.ahead.is_empty() && self.more().await? == 0 {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(()),
        }
    }

    /// Sends back at most `limit` bytes, then says no more.
    async fn echo(&mut self, limit: u64) -> io::Result<()> {
        let mut left = limit;
        self.pause().await;
        loop {
            let ahead = std::mem::take(&mut self.ahead);
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(ahead.len());
            self.write(&ahead[..now]).await?;
            left -= now as u64;
            if left == 0 {
                return Ok(());
            }
            if self.more().await? == 0 {
                return self.stream.shutdown().await;
            }
        }
    }

    async fn greet(&mut self) -> io::Result<()> {
        self.write(GREETING).await?;
        self.echo(u64::MAX).await
    }

    async fn swallow(&mut self) -> io::Result<()> {
        while self.more().await? > 0 {
            self.ahead.clear();
        }
        self.stream.shutdown().await
    }

    /// Answers the first bytes with its text, whatever they are.
    async fn recite(&mut self) -> io::Result<()> {
        if self.more().await? > 0 {
            self.pause().await;
            let text = std::mem::take(&mut self.spec.says);
            self.write(text.as_bytes()).await?;
        }
        self.swallow().await
    }

    /// Begins an answer and does not end it.
    async fn disappoint(&mut self) -> io::Result<()> {
        let after = self.spec.after.map_or(0, |after| after.0);
        if self.begins_http2().await? {
            let (server, stream) = self.http2();
            return server.disappoint(stream, after).await;
        }
        if self.ahead.is_empty() {
            return Ok(());
        }
        if find(&self.ahead, b" HTTP/1.1\r\n").is_none() {
            return self.echo(after).await;
        }
        let Some(request) = self.request().await? else { return Ok(()) };
        if after > 0 {
            let shown = match request.wish {
                Some(_) => format!("{BACKEND}: {}\r\n", self.name),
                None => String::new(),
            };
            let head = format!("HTTP/1.1 200 OK\r\n{shown}Content-Length: {PROMISED}\r\n\r\n");
            self.write(head.as_bytes()).await?;
            if request.is_head {
                return Ok(());
            }
            self.write_pattern(Pattern(request.seed | 1), after).await?;
        }
        Ok(())
    }

    /// Sends for as long as anyone takes it.
    async fn pour(&mut self) -> io::Result<()> {
        self.write_pattern(ENDLESS, u64::MAX).await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
