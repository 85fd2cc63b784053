//! Which proxy, if any, is used for which listening peer.

use super::endpoint::Endpoint;
use super::no_proxy::NoProxy;
use super::via::Via;

/// The proxy that this peer leaves through, and for whom it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// None: every listening peer is dialled directly.
    via: Option<Via>,
    /// The environment chose it for all programs of this machine, not the operator for
    /// this one: then it is not used for what is on this machine.
    is_inherited: bool,
    except: NoProxy,
}

impl Proxies {
    /// The operator of this peer chose the proxy, or none.
    pub fn chosen(via: Option<Via>, except: NoProxy) -> Self {
        Self { via, is_inherited: false, except }
    }

    /// The environment names the proxy.
    pub fn inherited(via: Via, except: NoProxy) -> Self {
        Self { via: Some(via), is_inherited: true, except }
    }

    /// The proxy, whoever it is for.
    pub fn any(&self) -> Option<&Via> {
        self.via.as_ref()
    }

    /// The proxy for links and DATA connections to this listening peer; `None`, it is
    /// dialled directly.
    pub fn to(&self, upstream: &Endpoint) -> Option<&Via> {
        let is_here = self.is_inherited && upstream.is_loopback();
        self.via.as_ref().filter(|_| !is_here && !self.except.covers(upstream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via() -> Via {
        Via::parse("http://proxy:3128", "--via").unwrap()
    }

    fn goes_through(proxies: &Proxies, upstream: &str) -> bool {
        proxies.to(&upstream.parse().unwrap()).is_some()
    }

    #[test]
    fn what_is_on_this_machine_does_not_go_through_a_proxy_of_the_environment() {
        let chosen = Proxies::chosen(Some(via()), NoProxy::default());
        let inherited = Proxies::inherited(via(), NoProxy::default());
        for upstream in ["127.0.0.1:1", "localhost:1", "[::1]:1"] {
            assert!(goes_through(&chosen, upstream), "{upstream}");
            assert!(!goes_through(&inherited, upstream), "{upstream}");
        }
        assert!(goes_through(&inherited, "hub.example:1"));
    }

    #[test]
    fn exceptions_count_whoever_chose_the_proxy() {
        let except = NoProxy::parse("hub.example");
        let chosen = Proxies::chosen(Some(via()), except.clone());
        for proxies in [chosen, Proxies::inherited(via(), except)] {
            assert!(!goes_through(&proxies, "hub.example:1"));
            assert!(goes_through(&proxies, "other.example:1"));
        }
        assert!(!goes_through(&Proxies::default(), "other.example:1"));
    }
}
