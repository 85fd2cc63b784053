//! What a public client asks for, of us or of a peer before us.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::routes::{Provider, Wanted};
use crate::names::{Name, ProxyId};
use crate::observe::metrics::Protocol;
use crate::offer::Way;
use crate::trace_context::TraceContext;
use crate::wire::datagrams::measure;
use crate::wire::{Requested, TlsVersion};

/// A public client's request, as far as it is known when it is routed.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its id on the hop before, where another peer asks to have it passed on.
    pub id: Option<ProxyId>,
    /// When that peer must have its answer.
    pub deadline: Option<Instant>,
    /// The name that it asks for.
    pub name: &'a Name,
    /// How it reaches that.
    pub way: Way,
    /// How it is counted.
    pub protocol: Protocol,
    /// The client.
    pub source: SocketAddr,
    /// The address that it connected to, where it is known.
    pub dest: Option<SocketAddr>,
    /// The version of its TLS, where that ended here.
    pub tls: Option<TlsVersion>,
    /// The span that has caused it: of the client, of the peer before, or of this one.
    pub trace: Option<TraceContext>,
    /// Its bytes that were read already, as the backend is to get them: under this id, and
    /// told who the client is or not.
    pub head: &'a (dyn Fn(ProxyId, bool) -> Cow<'a, [u8]> + Sync),
}

impl Asked<'_> {
    /// How many bytes of payload its first bytes are, `head_sent` in all.
    pub(super) fn payload(&self, id: ProxyId, head_sent: usize) -> usize {
        match self.way {
            Way::Udp => measure(&(self.head)(id, false)).bytes,
            Way::Http | Way::Https | Way::Tcp | Way::Connect => head_sent,
        }
    }

    /// When its provider must have answered, which has this much time.
    pub(super) fn deadline(&self, time: Duration) -> Instant {
        let deadline = Instant::now() + time;
        self.deadline.map_or(deadline, |before| before.min(deadline))
    }

    /// What a provider is chosen by.
    pub(super) fn wanted(&self, tried: Option<Provider>) -> Wanted<'_> {
        let client: IpAddr = self.source.ip();
        Wanted { name: self.name, way: self.way, client, tried }
    }

    /// What that provider is told, which has registered it as `name`.
    pub(super) fn requested(&self, name: &Name) -> Requested {
        let by_port = matches!(self.way, Way::Tcp | Way::Udp);
        Requested {
            name: name.clone(),
            way: self.way,
            source: self.source,
            dest: self.dest,
            authority: (self.name != name && !by_port).then(|| self.name.clone()),
            tls: self.tls,
            trace: self.trace,
        }
    }
}
