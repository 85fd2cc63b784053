//! What clients are told to do.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use tokio::sync::Notify;

use super::raw::RawOrder;
use super::told::Known;
use crate::scenario::Scenario;
use crate::scenario::steps::{Exchange, Request, plain_name};

/// One request that a client was told to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Numbered over the whole run.
    pub number: usize,
    /// What to do.
    pub request: Request,
    /// Its client, as its listening peer must know it.
    pub client: Known,
    /// Who may answer the request, or each of its exchanges.
    pub answered_by: Vec<AnsweredBy>,
}

/// Who may answer an HTTP request.
#[derive(Debug, Clone)]
pub struct AnsweredBy {
    /// The hosts of the backends.
    pub backends: BTreeSet<String>,
    /// Whether these are told of clients, as [`Scenario::tells`] has it.
    pub tells: BTreeSet<bool>,
}

impl Order {
    /// The order of a client at `ip`, in a run that began as `scenario`.
    pub fn new(number: usize, request: Request, scenario: &Scenario, ip: IpAddr) -> Self {
        let trusted = scenario.trusts(&request.to, ip);
        let ip = request.speaks_for.filter(|_| trusted).map_or(ip, IpAddr::V4);
        let client = Known { ip, secure: false, trusted };
        let answered_by = |name: String| {
            let (backends, tells) = (scenario.backends_of(&name), scenario.tells(&name));
            AnsweredBy { backends, tells }
        };
        let answered_by = match request.exchanges.is_empty() {
            true => vec![answered_by(plain_name(&request.name))],
            false => request.exchanges.iter().map(Exchange::plain_name).map(answered_by).collect(),
        };
        Self { number, request, client, answered_by }
    }
}

/// What a client's host still has to begin.
#[derive(Debug, Default)]
pub struct Orders {
    requests: RefCell<VecDeque<Order>>,
    raw: RefCell<VecDeque<RawOrder>>,
    more: Notify,
}

impl Orders {
    /// The client shall make this request.
    pub fn request(&self, order: Order) {
        self.requests.borrow_mut().push_back(order);
        self.more.notify_one();
    }

    /// The client shall open a raw connection.
    pub fn raw(&self, order: RawOrder) {
        self.raw.borrow_mut().push_back(order);
        self.more.notify_one();
    }

    /// Whether there is anything to begin.
    pub fn is_empty(&self) -> bool {
        self.requests.borrow().is_empty() && self.raw.borrow().is_empty()
    }

    /// The next request to make.
    pub(super) fn next_request(&self) -> Option<Order> {
        self.requests.borrow_mut().pop_front()
    }

    /// The next raw connection to open.
    pub(super) fn next_raw(&self) -> Option<RawOrder> {
        self.raw.borrow_mut().pop_front()
    }

    /// Waits until there may be more.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }
}
