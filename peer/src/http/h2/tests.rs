//! Connections of HTTP/2, frame by frame.

use proptest::prelude::*;
use proptest::sample::Index;

use super::frame::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITY, PUSH_PROMISE, SETTINGS,
    frame,
};
use super::*;
use crate::http::exchange::now;
use crate::http::{Admission, Conversation, Flaw, H2Flaw, Stop};
use crate::limits::{H2_TABLE_BYTES, HEAD_BYTES};
use crate::names::Name;

const DATA: u8 = 0;

fn app() -> Name {
    Name::requested("app.example").unwrap()
}

/// A field, literal and not kept.
fn field(name: &str, value: &str) -> Vec<u8> {
    let [name_length, value_length] = [name, value].map(|text| u8::try_from(text.len()).unwrap());
    assert!(name_length < 127 && value_length < 127);
    [&[0, name_length], name.as_bytes(), &[value_length], value.as_bytes()].concat()
}

/// `GET /` for this authority.
fn block(authority: &str) -> Vec<u8> {
    [&[0x82, 0x84, 0x86][..], &field(":authority", authority)].concat()
}

fn request(stream: u32, authority: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(authority))
}

fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])].concat()
}

/// How much of `frames`, sent behind the opening, goes on, and what becomes of the rest.
fn goes_on(frames: &[u8]) -> (usize, Admission) {
    let opening = opening();
    let (all, then) = admitted(&[&opening, frames].concat(), &[], false);
    (all.len() - opening.len(), then)
}

/// What goes on of bytes that come in pieces, cut there, and what becomes of the rest.
fn admitted(bytes: &[u8], cuts: &[usize], was_greeted: bool) -> (Vec<u8>, Admission) {
    let mut conversation = Conversation::http2(app(), was_greeted, now());
    let (mut at, mut gone, mut then) = (0, Vec::new(), Admission::More);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        while at < end {
            then = conversation.admit_request(&bytes[at..end]);
            match then {
                Admission::Pass(count) => {
                    let count = count.min((end - at) as u64);
                    conversation.passed_request(count);
                    gone.extend_from_slice(&bytes[at..at + count as usize]);
                    at += count as usize;
                    then = Admission::More;
                }
                Admission::Skip(count) => at += count,
                _ => break,
            }
        }
    }
    (gone, then)
}

fn refused(flaw: H2Flaw) -> Admission {
    Admission::Stop(Stop::Flawed(Flaw::Http2(flaw)))
}

#[test]
fn requests_for_one_name_go_on() {
    let ping = frame(6, 0, 0, &[0; 8]);
    let padded = [&[3][..], &[0, 0, 0, 0, 9], &block("APP.example.:80"), &[0; 3]].concat();
    let block = block("app.example");
    let frames = [
        request(1, "app.example"),
        ping,
        frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 3, &padded),
        frame(DATA, 0, 3, b"body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &field("grpc-status", "0")),
        frame(HEADERS, END_STREAM, 5, &block[..4]),
        frame(CONTINUATION, 0, 5, &[]),
        frame(CONTINUATION, END_HEADERS, 5, &block[4..]),
        frame(
            HEADERS,
            END_HEADERS,
            7,
            &[&[0x82, 0x84, 0x86][..], &field("host", "app.example")].concat(),
        ),
    ]
    .concat();
    assert_eq!(goes_on(&frames), (frames.len(), Admission::More));
}

#[test]
fn a_table_is_kept_from_block_to_block() {
    // `:authority` is kept, and then meant by its index alone.
    let kept = [&[0x82, 0x84, 0x86, 0x41, 11][..], b"app.example"].concat();
    let again = [0x82, 0x84, 0x86, 0xbe];
    let first = frame(HEADERS, END_HEADERS, 1, &kept);
    let second = frame(HEADERS, END_HEADERS, 3, &again);
    let both = [&first[..], &second].concat();
    assert_eq!(goes_on(&both), (both.len(), Admission::More));
    let other = [&[0x82, 0x84, 0x86, 0x41, 13][..], b"other.example"].concat();
    let trailers = [&[0x40, 1][..], b"x", &[1], b"y"].concat();
    let between = [first.clone(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)].concat();
    // The index now means the trailer's field: this request is for nobody.
    let frames = [&between[..], &second].concat();
    assert_eq!(goes_on(&frames), (between.len(), refused(H2Flaw::Protocol)));
    let frames = [&first[..], &frame(HEADERS, END_HEADERS, 3, &other)].concat();
    assert_eq!(goes_on(&frames), (first.len(), refused(H2Flaw::OtherName)));
}

#[test]
fn what_is_for_another_name_or_for_nobody_does_not_go_on() {
    let get = [0x82, 0x84, 0x86];
    let with = |fields: &[(&str, &str)]| {
        let fields: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        frame(HEADERS, END_HEADERS, 3, &[&get[..], &fields].concat())
    };
    let unsound = [
        with(&[]),
        with(&[(":authority", "a b")]),
        with(&[(":authority", "user@app.example")]),
        with(&[(":authority", "app.example"), (":authority", "app.example")]),
        with(&[("host", "app.example"), ("host", "app.example")]),
        with(&[(":authority", "app.example"), ("host", "other.example")]),
        with(&[("accept", "x"), (":authority", "app.example")]),
        with(&[(":authority", "app.example"), ("HOST", "other.example")]),
        with(&[(":authority", "app.example"), (":host", "other.example")]),
        with(&[(":authority", "app.example"), (":path", "http://other.example/")]),
        // On a stream that a server opens, and on none.
        request(2, "app.example"),
        request(0, "app.example"),
        // No trailers.
        request(1, "app.example"),
        frame(HEADERS, END_HEADERS, 1, &field("a", "b")),
        frame(PUSH_PROMISE, END_HEADERS, 1, &block("app.example")),
        frame(CONTINUATION, END_HEADERS, 1, &block("app.example")),
        [frame(HEADERS, 0, 3, &get), frame(DATA, 0, 1, b"")].concat(),
        [frame(HEADERS, 0, 3, &get), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(),
        // More padding than there is.
        frame(HEADERS, END_HEADERS | PADDED, 3, &[200, 0x82]),
    ];
    let first = request(1, "app.example");
    for frames in unsound {
        let all = [&first[..], &frames, &request(5, "app.example")].concat();
        let expected = (first.len(), refused(H2Flaw::Protocol));
        assert_eq!(goes_on(&all), expected, "{}", frames.escape_ascii());
    }
    let all = [first.clone(), request(3, "other.example")].concat();
    assert_eq!(goes_on(&all), (first.len(), refused(H2Flaw::OtherName)));
    let short = frame(HEADERS, END_HEADERS | PRIORITY, 3, &[0; 4]);
    assert_eq!(goes_on(&short), (0, refused(H2Flaw::FrameSize)));
}

#[test]
fn a_connection_begins_with_its_preface_and_settings() {
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx"[..],
        &[PREFACE, &request(1, "app.example")].concat(),
        &[PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat(),
    ] {
        let (_, then) = admitted(bytes, &[], false);
        assert_eq!(then, refused(H2Flaw::Protocol));
    }
}

#[test]
fn no_header_block_is_held_beyond_its_limit() {
    let mut long = request(1, "app.example");
    long[..3].copy_from_slice(&[0, 0x40, 0]);
    assert_eq!(goes_on(&long[..9]), (0, refused(H2Flaw::TooLarge)));
    let mut flood = frame(HEADERS, 0, 1, &[]);
    while flood.len() < HEAD_BYTES {
        flood.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    assert_eq!(goes_on(&flood), (0, refused(H2Flaw::TooLarge)));
    let size = |bytes: usize| {
        let rest = bytes - 31;
        let size =
            [0x3f, 0x80 | (rest & 0x7f) as u8, 0x80 | (rest >> 7 & 0x7f) as u8, (rest >> 14) as u8];
        frame(HEADERS, END_HEADERS, 1, &[&size[..], &block("app.example")].concat())
    };
    assert_eq!(goes_on(&size(H2_TABLE_BYTES)).1, Admission::More);
    assert_eq!(goes_on(&size(H2_TABLE_BYTES + 1)), (0, refused(H2Flaw::Compression)));
}

#[test]
fn a_large_frame_passes_before_it_has_come() {
    let bytes = [&opening()[..], &request(1, "app.example"), &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]]
        .concat();
    let mut conversation = Conversation::http2(app(), false, now());
    let Admission::Pass(count) = conversation.admit_request(&bytes) else { panic!("held") };
    assert_eq!(count, bytes.len() as u64 + 0xff_ffff);
    conversation.passed_request(bytes.len() as u64);
    assert_eq!(conversation.admit_request(&[]), Admission::Pass(0xff_ffff));
}

#[test]
fn the_answer_to_our_own_greeting_is_kept_from_the_backend() {
    let ack = frame(SETTINGS, ACK, 0, &[]);
    let (opening, request) = (opening(), request(1, "app.example"));
    let bytes = [&opening[..], &ack, &request, &ack].concat();
    let (gone, _) = admitted(&bytes, &[], true);
    assert_eq!(gone, [&opening[..], &request, &ack].concat());
    let (gone, _) = admitted(&bytes, &[], false);
    assert_eq!(gone, bytes);
}

/// Frames of all kinds, most of them sound.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![9 => Just("app.example"), 1 => Just("other.example")];
    let request = (0..6_u32, name, 0..3_usize).prop_map(|(stream, name, parts)| {
        let (stream, block) = (stream * 2 + 1, block(name));
        match parts {
            0 => frame(HEADERS, END_HEADERS, stream, &block),
            parts => [
                frame(HEADERS, 0, stream, &block[..parts * 5]),
                frame(CONTINUATION, END_HEADERS, stream, &block[parts * 5..]),
            ]
            .concat(),
        }
    });
    let trailers = (0..6_u32).prop_map(|stream| {
        frame(HEADERS, END_HEADERS | END_STREAM, stream * 2 + 1, &field("a", "b"))
    });
    let data =
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| frame(DATA, 0, 1, &bytes));
    let other = (4..12_u8, any::<u8>(), prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(kind, flags, bytes)| frame(kind, flags, 0, &bytes));
    let ack = Just(frame(SETTINGS, ACK, 0, &[]));
    let one = prop_oneof![4 => request, 1 => trailers, 2 => data, 1 => other, 1 => ack];
    prop::collection::vec(one, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_cut_lets_the_same_bytes_pass(
        frames in frames(),
        change in prop::option::of(any::<(Index, u8)>()),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        was_greeted: bool,
    ) {
        let mut bytes = [opening(), frames].concat();
        if let Some((at, byte)) = change {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = admitted(&bytes, &[], was_greeted);
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&admitted(&bytes, &each, was_greeted), &whole);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&admitted(&bytes, &cuts, was_greeted), &whole);
    }
}
