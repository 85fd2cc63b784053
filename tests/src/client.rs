//! Public clients. HTTP is written by hand: the tests care for exact bytes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::wait::within;

/// More than any answer of these tests, also the metrics of ten thousand names.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// One HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields by lower-case name.
    pub fields: BTreeMap<String, String>,
    /// The body, as `Content-Length` or the end of the connection bounds it.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }

    /// A header field, empty when absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Connects to a peer.
pub async fn connect(to: SocketAddr) -> TcpStream {
    within("a connection", TcpStream::connect(to)).await.expect("a peer listens there")
}

/// Connects to a peer from another loopback address, such as `127.0.0.2:0`.
pub async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).expect("all of 127.0.0.0/8 is this machine");
    within("a connection", socket.connect(to)).await.expect("a peer listens there")
}

/// A whole GET request that asks for the connection to be closed after it.
pub fn get_request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// A whole CONNECT request.
pub fn connect_request(name: &str) -> String {
    format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n")
}

/// A running stream by CONNECT to `name`, whose backend echoes; shown to carry bytes.
pub async fn stream_to(to: SocketAddr, name: &str) -> TcpStream {
    let mut stream = connect(to).await;
    stream.write_all(connect_request(name).as_bytes()).await.unwrap();
    assert_eq!(head(&mut stream).await.status, 200);
    assert_carries(&mut stream).await;
    stream
}

/// A stream whose other end echoes carries bytes both ways.
pub async fn assert_carries(stream: &mut TcpStream) {
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
}

/// GET on a connection of its own.
pub async fn get(to: SocketAddr, path: &str, host: &str) -> Answer {
    exchange(to, get_request(path, host).as_bytes()).await
}

/// Sends `request` on a connection of its own, reads until the connection ends
/// cleanly, and reads all of that as one answer.
pub async fn exchange(to: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(to).await;
    stream.write_all(request).await.expect("the request is taken");
    last_answer(&mut stream).await
}

/// Reads until the connection ends cleanly: exactly one answer and no byte more.
pub async fn last_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let bytes = to_end(stream).await.expect("a clean end");
    let (mut answer, body) = parse_head(&bytes).expect("a whole HTTP head");
    if let Some(length) = answer.fields.get("content-length") {
        assert_eq!(length.parse(), Ok(body.len()), "Content-Length is not the body's length");
    }
    answer.body = match answer.field("transfer-encoding") {
        "chunked" => unchunked(body),
        _ => body.to_vec(),
    };
    answer
}

/// What a chunked body carries (RFC 9112 §7.1), which must end where `body` does.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut carried = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(body).expect("a chunk size");
        let httparse::Status::Complete((head, size)) = size else { panic!("half a chunk size") };
        let chunk = usize::try_from(size).expect("a chunk that fits into memory");
        let rest = &body[head..];
        assert_eq!(rest.get(chunk..chunk + 2), Some(&b"\r\n"[..]), "a chunk without its end");
        carried.extend_from_slice(&rest[..chunk]);
        body = &rest[chunk + 2..];
        if chunk == 0 {
            assert!(body.is_empty(), "bytes behind the last chunk");
            return carried;
        }
    }
}

/// Reads the next answer, bounded by its `Content-Length`, on a connection that
/// goes on.
pub async fn next_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut answer = head(stream).await;
    let length = answer.field("content-length").parse().expect("a Content-Length");
    answer.body = vec![0; length];
    within("the body", stream.read_exact(&mut answer.body)).await.expect("a whole body");
    answer
}

/// Reads the head of an answer and not a byte more.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    parse_head(&raw_head(stream).await).expect("the head of an answer").0
}

/// Reads a head, of a request or of an answer, and not a byte more.
pub async fn raw_head(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let whole = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await?);
            assert!(bytes.len() < ANSWER_BYTES, "a head without end");
        }
        io::Result::Ok(())
    };
    within("a head", whole).await.expect("a whole head");
    bytes
}

/// Everything until the end of the stream.
///
/// # Errors
/// When the stream ended otherwise than cleanly.
pub async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bounded = stream.take(ANSWER_BYTES as u64);
    within("the end of the stream", bounded.read_to_end(&mut bytes)).await?;
    assert!(bytes.len() < ANSWER_BYTES, "more than {ANSWER_BYTES} bytes");
    Ok(bytes)
}

fn parse_head(bytes: &[u8]) -> Option<(Answer, &[u8])> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes).ok()? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return None,
    };
    let field = |field: &httparse::Header<'_>| {
        (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned())
    };
    let fields = response.headers.iter().map(field).collect();
    Some((Answer { status: response.code?, fields, body: Vec::new() }, &bytes[length..]))
}
