//! Any line on the local socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::config;
use uft::local;

#[expect(dead_code, reason = "the body of another target")]
#[path = "../bodies/settings.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::local_line(data));
