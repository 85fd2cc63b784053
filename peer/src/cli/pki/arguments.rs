//! How days and paths are written on the command line.

use std::path::Path;

use clap::builder::RangedU64ValueParser;

use crate::limits::CERTIFICATE_DAYS_MAX;

pub(super) fn days() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=CERTIFICATE_DAYS_MAX)
}

/// The `--dir` that the next command needs.
pub(super) fn in_dir(dir: &Path) -> String {
    if dir == Path::new("pki") { String::new() } else { format!(" --dir {}", quoted(dir)) }
}

/// A path as it can be pasted into a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:[]".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
