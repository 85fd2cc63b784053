//! What can happen to the mesh, drawn from the bytes of an input.

use std::net::{IpAddr, Ipv4Addr};

use ops_proxy::names::{Name, PeerId, ProxyId};
use ops_proxy::offer::Offer;
use ops_proxy::wire::{FailReason, Line, Withdrawal};

use super::model::Session;
use super::sent::sent;
use crate::input::Input;

/// So many steps at most: what can go wrong takes few of them.
const STEPS: usize = 200;

const PEERS: [&str; 3] = ["a", "b", "c"];

const REGISTERED: [&str; 6] =
    ["app", "web.example", "*.example", "api.example", "*.web.example", "[::1]"];

const REQUESTED: [&str; 8] = [
    "app",
    "web.example",
    "api.example",
    "any.example",
    "any.web.example",
    "[::1]",
    "nowhere",
    "example",
];

/// `data` is a sequence of lines and other events. After each of them the tables
/// and the counters are what the model says.
pub fn session(data: &[u8]) {
    let mut input = Input::new(data);
    let local = (input.choice(2) == 1).then(|| name(REGISTERED[0]));
    let mut session = Session::new(local);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut session, &mut input);
        session.check();
    }
}

fn step(session: &mut Session, input: &mut Input<'_>) {
    match input.choice(12) {
        0 => {
            let peer = peer(input);
            let source = source(input);
            let Line::Hello { peer, .. } = sent(Line::Hello { peer, proof: None }) else {
                unreachable!()
            };
            session.hello(peer, source);
        }
        1 => {
            let link = input.byte().into();
            let offers = names(input).into_iter().map(Offer::from).collect();
            let Line::Register(offers) = sent(Line::Register(offers)) else { unreachable!() };
            session.register(link, &offers);
        }
        2 => {
            let link = input.byte().into();
            let names = names(input).into_iter().map(Withdrawal::from).collect();
            let Line::Unregister(names) = sent(Line::Unregister(names)) else { unreachable!() };
            let names: Vec<Name> = names.into_iter().map(|one| one.name).collect();
            session.unregister(link, &names);
        }
        3 => session.close(input.byte().into()),
        4 | 5 => {
            let requested = name(REQUESTED[usize::from(input.choice(8))]);
            let flags = input.byte();
            session.request(&requested, flags & 1 != 0, flags & 2 != 0);
        }
        6 => session.write(input.byte().into()),
        7 => {
            let Line::Data { id, .. } =
                sent(Line::Data { id: id(session, input), token: None, to: None })
            else {
                unreachable!()
            };
            session.data(id, source(input));
        }
        8 => {
            let link = input.byte().into();
            let reason = FailReason::ALL[usize::from(input.choice(4))];
            let Line::Fail(id, reason) = sent(Line::Fail(id(session, input), reason)) else {
                unreachable!()
            };
            session.fail(link, id, reason);
        }
        9 => session.expire(input.byte().into()),
        10 => {
            let request = input.byte().into();
            session.end(request, input.choice(2) == 0);
        }
        _ => session.forget(input.choice(2) == 0),
    }
}

fn name(text: &str) -> Name {
    Name::registered(text).expect("these are names")
}

fn names(input: &mut Input<'_>) -> Vec<Name> {
    let first = usize::from(input.choice(6));
    let set = input.byte();
    let others = (0..6).filter(|index| set & 1 << index != 0);
    std::iter::once(first).chain(others).map(|index| name(REGISTERED[index])).collect()
}

fn peer(input: &mut Input<'_>) -> PeerId {
    PEERS[usize::from(input.choice(3))].parse().expect("these are peer ids")
}

fn source(input: &mut Input<'_>) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, input.choice(2)).into()
}

/// The id of a request so far, or once in a while of none.
fn id(session: &Session, input: &mut Input<'_>) -> ProxyId {
    session.id(input.byte().into())
}
