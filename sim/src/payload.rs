//! Payload whose every byte follows from a seed and its place, so that both ends
//! can tell lost, repeated or foreign bytes without having seen the other's.

/// The payload of one direction of one request.
#[derive(Debug, Clone, Copy)]
pub struct Pattern(pub u64);

impl Pattern {
    fn byte(self, at: u64) -> u8 {
        let mixed = (at ^ self.0.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as u8
    }

    /// The bytes from `at` on.
    pub fn fill(self, at: u64, buffer: &mut [u8]) {
        for (offset, byte) in (0..).zip(buffer) {
            *byte = self.byte(at + offset);
        }
    }

    /// Whether these are the bytes from `at` on.
    pub fn matches(self, at: u64, bytes: &[u8]) -> bool {
        (0..).zip(bytes).all(|(offset, &byte)| byte == self.byte(at + offset))
    }
}

/// What a greeting backend says first.
pub const GREETING: &[u8] = b"220 ready\r\n";

/// The seed of what an endless backend sends.
pub const ENDLESS: Pattern = Pattern(0);
