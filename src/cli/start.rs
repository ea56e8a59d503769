//! What all programs do first: read the command line, and start what the network needs.
//!
//! What it does *not* do: know any command.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal};

use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches};

use super::console::Console;
use super::exit::{Exit, Failure};

/// Reads a command line; help and version are printed here, mistakes too (64).
pub(crate) fn parse<T: CommandFactory + FromArgMatches>(args: Vec<OsString>) -> Result<T, Exit> {
    // clap itself honours NO_COLOR and asks which stream is a terminal; help goes through pagers and pipes, too.
    let plain =
        std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !io::stdout().is_terminal();
    let choice = if plain {
        ColorChoice::Never
    } else {
        ColorChoice::Auto
    };
    let parsed = T::command()
        .color(choice)
        .try_get_matches_from(args)
        .and_then(|matches| T::from_arg_matches(&matches));
    parsed.map_err(|e| {
        let exit = match e.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
            _ => Exit::Usage,
        };
        match e.print() {
            Err(e) if exit == Exit::Done && e.kind() != io::ErrorKind::BrokenPipe => Exit::Io,
            _ => exit,
        }
    })
}

/// Runs the part of a program that waits for the network.
pub(crate) fn block_on(console: Console, work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // A thread that waits for standard input cannot be stopped and is not waited for.
            runtime.shutdown_background();
            exit
        }
        Err(e) => console.complain(&Failure::new(Exit::Io, format!("cannot start: {e}"))),
    }
}
