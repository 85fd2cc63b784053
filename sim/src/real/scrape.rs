//! What a peer's admin pages say, asked from within its namespace.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ops_proxy::stream::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config::ADMIN;
use super::net::RealNet;
use crate::metrics::Exported;

/// A page comes within this time, or not at all: the peer may be stopped.
const PAGE_WITHIN: Duration = Duration::from_secs(5);

/// The peer's metrics now.
///
/// # Errors
/// Nobody answers, or not with metrics.
pub(super) async fn metrics(net: &RealNet) -> Result<Exported, String> {
    let (status, text) = page(net, "/metrics").await.map_err(|error| error.to_string())?;
    if status == 200 { Exported::parse(&text) } else { Err(format!("/metrics is {status}")) }
}

/// Whether the peer is ready for traffic.
pub(super) async fn is_ready(net: &RealNet) -> bool {
    page(net, "/readyz").await.is_ok_and(|(status, _)| status == 200)
}

/// The status and the body of a page.
async fn page(net: &RealNet, path: &str) -> io::Result<(u16, String)> {
    let asked = async {
        let admin: SocketAddr = ADMIN.parse().expect("it is an address");
        let mut stream = net.connect(admin).await?;
        // The answer then ends with its connection, and is not in chunks.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {ADMIN}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        parse(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    tokio::time::timeout(PAGE_WITHIN, asked).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(answer).ok()? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    Some((head.code?, String::from_utf8_lossy(&answer[length..]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_status_and_its_body() {
        let page = parse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(page, Some((503, "no".to_owned())));
        assert_eq!(parse(b"HTTP/1.1 503 Serv"), None);
    }
}
