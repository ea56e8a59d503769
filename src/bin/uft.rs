//! The inbox, messages and queries: see `uft::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    uft::cli::run_uft(std::env::args_os()).into()
}
