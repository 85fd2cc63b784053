//! Whether anything has come on a connection that waits.

use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, ReadBuf};

/// Whether nothing has come on a connection, not even its end, as far as known here.
pub fn is_quiet<S: AsyncRead + Unpin>(stream: &mut S) -> bool {
    let mut byte = [0];
    // Nobody is to be woken: whoever takes the connection waits for himself.
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
}
