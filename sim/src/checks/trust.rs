//! What certificates and tokens must lead to: a model of who lets in whom, from
//! the names in the scenario and without any cryptography.

use ops_proxy::names::{Name, PeerId};

use crate::mesh::Mesh;
use crate::scenario::{Moment, PeerSpec, TlsSpec, TokenRule, Usage};
use crate::tls::Material;

/// Whether a new link from `connecting`, which dials `host`, would be let in at
/// `listening` with all of its names, as far as TLS is concerned.
pub(super) fn lets_in(mesh: &Mesh, connecting: &str, listening: &str, host: &str) -> bool {
    let peers = &mesh.scenario().peers;
    let (Some(client), Some(server)) = (peers.get(connecting), peers.get(listening)) else {
        return false;
    };
    if client.tls.is_none() && server.tls.is_none() {
        return true;
    }
    match (mesh.loaded_files(connecting), mesh.loaded_files(listening)) {
        (Some(ours), Some(theirs)) => {
            let (ours_now, theirs_now) = (mesh.clock(connecting), mesh.clock(listening));
            Trust { mesh, ours_now, theirs_now }.agree(&ours, &theirs, client, connecting, host)
        }
        // One of them speaks TLS, the other does not or does not want to.
        (ours, theirs) => {
            let dials_tls = ours.is_some_and(|ours| !ours.tls.ca.is_empty());
            let takes_tls = theirs.is_some_and(|theirs| theirs.tls.certificate.is_some());
            !dials_tls && !takes_tls
        }
    }
}

struct Trust<'a> {
    mesh: &'a Mesh,
    /// What the clocks of the connecting and the listening peer show.
    ours_now: Moment,
    theirs_now: Moment,
}

impl Trust<'_> {
    fn agree(
        &self,
        ours: &Material,
        theirs: &Material,
        client: &PeerSpec,
        connecting: &str,
        host: &str,
    ) -> bool {
        let (ours, theirs) = (&ours.tls, &theirs.tls);
        let id = client.id.as_deref().unwrap_or(connecting);
        let Some(server) = &theirs.certificate else { return false };
        if !self.verifies(server, ours, self.ours_now, Usage::Server)
            || !self.is_valid_for(server, host)
        {
            return false;
        }
        if let Some(certificate) = ours.certificate.as_ref().filter(|_| !theirs.ca.is_empty())
            && !self.verifies(certificate, theirs, self.theirs_now, Usage::Client)
        {
            return false;
        }
        if let Some(token) = &ours.token {
            let own = |rule: &&TokenRule| rule.peer.as_deref() == Some(id);
            let reserved = theirs.accept_tokens.iter().any(|rule| own(&rule));
            let rule = theirs.accept_tokens.iter().find(|rule| {
                rule.secret == *token && (own(rule) || (rule.peer.is_none() && !reserved))
            });
            return rule.is_some_and(|rule| {
                rule.names.as_ref().is_none_or(|names| {
                    client.services.keys().all(|name| names.iter().any(|one| covers(one, name)))
                })
            });
        }
        let Some(certificate) = ours.certificate.as_ref().filter(|_| !theirs.ca.is_empty()) else {
            return false;
        };
        let spec = &self.mesh.scenario().certificates[certificate];
        proves(spec.peer.as_ref().unwrap_or(certificate), id)
            && client.services.keys().all(|name| self.is_valid_for(certificate, name))
    }

    /// Whether who has these files, and whose clock shows this, takes the certificate
    /// for that use.
    fn verifies(&self, certificate: &str, files: &TlsSpec, now: Moment, usage: Usage) -> bool {
        let scenario = self.mesh.scenario();
        let spec = &scenario.certificates[certificate];
        let ca = scenario.ca_of(spec.ca.as_deref());
        let list = files.revocations.as_ref().map(|list| &scenario.revocations[list]);
        // What a list of another CA does not tell is taken for revoked.
        let revoked = list.is_some_and(|list| {
            scenario.ca_of(list.ca.as_deref()) != ca
                || list.certificates.iter().any(|one| one == certificate)
        });
        files.ca.iter().any(|one| Some(one.as_str()) == ca)
            && (spec.not_before..=spec.not_after).contains(&now)
            && spec.usage.contains(&usage)
            && !revoked
    }

    fn is_valid_for(&self, certificate: &str, name: &str) -> bool {
        let names = &self.mesh.scenario().certificates[certificate].names;
        names.iter().any(|one| covers(one, name))
    }
}

/// Whether who proves to be this peer may be `id`: the same, or an instance of it.
fn proves(peer: &str, id: &str) -> bool {
    let (Ok(peer), Ok(id)) = (peer.parse::<PeerId>(), id.parse()) else { return false };
    peer.covers(&id)
}

/// Whether `name` is that name, or one that the wildcard stands for.
fn covers(pattern: &str, name: &str) -> bool {
    let wildcard = || Name::registered(name).ok()?.wildcard();
    pattern == name || wildcard().as_deref() == Some(pattern)
}
