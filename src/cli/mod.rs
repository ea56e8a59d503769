//! The command-line programs `sendfile` and `uft`, as a library: `src/bin` only calls in.
//!
//! ```text
//! argv -> names (argv[0]: rls rcv rrm rstat tell cpq sf) -> arguments
//!     sendfile: aliases, address, way -> send (input, metadata, carry) -> client
//!     uft:      socket -> inbox, queue, receive (form, place), message ... -> daemon -> local::client
//! every text from elsewhere -> display -> terminal
//! ```
//!
//! What it does *not* do: speak the protocol (`client`), convert (`canon`), or touch the spool (only the daemon does).

mod address;
mod aliases;
mod console;
mod contents;
mod daemon;
mod demo;
pub mod exit;
mod form;
mod forward;
mod inbox;
mod item;
mod message;
mod names;
mod pages;
mod peek;
mod queue;
mod receive;
mod safe_name;
mod send;
mod sendfile;
mod socket;
mod start;
mod submit;
mod uft;
pub mod uftd;
mod units;
mod way;

use std::ffi::OsString;

use exit::Exit;

/// The program `sendfile`: the arguments of the process, its name first.
pub fn run_sendfile(args: impl Iterator<Item = OsString>) -> Exit {
    names::dispatch(args.collect(), sendfile::run)
}

/// The program `uft`, under its own name or one of the reference's.
pub fn run_uft(args: impl Iterator<Item = OsString>) -> Exit {
    names::dispatch(args.collect(), uft::run)
}
