//! What holds a secret shows nothing of it.

use crate::sources::{self, Source, assert_none};

/// Types whose values are keys or tokens, or the files that hold them.
const SECRET_TYPES: [&str; 5] = ["Token", "PrivateKeyDer", "hmac::Key", "KeyPair", "Contents"];

/// Fields that hold a secret, whatever their type is.
const SECRET_FIELDS: [&str; 3] = ["secret", "exporter", "password"];

/// Whether a line of a type declares something that holds a secret.
fn declares_a_secret(line: &str) -> bool {
    let declared = line.trim();
    let Some(at) = declared.find([':', '(']).filter(|_| !declared.starts_with('#')) else {
        return false;
    };
    let (name, of_type) = declared.split_at(at);
    let name = name.rsplit(' ').next().unwrap_or_default();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let names_secret = |secret: &str| {
        of_type.match_indices(secret).any(|(at, _)| {
            let (before, after) = (&of_type[..at], &of_type[at + secret.len()..]);
            !before.ends_with(is_part) && !after.starts_with(is_part)
        })
    };
    SECRET_FIELDS.contains(&name) || SECRET_TYPES.iter().any(|secret| names_secret(secret))
}

/// The lines of declarations that derive Debug, each from its derive to its end.
fn deriving_debug(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    source.code().filter(move |(_, line)| {
        let line = line.trim();
        inside |= line.starts_with("#[derive(") && line.contains("Debug");
        let is_inside = inside;
        inside &= line != "}" && !line.ends_with(';') && !line.ends_with("{}");
        is_inside
    })
}

/// A derived Debug shows what the type holds today, and what it will hold tomorrow.
#[test]
fn what_holds_a_secret_does_not_derive_debug() {
    for (line, holds) in [
        ("    pub token: Option<Token>,", true),
        ("    Given(Token),", true),
        ("pub struct Token(hmac::Key);", true),
        ("    exporter: [u8; 32],", true),
        ("    secret: String,", true),
        ("    seen: Mutex<Result<Contents, ConfigError>>,", true),
        ("    Token(PeerId),", false),
        ("    Hello { peer: PeerId, proof: Option<TokenProof> },", false),
        ("    token: Option<TokenSource>,", false),
        ("    #[error(\"a Token: {0}\")]", false),
    ] {
        assert_eq!(declares_a_secret(line), holds, "{line}");
    }
    let sources = sources::of("peer/src");
    let lines = sources.iter().flat_map(|source| {
        let lines = deriving_debug(source).filter(|(_, line)| declares_a_secret(line));
        lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    });
    assert_none(lines.collect(), "what holds a secret has no Debug, or one that shows nothing");
}
