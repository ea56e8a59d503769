//! Any bytes to the framer: bounded, in step, the same at every chunking.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::proto;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/proto.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::line(data));
