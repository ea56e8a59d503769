//! What a crash may leave of the queue, and what a bad disk may answer: as `crash.rs` has it for inboxes.
//!
//! After every crash each job is as it was or as it was to be, whole, and once; a repeat of a transfer that ever was in
//! the queue is known. After every failure that was reported the same holds, at once and after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use uft_spool::{Act, Committed, Disk, Error, Fault, Form, Job, Spool, State};

use crate::common::*;
use crate::model::{Crash, Model, build, every_crash, index_of};

const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// Everything that a spool has to show: what stands in an inbox (`ann 1`) or in the queue (`1`).
type Stock = BTreeMap<String, String>;

/// Reads everything, checks all digests and all sums.
fn stock(spool: &Spool) -> Stock {
    let mut stock = Stock::new();
    for name in USERS {
        let user = user(name);
        for summary in spool.list(&user).unwrap() {
            let bytes = check(spool, &user, summary.id).unwrap();
            stock.insert(format!("{name} {}", summary.id), format!("{bytes:?}"));
        }
        assert_eq!(spool.usage(&user).items, spool.list(&user).unwrap().len() as u64);
    }
    let jobs = spool.jobs().unwrap();
    for summary in &jobs {
        let item = spool.job(summary.id).unwrap();
        assert_eq!((&item.job, item.state), (&summary.job, summary.state));
        let bytes = read_job(spool, summary.id, Form::Local).unwrap();
        assert_eq!(blake3::hash(&bytes), item.envelope.local.blake3);
        if let Some(aux) = item.envelope.aux {
            let bytes = read_job(spool, summary.id, Form::Aux).unwrap();
            assert_eq!(blake3::hash(&bytes), aux.blake3);
        }
        if item.envelope.wire_kept {
            let bytes = read_job(spool, summary.id, Form::Wire).unwrap();
            assert_eq!(blake3::hash(&bytes), item.envelope.wire.blake3);
        }
        let shown = format!("{bytes:?} {:?} {:?}", item.state, item.job);
        stock.insert(summary.id.to_string(), shown);
    }
    let owned = jobs.iter().filter(|summary| summary.job.owner.is_some()).count();
    assert_eq!(spool.queue_usage(&user("ann")).items, owned as u64);
    assert_eq!(spool.totals().jobs, jobs.len() as u64);
    stock
}

type Operation = fn(&Spool) -> Result<(), Error>;

fn stored(result: Result<Committed, Error>) -> Result<(), Error> {
    result.map(|committed| assert!(matches!(committed, Committed::Stored(_))))
}

/// Every operation that changes the queue, on the spool of [`prepare`].
const OPERATIONS: [(&str, Operation); 17] = [
    ("one job", |spool| {
        stored(with_xid("new", queued("bob@BETA", b"one")).commit(spool))
    }),
    ("a job with three forms", |spool| {
        let forms = Parcel {
            wire: Some(b"wire"),
            aux: Some(b"fork"),
            ..queued("bob@BETA", b"one")
        };
        stored(with_xid("new", forms).commit(spool))
    }),
    ("a peer's job", |spool| {
        let job = Job {
            owner: None,
            link: Some("gamma".into()),
            ..job("bob@BETA")
        };
        let parcel = Parcel {
            jobs: vec![job],
            ..queued("bob@BETA", b"one")
        };
        stored(with_xid("new", parcel).commit(spool))
    }),
    ("two inboxes and two jobs", |spool| {
        let parcel = Parcel {
            to: vec![user("ann"), user("eve")],
            aux: Some(b"fork"),
            ..queued("bob@BETA,eve@GAMMA", b"one")
        };
        stored(with_xid("new", parcel).commit(spool))
    }),
    ("a job held", |spool| spool.hold(id(1), "wait")),
    ("a failed job held", |spool| spool.hold(id(4), "wait")),
    ("a held job held again", |spool| spool.hold(id(3), "wait longer")),
    ("a held job released", |spool| spool.release(id(3))),
    ("a failed job released", |spool| spool.release(id(4))),
    ("a job failed", |spool| spool.fail(id(1), "nobody there")),
    ("a job rerouted", |spool| spool.reroute(id(2), "robert", "GAMMA")),
    ("a held job rerouted", |spool| {
        spool.reroute(id(3), "robert", "GAMMA")
    }),
    ("a job finished", |spool| spool.finish(id(2))),
    ("a failed job finished", |spool| spool.finish(id(4))),
    ("an item forwarded", |spool| {
        let job = Job {
            xid: Some("forward".into()),
            ..job("eve@BETA")
        };
        spool.link_job(&user("ann"), id(1), job).map(drop)
    }),
    ("a job delivered here", |spool| {
        spool.deliver_job(id(2), &[user("bob"), user("eve")]).map(drop)
    }),
    ("a job without a transfer id delivered here", |spool| {
        spool.deliver_job(id(6), &[user("bob")]).map(drop)
    }),
];

/// What ends a job: it must go on when nothing can be written.
const ENDS: [&str; 2] = ["a job finished", "a failed job finished"];

fn with_xid<'a>(xid: &'a str, parcel: Parcel<'a>) -> Parcel<'a> {
    Parcel {
        xid: Some(xid),
        ..parcel
    }
}

/// What job `n` was before it was anything else.
fn original(n: u64) -> Parcel<'static> {
    match n {
        1 => with_xid("q1", queued("bob@BETA", b"first")),
        2 => with_xid(
            "q2",
            Parcel {
                wire: Some(b"second as sent"),
                aux: Some(b"fork"),
                ..queued("bob@BETA", b"second")
            },
        ),
        3 => with_xid("q3", queued("bob@BETA", b"third")),
        4 => with_xid("q4", queued("bob@BETA", b"fourth")),
        _ => with_xid("q5", queued("bob@BETA", b"gone")),
    }
}

/// Two jobs to be sent (1, and 2 with all forms), one held (3), one failed (4), one that is gone (5), and one of ann's
/// second item, which has no transfer id (6); her first one has all forms.
fn prepare(root: &Path, disk: &Disk) -> Spool {
    let (spool, _) = Spool::open_with(root, LIMITS, disk.clone()).unwrap();
    for n in 1..=5 {
        assert_eq!(original(n).job_ids(&spool), [id(n)]);
    }
    spool.hold(id(3), "by hand").unwrap();
    spool.fail(id(4), "no such user").unwrap();
    spool.finish(id(5)).unwrap();
    let forms = Parcel {
        wire: Some(b"WIRE"),
        aux: Some(b"fork"),
        ..parcel("ann", b"local")
    };
    with_xid("x1", forms).ids(&spool);
    parcel("ann", b"plain").ids(&spool);
    assert_eq!(
        spool.link_job(&user("ann"), id(2), job("bob@BETA")).unwrap(),
        id(6)
    );
    spool
}

/// Whether everything is as it was or as it was to be, and what no operation touches is there.
fn is_between(what: &str, found: &Stock, before: &Stock, after: &Stock) {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).chain(found.keys()).collect();
    for at in all {
        let now = found.get(at);
        assert!(
            now == before.get(at) || now == after.get(at),
            "{what}: {at} is {now:?}"
        );
    }
}

/// Repeats are known, whatever became of their jobs.
fn knows_repeats(what: &str, spool: &Spool) {
    knows_repeats_but(what, spool, &[]);
}

fn knows_repeats_but(what: &str, spool: &Spool, forgotten: &[u64]) {
    for n in (1..=5).filter(|n| !forgotten.contains(n)) {
        let again = original(n).commit(spool).unwrap();
        assert!(
            matches!(&again, Committed::Repeat(placed) if placed.queue == [id(n)]),
            "{what}: {n} is {again:?}"
        );
    }
}

/// A job that was to be delivered here is in each inbox exactly once when the operation is done again.
fn delivers_once(what: &str, operation: &str, again: Operation, spool: &Spool, after: &Stock) {
    if operation.ends_with("delivered here") {
        match again(spool) {
            Ok(()) | Err(Error::NoSuchJob(_)) => {}
            Err(e) => panic!("{what}: {e}"),
        }
        let bytes = |stock: &Stock| -> Vec<(String, String)> {
            let inbox = stock.iter().filter(|(at, _)| at.contains(' '));
            // A crash costs numbers: who has what counts.
            let mut had: Vec<_> = inbox
                .map(|(at, bytes)| (at[..3].to_owned(), bytes.clone()))
                .collect();
            had.sort();
            had
        };
        assert_eq!(bytes(&stock(spool)), bytes(after), "{what}");
    }
}

#[test]
fn every_crash_of_every_change_of_the_queue_leaves_each_job_once() {
    for (operation, act) in OPERATIONS {
        let temp = scratch();
        let root = temp.path().canonicalize().unwrap();
        let disk = Disk::planned();
        let spool = prepare(&root, &disk);
        // The next number is the first of a block.
        for n in 7..=64 {
            assert_eq!(queued("bob@BETA", b"").job_ids(&spool), [id(n)]);
            spool.finish(id(n)).unwrap();
        }
        let before = stock(&spool);
        let old_index = index_of(&root);
        let base = Model::load(&root);
        disk.record();
        act(&spool).unwrap();
        let steps = disk.recorded();
        let after = stock(&spool);
        let new_index = index_of(&root);
        assert_ne!(before, after, "{operation}");
        every_crash(&root, base, &steps, |crash| {
            let indexes: [&[_]; 3] = [&[], &old_index, &new_index];
            for (m, index) in indexes.into_iter().enumerate() {
                if crash.pure || crash.turn % 3 == m {
                    survives((operation, act), crash, (index, m == 2), &before, &after);
                }
            }
        });
    }
}

/// Opens a spool on what a crash has left.
fn survives(
    (operation, act): (&str, Operation),
    crash: &Crash,
    (index, ahead): (&[(&str, Vec<u8>)], bool),
    before: &Stock,
    after: &Stock,
) {
    let what = format!("{operation}, {}", crash.what);
    let temp = scratch();
    build(temp.path(), &crash.names, &crash.contents);
    for (name, bytes) in index {
        fs::write(temp.path().join(name), bytes).unwrap();
    }
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(recovery.problems, [], "{what}");
    // The row of a new job is written when the job is durable: what an index knows before that was lost, not begun.
    let early = |reason: &str| ahead && !crash.done && reason.ends_with("its file is missing");
    let moved = recovery.quarantined.iter();
    let moved: Vec<_> = moved.filter(|(_, reason)| !early(reason)).collect();
    assert!(moved.is_empty(), "{what}: {moved:?}");
    let found = stock(&spool);
    if crash.done {
        assert_eq!(&found, after, "{what}");
    }
    is_between(&what, &found, before, after);
    assert_eq!(
        fs::read_dir(temp.path().join("tmp")).unwrap().count(),
        0,
        "{what}"
    );
    knows_repeats(&what, &spool);
    delivers_once(&what, operation, act, &spool, after);
    let high = found.keys().filter_map(|at| at.parse().ok()).max().unwrap_or(0);
    let fresh = queued("bob@BETA", b"fresh").job_ids(&spool)[0].get();
    assert!(fresh > high.max(64), "{what}: {fresh} again");
    let served = stock(&spool);
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert_eq!(
        (recovery.learnt, recovery.forgotten, recovery.orphans),
        (0, 0, 0),
        "{what}"
    );
    assert_eq!(stock(&spool), served, "{what}");
}

#[test]
fn every_failure_of_every_change_of_the_queue_loses_and_doubles_nothing() {
    let acts = [
        Act::Create,
        Act::Write,
        Act::Sync,
        Act::SyncDir,
        Act::Rename,
        Act::Link,
        Act::Unlink,
        Act::MakeDir,
    ];
    for (operation, work) in OPERATIONS {
        for (act, errno) in acts.into_iter().flat_map(|act| [28, 5].map(|errno| (act, errno))) {
            for nth in 1.. {
                if !fails_well(operation, work, act, nth, errno) {
                    break;
                }
            }
        }
    }
}

/// Lets the `nth` act fail; whether there is one.
fn fails_well(operation: &str, work: Operation, act: Act, nth: u64, errno: i32) -> bool {
    let what = format!("{operation}, {act:?} {nth} fails with {errno}");
    let after = {
        let temp = scratch();
        let spool = prepare(temp.path(), &Disk::new());
        work(&spool).unwrap();
        stock(&spool)
    };
    let temp = scratch();
    let disk = Disk::planned();
    let spool = prepare(temp.path(), &disk);
    let before = stock(&spool);
    disk.fail(Fault {
        act,
        nth,
        errno,
        lasting: false,
    });
    let result = work(&spool);
    if disk.is_armed() {
        result.unwrap();
        return false;
    }
    let fsync = matches!(act, Act::Sync | Act::SyncDir);
    assert_eq!(spool.totals().poisoned, fsync, "{what}");
    let now = stock(&spool);
    is_between(&what, &now, &before, &after);
    match &result {
        Ok(()) => assert_eq!(now, after, "{what}"),
        Err(e) => {
            let full = matches!(e, Error::NoRoom { .. });
            assert!(full == (errno == 28) && e.is_transient(), "{what}: {e:?}");
            let ended = ENDS.contains(&operation);
            assert!(!ended || act == Act::Unlink, "{what}: {e:?}");
            if !fsync && !operation.ends_with("delivered here") {
                assert_eq!(now, before, "{what}");
            }
            if fsync {
                assert!(matches!(spool.hold(id(1), "x"), Err(Error::Poisoned)), "{what}");
            } else {
                work(&spool).unwrap_or_else(|e| panic!("{what}, again: {e}"));
                assert_eq!(stock(&spool).len(), after.len(), "{what}");
                delivers_once(&what, operation, work, &spool, &after);
            }
        }
    }
    knows_repeats_when_healthy(&what, &spool);
    let served = stock(&spool);
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert_eq!(
        (recovery.problems, recovery.quarantined),
        (vec![], vec![]),
        "{what}"
    );
    let found = stock(&spool);
    if fsync {
        is_between(&what, &found, &served, &after);
    } else {
        assert_eq!(found, served, "{what}");
    }
    // A job may go although the log of repeats cannot be written: then its repeat is known until the restart.
    let ended: Vec<u64> = (1..=5).filter(|n| !found.contains_key(&n.to_string())).collect();
    let ended = if result.is_ok() { ended } else { Vec::new() };
    knows_repeats_but(&what, &spool, &ended);
    delivers_once(&what, operation, work, &spool, &after);
    true
}

fn knows_repeats_when_healthy(what: &str, spool: &Spool) {
    if !spool.totals().poisoned {
        knows_repeats(what, spool);
    }
}

#[test]
fn a_failing_index_fails_no_change_of_the_queue_and_is_repaired() {
    for (operation, work) in OPERATIONS {
        for lasting in [false, true] {
            let temp = scratch();
            let disk = Disk::planned();
            let spool = prepare(temp.path(), &disk);
            let before = stock(&spool);
            disk.fail(Fault {
                act: Act::Index,
                nth: 1,
                errno: 28,
                lasting,
            });
            work(&spool).unwrap();
            let now = stock(&spool);
            assert_ne!(now, before, "{operation}");
            knows_repeats(operation, &spool);
            // A job that the index has never heard of is known as well.
            let late = with_xid("late", queued("bob@BETA", b"late"));
            let ids = late.job_ids(&spool);
            let again = late.commit(&spool).unwrap();
            assert!(matches!(again, Committed::Repeat(placed) if placed.queue == ids));
            spool.finish(ids[0]).unwrap();
            disk.heal();
            assert_eq!(stock(&spool), now, "{operation}");
            drop(spool);
            let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
            assert!(
                stock(&spool) == now && recovery.problems.is_empty(),
                "{operation}"
            );
        }
    }
}

#[test]
fn the_queue_of_a_full_disk_can_be_read_and_emptied() {
    let temp = scratch();
    drop(prepare(temp.path(), &Disk::new()));
    fs::write(temp.path().join("index.sqlite"), b"garbage").unwrap();
    let disk = Disk::planned();
    for act in [Act::Create, Act::Write, Act::MakeDir, Act::Link, Act::Index] {
        disk.fail(Fault {
            act,
            nth: 1,
            errno: 28,
            lasting: true,
        });
    }
    let (spool, recovery) = Spool::open_with(temp.path(), LIMITS, disk.clone()).unwrap();
    assert!(recovery.rebuilt);
    let states: Vec<_> = spool
        .jobs()
        .unwrap()
        .iter()
        .map(|job| (job.id.get(), job.state))
        .collect();
    assert_eq!(
        states,
        [
            (1, State::Ready),
            (2, State::Ready),
            (3, State::Held),
            (4, State::Failed),
            (6, State::Ready)
        ]
    );
    assert_eq!(read_job(&spool, id(2), Form::Aux).unwrap(), b"fork");
    assert!(matches!(spool.hold(id(1), "x"), Err(Error::NoRoom { .. })));
    for (n, _) in states {
        spool.finish(id(n)).unwrap();
    }
    assert!(spool.jobs().unwrap().is_empty());
    disk.heal();
    knows_repeats("a full disk", &spool);
    assert!(queued("bob@BETA", b"x").job_ids(&spool)[0] > id(6));
}
