//! One end of a relay: a connection, and how a request's bytes are framed on it
//! ([`frames`](crate::wire::frames)).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::frames::{
    END, FRAME_BYTES, FRAME_HEADER_BYTES, Frames, RAW, Reading, Writing, left_of_frame,
};

/// One end of a relay. Reads and writes are the request's bytes.
#[derive(Debug)]
pub struct Side<S> {
    /// The connection.
    pub stream: S,
    /// How its bytes are framed.
    pub frames: Frames,
}

impl<S> Side<S> {
    /// A connection that carries only one request; `ahead` has already been read from
    /// it.
    pub fn raw(stream: S, ahead: Bytes) -> Self {
        Self { stream, frames: Frames::raw(ahead) }
    }

    /// Whether all further bytes belong to the request and are not framed.
    pub fn is_raw(&self) -> bool {
        self.frames.reading == Reading::Raw && self.frames.ahead.is_empty()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, frames } = self.get_mut();
        if frames.reading == Reading::Raw && frames.ahead.is_empty() {
            return Pin::new(stream).poll_read(cx, buf);
        }
        while frames.reading != Reading::Ended && buf.remaining() > 0 {
            let start = buf.filled().len();
            if frames.ahead.has_remaining() {
                let count = frames.ahead.len().min(buf.remaining());
                buf.put_slice(&frames.ahead.split_to(count));
            } else {
                ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            }
            let was_framed = frames.reading != Reading::Raw;
            let count = buf.filled().len() - start;
            if count == 0 {
                // A framed direction ends with a frame; without one, it was cut.
                return Poll::Ready(match was_framed {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(()),
                });
            }
            let kept = frames.unframe(&mut buf.filled_mut()[start..]);
            buf.set_filled(start + kept);
            if kept > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Side<S> {
    /// Leaves the frames, for all bytes that are still to be written. Not to be called
    /// while a frame is being filled.
    pub fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.frames.writing {
            Writing::Raw => return Poll::Ready(Ok(())),
            Writing::Between => {
                self.frames.writing = Writing::Header { length: RAW, unsent: 2 };
            }
            Writing::Header { length: RAW, .. } => {}
            _ => return Poll::Ready(Err(unfilled())),
        }
        ready!(self.poll_header(cx))?;
        self.frames.writing = Writing::Raw;
        Poll::Ready(Ok(()))
    }

    /// Writes as [`poll_write`](AsyncWrite::poll_write) does, and with the last of
    /// `bytes` the end of the direction, if that needs no close. To be
    /// [shut down](AsyncWrite::poll_shutdown) nevertheless.
    pub fn poll_write_last(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.frames.writing != Writing::Between || !(1..=FRAME_BYTES).contains(&bytes.len()) {
            return Pin::new(self).poll_write(cx, bytes);
        }
        let (header, end) = (Frames::header(bytes), END.to_be_bytes());
        let parts = [IoSlice::new(&header), IoSlice::new(bytes), IoSlice::new(&end)];
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &parts))?;
        let length = bytes.len();
        if count <= FRAME_HEADER_BYTES {
            let unsent = (FRAME_HEADER_BYTES - count) as u8;
            self.frames.writing = Writing::Header { length: length as u16, unsent };
            return Pin::new(self).poll_write(cx, bytes);
        }
        let of_frame = (count - FRAME_HEADER_BYTES).min(length);
        self.frames.writing = match left_of_frame(length as u16, of_frame) {
            Writing::Between => {
                let of_end = count - FRAME_HEADER_BYTES - length;
                Writing::Header { length: END, unsent: (end.len() - of_end) as u8 }
            }
            filling => filling,
        };
        Poll::Ready(Ok(of_frame))
    }

    /// Writes what is left of a header that has no frame.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Writing::Header { length, unsent } = self.frames.writing
            && unsent > 0
        {
            let header = length.to_be_bytes();
            let rest = &header[FRAME_HEADER_BYTES - usize::from(unsent)..];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frames.writing = Writing::Header { length, unsent: unsent - count as u8 };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, frames } = self.get_mut();
        let mut stream = Pin::new(stream);
        loop {
            match frames.writing {
                Writing::Raw => return stream.poll_write(cx, bytes),
                Writing::Between if bytes.is_empty() => return Poll::Ready(Ok(0)),
                Writing::Between => {
                    let length = bytes.len().min(FRAME_BYTES) as u16;
                    frames.writing = Writing::Header { length, unsent: 2 };
                }
                Writing::Header { length, unsent } => {
                    let header = length.to_be_bytes();
                    let header = &header[FRAME_HEADER_BYTES - usize::from(unsent)..];
                    let frame = &bytes[..bytes.len().min(usize::from(length))];
                    let count = ready!(write_both(stream.as_mut(), cx, header, frame))?;
                    if count == 0 {
                        return Poll::Ready(Ok(0));
                    }
                    let Some(of_frame) = count.checked_sub(header.len()) else {
                        frames.writing = Writing::Header { length, unsent: unsent - count as u8 };
                        continue;
                    };
                    frames.writing = left_of_frame(length, of_frame);
                    if of_frame > 0 {
                        return Poll::Ready(Ok(of_frame));
                    }
                }
                Writing::Frame(left) => {
                    let frame = &bytes[..bytes.len().min(usize::from(left))];
                    let count = ready!(stream.as_mut().poll_write(cx, frame))?;
                    frames.writing = left_of_frame(left, count);
                    return Poll::Ready(Ok(count));
                }
                Writing::Ended => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.frames.writing {
            Writing::Raw => return Pin::new(&mut self.stream).poll_shutdown(cx),
            Writing::Between => {
                self.frames.writing = Writing::Header { length: END, unsent: 2 };
            }
            Writing::Header { length: END, .. } | Writing::Ended => {}
            Writing::Header { .. } | Writing::Frame(_) => {
                return Poll::Ready(Err(unfilled()));
            }
        }
        ready!(self.poll_header(cx))?;
        self.frames.writing = Writing::Ended;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Writes a header and its frame at once. To copy a small frame behind its header costs less
/// than to have the kernel gather both.
fn write_both<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    header: &[u8],
    frame: &[u8],
) -> Poll<io::Result<usize>> {
    const SMALL: usize = 1024;
    if header.len() + frame.len() > SMALL {
        return stream.poll_write_vectored(cx, &[IoSlice::new(header), IoSlice::new(frame)]);
    }
    let mut storage = [MaybeUninit::uninit(); SMALL];
    let mut both = ReadBuf::uninit(&mut storage);
    both.put_slice(header);
    both.put_slice(frame);
    stream.poll_write(cx, both.filled())
}

fn unfilled() -> io::Error {
    io::Error::other("the current frame is incomplete")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn framed<S>(stream: S) -> Side<S> {
        Side { stream, frames: Frames::framed(Bytes::new()) }
    }

    async fn wrote(side: impl AsyncFn(&mut Side<tokio::io::DuplexStream>)) -> Vec<u8> {
        let (near, mut far) = duplex(1 << 20);
        let mut side_of = framed(near);
        side(&mut side_of).await;
        drop(side_of);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn frames_lie_on_the_connection_as_documented() {
        let bytes = wrote(async |side| {
            side.write_all(b"ab").await.unwrap();
            side.shutdown().await.unwrap();
        });
        assert_eq!(bytes.await, b"\0\x02ab\0\0");
        let bytes = wrote(async |side| {
            std::future::poll_fn(|cx| side.poll_raw(cx)).await.unwrap();
            side.write_all(b"bulk").await.unwrap();
        });
        assert_eq!(bytes.await, b"\xff\xffbulk");
        let bytes = wrote(async |side| {
            assert_eq!(std::future::poll_fn(|cx| side.poll_write_last(cx, b"z")).await.unwrap(), 1);
        });
        assert_eq!(bytes.await, b"\0\x01z\0\0", "the end has gone with the last bytes");
    }

    #[tokio::test]
    async fn a_connection_that_ends_within_frames_was_cut() {
        for cut in [&b""[..], b"\0", b"\0\x05ab", b"\0\x02ab"] {
            let (near, mut far) = duplex(64);
            far.write_all(cut).await.unwrap();
            drop(far);
            let mut got = Vec::new();
            let error = framed(near).read_to_end(&mut got).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut:?}");
        }
    }

    #[tokio::test]
    async fn what_follows_the_end_is_kept_for_the_next_request() {
        let (near, mut far) = duplex(64);
        far.write_all(b"ne\0\0FORWARD").await.unwrap();
        let mut side =
            Side { stream: near, frames: Frames::framed(Bytes::from_static(b"\0\x03o")) };
        let mut got = String::new();
        side.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "one");
        side.shutdown().await.unwrap();
        assert_eq!(side.frames.into_spent().unwrap(), "FORWARD");
    }

    #[tokio::test]
    async fn a_connection_whose_request_goes_on_is_not_spent() {
        assert!(Frames::raw(Bytes::new()).into_spent().is_none());
        let (near, mut far) = duplex(64);
        far.write_all(b"\xff\xffrest").await.unwrap();
        drop(far);
        let mut side = framed(near);
        let mut got = String::new();
        side.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "rest");
        assert!(side.frames.into_spent().is_none());
    }

    proptest! {
        /// Whatever sizes are written, wherever the network cuts them, and however
        /// little is read at a time.
        #[test]
        fn any_cut_arrives_whole(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            capacity in 1..50_usize,
            at_a_time in 1..64_usize,
            raw_from in prop::option::of(0..20_usize),
            last in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (got, ended) = runtime.block_on(async {
                let (near, far) = duplex(capacity);
                let (mut writer, mut reader) = (framed(near), framed(far));
                let write = async {
                    for (index, chunk) in chunks.iter().enumerate() {
                        if Some(index) == raw_from {
                            std::future::poll_fn(|cx| writer.poll_raw(cx)).await.unwrap();
                        }
                        writer.write_all(chunk).await.unwrap();
                    }
                    let mut rest = &last[..];
                    while !rest.is_empty() {
                        let written = std::future::poll_fn(|cx| writer.poll_write_last(cx, rest));
                        rest = &rest[written.await.unwrap()..];
                    }
                    writer.shutdown().await.unwrap();
                };
                let read = async {
                    let mut got = Vec::new();
                    let mut some = vec![0; at_a_time];
                    loop {
                        match reader.read(&mut some).await.unwrap() {
                            0 => return got,
                            count => got.extend_from_slice(&some[..count]),
                        }
                    }
                };
                let ((), got) = tokio::join!(write, read);
                (got, reader.frames.reading == Reading::Ended)
            });
            prop_assert_eq!(got, [chunks.concat(), last].concat());
            prop_assert_eq!(ended, raw_from.is_none_or(|from| from >= chunks.len()));
        }
    }
}
