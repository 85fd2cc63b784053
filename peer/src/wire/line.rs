//! One line of the protocol and what it means.

use std::fmt;
use std::str::FromStr;

use super::codes::{ErrorCode, FailReason};
use super::error::{BAD_LINE, WireError};
use super::proof::TokenProof;
use super::requested::Requested;
use super::withdrawal::Withdrawal;
use crate::limits::LINE_BYTES;
use crate::names::{Name, PeerId, ProxyId};
use crate::offer::{BadOffer, Offer};

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
    /// `REGISTER:<offer>[,<offer>…]`: adds or refreshes names; the heartbeat, even without
    /// any.
    Register(Vec<Offer>),
    /// `UNREGISTER:<withdrawal>[,<withdrawal>…]`: withdraws names; running requests go on.
    Unregister(Vec<Withdrawal>),
    /// `OK:0:<peer_id>`: answers HELLO, and says who listens.
    Welcome(PeerId),
    /// `OK:<count>`: answers REGISTER and UNREGISTER with the names taken.
    Ok(usize),
    /// `REDIAL:`, from the listening peer: another process takes connections here from now
    /// on. Open a link to it; this one goes on until it ends.
    Redial,
    /// `ERROR:<code>:<text>`: the line was refused and the connection closes.
    Error(ErrorCode, String),
    /// `FORWARD:<proxy_id>:<requested>`: open a DATA connection, or send DATA here, for this
    /// request. The id is to be named in DATA or FAIL.
    Forward(ProxyId, Requested),
    /// `FAIL:<proxy_id>:<reason>`: no DATA connection will come.
    Fail(ProxyId, FailReason),
    /// `DATA:<proxy_id>[:<peer_id>:<proof>][;to=<peer_id>]`: from the byte after LF on, the
    /// request's bytes.
    Data {
        /// The id of the FORWARD that this line answers.
        id: ProxyId,
        /// Who dials, where a token proves it rather than a certificate.
        token: Option<(PeerId, TokenProof)>,
        /// Whom it must reach, where several peers listen behind one address. That peer
        /// answers `OK:0:<peer_id>` before all else, and any other `ERROR:wrong_peer`.
        to: Option<PeerId>,
    },
    /// `DATA:<proxy_id>;forwarded=no`: answers OPEN as `Data` does, for a service whose HTTP
    /// requests are to tell nothing of the client.
    DataUntold(ProxyId),
    /// `OPEN:<proxy_id>:<requested>[;token=<peer_id>:<proof>]`: route this request of the
    /// connecting peer's own public side. Answered by DATA, and the request's bytes, or FAIL.
    Open {
        /// The request's id.
        id: ProxyId,
        /// What is asked for, and by whom.
        requested: Box<Requested>,
        /// Who asks, where a token proves it rather than a certificate.
        token: Option<(PeerId, TokenProof)>,
    },
    /// `DATA:idle:<peer_id>[:<proof>][;to=<peer_id>]`: a DATA connection for future requests.
    /// Each begins with a FORWARD on it, answered there by DATA or FAIL.
    DataIdle {
        /// The peer whose link it belongs to.
        peer: PeerId,
        /// Proves that the peer knows a token.
        proof: Option<TokenProof>,
        /// As in `Data`.
        to: Option<PeerId>,
    },
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
            b"REGISTER" if fields.is_empty() => Ok(Self::Register(Vec::new())),
            b"REGISTER" => parse_list(fields).map(Self::Register),
            b"UNREGISTER" => parse_list(fields).map(Self::Unregister),
            b"OK" => match text(fields)?.split_once(':') {
                Some(("0", peer)) => parse_peer(peer).map(Self::Welcome),
                Some(_) => Err(BAD_LINE),
                None => parse_count(text(fields)?).map(Self::Ok),
            },
            b"REDIAL" if fields.is_empty() => Ok(Self::Redial),
            b"ERROR" => parse_error(text(fields)?),
            b"FORWARD" => {
                let (id, requested) = text(fields)?.split_once(':').ok_or(BAD_LINE)?;
                Ok(Self::Forward(parse_id(id)?, Requested::parse(requested)?))
            }
            b"FAIL" => {
                let (id, reason) = text(fields)?.split_once(':').ok_or(BAD_LINE)?;
                let reason = FailReason::from_word(reason)
                    .ok_or(WireError::new(ErrorCode::BadLine, "unknown FAIL reason"))?;
                Ok(Self::Fail(parse_id(id)?, reason))
            }
            b"DATA" => parse_data(text(fields)?),
            b"OPEN" => parse_open(text(fields)?),
            _ => Err(WireError::new(ErrorCode::BadLine, "unknown verb")),
        }
    }

    /// What it costs to take this line, in units of one name looked up.
    pub fn cost(&self) -> usize {
        match self {
            Self::Register(offers) => 1 + offers.len(),
            Self::Unregister(names) => 1 + names.len(),
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
    if let Some(id) = fields.strip_suffix(";forwarded=no") {
        return Ok(Line::DataUntold(parse_id(id)?));
    }
    let (fields, to) = match fields.split_once(";to=") {
        Some((fields, to)) => (fields, Some(parse_peer(to)?)),
        None => (fields, None),
    };
    if let Some(peer) = fields.strip_prefix("idle:") {
        let (peer, proof) = parse_proven_peer(peer)?;
        return Ok(Line::DataIdle { peer, proof, to });
    }
    let Some((id, token)) = fields.split_once(':') else {
        return Ok(Line::Data { id: parse_id(fields)?, token: None, to });
    };
    let (peer, proof) = token.split_once(':').ok_or(BAD_LINE)?;
    let token = Some((parse_peer(peer)?, parse_proof(proof)?));
    Ok(Line::Data { id: parse_id(id)?, token, to })
}

fn parse_open(fields: &str) -> Result<Line, WireError> {
    let (fields, token) = match fields.split_once(";token=") {
        Some((fields, token)) => {
            let (peer, proof) = token.split_once(':').ok_or(BAD_LINE)?;
            (fields, Some((parse_peer(peer)?, parse_proof(proof)?)))
        }
        None => (fields, None),
    };
    let (id, requested) = fields.split_once(':').ok_or(BAD_LINE)?;
    let requested = Box::new(Requested::parse(requested)?);
    Ok(Line::Open { id: parse_id(id)?, requested, token })
}

fn parse_peer(text: &str) -> Result<PeerId, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed peer id"))
}

fn parse_proof(text: &str) -> Result<TokenProof, WireError> {
    text.parse().map_err(|_| WireError::new(ErrorCode::BadLine, "malformed proof"))
}

const BAD_NAME: WireError = WireError::new(ErrorCode::BadName, "a name is malformed");

/// Offers or withdrawals.
fn parse_list<T: FromStr<Err = BadOffer>>(list: &[u8]) -> Result<Vec<T>, WireError> {
    list.split(|&byte| byte == b',')
        .map(|one| {
            let one = std::str::from_utf8(one).map_err(|_| BAD_NAME)?;
            one.parse().map_err(|error| match error {
                BadOffer::Name => BAD_NAME,
                BadOffer::Terms => {
                    WireError::new(ErrorCode::BadLine, "the terms of a name are malformed")
                }
            })
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

impl fmt::Display for Line {
    /// The line as on the wire, without its LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { peer, proof: None } => write!(f, "HELLO:{VERSION}:{peer}"),
            Self::Hello { peer, proof: Some(proof) } => {
                write!(f, "HELLO:{VERSION}:{peer}:{proof}")
            }
            Self::Register(offers) => write_list(f, "REGISTER", offers),
            Self::Unregister(names) => write_list(f, "UNREGISTER", names),
            Self::Welcome(peer) => write!(f, "OK:0:{peer}"),
            Self::Ok(count) => write!(f, "OK:{count}"),
            Self::Redial => f.write_str("REDIAL:"),
            Self::Error(code, text) => write!(f, "ERROR:{code}:{text}"),
            Self::Forward(id, requested) => write!(f, "FORWARD:{id}:{requested}"),
            Self::Fail(id, reason) => write!(f, "FAIL:{id}:{reason}"),
            Self::Data { id, token, to } => {
                write!(f, "DATA:{id}")?;
                if let Some((peer, proof)) = token {
                    write!(f, ":{peer}:{proof}")?;
                }
                write_addressee(f, to.as_ref())
            }
            Self::DataUntold(id) => write!(f, "DATA:{id};forwarded=no"),
            Self::Open { id, requested, token } => {
                write!(f, "OPEN:{id}:{requested}")?;
                token.as_ref().map_or(Ok(()), |(peer, proof)| write!(f, ";token={peer}:{proof}"))
            }
            Self::DataIdle { peer, proof, to } => {
                write!(f, "DATA:idle:{peer}")?;
                if let Some(proof) = proof {
                    write!(f, ":{proof}")?;
                }
                write_addressee(f, to.as_ref())
            }
        }
    }
}

fn write_addressee(f: &mut fmt::Formatter<'_>, to: Option<&PeerId>) -> fmt::Result {
    to.map_or(Ok(()), |to| write!(f, ";to={to}"))
}

fn write_list(f: &mut fmt::Formatter<'_>, verb: &str, list: &[impl fmt::Display]) -> fmt::Result {
    write!(f, "{verb}:")?;
    for (index, one) in list.iter().enumerate() {
        write!(f, "{}{one}", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

/// Offers or withdrawals in order, in as few groups as possible, each of which fits a line.
pub fn in_lines<T: fmt::Display>(list: impl IntoIterator<Item = T>) -> Vec<Vec<T>> {
    let room = LINE_BYTES - "UNREGISTER:".len();
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut used = 0;
    for one in list {
        let length = one.to_string().len() + 1;
        match groups.last_mut() {
            Some(group) if used + length <= room => group.push(one),
            _ => {
                groups.push(vec![one]);
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

    use super::super::requested::TlsVersion;
    use super::*;
    use crate::limits::RETRY_UNHEALTHY_MOST;
    use crate::offer::{Terms, Way};
    use crate::trace_context::TraceContext;
    use ipnet::IpNet;
    use std::net::SocketAddr;

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
        assert_eq!(Line::parse(b"REGISTER:"), Ok(Line::Register(Vec::new())), "a heartbeat");
        assert_eq!(code(b"UNREGISTER:"), Some(BadName));
        for names in
            [&b"a,"[..], b",a", b"a b", b"a\rb", b"a\0b", b"\x1b[2J", b"_a", b"a:80", b"\xff"]
        {
            assert_eq!(code(&[b"REGISTER:", names].concat()), Some(BadName), "{names:?}");
        }
    }

    #[test]
    fn a_forward_may_name_an_ipv6_literal() {
        let line = "FORWARD:00000000000000000000000000000001:[::1]:tcp:[2001:db8::1]:80";
        assert_eq!(Line::parse(line.as_bytes()).unwrap().to_string(), line);
        for text in ["app:1.2.3.4:5", "app:quic:1.2.3.4:5", "app:tcp:1.2.3.4:5;tls=1.1"] {
            let line = format!("FORWARD:00000000000000000000000000000001:{text}");
            assert_eq!(code(line.as_bytes()), Some(ErrorCode::BadLine), "{text}");
        }
    }

    #[test]
    fn names_are_spread_over_lines_that_fit() {
        let named = |n| format!("name-{n}.example;ways=connect").parse().unwrap();
        let offers: Vec<Offer> = (0..2000).map(named).collect();
        let groups = in_lines(offers.clone());
        assert!(groups.len() > 1);
        assert_eq!(groups.concat(), offers);
        for group in groups {
            assert!(Line::Register(group).to_string().len() <= LINE_BYTES);
        }
    }

    fn names() -> impl Strategy<Value = Vec<Name>> {
        let name = r"(\*\.)?[a-z0-9-][a-z0-9_-]{0,8}(\.[a-z0-9][a-z0-9_-]{0,8}){0,3}";
        prop::collection::vec(name.prop_map(|text| Name::registered(&text).unwrap()), 1..5)
    }

    fn withdrawals() -> impl Strategy<Value = Vec<Withdrawal>> {
        (names(), prop::option::of(1..=RETRY_UNHEALTHY_MOST)).prop_map(|(names, unhealthy)| {
            names.into_iter().map(|name| Withdrawal { name, unhealthy }).collect()
        })
    }

    fn offers() -> impl Strategy<Value = Vec<Offer>> {
        let nets = prop::collection::vec((any::<std::net::IpAddr>(), 0..=32_u8), 0..4);
        let path = prop::collection::vec(peers(), 0..4);
        let terms = (1..32_u8, nets, any::<bool>(), any::<bool>(), path);
        let terms = terms.prop_map(|(ways, nets, forwarded, h2c, path)| Terms {
            ways: Way::ALL.iter().copied().filter(|way| ways >> *way as u8 & 1 == 1).collect(),
            allow: nets.into_iter().map(|(ip, bits)| IpNet::new(ip, bits).unwrap()).collect(),
            forwarded,
            h2c,
            path: path.into(),
        });
        (names(), terms).prop_map(|(names, terms)| {
            names.into_iter().map(|name| Offer { name, terms: terms.clone() }).collect()
        })
    }

    fn requested() -> impl Strategy<Value = Requested> {
        let way = prop::sample::select(Way::ALL);
        let tls = prop::option::of(prop::sample::select(TlsVersion::ALL));
        let authority = prop::option::of(names().prop_map(|names| names[0].clone()));
        let id = any::<[u8; 24]>().prop_filter("an id is not zero", |id| id[0] > 0 && id[23] > 0);
        let trace = (id, any::<bool>()).prop_map(|(id, is_sampled)| TraceContext {
            trace: id[..16].try_into().unwrap(),
            span: id[16..].try_into().unwrap(),
            is_sampled,
        });
        let trace = prop::option::of(trace);
        (names(), way, addrs(), prop::option::of(addrs()), authority, tls, trace).prop_map(
            |(names, way, source, dest, authority, tls, trace)| Requested {
                name: names[0].clone(),
                way,
                source,
                dest,
                authority,
                tls,
                trace,
            },
        )
    }

    fn peers() -> impl Strategy<Value = PeerId> {
        "[A-Za-z0-9._-]{1,20}(/[A-Za-z0-9._-]{1,20})?".prop_map(|id| id.parse().unwrap())
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
            offers().prop_map(Line::Register),
            withdrawals().prop_map(Line::Unregister),
            peers().prop_map(Line::Welcome),
            any::<usize>().prop_map(Line::Ok),
            Just(Line::Redial),
            (code, "[ -~]{0,20}").prop_map(|(code, text)| Line::Error(code, text)),
            (ids(), requested()).prop_map(|(id, requested)| Line::Forward(id, requested)),
            (ids(), reason).prop_map(|(id, reason)| Line::Fail(id, reason)),
            (ids(), prop::option::of((peers(), proofs())), prop::option::of(peers()))
                .prop_map(|(id, token, to)| Line::Data { id, token, to }),
            (peers(), prop::option::of(proofs()), prop::option::of(peers()))
                .prop_map(|(peer, proof, to)| Line::DataIdle { peer, proof, to }),
            ids().prop_map(Line::DataUntold),
            (ids(), requested(), prop::option::of((peers(), proofs()))).prop_map(
                |(id, requested, token)| {
                    let requested = Box::new(requested);
                    Line::Open { id, requested, token }
                }
            ),
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
