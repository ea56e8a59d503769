//! The schedule against a model that looks at every job each time, by any sequence of calls.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{RETRY, id};
use super::*;

/// The same rules, without any order kept: every question looks at everything.
#[derive(Default)]
struct Model {
    jobs: Vec<Known>,
    hops: BTreeMap<String, (Option<usize>, Circuit)>,
    now: i64,
}

#[derive(Clone)]
struct Known {
    id: SpoolId,
    hops: Vec<String>,
    rank: i64,
    state: State,
    probe: bool,
    then: Then,
}

#[derive(Clone, Debug)]
enum Op {
    Insert {
        n: u64,
        hops: Vec<u8>,
        queued: i64,
        priority: u8,
        size: u64,
        held: bool,
    },
    Remove(u64),
    Hold(u64),
    Release(u64),
    Defer(u64, i64),
    RetryNow(u64),
    Reached(u8),
    Parallel(u8, usize),
    Take,
    Done(u64, u8, i64, u64),
    Pass(i64),
}

const PARALLEL: usize = 2;

fn name(hop: u8) -> String {
    format!("h{hop}")
}

impl Model {
    fn running(&self, hop: &str) -> usize {
        let over = |known: &&Known| matches!(&known.state, State::Running(at) if &**at == hop);
        self.jobs.iter().filter(over).count()
    }

    fn free(&self, hop: &str) -> bool {
        let (parallel, circuit) = self.hops[hop];
        let most = parallel.unwrap_or(PARALLEL);
        match circuit {
            Circuit::Up => self.running(hop) < most,
            Circuit::Down { probe, .. } => most > 0 && probe <= self.now,
            Circuit::Probing { .. } => false,
        }
    }

    /// Every answer that is right: for each hop, the job of the lowest rank that goes over it.
    fn right(&self) -> Vec<(SpoolId, String)> {
        let mut best: BTreeMap<String, (i64, SpoolId)> = BTreeMap::new();
        for known in self.jobs.iter().filter(|known| known.state == State::Ready) {
            if let Some(hop) = known.hops.iter().find(|hop| self.free(hop)) {
                let this = (known.rank, known.id);
                let kept = best.entry(hop.clone()).or_insert(this);
                *kept = this.min(*kept);
            }
        }
        best.into_iter().map(|(hop, (_, id))| (id, hop)).collect()
    }

    fn pass(&mut self, by: i64) {
        self.now += by;
        for known in &mut self.jobs {
            if let State::Deferred(due) = &mut known.state {
                *due += by.min(0);
            }
        }
        for (_, circuit) in self.hops.values_mut() {
            if let Circuit::Down { probe, .. } = circuit {
                *probe += by.min(0);
            }
        }
        self.ring();
    }

    fn ring(&mut self) {
        for known in &mut self.jobs {
            if matches!(known.state, State::Deferred(due) if due <= self.now) {
                known.state = State::Ready;
            }
        }
    }

    fn wake_at(&self) -> Option<i64> {
        let dues = self.jobs.iter().filter_map(|known| match known.state {
            State::Deferred(due) => Some(due),
            _ => None,
        });
        let probes = self.hops.values().filter_map(|(_, circuit)| match circuit {
            Circuit::Down { probe, .. } if *probe > self.now => Some(*probe),
            _ => None,
        });
        dues.chain(probes).min()
    }

    fn forget(&mut self, id: SpoolId) {
        self.jobs.retain(|known| known.id != id);
        let jobs = &self.jobs;
        self.hops.retain(|hop, (parallel, _)| {
            parallel.is_some() || jobs.iter().any(|known| known.hops.contains(hop))
        });
    }

    fn known(&mut self, id: SpoolId) -> Option<&mut Known> {
        self.jobs.iter_mut().find(|known| known.id == id)
    }

    fn done(&mut self, id: SpoolId, outcome: Outcome, random: u64) -> bool {
        let now = self.now;
        let Some(known) = self.known(id).cloned() else {
            return false;
        };
        let State::Running(hop) = known.state else {
            return false;
        };
        let (_, circuit) = self.hops.get_mut(&*hop).unwrap();
        let next = |failures| Circuit::Down {
            failures,
            probe: retry::after(now, retry::pause(failures, &RETRY, random)),
        };
        match (outcome, *circuit) {
            (Outcome::Gone | Outcome::Later(_), _) => *circuit = Circuit::Up,
            (Outcome::Unreachable, Circuit::Up) => *circuit = next(1),
            (Outcome::Unreachable, Circuit::Probing { failures }) if known.probe => {
                *circuit = next(failures + 1)
            }
            (Outcome::Untried(_), Circuit::Probing { failures }) if known.probe => {
                *circuit = Circuit::Down { failures, probe: now };
            }
            _ => {}
        }
        if outcome == Outcome::Gone || known.then == Then::Remove {
            self.forget(id);
            return true;
        }
        let state = match (known.then, outcome) {
            (Then::Hold, _) => State::Held,
            (_, Outcome::Later(due) | Outcome::Untried(due)) => State::Deferred(due),
            _ => State::Ready,
        };
        let known = self.known(id).unwrap();
        (known.state, known.then, known.probe) = (state, Then::GoOn, false);
        true
    }
}

fn op() -> impl Strategy<Value = Op> {
    let n = 1u64..24;
    let hop = 0u8..4;
    let span = -100_000i64..400_000;
    prop_oneof![
        4 => (n.clone(), prop::collection::vec(hop.clone(), 0..4), 0i64..1_000_000, 0u8..100, 0u64..1 << 34, prop::bool::weighted(0.1))
            .prop_map(|(n, hops, queued, priority, size, held)| Op::Insert { n, hops, queued, priority, size, held }),
        1 => n.clone().prop_map(Op::Remove),
        1 => n.clone().prop_map(Op::Hold),
        1 => n.clone().prop_map(Op::Release),
        1 => (n.clone(), span.clone()).prop_map(|(n, by)| Op::Defer(n, by)),
        1 => n.clone().prop_map(Op::RetryNow),
        1 => hop.clone().prop_map(Op::Reached),
        1 => (hop, 0usize..4).prop_map(|(hop, most)| Op::Parallel(hop, most)),
        6 => Just(Op::Take),
        6 => (n, 0u8..4, span.clone(), any::<u64>()).prop_map(|(n, outcome, by, random)| Op::Done(n, outcome, by, random)),
        2 => span.prop_map(Op::Pass),
    ]
}

/// Does one thing to both and compares what they say.
fn step(s: &mut Schedule, m: &mut Model, op: Op) {
    match op {
        Op::Insert {
            n,
            hops,
            queued,
            priority,
            size,
            held,
        } => {
            let names: Vec<String> = hops.into_iter().map(name).collect();
            let job = Job {
                id: id(n),
                hops: names.iter().map(|hop| hop.as_str().into()).collect(),
                queued,
                priority,
                size,
            };
            let rank = rank(&job, m.now);
            let fresh = m.known(id(n)).is_none();
            assert_eq!(s.insert(job, held, m.now), fresh);
            if fresh {
                for hop in &names {
                    m.hops.entry(hop.clone()).or_default();
                }
                let state = if held { State::Held } else { State::Ready };
                m.jobs.push(Known {
                    id: id(n),
                    hops: names,
                    rank,
                    state,
                    probe: false,
                    then: Then::GoOn,
                });
            }
        }
        Op::Remove(n) => {
            let known = m.known(id(n)).map(|known| &*known).cloned();
            assert_eq!(s.remove(id(n)), known.is_some());
            match known.map(|known| known.state) {
                Some(State::Running(_)) => m.known(id(n)).unwrap().then = Then::Remove,
                Some(_) => m.forget(id(n)),
                None => {}
            }
        }
        Op::Hold(n) => {
            let known = m.known(id(n));
            assert_eq!(s.hold(id(n)), known.is_some());
            match known {
                Some(known) if !matches!(known.state, State::Running(_)) => known.state = State::Held,
                Some(known) if known.then == Then::GoOn => known.then = Then::Hold,
                _ => {}
            }
        }
        Op::Release(n) => {
            let can = match m.known(id(n)) {
                Some(known) if known.then == Then::Hold => {
                    known.then = Then::GoOn;
                    true
                }
                Some(known) if known.state == State::Held => {
                    known.state = State::Ready;
                    true
                }
                _ => false,
            };
            assert_eq!(s.release(id(n)), can);
        }
        Op::Defer(n, by) => {
            let due = m.now + by;
            let known = m.known(id(n));
            let can = known.filter(|known| matches!(known.state, State::Ready | State::Deferred(_)));
            assert_eq!(s.defer(id(n), due), can.is_some());
            can.into_iter()
                .for_each(|known| known.state = State::Deferred(due));
        }
        Op::RetryNow(n) => {
            let now = m.now;
            let known = m.known(id(n));
            let can = known.filter(|known| matches!(known.state, State::Ready | State::Deferred(_)));
            let hops = can.map(|known| {
                known.state = State::Ready;
                known.hops.clone()
            });
            assert_eq!(s.retry_now(id(n)), hops.is_some());
            for hop in hops.into_iter().flatten() {
                if let Circuit::Down { probe, .. } = &mut m.hops.get_mut(&hop).unwrap().1 {
                    *probe = now;
                }
            }
        }
        Op::Reached(hop) => {
            s.reached(&name(hop));
            if let Some((_, circuit)) = m.hops.get_mut(&name(hop)) {
                *circuit = Circuit::Up;
            }
        }
        Op::Parallel(hop, most) => {
            s.set_parallel(&name(hop), most);
            m.hops.entry(name(hop)).or_default().0 = Some(most);
        }
        Op::Take => {
            m.ring();
            let right = m.right();
            let Some(taken) = s.take(m.now) else {
                assert_eq!(right, [], "something could have been taken");
                assert_eq!(s.wake_at(), m.wake_at());
                return;
            };
            assert!(
                right.contains(&(taken.id, taken.hop.to_string())),
                "{taken:?} of {right:?}"
            );
            let (_, circuit) = m.hops.get_mut(&*taken.hop).unwrap();
            let probe = matches!(circuit, Circuit::Down { .. });
            if let Circuit::Down { failures, .. } = *circuit {
                *circuit = Circuit::Probing { failures };
            }
            assert_eq!(taken.probe, probe);
            let known = m.known(taken.id).unwrap();
            (known.state, known.probe) = (State::Running(taken.hop), probe);
        }
        Op::Done(n, outcome, by, random) => {
            let due = m.now + by;
            let outcome = match outcome {
                0 => Outcome::Gone,
                1 => Outcome::Later(due),
                2 => Outcome::Unreachable,
                _ => Outcome::Untried(due),
            };
            assert_eq!(
                s.done(id(n), outcome, m.now, random),
                m.done(id(n), outcome, random)
            );
        }
        Op::Pass(by) => m.pass(by),
    }
}

proptest! {
    #[test]
    fn the_schedule_does_what_the_model_does(ops in prop::collection::vec(op(), 0..200)) {
        let mut schedule = Schedule::new(RETRY.to_vec(), PARALLEL, 0);
        let mut model = Model::default();
        for op in ops {
            let passed = matches!(op, Op::Pass(_));
            step(&mut schedule, &mut model, op);
            if passed {
                // It knows of time what it was told.
                step(&mut schedule, &mut model, Op::Take);
            }
            prop_assert_eq!(schedule.len(), model.jobs.len());
        }
        // In the end, when everything is over, everything has been sent or is held.
        for (n, most) in (0..4).zip([1; 4]) {
            step(&mut schedule, &mut model, Op::Parallel(n, most));
        }
        for n in 1..24 {
            step(&mut schedule, &mut model, Op::Done(n, 0, 0, 0));
        }
        step(&mut schedule, &mut model, Op::Pass(1 << 40));
        let held = |known: &Known| known.state == State::Held || known.hops.is_empty();
        while !model.jobs.iter().all(held) {
            step(&mut schedule, &mut model, Op::Take);
            for n in 1..24 {
                step(&mut schedule, &mut model, Op::Done(n, 0, 0, 0));
            }
        }
    }
}
