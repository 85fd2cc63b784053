//! The cryptography of TLS inside a run: rustls with its own handshake, key
//! schedule, signatures and certificate checks, and two changes.
//!
//! *Nothing is random.* Every number that rustls draws, and the public part of
//! each key exchange, comes from a generator that is seeded with the run. ring's
//! X25519 takes its private keys from the system and from nowhere else, so the
//! exchange here is another one: both sides hash the two public values. Whoever
//! listens could do the same; in a run nobody does. With Ed25519 certificates,
//! whose signatures have no randomness, every byte on the wire then follows from
//! the seed: not only the lengths but the bytes of a TLS connection are part of
//! the trace's hash, and there is nothing to leave out of it. There are no session
//! tickets, as peers never resume a session.
//!
//! *Records are authenticated, not encrypted*, as with the integrity-only cipher
//! suites of RFC 9150, so that [`tap`](crate::tap) can listen in and everything
//! that is checked of plaintext peers is checked of these. A record has the size
//! and the framing that it has with AES-GCM.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use ring::{digest, hmac};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup, ring as real,
};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, NamedGroup, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};
use tokio_rustls::rustls;

/// Bytes of a record's tag, as with AES-GCM.
pub const TAG_BYTES: usize = 16;

/// Bytes of a public value of the key exchange, as of X25519.
const PUBLIC_BYTES: usize = 32;

thread_local! {
    /// A run is one thread, and a thread plays one run at a time. rustls wants its
    /// sources of chance to be static, so that a run cannot hand in its own.
    static CHANCE: RefCell<SmallRng> = RefCell::new(SmallRng::seed_from_u64(0));
}

/// A run with this seed begins on this thread.
pub fn begin(seed: u64) {
    CHANCE.set(SmallRng::seed_from_u64(seed));
}

fn draw(bytes: &mut [u8]) {
    CHANCE.with_borrow_mut(|chance| chance.fill_bytes(bytes));
}

/// What rustls shall use in a run.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(&SUITE)],
        kx_groups: vec![&Exchange],
        secure_random: &Chance,
        ..real::default_provider()
    })
}

static SUITE: LazyLock<Tls13CipherSuite> = LazyLock::new(|| {
    let suite = real::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls13(suite) = suite else { unreachable!("it is one of TLS 1.3") };
    Tls13CipherSuite {
        common: CipherSuiteCommon { ..suite.common },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: &IntegrityOnly,
        quic: None,
    }
});

/// Numbers that follow from the run's seed.
#[derive(Debug)]
struct Chance;

impl SecureRandom for Chance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        draw(bytes);
        Ok(())
    }
}

/// A key exchange that agrees, and hides nothing.
#[derive(Debug)]
struct Exchange;

struct Started {
    public: [u8; PUBLIC_BYTES],
}

impl SupportedKxGroup for Exchange {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut public = [0; PUBLIC_BYTES];
        draw(&mut public);
        Ok(Box::new(Started { public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, other: &[u8]) -> Result<SharedSecret, Error> {
        let (low, high) = if self.public[..] < *other {
            (&self.public[..], other)
        } else {
            (other, &self.public[..])
        };
        let secret = digest::digest(&digest::SHA256, &[low, high].concat());
        Ok(SharedSecret::from(secret.as_ref()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Records that anyone can read, and nobody can forge without the key.
struct IntegrityOnly;

impl Tls13AeadAlgorithm for IntegrityOnly {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Seal::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Seal::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        16
    }

    fn extract_keys(
        &self,
        _key: AeadKey,
        _iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

/// Makes and checks the tags of one direction.
struct Seal {
    key: hmac::Key,
    iv: Iv,
}

impl Seal {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), iv }
    }

    /// The tag of `content`, as record `number` whose payload has `length` bytes.
    fn tag(&self, number: u64, length: usize, content: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&Nonce::new(&self.iv, number).0);
        context.update(&make_tls13_aad(length));
        context.update(content);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}

impl MessageEncrypter for Seal {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let length = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(length);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let tag = self.tag(number, length, payload.as_ref());
        payload.extend_from_slice(&tag);
        // RFC 8446 §5.2: every protected record says that it is of TLS 1.2.
        let version = ProtocolVersion::TLSv1_2;
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, version, payload))
    }

    fn encrypted_payload_len(&self, payload_bytes: usize) -> usize {
        payload_bytes + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for Seal {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let length = message.payload.len();
        let content = length.checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let tag = self.tag(number, length, &message.payload[..content]);
        if message.payload[content..] != tag {
            return Err(Error::DecryptError);
        }
        message.payload.truncate(content);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(seed: u64) -> (Vec<u8>, Vec<u8>) {
        begin(seed);
        let (one, other) = (Exchange.start().unwrap(), Exchange.start().unwrap());
        let (public_one, public_other) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        let secret = |started: Box<dyn ActiveKeyExchange>, public: &[u8]| {
            started.complete(public).unwrap().secret_bytes().to_vec()
        };
        (secret(one, &public_other), secret(other, &public_one))
    }

    #[test]
    fn both_sides_agree_and_the_seed_decides_on_what() {
        let (one, other) = agree(1);
        assert_eq!(one, other);
        assert_eq!(agree(1).0, one);
        assert_ne!(agree(2).0, one);
    }

    #[test]
    fn a_tag_is_of_its_record_alone() {
        let seal = |key: u8| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[key; 16]);
            Seal { key, iv: Iv::new([7; 12]) }
        };
        let tag = seal(1).tag(3, 24, b"content");
        assert_eq!(seal(1).tag(3, 24, b"content"), tag);
        assert_ne!(seal(2).tag(3, 24, b"content"), tag, "another key");
        assert_ne!(seal(1).tag(4, 24, b"content"), tag, "another record");
        assert_ne!(seal(1).tag(3, 24, b"contenu"), tag, "other content");
    }
}
