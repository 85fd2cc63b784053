//! The file of accepted tokens: `TokenRules` of `peer/src/trust/token.rs`.

use ops_proxy::trust::TokenRules;

/// Stands for each `$` of the input. No piece of [`PIECE_BYTES`] of it can stand
/// in a name, a peer id or a message by chance.
const SECRET: &str = "zk~7q~Vx~2w~Jd~9f~Gm~4c~Hb~6y~Tn~8r~Wp~";

/// Short enough to find a secret that was cut.
const PIECE_BYTES: usize = 4;

/// `data` is the file. It never panics, and no secret is in what comes of it:
/// neither in an error nor in what the rules show for debugging.
pub fn tokens(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.replace('$', SECRET);
    let shown = match TokenRules::from_toml(&text) {
        Ok(rules) => format!("{rules:?}"),
        Err(error) => {
            assert!(!error.is_empty());
            error
        }
    };
    for piece in SECRET.as_bytes().windows(PIECE_BYTES) {
        let piece = str::from_utf8(piece).expect("the secret is ASCII");
        assert!(!shown.contains(piece), "{shown:?} holds a part of the secret");
    }
}
