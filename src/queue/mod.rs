//! Files on their way to other nodes: which is due next, and how long to wait after a failure.
//!
//! | file | holds |
//! |---|---|
//! | `retry` | pure: pauses between attempts, expiry |
//! | `schedule` | pure: which job next, over which hop; hops that are down |

pub mod retry;
pub mod schedule;
