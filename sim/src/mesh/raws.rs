//! Connections that are written by hand.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::mpsc;

use crate::client::{Heard, Say};

/// How a raw connection is opened.
#[derive(Debug)]
pub struct Opening {
    /// Where to, as `host:port`.
    pub to: String,
    /// It never reads.
    pub deaf: bool,
    /// It speaks TLS, with this certificate.
    pub certificate: Option<String>,
}

/// One that was opened.
pub(super) struct RawConnection {
    pub(super) says: mpsc::UnboundedSender<Say>,
    pub(super) heard: Rc<RefCell<Heard>>,
}
