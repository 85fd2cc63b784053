//! What peers log during a run: an ERROR fails it, and a recorded run keeps the
//! rest in its trace.

use std::fmt::{Debug, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::network::Fabric;
use crate::trace::What;

/// Takes in the log lines of one run.
#[derive(Debug)]
pub(super) struct Log {
    fabric: Fabric,
    /// Errors only, or everything that an operator would see.
    most: Level,
    spans: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Log {
    /// A log for the run with this fabric; `record` keeps every line of level
    /// DEBUG and above in its trace.
    pub(super) fn new(fabric: Fabric, record: bool) -> Self {
        let most = if record { Level::DEBUG } else { Level::ERROR };
        Self { fabric, most, spans: AtomicU64::new(0), errors: Mutex::default() }
    }

    /// The ERROR lines since the last call.
    pub(super) fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.lock().expect("nobody panics while logging"))
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= self.most
            && metadata.target().starts_with("ops_proxy")
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Relaxed) + 1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let level = event.metadata().level();
        let text = format!("{level} {}{}", line.message, line.fields);
        if *level == Level::ERROR {
            self.errors.lock().expect("nobody panics while logging").push(text.clone());
        }
        self.fabric.state().note(What::Log { text });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
