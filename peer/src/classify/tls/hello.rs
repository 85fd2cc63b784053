//! The ClientHello message (RFC 8446 §4.1.2): server_name and ALPN are parsed strictly,
//! all other extensions are skipped.

use std::net::Ipv4Addr;

use tls_parser::parse_tls_handshake_client_hello;

use super::super::verdict::{PEER_ALPN, Refusal, Verdict};
use super::reader::{Malformed, take_last_vector, take_number, take_vector};
use crate::names::Name;

pub(super) const MESSAGE_HEADER_BYTES: usize = 4;

/// The same major version in every record and hello since SSLv3.
pub(super) const MAJOR_VERSION: u8 = 3;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_NAME: u16 = 0;
pub(super) const ALPN: u16 = 16;
pub(super) const HOST_NAME: u8 = 0;

/// What the server_name extensions of a hello contain.
#[derive(Debug, Clone, Copy)]
enum ServerName<'a> {
    Absent,
    One(&'a [u8]),
    /// None although the extension is there, several, or of another type.
    Other,
}

/// Parses one complete ClientHello message, including its header.
pub(super) fn read(message: &[u8]) -> Result<Verdict, Refusal> {
    let body = message.get(MESSAGE_HEADER_BYTES..).ok_or(Malformed)?;
    let (rest, hello) = parse_tls_handshake_client_hello(body).map_err(|_| Malformed)?;
    let major = hello.version.0 >> 8;
    if !rest.is_empty()
        || major != u16::from(MAJOR_VERSION)
        || hello.ciphers.is_empty()
        || hello.comp.is_empty()
    {
        return Err(Refusal::BadClientHello);
    }
    let (server_name, is_peer) = read_extensions(hello.ext.unwrap_or_default())?;
    if is_peer {
        return Ok(Verdict::PeerTls);
    }
    match server_name {
        ServerName::Absent => Err(Refusal::NoSni),
        ServerName::Other => Err(Refusal::BadSni),
        ServerName::One(text) => Ok(Verdict::Tls { name: host_name(text)? }),
    }
}

/// The server name, and whether ALPN contains [`PEER_ALPN`].
fn read_extensions(mut extensions: &[u8]) -> Result<(ServerName<'_>, bool), Malformed> {
    let mut server_name = ServerName::Absent;
    let mut is_peer = None;
    while !extensions.is_empty() {
        let kind = take_number(&mut extensions, 2)?;
        let body = take_vector(&mut extensions, 2)?;
        if kind == usize::from(SERVER_NAME) {
            let one = read_server_name(body)?;
            server_name = match server_name {
                ServerName::Absent => one,
                _ => ServerName::Other,
            };
        } else if kind == usize::from(ALPN) {
            let found = holds_peer_alpn(body)?;
            if is_peer.replace(found).is_some() {
                return Err(Malformed);
            }
        }
    }
    Ok((server_name, is_peer.unwrap_or(false)))
}

/// `ServerNameList` of RFC 6066 §3.
fn read_server_name(mut body: &[u8]) -> Result<ServerName<'_>, Malformed> {
    if body.is_empty() {
        return Ok(ServerName::Other);
    }
    let mut list = take_last_vector(&mut body, 2)?;
    let mut found = None;
    let mut count = 0;
    while !list.is_empty() {
        let kind = take_number(&mut list, 1)?;
        let name = take_vector(&mut list, 2)?;
        found = (kind == usize::from(HOST_NAME)).then_some(name);
        count += 1;
    }
    Ok(found.filter(|_| count == 1).map_or(ServerName::Other, ServerName::One))
}

/// A host name: a [`Name`] without a port that is not an IP literal (RFC 6066 §3). The
/// standard excludes a trailing dot; it is removed, as everywhere.
fn host_name(text: &[u8]) -> Result<Name, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::BadSni)?;
    if text.contains(':') {
        return Err(Refusal::BadSni);
    }
    let name = Name::requested(text).map_err(|_| Refusal::BadSni)?;
    match name.as_str().parse::<Ipv4Addr>() {
        Ok(_) => Err(Refusal::BadSni),
        Err(_) => Ok(name),
    }
}

/// `ProtocolNameList` of RFC 7301 §3.1.
fn holds_peer_alpn(mut body: &[u8]) -> Result<bool, Malformed> {
    let mut list = take_last_vector(&mut body, 2)?;
    if list.is_empty() {
        return Err(Malformed);
    }
    let mut found = false;
    while !list.is_empty() {
        let protocol = take_vector(&mut list, 1)?;
        if protocol.is_empty() {
            return Err(Malformed);
        }
        found |= protocol == PEER_ALPN;
    }
    Ok(found)
}
