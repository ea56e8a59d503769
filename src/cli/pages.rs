//! Completion scripts and manual pages, made from the same definitions as the help.
//!
//! What it does *not* do: completions for `uftd`, which nobody types often.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use super::console::Console;
use super::exit::{Exit, Failure, reason};
use super::sendfile::Sendfile;
use super::uft::Uft;
use super::uftd::Uftd;

/// The programs that have completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    /// uft
    Uft,
    /// sendfile
    Sendfile,
}

/// Prints a completion script.
pub(crate) fn completions(console: Console, shell: Shell, program: Program) -> Result<(), Failure> {
    let (mut command, name) = match program {
        Program::Uft => (Uft::command(), "uft"),
        Program::Sendfile => (Sendfile::command(), "sendfile"),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    console.lines(|out| out.write_all(&script))
}

/// Writes `sendfile.1`, `uft.1`, a page for each subcommand, and `uftd.8`.
pub(crate) fn manuals(dir: &Path) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| {
        Failure::new(
            Exit::CannotCreate,
            format!("cannot write manual pages in {}: {}", dir.display(), reason(&e)),
        )
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    for command in [Sendfile::command(), Uft::command().disable_help_subcommand(true)] {
        clap_mangen::generate_to(command, dir).map_err(cannot)?;
    }
    let mut page = Vec::new();
    Man::new(Uftd::command())
        .section("8")
        .render(&mut page)
        .map_err(cannot)?;
    fs::write(dir.join("uftd.8"), page).map_err(cannot)
}
