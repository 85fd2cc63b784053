//! How the system asks the process to end, to read its files again, or to hand over to a new
//! one.

use std::io;

/// SIGTERM and SIGINT, told apart by nobody.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on no signal ends the process by itself.
    pub(super) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one to end; until then `reload` is called for each SIGHUP, and `upgrade` for
    /// each SIGUSR2. Cancel safe.
    pub(super) async fn next(&mut self, reload: impl Fn(), upgrade: impl Fn()) {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(),
                _ = self.upgrade.recv() => upgrade(),
            }
        }
    }
}
