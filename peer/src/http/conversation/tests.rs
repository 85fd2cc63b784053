use std::time::Duration;

use super::*;
use crate::http::exchange::now;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A conversation in which one step takes one second.
struct Talk {
    conversation: Conversation,
    start: Instant,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        let start = now();
        let mut conversation = Conversation::new(Name::requested("app").unwrap(), start);
        conversation.keep_lines();
        Self { conversation, start, now: start }
    }

    fn tick(&mut self) {
        self.now += Duration::from_secs(1);
        self.conversation.at(self.now);
    }

    /// The client sends this, and all that may go on does.
    fn ask(&mut self, bytes: &str) {
        self.tick();
        let mut rest = bytes.as_bytes();
        while let Admission::Pass(count) = self.conversation.admit_request(rest)
            && !rest.is_empty()
        {
            let count = count.min(rest.len() as u64);
            self.conversation.passed_request(count);
            rest = &rest[count as usize..];
        }
    }

    /// The backend sends this.
    fn answer(&mut self, bytes: &str) {
        self.tick();
        let mut rest = bytes.as_bytes();
        while !rest.is_empty()
            && let Admission::Pass(count) = self.conversation.admit_answer(rest)
        {
            let count = count.min(rest.len() as u64);
            self.conversation.passed_answer(count);
            rest = &rest[count as usize..];
        }
    }

    fn finished(&mut self) -> Vec<Exchange> {
        self.conversation.finished().collect()
    }

    /// Path, status, whether it is whole.
    fn told(&mut self) -> Vec<(String, Option<u16>, bool)> {
        let told = |one: Exchange| (one.line.unwrap().target, one.status, one.is_whole);
        self.finished().into_iter().map(told).collect()
    }

    fn seconds(&self, at: Instant) -> u64 {
        (at - self.start).as_secs()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app\r\n\r\n")
}

#[test]
fn each_of_several_pipelined_requests_is_an_exchange_of_its_own() {
    let mut talk = Talk::new();
    talk.ask(&(get("/1") + &get("/2") + &get("/3")));
    talk.answer(OK);
    assert_eq!(talk.told(), [("/1".to_owned(), Some(200), true)]);
    talk.answer(&OK.replace("200", "404"));
    talk.answer(&OK.replace("200", "503"));
    let finished = talk.finished();
    let of = |index: usize| &finished[index];
    assert_eq!((of(0).number, of(0).status), (2, Some(404)));
    assert_eq!((of(1).number, of(1).status), (3, Some(503)));
    let length = get("/2").len() as u64;
    assert_eq!((of(0).sent, of(0).received), (length, OK.len() as u64));
    assert_eq!((talk.seconds(of(0).asked), talk.seconds(of(0).ended)), (1, 3));
}

#[test]
fn interim_answers_are_neither_the_status_nor_the_end() {
    let mut talk = Talk::new();
    talk.ask(&get("/"));
    talk.answer("HTTP/1.1 100 Continue\r\n\r\n");
    talk.answer("HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_eq!(talk.finished(), []);
    talk.answer(OK);
    let [one] = &talk.finished()[..] else { panic!("one exchange") };
    assert_eq!((one.status, talk.seconds(one.answered.unwrap())), (Some(200), 4));
    assert_eq!(one.received, (25 + 28 + OK.len()) as u64);
}

#[test]
fn what_is_not_answered_at_the_end_has_no_status() {
    let mut talk = Talk::new();
    talk.ask(&(get("/1") + &get("/2") + &get("/3")));
    talk.answer(&OK[..OK.len() - 1]);
    talk.conversation.end(None, false);
    let expected = [("/1", Some(200)), ("/2", None), ("/3", None)];
    let expected = expected.map(|(path, status)| (path.to_owned(), status, false));
    assert_eq!(talk.told(), expected);
    assert_eq!(talk.finished(), [], "each ends once");

    let mut talk = Talk::new();
    talk.ask(&(get("/1") + &get("/2")));
    talk.conversation.end(Some(502), false);
    let expected = [("/1", Some(502)), ("/2", None)];
    assert_eq!(talk.told(), expected.map(|(path, status)| (path.to_owned(), status, false)));
}

#[test]
fn an_upgrade_ends_with_its_tunnel() {
    let mut talk = Talk::new();
    let upgrade = "GET /up HTTP/1.1\r\nHost: app\r\nUpgrade: echo\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    talk.ask(upgrade);
    talk.answer(switched);
    talk.ask("ping");
    talk.answer("pong!");
    assert_eq!(talk.finished(), []);
    talk.conversation.end(None, true);
    let [one] = &talk.finished()[..] else { panic!("one exchange") };
    assert_eq!((one.status, one.is_whole), (Some(101), true));
    assert_eq!(one.sent, upgrade.len() as u64 + 4);
    assert_eq!(one.received, switched.len() as u64 + 5);
}

#[test]
fn an_answer_that_lasts_until_close_is_whole_at_the_close() {
    let mut talk = Talk::new();
    talk.ask(&get("/"));
    talk.answer("HTTP/1.1 200 OK\r\n\r\nbody");
    assert_eq!(talk.finished(), []);
    talk.tick();
    assert!(!talk.conversation.answers_ended());
    let [one] = &talk.finished()[..] else { panic!("one exchange") };
    assert_eq!((one.is_whole, talk.seconds(one.ended)), (true, 3));
}

#[test]
fn behind_the_last_request_nothing_is_taken() {
    let closes = |message: String| message.replacen("\r\n", "\r\nConnection: close\r\n", 1);

    // The answer says so, before or after more is asked for.
    let mut talk = Talk::new();
    talk.ask(&get("/1"));
    let last = closes(OK.to_owned());
    let (head, body) = last.split_at(last.len() - 2);
    talk.answer(head);
    let more = get("/2");
    let skipped = Admission::Skip(more.len());
    assert_eq!(talk.conversation.admit_request(more.as_bytes()), skipped);
    assert!(!talk.conversation.is_over(), "the answer is not whole");
    talk.answer(body);
    assert!(talk.conversation.is_over() && talk.conversation.is_idle());
    assert_eq!(talk.told(), [("/1".to_owned(), Some(200), true)]);

    let mut talk = Talk::new();
    talk.ask(&get("/1"));
    talk.answer(&last);
    assert!(!talk.conversation.is_over(), "nobody waits for anything");
    assert_eq!(talk.conversation.admit_request(more.as_bytes()), skipped);
    assert!(talk.conversation.is_over() && talk.conversation.is_idle());

    // What comes has no one meaning: that is not said any more.
    let mut talk = Talk::new();
    let flawed = "GET /2 HTTP/1.1\r\nHost: app\r\nContent-Length: x\r\n\r\n";
    talk.ask(&(get("/1") + flawed));
    talk.answer(&last);
    assert_eq!(talk.conversation.admit_request(flawed.as_bytes()), Admission::Wait);
    assert!(talk.conversation.is_over() && talk.conversation.is_idle());

    // The request says so.
    let mut talk = Talk::new();
    talk.ask(&(closes(get("/1")) + &get("/2")));
    talk.answer(OK);
    assert!(talk.conversation.is_over() && talk.conversation.is_idle());
    assert_eq!(talk.told(), [("/1".to_owned(), Some(200), true)]);
}

#[test]
fn an_answer_before_the_end_of_the_body_ends_its_exchange() {
    let mut talk = Talk::new();
    let head = "POST /1 HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\n";
    talk.ask(&(head.to_owned() + "bo"));
    talk.answer(OK);
    talk.ask(&("dy".to_owned() + &get("/2")));
    talk.answer(OK);
    let finished = talk.finished();
    assert_eq!(finished[0].sent, head.len() as u64 + 2);
    assert_eq!(finished[1].sent, get("/2").len() as u64, "the rest is not of the next one");
}

#[test]
fn a_standstill_is_between_requests_or_within_a_head() {
    let mut talk = Talk::new();
    let seconds = |talk: &Talk| match talk.conversation.standstill() {
        Standstill::Idle(since) => ("idle", talk.seconds(since)),
        Standstill::Head(since) => ("head", talk.seconds(since)),
        Standstill::Busy => ("busy", 0),
    };
    talk.ask(&get("/1"));
    assert_eq!(seconds(&talk), ("busy", 0));
    talk.answer(OK);
    assert_eq!(seconds(&talk), ("idle", 2));
    talk.ask("\r\n");
    assert_eq!(seconds(&talk), ("idle", 2), "an empty line asks for nothing");
    talk.tick();
    let _ = talk.conversation.admit_request(b"GET / HT");
    talk.tick();
    let _ = talk.conversation.admit_request(b"GET / HTTP");
    assert_eq!(seconds(&talk), ("head", 4), "since it began");
    talk.conversation.give_up_head();
    let late = talk.conversation.admit_request(b"GET / HTTP");
    assert_eq!(late, Admission::Stop(Stop::Late));
}

#[test]
fn a_late_head_waits_for_the_answers_before_it() {
    let mut talk = Talk::new();
    talk.ask(&get("/1"));
    let _ = talk.conversation.admit_request(b"GET ");
    talk.conversation.give_up_head();
    assert_eq!(talk.conversation.admit_request(b"GET "), Admission::Wait);
    talk.answer(OK);
    assert_eq!(talk.conversation.admit_request(b"GET "), Admission::Stop(Stop::Late));
    assert_eq!(talk.told().len(), 1);
}

#[test]
fn only_a_request_of_which_nothing_went_on_is_withdrawn() {
    let mut talk = Talk::new();
    let request = get("/");
    let Admission::Pass(_) = talk.conversation.admit_request(request.as_bytes()) else { panic!() };
    assert!(talk.conversation.withdraw());
    talk.conversation.end(None, false);
    assert_eq!(talk.finished(), [], "it is counted where it is served");
    let Admission::Pass(_) = talk.conversation.admit_request(request.as_bytes()) else { panic!() };
    talk.conversation.passed_request(1);
    assert!(!talk.conversation.withdraw());
}

/// Passes what the backend has sent, as the client gets it.
fn heard(conversation: &mut Conversation, answer: &str) -> String {
    let (mut rest, mut heard) = (answer.as_bytes(), BytesMut::new());
    while !rest.is_empty() {
        let count = match conversation.admit_answer(rest) {
            Admission::Pass(count) => {
                let count = count.min(rest.len() as u64) as usize;
                heard.extend_from_slice(&rest[..count]);
                count
            }
            Admission::Reword(count) => {
                conversation.reword_answer(&rest[..count], &mut heard);
                count
            }
            other => panic!("{other:?}"),
        };
        conversation.passed_answer(count as u64);
        rest = &rest[count..];
    }
    String::from_utf8(heard.to_vec()).unwrap()
}

#[test]
fn a_client_that_is_left_is_told_so_with_the_last_answer_that_is_owed() {
    let mut talk = Talk::new();
    talk.ask(&(get("/1") + &get("/2")));
    talk.conversation.take_leave();
    assert_eq!(heard(&mut talk.conversation, OK), OK, "another answer is owed");
    assert!(!talk.conversation.has_taken_leave());
    let last = heard(&mut talk.conversation, OK);
    assert_eq!(last, OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert!(talk.conversation.has_taken_leave() && !talk.conversation.persists());
    let finished = talk.finished();
    assert_eq!(finished[1].received, last.len() as u64, "what is counted is what was sent");
    // Whatever else comes is not taken.
    assert_eq!(talk.conversation.admit_request(get("/3").as_bytes()), Admission::Wait);
    assert!(talk.conversation.is_idle());
}

#[test]
fn an_answer_that_has_begun_or_ends_the_connection_itself_is_left_as_it_is() {
    let mut talk = Talk::new();
    talk.ask(&get("/1"));
    let (head, body) = OK.split_at(OK.len() - 1);
    assert_eq!(heard(&mut talk.conversation, head), head);
    talk.conversation.take_leave();
    assert_eq!(heard(&mut talk.conversation, body), body);
    assert!(talk.conversation.persists());
    talk.ask(&get("/2"));
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    assert_eq!(heard(&mut talk.conversation, until_close), until_close);
    let mut talk = Talk::new();
    talk.conversation.take_leave();
    talk.ask(&get("/1"));
    let closes = OK.replace("OK\r\n", "OK\r\nConnection: close\r\n");
    assert_eq!(heard(&mut talk.conversation, &closes), closes);
    let mut talk = Talk::new();
    talk.conversation.take_leave();
    talk.ask("GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let switched = "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n";
    assert_eq!(heard(&mut talk.conversation, switched), switched);
}

#[test]
fn a_client_that_has_ended_is_waited_for_only_where_its_bytes_may_go_on() {
    let mut talk = Talk::new();
    talk.ask(&get("/1"));
    let other = "GET / HTTP/1.1\r\nHost: other\r\n\r\n";
    assert_eq!(talk.conversation.admit_request(other.as_bytes()), Admission::Wait);
    assert!(talk.conversation.ended_behind(), "its backend gets nothing more");

    let mut talk = Talk::new();
    talk.ask("GET / HTTP/1.1\r\nHost: app\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(talk.conversation.admit_request(b"early"), Admission::Wait);
    let since = talk.now;
    talk.conversation.at(since);
    assert!(!talk.conversation.ended_behind(), "they are owed if it switches");
    talk.conversation.at(since + Duration::from_secs(1));
    assert!(!talk.conversation.ended_behind());
    assert_eq!(talk.conversation.standstill(), Standstill::Head(since));
    talk.conversation.give_up_head();
    assert_eq!(talk.conversation.admit_request(b"early"), Admission::Wait);
    assert!(talk.conversation.ended_behind(), "for so long, and no longer");
}
