//! What two processes have in common of which one takes the other's place while that one
//! still runs: the addresses are taken over at once, the DATA connections of what runs are
//! passed back.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_rustls::rustls;

use crate::limits::SHOWN_BYTES;
use crate::names::PeerId;
use crate::trust::Proven;

/// The process in whose place this one takes connections.
#[derive(Clone)]
pub struct Predecessor {
    /// What it is called: DATA connections that are for it are taken, too.
    pub peer: PeerId,
    /// Where it takes what is passed back; on loopback.
    pub addr: SocketAddr,
    /// What it knows its successor by.
    pub secret: Secret,
}

/// What a process knows its successor by. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    /// That of these random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether it is `other`, in a time that tells nothing.
    fn is(&self, other: &Self) -> bool {
        digest(&SHA256, &self.0).as_ref() == digest(&SHA256, &other.0).as_ref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the other end of a DATA connection has shown to the process that it came to. Stands
/// before the bytes of a connection that is passed back: its length in four bytes, big
/// endian, and so much JSON.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    secret: Secret,
    /// Where the connection came from.
    pub source: SocketAddr,
    tls: Option<ShownInTls>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct ShownInTls {
    exporter: [u8; 32],
    /// The certificates, in DER; none where a token is shown.
    chain: Vec<Vec<u8>>,
}

impl Shown {
    /// As the predecessor is told of it.
    pub fn new(
        to: &Predecessor,
        source: SocketAddr,
        proven: &Proven,
        chain: &[CertificateDer<'static>],
    ) -> Self {
        let tls = match proven {
            Proven::Plaintext(_) => None,
            Proven::Tls { exporter, .. } => Some(ShownInTls {
                exporter: *exporter,
                chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            }),
        };
        Self { secret: to.secret.clone(), source, tls }
    }

    /// What was proven by it, and the certificates.
    pub fn into_proof(self) -> (Proven, Vec<CertificateDer<'static>>) {
        let Some(ShownInTls { exporter, chain }) = self.tls else {
            let source: IpAddr = self.source.ip();
            return (Proven::Plaintext(source), Vec::new());
        };
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        (Proven::Tls { certificate: chain.first().cloned(), exporter }, chain)
    }

    /// As it is written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("it has no maps");
        let length = u32::try_from(json.len()).expect("what was shown is bounded");
        [&length.to_be_bytes()[..], &json].concat()
    }

    /// Reads it from one who must know `secret`.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` for what it is not, `PermissionDenied` for another
    /// secret. Has no deadline: the caller sets one.
    pub async fn read(reader: &mut (impl AsyncRead + Unpin), secret: &Secret) -> io::Result<Self> {
        let length = reader.read_u32().await? as usize;
        if length > SHOWN_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut json = vec![0; length];
        reader.read_exact(&mut json).await?;
        let shown: Self = serde_json::from_slice(&json)?;
        match shown.secret.is(secret) {
            true => Ok(shown),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predecessor() -> Predecessor {
        Predecessor {
            peer: "hub".parse().unwrap(),
            addr: "127.0.0.1:1".parse().unwrap(),
            secret: Secret::from_random([7; 32]),
        }
    }

    #[tokio::test]
    async fn what_was_shown_reads_back_for_who_knows_the_secret() {
        let (to, source) = (predecessor(), "192.0.2.1:9".parse().unwrap());
        let chain = [CertificateDer::from(vec![1; 9_000]), CertificateDer::from(vec![2])];
        let proven = Proven::Tls { certificate: Some(chain[0].clone()), exporter: [3; 32] };
        let shown = Shown::new(&to, source, &proven, &chain);
        let bytes = shown.to_bytes();
        let read = Shown::read(&mut &bytes[..], &to.secret).await.unwrap();
        assert!(read == shown);
        let (proven, read) = read.into_proof();
        assert_eq!(read, chain);
        assert!(
            matches!(proven, Proven::Tls { certificate: Some(one), exporter } if one == chain[0] && exporter == [3; 32])
        );
        let other = Secret::from_random([8; 32]);
        let refused = Shown::read(&mut &bytes[..], &other).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let (proven, _) =
            Shown::new(&to, source, &Proven::Plaintext(source.ip()), &[]).into_proof();
        assert!(matches!(proven, Proven::Plaintext(ip) if ip == source.ip()));
    }

    #[tokio::test]
    async fn what_it_is_not_is_refused_before_it_is_read() {
        let secret = predecessor().secret;
        let endless = Shown::read(&mut &[0xff; 8][..], &secret).await.err().unwrap();
        assert_eq!(endless.kind(), io::ErrorKind::InvalidData);
        assert!(Shown::read(&mut &b"\0\0\0\x02{}"[..], &secret).await.is_err());
    }
}
