//! One fsync for everybody who waits for it.
//!
//! A caller has made a change and needs it durable. If nobody is syncing, it does the fsync; whoever comes meanwhile
//! waits, and one of those does the next fsync for all of them: an fsync that had begun before a change was made does
//! not count for it. What this file does *not* know: what is synced.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::disk::lock;
use crate::error::Error;

#[derive(Debug, Default)]
struct State {
    /// Callers so far. `done <= asked`.
    asked: u64,
    /// Callers whose changes are durable.
    done: u64,
    /// Somebody is in the fsync.
    running: bool,
    /// An fsync has failed; there will not be another.
    failed: bool,
}

/// Callers who share the fsyncs of one file or directory.
#[derive(Debug, Default)]
pub(crate) struct Group {
    state: Mutex<State>,
    turn: Condvar,
}

impl Group {
    /// Returns when an fsync that began after this call has succeeded.
    ///
    /// # Errors
    /// The one who did the fsync gets its error, those who waited for it [`Error::Poisoned`].
    pub(crate) fn sync(&self, fsync: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.asked += 1;
        let ticket = state.asked;
        while state.running && state.done < ticket && !state.failed {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.done >= ticket {
            return Ok(());
        }
        if state.failed {
            return Err(Error::Poisoned);
        }
        state.running = true;
        let covered = state.asked;
        drop(state);
        let result = fsync();
        let mut state = lock(&self.state);
        state.running = false;
        match &result {
            Ok(()) => state.done = covered,
            Err(_) => state.failed = true,
        }
        drop(state);
        self.turn.notify_all();
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn those_who_wait_share_the_next_fsync() {
        let group = Group::default();
        let count = AtomicU64::new(0);
        let (entered, inside) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let (group, count) = (&group, &count);
            scope.spawn(move || {
                group.sync(|| {
                    count.fetch_add(1, Ordering::SeqCst);
                    entered.send(()).unwrap();
                    released.recv().unwrap();
                    Ok(())
                })
            });
            inside.recv().unwrap();
            let waiting: Vec<_> = (0..7)
                .map(|_| {
                    scope.spawn(|| {
                        group.sync(|| {
                            count.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                    })
                })
                .collect();
            while lock(&group.state).asked < 8 {
                std::thread::yield_now();
            }
            release.send(()).unwrap();
            for thread in waiting {
                thread.join().unwrap().unwrap();
            }
        });
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn after_a_failure_nobody_is_told_that_it_worked() {
        let group = Group::default();
        assert!(group.sync(|| Err(Error::Poisoned)).is_err());
        assert!(matches!(
            group.sync(|| panic!("a second fsync")),
            Err(Error::Poisoned)
        ));
    }
}
