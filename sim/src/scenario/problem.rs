//! What is wrong with a scenario, and what may have been meant.

/// Names closer than this are offered as what was meant (Jaro-Winkler, 0 to 1).
const SIMILAR: f64 = 0.75;

/// What is wrong with a part of a scenario, found after it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key whose value is wrong.
    pub key: String,
    /// The wrong value, as text that stands in the file.
    pub value: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A wrong value of a key.
    pub fn new(key: &str, value: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.to_owned(), message: message.into() }
    }

    /// A name that is none of `known`.
    pub fn unknown<'a>(
        key: &str,
        what: &str,
        value: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let meant = suggest(value, &known);
        Self::new(key, value, format!("there is no {what} \"{value}\"{meant}"))
    }
}

/// The one of `known` that may have been meant, as the end of a message.
pub(super) fn suggest(word: &str, known: &[&str]) -> String {
    let score = |candidate: &&&str| (strsim::jaro_winkler(word, candidate) * 1e6) as u64;
    match known.iter().max_by_key(score) {
        Some(best) if strsim::jaro_winkler(word, best) >= SIMILAR => {
            format!("; did you mean \"{best}\"?")
        }
        _ => String::new(),
    }
}
