//! Classifies one connection, however its bytes are split.

use super::opening::Opening;
use super::verdict::Verdict;
use super::{http, http2, tls};

/// Classifies one connection. Remembers how far it has read, so that a head in
/// one-byte writes costs no more than any other.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    stage: Stage,
}

#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Opening,
    Http(http::Head),
    Http2(Box<http2::Frames>),
    Tls(tls::Hello),
}

impl Classifier {
    /// The verdict, once `bytes` hold enough for one; `None` asks for more.
    /// `bytes` are all the bytes of the connection so far: what an earlier call
    /// was given, and what was read since. Certain within [`MOST_BYTES`]; a
    /// verdict once given is given again for every longer input.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        if let Stage::Opening = self.stage {
            self.stage = match opening(bytes)? {
                Opening::Tls => Stage::Tls(tls::Hello::default()),
                Opening::Http(start) => Stage::Http(http::Head::starting_at(start)),
                Opening::Http2 => Stage::Http2(Box::default()),
                Opening::Peer => return Some(Verdict::Peer),
                Opening::Refused(refusal) => return Some(Verdict::Refused(refusal)),
            };
        }
        match &mut self.stage {
            Stage::Opening => None,
            Stage::Http(head) => head.advance(bytes),
            Stage::Http2(frames) => frames.advance(bytes),
            Stage::Tls(hello) => hello.advance(bytes),
        }
    }

    /// Whether what was read so far is from a client of HTTP/2 that may be waiting for the
    /// server's SETTINGS (RFC 9113 §3.4).
    pub fn may_await_settings(&self) -> bool {
        matches!(&self.stage, Stage::Http2(frames) if frames.may_await_settings())
    }
}

/// The verdict on the first `bytes` of a connection; `None` when more are needed.
/// Equivalent to one [`Classifier::advance`].
pub fn classify(bytes: &[u8]) -> Option<Verdict> {
    Classifier::default().advance(bytes)
}

fn opening(bytes: &[u8]) -> Option<Opening> {
    match *bytes.first()? {
        tls::HANDSHAKE_RECORD => Some(Opening::Tls),
        0x80.. => tls::sslv2_opening(bytes),
        _ => http::opening(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::tls::fixture;
    use super::*;
    use crate::classify::{MOST_BYTES, PEER_ALPN};
    use crate::limits::HEAD_BYTES;

    /// The preface of HTTP/2, and SETTINGS.
    const H2_OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// The same, and a request.
    const H2_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x08\x01\x04\0\0\0\x01\x82\x84\x86\x41\x03app";

    /// What [`classify`] says of `bytes` given to one classifier piece by piece.
    fn piece_by_piece(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Option<Verdict> {
        let mut classifier = Classifier::default();
        let mut verdict = None;
        for end in ends.chain([bytes.len()]) {
            let next = classifier.advance(&bytes[..end]);
            assert!(verdict.is_none() || verdict == next, "{verdict:?} became {next:?}");
            assert_eq!(next, classify(&bytes[..end]), "at {end}");
            verdict = next;
        }
        verdict
    }

    fn check_every_split(bytes: &[u8], cuts: &[Index]) -> Result<(), TestCaseError> {
        let whole = classify(bytes);
        // Byte by byte at both ends; one-shot verdicts on every prefix in
        // between would make a long input slow.
        let each = (0..=bytes.len()).filter(|&end| end < 300 || end + 300 > bytes.len());
        prop_assert_eq!(piece_by_piece(bytes, each), whole.clone());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(piece_by_piece(bytes, cuts.into_iter()), whole.clone());
        let mut classifier = Classifier::default();
        let last = (0..=bytes.len()).fold(None, |_, end| classifier.advance(&bytes[..end]));
        prop_assert_eq!(last, whole);
        Ok(())
    }

    fn cuts() -> impl Strategy<Value = Vec<Index>> {
        prop::collection::vec(any::<Index>(), 0..8)
    }

    /// Heads, most of them good.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let request = prop_oneof![
            "(GET|HEAD|PUT|REPORT|DATA|HELLO|PRI|[A-Z]{1,9}) (/|/a\\?b|\\*|http://app(:80)?/x)",
            "CONNECT (app|App\\.|other):(443|0|x)?",
        ];
        let fields = prop::collection::vec("(Accept: a|X:|x-y: \t[ -~]{0,9}| fold|bad)", 0..4);
        let host = "(Host: ?(app|APP\\.:80|other|a b)){1}";
        let start = "(\r\n)?";
        let version = "HTTP/(1\\.1|1\\.1|1\\.0|2\\.0)";
        let hosts = prop::collection::vec(host, 0..3);
        (start, request, version, hosts, fields, "(\r\n|\n)").prop_map(
            |(start, request, version, hosts, fields, end)| {
                let lines = [hosts, fields].concat();
                let lines: String = lines.iter().map(|line| format!("{line}{end}")).collect();
                format!("{start}{request} {version}{end}{lines}{end}").into_bytes()
            },
        )
    }

    fn extension() -> impl Strategy<Value = fixture::Extension> {
        let anything = prop::collection::vec(any::<u8>(), 0..40);
        let grease = (0..16_u16).prop_map(|n| n << 12 | 0x0a00 | n << 4 | 0x0a);
        prop_oneof![
            3 => "[a-zA-Z0-9.-]{0,20}".prop_map(|name| fixture::sni(&name)),
            1 => Just(fixture::alpn(&[b"h2", b"http/1.1"])),
            1 => Just(fixture::alpn(&[b"h2", PEER_ALPN])),
            2 => (grease, anything.clone()),
            2 => (1..60_u16, anything.clone()),
            1 => (any::<u16>(), anything),
            1 => (Just(51), prop::collection::vec(any::<u8>(), 1_000..1_300)),
        ]
    }

    /// ClientHellos in records of any sizes.
    fn hellos() -> impl Strategy<Value = Vec<u8>> {
        let extensions = prop::collection::vec(extension(), 0..6);
        let sizes = prop::collection::vec(prop_oneof![1..20_usize, 20..2_000_usize], 1..5);
        (extensions, sizes)
            .prop_map(|(list, sizes)| fixture::records(&fixture::hello(&list), &sizes))
    }

    fn mutate(bytes: &mut Vec<u8>, changes: &[(Index, u8, u8)]) {
        for &(at, byte, kind) in changes {
            let at = at.index(bytes.len() + 1);
            match kind % 3 {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
        prop::collection::vec(any::<(Index, u8, u8)>(), 0..4)
    }

    proptest! {
        #[test]
        fn every_split_of_a_head_gives_the_same_verdict(
            mut bytes in heads(),
            changes in changes(),
            body in prop::collection::vec(any::<u8>(), 0..9),
            cuts in cuts(),
        ) {
            mutate(&mut bytes, &changes);
            bytes.extend(body);
            check_every_split(&bytes, &cuts)?;
        }

        #[test]
        fn every_split_of_a_hello_gives_the_same_verdict(
            mut bytes in hellos(),
            changes in changes(),
            rest in prop::collection::vec(any::<u8>(), 0..9),
            cuts in cuts(),
        ) {
            mutate(&mut bytes, &changes);
            bytes.extend(rest);
            check_every_split(&bytes, &cuts)?;
        }

        #[test]
        fn every_split_of_any_bytes_gives_the_same_verdict(
            start in prop::sample::select(vec![
                &b""[..], b"\x16", b"\x16\x03\x01", b"\x80\x2e\x01", b"HELLO", b"GET ", b"PRI * ",
                H2_OPENING, H2_REQUEST,
                b"\r\n",
            ]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
            cuts in cuts(),
        ) {
            check_every_split(&[start, &rest].concat(), &cuts)?;
        }

        #[test]
        fn a_hello_routes_the_same_in_any_records(
            list in prop::collection::vec(extension(), 0..6),
            sizes in prop::collection::vec(1..3_000_usize, 1..5),
        ) {
            let hello = fixture::hello(&list);
            let records = fixture::records(&hello, &sizes);
            prop_assume!(records.len() <= MOST_BYTES && hello.len() <= HEAD_BYTES);
            prop_assert_eq!(classify(&records), classify(&fixture::one_record(&list)));
        }

        #[test]
        fn most_bytes_are_enough_for_any_verdict(
            start in prop_oneof![heads(), hellos(), Just(b"GET /".to_vec()), Just(vec![22, 3, 1])],
            fill in prop::sample::select(vec![&b"x"[..], b"\r\n", b"\x16\x03\x01\x00\x01\x01"]),
        ) {
            let fill = fill.iter().cycle().copied();
            let bytes: Vec<u8> = start.into_iter().chain(fill).take(MOST_BYTES).collect();
            prop_assert!(classify(&bytes).is_some());
        }
    }
}
