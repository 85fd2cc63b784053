//! Answers of every framing, which say who read what.

use super::asked::Asked;
use crate::message::{BACKEND, READ, body_of, chunked, trailers_of};
use crate::payload::Pattern;
use crate::scenario::steps::Answer;

/// The answer of the backend `name`, which has `read` this; interim ones come first.
pub(super) fn answer(name: &str, asked: &Asked, read: &str) -> Vec<u8> {
    let (wish, interim) = asked.wish.unwrap_or_default();
    let pattern = Pattern(asked.seed | 1);
    let body = body_of(pattern, asked.download);
    let length = format!("Content-Length: {}\r\n", body.len());
    let (status, framing) = match wish {
        Answer::Length => ("200 OK", length.as_str()),
        Answer::Chunked => ("200 OK", "Transfer-Encoding: chunked\r\n"),
        Answer::NoContent => ("204 No Content", ""),
        Answer::NotModified => ("304 Not Modified", length.as_str()),
        Answer::UntilClose => ("200 OK", "Connection: close\r\n"),
        Answer::Upgrade => ("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: echo\r\n"),
    };
    let mut out = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(interim as usize);
    out.push_str(&format!("HTTP/1.1 {status}\r\n{BACKEND}: {name}\r\n{READ}: {read}\r\n"));
    out.push_str(&format!("{}{framing}\r\n", asked.told));
    let mut out = out.into_bytes();
    match wish {
        _ if asked.is_head => {}
        Answer::Length | Answer::UntilClose => out.extend(body),
        Answer::Chunked => {
            out.extend(chunked(pattern, &body));
            out.extend_from_slice(trailers_of(&body).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Answer::NoContent | Answer::NotModified | Answer::Upgrade => {}
    }
    out
}
