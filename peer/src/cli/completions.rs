//! `ops-proxy completions SHELL`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use clap::Command;
use clap_complete::{Shell, generate};

use super::failure::Failure;
use super::help::NAME;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The shell that is to complete
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn completions(options: &Options, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(options.shell, &mut command, NAME, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if options.shell == Shell::Bash {
        // Of a name with a hyphen, the generator writes one half of its labels otherwise than
        // the other, and no flag would be found.
        script = script.replace(&NAME.replace('-', "__subcmd__"), &NAME.replace('-', "__"));
    }
    Ok(io::stdout().write_all(script.as_bytes())?)
}
