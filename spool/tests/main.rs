//! The tests of the spool that need nothing of its inside: one binary, a module for each subject.

#![cfg(test)]

mod common;
mod crash;
mod format;
mod life;
mod model;
mod partial;
mod queue;
mod queue_crash;
mod queue_format;
mod threads;

/// The body of the fuzz target, on every end of a fixture's item.
#[path = "../../fuzz/bodies/spool.rs"]
mod fuzz_bodies;

#[test]
fn what_holds_for_any_trailer_holds_for_a_fixtures_ends() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/1/users");
    let mut seeds = 0;
    for user in std::fs::read_dir(dir).unwrap().flatten() {
        for file in std::fs::read_dir(user.path()).unwrap().flatten() {
            let bytes = std::fs::read(file.path()).unwrap();
            for from in 0..bytes.len() {
                let claim = u8::try_from(from).unwrap_or(u8::MAX);
                fuzz_bodies::trailer(&[&[claim], &bytes[from..]].concat());
                seeds += 1;
            }
        }
    }
    assert!(seeds > 100, "no fixture was found");
}
