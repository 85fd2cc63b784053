//! Clients that keep asking for the same, through one peer, and what they saw: a steady
//! load, with a limit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::wait::{LIMIT, until};

/// As many ask at a time: one half on a connection of its own for each request.
pub const VISITORS: usize = 4;

/// A visitor leaves after so many requests.
const REQUESTS: usize = 10_000;

/// Between two requests of one visitor.
const PACE: Duration = Duration::from_millis(20);

/// A visitor that has failed waits for longer.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Visitors of one peer, until dropped.
#[derive(Debug)]
pub struct Visitors {
    asked: [Arc<AtomicUsize>; VISITORS],
    failures: Arc<Mutex<Vec<String>>>,
    leaving: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Visitors {
    /// They ask the peer at `to` for `name`.
    pub fn start(to: SocketAddr, name: &'static str) -> Self {
        let asked: [Arc<AtomicUsize>; VISITORS] = std::array::from_fn(|_| Arc::default());
        let failures = Arc::new(Mutex::new(Vec::new()));
        let leaving = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for (number, asked) in asked.iter().enumerate() {
            let visitor = Visitor { to, name, keeps_alive: number % 2 == 0 };
            let (asked, failures) = (Arc::clone(asked), Arc::clone(&failures));
            tasks.spawn(visitor.keep_asking(asked, failures, Arc::clone(&leaving)));
        }
        Self { asked, failures, leaving, tasks }
    }

    /// Waits until every visitor has asked anew and been answered.
    pub async fn round(&self) {
        let now = || self.asked.each_ref().map(|asked| asked.load(Ordering::Relaxed));
        let before = now();
        until("every visitor to ask again", async || {
            // The first of them may have been asked before.
            now().iter().zip(before).all(|(now, before)| *now >= before + 2).then_some(())
        })
        .await;
    }

    /// How requests have failed.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// Stops asking, once the answers that are under way have come: none is cut short. How
    /// requests have failed.
    pub async fn leave(mut self) -> Vec<String> {
        self.leaving.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.failures()
    }
}

struct Visitor {
    to: SocketAddr,
    name: &'static str,
    keeps_alive: bool,
}

impl Visitor {
    async fn keep_asking(
        self,
        asked: Arc<AtomicUsize>,
        failures: Arc<Mutex<Vec<String>>>,
        leaving: Arc<AtomicBool>,
    ) {
        let mut kept = None;
        for _ in 0..REQUESTS {
            if leaving.load(Ordering::Relaxed) {
                return;
            }
            let answer = timeout(LIMIT, self.ask(&mut kept)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
            asked.fetch_add(1, Ordering::Relaxed);
            match answer {
                Ok(()) => sleep(PACE).await,
                Err(failure) => {
                    failures.lock().unwrap().push(failure);
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Asks once, on the connection that was kept if it may be used again.
    async fn ask(&self, kept: &mut Option<SendRequest<Empty<Bytes>>>) -> Result<(), String> {
        let mut connection = match kept.take() {
            Some(connection) if connection.is_ready() => connection,
            _ => self.connect().await?,
        };
        let request = Request::get("/").header(header::HOST, self.name);
        let request = request.body(Empty::new()).expect("a request");
        let answer = connection.send_request(request).await.map_err(|error| in_full(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| format!("{status}, then {}", in_full(&error)))?;
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body.to_bytes())));
        }
        if self.keeps_alive && connection.ready().await.is_ok() {
            *kept = Some(connection);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let stream = TcpStream::connect(self.to).await.map_err(|error| error.to_string())?;
        let (connection, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|error| in_full(&error))?;
        // It ends with the connection; what goes wrong with that is seen by who asks.
        tokio::spawn(driver);
        Ok(connection)
    }
}

fn in_full(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
