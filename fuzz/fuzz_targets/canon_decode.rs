//! Any wire form: the local form does not depend on the borders, and what is exact comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::canon;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/canon.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::decode(data));
