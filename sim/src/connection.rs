//! How connections and their ends are told apart.

use std::net::SocketAddr;

/// Names one connection: the address that dialled and the one that accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Who dialled.
    pub dialler: SocketAddr,
    /// Who accepted.
    pub acceptor: SocketAddr,
}

impl Pair {
    /// The address of one end.
    pub fn addr(&self, end: End) -> SocketAddr {
        match end {
            End::Dialler => self.dialler,
            End::Acceptor => self.acceptor,
        }
    }
}

/// Which end of a connection something happened at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The end that dialled.
    Dialler,
    /// The end that accepted.
    Acceptor,
}

impl End {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}
