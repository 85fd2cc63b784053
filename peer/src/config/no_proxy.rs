//! What no proxy is used for: the list in `NO_PROXY`, read as other programs read it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::endpoint::Endpoint;

/// Hosts that are reached directly.
///
/// Entries stand between commas or white space. `*` is every host; `example.com`,
/// `.example.com` and `*.example.com` are that host and all below it; an IP address and a
/// CIDR block are hosts given as such: nothing is resolved. Each may end with `:PORT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// None: any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Net(IpNet),
    /// In lower case, without a dot at either end.
    Below(String),
}

impl NoProxy {
    /// Reads the list. What is no host matches none: the list is for other programs, too.
    pub fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_ascii_whitespace());
        Self(entries.filter(|entry| !entry.is_empty()).map(Entry::parse).collect())
    }

    /// Whether this is reached directly.
    pub fn covers(&self, endpoint: &Endpoint) -> bool {
        let ip = endpoint.host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
        let host = plain(&endpoint.host);
        let covers = |hosts: &Hosts| match (hosts, ip) {
            (Hosts::All, _) => true,
            (Hosts::Net(net), Some(ip)) => net.contains(&ip),
            (Hosts::Below(name), None) => {
                let above = host.strip_suffix(name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Hosts::Net(_), None) | (Hosts::Below(_), Some(_)) => false,
        };
        let mut entries = self.0.iter();
        entries.any(|entry| {
            entry.port.is_none_or(|port| port == endpoint.port) && covers(&entry.hosts)
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Self {
        if let Some(net) = net(text) {
            return Self { hosts: Hosts::Net(net), port: None };
        }
        let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = port.map_or((text, None), |(host, port)| (host, Some(port)));
        let hosts = match (host, net(host)) {
            ("*", _) => Hosts::All,
            (_, Some(net)) => Hosts::Net(net),
            _ => Hosts::Below(plain(host.strip_prefix('*').unwrap_or(host))),
        };
        Self { hosts, port }
    }
}

/// A CIDR block or an IP address; IPv6 with or without brackets.
fn net(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = || bare.parse().ok().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
    bare.parse().ok().or_else(address)
}

/// Of a name, what counts when names are compared.
fn plain(name: &str) -> String {
    let name = name.strip_prefix('.').unwrap_or(name);
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(list: &str, endpoint: &str) -> bool {
        NoProxy::parse(list).covers(&endpoint.parse().unwrap())
    }

    #[test]
    fn a_name_covers_itself_and_what_is_below_it() {
        for list in ["example.com", ".example.com", "*.example.com", "EXAMPLE.com."] {
            for (endpoint, covered) in [
                ("example.com:1", true),
                ("hub.example.com:1", true),
                ("a.hub.Example.COM:1", true),
                ("hub.example.com.:1", true),
                ("anexample.com:1", false),
                ("example.com.org:1", false),
                ("com:1", false),
            ] {
                assert_eq!(covers(list, endpoint), covered, "{list} {endpoint}");
            }
        }
    }

    #[test]
    fn addresses_and_blocks_cover_hosts_that_are_given_as_addresses() {
        for (list, endpoint, covered) in [
            ("10.0.0.0/8", "10.1.2.3:1", true),
            ("10.0.0.0/8", "11.1.2.3:1", false),
            ("10.0.0.0/8", "10.example:1", false),
            ("10.1.2.3", "10.1.2.3:1", true),
            ("1.2.3", "10.1.2.3:1", false),
            ("::1", "[::1]:1", true),
            ("[::1]", "[::1]:1", true),
            ("fd00::/8", "[fd12::1]:1", true),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:1", true),
            ("::ffff:10.0.0.1", "10.0.0.1:1", true),
        ] {
            assert_eq!(covers(list, endpoint), covered, "{list} {endpoint}");
        }
    }

    #[test]
    fn an_entry_may_be_for_one_port() {
        for (entry, host) in
            [("a.example:8443", "a.example"), ("10.0.0.1:8443", "10.0.0.1"), ("*:8443", "b")]
        {
            assert!(covers(entry, &format!("{host}:8443")), "{entry}");
            assert!(!covers(entry, &format!("{host}:443")), "{entry}");
        }
        assert!(covers("[::1]:8443", "[::1]:8443"));
        assert!(!covers("[::1]:8443", "[::1]:443"));
    }

    #[test]
    fn entries_stand_between_commas_and_white_space() {
        let list = "localhost,127.0.0.1 ,, .internal\t10.0.0.0/8";
        for endpoint in ["localhost:1", "127.0.0.1:1", "hub.internal:1", "10.9.9.9:1"] {
            assert!(covers(list, endpoint), "{endpoint}");
        }
        assert!(!covers(list, "hub.example:1"));
        assert!(!covers("", "hub.example:1"));
        assert!(covers("nothing,*", "hub.example:1"));
    }

    proptest! {
        #[test]
        fn whatever_the_list_is_it_is_read(list in ".*", host in "[a-z.]{1,20}", port in 1u16..) {
            if let Ok(endpoint) = format!("{host}:{port}").parse() {
                NoProxy::parse(&list).covers(&endpoint);
                prop_assert!(NoProxy::parse(&(list + ",*")).covers(&endpoint));
            }
        }

        #[test]
        fn an_endpoint_covers_itself_and_no_other_port(
            host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", port in 1u16..u16::MAX
        ) {
            let (this, next) = (format!("{host}:{port}"), format!("{host}:{}", port + 1));
            prop_assert!(covers(&this, &this));
            prop_assert!(covers(&host, &next) && !covers(&this, &next));
        }
    }
}
