//! One line of the protocol and what it means.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use super::codes::{ErrorCode, FailReason};
use super::proof::TokenProof;
use crate::limits::LINE_BYTES;
use crate::names::{Name, PeerId, ProxyId};

/// The only version spoken.
pub const VERSION: &str = "1";

/// One line of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `HELLO:1:<peer_id>[:<proof>]`, the first line of a link, from the
    /// connecting peer.
    Hello {
        /// The sender.
        peer: PeerId,
        /// Proves that it knows a token.
        proof: Option<TokenProof>,
    },
    /// `REGISTER:<name>[,<name>…]`: adds or refreshes names; the heartbeat.
    Register(Vec<Name>),
    /// `UNREGISTER:<name>[,<name>…]`: withdraws names; running requests go on.
    Unregister(Vec<Name>),
    /// `OK:<count>`: answers HELLO with 0, the others with the names taken.
    Ok(usize),
    /// `ERROR:<code>:<text>`: the line was refused and the connection closes.
    Error(ErrorCode, String),
    /// `FORWARD:<proxy_id>:<name>:<source>[><dest>]`: open a DATA connection.
    Forward {
        /// The request's id, to be named in DATA or FAIL.
        id: ProxyId,
        /// The registered name, a wildcard where one was registered.
        name: Name,
        /// The public client's address.
        source: SocketAddr,
        /// The address that the client connected to, where it is known.
        dest: Option<SocketAddr>,
    },
    /// `FAIL:<proxy_id>:<reason>`: no DATA connection will come.
    Fail(ProxyId, FailReason),
    /// `DATA:<proxy_id>[:<peer_id>:<proof>]`: from the byte after LF on, the
    /// request's bytes.
    Data {
        /// The id of the FORWARD that this line answers.
        id: ProxyId,
        /// Who dials, where a token proves it rather than a certificate.
        token: Option<(PeerId, TokenProof)>,
    },
    /// `DATA:idle:<peer_id>[:<proof>]`: a DATA connection for future requests. Each
    /// begins with a FORWARD on it, answered there by DATA or FAIL.
    DataIdle {
        /// The peer whose link it belongs to.
        peer: PeerId,
        /// Proves that the peer knows a token.
        proof: Option<TokenProof>,
    },
}

/// Not a line of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct WireError {
    /// What the ERROR answer says.
    pub code: ErrorCode,
    /// For humans; holds nothing that the stranger sent.
    pub text: Cow<'static, str>,
}

impl WireError {
    /// A line was refused.
    pub const fn new(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text) }
    }

    /// Some names may not be registered: the text is their list, as far as it fits a line.
    pub fn forbidden(names: &[&Name]) -> Self {
        let room = LINE_BYTES - "ERROR:name_forbidden:".len();
        let mut text = String::new();
        for name in names {
            let comma = if text.is_empty() { "" } else { "," };
            if text.len() + comma.len() + name.as_str().len() > room {
                break;
            }
            text.push_str(comma);
            text.push_str(name.as_str());
        }
        Self { code: ErrorCode::NameForbidden, text: text.into() }
    }
}

/// The names in the text of `ERROR:name_forbidden`, as far as they are names.
pub fn forbidden_names(text: &str) -> Vec<Name> {
    text.split(',').filter_map(|name| Name::registered(name).ok()).collect()
}

impl Line {
    /// Reads one line, without its LF; one CR at its end is dropped.
    ///
    /// # Errors
    /// [`WireError`] with the code for the ERROR answer.
    pub fn parse(line: &[u8]) -> Result<Self, WireError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|&byte| byte == b':');
        let (verb, fields) = line.split_at(colon.ok_or(BAD_LINE)?);
        let fields = &fields[1..];
        match verb {
            b"HELLO" => parse_hello(text(fields)?),
            b"REGISTER" => Ok(Self::Register(parse_names(fields)?)),
            b"UNREGISTER" => Ok(Self::Unregister(parse_names(fields)?)),
            b"OK" => Ok(Self::Ok(parse_count(text(fields)?)?)),
            b"ERROR" => parse_error(text(fields)?),
            b"FORWARD" => parse_forward(text(fields)?),
            b"FAIL" => {
                let (id, reason) = text(fields)?.split_once(':').ok_or(BAD_LINE)?;
                let reason = FailReason::from_word(reason)
                    .ok_or(WireError::new(ErrorCode::BadLine, "unknown FAIL reason"))?;
                Ok(Self::Fail(parse_id(id)?, reason))
            }
            b"DATA" => parse_data(text(fields)?),
            _ => Err(WireError::new(ErrorCode::BadLine, "unknown verb")),
        }
    }

    /// What it costs to take this line, in units of one name looked up.
    pub fn cost(&self) -> usize {
        match self {
            Self::Register(names) | Self::Unregister(names) => 1 + names.len(),
            _ => 1,
        }
    }

    /// Whether a connecting peer may send this line on a link.
    pub fn is_from_connecting(&self) -> bool {
        matches!(
            self,
            Self::Hello { .. }
                | Self::Register(_)
                | Self::Unregister(_)
                | Self::Fail(..)
                | Self::Error(..)
        )
    }
}

const BAD_LINE: WireError = WireError::new(ErrorCode::BadLine, "malformed line");

/// A field of printable ASCII.
fn text(field: &[u8]) -> Result<&str, WireError> {
    let printable = field.iter().all(|byte| (0x20..0x7f).contains(byte));
    let text = std::str::from_utf8(field).ok().filter(|_| printable);
    text.ok_or(WireError::new(
        ErrorCode::BadLine,
        "a field holds bytes that are not printable ASCII",
    ))
}

fn parse_hello(fields: &str) -> Result<Line, WireError> {
    let (version, peer_id) = fields.split_once(':').ok_or(BAD_LINE)?;
    if version != VERSION {
        return Err(WireError::new(
            ErrorCode::UnsupportedVersion,
            "this peer supports version 1 only",
        ));
    }
    let (peer, proof) = parse_proven_peer(peer_id)?;
    Ok(Line::Hello { peer, proof })
}

/// `<peer_id>[:<proof>]`.
fn parse_proven_peer(text: &str) -> Result<(PeerId, Option<TokenProof>), WireError> {
    match text.split_once(':') {
        Some((peer, proof)) => Ok((parse_peer(peer)?, Some(parse_proof(proof)?))),
        None => Ok((parse_peer(text)?, None)),
    }
}

fn parse_data(fields: &str) -> Result<Line, WireError> {
    if let Some(peer) = fields.strip_prefix("idle:") {
        let (peer, proof) = parse_proven_peer(peer)?;
        return Ok(Line::DataIdle { peer, proof });
    }
    let Some((id, token)) = fields.split_once(':') else {
        return Ok(Line::Data { id: parse_id(fields)?, token: None });
    };
    let (peer, proof) = token.split_once(':').ok_or(BAD_LINE)?;
    Ok(Line::Data { id: parse_id(id)?, token: Some((parse_peer(peer)?, parse_proof(proof)?)) })
}

fn parse_peer(text: &str) -> Result<PeerId, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed peer id"))
}

fn parse_proof(text: &str) -> Result<TokenProof, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed proof"))
}

fn parse_names(list: &[u8]) -> Result<Vec<Name>, WireError> {
    const BAD_NAME: WireError = WireError::new(ErrorCode::BadName, "a name is malformed");
    list.split(|&byte| byte == b',')
        .map(|name| {
            let name = std::str::from_utf8(name).map_err(|_| BAD_NAME)?;
            Name::registered(name).map_err(|_| BAD_NAME)
        })
        .collect()
}

fn parse_count(text: &str) -> Result<usize, WireError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(BAD_LINE)
}

fn parse_id(text: &str) -> Result<ProxyId, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed proxy id"))
}

fn parse_error(fields: &str) -> Result<Line, WireError> {
    let (code, text) = fields.split_once(':').ok_or(BAD_LINE)?;
    let code = ErrorCode::from_word(code)
        .ok_or(WireError::new(ErrorCode::BadLine, "unknown ERROR code"))?;
    Ok(Line::Error(code, text.to_owned()))
}

fn parse_forward(fields: &str) -> Result<Line, WireError> {
    let (id, rest) = fields.split_once(':').ok_or(BAD_LINE)?;
    // An IPv6 literal is the one name that holds colons.
    let name_end = match rest.strip_prefix('[') {
        Some(inner) => inner.find(']').ok_or(BAD_LINE)? + 2,
        None => rest.find(':').ok_or(BAD_LINE)?,
    };
    let (name, source) = rest.split_at(name_end);
    let source = source.strip_prefix(':').ok_or(BAD_LINE)?;
    let (source, dest) = match source.split_once('>') {
        Some((source, dest)) => (source, Some(dest)),
        None => (source, None),
    };
    Ok(Line::Forward {
        id: parse_id(id)?,
        name: Name::registered(name)
            .map_err(|_| WireError::new(ErrorCode::BadName, "a name is malformed"))?,
        source: parse_addr(source)?,
        dest: dest.map(parse_addr).transpose()?,
    })
}

fn parse_addr(text: &str) -> Result<SocketAddr, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed address"))
}

impl fmt::Display for Line {
    /// The line as on the wire, without its LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { peer, proof: None } => write!(f, "HELLO:{VERSION}:{peer}"),
            Self::Hello { peer, proof: Some(proof) } => {
                write!(f, "HELLO:{VERSION}:{peer}:{proof}")
            }
            Self::Register(names) => write_names(f, "REGISTER", names),
            Self::Unregister(names) => write_names(f, "UNREGISTER", names),
            Self::Ok(count) => write!(f, "OK:{count}"),
            Self::Error(code, text) => write!(f, "ERROR:{code}:{text}"),
            Self::Forward { id, name, source, dest: None } => {
                write!(f, "FORWARD:{id}:{name}:{source}")
            }
            Self::Forward { id, name, source, dest: Some(dest) } => {
                write!(f, "FORWARD:{id}:{name}:{source}>{dest}")
            }
            Self::Fail(id, reason) => write!(f, "FAIL:{id}:{reason}"),
            Self::Data { id, token: None } => write!(f, "DATA:{id}"),
            Self::Data { id, token: Some((peer, proof)) } => write!(f, "DATA:{id}:{peer}:{proof}"),
            Self::DataIdle { peer, proof: None } => write!(f, "DATA:idle:{peer}"),
            Self::DataIdle { peer, proof: Some(proof) } => write!(f, "DATA:idle:{peer}:{proof}"),
        }
    }
}

fn write_names(f: &mut fmt::Formatter<'_>, verb: &str, names: &[Name]) -> fmt::Result {
    f.write_str(verb)?;
    for (index, name) in names.iter().enumerate() {
        write!(f, "{}{name}", if index == 0 { ':' } else { ',' })?;
    }
    Ok(())
}

/// Names in order, in as few groups as possible, each of which fits a line.
pub fn in_lines(names: &[Name]) -> Vec<Vec<Name>> {
    let room = LINE_BYTES - "UNREGISTER:".len();
    let mut groups: Vec<Vec<Name>> = Vec::new();
    let mut used = 0;
    for name in names {
        let length = name.as_str().len() + 1;
        match groups.last_mut() {
            Some(group) if used + length <= room => group.push(name.clone()),
            _ => {
                groups.push(vec![name.clone()]);
                used = 0;
            }
        }
        used += length;
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(line: &[u8]) -> Option<ErrorCode> {
        Line::parse(line).err().map(|error| error.code)
    }

    #[test]
    fn each_fault_has_its_code() {
        use ErrorCode::*;
        assert_eq!(code(b"HELLO:2:p"), Some(UnsupportedVersion));
        assert_eq!(code(b"HELLO:1:"), Some(BadLine));
        assert_eq!(code(b"HELLO:1:a@b"), Some(BadLine));
        assert_eq!(code(b"NOISE:1"), Some(BadLine));
        assert_eq!(code(b"no colon"), Some(BadLine));
        assert_eq!(code(b""), Some(BadLine));
        assert_eq!(code(b"OK:-1"), Some(BadLine));
        assert_eq!(code(b"OK:+1"), Some(BadLine));
        assert_eq!(code(b"DATA:0123"), Some(BadLine));
        for names in
            [&b""[..], b"a,", b",a", b"a b", b"a\rb", b"a\0b", b"\x1b[2J", b"_a", b"a:80", b"\xff"]
        {
            assert_eq!(code(&[b"REGISTER:", names].concat()), Some(BadName), "{names:?}");
        }
    }

    #[test]
    fn a_forward_may_name_an_ipv6_literal() {
        let line = "FORWARD:00000000000000000000000000000001:[::1]:[2001:db8::1]:80";
        assert_eq!(Line::parse(line.as_bytes()).unwrap().to_string(), line);
    }

    #[test]
    fn names_are_spread_over_lines_that_fit() {
        let names: Vec<Name> =
            (0..2000).map(|n| Name::registered(&format!("name-{n}.example")).unwrap()).collect();
        let groups = in_lines(&names);
        assert!(groups.len() > 1);
        assert_eq!(groups.concat(), names);
        for group in groups {
            assert!(Line::Unregister(group).to_string().len() <= LINE_BYTES);
        }
    }

    fn names() -> impl Strategy<Value = Vec<Name>> {
        let name = r"(\*\.)?[a-z0-9-][a-z0-9_-]{0,8}(\.[a-z0-9][a-z0-9_-]{0,8}){0,3}";
        prop::collection::vec(name.prop_map(|text| Name::registered(&text).unwrap()), 1..5)
    }

    fn peers() -> impl Strategy<Value = PeerId> {
        "[A-Za-z0-9._-]{1,20}".prop_map(|id| id.parse().unwrap())
    }

    fn proofs() -> impl Strategy<Value = TokenProof> {
        any::<[u8; 32]>().prop_map(TokenProof::new)
    }

    fn ids() -> impl Strategy<Value = ProxyId> {
        any::<[u8; 16]>().prop_map(ProxyId::from_random)
    }

    /// Without scope ids and flow labels, which have no place in the text form.
    fn addrs() -> impl Strategy<Value = SocketAddr> {
        any::<SocketAddr>().prop_map(|addr| SocketAddr::new(addr.ip(), addr.port()))
    }

    fn lines() -> impl Strategy<Value = Line> {
        let code = prop::sample::select(ErrorCode::ALL);
        let reason = prop::sample::select(FailReason::ALL);
        prop_oneof![
            (peers(), prop::option::of(proofs()))
                .prop_map(|(peer, proof)| Line::Hello { peer, proof }),
            names().prop_map(Line::Register),
            names().prop_map(Line::Unregister),
            any::<usize>().prop_map(Line::Ok),
            (code, "[ -~]{0,20}").prop_map(|(code, text)| Line::Error(code, text)),
            (ids(), names(), addrs(), prop::option::of(addrs())).prop_map(
                |(id, names, source, dest)| {
                    Line::Forward { id, name: names[0].clone(), source, dest }
                },
            ),
            (ids(), reason).prop_map(|(id, reason)| Line::Fail(id, reason)),
            (ids(), prop::option::of((peers(), proofs())))
                .prop_map(|(id, token)| Line::Data { id, token }),
            (peers(), prop::option::of(proofs()))
                .prop_map(|(peer, proof)| Line::DataIdle { peer, proof }),
        ]
    }

    proptest! {
        #[test]
        fn parse_undoes_format(line in lines()) {
            prop_assert_eq!(Line::parse(line.to_string().as_bytes()), Ok(line.clone()));
            prop_assert_eq!(Line::parse(format!("{line}\r").as_bytes()), Ok(line));
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Line::parse(&bytes);
        }

        #[test]
        fn a_mangled_line_never_panics(line in lines(), at: prop::sample::Index, byte: u8) {
            let mut bytes = line.to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Line::parse(&bytes);
        }

    }
}
