//! The record of every certificate that a CA issued to a peer: `issued.toml` in the
//! CA's directory. Revoking a peer needs it, because a renewal overwrites the file
//! of the certificate before, which is valid until it expires.
//!
//! ```toml
//! [[certificate]]
//! serial = "4c1f…"                     # hex, as `pki list` shows it
//! peer = "site-1"
//! names = ["app.example", "[::1]"]
//! reach = ["*.b.example"]              # if there are any
//! not_before = 2026-07-14T08:30:00Z    # UTC
//! not_after = 2026-10-12T09:30:00Z
//! ```
//!
//! A certificate is recorded before its file is written, in the order of issue. A
//! directory without the file has an empty record. A peer certificate `ID.pem` that
//! lies in the directory and was signed by this CA, but is not in the file, counts as
//! recorded, and the next `pki issue` writes it down.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;
use toml::value::Datetime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::authority::Authority;
use super::files::PkiFiles;
use super::serial::Serial;
use super::subject::Subject;
use crate::cli::failure::Failure;
use crate::names::{NamePattern, PeerId};
use crate::trust::{Identity, certificate_identity, reach_of};

/// All that a CA issued, in the order of issue.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    #[serde(default, rename = "certificate")]
    records: Vec<Record>,
}

/// One certificate of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    #[serde(with = "as_text")]
    pub(super) serial: Serial,
    #[serde(with = "as_text")]
    pub(super) peer: PeerId,
    /// Its DNS names and addresses. Text, because a CA made by hand can have signed
    /// names that [`Subject`] refuses.
    pub(super) names: Vec<String>,
    /// What it may reach through listening peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "as_texts")]
    pub(super) reach: Vec<NamePattern>,
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
}

/// Seconds since the Unix epoch; in the file, a UTC date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Datetime", into = "Datetime")]
pub(super) struct Moment(Duration);

impl Index {
    /// What the index file and the certificates in the directory say.
    ///
    /// # Errors
    /// A file that cannot be read, or an index that is not in the format above.
    pub(super) fn load(files: &PkiFiles, authority: &Authority) -> Result<Self, Failure> {
        let path = files.of_index();
        let mut index = match files.read_index()? {
            None => Self::default(),
            Some(text) => toml::from_str(&text).map_err(|error: toml::de::Error| {
                let line =
                    error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                Failure::Pki(format!(
                    "{}: line {line}: {}; fix the line, or restore the file from a backup",
                    path.display(),
                    error.message(),
                ))
            })?,
        };
        for pem in files.read_peer_certificates()? {
            let Ok(certificate) = CertificateDer::from_pem_slice(&pem) else { continue };
            if let Some(record) = Record::of(&certificate)
                && index.find(&record.serial).is_none()
                && authority.has_signed(&certificate)
            {
                index.add(record);
            }
        }
        Ok(index)
    }

    /// Adds a certificate that is about to be written.
    pub(super) fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    /// All certificates, in the order of issue.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The certificate with this serial number.
    pub(super) fn find(&self, serial: &Serial) -> Option<&Record> {
        self.records.iter().find(|record| record.serial == *serial)
    }

    /// The certificates of a peer, in the order of issue.
    pub(super) fn of_peer(&self, peer: &PeerId) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.peer == *peer)
    }

    /// The newest certificate of a peer.
    pub(super) fn newest_of(&self, peer: &PeerId) -> Option<&Record> {
        self.of_peer(peer).max_by_key(|record| record.not_before)
    }

    /// The contents of the index file.
    pub(super) fn to_toml(&self) -> String {
        toml::to_string(self).expect("a record is a table of strings and dates")
    }
}

impl Record {
    /// What a peer's certificate says; `None` if it is not that of a peer.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let Identity::Certificate { peer, .. } = certificate_identity(certificate)? else {
            return None;
        };
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        Some(Self {
            serial: Serial::from_bytes(&parsed.serial.to_bytes_be()),
            peer,
            names: names.value.general_names.iter().filter_map(name).collect(),
            reach: reach_of(certificate),
            not_before: parsed.validity().not_before.into(),
            not_after: parsed.validity().not_after.into(),
        })
    }

    /// As [`of`](Self::of), for a certificate in PEM.
    pub(super) fn of_pem(certificate: &str) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?)
    }

    /// Whether its validity has ended at `now`, since the Unix epoch.
    pub(super) fn is_expired(&self, now: Duration) -> bool {
        self.not_after.0 < now
    }
}

/// A DNS name or an address, as `--name` takes it.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(Into::into)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(Into::into));
            Some(Subject::Address(address.ok()?).to_string())
        }
        _ => None,
    }
}

impl Moment {
    /// The day, such as `2026-07-14`, in UTC.
    pub(super) fn day(self) -> String {
        let mut text = self.to_string();
        text.truncate("2026-07-14".len());
        text
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + self.0).fmt(f)
    }
}

impl From<ASN1Time> for Moment {
    fn from(time: ASN1Time) -> Self {
        Self(Duration::new(u64::try_from(time.timestamp()).unwrap_or_default(), 0))
    }
}

impl From<Moment> for Datetime {
    fn from(moment: Moment) -> Self {
        moment.to_string().parse().expect("TOML's dates are those of RFC 3339")
    }
}

impl TryFrom<Datetime> for Moment {
    type Error = &'static str;

    fn try_from(date: Datetime) -> Result<Self, Self::Error> {
        let time = humantime::parse_rfc3339(&date.to_string()).ok();
        time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(Self)
            .ok_or("expected a date and time in UTC, such as 2026-07-14T08:30:00Z")
    }
}

/// Values whose form in a file is their text.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Lists of such values.
mod as_texts {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(
        values: &[impl Display],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}
