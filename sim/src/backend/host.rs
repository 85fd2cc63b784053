//! The host of a backend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use ops_proxy::stream::net::Listener;

use super::connection::Connection;
use super::datagrams::echo;
use super::temper::Temper;
use crate::ground::Ground;
use crate::scenario::BackendKind;

/// The software of one backend host.
#[derive(Clone)]
pub struct Backend<N> {
    /// The host's name.
    pub name: Rc<str>,
    /// How it behaves.
    pub temper: Rc<Temper>,
    /// Its network.
    pub net: N,
}

impl<N: Ground> Backend<N> {
    /// Serves for ever.
    pub async fn run(self) -> turmoil::Result {
        loop {
            let spec = self.temper.now();
            if spec.kind == BackendKind::Refusing {
                self.temper.changed().await;
                continue;
            }
            let here = SocketAddr::from((Ipv4Addr::UNSPECIFIED, spec.port));
            if spec.kind == BackendKind::Datagrams {
                tokio::select! {
                    biased;
                    () = self.temper.changed() => {}
                    failed = echo(&self.net, here, &spec) => failed?,
                }
                continue;
            }
            let listener = self.net.bind(here).await?;
            if spec.kind == BackendKind::Hanging {
                self.temper.changed().await;
                continue;
            }
            self.accept(&listener).await?;
        }
    }

    /// Accepts until connections are to be treated in another way.
    async fn accept(&self, listener: &N::Listener) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                () = self.temper.changed() => return Ok(()),
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    let (name, spec) = (self.name.clone(), self.temper.now());
                    let connection = Connection::new(name, spec, stream, self.net.clone());
                    tokio::task::spawn_local(connection.serve());
                }
            }
        }
    }
}
