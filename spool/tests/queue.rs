//! The life of a job: queued, listed, held, released, failed, rerouted, finished; repeats, quotas, forwards, restarts.

use uft_spool::{
    Committed, Delivery, Error, Facts, Form, Job, Limits, Origin, Placed, Progress, Proof, Recovery, Spool,
    SpoolId, State, Usage, UserName,
};

use crate::common::*;

fn open() -> (tempfile::TempDir, Spool) {
    let temp = scratch();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    (temp, spool)
}

fn again(temp: &tempfile::TempDir, spool: Spool) -> Spool {
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.clean && recovery.learnt == 0 && recovery.forgotten == 0);
    assert_eq!((recovery.quarantined, recovery.problems), (vec![], vec![]));
    spool
}

#[test]
fn a_job_is_queued_listed_read_and_finished() {
    let (temp, spool) = open();
    let parcel = Parcel {
        wire: Some(b"wire"),
        aux: Some(b"fork"),
        xid: Some("x1"),
        ..queued("bob@BETA", b"local")
    };
    assert_eq!(parcel.job_ids(&spool), [id(1)]);
    let jobs = spool.jobs().unwrap();
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].id, jobs[0].state, jobs[0].size),
        (id(1), State::Ready, 4)
    );
    assert_eq!(jobs[0].job, job("bob@BETA"));
    assert_eq!(jobs[0].from, "maint@192.0.2.1");
    assert_eq!(jobs[0].name.as_deref(), Some("report.txt"));
    let item = spool.job(id(1)).unwrap();
    assert_eq!((item.xid(), &item.job), (Some("x1"), &jobs[0].job));
    for (form, bytes) in [
        (Form::Local, &b"local"[..]),
        (Form::Wire, b"wire"),
        (Form::Aux, b"fork"),
    ] {
        assert_eq!(read_job(&spool, id(1), form).unwrap(), bytes);
    }
    let totals = spool.totals();
    assert_eq!((totals.items, totals.jobs, totals.bytes), (0, 1, 9));
    let spool = again(&temp, spool);
    assert_eq!(spool.jobs().unwrap(), jobs);
    spool.finish(id(1)).unwrap();
    assert!(spool.jobs().unwrap().is_empty());
    assert!(matches!(spool.finish(id(1)), Err(Error::NoSuchJob(gone)) if gone == id(1)));
    assert!(matches!(spool.job(id(1)), Err(Error::NoSuchJob(_))));
    assert!(matches!(
        spool.open_job(id(1), Form::Local),
        Err(Error::NoSuchJob(_))
    ));
    let totals = spool.totals();
    assert_eq!((totals.jobs, totals.bytes), (0, 0));
    let mut left: Vec<_> = std::fs::read_dir(temp.path().join("queue"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["held", "seq"]);
}

fn states(spool: &Spool) -> Vec<(u64, State)> {
    let jobs = spool.jobs().unwrap().into_iter();
    jobs.map(|job| (job.id.get(), job.state)).collect()
}

fn queue_of(committed: &Committed) -> (&[SpoolId], bool) {
    match committed {
        Committed::Stored(placed) => (&placed.queue, true),
        Committed::Repeat(placed) => (&placed.queue, false),
    }
}

#[test]
fn a_job_is_held_released_failed_and_rerouted_across_restarts() {
    let (temp, spool) = open();
    queued("bob@BETA", b"1").job_ids(&spool);
    let why = |spool: &Spool| spool.job(id(1)).unwrap().job.why;
    spool.hold(id(1), "link down").unwrap();
    assert_eq!(
        (states(&spool), why(&spool)),
        (vec![(1, State::Held)], Some("link down".into()))
    );
    let spool = again(&temp, spool);
    assert_eq!(
        (states(&spool), why(&spool)),
        (vec![(1, State::Held)], Some("link down".into()))
    );
    spool.reroute(id(1), "robert", "GAMMA").unwrap();
    assert_eq!(states(&spool), [(1, State::Held)]);
    spool.release(id(1)).unwrap();
    let item = spool.job(id(1)).unwrap();
    assert_eq!((item.state, item.job.why), (State::Ready, None));
    assert_eq!(
        (item.job.to.as_str(), item.job.place.as_str()),
        ("robert", "GAMMA")
    );
    spool.fail(id(1), "no such user").unwrap();
    let spool = again(&temp, spool);
    assert_eq!(
        (states(&spool), why(&spool)),
        (vec![(1, State::Failed)], Some("no such user".into()))
    );
    assert_eq!(spool.jobs().unwrap()[0].job.place, "GAMMA");
    assert_eq!(read_job(&spool, id(1), Form::Local).unwrap(), b"1");
    spool.finish(id(1)).unwrap();
    for gone in [
        spool.hold(id(1), "x"),
        spool.release(id(1)),
        spool.fail(id(1), "x"),
        spool.reroute(id(1), "a", "B"),
        spool.finish(id(1)),
        spool.deliver_job(id(1), &[user("ann")]).map(drop),
    ] {
        assert!(matches!(gone, Err(Error::NoSuchJob(_))));
    }
}

#[test]
fn what_was_tried_is_kept_until_the_job_starts_afresh_and_is_lost_with_the_index() {
    let (temp, spool) = open();
    queued("bob@BETA,bob@GAMMA", b"1").job_ids(&spool);
    let tried = Progress {
        attempts: 3,
        due: 1_800_000_000,
        said: "451 later".into(),
    };
    spool
        .note_progress(&[
            (id(1), tried.clone()),
            (id(2), tried.clone()),
            (id(9), tried.clone()),
        ])
        .unwrap();
    assert_eq!(states(&spool), [(1, State::Deferred), (2, State::Deferred)]);
    let spool = again(&temp, spool);
    spool.hold(id(1), "wait").unwrap();
    assert_eq!(spool.job(id(1)).unwrap().progress, tried);
    spool.release(id(1)).unwrap();
    assert_eq!(spool.job(id(1)).unwrap().progress, Progress::default());
    spool.reroute(id(2), "bob", "DELTA").unwrap();
    assert_eq!(states(&spool), [(1, State::Ready), (2, State::Ready)]);
    spool.note_progress(&[(id(2), tried.clone())]).unwrap();
    spool.tell_story(id(2), 5, "tried").unwrap();
    drop(spool);
    std::fs::remove_file(temp.path().join("index.sqlite")).unwrap();
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.rebuilt && recovery.jobs == 2 && recovery.learnt == 2);
    assert_eq!(spool.job(id(2)).unwrap().progress, Progress::default());
    assert_eq!(spool.story(id(2)).unwrap(), []);
}

#[test]
fn of_a_long_story_the_first_and_the_latest_chapters_are_kept() {
    let (temp, spool) = open();
    queued("bob@BETA", b"1").job_ids(&spool);
    for n in 1..=70 {
        spool.tell_story(id(1), n, &format!("chapter {n}")).unwrap();
    }
    spool.tell_story(id(1), 71, &"\u{e9}".repeat(5000)).unwrap();
    spool.finish(id(1)).unwrap();
    let spool = again(&temp, spool);
    let story = spool.story(id(1)).unwrap();
    assert_eq!(story.len(), 50);
    assert_eq!(
        (story[0].text.as_str(), story[1].at, story[49].at),
        ("chapter 1", 23, 71)
    );
    assert_eq!(story[49].text.chars().count(), 1000);
    assert!(spool.story(id(2)).unwrap().is_empty());
}

#[test]
fn a_repeat_is_known_whatever_became_of_the_job() {
    let (temp, spool) = open();
    let transfer = |addresses| Parcel {
        xid: Some("x1"),
        ..queued(addresses, b"same")
    };
    assert_eq!(transfer("bob@BETA").job_ids(&spool), [id(1)]);
    let repeated = |spool: &Spool| {
        let committed = transfer("bob@BETA").commit(spool).unwrap();
        assert_eq!(queue_of(&committed), (&[id(1)][..], false));
    };
    repeated(&spool);
    spool.hold(id(1), "wait").unwrap();
    repeated(&spool);
    spool.reroute(id(1), "robert", "GAMMA").unwrap();
    repeated(&spool);
    spool.fail(id(1), "no").unwrap();
    let spool = again(&temp, spool);
    repeated(&spool);
    spool.finish(id(1)).unwrap();
    repeated(&spool);
    drop(spool);
    std::fs::remove_file(temp.path().join("index.sqlite")).unwrap();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    repeated(&spool);
    // Another address, another sender and other bytes are not repeats; of several the known ones are not stored again.
    let both = transfer("bob@BETA,eve@BETA").commit(&spool).unwrap();
    assert_eq!(queue_of(&both), (&[id(1), id(2)][..], true));
    let other = Parcel {
        local: b"other",
        ..transfer("bob@BETA")
    };
    assert_eq!(other.job_ids(&spool), [id(3)]);
    let plain = queued("bob@BETA", b"same");
    assert_eq!(
        (plain.job_ids(&spool), plain.job_ids(&spool)),
        (vec![id(4)], vec![id(5)])
    );
    // An address that is named twice is one job.
    assert_eq!(queued("eve@X,bob@X,eve@X", b"").job_ids(&spool), [id(6), id(7)]);
}

/// Delivers a file of this origin to ann's inbox and to bob@BETA.
fn from(spool: &Spool, origin: Origin) -> Committed {
    let (to, jobs) = (vec![user("ann")], vec![job("bob@BETA")]);
    let reservation = spool.reserve(&to, &[jobs[0].owner.clone()], None, None).unwrap();
    let local = spool.stage(&reservation);
    let (wire_measure, facts) = (local.measure(), facts(Some("1")));
    spool
        .commit(Delivery {
            to,
            jobs,
            reservation,
            local,
            wire: None,
            wire_measure,
            aux: None,
            facts: Facts { origin, ..facts },
        })
        .unwrap()
}

#[test]
fn senders_of_the_same_name_on_two_nodes_are_two() {
    let (_temp, spool) = open();
    let origin = |node: Option<&str>, proof| Origin {
        user: "maint".into(),
        node: node.map(str::to_owned),
        host: "192.0.2.1".into(),
        proof,
    };
    let stored = |origin| matches!(from(&spool, origin), Committed::Stored(_));
    assert!(stored(origin(Some("ALPHA"), Proof::Peer)));
    assert!(stored(origin(Some("GAMMA"), Proof::Peer)));
    assert!(!stored(origin(Some("ALPHA"), Proof::Peer)));
    assert!(stored(origin(None, Proof::Address)));
    // A local user is one whatever this host is called today.
    assert!(!stored(origin(Some("OMEGA"), Proof::Local)));
    assert_eq!(spool.jobs().unwrap().len(), 3);
    assert_eq!(spool.jobs().unwrap()[1].from, "maint@GAMMA");
}

#[test]
fn what_waits_counts_against_its_owner_and_not_against_an_inbox() {
    let (temp, spool) = open();
    let limits = Limits {
        user_bytes: 100,
        user_items: 3,
        ..LIMITS
    };
    spool.set_limits(limits.clone());
    let (ann, owner) = (user("ann"), Some(user("ann")));
    parcel("ann", &[0; 100]).ids(&spool);
    queued("bob@BETA,eve@BETA", &[0; 40]).job_ids(&spool);
    assert_eq!(spool.queue_usage(&ann), Usage { bytes: 80, items: 2 });
    assert_eq!(spool.usage(&ann), Usage { bytes: 100, items: 1 });
    assert!(matches!(
        queued("bob@BETA", &[0; 21]).commit(&spool),
        Err(Error::QueueQuota { bytes: 80, .. })
    ));
    let two = [owner.clone(), owner.clone()];
    assert!(matches!(
        spool.reserve(&[], &two, None, None),
        Err(Error::QueueQuota { .. })
    ));
    assert!(matches!(
        spool.reserve(&[], std::slice::from_ref(&owner), None, Some(21)),
        Err(Error::QueueQuota { wanted: 21, .. })
    ));
    // What came from a peer is nobody's.
    let peers = Parcel {
        jobs: vec![Job {
            owner: None,
            ..job("bob@BETA")
        }],
        ..queued("bob@BETA", &[0; 500])
    };
    peers.job_ids(&spool);
    spool.hold(id(1), "x").unwrap();
    spool.fail(id(2), "x").unwrap();
    let spool = again(&temp, spool);
    spool.set_limits(limits);
    assert_eq!(spool.queue_usage(&ann), Usage { bytes: 80, items: 2 });
    let totals = spool.totals();
    assert_eq!((totals.items, totals.jobs, totals.bytes), (1, 3, 680));
    spool.finish(id(2)).unwrap();
    queued("bob@BETA", &[0; 60]).job_ids(&spool);
    spool.finish(id(3)).unwrap();
    assert_eq!(spool.queue_usage(&ann), Usage { bytes: 100, items: 2 });
}

#[test]
fn a_reservation_is_for_its_jobs_only() {
    let (_temp, spool) = open();
    let commit = |owners: &[Option<UserName>], jobs: Vec<Job>| {
        let reservation = spool.reserve(&[user("ann")], owners, None, None).unwrap();
        let local = spool.stage(&reservation);
        let wire_measure = local.measure();
        spool.commit(Delivery {
            to: vec![],
            jobs,
            reservation,
            local,
            wire: None,
            wire_measure,
            aux: None,
            facts: facts(None),
        })
    };
    let ann = Some(user("ann"));
    assert!(matches!(commit(&[], vec![]), Err(Error::NotReserved(None))));
    assert!(matches!(commit(&[None], vec![job("bob@BETA")]), Err(Error::NotReserved(owner)) if owner == ann));
    let two = vec![job("bob@BETA"), job("eve@BETA")];
    assert!(matches!(
        commit(&[ann.clone(), None], two.clone()),
        Err(Error::NotReserved(_))
    ));
    assert!(commit(&[ann.clone(), ann.clone()], two).is_ok());
    assert_eq!(spool.queue_usage(&user("ann")).items, 2);
    assert_eq!(spool.usage(&user("ann")), Usage::default());
    let endless = Job {
        why: Some("x".repeat(100_000)),
        ..job("bob@BETA")
    };
    assert!(matches!(commit(&[ann], vec![endless]), Err(Error::JobTooLong)));
    assert!(matches!(
        spool.hold(id(1), &"x".repeat(100_000)),
        Err(Error::JobTooLong)
    ));
    assert_eq!(spool.totals().jobs, 2);
}

#[test]
fn inboxes_and_the_queue_share_the_bytes_of_a_delivery() {
    use std::os::unix::fs::MetadataExt;
    let (temp, spool) = open();
    let both = Parcel {
        to: vec![user("ann"), user("bob")],
        aux: Some(b"fork"),
        ..queued("bob@BETA,eve@BETA", b"local")
    };
    let committed = both.commit(&spool).unwrap();
    let placed = Placed {
        inbox: vec![(user("ann"), id(1)), (user("bob"), id(1))],
        queue: vec![id(1), id(2)],
    };
    assert_eq!(committed, Committed::Stored(placed));
    for suffix in ["", ".aux"] {
        let inode = |name: String| std::fs::metadata(temp.path().join(name)).unwrap().ino();
        let places = ["users/ann/1", "users/bob/1", "queue/1", "queue/2"];
        let inodes = places.map(|place| inode(format!("{place}{suffix}")));
        assert!(inodes.iter().all(|other| *other == inodes[0]));
    }
    // What expires in an inbox stays in the queue.
    assert_eq!(spool.expire(i64::MAX, 10).unwrap().len(), 2);
    assert_eq!(read_job(&spool, id(2), Form::Aux).unwrap(), b"fork");
    spool.finish(id(1)).unwrap();
    assert_eq!(read_job(&spool, id(2), Form::Local).unwrap(), b"local");
    assert_eq!(std::fs::read_dir(temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_forward_is_a_job_of_its_own() {
    let (temp, spool) = open();
    let ann = user("ann");
    let item = Parcel {
        wire: Some(b"wire"),
        aux: Some(b"fork"),
        xid: Some("x1"),
        ..parcel("ann", b"local")
    };
    item.ids(&spool);
    let forward = |xid: Option<&str>| Job {
        xid: xid.map(str::to_owned),
        ..job("bob@BETA")
    };
    assert_eq!(spool.link_job(&ann, id(1), forward(Some("f1"))).unwrap(), id(1));
    assert_eq!(spool.link_job(&ann, id(1), forward(Some("f1"))).unwrap(), id(1));
    assert_eq!(spool.link_job(&ann, id(1), forward(Some("f2"))).unwrap(), id(2));
    assert_eq!(spool.link_job(&ann, id(1), forward(None)).unwrap(), id(3));
    assert_eq!(spool.link_job(&ann, id(1), forward(None)).unwrap(), id(4));
    assert_eq!(spool.queue_usage(&ann), Usage { bytes: 36, items: 4 });
    let xids: Vec<_> = (1..=4)
        .map(|n| spool.job(id(n)).unwrap().xid().unwrap().to_owned())
        .collect();
    assert_eq!(xids, ["f1", "f2", "x1", "x1"]);
    spool.remove(&ann, id(1)).unwrap();
    let spool = again(&temp, spool);
    assert_eq!(read_job(&spool, id(2), Form::Wire).unwrap(), b"wire");
    assert_eq!(read_job(&spool, id(2), Form::Aux).unwrap(), b"fork");
    assert!(matches!(
        spool.link_job(&ann, id(1), forward(None)),
        Err(Error::NoSuchItem { .. })
    ));
    spool.set_limits(Limits {
        user_items: 4,
        ..LIMITS
    });
    parcel("ann", b"x").ids(&spool);
    assert!(matches!(
        spool.link_job(&ann, id(2), forward(None)),
        Err(Error::QueueQuota { .. })
    ));
}

#[test]
fn a_job_that_turns_out_to_be_for_this_host_moves_into_inboxes() {
    let (_temp, spool) = open();
    let (bob, eve) = (user("bob"), user("eve"));
    let transfer = Parcel {
        aux: Some(b"fork"),
        xid: Some("x1"),
        ..queued("bob@BETA", b"local")
    };
    transfer.job_ids(&spool);
    assert!(matches!(
        spool.deliver_job(id(1), &[]),
        Err(Error::NotReserved(None))
    ));
    let limits = Limits {
        user_bytes: 1,
        ..LIMITS
    };
    spool.set_limits(limits);
    assert!(matches!(
        spool.deliver_job(id(1), std::slice::from_ref(&bob)),
        Err(Error::OverQuota { .. })
    ));
    assert_eq!(states(&spool), [(1, State::Ready)]);
    spool.set_limits(LIMITS);
    let to = [bob.clone(), eve.clone(), bob.clone()];
    let placed = spool.deliver_job(id(1), &to).unwrap();
    assert_eq!(placed, [(bob.clone(), id(1)), (eve.clone(), id(1))]);
    assert_eq!(check(&spool, &eve, id(1)).unwrap(), b"local");
    assert_eq!(read(&spool, &bob, id(1), Form::Aux).unwrap(), b"fork");
    assert_eq!(
        (spool.totals().jobs, spool.queue_usage(&user("ann"))),
        (0, Usage::default())
    );
    assert!(matches!(transfer.commit(&spool).unwrap(), Committed::Repeat(_)));
    // Who had the same transfer keeps what he has.
    let other = Parcel {
        xid: Some("x1"),
        aux: Some(b"fork"),
        ..queued("bob@GAMMA", b"local")
    };
    assert_eq!(other.job_ids(&spool), [id(2)]);
    assert_eq!(
        spool.deliver_job(id(2), std::slice::from_ref(&bob)).unwrap(),
        [(bob, id(1))]
    );
    assert_eq!((spool.totals().jobs, spool.totals().items), (0, 2));
}

/// The shape of a large queue; its figures are measured by `examples/floor.rs`.
#[test]
fn two_thousand_jobs_are_listed_and_found_again_without_the_index() {
    let (temp, spool) = open();
    for n in 1..=2000 {
        let xid = format!("x{n}");
        let one = Parcel {
            xid: Some(&xid),
            ..queued("bob@BETA", b"")
        };
        assert_eq!(one.job_ids(&spool), [id(n)]);
        match n % 20 {
            0 => spool.hold(id(n), "x").unwrap(),
            1 => spool.fail(id(n), "x").unwrap(),
            _ => {}
        }
    }
    let jobs = spool.jobs().unwrap();
    assert!(jobs.len() == 2000 && jobs.is_sorted_by(|a, b| a.id < b.id));
    let spool = again(&temp, spool);
    assert_eq!(spool.jobs().unwrap(), jobs);
    drop(spool);
    // As after a crash, and as after a loss of the index.
    for (lost, known) in [("lock", 2000), ("index.sqlite", 0)] {
        std::fs::remove_file(temp.path().join(lost)).unwrap();
        let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
        let Recovery {
            jobs: served, learnt, ..
        } = recovery;
        assert_eq!((served, learnt), (2000, 2000 - known));
        assert_eq!(spool.jobs().unwrap(), jobs);
    }
}
