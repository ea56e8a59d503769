//! Any stream: the outcome does not depend on the borders, and nothing comes out that did not go in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::canon;

#[expect(dead_code, reason = "the bodies of the other targets")]
#[path = "../bodies/netdata.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::read(data));
