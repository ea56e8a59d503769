//! Any local file: the wire form does not depend on the borders, and the receiver gets the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::canon;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/canon.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::encode(data));
