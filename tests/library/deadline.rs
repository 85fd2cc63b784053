//! DATA connections that come when their deadline does: matched or timed out,
//! never both and never neither.

use std::borrow::Cow;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ops_proxy::config::PeerConfig;
use ops_proxy::forward::{Asked, Forwarded, NotForwarded, forward};
use ops_proxy::mesh::links::Opened;
use ops_proxy::mesh::waiting::{Forward, ForwardError};
use ops_proxy::names::Name;
use ops_proxy::observe::metrics::{Counts, Protocol, ProxyError};
use ops_proxy::observe::sinks::Sinks;
use ops_proxy::offer::Way;
use ops_proxy::shared::Shared;
use ops_proxy::stream::net::tokio::TokioNet;
use ops_proxy::stream::net::{Listener, Net};
use ops_proxy::stream::relay::Side;
use ops_proxy::stream::transport::Transport;
use ops_proxy::trust::{Identity, Permission, Principal};
use ops_proxy::workers::Workers;
use ops_proxy_tests::wait::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

const RUNS: u64 = 10_000;
const NAME: &str = "app.example";
const PROVIDER: Principal = Principal {
    identity: Identity::Plaintext(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    permission: Permission::Any,
};
const MILLISECOND: Duration = Duration::from_millis(1);

/// A network of pipes that the test lays by hand: nothing can be dialled.
#[derive(Debug, Clone, Default)]
struct ByHand {
    ids: Arc<AtomicU64>,
}

impl Net for ByHand {
    type Listener = Nobody;
    type Stream = DuplexStream;
    type Datagrams = <TokioNet as Net>::Datagrams;

    async fn bind(&self, _: SocketAddr) -> io::Result<Nobody> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn bind_udp(&self, _: SocketAddr) -> io::Result<Self::Datagrams> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect_udp(&self, _: SocketAddr) -> io::Result<Self::Datagrams> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_addr(&self, _: &DuplexStream) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn peer_addr(&self, _: &DuplexStream) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn reset(&self, _: &mut DuplexStream) {
        pending().await
    }

    fn abort(&self, _: DuplexStream) {}

    fn fill_random(&self, bytes: &mut [u8]) {
        let next = self.ids.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(next).for_each(|(byte, random)| *byte = random);
    }

    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }

    fn read_file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A listener that no bind returns.
#[derive(Debug)]
enum Nobody {}

impl Listener for Nobody {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match *self {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {}
    }
}

/// A listening peer with one provider of [`NAME`], whose FORWARD lines come to
/// the test.
struct Rig {
    shared: Arc<Shared<ByHand>>,
    forwards: mpsc::Receiver<Forward>,
}

/// What the two sides of one run saw.
struct Seen {
    claimed: bool,
    matched: bool,
}

impl Rig {
    fn new(data_timeout: Duration) -> Self {
        let mut config = PeerConfig::new("edge".parse().unwrap());
        config.timing.data_timeout = data_timeout;
        let shared = Arc::new(
            Shared::new(config, ByHand::default(), Sinks::default(), Workers::default()).unwrap(),
        );
        let opened = shared.mesh.open_link("site".parse().unwrap(), PROVIDER);
        let Opened { id: link, forwards, .. } = opened;
        shared.mesh.register(link, &[name().into()]).unwrap();
        Self { shared, forwards }
    }

    /// One request, whose DATA connection comes when `arrival`, given the
    /// deadline, is over.
    async fn run(&mut self, arrival: impl AsyncFnOnce(Instant)) -> Seen {
        let shared = self.shared.clone();
        let request = tokio::spawn(async move {
            let source = SocketAddr::from(([192, 0, 2, 1], 5000));
            let asked = Asked {
                id: None,
                deadline: None,
                name: &name(),
                way: Way::Tcp,
                protocol: Protocol::Tcp,
                source,
                dest: None,
                tls: None,
                trace: None,
                head: &|_, _| Cow::Borrowed(b""),
            };
            let stays = pin!(pending());
            let forwarded: Forwarded<ByHand> = match forward(&shared, asked, stays).await {
                Ok(forwarded) => forwarded,
                // On two threads the deadline may even come before the test has
                // said that the FORWARD was written.
                Err(NotForwarded::Failed(ForwardError::Timeout | ForwardError::NotWritten)) => {
                    return false;
                }
                Err(other) => panic!("{other}"),
            };
            let Transport::Plain(mut stream) = forwarded.backend.stream else { unreachable!() };
            stream.write_all(b"through").await.unwrap();
            forwarded.request.succeeded();
            true
        });
        let Forward { id, .. } = self.forwards.recv().await.unwrap();
        self.shared.mesh.forward_written(id);
        arrival(Instant::now() + self.shared.config().timing.data_timeout).await;
        let (near, mut far) = duplex(64);
        let data = Side::raw(Transport::Plain(near), Bytes::new());
        let claimed = self.shared.mesh.claim(id, Some(&PROVIDER), data).is_ok();
        let matched = within("the request's end", request).await.unwrap();
        // What was matched carries bytes; what came too late is closed.
        let mut read = Vec::new();
        within("the DATA connection's end", far.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, if matched { &b"through"[..] } else { b"" });
        Seen { claimed, matched }
    }

    fn counts(&self) -> Counts {
        self.shared.mesh.snapshot().names.into_iter().next().unwrap().counts
    }

    /// All `runs` are accounted for, each once.
    fn assert_each_counted_once(&self, runs: u64, matched: u64) {
        let (counts, snapshot) = (self.counts(), self.shared.mesh.snapshot());
        let errors = |reason: ProxyError| counts.errors[reason as usize];
        assert_eq!(counts.requests_in_all(), (runs, matched, runs - matched));
        assert_eq!(errors(ProxyError::DataTimeout), counts.timed_out);
        let unwritten = errors(ProxyError::ForwardWriteError);
        assert_eq!(matched + counts.timed_out + unwritten, runs);
        assert_eq!((counts.matched, counts.forwards), (matched, runs - unwritten));
        assert_eq!((counts.active, snapshot.pending), (0, 0));
        assert_eq!(snapshot.unexpected, runs - matched);
    }
}

fn name() -> Name {
    NAME.parse().unwrap()
}

/// Each run arrives at a microsecond of its own between one millisecond before
/// the deadline and one after it.
#[tokio::test(start_paused = true)]
async fn data_is_matched_before_its_deadline_and_never_at_it_or_after() {
    let mut rig = Rig::new(Duration::from_secs(1));
    let mut matched = 0;
    for run in 0..RUNS {
        let offset = Duration::from_micros(run % 2001);
        let seen = rig
            .run(async |deadline| {
                // A sleep would round up to the next whole millisecond.
                advance(deadline - MILLISECOND + offset - Instant::now()).await;
            })
            .await;
        assert_eq!(seen.claimed, offset < MILLISECOND, "{offset:?} after a millisecond before");
        assert_eq!(seen.matched, seen.claimed, "{offset:?} after a millisecond before");
        matched += u64::from(seen.matched);
    }
    rig.assert_each_counted_once(RUNS, matched);
    assert_eq!(rig.counts().timed_out, RUNS - matched, "every FORWARD was written");
}

/// So many peers race at the same time, each for its own deadlines: a race takes a millisecond,
/// which is spent waiting.
const RACES: u64 = 8;

/// The clock goes on while the two race on two threads; who wins is chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_for_the_deadline_has_one_winner() {
    let races: JoinSet<()> = (0..RACES).map(race).collect();
    races.join_all().await;
}

/// A share of the runs, one after another.
async fn race(first: u64) {
    let mut rig = Rig::new(MILLISECOND);
    let mut matched = 0;
    for run in (first..RUNS).step_by(RACES as usize) {
        let seen = rig
            .run(async |deadline| {
                let arrival = deadline - MILLISECOND + Duration::from_micros(run * 7 % 2001);
                while Instant::now() < arrival {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        assert_eq!(seen.matched, seen.claimed, "run {run}");
        matched += u64::from(seen.matched);
    }
    rig.assert_each_counted_once(RUNS / RACES, matched);
}
