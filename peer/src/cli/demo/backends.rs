//! The services behind the demo's peers: HTTP, HTTP over TLS, and an echo.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::loopback::{ANY_PORT, Stream};
use crate::limits::{ACCEPT_BACKOFF, HEAD_DEADLINE};
use crate::stream::net::tokio::TokioNet;
use crate::stream::net::{Listener, Net};

/// Connections that one backend carries at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;

/// An HTTP service that says where it is. Runs in `tasks`.
pub(super) async fn http(tasks: &mut JoinSet<()>, site: &'static str) -> io::Result<SocketAddr> {
    serve(tasks, move |stream| answer(stream, site)).await
}

/// The same over TLS.
pub(super) async fn https(
    tasks: &mut JoinSet<()>,
    site: &'static str,
    config: Arc<ServerConfig>,
) -> io::Result<SocketAddr> {
    let acceptor = TlsAcceptor::from(config);
    serve(tasks, move |stream| {
        let accepting = acceptor.accept(stream);
        async move {
            if let Ok(Ok(stream)) = timeout(HEAD_DEADLINE, accepting).await {
                answer(stream, site).await;
            }
        }
    })
    .await
}

/// Says where it is, on a line of its own before it was sent anything; then sends
/// back what it gets.
pub(super) async fn echo(tasks: &mut JoinSet<()>, site: &'static str) -> io::Result<SocketAddr> {
    serve(tasks, move |stream| async move {
        let (mut reader, mut writer) = split(stream);
        let _ = writer.write_all(format!("echo at {site}\n").as_bytes()).await;
        let _ = copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    })
    .await
}

async fn serve<H, F>(tasks: &mut JoinSet<()>, handle: H) -> io::Result<SocketAddr>
where
    H: Fn(Stream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TokioNet.bind(ANY_PORT).await?;
    let addr = Listener::local_addr(&listener)?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() == CONNECTIONS {
                connections.join_next().await;
            }
            match Listener::accept(&listener).await {
                Ok((stream, _)) => drop(connections.spawn(handle(stream))),
                Err(_) => sleep(ACCEPT_BACKOFF).await,
            }
        }
    });
    Ok(addr)
}

async fn answer<S>(stream: S, site: &'static str)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| async move {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let text = format!("{} at {site}\n", host.unwrap_or("no name"));
        let mut response = Response::new(Full::new(Bytes::from(text)));
        let headers = response.headers_mut();
        headers.insert(SERVER, hyper::header::HeaderValue::from_static(site));
        headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain"));
        Ok::<_, Infallible>(response)
    });
    // A client may leave at any time; there is nobody to tell.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
