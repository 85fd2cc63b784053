//! What the fuzz targets check, as plain functions of the input.
//!
//! A target panics when what it checks does not hold. `fuzz_targets/` hands each
//! of them to libFuzzer, and a test replays the corpora, `corpus/TARGET/*`, on
//! any toolchain. A target goes into [`TARGETS`], `fuzz_targets/`, `Cargo.toml`
//! and `corpus/`; the test says when one of these lacks it.

mod classify;
mod config;
mod datagrams;
mod h2;
mod hello;
mod http;
mod input;
mod scenario;
mod session;
mod splits;
mod tokens;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

pub use classify::classify;
pub use config::config;
pub use datagrams::datagrams;
pub use h2::h2;
pub use hello::hello;
pub use http::http;
pub use scenario::scenario;
pub use session::session;
pub use tokens::tokens;
pub use wire::wire;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// One fuzz target: panics when what it checks does not hold.
pub type Target = fn(&[u8]);

/// All of them, with their names.
pub const TARGETS: &[(&str, Target)] = &[
    ("classify", classify),
    ("config", config),
    ("datagrams", datagrams),
    ("h2", h2),
    ("hello", hello),
    ("http", http),
    ("scenario", scenario),
    ("session", session),
    ("tokens", tokens),
    ("wire", wire),
];

/// The `main` of a target: libFuzzer's under cargo-fuzz; in any other build one
/// that runs the target on each file named as an argument.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::$name(data));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::replay($crate::$name, std::env::args_os().skip(1))
        }
    };
}

/// Runs `target` on the content of each of `files`.
pub fn replay(target: Target, files: impl Iterator<Item = OsString>) -> ExitCode {
    for file in files {
        let shown = file.display();
        println!("{shown}");
        match std::fs::read(&file) {
            Ok(data) => target(&data),
            Err(error) => {
                eprintln!("{shown}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
