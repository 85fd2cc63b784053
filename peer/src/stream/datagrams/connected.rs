//! A backend that is reached by UDP itself.

use std::io;

use bytes::BytesMut;

use super::end::{DatagramEnd, Given, send_each};
use crate::limits::UDP_BATCH_BYTES;
use crate::stream::net::Datagrams;
use crate::wire::datagrams::{DATAGRAM_BYTES, Ended, put};

/// A socket that exchanges datagrams with one backend.
#[derive(Debug)]
pub struct ConnectedEnd<D>(pub D);

impl<D: Datagrams> ConnectedEnd<D> {
    /// Appends what has come.
    fn receive(&self, into: &mut BytesMut) -> io::Result<()> {
        // On the stack of the poll: a request that is idle holds no buffer.
        let mut buffer = [0; DATAGRAM_BYTES];
        while into.len() < UDP_BATCH_BYTES {
            match self.0.try_recv_from(&mut buffer) {
                Ok((length, _)) => put(&buffer[..length], into),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It is met again at the next look.
                Err(_) if !into.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<D: Datagrams> DatagramEnd for ConnectedEnd<D> {
    const SAYS_ITS_END: bool = false;

    async fn take(&self, into: &mut BytesMut) -> io::Result<Option<Ended>> {
        while into.is_empty() {
            let come = match self.0.readable().await {
                Ok(()) => self.receive(into),
                Err(error) => Err(error),
            };
            match come {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Ok(Some(Ended::Refused));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn give(&self, datagrams: &[u8]) -> io::Result<Given> {
        send_each(datagrams, &self.0, |datagram| self.0.try_send(datagram)).await
    }
}
