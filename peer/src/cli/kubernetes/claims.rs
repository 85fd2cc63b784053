//! Which Service gets which name: Services and what the peer may do in, services and refusals
//! out. Pure.

use std::collections::BTreeMap;

use super::annotations::{Refusal, read};
use super::object::{Annotated, Key};
use crate::config::Service;
use crate::names::Name;
use crate::observe::metrics::ServiceRefusal;

/// What is to be served, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// By name.
    pub(super) services: BTreeMap<Name, Service>,
    /// The Services of Kubernetes that have at least one of those names.
    pub(super) served: usize,
    /// What was refused, and why, with what to do about it.
    pub(super) refused: Refused,
}

/// Refusals of Services, and what they say.
pub(super) type Refused = BTreeMap<(Key, ServiceRefusal), String>;

/// Gives each name to the oldest Service that asks for it, and among those of one second to the
/// first by namespace and name. Names of the peer's own settings are never given away, nor those
/// that it is not permitted, and no more than `most`.
pub(super) fn judge<'a>(
    annotated: impl Iterator<Item = &'a Annotated>,
    own: &BTreeMap<Name, Service>,
    permits: impl Fn(&Name) -> bool,
    most: usize,
) -> Claims {
    let mut by_age: Vec<&Annotated> = annotated.collect();
    by_age.sort_by_key(|one| (&one.created, &one.key));
    let mut claims = Claims::default();
    let mut owners: BTreeMap<Name, &Key> = BTreeMap::new();
    for one in by_age {
        let asked = match read(one) {
            Ok(asked) => asked,
            Err(Refusal { reason, problem }) => {
                claims.refused.insert((one.key.clone(), reason), problem);
                continue;
            }
        };
        let mut is_served = false;
        for name in asked.names {
            let verdict = if own.contains_key(&name) {
                let problem = format!(
                    "{name} is a service of the peer's own settings, too, which keep it: remove it \
                     from those, or from the annotation"
                );
                Err((ServiceRefusal::NameTaken, problem))
            } else if let Some(owner) = owners.get(&name) {
                let problem = format!(
                    "{name} belongs to {owner}, which is older: remove it from one of the two"
                );
                Err((ServiceRefusal::NameTaken, problem))
            } else if !permits(&name) {
                let problem = format!(
                    "the certificate in tls_cert does not permit {name}: issue one that does, or \
                     remove the name from the annotation"
                );
                Err((ServiceRefusal::NotPermitted, problem))
            } else if claims.services.len() >= most {
                let problem = format!(
                    "{name} is one name too many for one peer: have another one watch this \
                     namespace"
                );
                Err((ServiceRefusal::TooManyNames, problem))
            } else {
                Ok(())
            };
            match verdict {
                Ok(()) => {
                    owners.insert(name.clone(), &one.key);
                    claims.services.insert(name, asked.service.clone());
                    is_served = true;
                }
                Err((reason, problem)) => {
                    let said = claims.refused.entry((one.key.clone(), reason)).or_default();
                    if !said.is_empty() {
                        said.push_str("; ");
                    }
                    said.push_str(&problem);
                }
            }
        }
        claims.served += usize::from(is_served);
    }
    claims
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::kubernetes::object::{Port, Spec};

    fn service(name: &str, created: &str, names: &str) -> Annotated {
        let port = Port { name: None, protocol: None, port: 80, target: None };
        Annotated {
            key: Key { namespace: "shop".parse().unwrap(), name: name.to_owned() },
            created: created.to_owned(),
            annotations: [("name".to_owned(), names.to_owned())].into(),
            spec: Spec { ports: vec![port], ..Spec::default() },
        }
    }

    /// Which Service has which name, and the words for what is refused.
    fn judged(services: &[Annotated], own: &str, most: usize) -> (Vec<String>, Vec<String>) {
        let own: BTreeMap<Name, Service> = own
            .split_whitespace()
            .map(|name| (name.parse().unwrap(), Service::default()))
            .collect();
        let permits = |name: &Name| !name.as_str().ends_with(".forbidden");
        let claims = judge(services.iter(), &own, permits, most);
        let has = |(name, service): (&Name, &Service)| {
            let host = &service.backend.as_ref().unwrap().host;
            format!("{name}={}", host.split('.').next().unwrap())
        };
        let why = |(key, reason): &(Key, ServiceRefusal)| format!("{} {reason}", key.name);
        (claims.services.iter().map(has).collect(), claims.refused.keys().map(why).collect())
    }

    #[test]
    fn the_oldest_has_the_name_and_among_equals_the_first() {
        let old = service("z", "2024-01-01T00:00:00Z", "app");
        let new = service("a", "2024-01-01T00:00:01Z", "app,other");
        let equal = service("b", "2024-01-01T00:00:01Z", "other");
        let all = [equal, new, old];
        let (has, refused) = judged(&all, "", 10);
        assert_eq!(has, ["app=z", "other=a"]);
        assert_eq!(refused, ["a name_taken", "b name_taken"]);
        // When the oldest has gone, the next one follows.
        let (has, refused) = judged(&all[..2], "", 10);
        assert_eq!(has, ["app=a", "other=a"]);
        assert_eq!(refused, ["b name_taken"]);
    }

    #[test]
    fn what_is_refused_costs_no_other_name() {
        let all = [
            service("a", "1", "own.example,one.example"),
            service("b", "2", "x.forbidden,two.example,y.forbidden"),
            service("c", "3", "not a name"),
            service("d", "4", "three.example"),
        ];
        let (has, refused) = judged(&all, "own.example", 2);
        assert_eq!(has, ["one.example=a", "two.example=b"]);
        assert_eq!(refused, ["a name_taken", "b not_permitted", "c bad_name", "d too_many_names"]);
        let claims =
            judge(all[1..2].iter(), &BTreeMap::new(), |name| name.as_str() == "two.example", 9);
        let said = claims.refused.values().next().unwrap();
        assert!(said.contains("x.forbidden") && said.contains("y.forbidden"), "{said}");
        assert_eq!(claims.served, 1);
    }

    proptest! {
        #[test]
        fn the_order_in_which_services_come_decides_nothing(
            ages in proptest::collection::vec((0..3_u8, 0..4_u8), 1..8),
            turn in 0..8_usize,
        ) {
            let mut all: Vec<Annotated> = ages.iter().enumerate().map(|(index, (age, name))| {
                service(&format!("s{index}"), &age.to_string(), &format!("n{name}"))
            }).collect();
            let before = judged(&all, "n0", 3);
            let turn = turn % all.len();
            all.rotate_left(turn);
            prop_assert_eq!(judged(&all, "n0", 3), before);
        }
    }
}
