//! A connecting peer by hand: it speaks the wire protocol line by line, and does
//! only what a test tells it to.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::client::connect;
use crate::wait::within;

/// One link to a listening peer.
#[derive(Debug)]
pub struct Link {
    stream: BufReader<TcpStream>,
}

/// A FORWARD line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The request's id.
    pub proxy_id: String,
    /// The registered name.
    pub name: String,
    /// The public client's address.
    pub source: SocketAddr,
}

impl Link {
    /// Says HELLO to the peer at `to` and registers these names.
    pub async fn register(to: SocketAddr, peer_id: &str, names: &[&str]) -> Self {
        Self::register_on(connect(to).await, peer_id, names).await
    }

    /// As [`register`](Self::register), on a connection that exists.
    pub async fn register_on(stream: TcpStream, peer_id: &str, names: &[&str]) -> Self {
        let mut link = Self { stream: BufReader::new(stream) };
        link.send(&format!("HELLO:1:{peer_id}")).await;
        assert_eq!(link.line().await, "OK:0");
        link.send(&format!("REGISTER:{}", names.join(","))).await;
        assert_eq!(link.line().await, format!("OK:{}", names.len()));
        link
    }

    /// Writes one line.
    pub async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.stream.write_all(line.as_bytes()).await.expect("the link takes a line");
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
        let mut fields = line.splitn(4, ':');
        assert_eq!(fields.next(), Some("FORWARD"), "{line:?}");
        let mut field = || fields.next().expect("a FORWARD has four fields").to_owned();
        Forward {
            proxy_id: field(),
            name: field(),
            source: field().parse().expect("the source is IP:PORT"),
        }
    }
}

/// Opens a DATA connection for `proxy_id` on `stream`.
pub async fn data(mut stream: TcpStream, proxy_id: &str) -> TcpStream {
    let line = format!("DATA:{proxy_id}\n");
    stream.write_all(line.as_bytes()).await.expect("the DATA line is taken");
    stream
}
