//! Any bytes from a client to a session: the same replies and files at every chunking, and every file ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::proto;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/proto.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::session(data));
