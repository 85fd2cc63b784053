//! What an operator should know about the revocation lists that are loaded (RFC 5280 §5).
//! Nothing is refused here: a list that has expired still revokes, and one that no CA of
//! ours made may be for the intermediate CA of another peer.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio_rustls::rustls;
use x509_parser::prelude::{
    ASN1Time, CertificateRevocationList, FromDer, X509Certificate, X509Name,
};

/// Whose a list is, and until when.
#[derive(Debug)]
pub(super) struct List {
    issuer: Authority,
    /// When the next list was to be made; a list need not say.
    expires: Option<ASN1Time>,
}

/// A CA, by its name: as it is compared, and as it is written.
#[derive(Debug)]
struct Authority {
    der: Vec<u8>,
    shown: String,
}

impl Authority {
    fn new(name: &X509Name<'_>) -> Self {
        Self { der: name.as_raw().to_vec(), shown: name.to_string() }
    }
}

/// The lists, as far as they can be read; the verifiers refuse the others.
pub(super) fn lists(revoked: &[CertificateRevocationListDer<'_>]) -> Vec<List> {
    let parsed = revoked.iter().filter_map(|list| CertificateRevocationList::from_der(list).ok());
    parsed
        .map(|(_, list)| List {
            issuer: Authority::new(list.issuer()),
            expires: list.next_update(),
        })
        .collect()
}

/// When the first of the lists expires, in seconds since the Unix epoch.
pub(super) fn first_expiry(lists: &[List]) -> Option<i64> {
    lists.iter().filter_map(|list| list.expires).map(|at| at.timestamp()).min()
}

/// What is odd about the lists, where `roots` are the CAs in tls_ca and `chain` is what
/// tls_cert holds.
pub(super) fn warnings(
    lists: &[List],
    roots: &[CertificateDer<'_>],
    chain: &[CertificateDer<'_>],
    now: Duration,
) -> Vec<String> {
    if lists.is_empty() {
        return Vec::new();
    }
    let roots: Vec<Authority> = roots.iter().filter_map(subject).collect();
    let intermediates: Vec<Authority> = chain.iter().skip(1).filter_map(subject).collect();
    let expired = lists.iter().filter_map(|list| {
        let expired = list.expires.filter(|at| at.timestamp() < now.as_secs() as i64)?;
        let issuer = &list.issuer.shown;
        Some(format!(
            "tls_crl: the revocation list of {issuer} expired on {expired}; what it revokes stays \
             refused, but it says nothing of later revocations; replace it with a new one"
        ))
    });
    let is_known =
        |list: &&List| roots.iter().chain(&intermediates).any(|one| one.der == list.issuer.der);
    let foreign = lists.iter().filter(|list| !is_known(list)).map(|list| {
        let issuer = &list.issuer.shown;
        format!(
            "tls_crl: the revocation list of {issuer} is from no CA in tls_ca or tls_cert; check \
             that it is the right list"
        )
    });
    let without = roots.iter().filter(|root| lists.iter().all(|one| one.issuer.der != root.der));
    let without = without.map(|root| {
        let root = &root.shown;
        format!(
            "tls_crl: contains no revocation list of {root}, a CA in tls_ca: peers whose \
             certificates that CA issued are refused; add its list"
        )
    });
    expired.chain(foreign).chain(without).collect()
}

fn subject(certificate: &CertificateDer<'_>) -> Option<Authority> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Authority::new(parsed.subject()))
}
