//! Reading and writing at a client's own pace.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::payload::Pattern;
use crate::scenario::Size;
use crate::scenario::steps::Request;

/// Time between two bytes of a client that writes one at a time.
pub(super) const BETWEEN_BYTES: Duration = Duration::from_millis(1);

/// Bytes read or written at once.
pub(super) const CHUNK: usize = 8192;

/// Reads at most so many bytes a second, and ahead into a buffer of its own, so
/// that reading single bytes is one event, not many.
pub(super) struct Reader<R> {
    inner: R,
    rate: Option<u64>,
    ahead: Vec<u8>,
    at: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader without limit if `rate` is `None`.
    pub(super) fn new(inner: R, rate: Option<u64>) -> Self {
        Self { inner, rate, ahead: Vec::new(), at: 0 }
    }

    /// Some bytes; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ahead.len() {
            self.refill().await?;
        }
        let bytes = buffer.len().min(self.ahead.len() - self.at);
        buffer[..bytes].copy_from_slice(&self.ahead[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }

    /// All of `buffer`.
    pub(super) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => filled += bytes,
            }
        }
        Ok(())
    }

    async fn refill(&mut self) -> io::Result<()> {
        // Ten sips a second keep the pace smooth.
        let most = sip(self.rate);
        if let Some(rate) = self.rate {
            tokio::time::sleep(Duration::from_secs_f64(most as f64 / rate.max(1) as f64)).await;
        }
        self.ahead.resize(most, 0);
        self.at = 0;
        let bytes = self.inner.read(&mut self.ahead).await;
        self.ahead.truncate(*bytes.as_ref().unwrap_or(&0));
        bytes.map(drop)
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

/// How many bytes are read at once, at so many a second.
pub(super) fn sip(rate: Option<u64>) -> usize {
    rate.map_or(CHUNK, |rate| (rate / 10).clamp(1, CHUNK as u64) as usize)
}

/// How a client cuts what it writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cuts {
    /// Not at all.
    None,
    /// Into single bytes.
    Bytes,
    /// Into pieces of 1 to so many bytes, which follow from the pattern.
    Pieces(u64, Pattern),
}

impl Cuts {
    /// As the request says.
    pub(super) fn of(request: &Request, seed: u64) -> Self {
        match request.cuts {
            _ if request.split => Self::Bytes,
            Some(Size(most)) => Self::Pieces(most, Pattern(seed)),
            None => Self::None,
        }
    }

    /// How long the piece with this number may be.
    pub(super) fn piece(self, number: u64) -> usize {
        let (most, pattern) = match self {
            Self::None => return usize::MAX,
            Self::Bytes => return 1,
            Self::Pieces(most, pattern) => (most, pattern),
        };
        let mut bytes = [0; 4];
        pattern.fill(number * 4, &mut bytes);
        (u64::from(u32::from_le_bytes(bytes)) % most.max(1)) as usize + 1
    }
}

/// Writes at once, or cut in pieces.
pub(super) struct Writer<W> {
    inner: W,
    cuts: Cuts,
    /// Pieces so far.
    pieces: u64,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// A writer that cuts like this.
    pub(super) fn new(inner: W, cuts: Cuts) -> Self {
        Self { inner, cuts, pieces: 0 }
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if matches!(self.cuts, Cuts::None) {
            return self.inner.write_all(bytes).await;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.cuts.piece(self.pieces).min(rest.len()));
            self.pieces += 1;
            self.inner.write_all(piece).await?;
            tokio::time::sleep(BETWEEN_BYTES).await;
            rest = after;
        }
        Ok(())
    }

    /// Sends the first `length` bytes of a pattern, and tells of each part.
    pub(super) async fn send_pattern(
        &mut self,
        pattern: Pattern,
        length: u64,
        sent: impl Fn(u64),
    ) -> io::Result<()> {
        let mut at = 0;
        let mut buffer = vec![0; CHUNK];
        while at < length {
            let part = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
            pattern.fill(at, &mut buffer[..part]);
            self.send(&buffer[..part]).await?;
            at += part as u64;
            sent(part as u64);
        }
        Ok(())
    }

    /// Ends this direction.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        self.inner.shutdown().await
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> W {
        self.inner
    }
}
