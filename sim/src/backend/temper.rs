//! How a backend behaves.

use std::cell::RefCell;

use tokio::sync::Notify;

use crate::scenario::BackendSpec;

/// How a backend behaves now, and the news that this has changed.
#[derive(Debug)]
pub struct Temper {
    spec: RefCell<BackendSpec>,
    changed: Notify,
}

impl Temper {
    /// The temper that the scenario begins with.
    pub fn new(spec: BackendSpec) -> Self {
        Self { spec: RefCell::new(spec), changed: Notify::new() }
    }

    /// Changes it for connections to come.
    pub fn change(&self, change: impl FnOnce(&mut BackendSpec)) {
        change(&mut self.spec.borrow_mut());
        self.changed.notify_one();
    }

    /// How it is now.
    pub fn now(&self) -> BackendSpec {
        self.spec.borrow().clone()
    }

    /// Waits until it was changed since this last returned.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
