//! The TCP and UDP ports that route to one name each: bound and let go of as the
//! configuration changes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::{PeerConfig, PortMapping};
use crate::lock::Lock;
use crate::public::{Port, accept_loop, datagram_loop};
use crate::shared::Shared;
use crate::stream::net::{Datagrams, Listener, Net};

/// A port that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot listen on {addr}: {source}")]
pub struct NotBound {
    /// The configuration key of the address.
    pub key: &'static str,
    /// The address.
    pub addr: SocketAddr,
    /// What the network said.
    #[source]
    pub source: io::Error,
}

/// The ports of a peer, in the order of the configuration.
pub(crate) struct Ports<N: Net>(Lock<Table<N>>);

struct Table<N: Net> {
    tcp: Vec<Open<N::Listener>>,
    udp: Vec<Open<N::Datagrams>>,
}

/// A port that is bound. When it is dropped, its task ends, and with that its socket.
struct Open<S> {
    mapping: PortMapping,
    bound: SocketAddr,
    socket: Arc<S>,
    /// Dropped with it; unset, nobody serves it yet.
    serves: Option<watch::Sender<()>>,
}

/// All ports of a configuration, some of which were bound for it.
pub(crate) struct Bound<N: Net>(Table<N>);

impl<N: Net> Bound<N> {
    /// No ports at all.
    pub(crate) fn none() -> Self {
        Self(Table { tcp: Vec::new(), udp: Vec::new() })
    }
}

impl<N: Net> Ports<N> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Lock::new("the table of ports", Bound::none().0))
    }

    /// Binds the ports of `config` that are not bound yet.
    ///
    /// # Errors
    /// [`NotBound`] for the first that cannot be; the others are let go of again.
    pub(crate) async fn bind(&self, net: &N, config: &PeerConfig) -> Result<Bound<N>, NotBound> {
        let (mut tcp, mut udp) = {
            let table = self.0.lock();
            (same(&table.tcp), same(&table.udp))
        };
        let mut bound = Table { tcp: Vec::new(), udp: Vec::new() };
        for mapping in &config.tcp {
            bound.tcp.push(match take(&mut tcp, mapping) {
                Some(open) => open,
                None => {
                    let failed = |source| NotBound { key: "tcp", addr: mapping.addr, source };
                    let socket = net.bind(mapping.addr).await.map_err(failed)?;
                    let bound = socket.local_addr().map_err(failed)?;
                    Open::new(mapping.clone(), bound, Arc::new(socket))
                }
            });
        }
        for mapping in &config.udp {
            bound.udp.push(match take(&mut udp, mapping) {
                Some(open) => open,
                None => {
                    let failed = |source| NotBound { key: "udp", addr: mapping.addr, source };
                    let socket = net.bind_udp(mapping.addr).await.map_err(failed)?;
                    let bound = socket.local_addr().map_err(failed)?;
                    Open::new(mapping.clone(), bound, Arc::new(socket))
                }
            });
        }
        Ok(Bound(bound))
    }

    /// Holds these ports from now on, and no others: what serves the others ends, and what
    /// runs on them goes on.
    pub(crate) fn hold(&self, Bound(mut bound): Bound<N>) {
        let mut table = self.0.lock();
        take_over(&mut table.tcp, &mut bound.tcp);
        take_over(&mut table.udp, &mut bound.udp);
        *table = bound;
    }

    /// Serves the ports that nobody serves yet.
    pub(crate) fn serve(&self, shared: &Arc<Shared<N>>) {
        let mut table = self.0.lock();
        for open in table.tcp.iter_mut().filter(|open| open.serves.is_none()) {
            let (stopped, kept, socket) = (open.begin(), shared.clone(), open.socket.clone());
            let port = Port::Tcp(open.mapping.name.clone());
            shared.keep_accepting("an accept loop", move || {
                let accepting = accept_loop(kept.clone(), socket.clone(), port.clone());
                unless_stopped(accepting, stopped.clone())
            });
        }
        for open in table.udp.iter_mut().filter(|open| open.serves.is_none()) {
            let (stopped, kept, socket) = (open.begin(), shared.clone(), open.socket.clone());
            let name = open.mapping.name.clone();
            shared.keep("a UDP port", move || {
                let receiving = datagram_loop(kept.clone(), socket.clone(), name.clone());
                unless_stopped(receiving, stopped.clone())
            });
        }
    }

    /// The sockets of TCP and of UDP, each with the address that it was configured with.
    pub(crate) fn sockets(&self) -> (Configured<N::Listener>, Configured<N::Datagrams>) {
        let table = self.0.lock();
        (configured(&table.tcp), configured(&table.udp))
    }

    /// The TCP ports, as they are bound.
    pub(crate) fn tcp(&self) -> Vec<SocketAddr> {
        self.0.lock().tcp.iter().map(|open| open.bound).collect()
    }

    /// The UDP ports, as they are bound.
    pub(crate) fn udp(&self) -> Vec<SocketAddr> {
        self.0.lock().udp.iter().map(|open| open.bound).collect()
    }
}

impl<S> Open<S> {
    fn new(mapping: PortMapping, bound: SocketAddr, socket: Arc<S>) -> Self {
        Self { mapping, bound, socket, serves: None }
    }

    /// It is served until what this returns says otherwise.
    fn begin(&mut self) -> watch::Receiver<()> {
        let (serves, stopped) = watch::channel(());
        self.serves = Some(serves);
        stopped
    }
}

/// Sockets, each with the address that it was configured with.
type Configured<S> = Vec<(SocketAddr, Arc<S>)>;

fn configured<S>(open: &[Open<S>]) -> Configured<S> {
    open.iter().map(|one| (one.mapping.addr, one.socket.clone())).collect()
}

/// The same sockets, which nobody serves through these.
fn same<S>(open: &[Open<S>]) -> Vec<Open<S>> {
    let again = |one: &Open<S>| Open::new(one.mapping.clone(), one.bound, one.socket.clone());
    open.iter().map(again).collect()
}

/// The socket for a mapping, if one is bound: it may route to another name from now on.
fn take<S>(open: &mut Vec<Open<S>>, mapping: &PortMapping) -> Option<Open<S>> {
    let exact = open.iter().position(|one| one.mapping == *mapping);
    let moved = || {
        // Any number of ports may be bound as port 0.
        let addr = (mapping.addr.port() != 0).then_some(mapping.addr)?;
        open.iter().position(|one| one.mapping.addr == addr)
    };
    let open = open.swap_remove(exact.or_else(moved)?);
    Some(Open { mapping: mapping.clone(), ..open })
}

/// Whoever serves a socket goes on if it still routes to the same name.
fn take_over<S>(before: &mut [Open<S>], now: &mut [Open<S>]) {
    for open in now {
        let is_same = |one: &&mut Open<S>| {
            Arc::ptr_eq(&one.socket, &open.socket) && one.mapping == open.mapping
        };
        open.serves = before.iter_mut().find(is_same).and_then(|one| one.serves.take());
    }
}

/// Runs `work` until the sender is dropped.
async fn unless_stopped(work: impl Future<Output = ()>, mut stopped: watch::Receiver<()>) {
    tokio::select! {
        biased;
        Err(_) = stopped.changed() => {}
        () = work => {}
    }
}
