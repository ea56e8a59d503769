//! Any bytes from a server to a dialogue: every errand ends once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::proto;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/proto.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::dialogue(data));
