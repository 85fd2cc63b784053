//! Starts the successor of this process when that is asked for.

use std::env;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::begun::{Begun, descriptors};
use super::message::{Handover, Said};
use super::predecessor::Takeover;
use crate::cli::state::written;
use crate::limits::{TAKEOVER_DEADLINE, TAKEOVER_SETTLE};
use crate::peer::{Expecting, PeerHandle};
use crate::stream::net::tokio::TokioNet;

/// Starts a successor of a running peer.
pub(in crate::cli) struct Upgrader {
    handle: PeerHandle<TokioNet>,
    /// The program, which may be another one by the time that it is started.
    program: io::Result<PathBuf>,
    /// What this process has itself taken over from.
    before: Option<Takeover>,
}

/// A successor that has taken over. To be dropped when this process ends.
pub(in crate::cli) struct Succeeded {
    /// Its process id.
    pub(in crate::cli) pid: u32,
    _begun: Begun,
    _expecting: Expecting,
}

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
enum NotSucceeded {
    #[error("the process before this one still runs; try again once it has ended")]
    TooSoon,
    #[error("the program cannot be started: {0}")]
    Start(#[source] io::Error),
    #[error("the new process did not take over: {0}")]
    Ended(#[source] io::Error),
    #[error("the new process was not ready within {}", humantime::format_duration(*.0))]
    Late(Duration),
    #[error("this process did not stop accepting within {}", humantime::format_duration(*.0))]
    Busy(Duration),
}

impl Upgrader {
    /// For the peer of `handle`, which has taken over from `before`. To be made at the start:
    /// later, the file that this process was started from may have another name.
    pub(in crate::cli) fn new(handle: PeerHandle<TokioNet>, before: Option<Takeover>) -> Self {
        Self { handle, program: env::current_exe(), before }
    }

    /// Returns once a successor has taken over, which is tried whenever it is `asked` for. A
    /// successor that has not taken over ends with this.
    pub(in crate::cli) async fn run(mut self, asked: &Notify) -> Succeeded {
        loop {
            asked.notified().await;
            tracing::info!("starting a new process to take over from this one");
            match self.upgrade().await {
                Ok(succeeded) => return succeeded,
                Err(error) => {
                    self.handle.take_back();
                    tracing::warn!(%error, "there was no upgrade; this process goes on as before");
                }
            }
        }
    }

    async fn upgrade(&mut self) -> Result<Succeeded, NotSucceeded> {
        let Self { handle, program, before } = self;
        if before.as_mut().is_some_and(Takeover::is_before_alive) {
            return Err(NotSucceeded::TooSoon);
        }
        let program = match program {
            Ok(program) => program,
            Err(error) => return Err(NotSucceeded::Start(io::Error::other(error.to_string()))),
        };
        let (predecessor, expecting) =
            handle.expect_successor().await.map_err(NotSucceeded::Start)?;
        let (sockets, descriptors) = descriptors(&handle.sockets()).map_err(NotSucceeded::Start)?;
        let handover = Handover {
            peer: predecessor.peer.to_string(),
            back: predecessor.addr,
            secret: predecessor.secret,
            sockets,
            names: written(&handle.known_names()),
        };
        let mut begun =
            Begun::start(program, descriptors, &handover).map_err(NotSucceeded::Start)?;
        said(&mut begun, Said::Listening, TAKEOVER_DEADLINE).await?;
        let handed_over = timeout(TAKEOVER_DEADLINE, handle.hand_over()).await;
        handed_over.map_err(|_| NotSucceeded::Busy(TAKEOVER_DEADLINE))?;
        let settles = handle.warm_up() + TAKEOVER_SETTLE + TAKEOVER_DEADLINE;
        said(&mut begun, Said::Ready, settles).await?;
        Ok(Succeeded { pid: begun.pid(), _begun: begun.let_go(), _expecting: expecting })
    }
}

async fn said(begun: &mut Begun, what: Said, within: Duration) -> Result<(), NotSucceeded> {
    match timeout(within, begun.says(what)).await {
        Ok(said) => said.map_err(NotSucceeded::Ended),
        Err(_) => Err(NotSucceeded::Late(within)),
    }
}
