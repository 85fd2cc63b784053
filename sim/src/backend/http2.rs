//! HTTP/2 in clear text, as a backend speaks it: each stream has its answer, as of HTTP/1.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::asked::Asked;
use crate::ground::Ground;
use crate::message::{
    BACKEND, H2_FORGETS_AFTER, NEVER, READ, body_of, field_lines, in_pieces, sum_of,
};
use crate::payload::Pattern;
use crate::scenario::BackendSpec;
use crate::scenario::steps::Answer;

/// What is written before a reset is on its way by then.
const UNDER_WAY: Duration = Duration::from_millis(10);

/// A backend, as each of its streams knows it.
#[derive(Clone)]
pub(super) struct Server<N> {
    /// The host's name.
    pub(super) name: Rc<str>,
    pub(super) spec: BackendSpec,
    pub(super) net: N,
}

impl<N: Ground> Server<N> {
    /// Answers on this connection until the client ends.
    pub(super) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut connection = shake_hands(stream).await?;
        // They end with the connection.
        let mut streams = JoinSet::new();
        while let Some(accepted) = connection.accept().await {
            let (request, respond) = accepted.map_err(failed)?;
            let server = self.clone();
            streams.spawn_local(async move {
                // A client that resets a stream is not the backend's business.
                let _ = server.answer(request, respond).await;
            });
        }
        Ok(())
    }

    /// Begins an answer of so many bytes and does not end it.
    pub(super) async fn disappoint(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        after: u64,
    ) -> io::Result<()> {
        let mut connection = shake_hands(stream).await?;
        let Some(accepted) = connection.accept().await else { return Ok(()) };
        let (request, mut respond) = accepted.map_err(failed)?;
        if after == 0 {
            return Ok(());
        }
        let (request, _body) = request.into_parts();
        let asked = Asked::from_parts(&request);
        let head = Response::builder().header(BACKEND, &*self.name);
        let head = head.body(()).expect("hosts have sound names");
        let mut body = respond.send_response(head, false).map_err(failed)?;
        if !asked.is_head {
            let bytes = body_of(Pattern(asked.seed | 1), after);
            body.send_data(bytes.into(), false).map_err(failed)?;
        }
        let _ = tokio::time::timeout(UNDER_WAY, connection.accept()).await;
        Ok(())
    }

    async fn answer(
        &self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let (head, mut body) = request.into_parts();
        if head.headers.contains_key(NEVER) {
            self.net.wrong(format!("{} got a request beside the name", self.name));
        }
        let asked = Asked::from_parts(&head);
        if asked.expects {
            respond.send_informational(bare(100))?;
        }
        let read = self.read(&head, &asked, &mut body).await?;
        if let Some(delay) = self.spec.delay {
            tokio::time::sleep(delay.0).await;
        }
        let (wish, interim) = asked.wish.unwrap_or_default();
        for _ in 0..interim {
            respond.send_informational(bare(103))?;
        }
        let mut head = Response::builder().status(wish.status()).header(BACKEND, &*self.name);
        head = head.header(READ, read);
        if matches!(wish, Answer::Length | Answer::NotModified) {
            head = head.header("content-length", asked.download);
        }
        let head = head.body(()).expect("what was read makes a sound field");
        let is_chunked = wish == Answer::Chunked;
        let has_body = match wish {
            Answer::Chunked => true,
            Answer::Length => asked.download > 0,
            _ => false,
        };
        let has_body = has_body && !asked.is_head;
        let mut stream = respond.send_response(head, !has_body)?;
        if has_body {
            let pattern = Pattern(asked.seed | 1);
            let body = body_of(pattern, asked.download);
            self.send(&mut stream, pattern, &body, !is_chunked).await?;
            if is_chunked {
                stream.send_trailers(sum_of(&body))?;
            }
        }
        Ok(())
    }

    /// Takes the upload; the request as it was read.
    async fn read(
        &self,
        head: &Parts,
        asked: &Asked,
        body: &mut RecvStream,
    ) -> Result<String, h2::Error> {
        let mut got: Vec<u8> = Vec::new();
        while let Some(bytes) = body.data().await {
            let bytes = bytes?;
            body.flow_control().release_capacity(bytes.len())?;
            if !Pattern(asked.seed).matches(got.len() as u64, &bytes) {
                let (name, at) = (&self.name, got.len());
                self.net.wrong(format!("{name} got foreign bytes of {} at {at}", head.uri));
            }
            got.extend_from_slice(&bytes);
        }
        let trailers = body.trailers().await?.as_ref().map(field_lines).unwrap_or_default();
        Ok(asked.read(&got, &trailers))
    }

    /// Sends a body at the backend's pace.
    async fn send(
        &self,
        stream: &mut SendStream<Bytes>,
        pattern: Pattern,
        body: &[u8],
        is_last: bool,
    ) -> Result<(), h2::Error> {
        let mut pieces = in_pieces(pattern, body).peekable();
        while let Some(piece) = pieces.next() {
            if let Some(rate) = self.spec.rate.map(|rate| rate.0.max(1)) {
                let time = Duration::from_secs_f64(piece.len() as f64 / rate as f64);
                tokio::time::sleep(time).await;
            }
            let is_end = is_last && pieces.peek().is_none();
            stream.send_data(Bytes::copy_from_slice(piece), is_end)?;
        }
        Ok(())
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
) -> io::Result<Connection<S, Bytes>> {
    let mut builder = Builder::new();
    builder.reset_stream_duration(H2_FORGETS_AFTER);
    builder.handshake(stream).await.map_err(failed)
}

/// An interim answer.
fn bare(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).expect("it is a status")
}

fn failed(error: h2::Error) -> io::Error {
    io::Error::other(error)
}
