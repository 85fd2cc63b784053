use rcgen::{CertificateParams, KeyPair, OtherNameValue, SanType};

use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;

use super::*;
use crate::names::{Name, PeerId, ProxyId};
use crate::wire::TokenProof;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn peer(text: &str) -> PeerId {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A certificate for these names or addresses and these URIs.
fn certificate(names: &[&str], uris: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

fn session(certificate: Option<CertificateDer<'static>>, exporter: u8) -> Proven {
    Proven::Tls { certificate, exporter: [exporter; 32] }
}

#[test]
fn a_certificate_names_a_peer_by_exactly_one_spiffe_uri() {
    let of = |uris: &[&str]| certificate_identity(&certificate(&["a.example"], uris));
    let identity = Identity::Certificate { trust_domain: "mesh".into(), peer: peer("site-1") };
    assert_eq!(of(&["spiffe://mesh/peer/site-1"]), Some(identity));
    for uris in [
        &[][..],
        &["spiffe://mesh/peer/site-1", "spiffe://mesh/peer/site-2"],
        &["spiffe://mesh/peer/site-1", "https://example.org/"],
        &["https://mesh/peer/site-1"],
        &["spiffe:///peer/site-1"],
        &["spiffe://mesh/ns/peer/site-1"],
        &["spiffe://mesh/peer/site-1/peer/x"],
        &["spiffe://mesh/peer/a/b"],
        &["spiffe://mesh/peer/"],
        &["spiffe://mesh/peer"],
        &["spiffe://mesh/site-1"],
    ] {
        assert_eq!(of(uris), None, "{uris:?}");
    }
    assert_eq!(certificate_identity(&CertificateDer::from(vec![1, 2, 3])), None);
}

#[test]
fn a_certificate_permits_the_names_that_it_is_valid_for() {
    let names = ["app.example", "*.dev.example", "a_b.example", "10.0.0.1", "::1"];
    let permission = Permission::Certificate(certificate(&names, &[]));
    for (text, permitted) in [
        ("app.example", true),
        ("APP.example.", true),
        ("a_b.example", true),
        ("one.dev.example", true),
        ("*.dev.example", true),
        ("10.0.0.1", true),
        ("[::1]", true),
        ("dev.example", false),
        ("a.one.dev.example", false),
        ("*.one.dev.example", false),
        ("*.example", false),
        ("x.app.example", false),
        ("10.0.0.2", false),
        ("[::2]", false),
    ] {
        assert_eq!(permission.permits(&name(text)), permitted, "{text}");
    }
    assert!(!Permission::Certificate(vec![0].into()).permits(&name("app.example")));
}

#[test]
fn a_certificate_says_what_its_owner_may_reach() {
    let mut params = CertificateParams::new(vec!["own.example".to_owned()]).unwrap();
    let other = |oid: &[u64], text: &str| {
        SanType::OtherName((oid.to_vec(), OtherNameValue::Utf8String(text.to_owned())))
    };
    params.subject_alt_names.extend([
        other(REACH_OID, "*.b.example"),
        other(REACH_OID, "not a pattern"),
        other(&[2, 25, 1], "other.example"),
        other(REACH_OID, "app.example"),
    ]);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    let permission = Permission::Certificate(certificate);
    for (text, reaches) in [
        ("one.b.example", true),
        ("app.example", true),
        ("own.example", false),
        ("other.example", false),
        ("b.example", false),
        ("a.one.b.example", false),
    ] {
        assert_eq!(permission.reaches(&name(text)), reaches, "{text}");
    }
    assert!(permission.permits(&name("own.example")) && !permission.permits(&name("app.example")));
    let of = |names| reach_of(&self::certificate(names, &[]));
    assert!(of(&["app.example"]).is_empty() && reach_of(&vec![0].into()).is_empty());
}

#[test]
fn a_rule_says_what_may_be_reached_and_else_nothing_may() {
    let permission = permission_of("names = ['own.example']\nreach = ['*.b.example', 'app']");
    for (text, reaches) in
        [("one.b.example", true), ("app", true), ("own.example", false), ("b.example", false)]
    {
        assert_eq!(permission.reaches(&name(text)), reaches, "{text}");
    }
    assert!(permission_of("reach = ['*']").reaches(&name("anything.at.all")));
    assert!(!permission_of("").reaches(&name("app")));
    assert!(!Permission::Any.reaches(&name("app")));
}

#[test]
fn a_list_of_names_permits_itself_and_what_its_wildcards_match() {
    let permission = permission_of("names = ['app.example', '*.dev.example']");
    for (text, permitted) in [
        ("app.example", true),
        ("one.dev.example", true),
        ("*.dev.example", true),
        ("dev.example", false),
        ("a.one.dev.example", false),
        ("*.example", false),
    ] {
        assert_eq!(permission.permits(&name(text)), permitted, "{text}");
    }
    assert!(Permission::Any.permits(&name("anything")));
}

#[test]
fn hello_must_agree_with_the_certificate() {
    let proven = session(Some(certificate(&["a.example"], &["spiffe://mesh/peer/site-1"])), 1);
    let ask = |id: &str| authenticate(&proven, &TokenRules::default(), &peer(id), None);
    let Principal { identity, permission } = ask("site-1").unwrap();
    assert!(permission.permits(&name("a.example")) && !permission.permits(&name("b.example")));
    assert_eq!(ask("site-2").unwrap_err(), UNAUTHORIZED);
    assert_eq!(ask("site-1/pod-a").unwrap().identity, identity, "it covers its instances");
    assert_eq!(ask("site-10/pod-a").unwrap_err(), UNAUTHORIZED);
    let idle_of = |id| {
        identify_idle(&proven, &TokenRules::default(), &peer(id), None).ok().map(|one| one.identity)
    };
    assert_eq!((idle_of("site-1"), idle_of("site-2")), (Some(identity.clone()), None));
    let id = ProxyId::from_random([1; 16]);
    let data = identify_data(&proven, &TokenRules::default(), id, None);
    assert_eq!(data.unwrap().identity, identity);
    let nobody = session(Some(certificate(&["a.example"], &[])), 1);
    for proven in [&session(None, 1), &nobody] {
        let asked = authenticate(proven, &TokenRules::default(), &peer("site-1"), None);
        assert_eq!(asked.unwrap_err(), UNAUTHORIZED);
        assert!(identify_data(proven, &TokenRules::default(), id, None).is_err());
    }
}

/// What the one rule of these lines permits.
fn permission_of(rest: &str) -> Permission {
    let rules = rules(&format!("[[token]]\nsecret = '{SECRET}'\n{rest}"));
    let proof = Token::new(SECRET.as_bytes()).unwrap().hello_proof(&[1; 32], &peer("any"));
    authenticate(&session(None, 1), &rules, &peer("any"), Some(&proof)).unwrap().permission
}

fn rules(text: &str) -> TokenRules {
    TokenRules::from_toml(text).unwrap()
}

#[test]
fn a_proof_holds_for_its_session_peer_id_and_purpose_only() {
    let rules = rules(&format!("[[token]]\nsecret = '{SECRET}'"));
    let token = Token::new(format!("  {SECRET}\n").as_bytes()).unwrap();
    let (a, b) = (peer("a"), peer("b"));
    let (one, two) = (ProxyId::from_random([1; 16]), ProxyId::from_random([2; 16]));
    let by_token = Identity::Token { rule: rules.ids().next().unwrap().clone(), peer: a.clone() };
    let hello = token.hello_proof(&[1; 32], &a);
    let hello_of = |exporter, peer: &PeerId, proof: &TokenProof| {
        authenticate(&session(None, exporter), &rules, peer, Some(proof)).is_ok()
    };
    assert!(hello_of(1, &a, &hello));
    assert!(!hello_of(2, &a, &hello), "another session");
    assert!(!hello_of(1, &b, &hello), "another peer");

    let data = token.data_proof(&[1; 32], one, &a);
    let data_of = |exporter, id, peer: &PeerId, proof: &TokenProof| {
        let token = (peer.clone(), proof.clone());
        identify_data(&session(None, exporter), &rules, id, Some(&token))
            .ok()
            .map(|one| one.identity)
    };
    assert_eq!(data_of(1, one, &a, &data), Some(by_token.clone()));
    assert_eq!(data_of(2, one, &a, &data), None, "another session");
    assert_eq!(data_of(1, two, &a, &data), None, "another id");
    assert_eq!(data_of(1, one, &b, &data), None, "another peer");
    assert!(!hello_of(1, &a, &data) && data_of(1, one, &a, &hello).is_none(), "another purpose");

    let idle = token.idle_proof(&[1; 32], &a);
    let idle_of = |exporter, peer: &PeerId, proof: &TokenProof| {
        identify_idle(&session(None, exporter), &rules, peer, Some(proof))
            .ok()
            .map(|one| one.identity)
    };
    assert_eq!(idle_of(1, &a, &idle), Some(by_token.clone()));
    assert_eq!(idle_of(2, &a, &idle), None, "another session");
    assert_eq!(idle_of(1, &b, &idle), None, "another peer");
    assert!(!hello_of(1, &a, &idle) && idle_of(1, &a, &hello).is_none(), "another purpose");

    let wrong = Token::new(OTHER.as_bytes()).unwrap().hello_proof(&[1; 32], &a);
    assert!(!hello_of(1, &a, &wrong));
    let plaintext = Proven::Plaintext("127.0.0.1".parse().unwrap());
    assert!(authenticate(&plaintext, &rules, &a, Some(&hello)).is_err(), "only inside TLS");
}

#[test]
fn a_rule_limits_its_token_to_a_peer_and_to_names() {
    let rules = rules(&format!(
        "[[token]]\nsecret = '{SECRET}'\nnames = ['*.dev.example']\n\
         [[token]]\nsecret = '{OTHER}'\npeer = 'own'"
    ));
    let ask = |secret: &str, id: &str| {
        let proof = Token::new(secret.as_bytes()).unwrap().hello_proof(&[1; 32], &peer(id));
        let granted = authenticate(&session(None, 1), &rules, &peer(id), Some(&proof));
        granted.ok().map(|one| one.permission)
    };
    let shared = ask(SECRET, "any").unwrap();
    assert!(shared.permits(&name("a.dev.example")) && !shared.permits(&name("app.example")));
    assert!(ask(OTHER, "own").unwrap().permits(&name("app.example")));
    assert!(ask(OTHER, "any").is_none(), "the token of another peer");
    assert!(ask(SECRET, "own").is_none(), "a peer with a token of its own takes no shared one");
}

#[test]
fn two_rules_are_two_identities_under_one_peer_id() {
    let rules = rules(&format!(
        "[[token]]\nsecret = '{SECRET}'\nnames = ['a.example']\n\
         [[token]]\nsecret = '{OTHER}'\nnames = ['b.example']"
    ));
    let ask = |secret: &str| {
        let proof = Token::new(secret.as_bytes()).unwrap().hello_proof(&[1; 32], &peer("site"));
        authenticate(&session(None, 1), &rules, &peer("site"), Some(&proof)).unwrap()
    };
    let (one, other) = (ask(SECRET), ask(OTHER));
    assert_ne!(one.identity, other.identity);
    assert!(!one.permission.is_same(&other.permission));
    assert!(one.permission.is_same(&ask(SECRET).permission));
}

#[test]
fn a_rule_that_was_changed_in_anything_lets_in_nobody_from_before() {
    let file = |secret: &str, rest: &str| rules(&format!("[[token]]\nsecret = '{secret}'\n{rest}"));
    let before = file(SECRET, "name = 'site'\npeer = 'site-1'\nnames = ['a.example']");
    let site = peer("site-1");
    let proof = Token::new(SECRET.as_bytes()).unwrap().hello_proof(&[1; 32], &site);
    let let_in = authenticate(&session(None, 1), &before, &site, Some(&proof)).unwrap();
    let Permission::Rule(rule) = let_in.permission else { panic!("a token was shown") };
    let same = file(SECRET, "names = ['a.example']\npeer = 'site-1'\nname = 'site'");
    assert!(same.still_let_in(&rule, &site), "the file may be written in another way");
    for changed in [
        file(OTHER, "name = 'site'\npeer = 'site-1'\nnames = ['a.example']"),
        file(SECRET, "name = 'other'\npeer = 'site-1'\nnames = ['a.example']"),
        file(SECRET, "name = 'site'\nnames = ['a.example']"),
        file(SECRET, "name = 'site'\npeer = 'site-1'\nnames = ['a.example', 'b.example']"),
        rules(""),
    ] {
        assert!(!changed.still_let_in(&rule, &site));
    }
}

#[test]
fn neither_errors_nor_debug_output_hold_a_secret() {
    for text in [
        format!("[[token]]\nsecret = {SECRET}"),
        format!("[[token]]\nsecret = '{SECRET}'\nname = ['a']"),
        format!("[[token]]\nsecret = '{}'", &SECRET[1..]),
        format!("[[token]]\nsecret = '{SECRET}'\npeer = 'a b'"),
        format!("[[token]]\nsecret = '{SECRET}'\nnames = ['_a']"),
        format!("secret = '{SECRET}'"),
    ] {
        let error = TokenRules::from_toml(&text).unwrap_err();
        assert!(!error.contains(&SECRET[1..]), "{error}");
        assert!(error.starts_with("line ") || error.starts_with("token 1: "), "{error}");
    }
    let token = Token::new(SECRET.as_bytes()).unwrap();
    let rules = rules(&format!("[[token]]\nsecret = '{SECRET}'"));
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", &SECRET.as_bytes()[..4]);
    let decimal = decimal.trim_matches(['[', ']']);
    for shown in [format!("{token:?} {rules:?}"), format!("{token:#?} {rules:#?}")] {
        assert!(![SECRET, &hex, decimal].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
    assert_eq!(Token::new(&SECRET.as_bytes()[1..]).unwrap_err(), BadToken);
}
