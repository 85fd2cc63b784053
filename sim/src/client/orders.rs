//! What clients are told to do.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use tokio::sync::Notify;

use super::raw::RawOrder;
use crate::scenario::steps::Request;

/// One request that a client was told to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Numbered over the whole run.
    pub number: usize,
    /// What to do.
    pub request: Request,
    /// The backends that may answer each of its exchanges.
    pub served_by: Vec<BTreeSet<String>>,
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
