//! Waiting for a condition, with a limit: the only way in which these tests
//! wait for another process.

use std::future::Future;
use std::time::Duration;

/// No condition takes this long unless it never comes. Generous, so that a busy
/// machine fails no test.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(5);

/// Asks `probe` until it has an answer.
///
/// # Panics
/// After [`LIMIT`], naming `what` was waited for.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    within(what, look).await
}

/// Awaits `future`.
///
/// # Panics
/// After [`LIMIT`], naming `what` was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}
