//! Delivering: one queued item to its next hop, and what came of it.
//!
//! | file | for |
//! |---|---|
//! | `uft` | over UFT, to a peer or to a host |
//!
//! What it does not do: choose the hop or the moment (`queue` does), change the bytes, tell anybody.

pub(crate) mod uft;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The next hop has it: 2xx to `EOF`.
    Done(String),
    /// Not now; it may go another time.
    Later(String),
    /// Never, in the words of the next hop.
    Never(String),
    /// The next hop was not reached, or does not take anything from us: this says nothing about the item.
    Down(String),
    /// The item cannot be read here.
    Broken(String),
    /// It is held, or addressed to somebody else by now, and nothing was sent.
    Moved,
}
