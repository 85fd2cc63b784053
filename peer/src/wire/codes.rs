//! The codes of ERROR and the reasons of FAIL.

use crate::words::words;

words! {
    /// Why a line was refused, or why a link ends.
    ErrorCode {
        /// HELLO of another protocol version.
        UnsupportedVersion = "unsupported_version",
        /// The peer did not prove who it is.
        Unauthorized = "unauthorized",
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
        /// A line that is not allowed here.
        UnexpectedCommand = "unexpected_command",
        /// More names than one link may register.
        TooManyNames = "too_many_names",
        /// More links than fit, and this identity has the most.
        TooManyLinks = "too_many_links",
        /// The process at this end is shutting down.
        Draining = "draining",
        /// Another link was opened under the same peer id.
        Replaced = "replaced",
        /// Nothing was heard for the peer timeout, or nothing was read for as long.
        Silent = "silent",
        /// Names whose path leads through the peer that they are registered with.
        Loop = "loop",
        /// A connection that was meant for another peer behind the same address.
        WrongPeer = "wrong_peer",
    }
}

words! {
    /// Why no DATA connection will come for a FORWARD.
    FailReason {
        /// The backend's address did not accept the connection.
        BackendRefused = "backend_refused",
        /// The backend did not answer in time.
        BackendTimeout = "backend_timeout",
        /// The connecting peer does not serve this name.
        UnknownName = "unknown_name",
        /// The connecting peer cannot carry another request now.
        Overloaded = "overloaded",
        /// The request had left the connecting peer before, through this very name.
        Loop = "loop",
        /// Nobody serves this name now. This and what follows answer OPEN alone.
        NoProvider = "no_provider",
        /// The name is not for this client.
        NotAllowed = "not_allowed",
        /// The name is not for the peer that asks.
        NotPermitted = "not_permitted",
    }
}
