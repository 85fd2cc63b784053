//! Why a link to a listening peer ended, in the words of the log, and what the other end
//! is told of it.

use crate::names::PeerId;
use crate::stream::control::ControlError;
use crate::upstream::broken;
use crate::wire::{ErrorCode, ReportedError};

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("closed by the listening peer")]
    Closed,
    #[error("nothing received within the peer timeout")]
    Silent,
    #[error("the listening peer stopped reading")]
    Stalled,
    #[error("{}", refused(.0))]
    Refused(ReportedError),
    #[error("the listening peer's certificate has been revoked")]
    Revoked,
    #[error("certificates or tokens have changed, and names that were refused are tried again")]
    Renewed,
    #[error("it was opened with a certificate that does not permit what the new one does")]
    Outgrown,
    #[error("its address is no longer one of the host's")]
    Retired,
    #[error("it reached {0}, to which there is a link already")]
    SameAgain(PeerId),
    #[error("it reached this very peer")]
    Itself,
    #[error("another process of the listening peer takes connections now")]
    Redial,
    #[error("this process is shutting down")]
    Closing,
    #[error("{}", broken(.0))]
    Control(#[from] ControlError),
}

impl Ended {
    /// What the listening peer is told of an end that is not its own doing.
    pub(super) fn farewell(&self) -> Option<(ErrorCode, &str)> {
        match self {
            Self::Closing => Some((ErrorCode::Draining, "this process is shutting down")),
            Self::Silent => Some((ErrorCode::Silent, "nothing was heard for the peer timeout")),
            Self::Stalled => Some((ErrorCode::Silent, "nothing was read for too long")),
            Self::Control(ControlError::Wire(error)) => Some((error.code, &error.text)),
            Self::Closed
            | Self::Refused(_)
            | Self::Revoked
            | Self::Renewed
            | Self::Outgrown
            | Self::Retired
            | Self::SameAgain(_)
            | Self::Itself
            | Self::Redial
            | Self::Control(ControlError::Io(_)) => None,
        }
    }

    /// Whether another link with our peer id was opened there.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Refused(ReportedError { code: ErrorCode::Replaced, .. }))
    }
}

/// What the listening peer says, in plain words where it only takes leave.
fn refused(error: &ReportedError) -> String {
    match error.code {
        ErrorCode::Draining => "the listening peer is shutting down".to_owned(),
        ErrorCode::Replaced => "another link was opened under this peer id".to_owned(),
        ErrorCode::Silent => {
            "the listening peer heard nothing from here for its peer timeout".to_owned()
        }
        ErrorCode::Unauthorized => {
            "the listening peer does not authorise this peer: its certificate or token is not, or \
             no longer, accepted there"
                .to_owned()
        }
        _ => format!("refused by the listening peer: {error}"),
    }
}
