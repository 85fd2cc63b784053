//! Routing names, peer ids and proxy ids: what is valid on the wire, in a Host and in
//! a metric label.

use std::borrow::Borrow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{NAME_BYTES, PEER_ID_BYTES};

/// A routing name in its one normal form: lower case, no trailing dot, no port.
///
/// 1 to 253 bytes of labels of ASCII letters, digits, `-` and `_`, none empty,
/// none starting with `_`. A registered name may be a wildcard (`*.example.org`);
/// a requested name never is. An IPv6 literal keeps its brackets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The text is not a routing name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a routing name: expected 1 to {NAME_BYTES} bytes, dot-separated labels of letters, digits, '-' and '_', none empty or starting with '_'"
)]
pub struct BadName;

impl Name {
    /// The name that a Host, an SNI or a CONNECT target asks for: any `:port`
    /// and one trailing dot are removed.
    ///
    /// # Errors
    /// [`BadName`] when the rest is not a name, or the port is not a number.
    pub fn requested(text: &str) -> Result<Self, BadName> {
        Self::normalise(strip_port(text)?)
    }

    /// As [`requested`](Self::requested). Where that is `likely`, a requested name too, it
    /// costs no more than to compare them.
    ///
    /// # Errors
    /// As [`requested`](Self::requested).
    pub fn requested_likely(text: &str, likely: &Self) -> Result<Self, BadName> {
        match strip_port(text)? {
            host if host == likely.as_str() => Ok(likely.clone()),
            host => Self::normalise(host),
        }
    }

    /// The name that a peer registers or a configuration serves: it may begin with
    /// `*.` and must not have a port.
    ///
    /// # Errors
    /// [`BadName`] when the text is not a name.
    pub fn registered(text: &str) -> Result<Self, BadName> {
        match text.strip_prefix("*.") {
            Some(rest) => {
                let rest = Self::normalise(rest)?;
                if rest.0.starts_with('[') || rest.0.len() + 2 > NAME_BYTES {
                    return Err(BadName);
                }
                Ok(Self(format!("*.{rest}").into()))
            }
            None => Self::normalise(text),
        }
    }

    /// The wildcard that covers this name: its first label replaced by `*`.
    /// `None` for a name of one label and for an IPv6 literal.
    pub fn wildcard(&self) -> Option<String> {
        let (_, parent) = self.0.split_once('.')?;
        (!self.0.starts_with('[')).then(|| format!("*.{parent}"))
    }

    /// Whether this is a wildcard followed by a single label, such as `*.local`.
    ///
    /// A certificate with such a name is valid for none of the names that the wildcard
    /// seems to cover: webpki, like browsers, wants two labels or more after `*.`.
    pub fn is_single_label_wildcard(&self) -> bool {
        self.0.strip_prefix("*.").is_some_and(|rest| !rest.contains('.'))
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn normalise(text: &str) -> Result<Self, BadName> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| BadName)?;
            return Ok(Self(format!("[{address}]").into()));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > NAME_BYTES {
            return Err(BadName);
        }
        if !text.split('.').all(is_label) {
            return Err(BadName);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && !label.starts_with('_') && label.bytes().all(plain)
}

fn strip_port(text: &str) -> Result<&str, BadName> {
    let end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(BadName)? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(host),
        // RFC 3986 §3.2.3 lets the port be empty.
        Some("") => Ok(host),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<u16>().map_err(|_| BadName)?;
            Ok(host)
        }
        _ => Err(BadName),
    }
}

impl FromStr for Name {
    type Err = BadName;

    /// As [`Name::registered`].
    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::registered(text)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which names are meant: all (`*`), one, or with `*.` in front those with one label in its
/// place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamePattern {
    /// `*`.
    Any,
    /// A name, or a wildcard, which covers itself, too.
    Name(Name),
}

/// The text is not a name pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a name, such as app.example, a wildcard, such as *.example, or * for all")]
pub struct BadPattern;

impl NamePattern {
    /// Whether `name`, which may be a wildcard itself, is meant.
    pub fn covers(&self, name: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::Name(pattern) => {
                pattern == name || name.wildcard().as_deref() == Some(pattern.as_str())
            }
        }
    }
}

impl FromStr for NamePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        match text {
            "*" => Ok(Self::Any),
            _ => Name::registered(text).map(Self::Name).map_err(|_| BadPattern),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The id of one running process: 1 to 255 bytes of letters, digits, `-`, `_` and
/// `.`. Processes that do the same may each be an instance of one id: `site-1/pod-abc`.
/// `@` and `>` are reserved for paths through peers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

/// The text is not a peer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a peer id: expected 1 to {PEER_ID_BYTES} letters, digits, '-', '_' or '.', and for an \
     instance '/' and its own"
)]
pub struct BadPeerId;

impl PeerId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which of the processes with one id this is, if they are told apart.
    pub fn instance(&self) -> Option<&str> {
        Some(self.0.split_once('/')?.1)
    }

    /// What all its instances have in common.
    pub fn without_instance(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// This very instance of the peer.
    ///
    /// # Errors
    /// [`BadPeerId`], also where this is an instance already.
    pub fn with_instance(&self, instance: &str) -> Result<Self, BadPeerId> {
        format!("{self}/{instance}").parse()
    }

    /// What a process is called that runs beside this one for a while, to take its place:
    /// another instance.
    ///
    /// # Errors
    /// [`BadPeerId`] where that is too long.
    pub fn beside(&self) -> Result<Self, BadPeerId> {
        match self.instance() {
            None => self.with_instance("next"),
            Some(_) => format!("{self}.next").parse(),
        }
    }

    /// Whether who proves to be `self` may call itself `other`: the same, or an instance.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.0.strip_prefix(&*self.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for PeerId {
    type Err = BadPeerId;

    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_plain = |part: &str| !part.is_empty() && part.bytes().all(plain);
        let (id, instance) = text.split_once('/').unzip();
        let parts = [Some(id.unwrap_or(text)), instance];
        if text.len() > PEER_ID_BYTES || !parts.into_iter().flatten().all(is_plain) {
            return Err(BadPeerId);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The 128-bit random id of one request, as 32 lower-case hex digits on the
/// wire. Single use; in logs, never a metric label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyId([u8; 16]);

/// The text is not a proxy id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy id: expected 32 lower-case hex digits")]
pub struct BadProxyId;

impl ProxyId {
    /// The id made of these random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes that it was made of.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl FromStr for ProxyId {
    type Err = BadProxyId;

    fn from_str(text: &str) -> Result<Self, BadProxyId> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(lower_hex) {
            return Err(BadProxyId);
        }
        let value = u128::from_str_radix(text, 16).map_err(|_| BadProxyId)?;
        Ok(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_requested_name_loses_case_port_and_one_trailing_dot() {
        let normal = |text| Name::requested(text).map(|name| name.to_string());
        assert_eq!(normal("A.Example.:443").as_deref(), Ok("a.example"));
        assert_eq!(normal("[::1]:80").as_deref(), Ok("[::1]"));
        assert_eq!(normal("[0:0::1]").as_deref(), Ok("[::1]"));
        assert_eq!(normal("10.0.0.1:8080").as_deref(), Ok("10.0.0.1"));
        assert_eq!(normal("app:").as_deref(), Ok("app"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(254);
        for text in [
            "", ".", "a..b", "_x.y", "a._b", "a b", "a\rb", "a\0b", "a\x1bb", "é", "*.a", "a:x",
            "a:70000", "a:+80", "[::1", "[::1]x", "::1", "a@b", "a>b", &long,
        ] {
            assert_eq!(Name::requested(text), Err(BadName), "{text:?}");
        }
        for text in ["a:80", "*", "*.", "**.a", "a.*.b", "*.[::1]", "*._a"] {
            assert_eq!(Name::registered(text), Err(BadName), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_replaces_exactly_the_first_label() {
        let wildcard = |text| Name::requested(text).unwrap().wildcard();
        assert_eq!(wildcard("a.b.c").as_deref(), Some("*.b.c"));
        assert_eq!(wildcard("single"), None);
        assert_eq!(wildcard("[::ffff:1.2.3.4]"), None);
        assert_eq!(Name::registered("*.B.c.").unwrap().as_str(), "*.b.c");
    }

    #[test]
    fn an_instance_is_covered_by_its_id_alone() {
        let id = |text: &str| text.parse::<PeerId>().unwrap();
        let site = id("site");
        assert_eq!(site.with_instance("pod-1").unwrap(), id("site/pod-1"));
        assert_eq!(id("site/pod-1").instance(), Some("pod-1"));
        assert!(site.covers(&site) && site.covers(&id("site/pod-1")));
        assert!(!site.covers(&id("site-2")) && !site.covers(&id("site-2/pod-1")));
        assert!(!id("site/pod-1").covers(&site) && !id("site/a").covers(&id("site/ab")));
        for text in ["/", "a/", "/a", "a/b/c", "a/b@c"] {
            assert_eq!(text.parse::<PeerId>(), Err(BadPeerId), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in ".{0,40}") {
            if let Ok(name) = Name::requested(&text) {
                prop_assert_eq!(Name::requested(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::registered(name.as_str()), Ok(name));
            }
        }

        #[test]
        fn a_name_holds_no_separator_of_the_wire(text in "[ -~]{0,40}") {
            if let Ok(name) = Name::registered(&text) {
                prop_assert!(!name.as_str().contains([',', '@', '>', '\n', '\r', ' ']));
                prop_assert!(name.as_str().len() <= NAME_BYTES);
            }
        }

        #[test]
        fn a_proxy_id_reads_back_what_it_writes(bytes: [u8; 16]) {
            let id = ProxyId::from_random(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
