//! Any bytes as a job: the same file or error at every chunking, and no byte of a file is a command.
#![no_main]

use libfuzzer_sys::fuzz_target;
use uft::proto;
use uft::sift;

#[expect(dead_code, reason = "of these bodies only the rig is used")]
#[path = "../bodies/proto.rs"]
mod talk;
use talk::rig;

#[path = "../bodies/sift.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| bodies::job(data));
