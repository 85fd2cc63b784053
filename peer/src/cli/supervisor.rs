//! What systemd is told about this process: that it is ready, reads its files again, ends,
//! and is alive. Nothing, where no `NOTIFY_SOCKET` is set. Source: sd_notify(3).

use std::future::pending;
use std::io;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{MissedTickBehavior, interval};

use crate::peer::PeerHandle;
use crate::stream::net::Net;

/// Requests are taken: whoever waits for this peer may start.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The configuration is read; [`ready`] says that this is over.
pub(super) fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    tell(&[NotifyState::Reloading, now]);
}

/// This process is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// The process of this id is the one to be looked after from now on. This one goes on until
/// what runs here has ended. The watchdog counts anew, for what that process has said before
/// was not listened to, and its next beat may be half of the limit away.
pub(super) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Watchdog]);
}

/// Says twice as often as it must that the process is alive, if that is asked for. It is not
/// while a worker, or a table that every request needs, is stuck. Never returns.
pub(super) async fn keep_alive<N: Net>(handle: PeerHandle<N>) {
    let limit = watchdog_enabled().filter(|limit| !limit.is_zero());
    let Some(limit) = limit else { return pending().await };
    let mut beats = interval(limit / 2);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        handle.is_alive().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    match notify(state) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            tracing::warn!(%error, "cannot tell systemd about this process; is NOTIFY_SOCKET right, and AF_UNIX permitted?");
        }
        _ => {}
    }
}
