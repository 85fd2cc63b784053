//! Whether this peer may register what it serves, as far as it can know.

use super::load::Loaded;
use crate::config::{ConfigError, PeerConfig};
use crate::names::Name;
use crate::trust::permission::Permission;

impl Loaded {
    /// Which names this peer may register, as far as it can know. With a token or in
    /// plaintext, only the listening peer knows.
    pub fn own_permission(&self, config: &PeerConfig) -> Permission {
        let shown = self.own.as_ref().filter(|_| config.shows_certificate());
        shown.map_or(Permission::Any, |own| Permission::Certificate(own.clone()))
    }

    /// Whether the certificate permits all services.
    ///
    /// # Errors
    /// `service`, with the names that it does not permit, and how to get a certificate
    /// that does. At most so many names are listed.
    pub fn check_services(&self, config: &PeerConfig, most: usize) -> Result<(), ConfigError> {
        let permission = self.own_permission(config);
        let names: Vec<&Name> = config.services.keys().collect();
        let forbidden: Vec<&Name> =
            names.iter().copied().filter(|name| !permission.permits(name)).collect();
        if forbidden.is_empty() {
            return Ok(());
        }
        // What is issued replaces the old certificate: it is to hold the good names, too.
        let mut remedy = format!("ops-proxy pki issue --force --peer {}", config.peer_id);
        remedy.push_str(&listed(&names, most, |name| format!(" --name '{name}'")));
        if config.listen.is_some() {
            remedy.push_str(" and a --name for each that peers dial it by");
        }
        let forbidden = listed(&forbidden, most, |name| format!(" {name}"));
        let problem = format!(
            "the certificate in tls_cert does not permit{forbidden}; issue one that does: {remedy}"
        );
        Err(ConfigError::new("service", problem))
    }
}

/// The first of these names, and how many more there are.
fn listed(names: &[&Name], most: usize, written: impl Fn(&Name) -> String) -> String {
    let mut text: String = names.iter().take(most).map(|name| written(name)).collect();
    if names.len() > most {
        text.push_str(&format!(" and {} more", names.len() - most));
    }
    text
}
