//! An incoming request head. Its end is searched for while it arrives; it is parsed
//! once, when it is complete.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Request, Status};

use super::super::verdict::{Refusal, Verdict};
use super::target::{check_target, connect_target, host};
use crate::limits::{HEAD_BYTES, HTTP_FIELDS};

/// An incoming request head.
#[derive(Debug, Clone)]
pub(in crate::classify) struct Head {
    /// Where the method starts.
    start: usize,
    /// No line end before this is the end of the head.
    searched: usize,
}

impl Head {
    pub(in crate::classify) fn starting_at(start: usize) -> Self {
        Self { start, searched: start }
    }

    /// The verdict, once the head is whole or too large.
    pub(in crate::classify) fn advance(&mut self, bytes: &[u8]) -> Option<Verdict> {
        let window = &bytes[..bytes.len().min(HEAD_BYTES)];
        match self.find_end(window) {
            Some(end) => {
                let head = &window[self.start..end];
                Some(read(head, end).unwrap_or_else(Verdict::Refused))
            }
            None if window.len() == HEAD_BYTES => Some(Verdict::Refused(Refusal::HeadTooLarge)),
            None => None,
        }
    }

    /// Where the empty line ends that ends the head.
    fn find_end(&mut self, window: &[u8]) -> Option<usize> {
        while let Some(offset) = window.get(self.searched..)?.iter().position(|&b| b == b'\n') {
            let lf = self.searched + offset;
            match window[lf + 1..] {
                [b'\n', ..] => {
                    self.searched = lf;
                    return Some(lf + 2);
                }
                [b'\r', b'\n', ..] => {
                    self.searched = lf;
                    return Some(lf + 3);
                }
                [] | [b'\r'] => {
                    self.searched = lf;
                    return None;
                }
                _ => self.searched = lf + 1,
            }
        }
        self.searched = window.len();
        None
    }
}

/// Parses one complete head, `consumed` bytes long with what precedes it.
fn read(head: &[u8], consumed: usize) -> Result<Verdict, Refusal> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; HTTP_FIELDS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        _ => return Err(Refusal::BadHead),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Refusal::BadHead);
    };
    let host = host(request.headers)?;
    if method == "CONNECT" {
        let name = connect_target(target)?;
        let agrees = match host {
            Some(host) => host == name,
            None => request.version == Some(0),
        };
        return if agrees {
            Ok(Verdict::Connect { name, consumed })
        } else {
            Err(Refusal::BadHead)
        };
    }
    let name = host.ok_or(Refusal::BadHead)?;
    check_target(target, &name)?;
    Ok(Verdict::Http { name, is_head: method == "HEAD" })
}
