//! Why a proxy led nowhere, and what to do about it.

use std::io;

use crate::config::{Endpoint, Via};
use crate::stream::dial::DialError;

/// A proxy did not lead to a listening peer. The text names the proxy, never its user or
/// password.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {via} {trouble}")]
pub struct ViaError {
    via: String,
    trouble: Trouble,
}

impl ViaError {
    pub(super) fn new(via: &Via, trouble: Trouble) -> Self {
        Self { via: via.to_string(), trouble }
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There is no connection to the proxy.
    #[error("cannot be reached: {0}")]
    Dial(#[from] DialError),
    /// It took the connection, and gave no answer.
    #[error("did not connect to {0} in time")]
    Late(Endpoint),
    /// It said no.
    #[error("refused to connect to {upstream}: {said}{remedy}")]
    Refused {
        /// To whom.
        upstream: Endpoint,
        /// Its answer, for a log.
        said: String,
        /// What may help.
        remedy: Remedy,
    },
    /// It ended the connection.
    #[error("closed the connection without an answer; check the scheme and the port in {0}")]
    Closed(&'static str),
    /// It is no such proxy.
    #[error("answered otherwise than its scheme says: {0}; check the scheme and the port in {1}")]
    Foreign(&'static str, &'static str),
    /// The connection failed.
    #[error("broke the connection: {0}")]
    Broken(io::Error),
}

/// What an operator can do about a refusal; with `set_by`, where the proxy was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Remedy {
    /// The login was not accepted.
    #[error("; check the user and password in {0}")]
    CheckLogin(&'static str),
    /// There was none.
    #[error("; put the user and password into the URL in {0}: SCHEME://USER:PASSWORD@HOST:PORT")]
    GiveLogin(&'static str),
    /// The proxy may not.
    #[error("; ask whoever runs the proxy to allow connections to this host and port")]
    Allow,
    /// The proxy cannot.
    #[error("; check that the name and the port in --connect are right where the proxy is")]
    Reach,
    /// Who knows.
    #[error("; ask whoever runs the proxy")]
    Ask,
}

impl Remedy {
    /// The proxy wants to know who we are.
    pub(super) fn login(via: &Via) -> Self {
        match via.login {
            Some(_) => Self::CheckLogin(via.set_by),
            None => Self::GiveLogin(via.set_by),
        }
    }
}
