//! The name that a request head asks for: by its Host and its target, which must agree.

use httparse::Header;

use super::fields::is;
use super::flaw::Flaw;
use crate::names::Name;

/// The name in the one Host field, [likely](Name::requested_likely) this one. Two are
/// refused even when equal (RFC 9112 §3.2).
pub(super) fn host(fields: &[Header<'_>], likely: Option<&Name>) -> Result<Option<Name>, Flaw> {
    let mut hosts = fields.iter().filter(|field| is(field.name, "Host"));
    let field = match (hosts.next(), hosts.next()) {
        (None, _) => return Ok(None),
        (Some(field), None) => field,
        (Some(_), Some(_)) => return Err(Flaw::Head),
    };
    let value = std::str::from_utf8(field.value).map_err(|_| Flaw::Head)?;
    let name = match likely {
        Some(likely) => Name::requested_likely(value, likely),
        None => Name::requested(value),
    };
    name.map(Some).map_err(|_| Flaw::Head)
}

/// `name:port`, the port present and not 0 (RFC 9110 §9.3.6).
pub(super) fn connect_target(target: &str) -> Result<Name, Flaw> {
    let (_, port) = target.rsplit_once(':').ok_or(Flaw::Head)?;
    match port.parse::<u16>() {
        // A sign is refused with the name.
        Ok(1..) => requested(target),
        _ => Err(Flaw::Head),
    }
}

/// Origin form, asterisk form, or an absolute form of the same name (RFC 9112
/// §3.2).
pub(super) fn check_target(target: &str, name: &Name) -> Result<(), Flaw> {
    if !target.is_ascii() {
        return Err(Flaw::Head);
    }
    if target.starts_with('/') || target == "*" {
        return Ok(());
    }
    let (scheme, rest) = target.split_once("://").ok_or(Flaw::Head)?;
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let agrees = is_scheme(scheme) && requested(authority)? == *name;
    if agrees { Ok(()) } else { Err(Flaw::Head) }
}

/// `scheme` of RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn requested(text: &str) -> Result<Name, Flaw> {
    Name::requested(text).map_err(|_| Flaw::Head)
}
