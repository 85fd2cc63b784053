//! Connections that a scenario writes by hand, line by line.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ops_proxy::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::Client;
use crate::net::SimStream;
use crate::steps::Close;

/// Received bytes that are kept for expectations and snapshots.
const KEPT: usize = 64 * 1024;

/// A raw connection to be opened.
#[derive(Debug)]
pub struct Order {
    /// Where, as `host:port`.
    pub to: String,
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
pub async fn run(client: Client, order: Order) {
    let Order { to, deaf, mut says, heard } = order;
    let endpoint: ops_proxy::config::Endpoint =
        to.parse().expect("a checked scenario has endpoints");
    let connected = async {
        let addresses = client.net.resolve(&endpoint.host, endpoint.port).await?;
        client.net.connect(addresses[0]).await
    };
    let stream = match connected.await {
        Ok(stream) => stream,
        Err(error) => {
            heard.borrow_mut().ended = Some(error.kind().to_string());
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
        client.net.abort(stream);
    } else {
        drop(stream);
    }
    let mut heard = heard.borrow_mut();
    heard.open = false;
    heard.ended = Some(ended);
}

async fn listen(read: &mut ReadHalf<SimStream>, heard: &RefCell<Heard>) -> String {
    let mut buffer = [0; 4096];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return "closed".to_owned(),
            Ok(bytes) => {
                let received = &mut heard.borrow_mut().received;
                let room = KEPT.saturating_sub(received.len()).min(bytes);
                received.extend_from_slice(&buffer[..room]);
            }
            Err(error) => return error.kind().to_string(),
        }
    }
}

async fn speak(
    write: &mut WriteHalf<SimStream>,
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
                    match write.write_all(part).await {
                        Ok(()) => {}
                        Err(error) if deaf => return error.kind().to_string(),
                        // Whoever reads will say how it ended.
                        Err(_) => return std::future::pending().await,
                    }
                    heard.borrow_mut().written += part.len() as u64;
                    if let Some(between) = between {
                        tokio::time::sleep(between).await;
                    }
                }
            }
            Some(Say::Close(Close::End)) => return "closed by us".to_owned(),
            Some(Say::Close(Close::Reset)) => return "reset by us".to_owned(),
            Some(Say::Close(Close::Half)) => {
                let _ = write.shutdown().await;
            }
            None => return std::future::pending().await,
        }
    }
}
