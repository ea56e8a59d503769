//! A hop of the schedule: how busy it is, whether it is down, and the clock by which its pauses go.
//!
//! What it does *not* do: know jobs, or choose among hops (`schedule.rs` does). Times are milliseconds.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::schedule::Outcome;

/// The name of a hop: a peer, or `host:port`, or `host:uft` when no port was named.
pub type HopKey = Arc<str>;
/// The hops of a job in order of preference. Jobs with the same ones share a lane.
pub(super) type LaneKey = Arc<[HopKey]>;

/// A time that never goes back. Times inside of the schedule are this one's.
#[derive(Debug)]
pub(super) struct Clock {
    /// The last time that was said.
    pub(super) said: i64,
    /// What the steps backwards add up to: `0 <= lost`.
    pub(super) lost: i64,
}

/// What the schedule knows of a hop.
#[derive(Debug, Default)]
pub(super) struct Hop {
    /// Jobs at once, if something was said of it.
    pub(super) parallel: Option<usize>,
    /// Jobs that are being sent over it.
    pub(super) running: usize,
    /// Whether it is down.
    pub(super) circuit: Circuit,
    /// The lanes that it is in.
    pub(super) lanes: BTreeSet<LaneKey>,
    /// It is among the turns.
    pub(super) waiting: bool,
}

/// Whether a hop can be reached, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Nothing is known against it.
    #[default]
    Up,
    /// It failed so many times in a row; from `probe` on, one job finds out.
    Down { failures: u32, probe: i64 },
    /// One job is finding out.
    Probing { failures: u32 },
}

impl Clock {
    /// The time inside, after somebody said that it is `now`.
    pub(super) fn hear(&mut self, now: i64) -> i64 {
        if now < self.said {
            self.lost = self.lost.saturating_add(self.said.saturating_sub(now));
        }
        self.said = now;
        self.inside(now)
    }

    /// A time as the schedule keeps it.
    pub(super) fn inside(&self, time: i64) -> i64 {
        time.saturating_add(self.lost)
    }

    /// A time as the caller's clock shows it.
    pub(super) fn outside(&self, time: i64) -> i64 {
        time.saturating_sub(self.lost)
    }
}

impl Hop {
    /// Whether it can take one job more. `parallel` counts when nothing was said of it.
    pub(super) fn is_free(&self, clock: i64, parallel: usize) -> bool {
        let most = self.parallel.unwrap_or(parallel);
        match self.circuit {
            Circuit::Up => self.running < most,
            // What still runs from before it went down does not keep the probe waiting.
            Circuit::Down { probe, .. } => probe <= clock && most > 0,
            Circuit::Probing { .. } => false,
        }
    }

    /// Whether nobody writes to it: then nobody needs to know that it is down, either.
    pub(super) fn is_forgotten(&self) -> bool {
        self.lanes.is_empty() && self.parallel.is_none()
    }
}

impl Circuit {
    /// What it is after an outcome of a job, perhaps of the probe. `next` gives the time of the next probe after so many
    /// failures.
    pub(super) fn after(self, outcome: Outcome, probe: bool, now: i64, next: impl Fn(u32) -> i64) -> Circuit {
        let down = |failures: u32| Circuit::Down {
            failures,
            probe: next(failures),
        };
        match (outcome, self) {
            (Outcome::Gone | Outcome::Later(_), _) => Circuit::Up,
            (Outcome::Unreachable, Circuit::Up) => down(1),
            (Outcome::Unreachable, Circuit::Probing { failures }) if probe => {
                down(failures.saturating_add(1))
            }
            // The probe has found out nothing: the next one may.
            (Outcome::Untried(_), Circuit::Probing { failures }) if probe => {
                Circuit::Down { failures, probe: now }
            }
            // Jobs that were under way together fail together; that counts once.
            (Outcome::Unreachable | Outcome::Untried(_), circuit) => circuit,
        }
    }
}
