//! The SIFT job: a file with everything that is said of it, as one string of bytes.
//!
//! It is the batch form of a session: command lines, then `AUXDATA n` with its n bytes if there is a second fork, then
//! `DATA` without a number, then the file to the end.
//!
//! ```text
//! # who and what, lines end with LF or CR LF
//! FILE 1216 alice -
//! USER bob@BETA
//! TYPE A
//! META NAME report.txt
//! DATA
//! ...1216 bytes
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `head` | everything before the file, made from its envelope |
//! | `feed` | a job turned into the bytes of an ordinary session, as it comes in |
//!
//! What it does *not* do: read or write files, or decide anything. A job that comes in is fed to the same
//! [`Session`](crate::proto::Session) as a connection, so that there is one place which understands commands.
//! Source: RFC 1440 (the batch form); the layout is in `docs/protocol.md`.

mod feed;
mod head;

pub use feed::{BadJob, Fault, Feed, HEAD_MAX, LINES_MAX};
pub use head::{DATA, head};

/// The bodies of the fuzz targets; the tests run them on seeds. They want what is used below.
#[cfg(test)]
#[path = "../../fuzz/bodies/sift.rs"]
mod bodies;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
#[cfg(test)]
use crate::{proto, proto::bodies::rig, sift};
