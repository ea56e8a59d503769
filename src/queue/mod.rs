//! Files on their way to other nodes: which is due next, and how long to wait after a failure.
//!
//! | file | holds |
//! |---|---|
//! | `retry` | pure: pauses between attempts, expiry |
//! | `hop` | pure: a hop that is busy, down, or being probed |
//! | `schedule` | pure: which job next, over which hop; hops that are down |

mod hop;
pub mod retry;
pub mod schedule;
