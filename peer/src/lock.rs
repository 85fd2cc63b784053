//! A lock on what the whole peer needs.
//!
//! A panic under such a lock leaves the peer half dead: what it guards is half changed,
//! and every task needs it. The peer ends then, so that its supervisor
//! restarts it: [`Tasks`](crate::tasks::Tasks) notices, and `Peer::run` returns [`Poisoned`].

use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic left this half changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a panic left {0} in an unknown state, and this process cannot go on; restart it")]
pub struct Poisoned(pub &'static str);

/// A mutex on what the whole peer needs.
#[derive(Debug)]
pub struct Lock<T> {
    what: &'static str,
    value: Mutex<T>,
}

impl<T> Lock<T> {
    /// Guards `value`, which a message calls `what`.
    pub const fn new(what: &'static str, value: T) -> Self {
        Self { what, value: Mutex::new(value) }
    }

    /// Waits for the value. For as long as lookups take: never across an await.
    ///
    /// # Panics
    /// With [`Poisoned`] after a panic under this lock, past the panic hook: the first
    /// panic has said what there is to say.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(|poisoned| {
            // Whoever is unwinding already only puts things back, and must not panic twice.
            if !std::thread::panicking() {
                resume_unwind(Box::new(Poisoned(self.what)));
            }
            poisoned.into_inner()
        })
    }

    /// The value, half changed or not: for ending what is in it.
    pub fn lock_to_end(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Has to do with the lock when it goes, as a request has.
    struct Leaving<'a>(&'a Lock<u32>);

    impl Drop for Leaving<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }

    fn caught(work: impl FnOnce()) -> Option<Poisoned> {
        let payload = catch_unwind(AssertUnwindSafe(work)).expect_err("it panics");
        payload.downcast_ref().copied()
    }

    #[test]
    fn after_a_panic_under_the_lock_everyone_is_told_so() {
        let lock = Lock::new("the table", 0);
        *lock.lock() += 1;
        let first = caught(|| {
            let _held = lock.lock();
            panic!("on purpose");
        });
        assert_eq!(first, None, "it is no other panic's fault");
        for _ in 0..2 {
            assert_eq!(caught(|| drop(lock.lock())), Some(Poisoned("the table")));
        }
        assert_eq!(*lock.lock_to_end(), 1);
    }

    /// A second panic would abort the process.
    #[test]
    fn who_unwinds_under_the_lock_can_still_leave() {
        let lock = Lock::new("the table", 0);
        let first = caught(|| {
            let _leaving = Leaving(&lock);
            let _held = lock.lock();
            panic!("on purpose");
        });
        assert_eq!(first, None);
    }
}
