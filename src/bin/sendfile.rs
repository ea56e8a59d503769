//! Sends files to users on other machines: see `uft::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    uft::cli::run_sendfile(std::env::args_os()).into()
}
