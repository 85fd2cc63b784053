use std::net::SocketAddr;

use super::*;
use crate::limits::TROUBLES_KEPT;
use crate::observe::journal::record::{Kind, ServedBy};
use crate::offer::Way;

fn id(number: usize) -> ProxyId {
    ProxyId::from_random((number as u128).to_be_bytes())
}

fn client() -> SocketAddr {
    "192.0.2.1:4711".parse().unwrap()
}

fn known(number: usize) -> Known {
    Known {
        kind: Kind::Routed,
        id: id(number),
        client: client(),
        name: "app".parse().unwrap(),
        way: Way::Http,
        by: ServedBy::Local,
        asked_by: None,
        span: None,
    }
}

fn refusal(name: &str) -> Refusal {
    let name = name.parse().unwrap();
    Refusal { client: client(), name, way: Way::Http, reason: "no_client" }
}

#[tokio::test]
async fn a_request_is_found_while_it_runs_and_after_its_end() {
    let journal = Arc::new(Journal::default());
    let running = journal.begin(known(1));
    running.add_sent(3);
    assert_eq!(journal.running_count(), 1);
    assert_eq!(journal.find(id(1))[0].end(), None);
    running.tried_again(id(2), ServedBy::Upstream);
    running.end(None);
    drop(running);
    assert_eq!(journal.running_count(), 0);
    for one in [1, 2] {
        let found = journal.find(id(one));
        assert_eq!((found.len(), found[0].sent(), found[0].id()), (1, 3, id(2)));
        assert!(found[0].end().unwrap().failure.is_none());
    }
    assert!(journal.find(id(3)).is_empty() && journal.troubles().is_empty());
}

#[tokio::test]
async fn a_request_that_is_cut_has_failed_once() {
    let journal = Arc::new(Journal::default());
    drop(journal.begin(known(1)));
    let failed = journal.begin(known(2));
    failed.end(Some(ProxyError::LinkLost.into()));
    failed.end(None);
    drop(failed);
    let reasons: Vec<&str> = journal.troubles().iter().map(|one| one.failure.reason).collect();
    assert_eq!(reasons, ["link_lost", "data_io_error"], "the latest first");
    assert_eq!(journal.ended(10).len(), 2);
}

#[tokio::test]
async fn only_the_last_are_kept() {
    let journal = Arc::new(Journal::default());
    for number in 0..ENDED_KEPT + 1 {
        journal.begin(known(number)).end(Some(ProxyError::DataTimeout.into()));
    }
    assert!(journal.find(id(0)).is_empty());
    assert_eq!(journal.find(id(1)).len(), 1);
    assert_eq!(journal.ended(usize::MAX).len(), ENDED_KEPT);
    let troubles = journal.troubles();
    assert_eq!((troubles.len(), troubles[0].id), (TROUBLES_KEPT, Some(id(ENDED_KEPT))));
}

/// Whoever asks again and again for a name that is down does not push out the rest.
#[tokio::test]
async fn what_is_refused_again_and_again_is_told_once() {
    let journal = Arc::new(Journal::default());
    journal.begin(known(1)).end(Some(ProxyError::DataTimeout.into()));
    for _ in 0..2 * TROUBLES_KEPT {
        journal.refused(refusal("app"));
        journal.refused(refusal("other"));
    }
    let troubles = journal.troubles();
    assert_eq!(troubles.len(), 3);
    assert_eq!((troubles[0].times, troubles[2].id), (2 * TROUBLES_KEPT as u64, Some(id(1))));
}

#[tokio::test]
async fn those_that_run_are_listed_in_pages() {
    let journal = Arc::new(Journal::default());
    let running: Vec<Running> = (0..5).map(|number| journal.begin(known(number))).collect();
    let mut seen = Vec::new();
    let mut place = 0;
    loop {
        let page = journal.running_after(place, 2);
        let Some((last, _)) = page.last() else { break };
        place = *last;
        seen.extend(page.iter().map(|(_, record)| record.id()));
    }
    assert_eq!(seen, (0..5).map(id).collect::<Vec<_>>());
    drop(running);
}
