//! The two directions of one connection, as one client drives them.

use std::io;

use super::outcome::Ending;

/// Both directions at once. A failed write alone is no end: the answer may say
/// more; a refusal often comes before the upload is through.
pub(super) async fn both<T>(
    sending: impl Future<Output = io::Result<()>>,
    hearing: impl Future<Output = Result<T, Ending>>,
) -> Result<T, Ending> {
    tokio::pin!(sending, hearing);
    let mut sent = false;
    loop {
        tokio::select! {
            biased;
            end = &mut hearing => return end,
            _ = &mut sending, if !sent => sent = true,
        }
    }
}

/// How a connection ends that fails like this.
pub(super) fn failed(error: io::Error) -> Ending {
    Ending::Failed(error.kind().to_string())
}
