//! Panics within runs.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// What the last panic of this thread said, while it plays seeds.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic within a run is a finding, told with it, not printed at once.
pub(super) fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let playing = LAST_PANIC.with(|last| {
                let mut last = last.borrow_mut();
                last.as_mut().map(|last| *last = info.to_string()).is_some()
            });
            if !playing {
                others(info);
            }
        }));
    });
}

/// Another seed is played on this thread.
pub(super) fn forget() {
    LAST_PANIC.with(|last| *last.borrow_mut() = Some(String::new()));
}

/// turmoil only says that some task panicked; the hook knows how.
pub(super) fn with_last(what: String) -> String {
    let last = LAST_PANIC.with(|last| last.borrow().clone().unwrap_or_default());
    if last.is_empty() || !what.contains("panic") { what } else { format!("{what}: {last}") }
}
