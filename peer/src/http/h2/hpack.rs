//! Header blocks, decoded (RFC 7541).
//!
//! The decoders that exist either panic on blocks cut short or build the Huffman tree anew
//! for each string. Only the Huffman code is theirs here.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

use crate::http::flaw::H2Flaw;
use crate::limits::{H2_TABLE_BYTES, HTTP_FIELDS};

/// What a table is allowed before anyone has agreed on anything else (RFC 9113 §6.5.2).
const INITIAL_TABLE_BYTES: usize = 4096;

/// What an entry costs beside its text (RFC 7541 §4.1).
const ENTRY_BYTES: usize = 32;

/// Names of the static table, in order (RFC 7541 appendix A).
const STATIC_NAMES: [&str; 61] = [
    ":authority",
    ":method",
    ":method",
    ":path",
    ":path",
    ":scheme",
    ":scheme",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    ":status",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// The value of a static entry, by its index, where it is not empty.
fn static_value(index: usize) -> &'static str {
    match index {
        2 => "GET",
        3 => "POST",
        4 => "/",
        5 => "/index.html",
        6 => "http",
        7 => "https",
        8 => "200",
        9 => "204",
        10 => "206",
        11 => "304",
        12 => "400",
        13 => "404",
        14 => "500",
        16 => "gzip, deflate",
        _ => "",
    }
}

type Text = Vec<u8>;

/// The decoder of one direction, with what earlier blocks have put into its table.
#[derive(Debug, Clone)]
pub(super) struct Hpack {
    /// The newest first.
    entries: VecDeque<(Text, Text)>,
    /// By the measure of RFC 7541 §4.1.
    size: usize,
    most: usize,
}

impl Default for Hpack {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: INITIAL_TABLE_BYTES }
    }
}

impl Hpack {
    /// Gives each field of a complete block to `take`, name and value, in order.
    ///
    /// # Errors
    /// [`H2Flaw::Compression`], [`H2Flaw::TooLarge`], and those of `take`. After one, the
    /// table is of no use.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), H2Flaw>,
    ) -> Result<(), H2Flaw> {
        let mut rest = Rest(block);
        let mut fields = 0;
        while let Some(&first) = rest.0.first() {
            if first & 0xe0 == 0x20 {
                // A new size comes before any field (RFC 7541 §4.2).
                let most = rest.integer(5)?;
                if fields > 0 || most > H2_TABLE_BYTES {
                    return Err(H2Flaw::Compression);
                }
                self.most = most;
                self.evict();
                continue;
            }
            fields += 1;
            if fields > HTTP_FIELDS {
                return Err(H2Flaw::TooLarge);
            }
            if first & 0x80 != 0 {
                let (name, value) = self.entry(rest.integer(7)?)?;
                take(name, value)?;
                continue;
            }
            let is_kept = first & 0x40 != 0;
            let name = match rest.integer(if is_kept { 6 } else { 4 })? {
                0 => rest.string()?,
                index => self.entry(index)?.0.to_vec(),
            };
            let value = rest.string()?;
            take(&name, &value)?;
            if is_kept {
                self.size += name.len() + value.len() + ENTRY_BYTES;
                self.entries.push_front((name, value));
                self.evict();
            }
        }
        Ok(())
    }

    /// The entry of this index: 1 is the first of the static table.
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), H2Flaw> {
        let before = index.checked_sub(1).ok_or(H2Flaw::Compression)?;
        if let Some(name) = STATIC_NAMES.get(before) {
            return Ok((name.as_bytes(), static_value(index).as_bytes()));
        }
        let entry = self.entries.get(before - STATIC_NAMES.len());
        entry.map(|(name, value)| (&name[..], &value[..])).ok_or(H2Flaw::Compression)
    }

    fn evict(&mut self) {
        while self.size > self.most
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY_BYTES;
        }
    }
}

/// What is left of a block.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn byte(&mut self) -> Result<u8, H2Flaw> {
        let (&first, rest) = self.0.split_first().ok_or(H2Flaw::Compression)?;
        self.0 = rest;
        Ok(first)
    }

    /// An integer whose first byte has so many bits for it (RFC 7541 §5.1).
    fn integer(&mut self, bits: u8) -> Result<usize, H2Flaw> {
        let most = (1 << bits) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        // Four bytes more hold all that can be meant within these limits.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(H2Flaw::Compression)
    }

    /// A string (RFC 7541 §5.2).
    fn string(&mut self) -> Result<Text, H2Flaw> {
        let is_huffman = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(H2Flaw::Compression)?;
        self.0 = rest;
        if !is_huffman {
            return Ok(text.to_vec());
        }
        let mut decoded = Vec::with_capacity(text.len() * 2);
        let result = httlib_huffman::decode(text, &mut decoded, DecoderSpeed::OneBit);
        result.map(|()| decoded).map_err(|_| H2Flaw::Compression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hpack: &mut Hpack, block: &[u8]) -> Result<Vec<(String, String)>, H2Flaw> {
        let mut fields = Vec::new();
        hpack.decode(block, |name, value| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            fields.push((text(name), text(value)));
            Ok(())
        })?;
        Ok(fields)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|digits| pair(digits).unwrap()).collect()
    }

    /// RFC 7541 appendix C.3 and C.4: three requests, plain and in Huffman code.
    #[test]
    fn the_examples_of_the_standard_are_decoded() {
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let huffman = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, huffman] {
            let mut hpack = Hpack::default();
            for (index, block) in blocks.into_iter().enumerate() {
                let fields = decoded(&mut hpack, &hex(block)).unwrap();
                let text: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                assert_eq!(text[3], ":authority=www.example.com");
                assert_eq!(text[0], ":method=GET");
                let more = ["", "cache-control=no-cache", "custom-key=custom-value"][index];
                assert_eq!(text.get(4).map_or("", String::as_str), more);
            }
            assert_eq!(hpack.size, 57 + 53 + 54);
        }
    }

    #[test]
    fn a_block_that_cannot_be_decoded_is_refused() {
        let blocks = [
            "80",
            "ff",
            "ff80 8080 8000",
            "be",
            "41",
            "410f 77",
            "4185 ff",
            "0001",
            "8220",
            "3fe2 ff03",
        ];
        for block in blocks {
            let fields = decoded(&mut Hpack::default(), &hex(block));
            assert_eq!(fields, Err(H2Flaw::Compression), "{block}");
        }
        let many = [0x82; HTTP_FIELDS + 1];
        assert_eq!(decoded(&mut Hpack::default(), &many), Err(H2Flaw::TooLarge));
    }

    #[test]
    fn a_table_holds_no_more_than_was_agreed_on() {
        let mut hpack = Hpack::default();
        // Sizes of 0 and of 64 KiB.
        decoded(&mut hpack, &hex("20 3fe1 ff03 4101 61")).unwrap();
        assert_eq!((hpack.entries.len(), hpack.most), (1, H2_TABLE_BYTES));
        decoded(&mut hpack, &hex("20 4101 62")).unwrap();
        assert_eq!((hpack.entries.len(), hpack.size), (0, 0));
    }
}
