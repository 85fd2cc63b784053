//! What the backend of a request must have been told of its client, from what is true of that
//! client. It is a writer of its own: the peer's must agree with it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::message::BETWEEN_TOLD;

/// A client as its listening peer must know it.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its address, or that of the client that it speaks for.
    pub ip: IpAddr,
    /// It came over TLS, which ended there.
    pub secure: bool,
    /// It is a trusted proxy: what it says of clients is kept.
    pub trusted: bool,
}

/// What was asked for, of which a backend was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) client: &'a Known,
    /// Whether the backend is told of clients: one of these. Nothing is known if there are none.
    pub(super) tells: &'a BTreeSet<bool>,
    /// The Host, as it was written.
    pub(super) host: &'a str,
    /// The same without what makes no difference.
    pub(super) name: &'a str,
    /// The fields about clients that came with it.
    pub(super) claims: &'a [String],
}

/// What backends have said on one connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    last: Option<Given>,
}

/// An id that a peer has given: that of the n-th request of a stretch.
#[derive(Debug)]
struct Given {
    stretch: String,
    nth: u64,
    name: String,
}

impl Told {
    /// Compares what the backend of the next answer says that it was told with what it must have
    /// been; whether it was told anything by a peer. `is_new` is asked whether no backend was
    /// told an id before.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(
        &mut self,
        said: Option<&str>,
        asked: Asked<'_>,
        is_new: impl FnOnce(&str) -> bool,
    ) -> Result<bool, String> {
        let said = said.into_iter().flat_map(|said| said.split(BETWEEN_TOLD));
        let mut said: Vec<String> = said.map(str::to_owned).collect();
        said.sort();
        let claimed = asked.claims.iter().map(|claim| line(claim));
        let mut claimed: Vec<String> = claimed.map(|(name, value)| field(&name, value)).collect();
        claimed.sort();
        if asked.tells.is_empty() || asked.tells.contains(&false) && said == claimed {
            return Ok(false);
        }
        if !asked.tells.contains(&true) {
            return Err(format!("it was told {said:?}, not {claimed:?}"));
        }
        let (mut must, is_given_id) = must_be_told(asked.client, asked.host, asked.claims);
        must.sort();
        let id = said.iter().position(|field| is_given_id && field.starts_with(ID));
        let id = id.map(|at| said.remove(at));
        if said != must {
            return Err(format!("it was told {said:?}, not {must:?}"));
        }
        match id {
            Some(id) => self.is_given(id.trim_start_matches(ID), asked.name, is_new)?,
            None if is_given_id => return Err("it was told no id".to_owned()),
            None => self.last = None,
        }
        Ok(true)
    }

    /// Requests of one stretch follow each other, and no two stretches have one id.
    fn is_given(
        &mut self,
        id: &str,
        name: &str,
        is_new: impl FnOnce(&str) -> bool,
    ) -> Result<(), String> {
        let Some((stretch, nth)) = parts(id) else { return Err(format!("{id:?} is no id")) };
        let last = self.last.take().filter(|last| last.stretch == stretch);
        let is_next = match &last {
            Some(last) => (last.nth + 1, last.name.as_str()) == (nth, name),
            None => nth == 1 && is_new(stretch),
        };
        if !is_next {
            return Err(format!("its id is {id}, behind {last:?}"));
        }
        self.last = Some(Given { stretch: stretch.to_owned(), nth, name: name.to_owned() });
        Ok(())
    }
}

/// How the field begins that has the id of a request.
const ID: &str = "x-request-id: ";

/// The id of a stretch, and which of its requests it is.
fn parts(id: &str) -> Option<(&str, u64)> {
    let (stretch, nth) = id.split_once('.')?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let number = nth.parse().ok()?;
    (stretch.len() == 32 && stretch.bytes().all(is_hex) && nth == format!("{number}"))
        .then_some((stretch, number))
}

/// What a backend that is told of clients must be told of this one with a request for `host`, in
/// no order: fields without the id that a peer gives it; and whether one does.
pub(super) fn must_be_told(client: &Known, host: &str, claims: &[String]) -> (Vec<String>, bool) {
    // What strangers say is removed.
    let kept: Vec<_> = claims.iter().filter(|_| client.trusted).map(|claim| line(claim)).collect();
    let of = |name: &'static str| {
        let same = kept.iter().filter(move |(one, _)| one.replace('_', "-") == name);
        same.map(|(_, value)| *value)
    };
    let Known { ip, secure, .. } = *client;
    let proto = if secure { "https" } else { "http" };
    let address = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
    let element = format!("for={address};host=\"{host}\";proto={proto}");
    let mut fields = Vec::new();
    let lists = [("x-forwarded-for", ip.to_string()), ("forwarded", element)];
    for (name, last) in &lists {
        let all: Vec<&str> = of(name).chain([last.as_str()]).collect();
        fields.push(field(name, &all.join(", ")));
    }
    for (name, value) in [("x-forwarded-proto", proto), ("x-forwarded-host", host)] {
        if of(name).next().is_none() {
            fields.push(field(name, value));
        }
    }
    let is_list = |name: &str| lists.iter().any(|list| list.0 == name.replace('_', "-"));
    let others = kept.iter().filter(|(name, _)| !is_list(name));
    fields.extend(others.map(|(name, value)| field(name, value)));
    (fields, of("x-request-id").next().is_none())
}

/// The name of a field, in lower case, and its value.
fn line(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim())
}

fn field(name: &str, value: &str) -> String {
    format!("{name}: {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRETCH: &str = "00112233445566778899aabbccddeeff";

    fn said(id: &str) -> String {
        let fields = [
            "x-forwarded-for: 192.168.0.4",
            "x-forwarded-proto: http",
            "x-forwarded-host: App",
            "forwarded: for=192.168.0.4;host=\"App\";proto=http",
            &format!("x-request-id: {id}"),
        ];
        fields.join(BETWEEN_TOLD)
    }

    fn check(told: &mut Told, said: &str, claims: &[&str]) -> Result<bool, String> {
        let client = Known { ip: [192, 168, 0, 4].into(), secure: false, trusted: false };
        let claims: Vec<String> = claims.iter().map(|&claim| claim.to_owned()).collect();
        let tells = BTreeSet::from([true]);
        let (host, name) = ("App", "app");
        let asked = Asked { client: &client, tells: &tells, host, name, claims: &claims };
        told.check(Some(said), asked, |_| true)
    }

    #[test]
    fn a_backend_is_told_what_is_true_and_nothing_else() {
        let good = said(&format!("{STRETCH}.1"));
        assert_eq!(check(&mut Told::default(), &good, &["Forwarded: for=_me"]), Ok(true));
        for bad in [
            good.replace("for: 192.168.0.4", "for: 192.168.0.5"),
            good.replace("App\"", "app\""),
            good.replace("proto: http", "proto: https"),
            format!("{good}{BETWEEN_TOLD}x_forwarded_proto: https"),
            good.replace(".1", ".01"),
            good.replace(STRETCH, "0011"),
            good[..good.find(" | x-request-id").unwrap()].to_owned(),
        ] {
            assert!(check(&mut Told::default(), &bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn requests_of_one_stretch_are_numbered() {
        let mut told = Told::default();
        let nth = |n: u64| said(&format!("{STRETCH}.{n}"));
        assert!(check(&mut Told::default(), &nth(2), &[]).is_err(), "it begins with the first");
        assert_eq!(check(&mut told, &nth(1), &[]), Ok(true));
        assert_eq!(check(&mut told, &nth(2), &[]), Ok(true));
        assert!(check(&mut told, &nth(2), &[]).is_err(), "twice");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept() {
        let client = Known { ip: [192, 0, 2, 7].into(), secure: true, trusted: true };
        let claims = ["X-Forwarded-For: 10.0.0.1", "X_Forwarded_Proto: gopher", "X-Request-Id: a"];
        let (mut fields, is_given_id) = must_be_told(&client, "app", &claims.map(str::to_owned));
        fields.sort();
        let must = [
            "forwarded: for=192.0.2.7;host=\"app\";proto=https",
            "x-forwarded-for: 10.0.0.1, 192.0.2.7",
            "x-forwarded-host: app",
            "x-request-id: a",
            "x_forwarded_proto: gopher",
        ];
        assert_eq!((fields, is_given_id), (must.map(str::to_owned).to_vec(), false));
    }
}
