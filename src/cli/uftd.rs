//! The command line of `uftd`: here, so that its manual page is made with the others.
//!
//! What it does *not* do: anything with it (the binary does).

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Takes files for the users of this host from anybody, and keeps them until they are received.
#[derive(Debug, Parser)]
#[command(
    name = "uftd",
    version,
    after_help = "\
Examples:
  uftd                                   try it out: loopback, spool in your state directory
  uftd --config /etc/uft/uftd.toml       as a service
  uftd --config uftd.toml --check        is this configuration right, and what does it say?

Signals: SIGTERM and SIGINT stop it, SIGHUP reads users, aliases, limits, queries and notices again."
)]
pub struct Uftd {
    /// Configuration file [default: /etc/uft/uftd.toml if it exists, else built-in defaults]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen for UFT here instead of where the configuration says; may be repeated, port 0 picks one
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<SocketAddr>,
    /// Spool directory; created when it does not exist
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Local socket
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Check the configuration, print it with every default filled in, and exit
    #[arg(long)]
    pub check: bool,
    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}
