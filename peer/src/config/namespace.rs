//! Namespaces of Kubernetes.

use std::fmt;
use std::str::FromStr;

use crate::limits::NAMESPACE_BYTES;

/// A namespace of Kubernetes: a label of RFC 1123 §2.1, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(String);

/// The text is not the name of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a namespace: at most {NAMESPACE_BYTES} lower-case letters, digits and \
     '-', and no '-' at its ends"
)]
pub struct BadNamespace;

impl Namespace {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = BadNamespace;

    fn from_str(text: &str) -> Result<Self, BadNamespace> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = (1..=NAMESPACE_BYTES).contains(&text.len())
            && text.bytes().all(plain)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_label { Ok(Self(text.to_owned())) } else { Err(BadNamespace) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_in_lower_case() {
        for text in ["shop", "kube-system", "a", "0"] {
            assert_eq!(text.parse::<Namespace>().unwrap().as_str(), text);
        }
        let long = "a".repeat(NAMESPACE_BYTES + 1);
        for text in ["", "*", "Shop", "-a", "a-", "a.b", "a/b", "a b", &long] {
            assert_eq!(text.parse::<Namespace>(), Err(BadNamespace), "{text:?}");
        }
    }
}
