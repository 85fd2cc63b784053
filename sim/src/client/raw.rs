//! Connections that a scenario writes by hand, line by line.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ops_proxy::config::Endpoint;
use ops_proxy::stream::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_rustls::rustls::{self, ClientConfig};

use crate::ground::Ground;
use crate::scenario::steps::Close;

/// Received bytes that are kept for expectations and snapshots.
const KEPT: usize = 64 * 1024;

/// A raw connection to be opened.
#[derive(Debug)]
pub struct RawOrder {
    /// Where, as `host:port`.
    pub to: String,
    /// It speaks TLS, like this.
    pub tls: Option<Arc<ClientConfig>>,
    /// Never reads.
    pub deaf: bool,
    /// What to write, and how to close.
    pub says: mpsc::UnboundedReceiver<Say>,
    /// Where to put what was heard.
    pub heard: Rc<RefCell<Heard>>,
}

/// One thing to do on an open raw connection.
#[derive(Debug, Clone)]
pub enum Say {
    /// Write these bytes, with this time between every two of them.
    Write(Vec<u8>, Option<Duration>),
    /// Close.
    Close(Close),
}

/// What was heard on a raw connection.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    /// The connection stands.
    pub open: bool,
    /// Bytes written.
    pub written: u64,
    /// Received so far.
    pub received: Vec<u8>,
    /// How the other side, or we, ended it.
    pub ended: Option<String>,
}

/// Opens the connection, and writes and reads until it ends.
pub(super) async fn run<N: Ground>(net: N, order: RawOrder) {
    let RawOrder { to, tls, deaf, mut says, heard } = order;
    let endpoint: Endpoint = to.parse().expect("a checked scenario has endpoints");
    let stream = match open(&net, &endpoint, tls).await {
        Ok(stream) => stream,
        Err(error) => {
            heard.borrow_mut().ended = Some(what_ended(&error));
            return;
        }
    };
    heard.borrow_mut().open = true;
    let (mut read, mut write) = tokio::io::split(stream);
    let ended = tokio::select! {
        biased;
        ended = listen(&mut read, &heard), if !deaf => ended,
        ended = speak(&mut write, &mut says, &heard, deaf) => ended,
    };
    let stream = read.unsplit(write);
    if ended == "reset by us" {
        net.abort(stream.into_inner());
    } else {
        drop(stream);
    }
    let mut heard = heard.borrow_mut();
    heard.open = false;
    heard.ended = Some(ended);
}

async fn open<N: Ground>(
    net: &N,
    endpoint: &Endpoint,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Transport<N::Stream>> {
    let addresses = net.resolve(&endpoint.host, endpoint.port).await?;
    let stream = net.connect(addresses[0]).await?;
    match tls {
        None => Ok(Transport::Plain(stream)),
        Some(config) => {
            let session =
                ops_proxy::trust::tls::connect::<N>(config, &endpoint.host, stream).await?;
            Ok(session.stream)
        }
    }
}

/// Why a connection ended; of TLS, in its own words.
fn what_ended(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| error.kind().to_string(), ToString::to_string)
}

async fn listen(read: &mut (impl AsyncRead + Unpin), heard: &RefCell<Heard>) -> String {
    let mut buffer = [0; 4096];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return "closed".to_owned(),
            Ok(bytes) => {
                let received = &mut heard.borrow_mut().received;
                let room = KEPT.saturating_sub(received.len()).min(bytes);
                received.extend_from_slice(&buffer[..room]);
            }
            Err(error) => return what_ended(&error),
        }
    }
}

/// TLS keeps a buffer between us and the network.
async fn write_through(write: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    write.write_all(bytes).await?;
    write.flush().await
}

async fn speak(
    write: &mut (impl AsyncWrite + Unpin),
    says: &mut mpsc::UnboundedReceiver<Say>,
    heard: &RefCell<Heard>,
    deaf: bool,
) -> String {
    loop {
        match says.recv().await {
            Some(Say::Write(bytes, between)) => {
                let parts: Vec<&[u8]> = match between {
                    Some(_) => bytes.chunks(1).collect(),
                    None => vec![&bytes],
                };
                for part in parts {
                    match write_through(write, part).await {
                        Ok(()) => {}
                        Err(error) if deaf => return what_ended(&error),
                        // Whoever reads will say how it ended.
                        Err(_) => return std::future::pending().await,
                    }
                    heard.borrow_mut().written += part.len() as u64;
                    if let Some(between) = between {
                        tokio::time::sleep(between).await;
                    }
                }
            }
            Some(Say::Close(Close::End)) => {
                // TLS says goodbye; without a word it would be a cut.
                let _ = write.shutdown().await;
                return "closed by us".to_owned();
            }
            Some(Say::Close(Close::Reset)) => return "reset by us".to_owned(),
            Some(Say::Close(Close::Half)) => {
                let _ = write.shutdown().await;
            }
            None => return std::future::pending().await,
        }
    }
}
