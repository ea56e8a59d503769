//! What a crash may leave, and what a bad disk may answer.
//!
//! The steps of an operation are recorded. For every prefix of them the states are built in which a crash at that
//! moment could leave the disk, and a spool is opened on each: what was acknowledged is there exactly once and
//! identical; what was not is invisible or whole; no number is used twice. Then every single operation is made to fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use uft_spool::{Act, Committed, Disk, Error, Fault, Form, Spool, SpoolId, Step, UserName};

use crate::common::*;
use crate::model::{Crash, Model, Names, build, every_crash, index_of};

static BIG: [u8; 200_000] = [0x42; 200_000];
const USERS: [&str; 3] = ["ann", "bob", "eve"];

/// Whose items hold which bytes.
type Stock = BTreeMap<(UserName, u64), Vec<u8>>;

fn stock(spool: &Spool) -> Stock {
    let mut stock = Stock::new();
    for name in USERS {
        let user = user(name);
        for summary in spool.list(&user).unwrap() {
            let bytes = check(spool, &user, summary.id).unwrap();
            assert_eq!(summary.size, bytes.len() as u64);
            stock.insert((user.clone(), summary.id.get()), bytes);
        }
        assert_eq!(spool.usage(&user).items, spool.list(&user).unwrap().len() as u64);
    }
    stock
}

type Operation = fn(&Spool) -> Result<(), Error>;

fn stored(result: Result<Committed, Error>) -> Result<(), Error> {
    result.map(|committed| assert!(matches!(committed, Committed::Stored(_))))
}

const COMES_AND_GOES: &str = "a file that comes and goes";

/// Every operation that changes the disk, on the spool of [`prepare`].
const OPERATIONS: [(&str, Operation); 10] = [
    ("one recipient", |spool| {
        stored(
            Parcel {
                xid: Some("new"),
                ..parcel("ann", b"one")
            }
            .commit(spool),
        )
    }),
    ("a new recipient", |spool| {
        stored(parcel("eve", b"one").commit(spool))
    }),
    ("a large file", |spool| stored(parcel("ann", &BIG).commit(spool))),
    ("three forms", |spool| {
        stored(
            Parcel {
                wire: Some(b"w"),
                aux: Some(b"a"),
                ..parcel("ann", b"local")
            }
            .commit(spool),
        )
    }),
    ("two recipients", |spool| {
        stored(parcel("bob,eve", b"two").commit(spool))
    }),
    ("two recipients, three forms", |spool| {
        stored(
            Parcel {
                wire: Some(&BIG),
                aux: Some(b""),
                ..parcel("ann,bob", b"local")
            }
            .commit(spool),
        )
    }),
    ("a forward", |spool| {
        spool.link(&user("ann"), id(2), &user("bob")).map(drop)
    }),
    ("a removal", |spool| spool.remove(&user("ann"), id(1))),
    ("a removal of three forms", |spool| {
        spool.remove(&user("ann"), id(2))
    }),
    (COMES_AND_GOES, |spool| {
        let id = match parcel("ann", b"brief").commit(spool)? {
            Committed::Stored(placed) | Committed::Repeat(placed) => placed.inbox[0].1,
        };
        spool.remove(&user("ann"), id)
    }),
];

/// A spool with some history: two items of ann's (one with all forms), two of ann's and one of bob's gone again.
fn prepare(root: &Path, disk: &Disk) -> Spool {
    let (spool, _) = Spool::open_with(root, LIMITS, disk.clone()).unwrap();
    Parcel {
        xid: Some("x1"),
        ..parcel("ann", b"first")
    }
    .ids(&spool);
    Parcel {
        wire: Some(b"WIRE"),
        aux: Some(b"fork"),
        ..parcel("ann", b"second")
    }
    .ids(&spool);
    Parcel {
        xid: Some("gone"),
        ..parcel("ann", b"third")
    }
    .ids(&spool);
    parcel("ann,bob", b"fourth").ids(&spool);
    spool.remove(&user("ann"), id(3)).unwrap();
    spool.remove(&user("ann"), id(4)).unwrap();
    spool.remove(&user("bob"), id(1)).unwrap();
    spool
}

#[test]
fn every_crash_of_every_operation_keeps_the_promise() {
    for (what, operation) in OPERATIONS {
        let temp = scratch();
        let root = temp.path().canonicalize().unwrap();
        let disk = Disk::planned();
        let spool = prepare(&root, &disk);
        // The next number of ann's is the first of a block.
        for n in 5..=64 {
            assert_eq!(parcel("ann", b"").ids(&spool), [id(n)]);
            spool.remove(&user("ann"), id(n)).unwrap();
        }
        let before = stock(&spool);
        let old_index = index_of(&root);
        let base = Model::load(&root);
        disk.record();
        operation(&spool).unwrap();
        let steps = disk.recorded();
        let after = stock(&spool);
        let new_index = index_of(&root);
        assert!(!steps.is_empty() && (before != after || what == COMES_AND_GOES));
        every_crash(&root, base, &steps, |crash| {
            let what = format!("{what}, {}", crash.what);
            let indexes: [&[_]; 3] = [&[], &old_index, &new_index];
            // Whatever the index says, it makes no difference: all three for the two pure states, one by turns for
            // the others.
            for (m, index) in indexes.into_iter().enumerate() {
                if crash.pure || crash.turn % 3 == m {
                    let Crash { names, contents, .. } = crash;
                    survives(&what, names, contents, index, &before, &after, crash.done);
                }
            }
        });
    }
}

#[test]
fn a_crash_while_the_spool_is_made_costs_nothing() {
    let temp = scratch();
    let root = temp.path().canonicalize().unwrap();
    let disk = Disk::planned();
    disk.record();
    let (spool, _) = Spool::open_with(&root, LIMITS, disk.clone()).unwrap();
    parcel("ann", b"first").ids(&spool);
    let steps = disk.recorded();
    let mut model = Model::default();
    for k in 0..=steps.len() {
        for (crash, names, contents) in model.crashes() {
            let what = format!("{k} of {} steps, {crash}", steps.len());
            let temp = scratch();
            build(temp.path(), &names, &contents);
            let (spool, recovery) =
                Spool::open(temp.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(
                (&recovery.quarantined, &recovery.problems),
                (&vec![], &vec![]),
                "{what}"
            );
            let listed = spool.list(&user("ann")).unwrap();
            assert!(
                listed.len() == 1 || listed.is_empty() && k < steps.len(),
                "{what}"
            );
            let found = stock(&spool);
            assert!(found.values().all(|bytes| bytes == b"first"), "{what}");
        }
        if let Some(step) = steps.get(k) {
            model.apply(&root, step, usize::MAX);
        }
    }
}

/// Opens a spool on what a crash has left.
fn survives(
    what: &str,
    names: &Names,
    contents: &[Vec<u8>],
    index: &[(&str, Vec<u8>)],
    before: &Stock,
    after: &Stock,
    acknowledged: bool,
) {
    let temp = scratch();
    build(temp.path(), names, contents);
    for (name, bytes) in index {
        fs::write(temp.path().join(name), bytes).unwrap();
    }
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(recovery.problems, [], "{what}");
    let found = stock(&spool);
    for (at, bytes) in before.iter().filter(|(at, _)| after.contains_key(at)) {
        assert_eq!(found.get(at), Some(bytes), "{what}: lost {at:?}");
    }
    for (at, bytes) in &found {
        let brief = what.starts_with(COMES_AND_GOES) && *at == (user("ann"), 65) && bytes == b"brief";
        let known = before
            .get(at)
            .or_else(|| after.get(at))
            .or(brief.then_some(bytes));
        assert_eq!(known, Some(bytes), "{what}: {at:?} came from nowhere");
    }
    if acknowledged {
        assert!(found == *after, "{what}: {:?}", found.keys());
    }
    // Nothing acknowledged was moved away, and nothing is left of what was not.
    assert_eq!(recovery.quarantined, [], "{what}");
    assert_eq!(
        fs::read_dir(temp.path().join("tmp")).unwrap().count(),
        0,
        "{what}"
    );
    // Repeats are known, whether their item is there or not.
    let ann = user("ann");
    for (xid, bytes, id) in [("x1", &b"first"[..], 1), ("gone", b"third", 3)] {
        let again = Parcel {
            xid: Some(xid),
            ..parcel("ann", bytes)
        }
        .commit(&spool)
        .unwrap();
        assert_eq!(
            again,
            Committed::Repeat(in_inboxes(vec![(ann.clone(), crate::common::id(id))])),
            "{what}"
        );
    }
    // No number is used twice.
    let brief = u64::from(acknowledged && what.starts_with(COMES_AND_GOES));
    for (name, used) in [("ann", 64 + brief), ("bob", 1), ("eve", 0)] {
        let of = |stock: &Stock| {
            stock
                .keys()
                .filter(|(user, _)| user.as_str() == name)
                .map(|(_, id)| *id)
                .max()
        };
        let used = used.max(of(&found).unwrap_or(0));
        let fresh = parcel(name, b"fresh").ids(&spool)[0].get();
        assert!(fresh > used, "{what}: {name} got {fresh} again");
    }
}

fn right_error(error: &Error, errno: i32) -> bool {
    match errno {
        28 | 122 => matches!(error, Error::NoRoom { .. }) && error.is_room(),
        _ => matches!(error, Error::Io { source, .. } if source.raw_os_error() == Some(errno)),
    }
}

#[test]
fn every_failing_operation_is_refused_and_leaves_nothing() {
    let acts = [
        Act::Create,
        Act::Write,
        Act::Sync,
        Act::SyncDir,
        Act::Rename,
        Act::Link,
        Act::MakeDir,
    ];
    for (what, operation) in OPERATIONS.into_iter().filter(|(what, _)| *what != COMES_AND_GOES) {
        let removal = what.starts_with("a removal");
        for (act, errno) in acts
            .into_iter()
            .flat_map(|act| [28, 122, 5, 30].map(|errno| (act, errno)))
        {
            for nth in 1.. {
                let what = format!("{what}, {act:?} {nth} fails with {errno}");
                let temp = scratch();
                let disk = Disk::planned();
                let spool = prepare(temp.path(), &disk);
                let before = stock(&spool);
                let totals = spool.totals();
                disk.fail(Fault {
                    act,
                    nth,
                    errno,
                    lasting: false,
                });
                let result = operation(&spool);
                if disk.is_armed() {
                    result.unwrap();
                    break;
                }
                let fsync = matches!(act, Act::Sync | Act::SyncDir);
                assert_eq!(spool.totals().poisoned, fsync, "{what}");
                if removal {
                    // Removing goes on, whatever cannot be written.
                    result.unwrap();
                    assert_eq!(stock(&spool).len(), before.len() - 1, "{what}");
                } else {
                    let error = result.unwrap_err();
                    assert!(right_error(&error, errno), "{what}: {error:?}");
                    assert!(stock(&spool) == before, "{what}");
                    let now = spool.totals();
                    assert_eq!((now.items, now.bytes), (totals.items, totals.bytes), "{what}");
                    assert_eq!(
                        fs::read_dir(temp.path().join("tmp")).unwrap().count(),
                        0,
                        "{what}"
                    );
                    if fsync {
                        assert!(matches!(operation(&spool), Err(Error::Poisoned)), "{what}");
                        spool.remove(&user("ann"), id(1)).unwrap();
                    } else {
                        operation(&spool).unwrap_or_else(|e| panic!("{what}, again: {e}"));
                    }
                }
                let served = stock(&spool);
                drop(spool);
                let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
                assert_eq!(
                    (recovery.problems, recovery.quarantined),
                    (vec![], vec![]),
                    "{what}"
                );
                assert!(stock(&spool) == served, "{what}");
            }
        }
    }
}

#[test]
fn a_failing_index_fails_nothing_and_is_repaired() {
    for (what, operation) in OPERATIONS.into_iter().filter(|(what, _)| *what != COMES_AND_GOES) {
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
            operation(&spool).unwrap();
            let now = stock(&spool);
            assert_ne!(now.len(), before.len(), "{what}");
            // A repeat is known although the index is not to be asked.
            let again = Parcel {
                xid: Some("x1"),
                ..parcel("ann", b"first")
            }
            .commit(&spool)
            .unwrap();
            assert!(matches!(again, Committed::Repeat(_)), "{what}");
            disk.heal();
            assert!(stock(&spool) == now, "{what}");
            drop(spool);
            let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
            assert!(stock(&spool) == now && recovery.problems.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_full_disk_can_be_opened_read_and_emptied() {
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
    let ann = user("ann");
    assert_eq!(spool.list(&ann).unwrap().len(), 2);
    assert!(matches!(
        parcel("ann", b"x").commit(&spool),
        Err(Error::NoRoom { .. })
    ));
    assert_eq!(read(&spool, &ann, id(2), Form::Wire).unwrap(), b"WIRE");
    let listed: Vec<SpoolId> = spool
        .list(&ann)
        .unwrap()
        .iter()
        .map(|summary| summary.id)
        .collect();
    for id in listed {
        spool.remove(&ann, id).unwrap();
    }
    assert!(spool.list(&ann).unwrap().is_empty());
    let again = Parcel {
        xid: Some("x1"),
        ..parcel("ann", b"first")
    }
    .commit(&spool)
    .unwrap();
    assert!(matches!(again, Committed::Repeat(_)));
    disk.heal();
    assert!(parcel("ann", b"x").ids(&spool)[0] > id(4));
}

#[test]
fn what_a_killed_process_left_is_durable_before_a_repeat_of_it_is_answered() {
    let temp = scratch();
    let root = temp.path().canonicalize().unwrap();
    let place = |name: &str| root.join(name);
    let [first, job] = [parcel("ann", b"first"), queued("bob@BETA", b"first")].map(|parcel| Parcel {
        xid: Some("x1"),
        ..parcel
    });
    let (spool, _) = Spool::open(&root, LIMITS).unwrap();
    first.ids(&spool);
    job.job_ids(&spool);
    drop(spool);
    // Killed between the rename and the fsync: the names are there, and the index has not heard of them.
    fs::write(place("lock"), b"").unwrap();
    fs::remove_file(place("index.sqlite")).unwrap();
    let disk = Disk::planned();
    disk.record();
    let (spool, _) = Spool::open_with(&root, LIMITS, disk.clone()).unwrap();
    let steps = disk.recorded();
    for dir in ["users/ann", "queue", "queue/held", "failed"] {
        assert!(steps.contains(&Step::SyncDir(place(dir))), "{dir}");
    }
    assert!(matches!(first.commit(&spool).unwrap(), Committed::Repeat(_)));
    assert!(matches!(job.commit(&spool).unwrap(), Committed::Repeat(_)));
    drop(spool);
    // And when one of them fails nothing is answered, and what is there is served.
    for nth in 1..=4 {
        fs::write(place("lock"), b"").unwrap();
        let disk = Disk::planned();
        disk.fail(Fault {
            act: Act::SyncDir,
            nth,
            errno: 5,
            lasting: true,
        });
        let (spool, _) = Spool::open_with(&root, LIMITS, disk).unwrap();
        assert!(matches!(job.commit(&spool), Err(Error::Poisoned)));
        assert_eq!(read_job(&spool, id(1), Form::Local).unwrap(), b"first");
        assert_eq!(check(&spool, &user("ann"), id(1)).unwrap(), b"first");
    }
}
