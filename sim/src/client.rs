//! The public's side: hosts that send requests and write raw connections.

mod exchange;
mod hello;
mod pattern;
pub mod raw;
mod stream;
pub mod tls;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ops_proxy::stream::net::Net;
use tokio::sync::Notify;

pub use exchange::{ENDLESS, GREETING};
pub use pattern::Pattern;

use crate::fabric::Fabric;
use crate::net::SimNet;
use crate::steps::Request;
use crate::trace::What;

/// What a client that was told nothing else waits for the end of a request:
/// longer than every deadline of the peers together. One that is not over by
/// then has outlived them.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(120);

/// One request that a client was told to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Numbered over the whole run.
    pub number: usize,
    /// What to do.
    pub request: Request,
}

/// How a request went, as its client saw it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The order's number.
    pub number: usize,
    /// The host that made it.
    pub client: String,
    /// What was asked for.
    pub request: Request,
    /// When it began.
    pub began: Duration,
    /// When its first answer byte came.
    pub answered: Option<Duration>,
    /// When it was over.
    pub ended: Option<Duration>,
    /// Payload bytes sent, without heads.
    pub sent: u64,
    /// Bytes of HTTP heads sent, that of CONNECT not counted.
    pub heads_sent: u64,
    /// Payload bytes received, without heads.
    pub received: u64,
    /// How it ended.
    pub end: Ending,
}

/// How a request ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    Open,
    /// An HTTP answer, whole.
    Status(u16),
    /// Every byte came back.
    Whole,
    /// A clean end, and not everything had come.
    Cut,
    /// A clean end before anything had come.
    Closed,
    /// The connection failed.
    Failed(String),
    /// A TLS alert.
    Alert(u8),
    /// The client had enough, as it was told.
    Left,
    /// The client's patience was over.
    GaveUp,
    /// The client's host crashed.
    Gone,
    /// Bytes came that nobody sent.
    Corrupt(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Whole => f.write_str("whole"),
            Self::Cut => f.write_str("cut"),
            Self::Closed => f.write_str("closed"),
            Self::Failed(error) => f.write_str(error),
            Self::Alert(code) => write!(f, "alert {code}"),
            Self::Left => f.write_str("left"),
            Self::GaveUp => f.write_str("gave up"),
            Self::Gone => f.write_str("gone"),
            Self::Corrupt(what) => write!(f, "corrupt: {what}"),
        }
    }
}

impl Outcome {
    /// Whether the client got all that it asked for.
    pub fn is_whole(&self) -> bool {
        matches!(self.end, Ending::Whole | Ending::Status(200..=299))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, client, request, sent, received, end, .. } = self;
        write!(f, "#{number} {client} {request}: {end}, {sent} B sent, {received} B received")
    }
}

/// All requests of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(Rc<RefCell<Vec<Outcome>>>);

impl Outcomes {
    /// The requests so far, in the order of their beginning.
    pub fn all(&self) -> Vec<Outcome> {
        self.0.borrow().clone()
    }

    /// Reads the requests in place.
    pub fn with<R>(&self, read: impl FnOnce(&[Outcome]) -> R) -> R {
        read(&self.0.borrow())
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Outcome)) {
        if let Some(outcome) = self.0.borrow_mut().iter_mut().find(|one| one.number == number) {
            change(outcome);
        }
    }
}

/// What a client's host still has to begin.
#[derive(Debug, Default)]
pub struct Orders {
    requests: RefCell<VecDeque<Order>>,
    raw: RefCell<VecDeque<raw::Order>>,
    more: Notify,
}

impl Orders {
    /// The client shall make this request.
    pub fn request(&self, order: Order) {
        self.requests.borrow_mut().push_back(order);
        self.more.notify_one();
    }

    /// The client shall open a raw connection.
    pub fn raw(&self, order: raw::Order) {
        self.raw.borrow_mut().push_back(order);
        self.more.notify_one();
    }

    /// Whether there is anything to begin.
    pub fn is_empty(&self) -> bool {
        self.requests.borrow().is_empty() && self.raw.borrow().is_empty()
    }
}

/// The software of one client host.
#[derive(Clone)]
pub struct Client {
    /// The host's name.
    pub name: Rc<str>,
    /// Its network.
    pub net: SimNet,
    /// What all hosts share.
    pub fabric: Fabric,
    /// What it is told to do.
    pub orders: Rc<Orders>,
    /// Where it says how that went.
    pub outcomes: Outcomes,
}

impl Client {
    /// Carries out orders for ever.
    pub async fn run(self) -> turmoil::Result {
        loop {
            while let Some(order) = pop(&self.orders.requests) {
                tokio::task::spawn_local(self.clone().carry_out(order));
            }
            while let Some(order) = pop(&self.orders.raw) {
                tokio::task::spawn_local(raw::run(self.clone(), order));
            }
            self.orders.more.notified().await;
        }
    }

    async fn carry_out(self, order: Order) {
        let began = turmoil::sim_elapsed().unwrap_or_default();
        let Order { number, request } = order;
        let patience = request.patience.map_or(LONGEST_REQUEST, |patience| patience.0);
        let own_will = request.patience.is_some();
        self.outcomes.0.borrow_mut().push(Outcome {
            number,
            client: self.name.to_string(),
            request: request.clone(),
            began,
            answered: None,
            ended: None,
            sent: 0,
            heads_sent: 0,
            received: 0,
            end: Ending::Open,
        });
        let mut progress = Progress { client: self.clone(), number, over: false };
        let asked = progress.ask(&request);
        let end = match tokio::time::timeout(patience, asked).await {
            Ok(end) => end,
            Err(_) if own_will => Ending::GaveUp,
            Err(_) => Ending::Open,
        };
        progress.end(end);
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

/// One request on its way; one that is dropped before its end was its client's
/// crash.
struct Progress {
    client: Client,
    number: usize,
    over: bool,
}

impl Progress {
    async fn ask(&mut self, request: &Request) -> Ending {
        let net = self.client.net.clone();
        let stream = match self.connect(&net, request).await {
            Ok(stream) => stream,
            Err(error) => return Ending::Failed(error.kind().to_string()),
        };
        exchange::run(self, stream, request).await
    }

    async fn connect(
        &self,
        net: &SimNet,
        request: &Request,
    ) -> std::io::Result<crate::net::SimStream> {
        let endpoint: ops_proxy::config::Endpoint =
            request.to.parse().expect("a checked scenario has endpoints");
        let addresses = net.resolve(&endpoint.host, endpoint.port).await?;
        net.connect(addresses[0]).await
    }

    fn sent(&self, bytes: u64) {
        self.client.outcomes.change(self.number, |outcome| outcome.sent += bytes);
    }

    fn sent_head(&self, bytes: u64) {
        self.client.outcomes.change(self.number, |outcome| outcome.heads_sent += bytes);
    }

    fn answered(&self) {
        let now = turmoil::sim_elapsed();
        self.client.outcomes.change(self.number, |outcome| {
            outcome.answered = outcome.answered.or(now);
        });
    }

    fn received(&self, bytes: u64) {
        self.client.outcomes.change(self.number, |outcome| outcome.received += bytes);
    }

    fn end(&mut self, end: Ending) {
        self.over = true;
        let mut state = self.client.fabric.state();
        let now = state.now;
        let client = &self.client;
        client.outcomes.change(self.number, |outcome| {
            outcome.end = end;
            outcome.ended = (outcome.end != Ending::Open).then_some(now);
            state.note(What::Outcome { text: outcome.to_string() });
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.over {
            self.end(Ending::Gone);
        }
    }
}
