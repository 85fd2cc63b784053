//! A host of the run.

use std::task::Waker;

use turmoil::net::TcpStream;

use super::ledger::Farewell;
use crate::connection::{End, Pair};

/// How a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Its software runs.
    Up,
    /// Its software is gone: dials are refused.
    Down,
    /// It is without power: nothing answers.
    Dark,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    /// Its name in the scenario.
    pub name: String,
    /// Whether it runs.
    pub state: HostState,
    /// How often its software was polled so far.
    pub polls: u64,
    /// While its process is stopped: who would have run, had it not been.
    pub(super) frozen: Option<Vec<Waker>>,
    /// Set while its software is being torn down.
    pub(super) dying: Option<Dying>,
}

impl Host {
    /// A host that runs.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: HostState::Up, polls: 0, frozen: None, dying: None }
    }
}

/// A host whose software is being torn down.
#[derive(Debug)]
pub(super) struct Dying {
    /// What the other ends are told.
    pub(super) farewell: Farewell,
    /// The streams that were dropped so far; `None` once the others were told.
    /// Who is dropped after that comes in an order that is always the same.
    pub(super) buried: Option<Vec<(u64, Pair, End, TcpStream)>>,
}
