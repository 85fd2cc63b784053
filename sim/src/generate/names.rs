//! Names as clients write them.

use super::draw::Draw;

/// The name as a client may write it; now and then one that nobody serves.
pub(super) fn asked(draw: &mut Draw, name: &str) -> String {
    let name = name.replace('*', "any");
    match draw.between(0, 19) {
        4 => format!("{name}:8080"),
        0 => "nobody.example".to_owned(),
        // Registered now and then by a raw peer that never answers.
        3 => "raw.example".to_owned(),
        1 => name.to_uppercase(),
        2 => format!("{name}."),
        _ => name,
    }
}
