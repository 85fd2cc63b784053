//! What a process does that was started to take over from another.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use tokio::time::timeout;

use super::message::{Handover, Said, TAKES_OVER};
use crate::cli::state::parsed;
use crate::handover::Predecessor;
use crate::limits::{TAKEOVER_DEADLINE, TAKEOVER_SETTLE};
use crate::mesh::returning::KnownNames;
use crate::names::PeerId;
use crate::peer::PeerHandle;
use crate::stream::net::tokio::{TokioNet, inherited};

/// A process that takes over from the one that started it.
pub(in crate::cli) struct Takeover {
    channel: UnixStream,
    predecessor: Predecessor,
    names: KnownNames,
}

impl Takeover {
    /// Takes the sockets that this process was given, by systemd or by the process that it is
    /// to take over from; what that one has told, if there is one. To be called at the start,
    /// before there are threads.
    ///
    /// # Errors
    /// It has told nothing that can be understood.
    pub(in crate::cli) fn begin() -> io::Result<Option<Self>> {
        if env::var_os(TAKES_OVER).is_none() {
            inherited::inherit(&[]);
            return Ok(None);
        }
        let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        channel.set_read_timeout(Some(TAKEOVER_DEADLINE))?;
        let mut line = String::new();
        BufReader::new(&channel).read_line(&mut line)?;
        let Handover { peer, back, secret, sockets, names } = serde_json::from_str(&line)?;
        inherited::inherit(&sockets);
        let peer = peer.parse().map_err(io::Error::other)?;
        let predecessor = Predecessor { peer, addr: back, secret };
        Ok(Some(Self { channel, predecessor, names: parsed(&names) }))
    }

    /// What the process before is called.
    pub(in crate::cli) fn peer(&self) -> &PeerId {
        &self.predecessor.peer
    }

    /// Has a peer that does not run yet know what the process before knew.
    pub(in crate::cli) fn teach(&mut self, handle: &PeerHandle<TokioNet>) {
        handle.succeed(self.predecessor.clone());
        handle.recall(std::mem::take(&mut self.names));
    }

    /// Tells the process before that connections are accepted here; and, once the peer has
    /// its links and names or has waited long enough for them, that it may end.
    pub(in crate::cli) async fn tell(channel: UnixStream, handle: PeerHandle<TokioNet>) {
        say(&channel, Said::Listening);
        let ready = async {
            handle.warmed_up().await;
            handle.connected().await;
        };
        if timeout(handle.warm_up() + TAKEOVER_SETTLE, ready).await.is_err() {
            tracing::warn!(
                "taking over without all links; requests through those that are missing fail until they are up"
            );
        }
        say(&channel, Said::Ready);
    }

    /// Another end of what the two tell each other.
    ///
    /// # Errors
    /// The system's own.
    pub(in crate::cli) fn channel(&self) -> io::Result<UnixStream> {
        self.channel.try_clone()
    }

    /// Whether the process before still runs.
    pub(in crate::cli) fn is_before_alive(&mut self) -> bool {
        let looked = self.channel.set_nonblocking(true).and_then(|()| self.channel.read(&mut [0]));
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// It may have ended: then nobody need be told.
fn say(mut channel: &UnixStream, what: Said) {
    let _ = channel.write_all(format!("{}\n", what.as_str()).as_bytes());
}
