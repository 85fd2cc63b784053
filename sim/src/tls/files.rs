//! The files of a peer's TLS: what is in them, who has read them, and what the
//! peer goes by since.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::certificates::Certificates;
use crate::scenario::{File, TlsSpec};

/// What the files hold, by the names of the scenario.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Material {
    /// What is in them.
    pub tls: TlsSpec,
    /// The certificate whose key is in the key file.
    pub key: Option<String>,
    /// The file that was written over with something that is none of its kind.
    pub garbled: Option<File>,
}

impl Material {
    /// What a peer starts with.
    pub fn new(tls: TlsSpec) -> Self {
        Self { key: tls.certificate.clone(), tls, garbled: None }
    }

    /// Whether a peer takes it: one that does not stays with what it had.
    pub fn is_usable(&self) -> bool {
        self.garbled.is_none() && self.key == self.tls.certificate
    }

    /// The contents of all files. What `made` does not have was refused when the
    /// scenario was checked.
    pub fn contents(&self, made: &Certificates) -> BTreeMap<&'static str, String> {
        let Self { tls, key, garbled } = self;
        let issued = |name: &Option<String>| made.issued.get(name.as_ref()?);
        let cas: String = tls.ca.iter().filter_map(|ca| made.cas.get(ca)).cloned().collect();
        let revoked = tls.revocations.as_ref().and_then(|list| made.revocations.get(list));
        let rules = BTreeMap::from([("token", &tls.accept_tokens)]);
        let rules = toml::to_string(&rules).expect("a token rule has a TOML form");
        let all = [
            (File::Certificate, issued(&tls.certificate).map(|one| one.certificate.clone())),
            (File::Key, issued(key).map(|one| one.key.clone())),
            (File::Ca, (!cas.is_empty()).then_some(cas)),
            (File::Revocations, revoked.cloned()),
            (File::Token, tls.token.clone()),
            (File::AcceptTokens, (!tls.accept_tokens.is_empty()).then_some(rules)),
        ];
        let garble = |(file, text): (File, String)| match *garbled {
            Some(one) if one == file => (file.path(), "half a fi".to_owned()),
            _ => (file.path(), text),
        };
        all.into_iter().filter_map(|(file, text)| Some(garble((file, text?)))).collect()
    }
}

/// The files of one host.
#[derive(Debug, Clone)]
pub struct Files {
    contents: BTreeMap<&'static str, String>,
    on_disk: Arc<Material>,
    loaded: Arc<Material>,
    reads: u64,
}

impl Files {
    /// The files of a peer that starts with this.
    pub fn new(material: Material, made: &Certificates) -> Self {
        let (contents, on_disk) = (material.contents(made), Arc::new(material));
        Self { contents, loaded: on_disk.clone(), on_disk, reads: 0 }
    }

    /// Reads one of them.
    ///
    /// # Errors
    /// There is no such file.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such file");
        let contents = path.to_str().and_then(|path| self.contents.get(path));
        let contents = contents.ok_or_else(missing)?.clone().into_bytes();
        self.reads += 1;
        // A peer reads all of them at once, and takes all or none.
        if self.on_disk.is_usable() {
            self.loaded = self.on_disk.clone();
        }
        Ok(contents)
    }

    /// How often any of them was read.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// What is in them now.
    pub fn on_disk(&self) -> &Material {
        &self.on_disk
    }

    /// What the peer goes by.
    pub fn loaded(&self) -> &Arc<Material> {
        &self.loaded
    }

    /// Puts something else into them.
    pub fn replace(&mut self, material: Material, made: &Certificates) {
        self.contents = material.contents(made);
        self.on_disk = Arc::new(material);
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::Issued;
    use super::*;

    fn with_certificate(name: &str) -> Material {
        Material::new(TlsSpec { certificate: Some(name.to_owned()), ..TlsSpec::default() })
    }

    #[test]
    fn what_is_of_no_use_is_not_what_a_peer_goes_by() {
        let mut made = Certificates::default();
        for name in ["old", "new"] {
            let issued = |what: &str| format!("{what} of {name}");
            let (certificate, key) = (issued("certificate"), issued("key"));
            made.issued.insert(name.to_owned(), Issued { certificate, key });
        }
        let mut files = Files::new(with_certificate("old"), &made);
        let path = Path::new(File::Certificate.path());
        let half = Material { key: Some("old".to_owned()), ..with_certificate("new") };
        files.replace(half, &made);
        assert_eq!(files.read(path).unwrap(), b"certificate of new");
        assert_eq!(**files.loaded(), with_certificate("old"));
        files.replace(with_certificate("new"), &made);
        assert_eq!(**files.loaded(), with_certificate("old"), "nobody has read it yet");
        files.read(path).unwrap();
        assert_eq!(**files.loaded(), with_certificate("new"));
        assert!(files.read(Path::new("/etc/passwd")).is_err());
    }
}
