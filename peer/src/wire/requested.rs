//! What FORWARD says about a request.

use std::fmt;
use std::net::SocketAddr;

use super::codes::ErrorCode;
use super::error::{BAD_LINE, WireError};
use crate::names::Name;
use crate::offer::Way;
use crate::trace_context::TraceContext;
use crate::words::words;

words! {
    /// A version of TLS that ended at a listening peer.
    TlsVersion {
        /// RFC 5246.
        V1_2 = "1.2",
        /// RFC 8446.
        V1_3 = "1.3",
    }
}

/// A request, as the connecting peer learns of it:
/// `<name>:<way>:<source>[><dest>][;authority=<name>][;tls=<version>]
/// [;traceparent=<context>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The registered name, a wildcard where one was registered.
    pub name: Name,
    /// How the client reaches it.
    pub way: Way,
    /// The public client's address.
    pub source: SocketAddr,
    /// The address that the client connected to, where it is known.
    pub dest: Option<SocketAddr>,
    /// The name that the client asked for, where it is another than `name`.
    pub authority: Option<Name>,
    /// The version of the client's TLS, where that ended at the listening peer.
    pub tls: Option<TlsVersion>,
    /// The span of the listening peer, where it traces.
    pub trace: Option<TraceContext>,
}

impl Requested {
    /// The name that the client asked for; none where it asked for a port.
    pub fn authority(&self) -> Option<&Name> {
        match self.way {
            Way::Tcp | Way::Udp => None,
            Way::Http | Way::Https | Way::Connect => {
                Some(self.authority.as_ref().unwrap_or(&self.name))
            }
        }
    }

    /// Reads the fields of a FORWARD behind its id.
    pub(super) fn parse(text: &str) -> Result<Self, WireError> {
        // An IPv6 literal is the one name that holds colons.
        let name_end = match text.strip_prefix('[') {
            Some(inner) => inner.find(']').ok_or(BAD_LINE)? + 2,
            None => text.find(':').ok_or(BAD_LINE)?,
        };
        let (name, rest) = text.split_at(name_end);
        let (way, rest) =
            rest.strip_prefix(':').and_then(|rest| rest.split_once(':')).ok_or(BAD_LINE)?;
        let mut parts = rest.split(';');
        let ends = parts.next().unwrap_or_default();
        let (source, dest) = match ends.split_once('>') {
            Some((source, dest)) => (source, Some(dest)),
            None => (ends, None),
        };
        let mut requested = Self {
            name: parse_name(name)?,
            way: Way::from_word(way).ok_or(WireError::new(ErrorCode::BadLine, "unknown way"))?,
            source: parse_addr(source)?,
            dest: dest.map(parse_addr).transpose()?,
            authority: None,
            tls: None,
            trace: None,
        };
        for part in parts {
            match part.split_once('=').ok_or(BAD_LINE)? {
                ("authority", name) => requested.authority = Some(parse_name(name)?),
                ("tls", version) => {
                    requested.tls = Some(TlsVersion::from_word(version).ok_or(BAD_LINE)?);
                }
                ("traceparent", context) => {
                    requested.trace = Some(context.parse().map_err(|_| BAD_LINE)?);
                }
                _ => return Err(BAD_LINE),
            }
        }
        Ok(requested)
    }
}

fn parse_name(text: &str) -> Result<Name, WireError> {
    Name::registered(text).map_err(|_| WireError::new(ErrorCode::BadName, "a name is malformed"))
}

fn parse_addr(text: &str) -> Result<SocketAddr, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed address"))
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, way, source, dest, authority, tls, trace } = self;
        write!(f, "{name}:{way}:{source}")?;
        if let Some(dest) = dest {
            write!(f, ">{dest}")?;
        }
        if let Some(authority) = authority {
            write!(f, ";authority={authority}")?;
        }
        if let Some(tls) = tls {
            write!(f, ";tls={tls}")?;
        }
        if let Some(trace) = trace {
            write!(f, ";traceparent={trace}")?;
        }
        Ok(())
    }
}
