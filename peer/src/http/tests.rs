use std::cell::RefCell;

use proptest::prelude::*;

use super::exchange::now;
use super::*;
use crate::names::Name;

/// What a conversation makes of bytes that come in these pieces: per direction, what goes
/// on, and what stops it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Heard {
    asked: Vec<u8>,
    answered: Vec<u8>,
    asked_then: Option<Admission>,
    answered_then: Option<Admission>,
    idle: bool,
}

/// One direction as a relay would drive it.
struct Side<'a> {
    bytes: &'a [u8],
    come: usize,
    gone: usize,
}

impl Side<'_> {
    /// Passes on all that may go on; what stops it.
    fn drive(
        &mut self,
        gone: &mut Vec<u8>,
        mut admit: impl FnMut(&[u8]) -> Admission,
        mut passed: impl FnMut(u64),
    ) -> Option<Admission> {
        loop {
            let before = self.gone;
            let then = self.step(gone, &mut admit, &mut passed);
            if self.gone == before {
                return then;
            }
        }
    }

    /// Passes on what is admitted at once.
    fn step(
        &mut self,
        gone: &mut Vec<u8>,
        mut admit: impl FnMut(&[u8]) -> Admission,
        mut passed: impl FnMut(u64),
    ) -> Option<Admission> {
        let held = &self.bytes[self.gone..self.come];
        if held.is_empty() {
            return None;
        }
        let Admission::Pass(count) = admit(held) else { return Some(admit(held)) };
        let count = count.min(held.len() as u64);
        gone.extend_from_slice(&held[..count as usize]);
        passed(count);
        self.gone += count as usize;
        None
    }
}

fn name(text: &str) -> Name {
    Name::requested(text).unwrap()
}

/// The client's bytes come in pieces of these sizes, over and over, and then those of the
/// backend, which answers nothing before it was asked.
fn hear(asked: &[u8], answered: &[u8], sizes: &[usize]) -> Heard {
    let conversation = RefCell::new(Conversation::new(name("app"), now()));
    let mut heard = Heard::default();
    let mut client = Side { bytes: asked, come: 0, gone: 0 };
    let mut backend = Side { bytes: answered, come: 0, gone: 0 };
    let mut sizes = sizes.iter().map(|size| size + 1).chain([usize::MAX]).cycle();
    let ask = |client: &mut Side<'_>, heard: &mut Heard| {
        heard.asked_then = client.drive(
            &mut heard.asked,
            |bytes| conversation.borrow_mut().admit_request(bytes),
            |count| conversation.borrow_mut().passed_request(count),
        );
    };
    while client.come < asked.len() {
        client.come = client.come.saturating_add(sizes.next().unwrap()).min(asked.len());
        ask(&mut client, &mut heard);
    }
    while backend.come < answered.len() {
        backend.come = backend.come.saturating_add(sizes.next().unwrap()).min(answered.len());
        // An answer may be what the next request has waited for.
        loop {
            let before = backend.gone;
            heard.answered_then = backend.step(
                &mut heard.answered,
                |bytes| conversation.borrow_mut().admit_answer(bytes),
                |count| conversation.borrow_mut().passed_answer(count),
            );
            ask(&mut client, &mut heard);
            if backend.gone == before {
                break;
            }
        }
    }
    heard.idle = conversation.borrow().is_idle();
    heard
}

/// The requests of a stretch go on, and what follows stops it like this.
fn assert_stops(asked: &str, goes_on: &str, stop: Stop) {
    let heard = hear(asked.as_bytes(), b"", &[]);
    assert_eq!(String::from_utf8_lossy(&heard.asked), goes_on, "{asked:?}");
    assert_eq!(heard.asked_then, Some(Admission::Stop(stop)), "{asked:?}");
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_for_the_same_name_go_on_however_it_is_written() {
    let asked = [get("app"), get("APP:80"), get("app.")].concat();
    let heard = hear(asked.as_bytes(), OK.repeat(3).as_bytes(), &[]);
    assert_eq!(heard.asked, asked.as_bytes());
    assert_eq!(heard.answered, OK.repeat(3).as_bytes());
    assert!(heard.idle);
}

#[test]
fn another_name_waits_for_the_answers_before_it() {
    let asked = [get("app"), get("app"), get("other")].concat();
    let heard = hear(asked.as_bytes(), OK.as_bytes(), &[]);
    assert_eq!(heard.asked, [get("app"), get("app")].concat().as_bytes());
    assert_eq!(heard.asked_then, Some(Admission::Wait));
    let heard = hear(asked.as_bytes(), OK.repeat(2).as_bytes(), &[]);
    assert_eq!(heard.asked_then, Some(Admission::Stop(Stop::Other)));
    assert!(heard.idle);
}

#[test]
fn a_connect_is_a_stretch_of_its_own() {
    let connect = "CONNECT app:1 HTTP/1.1\r\nHost: app\r\n\r\n";
    assert_stops(connect, "", Stop::Other);
}

#[test]
fn bodies_end_where_their_framing_says() {
    let bodies = [
        "Content-Length: 0\r\n\r\n",
        "Content-Length: 5\r\n\r\nGET /",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: Chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n00005;a=\"b\"\r\nGET /\r\n000\r\nX: y\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let post = format!("POST / HTTP/1.1\r\nHost: app\r\n{body}");
        let heard = hear(post.as_bytes(), b"", &[]);
        assert_eq!(String::from_utf8_lossy(&heard.asked), post);
        assert_eq!(heard.asked_then, None, "{body:?}");
        let asked = post.clone() + &get("other");
        let heard = hear(asked.as_bytes(), OK.as_bytes(), &[]);
        assert_eq!(String::from_utf8_lossy(&heard.asked), post);
        assert_eq!(heard.asked_then, Some(Admission::Stop(Stop::Other)), "{body:?}");
        let answer = format!("HTTP/1.1 200 OK\r\n{body}");
        let heard = hear(get("app").as_bytes(), answer.as_bytes(), &[]);
        assert_eq!(String::from_utf8_lossy(&heard.answered), answer);
        assert!(heard.idle, "{body:?}");
    }
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let head = "HEAD / HTTP/1.1\r\nHost: app\r\n\r\n";
    for (asked, answer) in [
        (head.to_owned(), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        (head.to_owned(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (get("app"), "HTTP/1.1 204 No Content\r\n\r\n"),
        (get("app"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ] {
        let heard = hear(asked.as_bytes(), answer.as_bytes(), &[]);
        assert_eq!(String::from_utf8_lossy(&heard.answered), answer);
        assert!(heard.idle, "{answer}");
    }
}

#[test]
fn an_interim_answer_is_not_the_last() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let asked = [get("app"), get("other")].concat();
    let heard = hear(asked.as_bytes(), interim.as_bytes(), &[]);
    assert_eq!(heard.asked_then, Some(Admission::Wait));
    assert!(!heard.idle);
    let heard = hear(asked.as_bytes(), (interim.to_owned() + OK).as_bytes(), &[]);
    assert_eq!(heard.asked_then, Some(Admission::Stop(Stop::Other)));
}

#[test]
fn after_101_bytes_are_carried_blind_and_not_before() {
    let upgrade =
        "GET / HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let asked = upgrade.to_owned() + "\x00frame";
    let heard = hear(asked.as_bytes(), b"", &[]);
    assert_eq!(heard.asked, upgrade.as_bytes());
    assert_eq!(heard.asked_then, Some(Admission::Wait));
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01frame";
    let heard = hear(asked.as_bytes(), switched.as_bytes(), &[]);
    assert_eq!((heard.asked, heard.answered), (asked.into_bytes(), switched.into()));
    // Refused: HTTP goes on.
    let asked = upgrade.to_owned() + &get("other");
    let heard = hear(asked.as_bytes(), OK.as_bytes(), &[]);
    assert_eq!(heard.asked_then, Some(Admission::Stop(Stop::Other)));
    let heard = hear(get("app").as_bytes(), switched.as_bytes(), &[]);
    assert_eq!(heard.answered_then, Some(Admission::Stop(Stop::Flawed(Flaw::Framing))));
}

#[test]
fn an_answer_that_lasts_until_close_ends_with_the_connection() {
    let mut conversation = Conversation::new(name("app"), now());
    let ask = |conversation: &mut Conversation| {
        let get = get("app");
        assert_eq!(conversation.admit_request(get.as_bytes()), Admission::Pass(get.len() as u64));
        conversation.passed_request(get.len() as u64);
    };
    ask(&mut conversation);
    let answer = b"HTTP/1.1 200 OK\r\n\r\nbody";
    conversation.passed_answer(0);
    let Admission::Pass(head) = conversation.admit_answer(answer) else { panic!() };
    conversation.passed_answer(head);
    assert_eq!(conversation.admit_answer(b"body"), Admission::Pass(u64::MAX));
    conversation.passed_answer(4);
    assert!(!conversation.is_idle());
    assert!(!conversation.answers_ended(), "it is whole");
    assert!(conversation.is_idle() && !conversation.persists());

    let mut cut = Conversation::new(name("app"), now());
    ask(&mut cut);
    assert!(cut.answers_ended(), "nothing was answered");
    let mut cut = Conversation::new(name("app"), now());
    ask(&mut cut);
    let Admission::Pass(_) = cut.admit_answer(OK.as_bytes()) else { panic!() };
    cut.passed_answer(OK.len() as u64 - 1);
    assert!(cut.answers_ended(), "a byte is missing");
}

#[test]
fn nothing_is_owed_behind_the_last_answer() {
    for last in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\n\r\nbody",
    ] {
        let mut conversation = Conversation::new(name("app"), now());
        for _ in 0..2 {
            conversation.admit_request(get("app").as_bytes());
            conversation.passed_request(get("app").len() as u64);
        }
        let Admission::Pass(_) = conversation.admit_answer(last.as_bytes()) else { panic!() };
        conversation.passed_answer(last.len() as u64);
        assert!(!conversation.answers_ended(), "it is whole");
        assert!(conversation.is_over() && !conversation.owes_answer());
    }
}

#[test]
fn what_nobody_asked_for_does_not_go_on() {
    let heard = hear(get("app").as_bytes(), OK.repeat(2).as_bytes(), &[]);
    assert_eq!(heard.answered, OK.as_bytes());
    assert_eq!(heard.answered_then, Some(Admission::Stop(Stop::Unasked)));
}

#[test]
fn who_asks_to_close_does_not_go_on() {
    for (asked, answered) in [
        ("GET / HTTP/1.1\r\nHost: app\r\nConnection: a, Close\r\n\r\n", OK),
        ("GET / HTTP/1.0\r\nHost: app\r\n\r\n", OK),
        (&get("app"), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (&get("app"), "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut conversation = Conversation::new(name("app"), now());
        let Admission::Pass(count) = conversation.admit_request(asked.as_bytes()) else { panic!() };
        conversation.passed_request(count);
        let Admission::Pass(count) = conversation.admit_answer(answered.as_bytes()) else {
            panic!()
        };
        conversation.passed_answer(count);
        assert!(conversation.is_idle() && !conversation.persists(), "{asked:?} {answered:?}");
    }
}

/// Shapes of request smuggling, and of what is close to it.
#[test]
fn a_request_that_can_be_read_in_two_ways_does_not_go_on() {
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: 5,",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 ",
        "Content-Length: 5\t5",
        "Content-Length: 5.0",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: 99999999999999999999999999",
        "Content-Length: 18446744073709551615",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunk ed",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\n\nGET /admin HTTP/1.1",
        "Content-Length: 5\nX: y",
        "Content-Length : 5",
        "Content-Length\0: 5",
        "Content-Length: 5\0",
        "Content Length: 5",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "Content-Length",
        ": 5",
    ];
    for fields in fields {
        // The white space around a value is no part of it (RFC 9112 §5).
        if fields == "Content-Length: 5 " {
            continue;
        }
        let head = format!("POST / HTTP/1.1\r\nHost: app\r\n{fields}\r\n\r\n");
        let heard = hear(head.as_bytes(), b"", &[]);
        assert_eq!(heard.asked, b"", "{fields:?}");
        let stops = matches!(heard.asked_then, Some(Admission::Stop(Stop::Flawed(_))));
        assert!(stops, "{fields:?}: {:?}", heard.asked_then);
    }
    let old = "POST / HTTP/1.0\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_stops(old, "", Stop::Flawed(Flaw::Framing));
}

#[test]
fn a_chunk_that_can_be_read_in_two_ways_does_not_go_on() {
    let head = "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1\t;x\r\na\r\n",
        "1\na\r\n",
        "1\r\r\na\r\n",
        "1;\rx\r\na\r\n",
        "1;a\0\r\na\r\n",
        "1;x\n",
        "1234567890abcdef0\r\n",
        "ffffffffffffffff\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: other\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n\n",
    ] {
        let heard = hear((head.to_owned() + body).as_bytes(), b"", &[]);
        let stop = Some(Admission::Stop(Stop::Flawed(Flaw::Framing)));
        assert_eq!(heard.asked_then, stop, "{body:?}");
    }
    for body in ["1\r\nab\r\n", "1\r\na\n", "1\r\na0\r\n\r\n"] {
        let heard = hear((head.to_owned() + body).as_bytes(), b"", &[]);
        let stop = Some(Admission::Stop(Stop::Flawed(Flaw::Framing)));
        assert_eq!(heard.asked_then, stop, "{body:?}: what follows the data is no CRLF");
    }
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_does_not_go_on() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: x",
        "Transfer-Encoding: chunked, gzip",
        "X: y\nContent-Length: 0",
        "X: y\r\n Content-Length: 0",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let heard = hear(get("app").as_bytes(), answer.as_bytes(), &[]);
        assert_eq!(heard.answered, b"", "{fields:?}");
        let stops = matches!(heard.answered_then, Some(Admission::Stop(Stop::Flawed(_))));
        assert!(stops, "{fields:?}: {:?}", heard.answered_then);
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let heard = hear(get("app").as_bytes(), old.as_bytes(), &[]);
    assert_eq!(heard.answered, b"");
}

fn message(start: &'static str) -> impl Strategy<Value = String> {
    let data = "[a-zA-Z0-9 \r\n]{0,20}";
    prop_oneof![
        3 => Just(format!("{start}\r\n")),
        3 => data.prop_map(move |data| {
            format!("{start}Content-Length: {}\r\n\r\n{data}", data.len())
        }),
        3 => (prop::collection::vec("[a-zA-Z0-9 \r\n]{1,20}", 0..4), "(;a=b)?", "(X: y\r\n)?")
            .prop_map(move |(chunks, extension, trailer)| {
                let chunks: String = chunks
                    .iter()
                    .map(|chunk| format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len()))
                    .collect();
                format!("{start}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n{trailer}\r\n")
            }),
        1 => "[ -~\r\n]{0,40}".prop_map(move |any| format!("{start}{any}\r\n\r\n")),
    ]
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        4 => message("POST / HTTP/1.1\r\nHost: app\r\n"),
        1 => message("HEAD / HTTP/1.1\r\nHost: app\r\n"),
        1 => message("GET / HTTP/1.1\r\nHost: other\r\n"),
        1 => message("GET / HTTP/1.1\r\nHost: app\r\nUpgrade: x\r\n"),
    ];
    prop::collection::vec(one, 0..5).prop_map(|all| all.concat().into_bytes())
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        5 => message("HTTP/1.1 200 OK\r\n"),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        1 => message("HTTP/1.1 204 No Content\r\n"),
        1 => Just("HTTP/1.1 101 Switching\r\n\r\n".to_owned()),
    ];
    prop::collection::vec(one, 0..5).prop_map(|all| all.concat().into_bytes())
}

proptest! {
    /// However the bytes of both directions are cut, the same ones go on, and the same
    /// stops them.
    #[test]
    fn any_cut_gives_the_same(
        asked in requests(),
        answered in answers(),
        sizes in prop::collection::vec(0..30_usize, 0..10),
    ) {
        let whole = hear(&asked, &answered, &[]);
        let bytewise = hear(&asked, &answered, &[0; 500]);
        let cut = hear(&asked, &answered, &sizes);
        prop_assert_eq!(&bytewise, &whole);
        prop_assert_eq!(&cut, &whole);
    }

    /// Nothing is added, and nothing is lost before it stops.
    #[test]
    fn what_goes_on_is_the_beginning_of_what_came(asked in requests(), answered in answers()) {
        let heard = hear(&asked, &answered, &[7, 3]);
        prop_assert!(asked.starts_with(&heard.asked));
        prop_assert!(answered.starts_with(&heard.answered));
    }
}
