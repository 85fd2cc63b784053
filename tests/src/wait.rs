//! Waiting for a condition, with a limit: the only way in which these tests
//! wait for another process.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

/// Says that this test shows less here, or nothing, and why: also where the output of
/// tests that pass is not shown.
pub fn skipped(why: &str) {
    let test = std::thread::current();
    let line = format!("skipped: {}: {why}\n", test.name().unwrap_or("a test"));
    // The harness takes what is printed, not what is written.
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}

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
