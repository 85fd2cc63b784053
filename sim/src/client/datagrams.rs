//! What a client says and hears over UDP: one datagram after another, each when the one before
//! it has come back.

use std::io;
use std::time::Duration;

use ops_proxy::config::Endpoint;
use ops_proxy::stream::net::Datagrams;

use super::directions::failed;
use super::outcome::Ending;
use super::progress::Progress;
use crate::ground::Ground;
use crate::payload::Pattern;
use crate::scenario::steps::Request;

/// Longest payload of a datagram.
const DATAGRAM_BYTES: usize = 65_507;

/// A datagram that has not come back after this time was lost: longer than it takes to fetch a
/// DATA connection, and than any way is long.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Sends one datagram as soon as there is room for it.
async fn send(socket: &impl Datagrams, datagram: &[u8]) -> io::Result<()> {
    loop {
        match socket.try_send(datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            sent => return sent,
        }
    }
}

/// Sends the upload in datagrams, from an address of its own.
pub(super) async fn run<N: Ground>(net: &N, progress: &Progress<N>, request: &Request) -> Ending {
    match exchange(net, progress, request).await {
        Ok(end) => end,
        Err(error) => failed(error),
    }
}

async fn exchange<N: Ground>(
    net: &N,
    progress: &Progress<N>,
    request: &Request,
) -> io::Result<Ending> {
    let endpoint: Endpoint = request.to.parse().expect("a checked scenario has endpoints");
    let addresses = net.resolve(&endpoint.host, endpoint.port).await?;
    let socket = net.connect_udp(addresses[0]).await?;
    let pattern = Pattern(progress.number() as u64 + 1);
    let mut at = 0;
    for length in request.datagrams() {
        let mut datagram = vec![0; length];
        pattern.fill(at, &mut datagram);
        send(&socket, &datagram).await?;
        progress.sent(length as u64);
        let mut back = vec![0; DATAGRAM_BYTES];
        let received = loop {
            let come = tokio::time::timeout(LOST_AFTER, socket.readable());
            let Ok(come) = come.await else {
                return Ok(Ending::Failed("a datagram was lost".to_owned()));
            };
            come?;
            match socket.try_recv_from(&mut back) {
                Ok((received, _)) => break received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        progress.answered();
        progress.received(received as u64);
        if back[..received] != datagram {
            return Ok(Ending::Corrupt(format!("the datagram at byte {at}")));
        }
        at += length as u64;
        if request.abort_after.is_some_and(|enough| at >= enough.0) {
            return Ok(Ending::Left);
        }
    }
    Ok(Ending::Whole)
}
