//! The files of the peers' TLS.

use std::sync::Arc;

use super::simulation::Mesh;
use crate::tls::{Files, Material};

impl Mesh {
    /// Gives every peer with TLS its files.
    pub(super) fn add_files(&self) {
        let mut state = self.fabric.state();
        for (host, peer) in &self.scenario.peers {
            if let Some(tls) = &peer.tls {
                let files = Files::new(Material::new(tls.clone()), &self.certificates);
                state.files.insert(self.ips[host], files);
            }
        }
    }

    /// Puts something else into the files of a peer; one without TLS has none.
    pub fn replace_files(&mut self, host: &str, change: impl FnOnce(&Material) -> Material) {
        if let Some(files) = self.fabric.state().files.get_mut(&self.ip(host)) {
            let after = change(files.on_disk());
            files.replace(after, &self.certificates);
        }
    }

    /// How often a peer has read any of its files.
    pub fn file_reads(&self, host: &str) -> u64 {
        self.fabric.state().files.get(&self.ip(host)).map_or(0, Files::reads)
    }

    /// What a peer with TLS goes by.
    pub fn loaded_files(&self, host: &str) -> Option<Arc<Material>> {
        self.fabric.state().files.get(&self.ip(host)).map(|files| files.loaded().clone())
    }

    /// The peer looks at its files now.
    ///
    /// # Errors
    /// It does not run.
    pub fn reload(&mut self, host: &str) -> Result<(), String> {
        self.running(host)?.reload();
        Ok(())
    }
}
