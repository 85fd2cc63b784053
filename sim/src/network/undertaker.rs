//! What becomes of the streams of a host whose software is torn down.

use std::net::IpAddr;

use super::fabric::Fabric;

/// Held by a host's software: dropped after the host's tasks, it tells the other
/// ends of their streams.
#[derive(Debug)]
pub struct Undertaker {
    /// What all hosts share.
    pub fabric: Fabric,
    /// The host.
    pub ip: IpAddr,
}

impl Drop for Undertaker {
    fn drop(&mut self) {
        let (farewell, mut buried) = {
            let mut state = self.fabric.state();
            let dying = state.hosts.get_mut(&self.ip).and_then(|host| host.dying.as_mut());
            let Some(dying) = dying else { return };
            (dying.farewell, dying.buried.take().unwrap_or_default())
        };
        buried.sort_by_key(|(conn, _, end, _)| (*conn, *end));
        for (conn, pair, end, stream) in buried {
            self.fabric.state().parted(pair, end, conn, farewell);
            drop(stream);
        }
    }
}
