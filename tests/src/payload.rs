//! Bytes that are made as they are sent, so that a large payload needs no
//! memory, and their SHA-256.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const CHUNK_BYTES: usize = 64 * 1024;

/// A reproducible stream of bytes that repeats nowhere near (xorshift64).
#[derive(Debug)]
pub struct Payload {
    state: u64,
    left: usize,
}

impl Payload {
    /// `length` bytes, others for every other `seed`.
    pub fn new(seed: u64, length: usize) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, left: length }
    }

    /// The next bytes, a multiple of eight until the last; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let length = self.left.min(CHUNK_BYTES);
        if length == 0 {
            return None;
        }
        let mut chunk = Vec::with_capacity(length + 8);
        while chunk.len() < length {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.extend_from_slice(&self.state.to_le_bytes());
        }
        chunk.truncate(length);
        self.left -= length;
        Some(chunk)
    }

    /// Writes what is left to `writer`.
    pub async fn send(mut self, writer: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        while let Some(chunk) = self.next_chunk() {
            writer.write_all(&chunk).await?;
        }
        writer.flush().await
    }

    /// The SHA-256 of what is left, in hex.
    pub fn sha256(mut self) -> String {
        let mut digest = Digester::default();
        while let Some(chunk) = self.next_chunk() {
            digest.update(&chunk);
        }
        digest.hex()
    }

    /// What is left, at once.
    pub fn bytes(mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.left);
        while let Some(chunk) = self.next_chunk() {
            all.extend_from_slice(&chunk);
        }
        all
    }
}

/// SHA-256 of bytes as they pass.
#[derive(Debug, Default)]
pub struct Digester {
    hash: Sha256,
    length: usize,
}

impl Digester {
    /// Adds what has passed.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len();
    }

    /// So many bytes have passed.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The digest, in hex.
    pub fn hex(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads exactly `length` bytes from `reader`.
    pub async fn take(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        length: usize,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut left = length;
        while left > 0 {
            let room = left.min(CHUNK_BYTES);
            let read = reader.read(&mut buffer[..room]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.update(&buffer[..read]);
            left -= read;
        }
        Ok(())
    }
}
