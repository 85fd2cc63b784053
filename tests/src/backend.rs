//! Services behind a peer. Those that a test drives byte by byte are a plain
//! [`listener`]; the others serve on their own until dropped.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::client;
use crate::payload::{Digester, Payload};
use crate::wait::within;

const BUFFER_BYTES: usize = 64 * 1024;

/// A listening socket on loopback, for a backend driven by the test itself.
pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let addr = listener.local_addr().expect("a bound address");
    (listener, addr)
}

/// The next connection.
pub async fn accept(listener: &TcpListener) -> TcpStream {
    within("a connection to the backend", listener.accept()).await.expect("accept").0
}

/// Closes `stream` with RST.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
}

/// An address that refuses every connection for as long as the socket is held:
/// bound, so that nobody else gets it, but not listening.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).expect("loopback has a free port");
    let addr = socket.local_addr().expect("a bound address");
    (socket, addr)
}

/// A service that runs until dropped.
#[derive(Debug)]
pub struct Backend {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Backend {
    /// Serves every connection with `serve`.
    pub async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, addr) = listener().await;
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(stream));
            }
        });
        Self { addr, accepted, task }
    }

    /// Where it is dialled.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// So many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Sends everything back.
    pub async fn echo() -> Self {
        Self::start(|mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            // A client that resets is no fault of the echo.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        })
        .await
    }

    /// HTTP/1.1 with keep-alive.
    ///
    /// | path | answer |
    /// |---|---|
    /// | `/sha256` | the SHA-256 of the uploaded body |
    /// | `/chunked/N` | N bytes of [`Payload`] with seed N, chunked |
    /// | any other | method, path and Host, one a line |
    pub async fn http() -> Self {
        Self::start(|stream| async move {
            let service = service_fn(answer);
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that leaves is no fault of the server.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    /// As [`http`](Self::http), and says `id` in `X-Backend`.
    pub async fn named(id: &'static str) -> Self {
        Self::start(move |stream| async move {
            let service = service_fn(move |request| async move {
                let mut response = answer(request).await?;
                response.headers_mut().insert("x-backend", HeaderValue::from_static(id));
                Ok::<_, hyper::Error>(response)
            });
            let connection = hyper::server::conn::http1::Builder::new();
            // As above.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    /// HTTP that answers nobody until `parties` requests wait for their answer.
    pub async fn rendezvous(parties: usize) -> Self {
        let barrier = Arc::new(Barrier::new(parties));
        Self::start(move |mut stream| {
            let barrier = Arc::clone(&barrier);
            async move {
                client::raw_head(&mut stream).await;
                barrier.wait().await;
                let answer =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nmet";
                // As above: who left does not read.
                let _ = stream.write_all(answer).await;
            }
        })
        .await
    }

    /// A balancer: connections go to these by turns, as they are.
    pub async fn balancer(to: Vec<SocketAddr>) -> Self {
        let turn = AtomicUsize::new(0);
        Self::start(move |mut stream| {
            let to = to[turn.fetch_add(1, Ordering::Relaxed) % to.len()];
            async move {
                let Ok(mut onward) = TcpStream::connect(to).await else { return };
                // An end that resets is no fault of the balancer.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
            }
        })
        .await
    }

    /// TLS with a certificate of its own for `name`; choosing among these
    /// protocols by ALPN; sends everything back.
    pub async fn tls(name: &str, alpn: &[&str]) -> (Self, CertificateDer<'static>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).expect("a name for a certificate");
        let certificate = cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a key that fits its certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let backend = Self::start(move |stream| {
            let handshake = acceptor.accept(stream);
            async move {
                let Ok(mut stream) = handshake.await else { return };
                let mut buffer = vec![0; BUFFER_BYTES];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            }
        })
        .await;
        (backend, certificate)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    if path == "/sha256" {
        return Ok(Response::new(text(sha256(request.into_body()).await?)));
    }
    if let Some(length) = path.strip_prefix("/chunked/") {
        let length: usize = length.parse().expect("the tests ask for a number");
        return Ok(Response::new(Chunks(Payload::new(length as u64, length)).boxed()));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let echo = format!("{} {path}\n{}\n", request.method(), host.unwrap_or_default());
    Ok(Response::new(text(echo)))
}

async fn sha256(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut digester = Digester::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            digester.update(&data);
        }
    }
    Ok(digester.hex())
}

fn text(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed()
}

/// A body of unknown length, so that HTTP/1.1 sends it chunked.
struct Chunks(Payload);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next_chunk().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))))
    }
}
