//! A gRPC service without a schema: its messages are text.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ops_proxy_tests::backend::Backend;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

/// Messages that are text.
#[derive(Debug, Default)]
pub(crate) struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = bytes::Buf::copy_to_bytes(buffer, bytes::Buf::remaining(buffer));
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What a backend does with a call:
///
/// | path | answer |
/// |---|---|
/// | `/test/Each` | each message, behind the backend's id |
/// | `/test/Twice` | the same, two times |
/// | `/test/All` | all messages in one, behind the backend's id |
struct Call {
    id: &'static str,
    path: String,
}

impl Service<Request<Streaming<String>>> for Call {
    type Response = Response<ReceiverStream<Result<String, Status>>>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let (id, path) = (self.id, self.path.clone());
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut messages = request.into_inner();
            let mut all = String::new();
            while let Some(Ok(message)) = messages.next().await {
                let times = match path.as_str() {
                    "/test/Each" => 1,
                    "/test/Twice" => 2,
                    _ => 0,
                };
                all.push_str(&message);
                for _ in 0..times {
                    let _ = sender.send(Ok(format!("{id}:{message}"))).await;
                }
            }
            if path == "/test/All" {
                let _ = sender.send(Ok(format!("{id}:{all}"))).await;
            }
        });
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(answers))) })
    }
}

/// A gRPC server in clear text.
pub(crate) async fn backend(id: &'static str) -> Backend {
    Backend::start(move |stream| async move {
        let service =
            service_fn(move |request: hyper::Request<hyper::body::Incoming>| async move {
                let path = request.uri().path().to_owned();
                let mut grpc = tonic::server::Grpc::new(Text);
                Ok::<_, std::convert::Infallible>(grpc.streaming(Call { id, path }, request).await)
            });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // A client that leaves is no fault of the server.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

type Tls = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// Connects by giving away a connection that there is.
struct Once(Option<Tls>);

impl Service<hyper::Uri> for Once {
    type Response = TokioIo<Tls>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let gone = || std::io::ErrorKind::NotConnected.into();
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(gone))
    }
}

/// A gRPC client that asks for `authority`.
pub(crate) struct Client(Grpc<Channel>);

impl Client {
    pub(crate) async fn dial(to: std::net::SocketAddr, authority: &str) -> Self {
        let origin = format!("http://{authority}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{to}")).unwrap().origin(origin);
        Self(Grpc::new(endpoint.connect().await.unwrap()))
    }

    /// As [`dial`](Self::dial), over a TLS connection.
    pub(crate) async fn within(tls: Tls, authority: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).unwrap();
        Self(Grpc::new(endpoint.connect_with_connector(Once(Some(tls))).await.unwrap()))
    }

    /// One message there, one back.
    pub(crate) async fn unary(&mut self, message: &str) -> Result<String, Status> {
        self.0.ready().await.unwrap();
        let path = "/test/All".parse().unwrap();
        let answer = self.0.unary(Request::new(message.to_owned()), path, Text).await;
        answer.map(Response::into_inner)
    }

    /// Many messages there, one back.
    pub(crate) async fn client_streaming(&mut self, messages: &[&str]) -> String {
        self.0.ready().await.unwrap();
        let path = "/test/All".parse().unwrap();
        let messages: Vec<String> = messages.iter().map(|&message| message.to_owned()).collect();
        let messages = Request::new(tokio_stream::iter(messages));
        self.0.client_streaming(messages, path, Text).await.unwrap().into_inner()
    }

    /// One message there, many back.
    pub(crate) async fn server_streaming(&mut self, message: &str) -> Vec<String> {
        self.0.ready().await.unwrap();
        let path = "/test/Twice".parse().unwrap();
        let answers = self.0.server_streaming(Request::new(message.to_owned()), path, Text).await;
        answers.unwrap().into_inner().map(Result::unwrap).collect().await
    }

    /// Messages there and back, as they come.
    pub(crate) async fn both_streaming(
        &mut self,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Streaming<String> {
        self.0.ready().await.unwrap();
        let path = "/test/Each".parse().unwrap();
        self.0.streaming(Request::new(messages), path, Text).await.unwrap().into_inner()
    }
}
