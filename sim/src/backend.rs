//! Backends of every temper, on hosts of their own.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ops_proxy::stream::net::{Listener, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::client::{ENDLESS, GREETING, Pattern};
use crate::fabric::Fabric;
use crate::net::{SimNet, SimStream};
use crate::scenario::{BackendKind, BackendSpec};

/// Longest request head that a backend takes.
const HEAD_BYTES: usize = 32 * 1024;

/// Bytes written at once where no rate is set.
const CHUNK: usize = 8192;

/// What a resetting backend promises to an HTTP client: more than it sends.
const PROMISED: u64 = 1 << 20;

/// How a backend behaves now, and the news that this has changed.
#[derive(Debug)]
pub struct Temper {
    spec: RefCell<BackendSpec>,
    changed: Notify,
}

impl Temper {
    /// The temper that the scenario begins with.
    pub fn new(spec: BackendSpec) -> Self {
        Self { spec: RefCell::new(spec), changed: Notify::new() }
    }

    /// Changes it for connections to come.
    pub fn change(&self, change: impl FnOnce(&mut BackendSpec)) {
        change(&mut self.spec.borrow_mut());
        self.changed.notify_one();
    }

    /// How it is now.
    pub fn now(&self) -> BackendSpec {
        self.spec.borrow().clone()
    }
}

/// The software of one backend host.
#[derive(Clone)]
pub struct Backend {
    /// How it behaves.
    pub temper: Rc<Temper>,
    /// Its network.
    pub net: SimNet,
    /// What all hosts share.
    pub fabric: Fabric,
}

impl Backend {
    /// Serves for ever.
    pub async fn run(self) -> turmoil::Result {
        loop {
            let spec = self.temper.now();
            if spec.kind == BackendKind::Refusing {
                self.temper.changed.notified().await;
                continue;
            }
            let here = SocketAddr::from((Ipv4Addr::UNSPECIFIED, spec.port));
            let listener = self.net.bind(here).await?;
            if spec.kind == BackendKind::Hanging {
                self.temper.changed.notified().await;
                continue;
            }
            self.accept(&listener).await?;
        }
    }

    /// Accepts until connections are to be treated in another way.
    async fn accept(&self, listener: &<SimNet as Net>::Listener) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                () = self.temper.changed.notified() => return Ok(()),
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let connection = Connection {
                        spec: self.temper.now(),
                        stream,
                        ahead: Vec::new(),
                        fabric: self.fabric.clone(),
                    };
                    tokio::task::spawn_local(connection.serve(self.net.clone()));
                }
            }
        }
    }
}

struct Connection {
    spec: BackendSpec,
    stream: SimStream,
    /// Read, but not consumed.
    ahead: Vec<u8>,
    fabric: Fabric,
}

impl Connection {
    async fn serve(mut self, net: SimNet) {
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

    /// Answers requests until the client ends.
    async fn http(&mut self) -> io::Result<()> {
        while let Some(request) = self.request().await? {
            self.body(&request).await?;
            self.pause().await;
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

/// What an HTTP client wants.
struct Asked {
    is_head: bool,
    download: u64,
    upload: u64,
    seed: u64,
    has_seed: bool,
}

impl Asked {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let whole = request.parse(head).is_ok_and(|status| status.is_complete());
        if !whole {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let path = request.path.unwrap_or("/").rsplit('/').next().unwrap_or("");
        let (download, seed) = path.split_once("?seed=").unwrap_or((path, ""));
        let length = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
        Ok(Self {
            is_head: request.method == Some("HEAD"),
            download: download.parse().unwrap_or(0),
            upload: length.unwrap_or(0),
            seed: seed.parse().unwrap_or(0),
            has_seed: !seed.is_empty(),
        })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
