//! The first bytes of a public connection: `peer/src/classify.rs` and below.

use ops_proxy::classify::proxy_protocol::{self, Progress};
use ops_proxy::classify::{self, Classifier, MOST_BYTES, Verdict};
use ops_proxy::limits::HEAD_BYTES;
use ops_proxy::names::Name;

use crate::splits::splits;

/// One-shot verdicts are asked of every prefix up to this length: their cost
/// grows with the square of it.
const EVERY_PREFIX_BYTES: usize = 256;

/// `data` is what a client sends. Every split gives the verdict of one shot, a
/// verdict once given stays, and so for a PROXY protocol header before it.
pub fn classify(data: &[u8]) {
    assert_verdict(data);
    if let Some(consumed) = assert_header(data) {
        assert_verdict(&data[consumed..]);
    }
}

/// The one-shot verdict on `data`, after everything about it was checked.
pub(crate) fn assert_verdict(data: &[u8]) -> Option<Verdict> {
    let whole = classify::classify(data);
    for ends in splits(data) {
        let mut classifier = Classifier::default();
        let mut known = None;
        for end in ends {
            let verdict = classifier.advance(&data[..end]);
            assert!(known.is_none() || known == verdict, "{known:?} became {verdict:?} at {end}");
            if end <= EVERY_PREFIX_BYTES {
                assert_eq!(verdict, classify::classify(&data[..end]), "at {end}");
            }
            known = verdict;
        }
        assert_eq!(known, whole);
    }
    assert!(whole.is_some() || data.len() < MOST_BYTES, "not certain with all that is held");
    match &whole {
        Some(Verdict::Tls { name }) => assert_normal(name),
        Some(Verdict::Http { name, .. } | Verdict::Http2 { name, .. }) => assert_normal(name),
        Some(Verdict::Connect { name, consumed }) => {
            assert_normal(name);
            assert!(*consumed <= HEAD_BYTES && data[..*consumed].ends_with(b"\n"));
            assert_eq!(classify::classify(&data[..*consumed]), whole);
            assert_eq!(classify::classify(&data[..*consumed - 1]), None);
        }
        Some(Verdict::PeerTls | Verdict::Peer | Verdict::Refused(_)) | None => {}
    }
    whole
}

/// A verdict names what could be asked for, in its one form.
fn assert_normal(name: &Name) {
    assert_eq!(Name::requested(name.as_str()).as_ref(), Ok(name));
    assert!(!name.as_str().contains('*'));
}

/// The length of the PROXY protocol header that `data` begins with, if any.
fn assert_header(data: &[u8]) -> Option<usize> {
    let whole = proxy_protocol::parse(data);
    let looks = proxy_protocol::looks_like_header(data);
    let (mut known, mut known_looks) = (Progress::More, None);
    for end in (0..=data.len()).filter(|end| end % 64 == 0 || *end <= EVERY_PREFIX_BYTES) {
        let (progress, looks) =
            (proxy_protocol::parse(&data[..end]), proxy_protocol::looks_like_header(&data[..end]));
        assert!(known == Progress::More || known == progress, "{known:?} then {progress:?}");
        assert!(known_looks.is_none() || known_looks == looks, "{known_looks:?} then {looks:?}");
        (known, known_looks) = (progress, looks);
    }
    assert!(whole != Progress::More || data.len() < HEAD_BYTES);
    match (looks, whole) {
        (None, progress) => assert_eq!(progress, Progress::More),
        (Some(false), progress) => assert_eq!(progress, Progress::Invalid),
        (Some(true), _) => {}
    }
    let Progress::Header { consumed, .. } = whole else { return None };
    assert_eq!(proxy_protocol::parse(&data[..consumed]), whole);
    assert_eq!(proxy_protocol::parse(&data[..consumed - 1]), Progress::More);
    Some(consumed)
}
