//! Datagrams both ways, until nobody has sent any for long enough.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::end::DatagramEnd;
use crate::limits::{STRETCH_END, UDP_LEAVING_IDLE};
use crate::stream::relay::{Meter, RelayError, Vigil};
use crate::wire::datagrams::Ended;

/// How a request over UDP ended without a failure of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramsOver {
    /// Why.
    pub why: Ended,
    /// Both ends have said so, so that the DATA connection can carry another request.
    pub is_agreed: bool,
}

/// Carries datagrams both ways until none has come for `idle`, or one end says that no more
/// follow. Once `leaving` is over, [`UDP_LEAVING_IDLE`] is long enough.
///
/// # Errors
/// The end that failed. A DATA connection must then be aborted.
pub async fn relay_datagrams<P: DatagramEnd, B: DatagramEnd, M: Meter>(
    public: &P,
    backend: &B,
    meter: &M,
    idle: Duration,
    leaving: impl Future<Output = ()>,
) -> Result<DatagramsOver, RelayError> {
    let session = Session::begin();
    let sent = session.carry(public, backend, |bytes| meter.sent(bytes), meter);
    let sent = async {
        sent.await.map_err(|error| error.between(RelayError::Public, RelayError::Backend))
    };
    let received = session.carry(backend, public, |bytes| meter.received(bytes), meter);
    let received = async {
        received.await.map_err(|error| error.between(RelayError::Backend, RelayError::Public))
    };
    let over = async {
        let both = async { tokio::try_join!(sent, received) };
        tokio::select! {
            biased;
            ended = both => ended.map(|_| true),
            () = session.last_word(idle, leaving) => match session.giving.load(Relaxed) {
                0 => Ok(false),
                // Bytes are stuck, and nobody knows how many have arrived.
                _ => Err(RelayError::Backend(io::ErrorKind::TimedOut.into())),
            },
        }
    };
    let (mut over, mut vigil) = (pin!(over), Vigil::default());
    let is_agreed = poll_fn(|cx| {
        if let Poll::Ready(over) = over.as_mut().poll(cx) {
            return Poll::Ready(over);
        }
        let written = session.written.swap(false, Relaxed);
        let outstanding = || [public.unacknowledged(), backend.unacknowledged()];
        match vigil.poll(cx, written, outstanding) {
            Ok(()) => Poll::Pending,
            Err(vanished) => Poll::Ready(Err(vanished)),
        }
    });
    let is_agreed = is_agreed.await?;
    let why = session.over.borrow().unwrap_or(Ended::Quiet);
    Ok(DatagramsOver { why, is_agreed })
}

/// What the two directions know of each other.
struct Session {
    /// When a datagram was last carried on, either way.
    last: Mutex<Instant>,
    /// Directions that are giving just now.
    giving: AtomicUsize,
    /// Something was written since this was last looked at.
    written: AtomicBool,
    /// That no more datagrams are to be carried, and why.
    over: watch::Sender<Option<Ended>>,
}

/// One end of a direction failed.
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Broken {
    fn between(
        self,
        reader: fn(io::Error) -> RelayError,
        writer: fn(io::Error) -> RelayError,
    ) -> RelayError {
        match self {
            Self::Reading(error) => reader(error),
            Self::Writing(error) => writer(error),
        }
    }
}

impl Session {
    fn begin() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            giving: AtomicUsize::new(0),
            written: AtomicBool::new(false),
            over: watch::Sender::new(None),
        }
    }

    /// The first reason stands.
    fn end(&self, why: Ended) {
        self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert(why);
            is_first
        });
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries one direction to its end, and tells `to` of it.
    async fn carry<F: DatagramEnd, T: DatagramEnd, M: Meter>(
        &self,
        from: &F,
        to: &T,
        count: impl Fn(usize),
        meter: &M,
    ) -> Result<(), Broken> {
        let mut watcher = self.over.subscribe();
        let mut over = pin!(watcher.wait_for(Option::is_some));
        let mut is_refused = false;
        loop {
            let mut datagrams = BytesMut::new();
            let ended = tokio::select! {
                biased;
                _ = &mut over, if !F::SAYS_ITS_END => break,
                ended = from.take(&mut datagrams) => ended.map_err(Broken::Reading)?,
            };
            if let Some(why) = ended {
                self.end(why);
                break;
            }
            if is_refused {
                continue;
            }
            self.giving.fetch_add(1, Relaxed);
            let given = to.give(&datagrams).await;
            self.giving.fetch_sub(1, Relaxed);
            match given {
                Ok(given) => {
                    count(given.bytes);
                    meter.lost(given.lost);
                    self.written.store(true, Relaxed);
                    *self.last() = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.end(Ended::Refused);
                    is_refused = true;
                }
                Err(error) => return Err(Broken::Writing(error)),
            }
        }
        let why = self.over.borrow().unwrap_or(Ended::Quiet);
        to.end(why).await.map_err(Broken::Writing)
    }

    /// Ends both directions when they are idle, and returns when they had time to end, however
    /// it came about.
    async fn last_word(&self, mut idle: Duration, leaving: impl Future<Output = ()>) {
        let mut watcher = self.over.subscribe();
        let mut over = pin!(watcher.wait_for(Option::is_some));
        let (mut leaving, mut is_leaving) = (pin!(leaving), false);
        loop {
            let until = *self.last() + idle;
            tokio::select! {
                biased;
                _ = &mut over => break,
                () = &mut leaving, if !is_leaving => {
                    is_leaving = true;
                    idle = idle.min(UDP_LEAVING_IDLE);
                }
                () = sleep_until(until) => {
                    if *self.last() + idle <= Instant::now() {
                        self.end(Ended::Quiet);
                        break;
                    }
                }
            }
        }
        sleep(STRETCH_END).await;
    }
}
