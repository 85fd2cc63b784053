//! The files of a peer's TLS, replaced while it runs.

use super::effect::{Action, Effect};
use crate::mesh::Mesh;
use crate::scenario::steps::{Reload, Replace};
use crate::tls::Material;

impl Action for Replace {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.replace_files(&self.peer, |before| replaced(self, before));
        Ok(read_again(mesh, &self.peer))
    }
}

impl Action for Reload {
    fn begin(&self, mesh: &mut Mesh) -> Result<Effect, String> {
        mesh.reload(&self.0)?;
        Ok(read_again(mesh, &self.0))
    }
}

/// What is in the files once they have been replaced.
pub fn replaced(replace: &Replace, before: &Material) -> Material {
    let mut after = Material { garbled: replace.garbled, ..before.clone() };
    if let Some(certificate) = &replace.certificate {
        after.tls.certificate = Some(certificate.clone());
        after.key = Some(certificate.clone());
    }
    after.key = replace.key.clone().or(after.key);
    after.tls.ca = replace.ca.clone().unwrap_or(after.tls.ca);
    after.tls.revocations = replace.revocations.clone().or(after.tls.revocations);
    after.tls.token = replace.token.clone().or(after.tls.token);
    after.tls.accept_tokens = replace.accept_tokens.clone().unwrap_or(after.tls.accept_tokens);
    after
}

/// The peer has read its files after this moment.
fn read_again(mesh: &Mesh, peer: &str) -> Effect {
    let (peer, before) = (peer.to_owned(), mesh.file_reads(peer));
    Effect::Watch(Box::new(move |mesh| mesh.file_reads(&peer) > before))
}
