//! The demo's own clients: one request in each way that a name can be reached.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::pki_types::ServerName;

use super::loopback::Stream;
use super::mesh::{ECHO, Mesh, NOBODY, PATIENCE, SECURE, WEB};
use crate::stream::net::Net;
use crate::stream::net::tokio::TokioNet;

/// More than any answer here has, in bytes.
const ANSWER_BYTES: u64 = 64 * 1024;

/// What the echo is to send back.
const ECHOED: &[u8] = b"is anybody there?\n";

/// One request, and how it went.
pub(super) struct Shown {
    pub(super) way: &'static str,
    pub(super) name: &'static str,
    pub(super) outcome: io::Result<Answer>,
}

/// What came back as it should.
pub(super) struct Answer {
    /// The peer beside the service that answered, or the hub itself.
    pub(super) from: String,
    /// For people.
    pub(super) what: String,
}

type Request<'a> = Pin<Box<dyn Future<Output = Shown> + 'a>>;

/// All of them, to be awaited one after the other.
pub(super) fn all(mesh: &Mesh) -> Vec<Request<'_>> {
    vec![
        request("by Host", WEB, by_host(mesh, WEB, 200)),
        request("by Host", WEB, by_host(mesh, WEB, 200)),
        request("by CONNECT", WEB, by_connect(mesh, WEB)),
        request("by SNI", SECURE, by_sni(mesh, SECURE)),
        request("by TCP port", ECHO, by_port(mesh)),
        request("by Host", NOBODY, by_host(mesh, NOBODY, 404)),
    ]
}

fn request<'a>(
    way: &'static str,
    name: &'static str,
    answer: impl Future<Output = io::Result<Answer>> + 'a,
) -> Request<'a> {
    Box::pin(async move {
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        let outcome = timeout(PATIENCE, answer).await.unwrap_or_else(late);
        Shown { way, name, outcome }
    })
}

async fn by_host(mesh: &Mesh, name: &str, expected: u16) -> io::Result<Answer> {
    let stream = TokioNet.connect(mesh.public).await?;
    let response = get(stream, name).await?.expect_status(expected)?;
    Ok(response.into_answer(""))
}

async fn by_connect(mesh: &Mesh, name: &str) -> io::Result<Answer> {
    let mut stream = TokioNet.connect(mesh.public).await?;
    let head = format!("CONNECT {name}:80 HTTP/1.1\r\nHost: {name}:80\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Response::parse(&read_head(&mut stream).await?)?.expect_status(200)?;
    let response = get(stream, name).await?.expect_status(200)?;
    Ok(response.into_answer(" inside the tunnel"))
}

async fn by_sni(mesh: &Mesh, name: &'static str) -> io::Result<Answer> {
    let stream = TokioNet.connect(mesh.public).await?;
    let server = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = TlsConnector::from(mesh.tls.clone()).connect(server, stream).await?;
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let response = get(stream, name).await?.expect_status(200)?;
    Ok(response.into_answer(&format!(", {version} end to end")))
}

/// The service speaks first, which only a port of its own makes possible.
async fn by_port(mesh: &Mesh) -> io::Result<Answer> {
    let mut stream = BufReader::new(TokioNet.connect(mesh.echo_port).await?);
    let mut greeting = String::new();
    (&mut stream).take(ANSWER_BYTES).read_line(&mut greeting).await?;
    let from = greeting.trim_end().strip_prefix("echo at ").ok_or_else(|| wrong(&greeting))?;
    stream.write_all(ECHOED).await?;
    stream.shutdown().await?;
    let mut echoed = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut echoed).await?;
    if echoed != ECHOED {
        return Err(wrong(&String::from_utf8_lossy(&echoed)));
    }
    let what = format!("greeted first, then echoed all {} bytes", echoed.len());
    Ok(Answer { from: from.to_owned(), what })
}

/// One GET; reads until the other side closes, and then closes.
async fn get<S>(mut stream: S, host: &str) -> io::Result<Response>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut bytes).await?;
    Response::parse(&bytes)
}

/// Up to the empty line and not a byte further: what follows is the service's.
async fn read_head(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() as u64 == ANSWER_BYTES {
            return Err(wrong("an endless head"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

struct Response {
    status: u16,
    server: Option<String>,
    body_bytes: usize,
}

impl Response {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes).map_err(io::Error::other)?
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let server = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("server"));
        Ok(Self {
            status: head.code.ok_or_else(|| wrong("no status"))?,
            server: server.map(|field| String::from_utf8_lossy(field.value).into_owned()),
            body_bytes: bytes.len() - length,
        })
    }

    fn expect_status(self, expected: u16) -> io::Result<Self> {
        if self.status == expected {
            Ok(self)
        } else {
            Err(wrong(&format!("status {}, not {expected}", self.status)))
        }
    }

    fn into_answer(self, more: &str) -> Answer {
        let what = format!("{}, {} bytes{more}", self.status, self.body_bytes);
        Answer { from: self.server.unwrap_or_else(|| "hub".to_owned()), what }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("answered {what:?}"))
}
