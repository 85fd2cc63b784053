//! Dials the listening peers as a link does, up to the question whether they let this peer in
//! with its names, and leaves.
//!
//! Nothing of it disturbs a running peer or attracts a request. It goes by an instance of its
//! own, and sends no REGISTER: only with one would a link replace another or be given requests.
//! Names are asked for by withdrawing them as those of backends that fail their checks, which a
//! listening peer permits to whoever may register them.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::steps::Step;
use crate::config::{Endpoint, Upstream};
use crate::limits::{CHECK_RETRY_AFTER, CONNECT_TIMEOUT, WRITE_TIMEOUT};
use crate::mesh::hubs::To;
use crate::names::{Name, PeerId};
use crate::shared::Shared;
use crate::stream::control::{ControlError, first_line, write_line};
use crate::stream::dial::{DialError, resolve};
use crate::stream::net::Net;
use crate::stream::transport::Transport;
use crate::trust::{Identity, Token, certificate_identity, not_after};
use crate::upstream::{DialPeerError, DialledPeer, Target, broken};
use crate::wire::{
    ErrorCode, Line, LineBuffer, ReportedError, Withdrawal, forbidden_names, in_lines,
};

/// Dials all listening peers that are configured, one after the other.
pub(super) async fn dial<N: Net>(shared: &Shared<N>) -> Vec<Step> {
    let config = shared.config_of_now();
    let mut steps = Vec::new();
    for upstream in &config.connect {
        steps.extend(dial_upstream(shared, upstream).await);
    }
    steps
}

/// Each peer that it leads to, as far as that can be told without asking for several.
async fn dial_upstream<N: Net>(shared: &Shared<N>, upstream: &Upstream) -> Vec<Step> {
    let (what, endpoint) = (upstream.to_string(), &upstream.endpoint);
    let config = shared.config_of_now();
    if config.proxies.to(endpoint).is_some() {
        // The name is for the proxy to resolve.
        return dial_peer(shared, &Target::new(endpoint.clone(), To::Behind(0))).await;
    }
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let found = match resolve(&shared.resolver, endpoint, deadline).await {
        Ok(found) => found.ips,
        Err(error) => return vec![Step::failed(&what, "DNS", unreachable(&error, endpoint))],
    };
    let mut steps = Vec::new();
    if endpoint.host.parse::<std::net::IpAddr>().is_err() {
        let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
        steps.push(Step::good(&what, "DNS", addresses.join(", ")));
    }
    let targets: Vec<To> = match upstream.peers {
        Some(_) => vec![To::Behind(0)],
        None => found.iter().map(|ip| To::Address(*ip)).collect(),
    };
    for to in targets {
        steps.extend(dial_peer(shared, &Target::new(endpoint.clone(), to)).await);
    }
    steps
}

/// A connection to one peer, and what it says.
async fn dial_peer<N: Net>(shared: &Shared<N>, target: &Target) -> Vec<Step> {
    let (what, endpoint) = (target.to_string(), &target.upstream);
    let config = shared.config_of_now();
    let via = config.proxies.to(endpoint);
    let reached = || match via {
        Some(via) => Step::good(&what, "proxy", format!("{via} ({}) leads there", via.set_by)),
        None => Step::good(&what, "TCP", "accepts connections"),
    };
    let dialled = match target.dial(shared).await {
        Ok(dialled) => dialled,
        Err(DialPeerError::Via(error)) => {
            return vec![Step::failed(&what, "proxy", error.to_string())];
        }
        Err(DialPeerError::Dial(error)) => {
            return vec![Step::failed(&what, "TCP", unreachable(&error, endpoint))];
        }
        Err(error) => return vec![reached(), Step::failed(&what, "TLS", no_tls(&error))],
    };
    let mut steps = vec![reached()];
    steps.push(match dialled.chain.first() {
        None => Step::unknown(&what, "TLS", "none: without tls_ca, this peer dials unencrypted"),
        Some(certificate) => {
            let now = shared.net.unix_time();
            let whose = match certificate_identity(certificate) {
                Some(Identity::Certificate { trust_domain, peer }) => {
                    format!("peer {peer} of {trust_domain}")
                }
                _ => "a server without a peer's identity".to_owned(),
            };
            Step::good(
                &what,
                "TLS",
                format!("certificate of {whose}, {}", left(not_after(certificate), now)),
            )
        }
    });
    let names: Vec<Withdrawal> = config.services.keys().cloned().map(asked_for).collect();
    let DialledPeer { stream, token, chain } = dialled;
    let (lines, is_encrypted) = (LineBuffer::default(), !chain.is_empty());
    let mut asking = Asking { shared, what: &what, stream, lines, is_encrypted };
    match asking.identity(token).await {
        Ok(step) => steps.extend([step, asking.names(names).await]),
        Err(step) => steps.push(step),
    }
    // So that the other end takes it for no fault. It may be gone already.
    let _ = timeout(WRITE_TIMEOUT, asking.stream.shutdown()).await;
    steps
}

/// So that whoever asks for the name in this moment comes back at once.
fn asked_for(name: Name) -> Withdrawal {
    Withdrawal { name, unhealthy: Some(CHECK_RETRY_AFTER) }
}

/// How long a certificate is still valid.
fn left(not_after: Option<i64>, now: Duration) -> String {
    let seconds = not_after.map(|at| at.saturating_sub_unsigned(now.as_secs()));
    match seconds.map(|seconds| seconds / (24 * 60 * 60)) {
        Some(1) => "valid for 1 more day".to_owned(),
        Some(days) => format!("valid for {days} more days"),
        None => "of unknown validity".to_owned(),
    }
}

const NO_PEER: &str =
    "the answer is none of a listening peer; is the address in connect that of its --listen?";

/// A connection to a listening peer, which is asked one thing after the other.
struct Asking<'a, N: Net> {
    shared: &'a Shared<N>,
    what: &'a str,
    stream: Transport<N::Stream>,
    lines: LineBuffer,
    is_encrypted: bool,
}

impl<N: Net> Asking<'_, N> {
    /// Says HELLO; the step has failed, or ends here, where there is nothing more to ask.
    async fn identity(&mut self, token: Option<(Token, [u8; 32])>) -> Result<Step, Step> {
        let peer = own_instance(self.shared);
        let proof = token.map(|(token, exporter)| token.hello_proof(&exporter, &peer));
        let (what, own) = (self.what, &self.shared.peer_id);
        match self.answer(&Line::Hello { peer, proof }).await {
            Ok(Line::Welcome(hub)) if hub == *own => {
                let why = "this is the peer itself, which keeps no link to itself";
                Err(Step::unknown(what, "identity", why))
            }
            Ok(Line::Welcome(hub)) => {
                let said = format!("peer {hub} lets this peer in as {own}");
                Ok(Step::good(what, "identity", said))
            }
            Ok(_) => Err(Step::failed(what, "identity", NO_PEER)),
            Err(why) => Err(Step::failed(what, "identity", why)),
        }
    }

    /// Asks whether these names may be registered.
    async fn names(&mut self, names: Vec<Withdrawal>) -> Step {
        let (what, count) = (self.what, names.len());
        for names in in_lines(names) {
            match self.answer(&Line::Unregister(names)).await {
                Ok(Line::Ok(_)) => {}
                Ok(Line::Error(_, names)) => {
                    return Step::failed(what, "names", forbidden(&forbidden_names(&names)));
                }
                Ok(_) => return Step::failed(what, "names", NO_PEER),
                Err(why) => return Step::failed(what, "names", why),
            }
        }
        match count {
            0 => Step::unknown(what, "names", "this peer has no services of its own to register"),
            1 => Step::good(what, "names", "its service may be registered"),
            _ => Step::good(what, "names", format!("all {count} services may be registered")),
        }
    }

    /// Sends a line, and waits for what is answered: of all refusals, only that of names is
    /// for who asked.
    async fn answer(&mut self, line: &Line) -> Result<Line, String> {
        let Self { stream, lines, .. } = self;
        let asked = async {
            // Whoever refuses may have closed before this was written, and has said why.
            let _ = write_line(stream, line).await;
            first_line(stream, lines).await
        };
        let answer = match timeout(WRITE_TIMEOUT, asked).await {
            Ok(Ok(answer)) => Line::parse(&answer),
            Ok(Err(ControlError::Wire(error))) => Err(error),
            Ok(Err(ControlError::Io(error))) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(
                    "the connection was closed without an answer; the log of that peer says why"
                        .to_owned(),
                );
            }
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(format!("no answer in time; {NO_PEER}")),
        };
        match answer {
            Ok(Line::Error(code, text)) if code != ErrorCode::NameForbidden => {
                Err(refused(code, text, self.is_encrypted))
            }
            Ok(line) => Ok(line),
            Err(_) => Err(NO_PEER.to_owned()),
        }
    }
}

/// This peer as an instance that nobody else is.
fn own_instance<N: Net>(shared: &Shared<N>) -> PeerId {
    let own = &shared.peer_id;
    let id = own.as_str().split('/').next().unwrap_or_default();
    let instance = format!("check-{:016x}", shared.random());
    let checking = id.parse::<PeerId>().and_then(|id| id.with_instance(&instance));
    // An id that leaves no room for one goes by its own: HELLO alone replaces no link.
    checking.unwrap_or_else(|_| own.clone())
}

fn unreachable(error: &DialError, endpoint: &Endpoint) -> String {
    let port = endpoint.port;
    let remedy = match error {
        DialError::Resolve(..) => "correct the name in connect, or this machine's DNS".to_owned(),
        DialError::Unresolved(_) => return error.to_string(),
        DialError::Connect(..) | DialError::Timeout(_) => format!(
            "is the listening peer running, and does its firewall let this machine in on port {port}?"
        ),
    };
    format!("{error}; {remedy}")
}

fn no_tls(error: &DialPeerError) -> String {
    match error {
        DialPeerError::Late => {
            "no answer in time; is the address in connect that of its --listen?".to_owned()
        }
        error => error.to_string(),
    }
}

fn refused(code: ErrorCode, text: String, is_encrypted: bool) -> String {
    match code {
        ErrorCode::Unauthorized if is_encrypted => {
            "the listening peer does not let this peer in; have its certificate or token accepted \
             there, and peer_id be the one that they are for; the log of that peer says why"
                .to_owned()
        }
        ErrorCode::Unauthorized => {
            "the listening peer takes no unencrypted peers; set tls_ca, and a certificate or a token"
                .to_owned()
        }
        _ => format!("refused by the listening peer: {}", ReportedError { code, text }),
    }
}

fn forbidden(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    format!(
        "the listening peer does not permit {}; have the certificate or the token's rule name them",
        names.join(", ")
    )
}
