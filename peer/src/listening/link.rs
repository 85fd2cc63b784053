//! The listening side of a control connection: REGISTER and its like come in,
//! FORWARD goes out.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls;

use super::pace::Pace;
use crate::accepting::Taker;
use crate::limits::IDLE_SWEEP_INTERVAL;
use crate::mesh::links::{Dismissal, Idle, Opened};
use crate::mesh::routes::LinkId;
use crate::mesh::waiting::Forward;
use crate::names::{Name, PeerId, ProxyId};
use crate::observe::LogSource;
use crate::observe::metrics::{Incident, Rejection};
use crate::offer::Offer;
use crate::shared::Shared;
use crate::stream::control::{Control, ControlError, Event};
use crate::stream::net::Net;
use crate::stream::quiet::is_quiet;
use crate::stream::transport::Transport;
use crate::tasks::Phase;
use crate::trust::tls::{Look, Verdict};
use crate::trust::{Identity, Permission, Principal, UNAUTHORIZED};
use crate::wire::{ErrorCode, Line, LineBuffer, ReportedError, WireError, Withdrawal};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    Closed,
    #[error("replaced by a newer link with the same peer id")]
    Replaced,
    #[error("its identity held the most links when there were too many")]
    Crowded,
    #[error("nothing was heard for the peer timeout")]
    Silent,
    #[error("the peer stopped reading")]
    Stalled,
    #[error("{}", reported(.0))]
    Reported(ReportedError),
    #[error("this process is shutting down")]
    Closing,
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// What the other end says, in plain words where it only takes leave.
fn reported(error: &ReportedError) -> String {
    match error.code {
        ErrorCode::Draining => "the peer is shutting down".to_owned(),
        ErrorCode::Silent => "the peer heard nothing from here for its peer timeout".to_owned(),
        _ => format!("the peer reported {error}"),
    }
}

impl Ended {
    /// What the other end is told of an end that is not its own doing and breaks no rule.
    fn farewell(&self) -> Option<(ErrorCode, &'static str)> {
        match self {
            Self::Closing => Some((ErrorCode::Draining, "this process is shutting down")),
            Self::Replaced => {
                Some((ErrorCode::Replaced, "another link was opened under this peer id"))
            }
            Self::Silent => Some((ErrorCode::Silent, "nothing was heard for the peer timeout")),
            Self::Stalled => Some((ErrorCode::Silent, "nothing was read for too long")),
            Self::Closed | Self::Crowded | Self::Reported(_) | Self::Control(_) => None,
        }
    }
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        Self::Control(error.into())
    }
}

impl From<Dismissal> for Ended {
    fn from(why: Dismissal) -> Self {
        match why {
            Dismissal::Replaced => Self::Replaced,
            Dismissal::Crowded => Self::Crowded,
        }
    }
}

/// A peer that was let in.
pub(super) struct Admitted {
    /// What it calls itself.
    pub(super) peer: PeerId,
    /// Who it is, and what it may do.
    pub(super) principal: Principal,
    /// The certificates that it showed, to be judged again.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Serves a link until it ends. `input` holds what came after its HELLO.
pub(super) async fn serve_link<N: Net>(
    shared: Arc<Shared<N>>,
    stream: Transport<N::Stream>,
    input: LineBuffer,
    admitted: Admitted,
    source: SocketAddr,
) {
    let Admitted { peer, principal, chain } = admitted;
    let permission = principal.permission.clone();
    // Who has proven who it is, is told apart from others behind the same address.
    let known_as = match &principal.identity {
        Identity::Plaintext(_) => source.ip().into(),
        proven => LogSource::Peer(proven.clone()),
    };
    let Opened { id, forwards, dismissed } = shared.mesh.open_link(peer.clone(), principal);
    shared.mesh.link_comes_from(id, source);
    if shared.may_log(known_as.clone(), Incident::LinkUp) {
        tracing::info!(%peer, %source, "link up");
    }
    let mut link = Link {
        looks: shared.looks_at_tls(),
        taker: shared.accepting.taker(),
        chain,
        peer,
        open: OpenLink { shared, id },
        control: Control::new(stream, input),
        forwards,
        dismissed,
        permission,
        permitted: BTreeSet::new(),
        unwritten: VecDeque::new(),
        heard: Instant::now(),
        pace: Pace::new(Instant::now()),
        swept: Instant::now(),
    };
    let _takes_leave = link.open.shared.tasks.takes_leave();
    link.control.queue(&Line::Welcome(link.open.shared.peer_id.clone()));
    link.say_who_takes();
    let ended = link.run().await;
    let Link { open, control, peer, .. } = link;
    let shared = open.shared.clone();
    drop(open);
    if shared.may_log(known_as, Incident::LinkDown) {
        tracing::info!(%peer, %source, reason = %ended, "link down");
    }
    match ended {
        Ended::Control(ControlError::Wire(error)) => {
            refuse_peer(&shared, control, &error, source).await;
        }
        Ended::Crowded => {
            let text = "too many links, and most of them are of this identity";
            let error = WireError::new(ErrorCode::TooManyLinks, text);
            refuse_peer(&shared, control, &error, source).await;
        }
        ended => {
            if let Some((code, text)) = ended.farewell() {
                control.refuse(code, text).await;
            }
        }
    }
}

/// Counts and logs a broken rule, and answers with ERROR.
pub(super) async fn refuse_peer<N: Net>(
    shared: &Shared<N>,
    control: Control<Transport<N::Stream>>,
    error: &WireError,
    source: SocketAddr,
) {
    if shared.rejected(source.ip(), Rejection::from(error.code)) {
        tracing::warn!(%source, %error, "a peer was refused");
    }
    control.refuse(error.code, &error.text).await;
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
    dismissed: oneshot::Receiver<Dismissal>,
    peer: PeerId,
    permission: Permission,
    /// The certificates that let it in, if any.
    chain: Vec<CertificateDer<'static>>,
    /// When to judge again what let it in.
    looks: watch::Receiver<()>,
    /// Which process takes connections.
    taker: watch::Receiver<Taker>,
    /// Names that were found permitted; a heartbeat asks for the same again.
    permitted: BTreeSet<Name>,
    /// FORWARD lines that are queued, each with the position at its end.
    unwritten: VecDeque<(u64, ProxyId)>,
    /// When the last whole line came.
    heard: Instant,
    /// How fast lines are taken.
    pace: Pace,
    /// When the idle DATA connections were last gone through.
    swept: Instant,
}

impl<N: Net> Link<N> {
    async fn run(&mut self) -> Ended {
        let shared = self.open.shared.clone();
        loop {
            let silent_at = self.heard + shared.config().timing.peer_timeout;
            let stalled_at = self.control.stalled_at();
            let wake = stalled_at.map_or(silent_at, |at| at.min(silent_at));
            let congested = self.control.is_congested();
            let resumes = self.pace.resumes();
            tokio::select! {
                biased;
                () = shared.tasks.entered(Phase::Closing) => return Ended::Closing,
                () = sleep_until(resumes.unwrap_or(wake)), if resumes.is_some() => {
                    self.pace.resumed();
                }
                event = self.control.event(), if resumes.is_none() => match event {
                    Ok(Event::Line(line)) => {
                        self.heard = Instant::now();
                        if let Err(ended) = self.take(line) {
                            return ended;
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
                    None => return self.dismissed.try_recv().map_or(Ended::Closed, Ended::from),
                },
                Ok(()) = self.taker.changed() => self.say_who_takes(),
                Ok(()) = self.looks.changed() => {
                    if let Err(error) = self.look_again() {
                        return error.into();
                    }
                }
                () = sleep_until(wake) => {
                    return if wake == silent_at { Ended::Silent } else { Ended::Stalled };
                }
            }
        }
    }

    /// Has the other end dial again once a successor would take that.
    fn say_who_takes(&mut self) {
        if *self.taker.borrow_and_update() == Taker::Successor {
            self.control.queue(&Line::Redial);
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

    /// The files of TLS were looked at: what let this peer in is judged again, and so are
    /// its idle DATA connections.
    fn look_again(&mut self) -> Result<(), WireError> {
        let OpenLink { shared, id } = &self.open;
        let Some(tls) = shared.tls.as_ref() else { return Ok(()) };
        let loaded = tls.current();
        let now = UnixTime::since_unix_epoch(shared.net.unix_time());
        let mut look = Look::new(&loaded, &self.peer, now);
        if look.judge(&self.permission, &self.chain) == Verdict::Revoked {
            return Err(UNAUTHORIZED);
        }
        shared.mesh.sweep_idle(*id, |Idle { stream, shows, .. }| {
            let let_in = shows.as_deref().unwrap_or(&self.permission);
            look.judge(let_in, stream.peer_chain()) == Verdict::Good
        });
        Ok(())
    }

    /// Whether all of `names` may be registered; names those that may not.
    fn permit<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Result<(), WireError> {
        let may = |name: &Name| self.permitted.contains(name) || self.permission.permits(name);
        let forbidden: Vec<&Name> = names.filter(|name| !may(name)).collect();
        match forbidden.is_empty() {
            true => Ok(()),
            false => Err(WireError::of_names(ErrorCode::NameForbidden, &forbidden)),
        }
    }

    /// Whether none of `offers` has come through this peer before; names those that have.
    fn permit_paths(&self, offers: &[Offer]) -> Result<(), WireError> {
        let own = &self.open.shared.peer_id;
        let is_loop = |offer: &&Offer| offer.terms.path.contains(own);
        let loops: Vec<&Name> = offers.iter().filter(is_loop).map(|offer| &offer.name).collect();
        if loops.is_empty() { Ok(()) } else { Err(WireError::of_names(ErrorCode::Loop, &loops)) }
    }

    /// Lets go of idle DATA connections that have ended, from time to time.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.swept) >= IDLE_SWEEP_INTERVAL {
            self.swept = now;
            let OpenLink { shared, id } = &self.open;
            shared.mesh.sweep_idle(*id, |idle| is_quiet(&mut idle.stream));
        }
    }

    fn take(&mut self, line: Line) -> Result<(), Ended> {
        self.pace.spend(line.cost(), self.heard);
        let mesh = &self.open.shared.mesh;
        match line {
            Line::Register(offers) => {
                self.permit(offers.iter().map(|offer| &offer.name))?;
                self.permit_paths(&offers)?;
                let taken = mesh.register(self.open.id, &offers).map_err(|_| {
                    WireError::new(ErrorCode::TooManyNames, "more names than one link may register")
                })?;
                self.permitted.extend(offers.into_iter().map(|offer| offer.name));
                self.control.queue(&Line::Ok(taken));
                self.sweep();
            }
            Line::Unregister(withdrawn) => {
                let unhealthy = |one: &&Withdrawal| one.unhealthy.is_some();
                self.permit(withdrawn.iter().filter(unhealthy).map(|one| &one.name))?;
                let names: Vec<Name> = withdrawn.iter().map(|one| one.name.clone()).collect();
                let had = mesh.unregister(self.open.id, &names);
                mesh.note_health(self.open.id, &withdrawn);
                names.iter().for_each(|name| {
                    self.permitted.remove(name);
                });
                self.control.queue(&Line::Ok(had));
                self.sweep();
            }
            Line::Fail(id, reason) => mesh.fail(id, self.open.id, reason),
            Line::Error(code, text) => return Err(Ended::Reported(ReportedError { code, text })),
            Line::Hello { .. }
            | Line::Welcome(_)
            | Line::Redial
            | Line::Ok(_)
            | Line::Forward(..)
            | Line::Data { .. }
            | Line::DataUntold(_)
            | Line::DataIdle { .. }
            | Line::Open { .. } => {
                return Err(Ended::from(WireError::new(
                    ErrorCode::UnexpectedCommand,
                    "this line is not allowed on a link to a listening peer",
                )));
            }
        }
        Ok(())
    }
}
