//! Any files: what is written is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::canon;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/netdata.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::round_trip(data));
