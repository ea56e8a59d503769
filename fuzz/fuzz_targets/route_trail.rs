//! Any attributes as the trail of a file: it only grows, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::route;

#[expect(dead_code, reason = "the body of another target")]
#[path = "../bodies/route.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::trail(data));
