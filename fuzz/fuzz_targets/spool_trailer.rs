//! Any end of a file to the trailer of an item.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/spool.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::trailer(data));
