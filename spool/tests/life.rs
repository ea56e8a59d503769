//! The life of an item: stored, listed, read, forwarded, removed; repeats, quotas, expiry, restarts.

use std::io::Read;

use crate::common::*;
use uft_spool::{Act, Committed, Disk, Error, Fate, Fault, Form, Limits, Receipt, Spool, Stranger, Usage};

fn open() -> (tempfile::TempDir, Spool) {
    let temp = tempfile::tempdir().unwrap();
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.created && recovery.quarantined.is_empty());
    (temp, spool)
}

#[test]
fn an_item_is_listed_read_and_removed() {
    let (_temp, spool) = open();
    let ann = user("ann");
    let ids = parcel("ann", b"hello").ids(&spool);
    assert_eq!(ids, [id(1)]);
    let list = spool.list(&ann).unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].from, "maint@192.0.2.1");
    assert_eq!((list[0].size, list[0].name.as_deref()), (5, Some("report.txt")));
    assert_eq!(check(&spool, &ann, id(1)).unwrap(), b"hello");
    assert_eq!(read(&spool, &ann, id(1), Form::Wire).unwrap(), b"hello");
    assert!(matches!(
        spool.open_form(&ann, id(1), Form::Aux),
        Err(Error::NotKept { form: "aux", .. })
    ));
    assert_eq!(spool.usage(&ann), Usage { bytes: 5, items: 1 });
    spool.remove(&ann, id(1)).unwrap();
    assert!(matches!(spool.remove(&ann, id(1)), Err(Error::NoSuchItem { .. })));
    assert!(matches!(spool.item(&ann, id(1)), Err(Error::NoSuchItem { .. })));
    assert!(spool.list(&ann).unwrap().is_empty());
    assert_eq!(spool.usage(&ann), Usage::default());
    assert_eq!(spool.totals().items, 0);
}

#[test]
fn a_large_file_goes_through_a_temporary_file_and_can_be_read_back_on_the_way() {
    let (temp, spool) = open();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    for step in [1000, 65_536, 65_537, 300_000] {
        let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
        let mut staged = spool.stage(&reservation);
        for chunk in bytes.chunks(step) {
            staged.write(chunk).unwrap();
        }
        let mut again = Vec::new();
        staged.reader().unwrap().read_to_end(&mut again).unwrap();
        assert!(again == bytes);
        assert_eq!(staged.measure().blake3, blake3::hash(&bytes));
        let wire_measure = staged.measure();
        let committed = spool
            .commit(uft_spool::Delivery {
                to: vec![user("ann")],
                jobs: vec![],
                reservation,
                local: staged,
                wire: None,
                wire_measure,
                aux: None,
                facts: facts(None),
            })
            .unwrap();
        let Committed::Stored(placed) = committed else {
            panic!("{committed:?}")
        };
        assert!(check(&spool, &placed.inbox[0].0, placed.inbox[0].1).unwrap() == bytes);
    }
    assert_eq!(std::fs::read_dir(temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn ids_are_not_used_again_after_a_restart() {
    let (temp, spool) = open();
    for n in 1..=70 {
        assert_eq!(parcel("ann", b"x").ids(&spool), [id(n)]);
        spool.remove(&user("ann"), id(n)).unwrap();
    }
    spool.close();
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.clean && !recovery.rebuilt && !recovery.created);
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(71)]);
}

#[test]
fn forms_of_a_converted_file_are_kept_side_by_side() {
    let (temp, spool) = open();
    let both = Parcel {
        wire: Some(b"WIRE\r\n"),
        aux: Some(b"fork"),
        ..parcel("ann,bob", b"local\n")
    };
    assert_eq!(both.ids(&spool), [id(1), id(1)]);
    for name in ["ann", "bob"] {
        let user = user(name);
        assert_eq!(check(&spool, &user, id(1)).unwrap(), b"local\n");
        assert_eq!(read(&spool, &user, id(1), Form::Wire).unwrap(), b"WIRE\r\n");
        assert_eq!(read(&spool, &user, id(1), Form::Aux).unwrap(), b"fork");
        assert_eq!(spool.usage(&user), Usage { bytes: 10, items: 1 });
    }
    let eve = user("eve");
    assert_eq!(spool.link(&user("ann"), id(1), &eve).unwrap(), id(1));
    spool.remove(&user("ann"), id(1)).unwrap();
    spool.remove(&user("bob"), id(1)).unwrap();
    assert_eq!(check(&spool, &eve, id(1)).unwrap(), b"local\n");
    assert_eq!(
        std::fs::read_dir(temp.path().join("users/ann")).unwrap().count(),
        1
    );
    drop(spool);
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert_eq!(
        (recovery.items, recovery.orphans, recovery.problems.len()),
        (1, 0, 0)
    );
    assert_eq!(spool.usage(&eve), Usage { bytes: 10, items: 1 });
    assert_eq!(std::fs::read_dir(temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_repeat_is_answered_and_not_stored() {
    let (temp, spool) = open();
    let ann = user("ann");
    let first = Parcel {
        xid: Some("x1"),
        ..parcel("ann", b"hello")
    };
    let repeat = Committed::Repeat(in_inboxes(vec![(ann.clone(), id(1))]));
    assert_eq!(first.ids(&spool), [id(1)]);
    assert_eq!(first.commit(&spool).unwrap(), repeat);
    let other = Parcel {
        local: b"other",
        ..first.clone()
    };
    assert_eq!(other.ids(&spool), [id(2)]);
    let more = Parcel {
        to: vec![user("bob"), ann.clone()],
        ..first.clone()
    };
    assert_eq!(more.ids(&spool), [id(1), id(1)]);
    assert_eq!(spool.usage(&ann).items, 2);
    // The item goes: the log knows it, in this run and the next, with the index and without.
    spool.remove(&ann, id(1)).unwrap();
    assert_eq!(first.commit(&spool).unwrap(), repeat);
    drop(spool);
    std::fs::remove_file(temp.path().join("index.sqlite")).unwrap();
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert!(recovery.rebuilt);
    assert_eq!(first.commit(&spool).unwrap(), repeat);
    assert_eq!(
        other.commit(&spool).unwrap(),
        Committed::Repeat(in_inboxes(vec![(ann.clone(), id(2))]))
    );
    assert_eq!(spool.usage(&ann), Usage { bytes: 5, items: 1 });
}

#[test]
fn quotas_hold_while_bytes_stream() {
    let (_temp, spool) = open();
    let ann = [user("ann")];
    let far = Stranger::of("192.0.2.1".parse().unwrap());
    let limits = Limits {
        max_file: 100,
        user_bytes: 150,
        user_items: 2,
        stranger_bytes: 60,
        ..LIMITS
    };
    spool.set_limits(limits);
    assert!(matches!(
        spool.reserve(&ann, &[], None, Some(101)),
        Err(Error::TooLarge { bytes: 101, max: 100 })
    ));
    assert!(matches!(
        spool.reserve(&ann, &[], Some(&far), Some(61)),
        Err(Error::StrangerQuota { .. })
    ));
    let lying = spool.reserve(&ann, &[], Some(&far), Some(1)).unwrap();
    let mut staged = spool.stage(&lying);
    staged.write(&[0; 60]).unwrap();
    assert!(matches!(staged.write(&[0]), Err(Error::StrangerQuota { .. })));
    let other = spool.reserve(&ann, &[], None, None).unwrap();
    assert!(matches!(
        spool.reserve(&ann, &[], None, None),
        Err(Error::OverQuota { items: 2, .. })
    ));
    let mut more = spool.stage(&other);
    more.write(&[0; 90]).unwrap();
    assert!(matches!(
        more.write(&[0]),
        Err(Error::OverQuota { bytes: 150, .. })
    ));
    drop((lying, staged));
    more.write(&[0; 10]).unwrap();
    assert!(matches!(
        more.write(&[0]),
        Err(Error::TooLarge { bytes: 101, .. })
    ));
    // What is made from other bytes is charged only when it grows beyond them.
    let mut local = spool.stage(&other).unmetered();
    local.write(&[1; 100]).unwrap();
    drop((local, more, other));
    let empty = spool.reserve(&ann, &[], None, Some(100)).unwrap();
    drop(empty);
    assert_eq!(spool.usage(&ann[0]), Usage::default());
}

#[test]
fn a_reservation_is_for_its_users_only() {
    let (_temp, spool) = open();
    let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
    let local = spool.stage(&reservation);
    let wire_measure = local.measure();
    let (to, facts) = (vec![user("bob")], facts(None));
    let delivery = uft_spool::Delivery {
        to,
        jobs: vec![],
        reservation,
        local,
        wire: None,
        wire_measure,
        aux: None,
        facts,
    };
    assert!(matches!(spool.commit(delivery), Err(Error::NotReserved(Some(bob))) if bob == user("bob")));
    assert!(matches!(
        spool.reserve(&[], &[], None, None),
        Err(Error::NotReserved(None))
    ));
}

#[test]
fn a_full_disk_is_noticed_at_the_start_and_on_the_way() {
    let temp = tempfile::tempdir().unwrap();
    let disk = Disk::planned();
    let (spool, _) = Spool::open_with(
        temp.path(),
        Limits {
            min_free: 1000,
            ..LIMITS
        },
        disk.clone(),
    )
    .unwrap();
    disk.pretend_free(1500);
    let ann = [user("ann")];
    assert!(matches!(
        spool.reserve(&ann, &[], None, Some(501)),
        Err(Error::NoRoom { .. })
    ));
    let reservation = spool.reserve(&ann, &[], None, Some(500)).unwrap();
    let mut staged = spool.stage(&reservation);
    staged.write(&[0; 60_000]).unwrap();
    assert!(matches!(staged.write(&[0; 60_000]), Err(Error::NoRoom { .. })));
    drop(staged);
    assert_eq!(std::fs::read_dir(temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_oldest_items_expire_first() {
    let (_temp, spool) = open();
    let deliver = |received| {
        let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
        let local = spool.stage(&reservation);
        let facts = uft_spool::Facts {
            received,
            ..facts(None)
        };
        let wire_measure = local.measure();
        let to = vec![user("ann")];
        spool
            .commit(uft_spool::Delivery {
                to,
                jobs: vec![],
                reservation,
                local,
                wire: None,
                wire_measure,
                aux: None,
                facts,
            })
            .unwrap();
    };
    [30, 10, 20, 40].into_iter().for_each(deliver);
    assert_eq!(
        spool.expire(40, 2).unwrap(),
        [(user("ann"), id(2)), (user("ann"), id(3))]
    );
    assert_eq!(spool.expire(40, 9).unwrap(), [(user("ann"), id(1))]);
    assert_eq!(spool.expire(40, 9).unwrap(), []);
    assert_eq!(spool.usage(&user("ann")).items, 1);
}

#[test]
fn one_process_at_a_time_has_the_spool() {
    let (temp, spool) = open();
    assert!(matches!(Spool::open(temp.path(), LIMITS), Err(Error::Locked(_))));
    drop(spool);
    assert!(Spool::open(temp.path(), LIMITS).is_ok());
}

#[test]
fn after_a_failed_fsync_only_reading_and_removing_go_on() {
    for act in [Act::Sync, Act::SyncDir] {
        let temp = tempfile::tempdir().unwrap();
        let disk = Disk::planned();
        let (spool, _) = Spool::open_with(temp.path(), LIMITS, disk.clone()).unwrap();
        let ann = user("ann");
        for _ in 0..2 {
            parcel("ann", b"hello").ids(&spool);
        }
        disk.fail(Fault {
            act,
            nth: 1,
            errno: 5,
            lasting: false,
        });
        assert!(matches!(
            parcel("ann", b"lost").commit(&spool),
            Err(Error::Io { what: "fsync", .. })
        ));
        assert!(matches!(
            parcel("ann", b"later").commit(&spool),
            Err(Error::Poisoned)
        ));
        assert!(matches!(spool.link(&ann, id(1), &ann), Err(Error::Poisoned)));
        assert!(spool.totals().poisoned);
        disk.record();
        spool.remove(&ann, id(1)).unwrap();
        assert!(
            !disk
                .recorded()
                .iter()
                .any(|step| matches!(step, uft_spool::Step::SyncDir(_)))
        );
        assert_eq!(check(&spool, &ann, id(2)).unwrap(), b"hello");
        assert_eq!(spool.list(&ann).unwrap().len(), 1);
        drop(spool);
        let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
        assert!(!recovery.clean);
        assert!(parcel("ann", b"again").ids(&spool)[0] > id(3));
    }
}

#[test]
fn a_receipt_is_listed_as_one_from_the_index_and_from_the_files() {
    let (temp, spool) = open();
    let deliver = |receipt: Option<Receipt>| {
        let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
        let local = spool.stage(&reservation);
        let wire_measure = local.measure();
        let facts = uft_spool::Facts {
            receipt,
            ..facts(None)
        };
        spool
            .commit(uft_spool::Delivery {
                to: vec![user("ann")],
                jobs: vec![],
                reservation,
                local,
                wire: None,
                wire_measure,
                aux: None,
                facts,
            })
            .unwrap();
    };
    let receipts = [
        None,
        Some(Receipt {
            name: Some("NOT\u{1b}ES.\"TEXT\"".into()),
            sent: Some(1_795_218_990),
            fate: Fate::Received,
        }),
        Some(Receipt {
            name: None,
            sent: None,
            fate: Fate::Other("lost\n".into()),
        }),
    ];
    receipts.clone().into_iter().for_each(deliver);
    let listed = |spool: &Spool| -> Vec<Option<Receipt>> {
        let list = spool.list(&user("ann")).unwrap();
        list.into_iter().map(|summary| summary.receipt).collect()
    };
    assert_eq!(listed(&spool), receipts);
    drop(spool);
    std::fs::remove_file(temp.path().join("index.sqlite")).unwrap();
    let (spool, _) = Spool::open(temp.path(), LIMITS).unwrap();
    assert_eq!(listed(&spool), receipts);
}
