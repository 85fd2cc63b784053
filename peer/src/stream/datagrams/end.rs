//! One end of a request over UDP.

use std::io;

use bytes::BytesMut;

use crate::stream::net::Datagrams;
use crate::stream::relay::Unacknowledged;
use crate::wire::datagrams::{DATAGRAM_HEADER_BYTES, Ended, Unit, front};

/// One end of a request over UDP. Each of its methods is used by one of the two directions,
/// which run beside each other.
pub trait DatagramEnd: Sync {
    /// Whether it [says](Self::take) itself when no more datagrams follow. One that does is
    /// listened to until then.
    const SAYS_ITS_END: bool;

    /// Waits for datagrams, and appends some that have come, as they lie on a stream
    /// ([`put`](crate::wire::datagrams::put)); or says that no more follow. Cancel safe.
    fn take(&self, into: &mut BytesMut) -> impl Future<Output = io::Result<Option<Ended>>> + Send;

    /// Sends whole datagrams that lie one behind the other.
    ///
    /// # Errors
    /// `ConnectionRefused` if the other end's port is closed; all else is the end of a stream.
    fn give(&self, datagrams: &[u8]) -> impl Future<Output = io::Result<Given>> + Send;

    /// Tells it that no more follow, if there is a way to.
    fn end(&self, _ended: Ended) -> impl Future<Output = io::Result<()>> + Send {
        async { Ok(()) }
    }

    /// What was given and not acknowledged, where that can be known.
    fn unacknowledged(&self) -> Option<Unacknowledged> {
        None
    }
}

/// What became of datagrams that were to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Bytes of payload that were sent.
    pub bytes: usize,
    /// Datagrams that the network did not take: too long for the way, or there is none.
    pub lost: usize,
}

/// Sends datagrams that lie one behind the other by `send`, and waits while there is no room.
///
/// # Errors
/// `ConnectionRefused` alone: what is not sent for any other reason is lost.
pub async fn send_each<D: Datagrams>(
    mut datagrams: &[u8],
    socket: &D,
    send: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<Given> {
    let mut given = Given::default();
    while let Ok(Some(Unit::Datagram(datagram))) = front(datagrams) {
        loop {
            match send(datagram) {
                Ok(()) => given.bytes += datagram.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.writable().await?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Err(error);
                }
                Err(_) => given.lost += 1,
            }
            break;
        }
        datagrams = &datagrams[DATAGRAM_HEADER_BYTES + datagram.len()..];
    }
    Ok(given)
}
