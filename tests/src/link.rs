//! The other end of a link by hand, mostly a connecting peer: it speaks the wire
//! protocol line by line, and does only what a test tells it to.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::connect;
use crate::wait::within;

/// One link, or a DATA connection at its first line.
#[derive(Debug)]
pub struct Link<S = TcpStream> {
    stream: BufReader<S>,
}

/// A FORWARD line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The request's id.
    pub proxy_id: String,
    /// The registered name.
    pub name: String,
    /// How the client reaches it.
    pub way: String,
    /// The public client's address.
    pub source: SocketAddr,
}

impl Link {
    /// Says HELLO to the peer at `to` and registers these names.
    pub async fn register(to: SocketAddr, peer_id: &str, names: &[&str]) -> Self {
        Self::register_on(connect(to).await, peer_id, names).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// A link on which nothing was said yet, or a DATA connection whose line was
    /// not read yet.
    pub fn on(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// As [`register`](Link::register), on a connection that exists.
    pub async fn register_on(stream: S, peer_id: &str, names: &[&str]) -> Self {
        let mut link = Self::on(stream);
        link.send(&format!("HELLO:1:{peer_id}")).await;
        link.welcomed().await;
        link.send(&format!("REGISTER:{}", names.join(","))).await;
        assert_eq!(link.line().await, format!("OK:{}", names.len()));
        link
    }

    /// The connection; nothing may have been read beyond the last line.
    pub fn into_stream(self) -> S {
        assert!(self.stream.buffer().is_empty(), "bytes were read beyond the line");
        self.stream.into_inner()
    }

    /// The connection, with what was read beyond the last line.
    pub fn into_buffered(self) -> BufReader<S> {
        self.stream
    }

    /// Writes one line.
    pub async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.stream.write_all(line.as_bytes()).await.expect("the link takes a line");
        self.stream.flush().await.expect("the link takes a line");
    }

    /// Writes one line to who may have left.
    pub async fn try_send(&mut self, line: &str) {
        let line = format!("{line}\n");
        let _ = self.stream.write_all(line.as_bytes()).await;
        let _ = self.stream.flush().await;
    }

    /// Says HELLO with these fields and registers one name; the answer to the
    /// last line that was answered.
    pub async fn asks(mut self, hello: &str, name: &str) -> String {
        self.send(&format!("HELLO:1:{hello}\nREGISTER:{name}")).await;
        match self.line().await.as_str() {
            welcome if welcome.starts_with("OK:0:") => self.line().await,
            other => other.to_owned(),
        }
    }

    /// Reads the answer to HELLO; the id of who listens.
    pub async fn welcomed(&mut self) -> String {
        let line = self.line().await;
        line.strip_prefix("OK:0:").unwrap_or_else(|| panic!("{line} is no welcome")).to_owned()
    }

    /// Whether the connection breaks before a line comes.
    pub async fn breaks(mut self) -> bool {
        let mut line = String::new();
        let read = within("the end", self.stream.read_line(&mut line)).await;
        read.is_err() || line.is_empty()
    }

    /// The next line, without its LF; empty at the link's end.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        within("a line", self.stream.read_line(&mut line)).await.expect("a line or a clean end");
        line.trim_end().to_owned()
    }

    /// The next line, which must be a FORWARD.
    pub async fn forward(&mut self) -> Forward {
        let line = self.line().await;
        let mut fields = line.splitn(5, ':');
        assert_eq!(fields.next(), Some("FORWARD"), "{line:?}");
        let mut field = || fields.next().expect("a FORWARD has five fields").to_owned();
        Forward {
            proxy_id: field(),
            name: field(),
            way: field(),
            source: {
                let addrs = field();
                let source = addrs.split('>').next().unwrap_or_default();
                source.parse().expect("the source is IP:PORT")
            },
        }
    }
}

/// Opens a DATA connection for `proxy_id` on `stream`.
pub async fn data<S: AsyncWrite + Unpin>(mut stream: S, proxy_id: &str) -> S {
    let line = format!("DATA:{proxy_id}\n");
    stream.write_all(line.as_bytes()).await.expect("the DATA line is taken");
    stream.flush().await.expect("the DATA line is sent");
    stream
}
