//! Waiting for something, with a deadline: the only place where a test lets time pass.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a loaded machine; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns what `ready` gives as soon as it gives something.
///
/// # Panics
/// When that does not happen within [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = ready() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The lines of a stream as they come; the channel ends when the stream does.
pub(crate) fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, taken) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    taken
}

/// A small generator of random numbers (splitmix64): the seed of a failed run is printed and can be set again.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `UFT_TEST_SEED`, or by the clock; says which.
    pub(crate) fn new() -> Random {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        let seed = std::env::var("UFT_TEST_SEED")
            .ok()
            .map_or(clock, |seed| seed.parse().unwrap());
        eprintln!("UFT_TEST_SEED={seed}");
        Random(seed)
    }

    pub(crate) fn seeded(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
