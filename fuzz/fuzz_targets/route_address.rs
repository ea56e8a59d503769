//! Any text as an address: a canonical text or an error, and no way out for strangers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::route;

#[expect(dead_code, reason = "the body of another target")]
#[path = "../bodies/route.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::address(data));
