//! `ops-proxy run`: one peer on the real network, until a signal drains it.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;

use tokio::sync::Notify;
use tracing::info;
use tracing::level_filters::LevelFilter;

use super::access::AccessWriter;
use super::copying;
use super::failure::Failure;
use super::found::Found;
use super::log::Log;
use super::reload::Reloader;
use super::settings::{Settings, Surroundings};
use super::signals::Signals;
use super::sources::{Sources, Texts, state_file, surroundings, unknown_variables};
use super::spans::Spans;
use super::state::StateFile;
use super::supervisor;
use super::threads;
use super::upgrade::{Succeeded, Takeover, Upgrader};
use crate::config::PeerConfig;
use crate::observe::sinks::Sinks;
use crate::peer::{Peer, PeerHandle, RunError};
use crate::stream::net::tokio::{TokioNet, inherited};
use crate::workers::Workers;

pub(super) fn run(sources: Sources) -> Result<(), Failure> {
    copying::be_fast();
    let before = Takeover::begin()?;
    let texts = sources.read()?;
    let settings = sources.merged_with(&texts)?;
    let started = settings.clone();
    let (format, level) = (settings.log_format, settings.log_level);
    let access = settings.access_log.and_then(|access| access.0);
    let otlp = (settings.otlp.clone(), settings.otlp_sample);
    let threads = settings.workers;
    let query = settings.access_log_query.unwrap_or(false);
    let mut surroundings = surroundings();
    surroundings.predecessor = before.as_ref().map(|before| before.peer().clone());
    let state = state_file(&settings)?;
    let config = settings.into_config(surroundings.clone())?;
    let log = Log::to_stderr(format.unwrap_or_default(), level.unwrap_or(LevelFilter::INFO));
    let access = access.map(|format| AccessWriter::to_stderr(format, query)).transpose()?;
    for unknown in unknown_variables() {
        tracing::warn!("{unknown}");
    }
    if copying::was_slow() {
        tracing::info!(
            "this processor is slow at `rep movsb`, so memory is copied without it; \
             GLIBC_TUNABLES says so"
        );
    }
    raise_file_limit();
    let files = Files { sources, surroundings, started, texts, state, before };
    let (runtime, workers) = threads::start(threads)?;
    let outcome = runtime.block_on(async {
        let spans = Spans::begin(otlp.0.as_ref(), otlp.1, &config)?;
        let outcome =
            run_until_drained(config, files, &log, access.as_ref(), &spans, workers).await;
        spans.flush().await;
        outcome
    });
    // A resolver that hangs must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

/// Each connection is a file; the usual soft limit of 1024 is for other programs.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit on open files; set it with ulimit -n");
    }
}

/// What may change while the peer runs.
struct Files {
    sources: Sources,
    surroundings: Surroundings,
    started: Settings,
    texts: Texts,
    state: Option<StateFile>,
    before: Option<Takeover>,
}

/// Why a peer is to end.
enum Told {
    /// It has ended by itself.
    Ended(Result<(), RunError>),
    /// By a signal.
    Stopped,
    /// Another process has taken over.
    Succeeded(Succeeded),
}

async fn run_until_drained(
    config: PeerConfig,
    files: Files,
    log: &Log,
    access: Option<&AccessWriter>,
    spans: &Spans,
    workers: Workers,
) -> Result<(), Failure> {
    // Before the first bind: from then on no signal may go unheard.
    let mut signals = Signals::new()?;
    let sinks = Sinks { access: access.map(AccessWriter::sink), tracing: spans.tracing() };
    let serving = workers.count();
    let peer = Peer::start_with(config.clone(), TokioNet, sinks, workers).await?;
    let handle = peer.handle();
    handle.export_process();
    spans.count(&handle);
    let (of_log, of_access) = (log.lost_lines(), access.map(AccessWriter::lost_lines));
    handle.export_lost_log_lines(move || of_log() + of_access.as_ref().map_or(0, |lost| lost()));
    let Files { sources, surroundings, started, texts, state, mut before } = files;
    if let Some(state) = &state {
        handle.recall(state.read());
    }
    let (level, reading) = (log.level(), handle.clone());
    let found = Found::follow(&config, &handle)?;
    let texts = Ok(texts);
    let mut reloader =
        Reloader { sources, surroundings, started, texts, config, found, handle: reading, level };
    tokio::select! {
        biased;
        () = signals.next(|| {}, || {}) => return Ok(()),
        () = reloader.first() => {}
    }
    for addr in inherited::left_over() {
        tracing::warn!(%addr, "a socket that this process was given is closed: no setting names its address");
    }
    if let Some(before) = &mut before {
        before.teach(&handle);
        tokio::spawn(Takeover::tell(before.channel()?, handle.clone()));
    }
    let upgrader = Upgrader::new(handle.clone(), before);
    announce(&handle, serving);
    tokio::spawn(supervisor::keep_alive(handle.clone()));
    let warmed_up = handle.clone();
    tokio::spawn(async move {
        warmed_up.warmed_up().await;
        supervisor::ready();
    });
    let mut running = pin!(peer.run());
    let (asked, asked_to_upgrade) = (Notify::new(), Notify::new());
    let reload = || {
        handle.reload();
        asked.notify_one();
    };
    let mut reloading = pin!(reloader.run(&asked));
    let mut upgrading = Box::pin(upgrader.run(&asked_to_upgrade));
    let mut keeping = pin!(async {
        if let Some(state) = &state {
            state.follow(&handle).await;
        }
        pending::<Infallible>().await
    });
    let told = tokio::select! {
        biased;
        ended = &mut running => Told::Ended(ended),
        () = signals.next(reload, || asked_to_upgrade.notify_one()) => Told::Stopped,
        succeeded = &mut upgrading => Told::Succeeded(succeeded),
        never = &mut reloading => match never {},
        never = &mut keeping => match never {},
    };
    let _successor = match told {
        Told::Ended(ended) => return Ok(ended?),
        Told::Stopped => {
            // This ends a new process that has not taken over.
            drop(upgrading);
            handle.take_back();
            if let Some(state) = &state {
                state.leave(&handle);
            }
            supervisor::stopping();
            info!("draining; send a second signal to end the process at once");
            None
        }
        Told::Succeeded(succeeded) => {
            supervisor::succeeded_by(succeeded.pid);
            info!(
                pid = succeeded.pid,
                "another process has taken over; draining: this one ends when nothing runs here"
            );
            Some(succeeded)
        }
    };
    handle.drain();
    let refused = || tracing::warn!("this process is draining; it starts no other");
    tokio::select! {
        biased;
        ended = &mut running => return Ok(ended?),
        () = signals.next(|| handle.reload(), refused) => handle.stop(),
    }
    // What runs is cut; the other ends of links are told, which takes a moment at most.
    tokio::select! {
        biased;
        ended = running => ended?,
        () = signals.next(|| handle.reload(), refused) => {}
    }
    Err(Failure::Interrupted)
}

/// Says where the peer can be reached, now that it can be.
fn announce(handle: &PeerHandle<TokioNet>, workers: usize) {
    if let Some(addr) = handle.listen_addr() {
        info!(what = "listen", %addr, "listening");
    }
    for addr in handle.tcp_addrs() {
        info!(what = "tcp", %addr, "listening");
    }
    for addr in handle.udp_addrs() {
        info!(what = "udp", %addr, "listening");
    }
    if let Some(addr) = handle.admin_addr() {
        info!(what = "admin", %addr, "listening");
    }
    info!(workers, "ready");
}
