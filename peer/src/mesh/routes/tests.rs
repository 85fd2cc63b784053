//! Who gets which request.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::trust::{Identity, TokenRules};

fn name(text: &str) -> Name {
    Name::registered(text).unwrap()
}

fn peer(text: &str) -> Owner {
    Owner::new(text.parse().unwrap(), &Identity::Plaintext(Ipv4Addr::LOCALHOST.into()))
}

fn offer(text: &str) -> Offer {
    text.parse().unwrap()
}

/// By HTTP, from loopback, with room everywhere.
fn assign(routes: &mut Routes<()>, text: &str, tried: Option<Provider>) -> Lookup<()> {
    reach(routes, text, Way::Http, "127.0.0.1", tried)
}

fn reach(
    routes: &mut Routes<()>,
    text: &str,
    way: Way,
    client: &str,
    tried: Option<Provider>,
) -> Lookup<()> {
    let (name, client) = (name(text), client.parse().unwrap());
    routes.assign(Wanted { name: &name, way, client, tried }, |_, _, _| true)
}

fn chosen(lookup: Lookup<()>) -> Option<Provider> {
    match lookup {
        Lookup::Provided(assigned) => Some(assigned.provider),
        _ => None,
    }
}

/// The link that a new one of `owner` replaces once it registers.
fn open_link(
    routes: &mut Routes<impl Clone + Default>,
    link: LinkId,
    owner: Owner,
) -> Option<LinkId> {
    routes.open_link(link, owner);
    routes.take_over(link)
}

fn two_providers() -> Routes<()> {
    let mut routes = Routes::default();
    for (link, id) in [(LinkId(1), "a"), (LinkId(2), "b")] {
        open_link(&mut routes, link, peer(id));
        routes.register(link, &[offer("app")]).unwrap();
    }
    routes
}

#[test]
fn the_provider_with_fewest_active_requests_is_next() {
    let mut routes = two_providers();
    let (first, second) = (Provider::Link(LinkId(1)), Provider::Link(LinkId(2)));
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
    routes.release(&name("app"), second);
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
    routes.release(&name("app"), first);
    routes.release(&name("app"), second);
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first), "equals take turns");
}

#[test]
fn a_name_withdrawn_and_registered_again_still_has_its_running_requests() {
    let mut routes = two_providers();
    let (first, second) = (Provider::Link(LinkId(1)), Provider::Link(LinkId(2)));
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
    routes.unregister(LinkId(1), &[name("app")], Instant::now());
    routes.register(LinkId(1), &[offer("app")]).unwrap();
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second));
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(first));
    routes.release(&name("app"), first);
    assert_eq!(chosen(assign(&mut routes, "app", None)), Some(second), "one each");
}

#[test]
fn the_provider_already_tried_is_passed_over() {
    let mut routes = two_providers();
    let first = Provider::Link(LinkId(1));
    let second = Provider::Link(LinkId(2));
    assert_eq!(chosen(assign(&mut routes, "app", Some(first))), Some(second));
    routes.close_link(LinkId(2), Instant::now());
    assert_eq!(assign(&mut routes, "app", Some(first)), Lookup::NoProvider(()));
}

#[test]
fn a_provider_without_room_is_passed_over() {
    let mut routes = two_providers();
    let second = Provider::Link(LinkId(2));
    let (app, client) = (name("app"), Ipv4Addr::LOCALHOST.into());
    let wanted = Wanted { name: &app, way: Way::Http, client, tried: None };
    assert_eq!(
        chosen(routes.assign(wanted, |one, _, _| Provider::Link(one) == second)),
        Some(second)
    );
    assert_eq!(routes.assign(wanted, |_, _, _| false), Lookup::Full);
}

#[test]
fn a_name_is_reached_only_in_the_ways_and_by_the_clients_of_its_terms() {
    let mut routes = Routes::<()>::new(10, 10, [Way::Http, Way::Tcp].into_iter().collect());
    open_link(&mut routes, LinkId(1), peer("a"));
    open_link(&mut routes, LinkId(2), peer("b"));
    let first = ["app;ways=http+https;allow=10.0.0.0/8", "raw;ways=tcp"].map(offer);
    routes.register(LinkId(1), &first).unwrap();
    let mut reached = |text, way, client| match reach(&mut routes, text, way, client, None) {
        Lookup::Provided(assigned) => assigned.peer.unwrap().to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(reached("app", Way::Http, "10.1.2.3"), "a");
    assert_eq!(reached("app", Way::Http, "11.1.2.3"), "NotAllowed");
    assert_eq!(reached("app", Way::Connect, "10.1.2.3"), "NotThisWay");
    assert_eq!(reached("app", Way::Https, "10.1.2.3"), "NotThisWay", "this peer says less");
    assert_eq!(reached("raw", Way::Http, "10.1.2.3"), "NotThisWay");
    assert_eq!(reached("raw", Way::Tcp, "10.1.2.3"), "a");
    // Another provider may be more open, and any refresh may change the terms.
    routes.register(LinkId(2), &[offer("app")]).unwrap();
    let served = reach(&mut routes, "app", Way::Http, "11.1.2.3", None);
    assert_eq!(chosen(served), Some(Provider::Link(LinkId(2))));
    routes.register(LinkId(2), &[offer("app;ways=connect;h2c=yes")]).unwrap();
    assert_eq!(reach(&mut routes, "app", Way::Http, "11.1.2.3", None), Lookup::NotAllowed);
    assert!(routes.offers_h2(&name("app")) && !routes.offers_h2(&name("raw")));
}

#[test]
fn an_exact_name_wins_over_a_wildcard_even_unserved() {
    let mut routes = Routes::<()>::default();
    open_link(&mut routes, LinkId(1), peer("a"));
    routes.register(LinkId(1), &[offer("*.example"), offer("app.example")]).unwrap();
    let matched = |routes: &mut Routes<()>, text| match assign(routes, text, None) {
        Lookup::Provided(assigned) => Some(assigned.name.to_string()),
        _ => None,
    };
    assert_eq!(matched(&mut routes, "app.example").as_deref(), Some("app.example"));
    assert_eq!(matched(&mut routes, "web.example").as_deref(), Some("*.example"));
    assert_eq!(assign(&mut routes, "a.b.example", None), Lookup::Unknown);
    routes.unregister(LinkId(1), &[name("app.example")], Instant::now());
    assert_eq!(assign(&mut routes, "app.example", None), Lookup::NoProvider(()));
}

#[test]
fn a_returning_peer_replaces_its_old_link() {
    let mut routes = two_providers();
    assert_eq!(open_link(&mut routes, LinkId(3), peer("a")), Some(LinkId(1)));
    assert_eq!(routes.close_link(LinkId(1), Instant::now()).len(), 1);
    assert_eq!(routes.close_link(LinkId(1), Instant::now()).len(), 0, "only once");
    routes.register(LinkId(3), &[offer("app")]).unwrap();
    assert_eq!(open_link(&mut routes, LinkId(4), peer("a")), Some(LinkId(3)));
}

#[test]
fn a_peer_id_alone_replaces_nobody_who_proved_his() {
    let mut routes = two_providers();
    let id: PeerId = "a".parse().unwrap();
    let owner = |identity| Owner::new(id.clone(), &identity);
    let certificate = |domain: &str| {
        owner(Identity::Certificate { trust_domain: domain.to_owned(), peer: id.clone() })
    };
    assert_eq!(open_link(&mut routes, LinkId(3), certificate("one")), None);
    assert_eq!(open_link(&mut routes, LinkId(4), certificate("two")), None);
    let token = |rule: &str| {
        let rules = format!("[[token]]\nname = '{rule}'\nsecret = '{}'", "s".repeat(32));
        let rule = TokenRules::from_toml(&rules).unwrap().ids().next().unwrap().clone();
        owner(Identity::Token { rule, peer: id.clone() })
    };
    assert_eq!(open_link(&mut routes, LinkId(5), token("one")), None);
    assert_eq!(open_link(&mut routes, LinkId(8), token("two")), None, "another rule");
    assert!(routes.shares_id(&token("three")));
    assert_eq!(open_link(&mut routes, LinkId(9), token("one")), Some(LinkId(5)));
    assert_eq!(open_link(&mut routes, LinkId(6), certificate("one")), Some(LinkId(3)));
    // In plaintext a peer may come back from elsewhere.
    let moved = owner(Identity::Plaintext("10.0.0.9".parse().unwrap()));
    assert_eq!(open_link(&mut routes, LinkId(7), moved), Some(LinkId(1)));
}

#[test]
fn a_name_is_forgotten_after_its_retention_unless_in_use() {
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let mut routes = two_providers();
    routes.close_link(LinkId(1), start);
    routes.close_link(LinkId(2), start + minute);
    routes.forget(start + minute, minute);
    assert_eq!(routes.rows().count(), 1);
    let running = open_link(&mut routes, LinkId(3), peer("a"));
    assert_eq!(running, None);
    routes.register(LinkId(3), &[offer("app")]).unwrap();
    let provider = chosen(assign(&mut routes, "app", None)).unwrap();
    routes.close_link(LinkId(3), start + minute);
    routes.forget(start + 2 * minute, minute);
    assert_eq!(routes.rows().count(), 1, "a request runs");
    routes.release(&name("app"), provider);
    routes.forget(start + 2 * minute, minute);
    assert_eq!(assign(&mut routes, "app", None), Lookup::Unknown);
}

#[test]
fn rows_go_on_after_a_name_that_may_be_gone() {
    let mut routes = Routes::<()>::default();
    for text in ["a", "b", "d"] {
        routes.serve_locally(offer(text));
    }
    let after = |last| routes.rows_after(last).map(|row| row.name.as_str()).collect::<Vec<_>>();
    assert_eq!(after(None), ["a", "b", "d"]);
    assert_eq!(after(Some("b")), ["d"]);
    assert_eq!(after(Some("c")), ["d"]);
    assert!(after(Some("d")).is_empty());
}

#[test]
fn a_list_over_the_limit_registers_nothing() {
    let mut routes = Routes::<()>::default();
    open_link(&mut routes, LinkId(1), peer("a"));
    let names: Vec<Offer> = (0..=NAMES_PER_LINK).map(|n| offer(&format!("n{n}"))).collect();
    assert_eq!(routes.register(LinkId(1), &names), Err(TooManyNames));
    assert_eq!(routes.rows().count(), 0);
    assert_eq!(routes.register(LinkId(1), &names[1..]).unwrap().len(), NAMES_PER_LINK);
    assert_eq!(routes.register(LinkId(1), &names[1..]).unwrap().len(), NAMES_PER_LINK);
}

#[test]
fn when_there_are_too_many_names_the_oldest_unserved_ones_make_room() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut routes = Routes::<()>::new(10, 3, Ways::ALL);
    let pass = |routes: &mut Routes<()>, link: u64, text: &str, at: Duration| {
        open_link(routes, LinkId(link), peer(text));
        let taken = routes.register(LinkId(link), &[offer(text)]);
        if at > Duration::ZERO {
            routes.close_link(LinkId(link), start + at);
        }
        taken.map(|taken| taken.len())
    };
    assert_eq!(pass(&mut routes, 1, "served", Duration::ZERO), Ok(1));
    for (link, text) in [(2, "first"), (3, "second"), (4, "third")] {
        assert_eq!(pass(&mut routes, link, text, link as u32 * second), Ok(1));
    }
    let known = |routes: &Routes<()>| {
        routes.rows().map(|row| row.name.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(known(&routes), "second served third");
    open_link(&mut routes, LinkId(5), peer("greedy"));
    let names = ["n1", "n2", "n3"].map(offer);
    assert_eq!(routes.register(LinkId(5), &names), Err(TooManyNames), "one is served");
    assert_eq!(routes.register(LinkId(5), &names[..2]).map(|taken| taken.len()), Ok(2));
    assert_eq!(known(&routes), "n1 n2 served");
}

#[derive(Debug, Clone)]
enum Op {
    Open(u64, u8),
    Register(u64, u8),
    Unregister(u64, u8),
    Close(u64),
    Assign(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..6_u64, 0..3_u8).prop_map(|(link, peer)| Op::Open(link, peer)),
        (0..6_u64, 0..4_u8).prop_map(|(link, name)| Op::Register(link, name)),
        (0..6_u64, 0..4_u8).prop_map(|(link, name)| Op::Unregister(link, name)),
        (0..6_u64).prop_map(Op::Close),
        (0..4_u8).prop_map(Op::Assign),
    ];
    prop::collection::vec(op, 0..60)
}

#[test]
fn listening_peers_are_asked_last_and_only_while_there_are_any() {
    let mut routes: Routes<()> = Routes::default();
    routes.ask_upstream(name("app"));
    routes.ask_upstream(name("*.far"));
    assert_eq!(assign(&mut routes, "app", None), Lookup::NoProvider(()));
    routes.upstream_opened();
    let upstream = Some(Provider::Upstream);
    assert_eq!(chosen(assign(&mut routes, "app", None)), upstream);
    assert_eq!(chosen(reach(&mut routes, "a.far", Way::Connect, "::1", None)), upstream);
    // Whoever serves it is nearer, however busy, and over however many peers.
    open_link(&mut routes, LinkId(1), peer("a"));
    routes.register(LinkId(1), &[offer("app@x>y>a;ways=http")]).unwrap();
    let near = Some(Provider::Link(LinkId(1)));
    assert_eq!(chosen(assign(&mut routes, "app", None)), near);
    assert_eq!(chosen(assign(&mut routes, "app", None)), near);
    assert_eq!(chosen(assign(&mut routes, "app", near)), upstream);
    assert_eq!(chosen(reach(&mut routes, "app", Way::Tcp, "::1", None)), upstream);
    // They are passed on to nobody.
    let passed = routes.passed_on(&"own".parse().unwrap(), &"hub".parse().unwrap(), |_| true);
    let names: Vec<&str> = passed.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(names, ["app"]);
    let up = |routes: &Routes<()>| routes.rows().map(|row| row.providers.len()).sum::<usize>();
    assert_eq!(up(&routes), 3);
    routes.upstream_closed();
    assert_eq!(assign(&mut routes, "a.far", None), Lookup::NoProvider(()));
    assert_eq!(up(&routes), 1);
}

proptest! {
    /// A model that keeps nothing but the set of live (link, name) pairs.
    #[test]
    fn a_name_is_served_exactly_while_a_link_registers_it(ops in ops()) {
        let now = Instant::now();
        let mut routes = Routes::<()>::default();
        let mut open: BTreeMap<u64, u8> = BTreeMap::new();
        let mut live: BTreeSet<(u64, u8)> = BTreeSet::new();
        let label = |n: u8| name(&format!("n{n}"));
        for op in ops {
            match op {
                Op::Open(link, id) if !open.contains_key(&link) => {
                    let old = open.iter().find(|(_, peer)| **peer == id).map(|(link, _)| *link);
                    prop_assert_eq!(open_link(&mut routes, LinkId(link), peer(&id.to_string())), old.map(LinkId));
                    open.insert(link, id);
                    if let Some(old) = old {
                        routes.close_link(LinkId(old), now);
                        open.remove(&old);
                        live.retain(|(link, _)| *link != old);
                    }
                }
                Op::Open(..) => {}
                Op::Register(link, n) => {
                    let taken = routes.register(LinkId(link), &[label(n).into(), label(n).into()]).unwrap();
                    prop_assert_eq!(taken.len(), usize::from(open.contains_key(&link)));
                    if open.contains_key(&link) {
                        live.insert((link, n));
                    }
                }
                Op::Unregister(link, n) => {
                    let gone = routes.unregister(LinkId(link), &[label(n)], now);
                    prop_assert_eq!(gone.len(), usize::from(live.remove(&(link, n))));
                }
                Op::Close(link) => {
                    let gone = routes.close_link(LinkId(link), now).len();
                    let had = live.iter().filter(|(one, _)| *one == link).count();
                    prop_assert_eq!(gone, had);
                    open.remove(&link);
                    live.retain(|(one, _)| *one != link);
                }
                Op::Assign(n) => {
                    let served = chosen(assign(&mut routes, label(n).as_str(), None));
                    match served {
                        Some(Provider::Link(link)) => prop_assert!(live.contains(&(link.0, n))),
                        _ => prop_assert!(!live.iter().any(|(_, one)| *one == n)),
                    }
                }
            }
            for row in routes.rows() {
                let providers = live.iter().filter(|(_, n)| label(*n) == *row.name).count();
                prop_assert_eq!(row.providers.len(), providers);
            }
        }
    }
}
