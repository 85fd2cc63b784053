//! What the annotations of a Service ask for: names and a service in, or why not. Pure.

use ipnet::IpNet;

use super::object::{Annotated, PREFIX, Port, Target};
use crate::cli::settings::Source;
use crate::config::{Endpoint, ProxyVersion, Service};
use crate::limits::ALLOWED_SOURCES;
use crate::names::Name;
use crate::observe::metrics::ServiceRefusal;
use crate::offer::{Terms, Way, Ways};

/// All annotations that there are, without [`PREFIX`].
const KNOWN: [&str; 6] = ["allow", "h2c", "name", "port", "proxy-protocol", "ways"];

/// Annotations at least this alike are suggested for an unknown one.
const SUGGEST_FROM: f64 = 0.75;

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The names that it is to be served under.
    pub(super) names: Vec<Name>,
    /// What is to be served under each.
    pub(super) service: Service,
}

/// Why a Service is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In one word.
    pub(super) reason: ServiceRefusal,
    /// The annotation at fault, and what to do about it.
    pub(super) problem: String,
}

/// The annotation `key` is at fault.
fn refusal(reason: ServiceRefusal, key: &str, problem: impl std::fmt::Display) -> Refusal {
    Refusal { reason, problem: format!("{PREFIX}{key}: {problem}") }
}

/// Reads the annotations of a Service that has some.
///
/// # Errors
/// The first that cannot be meant.
pub(super) fn read(annotated: &Annotated) -> Result<Asked, Refusal> {
    if let Some(key) = annotated.annotations.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        let likeness = |known: &&&str| strsim::jaro_winkler(key, known);
        let nearest = KNOWN.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.filter(|known| likeness(known) >= SUGGEST_FROM);
        let meant = nearest.map_or_else(String::new, |known| format!("; did you mean {known}?"));
        let problem = format!("there is no such annotation: take it away{meant}");
        return Err(refusal(ServiceRefusal::UnknownAnnotation, key, problem));
    }
    let said = |key: &str| annotated.annotations.get(key).map(|text| text.trim());
    let names = names(said("name"))?;
    if annotated.spec.kind.as_deref() == Some("ExternalName") {
        let problem = "the Service is an alias of a host elsewhere (ExternalName), which is not \
                       served from here: name that host in the peer's own settings, as a service";
        return Err(refusal(ServiceRefusal::ExternalName, "name", problem));
    }
    let ways = ways(said("ways"))?;
    let backend = |protocol| backend(annotated, protocol, said("port"));
    let takes_streams = ways.iter().any(|way| way != Way::Udp);
    let common = takes_streams.then(|| backend("TCP")).transpose()?;
    let datagrams = ways.contains(Way::Udp).then(|| backend("UDP")).transpose()?;
    let proxy_protocol = proxy_protocol(said("proxy-protocol"), ways)?;
    let terms =
        Terms { ways, allow: allow(said("allow"))?, h2c: h2c(said("h2c"))?, ..Terms::default() };
    let own = datagrams.map(|backend| (Way::Udp, backend)).into_iter().collect();
    Ok(Asked {
        names,
        service: Service { backend: common, own, proxy_protocol, terms, health: None },
    })
}

/// The parts of a list that is separated by commas.
fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

fn names(said: Option<&str>) -> Result<Vec<Name>, Refusal> {
    let refuse = |problem: String| refusal(ServiceRefusal::BadName, "name", problem);
    let list = said.ok_or_else(|| {
        refuse("it is missing: set it to the name that the Service is to have".to_owned())
    })?;
    let read =
        |text| Name::registered(text).map_err(|error| refuse(format!("{text:?} is {error}")));
    let mut names = parts(list).map(read).collect::<Result<Vec<Name>, Refusal>>()?;
    names.sort();
    names.dedup();
    Ok(names)
}

fn ways(said: Option<&str>) -> Result<Ways, Refusal> {
    let Some(list) = said else { return Ok(Ways::USUAL) };
    let read = |text: &str| {
        text.parse::<Way>().map_err(|error| refusal(ServiceRefusal::BadWays, "ways", error))
    };
    parts(list).map(read).collect()
}

fn allow(said: Option<&str>) -> Result<Box<[IpNet]>, Refusal> {
    let Some(list) = said else { return Ok(Box::default()) };
    let refuse = |problem: String| refusal(ServiceRefusal::BadAllow, "allow", problem);
    let read = |text: &str| match text.parse() {
        Ok(Source(net)) => Ok(net),
        Err(error) => Err(refuse(format!("{text:?}: {error}"))),
    };
    let nets = parts(list).map(read).collect::<Result<Box<[IpNet]>, Refusal>>()?;
    match nets.len() {
        0..=ALLOWED_SOURCES => Ok(nets),
        more => Err(refuse(format!("{more} networks are more than {ALLOWED_SOURCES}: join some"))),
    }
}

fn h2c(said: Option<&str>) -> Result<bool, Refusal> {
    match said {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let problem = format!("{other:?} is neither true nor false");
            Err(refusal(ServiceRefusal::BadH2c, "h2c", problem))
        }
    }
}

fn proxy_protocol(said: Option<&str>, ways: Ways) -> Result<Option<ProxyVersion>, Refusal> {
    let Some(text) = said else { return Ok(None) };
    let refuse =
        |problem: String| refusal(ServiceRefusal::BadProxyProtocol, "proxy-protocol", problem);
    let version = ProxyVersion::from_word(text);
    let version = version.ok_or_else(|| refuse(format!("{text:?} is neither v1 nor v2")))?;
    match ways.contains(Way::Udp) {
        true => Err(refuse(
            "datagrams have no connection that could begin with it: take it away, or \
                            udp out of the ways"
                .to_owned(),
        )),
        false => Ok(Some(version)),
    }
}

/// Where requests of this protocol go: the DNS name of the Service, and one of its ports.
fn backend(annotated: &Annotated, protocol: &str, said: Option<&str>) -> Result<Endpoint, Refusal> {
    let refuse = |problem: String| refusal(ServiceRefusal::BadPort, "port", problem);
    let speaks = |port: &&Port| port.protocol.as_deref().unwrap_or("TCP") == protocol;
    let ports: Vec<&Port> = annotated.spec.ports.iter().filter(speaks).collect();
    let found = match said {
        Some(text) => {
            let meant =
                |port: &&&Port| port.name.as_deref() == Some(text) || port.port.to_string() == text;
            ports.iter().find(meant).copied()
        }
        None if ports.len() == 1 => Some(ports[0]),
        None => None,
    };
    let found = found.ok_or_else(|| match (said, ports.is_empty()) {
        (_, true) if protocol == "UDP" => refuse("the ways have udp, and the Service has no port of UDP".to_owned()),
        (_, true) => refuse("the Service has no port of TCP; if it takes datagrams only, set ops-proxy.dev/ways to udp".to_owned()),
        (Some(text), _) => refuse(format!("{text:?} is no port of {protocol}; the Service has {}", listed(&ports))),
        (None, _) => refuse(format!("the Service has several ports of {protocol}: say which, of {}", listed(&ports))),
    })?;
    // Nothing translates the ports of a headless Service: its name leads to the pods.
    let is_headless = annotated.spec.cluster_ip.as_deref() == Some("None");
    let port = match &found.target {
        Some(Target::Number(target)) if is_headless => *target,
        Some(Target::Name(target)) if is_headless => {
            let problem = format!(
                "the Service is headless, so the port of its pods is dialled, and its targetPort \
                 {target:?} does not say which: make it a number"
            );
            return Err(refuse(problem));
        }
        _ => found.port,
    };
    let host = format!("{}.{}.svc", annotated.key.name, annotated.key.namespace);
    match port {
        0 => Err(refuse("0 is no port".to_owned())),
        port => Ok(Endpoint { host, port }),
    }
}

fn listed(ports: &[&Port]) -> String {
    let written = ports.iter().map(|port| match &port.name {
        Some(name) => format!("{} ({name})", port.port),
        None => port.port.to_string(),
    });
    written.collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::cli::kubernetes::object::{Key, Spec};

    fn port(name: &str, protocol: &str, port: u16, target: Option<Target>) -> Port {
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Port { name: word(name), protocol: word(protocol), port, target }
    }

    fn service(annotations: &[(&str, &str)], ports: Vec<Port>) -> Annotated {
        let annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Annotated {
            key: Key { namespace: "shop".parse().unwrap(), name: "web".to_owned() },
            created: String::new(),
            annotations: annotations.collect(),
            spec: Spec { ports, ..Spec::default() },
        }
    }

    fn http() -> Vec<Port> {
        vec![port("http", "", 80, None)]
    }

    fn dns() -> Vec<Port> {
        vec![port("dns", "UDP", 53, None), port("dns-tcp", "TCP", 53, None)]
    }

    /// In one word, why a Service with these annotations is left out.
    fn reason(annotations: &[(&str, &str)], ports: Vec<Port>) -> &'static str {
        let refusal = read(&service(annotations, ports)).unwrap_err();
        assert!(refusal.problem.starts_with(PREFIX), "{}", refusal.problem);
        refusal.reason.as_str()
    }

    fn dialled(asked: &Asked, way: Way) -> Option<String> {
        asked.service.backend(way).map(ToString::to_string)
    }

    #[test]
    fn a_name_is_enough_for_a_service_with_one_port() {
        let asked = read(&service(&[("name", " App.Example ")], http())).unwrap();
        assert_eq!(asked.names, ["app.example".parse().unwrap()]);
        assert_eq!(asked.service, "web.shop.svc:80".parse().unwrap());
    }

    #[test]
    fn everything_can_be_said() {
        let said = [
            ("name", "b.example, a.example,b.example,*.c.example"),
            ("ways", "http, connect"),
            ("port", "https"),
            ("allow", "10.0.0.0/8, ::1"),
            ("h2c", "true"),
            ("proxy-protocol", "v2"),
        ];
        let ports = vec![port("http", "TCP", 80, None), port("https", "TCP", 443, None)];
        let Asked { names, service } = read(&service(&said, ports)).unwrap();
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        assert_eq!(names, ["*.c.example", "a.example", "b.example"]);
        assert_eq!(service.backend, Some("web.shop.svc:443".parse().unwrap()));
        assert_eq!(service.proxy_protocol, Some(ProxyVersion::V2));
        let terms = service.terms;
        assert_eq!(terms.ways, Ways::NONE.with(Way::Http).with(Way::Connect));
        assert!(terms.h2c && terms.forwarded);
        assert!(terms.allows("10.1.1.1".parse().unwrap()) && terms.allows("::1".parse().unwrap()));
        assert!(!terms.allows("11.1.1.1".parse().unwrap()));
    }

    #[test]
    fn datagrams_go_to_a_port_of_udp_and_nothing_else_does() {
        let said = [("name", "dns.example"), ("ways", "udp,tcp"), ("port", "53")];
        let asked = read(&service(&said, dns())).unwrap();
        assert_eq!(dialled(&asked, Way::Udp).as_deref(), Some("web.shop.svc:53"));
        assert_eq!(dialled(&asked, Way::Tcp).as_deref(), Some("web.shop.svc:53"));
        let asked = read(&service(&[("name", "a"), ("ways", "udp")], dns())).unwrap();
        assert_eq!((asked.service.backend, asked.service.own.len()), (None, 1));
        let only = || vec![port("", "UDP", 53, None)];
        assert_eq!(reason(&[("name", "a")], only()), "bad_port");
        assert_eq!(reason(&[("name", "a"), ("ways", "udp")], http()), "bad_port");
        let header = [("name", "a"), ("ways", "udp"), ("proxy-protocol", "v1")];
        assert_eq!(reason(&header, only()), "bad_proxy_protocol");
    }

    #[test]
    fn of_a_headless_service_the_port_of_its_pods_is_dialled() {
        let headless = |target| {
            let mut headless = service(&[("name", "a")], vec![port("", "", 80, target)]);
            headless.spec.cluster_ip = Some("None".to_owned());
            read(&headless)
        };
        let port = |target| headless(target).unwrap().service.backend.unwrap().port;
        assert_eq!(port(Some(Target::Number(8080))), 8080);
        assert_eq!(port(None), 80);
        let refusal = headless(Some(Target::Name("web".to_owned()))).unwrap_err();
        assert_eq!(refusal.reason, ServiceRefusal::BadPort);
        let translated = port_of_cluster_ip();
        assert_eq!(translated, 80, "kube-proxy does it for the others");
    }

    fn port_of_cluster_ip() -> u16 {
        let ports = vec![port("", "", 80, Some(Target::Number(8080)))];
        read(&service(&[("name", "a")], ports)).unwrap().service.backend.unwrap().port
    }

    #[test]
    fn each_fault_has_its_reason() {
        let two = || vec![port("a", "", 1, None), port("b", "", 2, None)];
        for (said, reason_wanted) in [
            (vec![("ways", "http")], "bad_name"),
            (vec![("name", "")], "bad_name"),
            (vec![("name", "a,,b")], "bad_name"),
            (vec![("name", "two words")], "bad_name"),
            (vec![("name", "a"), ("ways", "https,smtp")], "bad_ways"),
            (vec![("name", "a"), ("ways", "")], "bad_ways"),
            (vec![("name", "a"), ("port", "81")], "bad_port"),
            (vec![("name", "a"), ("port", "")], "bad_port"),
            (vec![("name", "a"), ("allow", "10.0.0.0/33")], "bad_allow"),
            (vec![("name", "a"), ("h2c", "yes")], "bad_h2c"),
            (vec![("name", "a"), ("proxy-protocol", "v3")], "bad_proxy_protocol"),
            (vec![("name", "a"), ("naem", "b")], "unknown_annotation"),
            (vec![("name", "a"), ("backend", "elsewhere:1")], "unknown_annotation"),
        ] {
            assert_eq!(reason(&said, http()), reason_wanted, "{said:?}");
        }
        assert_eq!(reason(&[("name", "a")], two()), "bad_port");
        assert_eq!(reason(&[("name", "a")], Vec::new()), "bad_port");
        let many = vec!["10.0.0.0/8"; ALLOWED_SOURCES + 1].join(",");
        assert_eq!(reason(&[("name", "a"), ("allow", &many)], http()), "bad_allow");
        let mut elsewhere = service(&[("name", "a")], http());
        elsewhere.spec.kind = Some("ExternalName".to_owned());
        assert_eq!(read(&elsewhere).unwrap_err().reason, ServiceRefusal::ExternalName);
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let problem =
            |said: &[(&str, &str)], ports| read(&service(said, ports)).unwrap_err().problem;
        let unknown = problem(&[("name", "a"), ("port-name", "b")], http());
        assert!(unknown.contains("did you mean port?"), "{unknown}");
        let two = vec![port("a", "", 1, None), port("", "", 2, None)];
        let several = problem(&[("name", "a")], two);
        assert!(several.contains("say which, of 1 (a), 2"), "{several}");
    }

    proptest! {
        #[test]
        fn whatever_is_said_leads_to_the_service_itself_or_is_refused(
            said in proptest::collection::btree_map(
                proptest::sample::select(&KNOWN[..]), "[a-z0-9.,/:* -]{0,20}", 0..6),
            number in 0..=u16::MAX,
        ) {
            let said: BTreeMap<String, String> =
                said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let mut any = service(&[], vec![port("http", "", number, None)]);
            any.annotations = said;
            if let Ok(Asked { names, service }) = read(&any) {
                prop_assert!(!names.is_empty());
                for backend in service.backends() {
                    prop_assert_eq!(backend.to_string(), format!("web.shop.svc:{number}"));
                }
                prop_assert!(!service.backends().is_empty());
            }
        }
    }
}
