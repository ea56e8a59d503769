//! The product as a whole: every test here starts real processes and looks at them from outside.
//!
//! Source of what must hold: the promises of the README, the interface in `docs/`, and the recorded conversations in
//! `tests/transcripts`. What is decided inside one process (parsing, conversion, the order of disk steps) is tested
//! beside the code.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code; clippy's leave for tests does not reach helper functions"
)]

mod harness;

mod agent;
mod claims;
mod configuration;
mod crash;
mod crowd;
mod detours;
mod disk_full;
mod dropped;
mod duplicates;
mod exits;
mod inbox;
mod lifecycle;
mod lines;
mod lost_peers;
mod names;
mod netdata;
mod notices;
mod onward;
mod peers;
mod planted;
mod programs;
mod queue;
mod quota;
mod receipts;
mod receivers;
mod recovery;
mod relay;
mod resume;
mod sending;
mod strange_peers;
mod submit;
mod tls;
mod transcripts;
