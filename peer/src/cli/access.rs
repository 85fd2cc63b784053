//! The access log on stderr. A thread of its own formats and writes it, many whole lines at a
//! time: who serves only puts a line into a queue, and one that does not fit is lost and
//! counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use super::log::within_flush;
use crate::limits::{ACCESS_LINES_QUEUED, ACCESS_WRITE_BYTES};
use crate::observe::access::{Access, AccessFormat, AccessLog};

/// The access log of this process. When it is dropped, what is queued is written, as far as
/// that takes no longer than [`LOG_FLUSH`](crate::limits::LOG_FLUSH).
pub(super) struct AccessWriter {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

enum Entry {
    /// A line, and when it happened.
    Line(SystemTime, Box<Access>),
    /// All before it is to be written; this is dropped then.
    Flush(SyncSender<()>),
}

impl AccessWriter {
    /// Writes to stderr from now on.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub(super) fn to_stderr(format: AccessFormat, query: bool) -> io::Result<Self> {
        let (entries, receiver) = sync_channel(ACCESS_LINES_QUEUED);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines { entries: receiver, lost: lost.clone(), format, query };
        thread::Builder::new().name("access log".to_owned()).spawn(move || lines.write_all())?;
        Ok(Self { queue: Arc::new(Queue { entries, lost }) })
    }

    /// Who takes the lines.
    pub(super) fn sink(&self) -> Arc<dyn AccessLog> {
        self.queue.clone()
    }

    /// Says how many lines were lost.
    pub(super) fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lost = self.queue.lost.clone();
        move || lost.load(Relaxed)
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        let queue = self.queue.clone();
        within_flush(move || {
            let (held, written) = sync_channel(1);
            if queue.entries.send(Entry::Flush(held)).is_ok() {
                // It ends when the writer lets go of its half.
                let _ = written.recv();
            }
        });
    }
}

impl AccessLog for Queue {
    #[allow(clippy::disallowed_methods, reason = "a log tells the time of day")]
    fn take(&self, access: Access) {
        let entry = Entry::Line(SystemTime::now(), Box::new(access));
        if self.entries.try_send(entry).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// The thread that writes.
struct Lines {
    entries: Receiver<Entry>,
    lost: Arc<AtomicU64>,
    format: AccessFormat,
    query: bool,
}

impl Lines {
    /// Writes what comes, as much at a time as is there, until nobody can send any more.
    fn write_all(self) {
        let mut text = String::new();
        while let Ok(first) = self.entries.recv() {
            let (mut next, mut count) = (Some(first), 0);
            let mut flushes = None;
            while let Some(entry) = next {
                match entry {
                    Entry::Line(at, access) => {
                        access.write(&mut text, self.format, at, self.query);
                        count += 1;
                    }
                    Entry::Flush(held) => flushes = Some(held),
                }
                next = match text.len() < ACCESS_WRITE_BYTES && flushes.is_none() {
                    true => self.entries.try_recv().ok(),
                    false => None,
                };
            }
            if io::stderr().write_all(text.as_bytes()).is_err() {
                self.lost.fetch_add(count, Relaxed);
            }
            text.clear();
            drop(flushes);
        }
    }
}
