//! Which job is sent next, over which hop.
//!
//! What it does *not* do: send anything, keep anything on the disk, look at a clock. It is made anew from the jobs of the
//! spool when the daemon starts; attempts, pauses and which hops are down are lost then, and found out again.
//!
//! **Order.** Each job has a rank that never changes, and the lowest goes first:
//!
//! ```text
//! rank = time when it was queued + (priority - 50) minutes + a second for every 4 MiB, at most 6 hours
//! ```
//!
//! So a small or urgent file overtakes large ones, but only those that were queued within a bounded time before it:
//! whatever its size, a file is never overtaken by one that came 6 hours and 99 minutes later. Nothing starves, and no
//! rank ever has to be computed again.
//!
//! **Hops.** A job names the hops that can take it, in order of preference. It is taken for the first one that has a
//! place free and is not down. Hops that have something to do take turns. A hop that could not be *reached* is down:
//! nothing is sent over it until its pause is over, and then exactly one job, the probe. That costs the jobs nothing;
//! their own pauses are for what the hop said to them. A probe that reaches the hop opens it for all.
//!
//! **Time** is in milliseconds since 1970-01-01 00:00 UTC, given by the caller. When the clock goes backwards, every
//! pause keeps what was left of it.
//!
//! **Cost.** With n jobs every call is O(log n), times the number of different lists of hops that share a hop; a job
//! takes about 150 bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use uft_spool::SpoolId;

pub use super::hop::HopKey;
use super::hop::{Circuit, Clock, Hop, LaneKey};
use super::retry;

/// Milliseconds that one step of priority is worth.
pub const STEP: i64 = 60_000;
/// Bytes that are worth one millisecond.
pub const RATE: u64 = (4 << 20) / 1000;
/// Most milliseconds that a size is worth.
pub const SIZE_MOST: i64 = 6 * 3_600_000;
/// Pauses that end at one call, at most: when more are over, the others end at the next calls, so that none takes long.
const RING_MOST: usize = 4096;
/// The priority of a job that names none; lower goes first.
pub const PRIORITY: u8 = 50;

/// A job, as far as its turn depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number in the queue.
    pub id: SpoolId,
    /// The hops that can take it, in order of preference. One with none is never taken.
    pub hops: Vec<HopKey>,
    /// When it was queued.
    pub queued: i64,
    /// 0 to 99, low first.
    pub priority: u8,
    /// Its bytes.
    pub size: u64,
}

/// How it is with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes as soon as it is its turn.
    Ready,
    /// Not before this time.
    Deferred(i64),
    /// Not before it is released.
    Held,
    /// It is being sent over this hop.
    Running(HopKey),
}

/// A job that is to be sent now; [`Schedule::done`] is owed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The job.
    pub id: SpoolId,
    /// Over which of its hops.
    pub hop: HopKey,
    /// The hop was down, and this one finds out whether it still is.
    pub probe: bool,
}

/// What became of a job that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The hop was reached, and the job leaves the queue: delivered, or refused for good.
    Gone,
    /// The hop was reached, and wants it not before this time.
    Later(i64),
    /// The hop could not be reached: no connection, no herald.
    Unreachable,
    /// Nothing was learned of the hop: what failed was on this host. Not before this time.
    Untried(i64),
}

/// The jobs of the queue, in the order in which they go.
#[derive(Debug)]
pub struct Schedule {
    /// Pauses of a hop that is down.
    retry: Vec<Duration>,
    /// Jobs at once over a hop of which nothing else was said.
    parallel: usize,
    jobs: BTreeMap<SpoolId, Entry>,
    lanes: BTreeMap<LaneKey, Lane>,
    hops: BTreeMap<HopKey, Hop>,
    /// Hops that may have something to do, each once: `hop.waiting` says which.
    turns: VecDeque<HopKey>,
    deferred: BTreeSet<(i64, SpoolId)>,
    /// Hops that are down, by the time of their probe.
    probes: BTreeSet<(i64, HopKey)>,
    clock: Clock,
}

#[derive(Debug)]
struct Entry {
    lane: LaneKey,
    rank: i64,
    /// With the time of the clock inside.
    state: State,
    /// It finds out whether its hop is up.
    probe: bool,
    /// What was asked for while it was being sent.
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Hold,
    Remove,
}

#[derive(Debug, Default)]
struct Lane {
    ready: BTreeSet<(i64, SpoolId)>,
    /// Jobs in any state.
    jobs: usize,
}

impl Schedule {
    /// An empty schedule. `retry`: the pauses of a hop that is down; `parallel`: jobs at once over a hop unless
    /// [`Schedule::set_parallel`] says something else.
    pub fn new(retry: Vec<Duration>, parallel: usize, now: i64) -> Schedule {
        Schedule {
            retry,
            parallel,
            jobs: BTreeMap::new(),
            lanes: BTreeMap::new(),
            hops: BTreeMap::new(),
            turns: VecDeque::new(),
            deferred: BTreeSet::new(),
            probes: BTreeSet::new(),
            clock: Clock { said: now, lost: 0 },
        }
    }

    /// Adds a job at `now`; `held` if it waits for its release. Says whether it is new: one that is here already stays as
    /// it is, even if it is to be removed when it is done.
    pub fn insert(&mut self, job: Job, held: bool, now: i64) -> bool {
        self.clock.hear(now);
        if self.jobs.contains_key(&job.id) {
            return false;
        }
        let rank = rank(&job, now);
        let mut hops: Vec<HopKey> = Vec::with_capacity(job.hops.len());
        for hop in job.hops {
            if !hops.contains(&hop) {
                // The key that is here already is shared, not kept twice.
                let known = self.hops.get_key_value(&hop).map(|(known, _)| known.clone());
                hops.push(known.unwrap_or(hop));
            }
        }
        let known = self
            .lanes
            .get_key_value(hops.as_slice())
            .map(|(known, _)| known.clone());
        let lane = known.unwrap_or_else(|| LaneKey::from(hops));
        self.lanes.entry(lane.clone()).or_default().jobs += 1;
        for hop in lane.iter() {
            self.hops
                .entry(hop.clone())
                .or_default()
                .lanes
                .insert(lane.clone());
        }
        let entry = Entry {
            lane,
            rank,
            state: State::Held,
            probe: false,
            then: Then::GoOn,
        };
        self.jobs.insert(job.id, entry);
        if !held {
            self.place(job.id, State::Ready);
        }
        true
    }

    /// Forgets a job; one that is being sent is forgotten when it is done. Says whether it was here.
    pub fn remove(&mut self, id: SpoolId) -> bool {
        match self.jobs.get_mut(&id) {
            None => false,
            Some(entry) if matches!(entry.state, State::Running { .. }) => {
                entry.then = Then::Remove;
                true
            }
            Some(_) => {
                self.forget(id);
                true
            }
        }
    }

    /// Keeps a job until it is released; one that is being sent, when it is not delivered. Says whether it was here.
    pub fn hold(&mut self, id: SpoolId) -> bool {
        match self.jobs.get_mut(&id) {
            None => return false,
            Some(entry) if matches!(entry.state, State::Running(_)) => {
                // What is to be removed stays so.
                if entry.then == Then::GoOn {
                    entry.then = Then::Hold;
                }
            }
            Some(_) => self.place(id, State::Held),
        }
        true
    }

    /// Lets a held job go on at once. Says whether it was held.
    pub fn release(&mut self, id: SpoolId) -> bool {
        match self.jobs.get_mut(&id) {
            Some(Entry {
                then: then @ Then::Hold,
                ..
            }) => {
                *then = Then::GoOn;
                true
            }
            Some(entry) if matches!(entry.state, State::Held) => {
                self.place(id, State::Ready);
                true
            }
            _ => false,
        }
    }

    /// Puts a job off until `due`. Says whether it was ready or deferred before.
    pub fn defer(&mut self, id: SpoolId, due: i64) -> bool {
        let state = self.jobs.get(&id).map(|entry| &entry.state);
        let can = matches!(state, Some(State::Ready | State::Deferred(_)));
        if can {
            self.place(id, State::Deferred(self.clock.inside(due)));
        }
        can
    }

    /// Makes a job due at once, and the probes of its hops with it. Says whether it was ready or deferred.
    pub fn retry_now(&mut self, id: SpoolId) -> bool {
        let Some(entry) = self.jobs.get(&id) else {
            return false;
        };
        if !matches!(entry.state, State::Ready | State::Deferred(_)) {
            return false;
        }
        for hop in entry.lane.clone().iter() {
            if let Some(Circuit::Down { failures, .. }) = self.hops.get(hop).map(|hop| hop.circuit) {
                let probe = self.clock.inside(self.clock.said);
                self.switch(hop, Circuit::Down { failures, probe });
            }
        }
        self.place(id, State::Ready);
        true
    }

    /// The job whose turn it is, if there is one; take on until there is none.
    pub fn take(&mut self, now: i64) -> Option<Taken> {
        let clock = self.clock.hear(now);
        self.ring(clock);
        while let Some(hop) = self.turns.pop_front() {
            let Some(state) = self.hops.get_mut(&hop) else {
                continue;
            };
            state.waiting = false;
            if state.is_forgotten() {
                self.hops.remove(&hop);
            } else if let Some(id) = self.best(&hop, clock) {
                return Some(self.start(id, hop));
            }
        }
        None
    }

    /// What became of a job that was taken, at `now`; `random` is any 64 bits. Says whether the job was being sent.
    pub fn done(&mut self, id: SpoolId, outcome: Outcome, now: i64, random: u64) -> bool {
        let clock = self.clock.hear(now);
        let Some(entry) = self.jobs.get_mut(&id) else {
            return false;
        };
        let State::Running(hop) = &entry.state else {
            return false;
        };
        let hop = hop.clone();
        let probe = std::mem::take(&mut entry.probe);
        let then = std::mem::replace(&mut entry.then, Then::GoOn);
        if let Some(state) = self.hops.get_mut(&hop) {
            state.running = state.running.saturating_sub(1);
            let circuit = state.circuit.after(outcome, probe, clock, |failures| {
                retry::after(clock, retry::pause(failures, &self.retry, random))
            });
            self.switch(&hop, circuit);
        }
        match (outcome, then) {
            (Outcome::Gone, _) | (_, Then::Remove) => self.forget(id),
            (_, Then::Hold) => self.place(id, State::Held),
            (Outcome::Unreachable, _) => self.place(id, State::Ready),
            (Outcome::Later(due) | Outcome::Untried(due), _) => {
                self.place(id, State::Deferred(self.clock.inside(due)));
            }
        }
        true
    }

    /// A hop was heard of in another way, by a connection of its own: it is not down.
    pub fn reached(&mut self, hop: &str) {
        if let Some((hop, _)) = self.hops.get_key_value(hop) {
            let hop = hop.clone();
            self.switch(&hop, Circuit::Up);
        }
    }

    /// When to call [`Schedule::take`] again if nothing else happens; what has passed means now.
    pub fn wake_at(&self) -> Option<i64> {
        if !self.turns.is_empty() {
            return Some(self.clock.said);
        }
        let due = self.deferred.first().map(|(due, _)| *due);
        let probe = self.probes.first().map(|(at, _)| *at);
        let next = [due, probe].into_iter().flatten().min();
        next.map(|at| self.clock.outside(at))
    }

    /// Jobs at once over a hop; with none, it takes no job.
    pub fn set_parallel(&mut self, hop: &str, most: usize) {
        let known = self.hops.get_key_value(hop).map(|(known, _)| known.clone());
        let hop = known.unwrap_or_else(|| HopKey::from(hop));
        self.hops.entry(hop.clone()).or_default().parallel = Some(most);
        self.wake(&hop);
    }

    /// Other pauses for hops that are down, from their next failure on.
    pub fn set_retry(&mut self, retry: Vec<Duration>) {
        self.retry = retry;
    }

    /// How it is with a job.
    pub fn state(&self, id: SpoolId) -> Option<State> {
        Some(match &self.jobs.get(&id)?.state {
            State::Deferred(due) => State::Deferred(self.clock.outside(*due)),
            state => state.clone(),
        })
    }

    /// When a hop that is down is tried again; `None` when it is not down, or being tried.
    pub fn down_until(&self, hop: &str) -> Option<i64> {
        match self.hops.get(hop)?.circuit {
            Circuit::Down { probe, .. } => Some(self.clock.outside(probe)),
            Circuit::Up | Circuit::Probing { .. } => None,
        }
    }

    /// Jobs in any state.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is no job.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What has become due until `clock`: jobs and probes.
    fn ring(&mut self, clock: i64) {
        for _ in 0..RING_MOST {
            let Some(&(due, id)) = self.deferred.first().filter(|(due, _)| *due <= clock) else {
                break;
            };
            self.deferred.remove(&(due, id));
            self.place(id, State::Ready);
        }
        while let Some((at, hop)) = self.probes.first().filter(|(at, _)| *at <= clock).cloned() {
            self.probes.remove(&(at, hop.clone()));
            self.wake(&hop);
        }
    }

    /// The job of the lowest rank that goes over this hop now.
    fn best(&self, hop: &HopKey, clock: i64) -> Option<SpoolId> {
        let free = |hop: &HopKey| {
            let state = self.hops.get(hop);
            state.is_some_and(|state| state.is_free(clock, self.parallel))
        };
        if !free(hop) {
            return None;
        }
        let lanes = self.hops.get(hop)?.lanes.iter();
        let ours = lanes.filter(|lane| lane.iter().find(|hop| free(hop)) == Some(hop));
        let heads = ours.filter_map(|lane| self.lanes.get(lane)?.ready.first());
        heads.min().map(|(_, id)| *id)
    }

    fn start(&mut self, id: SpoolId, hop: HopKey) -> Taken {
        let mut probe = false;
        if let Some(state) = self.hops.get_mut(&hop) {
            state.running += 1;
            if let Circuit::Down { failures, .. } = state.circuit {
                probe = true;
                state.circuit = Circuit::Probing { failures };
            }
        }
        self.place(id, State::Running(hop.clone()));
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.probe = probe;
        }
        // It has had its turn. What it is too busy for now goes to whoever is next in the lists.
        self.wake(&hop);
        Taken { id, hop, probe }
    }

    /// Moves a job to another state, out of the list of its old one and into that of the new one.
    fn place(&mut self, id: SpoolId, state: State) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        let (lane, rank) = (entry.lane.clone(), entry.rank);
        let before = std::mem::replace(&mut entry.state, state.clone());
        match before {
            State::Ready => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.ready.remove(&(rank, id));
                }
            }
            State::Deferred(due) => {
                self.deferred.remove(&(due, id));
            }
            State::Held | State::Running(_) => {}
        }
        match state {
            State::Ready => {
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.ready.insert((rank, id));
                }
                self.turn(&lane);
            }
            State::Deferred(due) => {
                self.deferred.insert((due, id));
            }
            State::Held | State::Running(_) => {}
        }
    }

    fn forget(&mut self, id: SpoolId) {
        self.place(id, State::Held);
        let Some(entry) = self.jobs.remove(&id) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&entry.lane) else {
            return;
        };
        lane.jobs -= 1;
        if lane.jobs > 0 {
            return;
        }
        self.lanes.remove(&entry.lane);
        for hop in entry.lane.iter() {
            let Some(state) = self.hops.get_mut(hop) else {
                continue;
            };
            state.lanes.remove(&entry.lane);
            if state.is_forgotten() {
                if let Circuit::Down { probe, .. } = std::mem::take(&mut state.circuit) {
                    self.probes.remove(&(probe, hop.clone()));
                }
                // One that is among the turns goes when it is its turn.
                if !state.waiting {
                    self.hops.remove(hop);
                }
            }
        }
    }

    /// Changes the circuit of a hop, and looks at what that changes for jobs.
    fn switch(&mut self, hop: &HopKey, circuit: Circuit) {
        let Some(state) = self.hops.get_mut(hop) else {
            return;
        };
        if let Circuit::Down { probe, .. } = std::mem::replace(&mut state.circuit, circuit) {
            self.probes.remove(&(probe, hop.clone()));
        }
        if let Circuit::Down { probe, .. } = circuit {
            self.probes.insert((probe, hop.clone()));
        }
        self.wake(hop);
    }

    /// Something has changed for a hop: it, and those that stand for it, may have something to do.
    fn wake(&mut self, hop: &HopKey) {
        let lanes = self.hops.get(hop).map(|state| state.lanes.clone());
        for lane in lanes.into_iter().flatten() {
            self.turn(&lane);
        }
    }

    /// Puts the hops of a lane among the turns.
    fn turn(&mut self, lane: &LaneKey) {
        for hop in lane.iter() {
            let Some(state) = self.hops.get_mut(hop) else {
                continue;
            };
            if !std::mem::replace(&mut state.waiting, true) {
                self.turns.push_back(hop.clone());
            }
        }
    }
}

/// The rank of a job: see the head of this file. A job of the future ranks as one of now.
fn rank(job: &Job, now: i64) -> i64 {
    let urgency = (i64::from(job.priority.min(99)) - i64::from(PRIORITY)) * STEP;
    let weight = i64::try_from(job.size / RATE).unwrap_or(i64::MAX).min(SIZE_MOST);
    job.queued.min(now).saturating_add(urgency).saturating_add(weight)
}

#[cfg(test)]
#[path = "schedule_model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
