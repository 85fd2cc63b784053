//! What a client says and hears over UDP: one datagram after another, each when the one before
//! it has come back, or all at once.

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

/// From one datagram to the next of a client that does not wait for answers.
const BETWEEN: Duration = Duration::from_millis(1);

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

/// The next datagram that comes, if one does in time.
async fn receive(socket: &impl Datagrams) -> io::Result<Option<Vec<u8>>> {
    let mut back = vec![0; DATAGRAM_BYTES];
    loop {
        let Ok(come) = tokio::time::timeout(LOST_AFTER, socket.readable()).await else {
            return Ok(None);
        };
        come?;
        match socket.try_recv_from(&mut back) {
            Ok((received, _)) => {
                back.truncate(received);
                return Ok(Some(back));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn lost() -> Ending {
    Ending::Failed("a datagram was lost".to_owned())
}

/// Sends all, one right behind the other, and waits until they have come back, in whatever order.
async fn all_at_once<N: Ground>(
    progress: &Progress<N>,
    request: &Request,
    socket: &impl Datagrams,
    pattern: Pattern,
) -> io::Result<Ending> {
    let (mut at, mut out) = (0, Vec::new());
    for length in request.datagrams() {
        let mut datagram = vec![0; length];
        pattern.fill(at, &mut datagram);
        send(socket, &datagram).await?;
        progress.sent(length as u64);
        at += length as u64;
        out.push(datagram);
        tokio::time::sleep(BETWEEN).await;
    }
    while !out.is_empty() {
        let Some(back) = receive(socket).await? else { return Ok(lost()) };
        progress.answered();
        progress.received(back.len() as u64);
        match out.iter().position(|datagram| *datagram == back) {
            Some(which) => drop(out.remove(which)),
            None => return Ok(Ending::Corrupt("a datagram that was not sent".to_owned())),
        }
    }
    Ok(Ending::Whole)
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
    if request.pipelined {
        return all_at_once(progress, request, &socket, pattern).await;
    }
    let mut at = 0;
    for length in request.datagrams() {
        let mut datagram = vec![0; length];
        pattern.fill(at, &mut datagram);
        send(&socket, &datagram).await?;
        progress.sent(length as u64);
        let Some(back) = receive(&socket).await? else { return Ok(lost()) };
        progress.answered();
        progress.received(back.len() as u64);
        if back != datagram {
            return Ok(Ending::Corrupt(format!("the datagram at byte {at}")));
        }
        at += length as u64;
        if request.abort_after.is_some_and(|enough| at >= enough.0) {
            return Ok(Ending::Left);
        }
    }
    Ok(Ending::Whole)
}
