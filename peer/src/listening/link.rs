//! The listening side of a control connection: REGISTER and its like come in,
//! FORWARD goes out.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls;

use crate::mesh::routes::LinkId;
use crate::mesh::tables::Forward;
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::metrics::Rejection;
use crate::shared::Shared;
use crate::stream::control::{Control, ControlError, Event};
use crate::stream::net::Net;
use crate::stream::quiet::is_quiet;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::trust::tls::{Look, Shown, Verdict};
use crate::trust::{Identity, Permission, UNAUTHORIZED};
use crate::wire::{ErrorCode, Line, LineBuffer, WireError};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    Closed,
    #[error("replaced by a newer link with the same peer id")]
    Replaced,
    #[error("nothing received within the peer timeout")]
    Silent,
    #[error("the peer stopped reading")]
    Stalled,
    #[error("this process is shutting down")]
    Closing,
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// A peer that was let in.
pub(super) struct Admitted {
    /// What it calls itself.
    pub peer: PeerId,
    /// Who it is.
    pub identity: Identity,
    /// What it may register.
    pub permission: Permission,
    /// What it showed inside TLS, to be looked at again.
    pub shown: Option<Shown>,
}

/// Serves a link until it ends. `input` holds what came after its HELLO.
pub(super) async fn serve_link<N: Net>(
    shared: Arc<Shared<N>>,
    stream: Transport<N::Stream>,
    input: LineBuffer,
    admitted: Admitted,
    source: SocketAddr,
) {
    let Admitted { peer, identity, permission, shown } = admitted;
    let (id, forwards) = shared.mesh.open_link(peer.clone(), identity);
    tracing::info!(%peer, %source, "link up");
    let mut link = Link {
        looks: shared.looks_at_tls(),
        shown,
        open: OpenLink { shared, id },
        control: Control::new(stream, input),
        forwards,
        permission,
        permitted: BTreeSet::new(),
        unwritten: VecDeque::new(),
        heard: Instant::now(),
    };
    link.control.queue(&Line::Ok(0));
    let ended = link.run().await;
    let Link { open, control, .. } = link;
    let shared = open.shared.clone();
    drop(open);
    tracing::info!(%peer, %source, reason = %ended, "link down");
    if let Ended::Control(ControlError::Wire(error)) = ended {
        refuse_peer(&shared, control, &error, source).await;
    }
}

/// Counts and logs a broken rule, and answers with ERROR.
pub(super) async fn refuse_peer<N: Net>(
    shared: &Shared<N>,
    control: Control<Transport<N::Stream>>,
    error: &WireError,
    source: SocketAddr,
) {
    shared.metrics.rejected(Rejection::from(error.code));
    tracing::warn!(%source, %error, "refused a peer");
    control.refuse(error.code, error.text).await;
}

/// A link that is in the mesh's tables, until dropped.
struct OpenLink<N: Net> {
    shared: Arc<Shared<N>>,
    id: LinkId,
}

impl<N: Net> Drop for OpenLink<N> {
    fn drop(&mut self) {
        self.shared.mesh.close_link(self.id);
    }
}

struct Link<N: Net> {
    open: OpenLink<N>,
    control: Control<Transport<N::Stream>>,
    forwards: mpsc::Receiver<Forward>,
    permission: Permission,
    shown: Option<Shown>,
    /// When to look at that again.
    looks: watch::Receiver<()>,
    /// Names that were found permitted; a heartbeat asks for the same again.
    permitted: BTreeSet<Name>,
    /// FORWARD lines that are queued, each with the position at its end.
    unwritten: VecDeque<(u64, ProxyId)>,
    /// When the last whole line came.
    heard: Instant,
}

impl<N: Net> Link<N> {
    async fn run(&mut self) -> Ended {
        let shared = self.open.shared.clone();
        loop {
            let silent_at = self.heard + shared.config.timing.peer_timeout;
            let stalled_at = self.control.stalled_at();
            let wake = stalled_at.map_or(silent_at, |at| at.min(silent_at));
            let congested = self.control.is_congested();
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Closing) => return Ended::Closing,
                event = self.control.event() => match event {
                    Ok(Event::Line(line)) => {
                        self.heard = Instant::now();
                        if let Err(error) = self.take(line) {
                            return Ended::Control(error.into());
                        }
                    }
                    Ok(Event::Written(position)) => self.written(position),
                    Ok(Event::Ended) => return Ended::Closed,
                    Err(error) => return error.into(),
                },
                forward = self.forwards.recv(), if !congested => match forward {
                    Some(Forward { id, line }) => {
                        let end = self.control.queue(&line);
                        self.unwritten.push_back((end, id));
                    }
                    None => return Ended::Replaced,
                },
                Ok(()) = self.looks.changed() => {
                    if let Err(error) = self.look_again() {
                        return Ended::Control(error.into());
                    }
                }
                () = sleep_until(wake) => {
                    return if wake == silent_at { Ended::Silent } else { Ended::Stalled };
                }
            }
        }
    }

    fn written(&mut self, position: u64) {
        while let Some(&(end, id)) = self.unwritten.front()
            && end <= position
        {
            self.unwritten.pop_front();
            self.open.shared.mesh.forward_written(id);
        }
    }

    /// The files of TLS were looked at, and what let this peer in is, too.
    fn look_again(&mut self) -> Result<(), WireError> {
        let OpenLink { shared, id } = &self.open;
        let (Some(shown), Some(tls)) = (&mut self.shown, &shared.tls) else { return Ok(()) };
        let loaded = tls.current();
        let now = UnixTime::since_unix_epoch(shared.net.unix_time());
        if loaded.judge_client(&shown.chain, now) == Verdict::Revoked {
            return Err(UNAUTHORIZED);
        }
        let by_token = shown.by_token;
        let mut look = Look::new(&loaded, shown, now);
        shared.mesh.sweep_idle(*id, |data| look.is_good(by_token, data.peer_chain()));
        shown.judged_by = loaded.clone();
        Ok(())
    }

    /// All of `names`, or none, may be registered.
    fn permit(&mut self, names: &[Name]) -> Result<(), WireError> {
        for name in names.iter().filter(|name| !self.permitted.contains(*name)) {
            if !self.permission.permits(name) {
                return Err(WireError {
                    code: ErrorCode::NameForbidden,
                    text: "one of these names is not permitted for this peer",
                });
            }
        }
        Ok(())
    }

    fn take(&mut self, line: Line) -> Result<(), WireError> {
        if let Line::Register(names) = &line {
            self.permit(names)?;
        }
        let mesh = &self.open.shared.mesh;
        match line {
            Line::Register(names) => {
                let taken = mesh.register(self.open.id, &names).map_err(|_| WireError {
                    code: ErrorCode::TooManyNames,
                    text: "too many names for one link",
                })?;
                self.permitted.extend(names);
                self.control.queue(&Line::Ok(taken));
                mesh.sweep_idle(self.open.id, is_quiet);
            }
            Line::Unregister(names) => {
                let had = mesh.unregister(self.open.id, &names);
                mesh.sweep_idle(self.open.id, is_quiet);
                self.permitted.retain(|name| !names.contains(name));
                self.control.queue(&Line::Ok(had));
            }
            Line::Fail(id, reason) => mesh.fail(id, self.open.id, reason),
            Line::Error(code, text) => tracing::warn!(%code, ?text, "the peer reported an error"),
            Line::Hello { .. }
            | Line::Ok(_)
            | Line::Forward { .. }
            | Line::Data { .. }
            | Line::DataIdle { .. } => {
                return Err(WireError {
                    code: ErrorCode::UnexpectedCommand,
                    text: "this line is not allowed on a link to a listening peer",
                });
            }
        }
        Ok(())
    }
}
