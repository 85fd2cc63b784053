//! `ops-proxy man`: the manual pages, one for each command.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_mangen::{Man, generate_to};

use super::failure::Failure;
use super::help;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Write the pages of all commands into this directory, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn man(options: &Options, command: Command) -> Result<(), Failure> {
    // `help` has no page.
    let command = help::for_manual(command).disable_help_subcommand(true);
    let Some(dir) = &options.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        return Ok(io::stdout().write_all(&page)?);
    };
    let within =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(within)?;
    generate_to(command, dir).map_err(within)?;
    Ok(())
}
