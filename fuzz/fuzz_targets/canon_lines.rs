//! Any record file: the lines do not depend on the borders, and there is one a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::canon;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/canon.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::lines(data));
