//! What a backend says and hears on one connection.

use std::io;
use std::time::Duration;

use ops_proxy::stream::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::asked::Asked;
use crate::network::{Fabric, SimNet, SimStream};
use crate::payload::{ENDLESS, GREETING, Pattern};
use crate::scenario::{BackendKind, BackendSpec};

/// Longest request head that a backend takes.
const HEAD_BYTES: usize = 32 * 1024;

/// Bytes written at once where no rate is set.
const CHUNK: usize = 8192;

/// What a resetting backend promises to an HTTP client: more than it sends.
const PROMISED: u64 = 1 << 20;

/// One connection to a backend.
pub(super) struct Connection {
    spec: BackendSpec,
    stream: SimStream,
    /// Read, but not consumed.
    ahead: Vec<u8>,
    fabric: Fabric,
}

impl Connection {
    /// One that was just accepted.
    pub(super) fn new(spec: BackendSpec, stream: SimStream, fabric: Fabric) -> Self {
        Self { spec, stream, ahead: Vec::new(), fabric }
    }

    /// Behaves as it was told, to the end.
    pub(super) async fn serve(mut self, net: SimNet) {
        let served = match self.spec.kind {
            BackendKind::Http => self.http().await,
            BackendKind::Echo => self.echo(u64::MAX).await,
            BackendKind::Greeting => self.greet().await,
            BackendKind::Mute => self.swallow().await,
            BackendKind::Resetting => self.disappoint().await,
            BackendKind::Endless => self.pour().await,
            BackendKind::Scripted => self.recite().await,
            BackendKind::Refusing | BackendKind::Hanging => Ok(()),
        };
        // A client that went away is not the backend's business.
        if served.is_err() || self.spec.kind == BackendKind::Resetting {
            net.abort(self.stream);
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
        self.ahead.extend_from_slice(&buffer[..bytes]);
        Ok(bytes)
    }

    /// Answers requests until the client ends, or asks for another protocol, which echoes.
    async fn http(&mut self) -> io::Result<()> {
        while let Some(request) = self.request().await? {
            self.body(&request).await?;
            self.pause().await;
            if let Some(protocol) = &request.upgrade {
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                );
                self.write(head.as_bytes()).await?;
                return self.echo(u64::MAX).await;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.download);
            self.write(head.as_bytes()).await?;
            if !request.is_head {
                self.write_pattern(Pattern(request.seed | 1), request.download).await?;
            }
        }
        self.stream.shutdown().await
    }

    /// The head of the next request; none at a clean end.
    async fn request(&mut self) -> io::Result<Option<Asked>> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Asked::parse(&head).map(Some);
            }
            if self.ahead.len() > HEAD_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes the upload and compares it with what its client must have sent.
    async fn body(&mut self, request: &Asked) -> io::Result<()> {
        let mut got = 0;
        while got < request.upload {
            if self.ahead.is_empty() && self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let most = usize::try_from(request.upload - got).unwrap_or(usize::MAX);
            let part: Vec<u8> = self.ahead.drain(..most.min(self.ahead.len())).collect();
            if request.has_seed && !Pattern(request.seed).matches(got, &part) {
                self.fabric.state().wrong(format!("a backend got foreign bytes at {got}"));
            }
            got += part.len() as u64;
        }
        Ok(())
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
        if self.more().await? == 0 {
            return Ok(());
        }
        if find(&self.ahead, b" HTTP/1.1\r\n").is_none() {
            return self.echo(after).await;
        }
        let Some(request) = self.request().await? else { return Ok(()) };
        if after > 0 {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {PROMISED}\r\n\r\n");
            self.write(head.as_bytes()).await?;
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
