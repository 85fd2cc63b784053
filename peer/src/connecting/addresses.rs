//! To which addresses of a host there are links. Pure: what was looked up and when are
//! arguments.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;

use crate::limits::{ADDRESS_GRACE, LINKS_PER_UPSTREAM};

/// What is to become of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is kept, and opened again when it ends.
    Keep,
    /// Its address is gone: it is not opened again.
    UntilItEnds,
    /// Its address has been gone for long: it ends when its requests have.
    Retire,
}

/// The addresses with a link, and since when those that are gone are.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: BTreeMap<IpAddr, Option<Instant>>,
}

impl Addresses {
    /// The host has these addresses now. Returns those that get a link: at most
    /// [`LINKS_PER_UPSTREAM`] of the present ones have one.
    pub(super) fn look(&mut self, found: &[IpAddr], now: Instant) -> Vec<IpAddr> {
        for (ip, gone) in &mut self.known {
            *gone = if found.contains(ip) { None } else { gone.or(Some(now)) };
        }
        let present = self.known.values().filter(|gone| gone.is_none()).count();
        let mut new: Vec<IpAddr> =
            found.iter().filter(|ip| !self.known.contains_key(ip)).copied().collect();
        new.sort();
        new.dedup();
        new.truncate(LINKS_PER_UPSTREAM.saturating_sub(present));
        self.known.extend(new.iter().map(|ip| (*ip, None)));
        new
    }

    /// The link to `ip` has ended for good.
    pub(super) fn ended(&mut self, ip: IpAddr) {
        self.known.remove(&ip);
    }

    /// What is to become of each link.
    pub(super) fn wishes(&self, now: Instant) -> impl Iterator<Item = (IpAddr, Wish)> {
        self.known.iter().map(move |(ip, gone)| {
            let wish = match gone {
                None => Wish::Keep,
                Some(since) if now.duration_since(*since) < ADDRESS_GRACE => Wish::UntilItEnds,
                Some(_) => Wish::Retire,
            };
            (*ip, wish)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn ips(last: &[u8]) -> Vec<IpAddr> {
        last.iter().map(|last| Ipv4Addr::new(10, 0, 0, *last).into()).collect()
    }

    fn wishes(addresses: &Addresses, now: Instant) -> Vec<Wish> {
        addresses.wishes(now).map(|(_, wish)| wish).collect()
    }

    #[test]
    fn an_address_that_is_gone_for_the_grace_is_given_up_and_one_that_returns_is_kept() {
        use Wish::{Keep, Retire, UntilItEnds};
        let start = Instant::now();
        let mut addresses = Addresses::default();
        assert_eq!(addresses.look(&ips(&[2, 1, 2]), start), ips(&[1, 2]));
        assert_eq!(addresses.look(&ips(&[2, 3]), start), ips(&[3]));
        assert_eq!(wishes(&addresses, start), [UntilItEnds, Keep, Keep]);
        let later = start + ADDRESS_GRACE - Duration::from_secs(1);
        addresses.look(&ips(&[3]), later);
        assert_eq!(wishes(&addresses, start + ADDRESS_GRACE), [Retire, UntilItEnds, Keep]);
        addresses.look(&ips(&[1, 3]), later);
        assert_eq!(wishes(&addresses, start + ADDRESS_GRACE), [Keep, UntilItEnds, Keep]);
        addresses.ended(ips(&[1])[0]);
        assert_eq!(addresses.look(&ips(&[1, 3]), later), ips(&[1]));
    }

    #[test]
    fn no_more_links_are_kept_than_may_be_and_those_that_are_gone_make_room() {
        let start = Instant::now();
        let mut addresses = Addresses::default();
        let many: Vec<u8> = (0..40).collect();
        assert_eq!(addresses.look(&ips(&many), start).len(), LINKS_PER_UPSTREAM);
        assert!(addresses.look(&ips(&many), start).is_empty());
        let others = ips(&many[1..]);
        assert_eq!(addresses.look(&others, start), ips(&[LINKS_PER_UPSTREAM as u8]));
    }
}
