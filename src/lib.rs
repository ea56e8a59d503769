//! The UFT gateway: hand a file to a user on another machine, without an account there.
//!
//! `sendfile user@host file` says `FILE`, `USER`, `TYPE`, `META`, `DATA`, `EOF` to the `uftd` of that host; `uftd` turns
//! the canonical type into local form and commits the file to the user's spool before it acknowledges; the user lists
//! and receives it with `uft`.
//!
//! # The life of a file
//!
//! 1. [`client`] connects and drives a [`proto::Dialogue`]; the sender's side of [`canon`] makes the wire form.
//! 2. The listener (`server`) takes the connection if the caps allow it; `server::conn` carries bytes between the
//!    socket and a [`proto::Session`], and answers what the session asks.
//! 3. `USER` is looked up, and room is reserved in the [`uft_spool::Spool`]. Bytes of `DATA` are staged as sent, and
//!    [`canon`] converts them, a slice behind, into the local form.
//! 4. `EOF` commits: file and directory are on stable storage before the `200`. Then watchers, terminals and the hook
//!    program hear of it.
//! 5. `uft receive` asks on the local socket ([`local`]), gets the open file, writes and syncs its copy, and has the
//!    item removed.
//!
//! # Where things are
//!
//! | module | for | may do I/O |
//! |---|---|---|
//! | [`proto`] | the UFT protocol, both sides | no |
//! | [`canon`] | conversions between wire and local forms | no |
//! | [`route`] | addresses, routes, hop and loop rules | no |
//! | [`sift`] | a file and what is said of it as one string of bytes | no |
//! | [`queue`] | which job is sent next, and when | no |
//! | [`config`], [`units`], [`display`] | configuration; sizes and durations; remote text made visible | no |
//! | [`local`] | the talk on the local socket | its client |
//! | [`peers`] | the gateways that we know, and what they prove themselves by | reads secrets |
//! | [`client`] | the client side of a connection | yes |
//! | `server` | listeners, sessions, the local socket, notices | yes |
//! | [`daemon`] | puts the parts together | yes |
//! | [`cli`] | what `sendfile` and `uft` do | yes |
//!
//! `server` and the programs meet only in the spool and on sockets. [`uft_spool`] knows none of these modules.

pub mod canon;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
mod deliver;
pub mod display;
pub mod local;
pub mod peers;
mod post;
pub mod proto;
pub mod queue;
pub mod route;
mod server;
pub mod sift;
pub mod units;

/// The bodies of the fuzz targets for texts of this host; the tests run them on seeds.
#[cfg(test)]
#[path = "../fuzz/bodies/settings.rs"]
mod fuzz_bodies;
