//! The `ops-proxy` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ops_proxy::cli::main()
}
