//! Where a file goes: addresses, the table of routes, and what keeps a file from going round in circles.
//!
//! | file | holds |
//! |---|---|
//! | `address` | `user@NODE`, `user@host:port`: who a file is for, parsed once |
//! | `table` | the routes, and the one decision over an address: [`Table::decide`] |
//! | `trail` | what a file says of its way so far, and what it says to the next hop |
//!
//! What it does *not* do: look names up in the DNS, know who exists on this host, read the configuration or an envelope's
//! file. Values go in, a decision comes out. Rules and attributes are described in `docs/protocol.md`.

mod address;
mod table;
mod trail;

pub use address::{Address, BadAddress, Fault, NODE_MAX, NodeName, Place, USER_MAX, parts, place, user};
pub use table::{Party, Plan, Route, Rule, Table, Why};
pub use trail::{Trail, VIA_BYTES_MAX};

/// The bodies of the fuzz targets; the tests run them on seeds.
#[cfg(test)]
#[path = "../../fuzz/bodies/route.rs"]
mod bodies;
#[cfg(test)]
use crate::route;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
