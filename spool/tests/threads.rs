//! Many at once in the same inbox: nothing is lost, doubled or torn, and quotas are exact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use uft_spool::{Committed, Error, Form, Limits, Spool, SpoolId, State, Usage};

use crate::common::*;

const THREADS: usize = 8;
const EACH: usize = 60;

#[test]
fn an_inbox_that_everybody_uses_at_once_is_consistent() {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    let (ann, bob) = (user("ann"), user("bob"));
    let stored: Mutex<BTreeMap<SpoolId, Vec<u8>>> = Mutex::default();
    let removed: Mutex<BTreeSet<SpoolId>> = Mutex::default();
    let linked: Mutex<BTreeMap<SpoolId, Vec<u8>>> = Mutex::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (spool, stored, removed, linked) = (&spool, &stored, &removed, &linked);
                let (ann, bob) = (&ann, &bob);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let bytes = format!("{thread}-{n} ").repeat(1 + n * 40).into_bytes();
                        let forms = (n % 3 == 0).then_some(&b"wire form"[..]);
                        let to = if n % 4 == 0 { "ann,bob" } else { "ann" };
                        let ids = Parcel {
                            wire: forms,
                            aux: forms,
                            ..parcel(to, &bytes)
                        }
                        .ids(spool);
                        assert_eq!(check(spool, ann, ids[0]).unwrap(), bytes);
                        assert_eq!(stored.lock().unwrap().insert(ids[0], bytes.clone()), None);
                        if let Some(id) = ids.get(1) {
                            assert_eq!(linked.lock().unwrap().insert(*id, bytes.clone()), None);
                        }
                        if n % 5 == 0 {
                            let id = spool.link(ann, ids[0], bob).unwrap();
                            assert_eq!(linked.lock().unwrap().insert(id, bytes), None);
                        }
                        if n % 2 == 0 {
                            spool.remove(ann, ids[0]).unwrap();
                            assert!(removed.lock().unwrap().insert(ids[0]));
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let list = spool.list(&ann).unwrap();
                assert!(list.is_sorted_by(|a, b| a.id < b.id));
                // What is listed is whole, or was removed since.
                for summary in list.iter().rev().take(5) {
                    let read = check(&spool, &ann, summary.id);
                    assert!(matches!(read, Ok(_) | Err(Error::NoSuchItem { .. })));
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let stored = stored.into_inner().unwrap();
    assert_eq!(stored.len(), THREADS * EACH);
    let removed = removed.into_inner().unwrap();
    let expected: BTreeMap<_, _> = stored
        .into_iter()
        .filter(|(id, _)| !removed.contains(id))
        .collect();
    let linked = linked.into_inner().unwrap();
    let verify = |spool: &Spool| {
        for (user, expected) in [(&ann, &expected), (&bob, &linked)] {
            let listed: Vec<_> = spool
                .list(user)
                .unwrap()
                .iter()
                .map(|summary| summary.id)
                .collect();
            assert_eq!(listed, expected.keys().copied().collect::<Vec<_>>());
            for (id, bytes) in expected {
                assert!(check(spool, user, *id).unwrap() == *bytes);
            }
        }
    };
    verify(&spool);
    let usage = (spool.usage(&ann), spool.usage(&bob), spool.totals().items);
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.clean && recovery.learnt == 0 && recovery.forgotten == 0 && recovery.orphans == 0);
    assert_eq!(
        (spool.usage(&ann), spool.usage(&bob), spool.totals().items),
        usage
    );
    verify(&spool);
}

#[test]
fn of_two_repeats_at_the_same_time_one_is_stored() {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    for round in 0..40 {
        let xid = format!("x{round}");
        let start = Barrier::new(THREADS);
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Parcel {
                            xid: Some(&xid),
                            ..parcel("ann,bob", b"same")
                        }
                        .commit(&spool)
                        .unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let stored = results
            .iter()
            .filter(|result| matches!(result, Committed::Stored(_)))
            .count();
        assert_eq!(stored, 1);
        let ids = |result: &Committed| match result {
            Committed::Stored(ids) | Committed::Repeat(ids) => ids.clone(),
        };
        assert!(results.iter().all(|result| ids(result) == ids(&results[0])));
    }
    assert_eq!(spool.totals().items, 80);
}

#[test]
fn parallel_sessions_cannot_pass_a_quota_together() {
    let temp = scratch();
    let limits = Limits {
        user_bytes: 100_000,
        user_items: 50,
        ..LIMITS
    };
    let (spool, _) = Spool::open(temp.path(), limits).unwrap();
    let full: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut full = 0;
                    for n in 0..30 {
                        match parcel("ann", &vec![1; n * 300]).commit(&spool) {
                            Ok(_) => {}
                            Err(Error::OverQuota { .. }) => full += 1,
                            Err(e) => panic!("{e}"),
                        }
                        let Usage { bytes, items } = spool.usage(&user("ann"));
                        assert!(bytes <= 100_000 && items <= 50);
                    }
                    full
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let usage = spool.usage(&user("ann"));
    assert_eq!(usage.items as usize, THREADS * 30 - full);
    assert_eq!(usage.items as usize, spool.list(&user("ann")).unwrap().len());
    // Everything that was on its way is given back: the rest can be used to the last byte.
    let rest = vec![0; 100_000 - usage.bytes as usize];
    if usage.items < 50 {
        parcel("ann", &rest).ids(&spool);
    }
}

#[test]
fn a_queue_that_everybody_uses_at_once_is_consistent() {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    let left: Mutex<BTreeMap<SpoolId, (Vec<u8>, State)>> = Mutex::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (spool, left) = (&spool, &left);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let bytes = format!("{thread}-{n} ").repeat(1 + n * 40).into_bytes();
                        let ids = Parcel {
                            aux: (n % 3 == 0).then_some(&b"fork"[..]),
                            ..queued("bob@BETA,eve@GAMMA", &bytes)
                        }
                        .job_ids(spool);
                        spool.finish(ids[0]).unwrap();
                        let state = match n % 4 {
                            0 => spool.hold(ids[1], "x").map(|()| State::Held),
                            1 => spool.fail(ids[1], "x").map(|()| State::Failed),
                            2 => spool.reroute(ids[1], "a", "B").map(|()| State::Ready),
                            _ => Ok(State::Ready),
                        };
                        left.lock().unwrap().insert(ids[1], (bytes, state.unwrap()));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let jobs = spool.jobs().unwrap();
                assert!(jobs.is_sorted_by(|a, b| a.id < b.id));
                // What is listed is whole, or was finished since; a move from one directory to another hides nothing.
                for job in jobs.iter().rev().take(5) {
                    let read = read_job(&spool, job.id, Form::Local);
                    assert!(matches!(read, Ok(_) | Err(Error::NoSuchJob(_))));
                }
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let left = left.into_inner().unwrap();
    let verify = |spool: &Spool| {
        let listed: Vec<_> = spool
            .jobs()
            .unwrap()
            .iter()
            .map(|job| (job.id, job.state))
            .collect();
        assert_eq!(
            listed,
            left.iter()
                .map(|(id, (_, state))| (*id, *state))
                .collect::<Vec<_>>()
        );
        for (id, (bytes, _)) in &left {
            assert!(read_job(spool, *id, Form::Local).unwrap() == *bytes);
        }
        assert_eq!(spool.queue_usage(&user("ann")).items as usize, left.len());
    };
    verify(&spool);
    let totals = spool.totals();
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.clean && recovery.learnt == 0 && recovery.forgotten == 0 && recovery.orphans == 0);
    assert_eq!(
        (spool.totals().jobs, spool.totals().bytes),
        (totals.jobs, totals.bytes)
    );
    verify(&spool);
}

#[test]
fn a_job_that_many_change_at_once_is_in_one_place() {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    queued("bob@BETA", b"x").job_ids(&spool);
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (spool, start) = (&spool, &start);
            scope.spawn(move || {
                start.wait();
                for n in 0..EACH {
                    match (thread + n) % 3 {
                        0 => spool.hold(id(1), "x"),
                        1 => spool.fail(id(1), "x"),
                        _ => spool.release(id(1)),
                    }
                    .unwrap();
                }
            });
        }
    });
    let places =
        ["queue", "queue/held", "failed"].map(|place| temp.path().join(place).join("1.job").exists());
    assert_eq!(places.iter().filter(|there| **there).count(), 1);
    let state = spool.jobs().unwrap()[0].state;
    assert_eq!(spool.job(id(1)).unwrap().state, state);
    // Many want to deliver it, one does.
    let delivered: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| usize::from(spool.deliver_job(id(1), &[user("bob")]).is_ok())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((delivered, spool.totals().items, spool.totals().jobs), (1, 1, 0));
}
