//! The bell of the programs: rings when a file came for one of them, or when everything is to be looked at again.
//!
//! It says only that there is something; what there is, the inbox says. What it does *not* do: lose a ring.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uft_spool::UserName;

/// A bell that everybody may ring.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The programs' names.
    names: BTreeSet<UserName>,
    since: Rings,
}

/// What was rung for since the last answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rings {
    /// These got something.
    pub(super) came: BTreeSet<UserName>,
    /// The configuration was read again.
    pub(super) again: bool,
}

impl Bell {
    /// A file came for `user`; whether that is a program.
    pub(crate) fn came(&self, user: &UserName) -> bool {
        let mut state = self.state();
        let program = state.names.contains(user);
        if program {
            state.since.came.insert(user.clone());
            self.rung.notify_one();
        }
        program
    }

    /// Everything is to be looked at again.
    pub(crate) fn again(&self) {
        self.state().since.again = true;
        self.rung.notify_one();
    }

    /// From now on it rings for these.
    pub(super) fn serve(&self, names: BTreeSet<UserName>) {
        self.state().names = names;
    }

    /// Waits for a ring. What is rung for meanwhile is in the answer, or in the next.
    pub(super) async fn answer(&self) -> Rings {
        loop {
            let rings = std::mem::take(&mut self.state().since);
            if rings != Rings::default() {
                return rings;
            }
            self.rung.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
