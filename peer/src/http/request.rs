//! Request heads.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Request, Status};

use super::body::Body;
use super::fields::{Coding, Fields};
use super::flaw::Flaw;
use super::target::{check_target, connect_target, host};
use crate::limits::HTTP_FIELDS;
use crate::names::Name;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A HEAD: its answer has no body.
    Head,
    /// A CONNECT: a tunnel.
    Connect,
    /// Anything else.
    Other,
}

/// A request head, as far as its way and its end are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The name that it is for.
    pub name: Name,
    /// Its method.
    pub asks: Asks,
    /// What follows the head.
    pub body: Body,
    /// Its client wants the connection closed after the answer.
    pub closes: bool,
    /// It asks to go on with another protocol.
    pub upgrade: bool,
    /// It may not send its body before it has heard from the server.
    pub expects: bool,
}

/// Reads a complete request head, from its request line to its empty line.
///
/// # Errors
/// [`Flaw`].
pub fn read_request(head: &[u8]) -> Result<RequestHead, Flaw> {
    read_request_for(head, None)
}

/// As [`read_request`], where the head is likely one for this name.
pub(super) fn read_request_for(head: &[u8], likely: Option<&Name>) -> Result<RequestHead, Flaw> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HTTP_FIELDS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut storage) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(Error::TooManyHeaders) => return Err(Flaw::TooLarge),
        _ => return Err(Flaw::Head),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Flaw::Head);
    };
    let host = host(request.headers, likely)?;
    let fields = Fields::read(request.headers)?;
    let (name, asks) = match method {
        "CONNECT" => {
            let name = connect_target(target)?;
            let agrees = host.map_or(minor == 0, |host| host == name);
            if !agrees {
                return Err(Flaw::Head);
            }
            (name, Asks::Connect)
        }
        _ => {
            let name = host.ok_or(Flaw::Head)?;
            check_target(target, &name)?;
            (name, if method == "HEAD" { Asks::Head } else { Asks::Other })
        }
    };
    let body = match (fields.coding, fields.length) {
        // What follows a CONNECT is not its body (RFC 9110 §9.3.6).
        (None, None) => Body::none(),
        _ if asks == Asks::Connect => return Err(Flaw::Framing),
        (None, Some(length)) => Body::of_length(length),
        (Some(Coding::Chunked), _) if minor == 1 => Body::chunked(),
        (Some(_), _) => return Err(Flaw::Framing),
    };
    let closes = fields.close || (minor == 0 && !fields.keep_alive);
    Ok(RequestHead { name, asks, body, closes, upgrade: fields.upgrade, expects: fields.expects })
}
