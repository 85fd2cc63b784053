//! TLS alerts in clear text, to whom no handshake was begun with.

/// What an alert says (RFC 8446 §6, RFC 7301 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// A field of the hello holds what it may not.
    IllegalParameter = 47,
    /// This client may not.
    AccessDenied = 49,
    /// The hello is malformed.
    DecodeError = 50,
    /// Nothing that the client did wrong.
    InternalError = 80,
    /// The hello names no server.
    MissingExtension = 109,
    /// No such server here.
    UnrecognizedName = 112,
    /// The protocol that ALPN asks for is not spoken here.
    NoApplicationProtocol = 120,
}

/// A fatal alert in a record of its own (RFC 8446 §6). The record says TLS 1.2,
/// as all do before a version was agreed on.
pub fn fatal_alert(alert: Alert) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, alert as u8]
}
