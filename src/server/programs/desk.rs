//! The desk of one program: which of the files that wait for it is handed over next, and when again after a failure.
//!
//! Files are taken in order of arrival. One that failed waits for its pause while those behind it go on, so that a file
//! which a program cannot take never holds up the others. What this file does *not* do: look into the spool, run
//! anything, read a clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uft_spool::SpoolId;

/// What waits for one program.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: BTreeMap<SpoolId, Waiting>,
    /// There may be files that are not in `waiting`.
    stale: bool,
}

#[derive(Debug)]
struct Waiting {
    /// Failures in a row.
    failures: u32,
    /// Not before this; never when the last pause is over.
    due: Option<Instant>,
}

/// What is to be done for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Hand over this file.
    Take(SpoolId),
    /// Look what is in the inbox.
    Look,
    /// Nothing before this moment.
    Wait(Instant),
    /// Nothing until something comes.
    Rest,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Failures in a row: 1 is the first.
    pub(super) failures: u32,
    /// The pause before the next attempt; none: it was the last one.
    pub(super) again: Option<Duration>,
}

impl Desk {
    /// A desk for whatever lies in the inbox.
    pub(super) fn new() -> Desk {
        Desk {
            waiting: BTreeMap::new(),
            stale: true,
        }
    }

    /// Something came.
    pub(super) fn ring(&mut self) {
        self.stale = true;
    }

    /// Everything gets a new chance, also what was given up.
    pub(super) fn afresh(&mut self) {
        *self = Desk::new();
    }

    /// What is to be done now. The inbox is looked at when nothing known is due: what came later has a higher number.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        let due = |waiting: &Waiting| waiting.due.is_some_and(|due| due <= now);
        let next = self.waiting.iter().find(|(_, waiting)| due(waiting));
        match next {
            Some((id, _)) => Turn::Take(*id),
            None if self.stale => Turn::Look,
            None => {
                let soonest = self.waiting.values().filter_map(|waiting| waiting.due).min();
                soonest.map_or(Turn::Rest, Turn::Wait)
            }
        }
    }

    /// These are in the inbox.
    pub(super) fn looked(&mut self, found: impl IntoIterator<Item = SpoolId>, now: Instant) {
        let mut before = std::mem::take(&mut self.waiting);
        let fresh = || Waiting {
            failures: 0,
            due: Some(now),
        };
        let found = found.into_iter();
        self.waiting = found
            .map(|id| (id, before.remove(&id).unwrap_or_else(fresh)))
            .collect();
        self.stale = false;
    }

    /// The inbox could not be looked at: it is tried again with the next ring.
    pub(super) fn blind(&mut self) {
        self.stale = false;
    }

    /// A file was taken, or is gone.
    pub(super) fn taken(&mut self, id: SpoolId) {
        self.waiting.remove(&id);
    }

    /// A file was not taken; `pauses` are those between attempts.
    pub(super) fn failed(&mut self, id: SpoolId, now: Instant, pauses: &[Duration]) -> Verdict {
        let before = self.waiting.get(&id).map_or(0, |waiting| waiting.failures);
        let again = usize::try_from(before)
            .ok()
            .and_then(|nth| pauses.get(nth))
            .copied();
        let failures = before.saturating_add(1);
        let due = again.and_then(|pause| now.checked_add(pause));
        self.waiting.insert(id, Waiting { failures, due });
        Verdict { failures, again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

    fn id(n: u64) -> SpoolId {
        SpoolId::new(n).unwrap()
    }

    #[test]
    fn files_are_taken_in_order_and_the_inbox_is_looked_at_when_none_is_left() {
        let (mut desk, now) = (Desk::new(), Instant::now());
        assert_eq!(desk.turn(now), Turn::Look);
        desk.looked([2, 1, 10].map(id), now);
        desk.ring();
        for n in [1, 2, 10] {
            assert_eq!(desk.turn(now), Turn::Take(id(n)));
            desk.taken(id(n));
        }
        assert_eq!(desk.turn(now), Turn::Look);
        desk.looked([], now);
        assert_eq!(desk.turn(now), Turn::Rest);
    }

    #[test]
    fn a_failure_waits_while_others_go_on_and_is_given_up_after_the_last_pause() {
        let (mut desk, mut now) = (Desk::new(), Instant::now());
        desk.looked([1, 2].map(id), now);
        assert_eq!(desk.failed(id(1), now, &PAUSES).again, Some(PAUSES[0]));
        assert_eq!(desk.turn(now), Turn::Take(id(2)));
        desk.taken(id(2));
        assert_eq!(desk.turn(now), Turn::Wait(now + PAUSES[0]));
        now += PAUSES[0];
        assert_eq!(desk.turn(now), Turn::Take(id(1)));
        assert_eq!(desk.failed(id(1), now, &PAUSES).again, Some(PAUSES[1]));
        now += PAUSES[1];
        // What is known of a failure is not lost by looking.
        desk.looked([1, 3].map(id), now);
        let last = desk.failed(id(1), now, &PAUSES);
        assert_eq!((last.failures, last.again), (3, None));
        assert_eq!(desk.turn(now), Turn::Take(id(3)));
        desk.taken(id(3));
        assert_eq!(desk.turn(now + PAUSES[1] * 100), Turn::Rest);
        desk.afresh();
        desk.looked([id(1)], now);
        assert_eq!(desk.turn(now), Turn::Take(id(1)));
    }
}
