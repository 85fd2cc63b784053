//! A relay one end of which has vanished: noticed by what it does not acknowledge, and
//! not before.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use ops_proxy::limits::{UNACKNOWLEDGED_LOOK, VANISHED_AFTER};
use ops_proxy::stream::relay::{
    Buffer, Meter, Outstanding, RelayError, Side, Unacknowledged, carry_both,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

struct Uncounted;

impl Meter for Uncounted {
    fn sent(&self, _bytes: usize) {}
    fn received(&self, _bytes: usize) {}
}

/// What the network tells at so much time after the start.
type Tells = fn(Duration) -> Outstanding;

fn silent(since: Duration) -> Option<Unacknowledged> {
    Some(Unacknowledged { silent_for: since, tries: 5 })
}

/// A relay that has carried a byte to the backend, for ten minutes at most: when it was
/// looked at, and how and when it failed.
async fn relay(tells: Tells) -> (Vec<Duration>, Option<(RelayError, Duration)>) {
    let (mut client, public) = duplex(64);
    let (mut backend, inner) = duplex(64);
    let start = Instant::now();
    let looks = RefCell::new(Vec::new());
    let outstanding = |_: &DuplexStream, _: &DuplexStream| {
        looks.borrow_mut().push(start.elapsed());
        tells(start.elapsed())
    };
    let (mut public, mut inner) = (Side::raw(public, Bytes::new()), Side::raw(inner, Bytes::new()));
    let carried =
        carry_both::<Buffer, _, _, _>(&mut public, &mut inner, &Uncounted, Some(outstanding));
    client.write_all(b"?").await.unwrap();
    let carried = async { timeout(Duration::from_secs(600), carried).await.ok() };
    let (carried, ()) = tokio::join!(carried, async {
        let mut byte = [0];
        backend.read_exact(&mut byte).await.unwrap();
    });
    let failed = carried.map(|carried| (carried.unwrap_err(), start.elapsed()));
    (looks.into_inner(), failed)
}

#[tokio::test(start_paused = true)]
async fn an_end_that_acknowledges_nothing_breaks_the_relay_in_time_and_is_named() {
    let at_public: Tells = |since| [silent(since), None];
    let at_backend: Tells = |since| [None, silent(since)];
    let (_, failed) = relay(at_public).await;
    let (error, after) = failed.unwrap();
    assert!(matches!(error, RelayError::Public(_)), "{error}");
    assert!((VANISHED_AFTER..Duration::from_secs(90)).contains(&after), "{after:?}");
    let (_, failed) = relay(at_backend).await;
    assert!(matches!(failed.unwrap().0, RelayError::Backend(_)));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_answers_probes_is_waited_for() {
    let pauses: Tells = |_| [Some(Unacknowledged { silent_for: VANISHED_AFTER * 2, tries: 0 }); 2];
    let (looks, failed) = relay(pauses).await;
    assert!(failed.is_none());
    assert!(looks.len() >= 39, "it is looked at all the time: {looks:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_once_all_has_arrived() {
    let arrived: Tells = |_| [None; 2];
    let (looks, failed) = relay(arrived).await;
    assert!(failed.is_none());
    assert_eq!(looks.len(), 1, "{looks:?}");
    assert!(looks[0] >= UNACKNOWLEDGED_LOOK);
}
