//! Wire protocol, version 1: one line, one verb.
//!
//! `VERB:field:…` ended by LF (CR LF tolerated), at most
//! [`LINE_BYTES`](crate::limits::LINE_BYTES) long; the last field may hold
//! colons. [`LineBuffer`] cuts a byte stream into lines, [`Line`] is what a line
//! means, and both are pure. The table of the lines stands in `ARCHITECTURE.md`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::{Buf, Bytes, BytesMut};

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
        /// Who says so.
        peer: PeerId,
        /// Shows that it knows a token.
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
    /// `FORWARD:<proxy_id>:<name>:<source>`: open a DATA connection.
    Forward {
        /// The request's id, to be named in DATA or FAIL.
        id: ProxyId,
        /// The registered name, a wildcard where one was registered.
        name: Name,
        /// The public client's address.
        source: SocketAddr,
    },
    /// `FAIL:<proxy_id>:<reason>`: no DATA connection will come.
    Fail(ProxyId, FailReason),
    /// `DATA:<proxy_id>[:<peer_id>:<proof>]`: from the byte after LF on, the
    /// request's bytes.
    Data {
        /// The id of the FORWARD that this answers.
        id: ProxyId,
        /// Who dials, where a token and not a certificate tells.
        token: Option<(PeerId, TokenProof)>,
    },
    /// `DATA:idle:<peer_id>[:<proof>]`: a DATA connection for requests to come. Each
    /// begins with a FORWARD on it, answered there by DATA or FAIL.
    DataIdle {
        /// Whose link it belongs to.
        peer: PeerId,
        /// Shows that the peer knows a token.
        proof: Option<TokenProof>,
    },
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their definition.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word on the wire and in metric labels.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The variant that this word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Why a line was refused.
    ErrorCode {
        /// HELLO of another protocol version.
        UnsupportedVersion = "unsupported_version",
        /// The peer did not prove who it is.
        Unauthorized = "unauthorized",
        /// Not a line of the protocol.
        BadLine = "bad_line",
        /// More than 8 KiB without LF.
        LineTooLong = "line_too_long",
        /// A name that is none.
        BadName = "bad_name",
        /// A name that this peer may not register.
        NameForbidden = "name_forbidden",
        /// A name that another registration excludes.
        NameConflict = "name_conflict",
        /// A line that has no place here.
        UnexpectedCommand = "unexpected_command",
        /// More names than one link may register.
        TooManyNames = "too_many_names",
    }
}

words! {
    /// Why no DATA connection will come for a FORWARD.
    FailReason {
        /// The backend's address did not accept the connection.
        BackendRefused = "backend_refused",
        /// The backend did not answer in time.
        BackendTimeout = "backend_timeout",
        /// The connecting peer serves no such name.
        UnknownName = "unknown_name",
        /// The connecting peer cannot carry one more request now.
        Overloaded = "overloaded",
    }
}

/// An HMAC-SHA256 tag that shows knowledge of a token, as 64 lower-case hex digits
/// on the wire. Worth nothing outside the TLS session that it was made for.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenProof([u8; 32]);

impl TokenProof {
    /// The proof of this tag.
    pub fn new(tag: [u8; 32]) -> Self {
        Self(tag)
    }

    /// The tag. To be compared in constant time only.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for TokenProof {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_at_checked(32).ok_or(())?;
        let half = |text: &str| text.parse::<ProxyId>().map(|half| half.to_bytes());
        let mut tag = [0; 32];
        tag[..16].copy_from_slice(&half(high).map_err(drop)?);
        tag[16..].copy_from_slice(&half(low).map_err(drop)?);
        Ok(Self(tag))
    }
}

impl fmt::Display for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProof(…)")
    }
}

/// A line that is none of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct WireError {
    /// What the ERROR answer says.
    pub code: ErrorCode,
    /// For humans; holds nothing that the stranger sent.
    pub text: &'static str,
}

const fn refuse(code: ErrorCode, text: &'static str) -> WireError {
    WireError { code, text }
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
                    .ok_or(refuse(ErrorCode::BadLine, "unknown FAIL reason"))?;
                Ok(Self::Fail(parse_id(id)?, reason))
            }
            b"DATA" => parse_data(text(fields)?),
            _ => Err(refuse(ErrorCode::BadLine, "unknown verb")),
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

const BAD_LINE: WireError = refuse(ErrorCode::BadLine, "malformed line");

/// A field of printable ASCII.
fn text(field: &[u8]) -> Result<&str, WireError> {
    let printable = field.iter().all(|byte| (0x20..0x7f).contains(byte));
    let text = std::str::from_utf8(field).ok().filter(|_| printable);
    text.ok_or(refuse(ErrorCode::BadLine, "a field holds bytes that are not printable ASCII"))
}

fn parse_hello(fields: &str) -> Result<Line, WireError> {
    let (version, peer_id) = fields.split_once(':').ok_or(BAD_LINE)?;
    if version != VERSION {
        return Err(refuse(ErrorCode::UnsupportedVersion, "this peer speaks version 1"));
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
    text.parse().map_err(|_| refuse(ErrorCode::BadLine, "malformed peer id"))
}

fn parse_proof(text: &str) -> Result<TokenProof, WireError> {
    text.parse().map_err(|_| refuse(ErrorCode::BadLine, "malformed proof"))
}

fn parse_names(list: &[u8]) -> Result<Vec<Name>, WireError> {
    const BAD_NAME: WireError = refuse(ErrorCode::BadName, "a name is malformed");
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
    text.parse().map_err(|_| refuse(ErrorCode::BadLine, "malformed proxy id"))
}

fn parse_error(fields: &str) -> Result<Line, WireError> {
    let (code, text) = fields.split_once(':').ok_or(BAD_LINE)?;
    let code =
        ErrorCode::from_word(code).ok_or(refuse(ErrorCode::BadLine, "unknown ERROR code"))?;
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
    Ok(Line::Forward {
        id: parse_id(id)?,
        name: Name::registered(name)
            .map_err(|_| refuse(ErrorCode::BadName, "a name is malformed"))?,
        source: source.parse().map_err(|_| refuse(ErrorCode::BadLine, "malformed source"))?,
    })
}

impl fmt::Display for Line {
    /// The line as it stands on the wire, without its LF.
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
            Self::Forward { id, name, source } => write!(f, "FORWARD:{id}:{name}:{source}"),
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

/// Names in as few groups as fit a line each, in their order.
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

/// Cuts a byte stream into lines. Bytes after a line stay until asked for, so
/// that none is lost when the stream changes its meaning.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: BytesMut,
    /// So many bytes are known to hold no LF.
    searched: usize,
}

impl LineBuffer {
    /// A buffer that already holds what was read ahead.
    pub fn starting_with(bytes: &[u8]) -> Self {
        Self { bytes: BytesMut::from(bytes), searched: 0 }
    }

    /// Adds what was read. Call [`next_line`](Self::next_line) until it has no
    /// more before adding again: that keeps the buffer within a line and a read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its LF.
    ///
    /// # Errors
    /// `line_too_long` once more than [`LINE_BYTES`] stand without an LF.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, WireError> {
        let too_long = refuse(ErrorCode::LineTooLong, "a line is at most 8192 bytes");
        let window = &self.bytes[self.searched..];
        match window.iter().position(|&byte| byte == b'\n') {
            Some(offset) if self.searched + offset > LINE_BYTES => Err(too_long),
            Some(offset) => {
                let line = self.bytes.split_to(self.searched + offset).freeze();
                self.bytes.advance(1);
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.bytes.len() > LINE_BYTES => Err(too_long),
            None => {
                self.searched = self.bytes.len();
                Ok(None)
            }
        }
    }

    /// Whether nothing follows the last line taken.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What follows the last line taken.
    pub fn into_rest(self) -> Bytes {
        self.bytes.freeze()
    }
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
    fn a_line_of_8192_bytes_passes_and_one_more_does_not() {
        let mut buffer = LineBuffer::default();
        buffer.push(&[b'x'; LINE_BYTES]);
        assert_eq!(buffer.next_line(), Ok(None));
        buffer.push(b"\nrest");
        assert_eq!(buffer.next_line().unwrap().unwrap().len(), LINE_BYTES);
        assert_eq!(buffer.next_line(), Ok(None));
        assert_eq!(buffer.into_rest(), &b"rest"[..]);

        let mut buffer = LineBuffer::starting_with(&[b'x'; LINE_BYTES + 1]);
        assert_eq!(buffer.next_line().unwrap_err().code, ErrorCode::LineTooLong);
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
            (ids(), names(), any::<SocketAddr>()).prop_map(|(id, names, source)| {
                // A scope id or flow label has no place in the text form.
                let source = SocketAddr::new(source.ip(), source.port());
                Line::Forward { id, name: names[0].clone(), source }
            }),
            (ids(), reason).prop_map(|(id, reason)| Line::Fail(id, reason)),
            (ids(), prop::option::of((peers(), proofs())))
                .prop_map(|(id, token)| Line::Data { id, token }),
            (peers(), prop::option::of(proofs()))
                .prop_map(|(peer, proof)| Line::DataIdle { peer, proof }),
        ]
    }

    fn drain(buffer: &mut LineBuffer) -> Result<Vec<Bytes>, WireError> {
        std::iter::from_fn(|| buffer.next_line().transpose()).collect()
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

        #[test]
        fn every_split_gives_the_same_lines(
            text in "[a\n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut whole = LineBuffer::starting_with(bytes);
            let expected = drain(&mut whole).unwrap();

            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut split = LineBuffer::default();
            let mut lines = Vec::new();
            let mut start = 0;
            for end in cuts.into_iter().chain([bytes.len()]) {
                split.push(&bytes[start..end]);
                lines.extend(drain(&mut split).unwrap());
                start = end;
            }
            prop_assert_eq!(lines, expected);
            prop_assert_eq!(split.into_rest(), whole.into_rest());
        }
    }
}
