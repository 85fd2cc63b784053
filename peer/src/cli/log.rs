//! What the process says on stderr. A thread of its own writes the log, so that nobody
//! who serves ever waits for whoever reads it: lines that do not fit the queue are lost
//! and counted, and so are those that cannot be written.

use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::settings::LogFormat;
use crate::limits::{LOG_FLUSH, LOG_LINES_QUEUED};

/// The log of this process. When it is dropped, what is queued is written, as far as
/// that takes no longer than [`LOG_FLUSH`].
pub(super) struct Log {
    unqueued: ErrorCounter,
    unwritten: Arc<AtomicU64>,
    level: reload::Handle<LevelFilter, Registry>,
    writer: Option<WorkerGuard>,
}

impl Log {
    /// Logs to stderr from now on, panics included. To be called once.
    pub(super) fn to_stderr(format: LogFormat, level: LevelFilter) -> Self {
        let unwritten = Arc::new(AtomicU64::new(0));
        let (lines, writer) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LOG_LINES_QUEUED)
            .thread_name("log")
            .finish(Lines { unwritten: unwritten.clone() });
        let unqueued = lines.error_counter();
        let (filter, level_of) = reload::Layer::new(level);
        let log = tracing_subscriber::registry().with(filter);
        let written = fmt::layer().with_writer(lines);
        match format {
            LogFormat::Text => log.with(written.with_ansi(io::stderr().is_terminal())).init(),
            LogFormat::Json => log.with(written.json()).init(),
        }
        if level >= LevelFilter::ERROR {
            // The usual hook waits for stderr.
            panic::set_hook(Box::new(log_panic));
        }
        Self { unqueued, unwritten, level: level_of, writer: Some(writer) }
    }

    /// Sets the least severe level from now on.
    pub(super) fn level(&self) -> impl Fn(LevelFilter) + Send + Sync + 'static {
        let level = self.level.clone();
        // Nobody else holds it while this panics.
        move |new| drop(level.modify(|now| *now = new))
    }

    /// Says how many lines were lost.
    pub(super) fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let (unqueued, unwritten) = (self.unqueued.clone(), self.unwritten.clone());
        move || unqueued.dropped_lines() as u64 + unwritten.load(Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let writer = self.writer.take();
        within_flush(move || drop(writer));
    }
}

/// Takes each line to stderr. One that cannot be written is lost, and that is all.
struct Lines {
    unwritten: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            self.unwritten.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let why = panic.payload_as_str().unwrap_or("no text");
    match panic.location() {
        Some(location) => tracing::error!(thread, why, "panicked at {location}"),
        None => tracing::error!(thread, why, "panicked at an unknown place"),
    }
}

/// Writes a line to stderr, unless that takes longer than [`LOG_FLUSH`]. For the last
/// words of the process, when the log has ended.
pub(super) fn say(line: String) {
    within_flush(move || {
        // Nobody is left to tell that nobody was told.
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    });
}

/// Leaves `work` behind if it takes longer than [`LOG_FLUSH`]: a stderr that nobody
/// reads must not hold up the exit.
pub(super) fn within_flush(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let worker = thread::Builder::new().name("last words".to_owned()).spawn(move || {
        work();
        let _ = done.send(());
    });
    if worker.is_ok() {
        let _ = is_done.recv_timeout(LOG_FLUSH);
    }
}
