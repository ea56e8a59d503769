//! What the tests are driven with: real daemons, raw connections, the command-line programs, and one way to wait.
//!
//! Nothing in here decides what is right; it starts, speaks, listens and reports. When a test fails, the daemon's log
//! and the conversation are printed with it.

mod daemon;
mod local;
mod network;
mod place;
mod programs;
mod proxy;
mod terminal;
mod tmpfs;
mod wait;
mod wire;

pub(crate) use daemon::{Daemon, Setup};
pub(crate) use local::Local;
pub(crate) use network::{Link, Network};
pub(crate) use place::{Place, random_bytes, text_of};
pub(crate) use programs::{Program, Ran, assert_inert, binary};
pub(crate) use proxy::{Mishap, Proxy};
pub(crate) use terminal::Terminal;
pub(crate) use tmpfs::Tmpfs;
pub(crate) use wait::{PATIENCE, Random, lines_of, until};
pub(crate) use wire::{Reply, Wire};

/// The daemon and the root-owned parts of the tests need root: a test that cannot run is a failure, not a skip.
pub(crate) fn needs_root(what: &str) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: {what}"
    );
}
