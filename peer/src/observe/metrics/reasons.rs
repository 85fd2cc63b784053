//! Label values: closed sets, so that no stranger can add a series.

use tracing::Level;

use crate::wire::{ErrorCode, FailReason};
use crate::words::words;

words! {
    /// How a request was routed.
    Protocol {
        /// By the Host of an HTTP head, or by CONNECT.
        Http = "http",
        /// By the SNI of a ClientHello.
        Https = "https",
        /// By the port that it arrived on.
        Tcp = "tcp",
        /// By the UDP port that its datagrams arrived on.
        Udp = "udp",
    }
}

words! {
    /// How an HTTP request was answered.
    HttpCode {
        /// With 101: another protocol followed. Other answers of this class are not the last.
        Switched = "1xx",
        /// With success.
        Success = "2xx",
        /// With a redirection.
        Redirection = "3xx",
        /// The client was at fault.
        ClientError = "4xx",
        /// The server was, or its status is none (RFC 9110 §15).
        ServerError = "5xx",
        /// No status line was sent to the client before it ended.
        None = "none",
    }
}

impl HttpCode {
    /// The class of a status that was sent, if one was.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(100..200) => Self::Switched,
            Some(200..300) => Self::Success,
            Some(300..400) => Self::Redirection,
            Some(400..500) => Self::ClientError,
            Some(_) => Self::ServerError,
        }
    }
}

words! {
    /// Why a request failed; exactly one for each that did.
    ProxyError {
        /// No live provider, or no such name. Such a request is never routed.
        NoClient = "no_client",
        /// FORWARD could not be written.
        ForwardWriteError = "forward_write_error",
        /// The DATA connection did not come in time.
        DataTimeout = "data_timeout",
        /// The stream broke after the DATA connection came.
        DataIoError = "data_io_error",
        /// The provider could not reach its backend.
        BackendUnreachable = "backend_unreachable",
        /// The link ended while the request waited.
        LinkLost = "link_lost",
        /// The client reset its connection while the request waited.
        ClientReset = "client_reset",
        /// The request came back to the peer that had sent it out.
        Loop = "loop",
    }
}

words! {
    /// How a FORWARD that was written ended, other than by DATA or the deadline.
    ForwardFailure {
        /// FAIL: the backend refused.
        BackendRefused = "backend_refused",
        /// FAIL: the backend did not answer in time.
        BackendTimeout = "backend_timeout",
        /// FAIL: the connecting peer serves no such name.
        UnknownName = "unknown_name",
        /// FAIL: the connecting peer is at a limit.
        Overloaded = "overloaded",
        /// FAIL: the connecting peer had sent the request out itself.
        Loop = "loop",
        /// The link ended.
        LinkLost = "link_lost",
        /// The client reset its connection.
        ClientReset = "client_reset",
    }
}

impl From<FailReason> for ForwardFailure {
    fn from(reason: FailReason) -> Self {
        match reason {
            FailReason::BackendRefused => Self::BackendRefused,
            FailReason::BackendTimeout => Self::BackendTimeout,
            FailReason::UnknownName
            | FailReason::NoProvider
            | FailReason::NotAllowed
            | FailReason::NotPermitted => Self::UnknownName,
            FailReason::Overloaded => Self::Overloaded,
            FailReason::Loop => Self::Loop,
        }
    }
}

words! {
    /// Why the connecting side could not serve a FORWARD to its clean end.
    ClientFailure {
        /// The backend refused.
        BackendRefused = "backend_refused",
        /// The backend did not answer in time.
        BackendTimeout = "backend_timeout",
        /// No such service here.
        UnknownName = "unknown_name",
        /// At a limit of this peer.
        Overloaded = "overloaded",
        /// The request had left this peer before.
        Loop = "loop",
        /// The listening peer did not take the DATA connection.
        DataDial = "data_dial",
        /// The stream broke.
        DataIoError = "data_io_error",
    }
}

impl From<FailReason> for ClientFailure {
    fn from(reason: FailReason) -> Self {
        match reason {
            FailReason::BackendRefused => Self::BackendRefused,
            FailReason::BackendTimeout => Self::BackendTimeout,
            FailReason::UnknownName
            | FailReason::NoProvider
            | FailReason::NotAllowed
            | FailReason::NotPermitted => Self::UnknownName,
            FailReason::Overloaded => Self::Overloaded,
            FailReason::Loop => Self::Loop,
        }
    }
}

words! {
    /// What came of a FORWARD that was sent down an idle DATA connection.
    IdleResult {
        /// The connecting peer answered there, with DATA or FAIL.
        Answered = "answered",
        /// The connection had ended; the FORWARD went down the link.
        Stale = "stale",
        /// No answer came there in time, and the FORWARD went down the link, too.
        Late = "late",
    }
}

words! {
    /// What came of a check of a backend.
    CheckResult {
        /// It passed.
        Ok = "ok",
        /// No connection was accepted.
        Refused = "refused",
        /// Its name was not found in DNS.
        Unresolved = "unresolved",
        /// No connection or no answer came in time.
        Timeout = "timeout",
        /// The answer had another status than was asked for.
        Status = "status",
        /// The connection ended before the answer.
        Closed = "closed",
        /// The answer was not HTTP/1.
        Malformed = "malformed",
        /// This process or machine lacked descriptors or ports: nothing was learnt.
        Overloaded = "overloaded",
    }
}

words! {
    /// Why something was refused before it had a name.
    Rejection {
        /// An HTTP head that breaks the rules, answered with 400.
        BadHead = "bad_head",
        /// A message that can be read in more than one way, answered with 400.
        BadFraming = "bad_framing",
        /// A head over its limit, answered with 431.
        HeadTooLarge = "head_too_large",
        /// No whole head before the deadline, answered with 408.
        HeadTimeout = "head_timeout",
        /// The connection ended within its head.
        HeadIncomplete = "head_incomplete",
        /// HTTP/2 in clear text with unsound frames, or a request for nobody or for another
        /// name than those before it.
        BadH2 = "bad_h2",
        /// A connection that began like a ClientHello and is not one.
        BadClientHello = "bad_client_hello",
        /// A ClientHello without a server name.
        NoSni = "no_sni",
        /// An invalid server name.
        BadSni = "bad_sni",
        /// A PROXY protocol header that is malformed, missing, or from an untrusted source.
        ProxyProtocol = "proxy_protocol",
        /// First bytes of an unknown protocol.
        UnknownProtocol = "unknown_protocol",
        /// A plaintext peer from beyond loopback.
        PlaintextPeer = "plaintext_peer",
        /// A TLS peer, while no peer certificates are configured.
        TlsPeer = "tls_peer",
        /// A public client's TLS handshake failed.
        PublicTls = "public_tls",
        /// A peer's TLS handshake failed.
        TlsHandshake = "tls_handshake",
        /// No whole first line before the deadline.
        HandshakeTimeout = "handshake_timeout",
        /// HELLO of another version.
        UnsupportedVersion = "unsupported_version",
        /// A peer that did not prove who it is.
        AuthFailed = "auth_failed",
        /// Not a line of the protocol.
        BadLine = "bad_line",
        /// More than 8 KiB without LF.
        LineTooLong = "line_too_long",
        /// An invalid name.
        BadName = "bad_name",
        /// A name that this peer may not register.
        NameForbidden = "name_forbidden",
        /// A name that another registration excludes.
        NameConflict = "name_conflict",
        /// A line that has no place there.
        UnexpectedCommand = "unexpected_command",
        /// More names than one link may register.
        TooManyNames = "too_many_names",
        /// The connection limit is reached, in total or for this source.
        ConnectionLimit = "connection_limit",
        /// A silent connection of the source that held the most.
        HeadLimit = "head_limit",
        /// A link of the identity that held the most.
        LinkLimit = "link_limit",
        /// A request for a name that cannot be reached in the way that it came.
        WayNotOffered = "way_not_offered",
        /// A request of a client that the name is not for.
        NotAllowed = "not_allowed",
        /// A peer asked for a name that its certificate or token does not let it reach.
        NotPermitted = "not_permitted",
        /// A name whose path leads through this peer.
        Loop = "loop",
        /// A connection for another peer behind the same address; it is dialled again.
        WrongPeer = "wrong_peer",
        /// A request over UDP that made room for another: its source had the most, and it
        /// was idle for the longest.
        UdpLimit = "udp_limit",
        /// As many requests as may wait for DATA connections.
        PendingLimit = "pending_limit",
        /// A request that arrived while this peer was finishing its last ones.
        Draining = "draining",
        /// An idle DATA connection without a link, or one too many.
        IdleData = "idle_data",
        /// No file descriptor was left to accept with.
        FdLimit = "fd_limit",
        /// An admin client that was let go for another, or a scrape that had to wait
        /// for too many others.
        AdminLimit = "admin_limit",
    }
}

impl From<ErrorCode> for Rejection {
    /// What broke a rule was refused for; the other codes only say why a link ends.
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::UnsupportedVersion => Self::UnsupportedVersion,
            ErrorCode::Unauthorized => Self::AuthFailed,
            ErrorCode::BadLine => Self::BadLine,
            ErrorCode::LineTooLong => Self::LineTooLong,
            ErrorCode::BadName => Self::BadName,
            ErrorCode::NameForbidden => Self::NameForbidden,
            ErrorCode::NameConflict => Self::NameConflict,
            ErrorCode::UnexpectedCommand => Self::UnexpectedCommand,
            ErrorCode::TooManyNames => Self::TooManyNames,
            ErrorCode::TooManyLinks => Self::LinkLimit,
            ErrorCode::Draining => Self::Draining,
            ErrorCode::Replaced | ErrorCode::Silent => Self::LinkLimit,
            ErrorCode::Loop => Self::Loop,
            ErrorCode::WrongPeer => Self::WrongPeer,
        }
    }
}

words! {
    /// Why a datagram was not carried on.
    DatagramLoss {
        /// More came than its DATA connection takes.
        QueueFull = "queue_full",
        /// Its request was refused, failed, or made room for another.
        NoRequest = "no_request",
        /// The network did not take it: it is too long for the way, or there is none.
        Unsendable = "unsendable",
    }
}

words! {
    /// What log lines are about that tell of no rejection.
    Incident {
        /// A link began.
        LinkUp = "link_up",
        /// A link ended.
        LinkDown = "link_down",
        /// A DATA connection that nobody waits for.
        UnexpectedData = "unexpected_data",
        /// A provider did not take a request.
        NotTaken = "not_taken",
        /// A backend cannot be reached.
        BackendUnreachable = "backend_unreachable",
        /// A FORWARD for a name that is not served here.
        UnknownName = "unknown_name",
        /// A DATA connection answered for another request.
        WrongAnswer = "wrong_answer",
        /// The listening peer did not take a DATA connection.
        DataDial = "data_dial",
        /// A request came back to the peer that sent it.
        Loop = "loop",
        /// A link reached a peer that another link holds.
        SamePeer = "same_peer",
        /// A listening peer could not be asked for a request.
        Open = "open",
        /// A listening peer does not let this one reach a name.
        NotPermitted = "not_permitted",
        /// A connection could not be accepted.
        Accept = "accept",
    }
}

/// What a log line is about: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogReason {
    /// Something was refused.
    Rejected(Rejection),
    /// Something else happened.
    Happened(Incident),
}

impl LogReason {
    /// The word in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(reason) => reason.as_str(),
            Self::Happened(incident) => incident.as_str(),
        }
    }

    /// The level of the lines that it is about.
    pub fn level(self) -> Level {
        match self {
            Self::Rejected(Rejection::IdleData)
            | Self::Happened(
                Incident::LinkUp
                | Incident::LinkDown
                | Incident::UnexpectedData
                | Incident::NotTaken,
            ) => Level::INFO,
            Self::Rejected(_) | Self::Happened(_) => Level::WARN,
        }
    }
}

impl From<Rejection> for LogReason {
    fn from(reason: Rejection) -> Self {
        Self::Rejected(reason)
    }
}

impl From<Incident> for LogReason {
    fn from(incident: Incident) -> Self {
        Self::Happened(incident)
    }
}

words! {
    /// Why an annotated Service of Kubernetes is not served, or not under one of its names.
    ServiceRefusal {
        /// `name` is missing, or says something that is no name.
        BadName = "bad_name",
        /// `ways` are not those that there are.
        BadWays = "bad_ways",
        /// `port` is none of the Service's, or it does not say which of several is meant.
        BadPort = "bad_port",
        /// `allow` is no list of networks.
        BadAllow = "bad_allow",
        /// `h2c` is neither true nor false.
        BadH2c = "bad_h2c",
        /// `proxy-protocol` is no version, or goes with UDP.
        BadProxyProtocol = "bad_proxy_protocol",
        /// It has an annotation of ours that means nothing.
        UnknownAnnotation = "unknown_annotation",
        /// It is an alias of a host elsewhere.
        ExternalName = "external_name",
        /// An older Service, or the peer's own settings, have the name.
        NameTaken = "name_taken",
        /// The certificate of the peer does not permit the name.
        NotPermitted = "not_permitted",
        /// There are more names than one link carries.
        TooManyNames = "too_many_names",
    }
}
