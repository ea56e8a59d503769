//! Interrupted transfers: kept, gone on with, taken over, thrown away; and every crash on the way.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use uft_spool::{
    Committed, Delivery, Disk, Error, Form, Limits, Origin, PARTIAL_AGE, PARTIAL_MIN, Spool, Staged,
    Stranger, Transfer, UserName,
};

use crate::common::*;
use crate::model::{Model, build, every_crash};

const HALF: usize = PARTIAL_MIN as usize + 100_000;
const WHOLE: usize = HALF + 300_000;

/// Bytes of which every slice is another.
fn wire() -> Vec<u8> {
    (0..WHOLE as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn transfer(xid: &str) -> Transfer {
    Transfer::of("address 192.0.2.1", "maint", "ann", xid)
}

fn open(root: &Path) -> Spool {
    let (spool, recovery) = Spool::open(root, LIMITS).unwrap();
    assert_eq!((recovery.problems, recovery.quarantined), (vec![], vec![]));
    spool
}

/// A form with the first bytes of a transfer.
fn begun(spool: &Spool, xid: &str, bytes: &[u8]) -> Result<Staged, Error> {
    let reservation = spool.reserve(&[user("ann")], &[], None, None)?;
    let mut staged = spool.stage(&reservation).resumable(transfer(xid));
    bytes.chunks(100_000).try_for_each(|slice| staged.write(slice))?;
    Ok(staged)
}

/// What is offered of a transfer.
fn resume(spool: &Spool, xid: &str) -> Option<Staged> {
    let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
    spool.resume(&reservation, &transfer(xid)).unwrap()
}

/// What a sender does: goes on if what is there is the beginning of the file, else begins anew.
fn send(spool: &Spool, xid: &str, bytes: &[u8]) -> Result<Committed, Error> {
    let reservation = spool.reserve(&[user("ann")], &[], None, None)?;
    let held = spool.resume(&reservation, &transfer(xid))?;
    let mut staged = match held {
        Some(held) if is_prefix(&held, bytes) => held.metered()?,
        other => {
            other.into_iter().for_each(Staged::discard);
            spool.stage(&reservation).resumable(transfer(xid))
        }
    };
    let at = staged.len() as usize;
    bytes[at..]
        .chunks(100_000)
        .try_for_each(|slice| staged.write(slice))?;
    spool.commit(Delivery {
        to: vec![user("ann")],
        jobs: vec![],
        wire_measure: staged.measure(),
        local: staged,
        wire: None,
        aux: None,
        facts: facts(Some(xid)),
        reservation,
    })
}

fn is_prefix(held: &Staged, bytes: &[u8]) -> bool {
    let prefix = bytes.get(..held.len() as usize);
    prefix.is_some_and(|prefix| held.measure().blake3 == blake3::hash(prefix))
}

fn names(root: &Path, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(root.join(dir)).unwrap().map(Result::unwrap);
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_came_before_a_broken_connection_or_a_crash_is_offered_again() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    begun(&spool, "kept", &bytes[..HALF]).unwrap().keep();
    // Not even dropped: the process is gone.
    std::mem::forget(begun(&spool, "killed", &bytes[..HALF]).unwrap());
    assert_eq!(names(temp.path(), "partial").len(), 2);
    assert_eq!(names(temp.path(), "tmp").len(), 0);
    let image = scratch();
    let model = Model::load(temp.path());
    let (_, dirs, contents) = model.crashes().swap_remove(0);
    build(image.path(), &dirs, &contents);
    let spool = open(image.path());
    let held = resume(&spool, "kept").unwrap();
    assert_eq!((held.len(), is_prefix(&held, &bytes)), (HALF as u64, true));
    drop(held);
    // Of the killed one the end was in memory.
    let held = resume(&spool, "killed").unwrap();
    assert!(held.len() >= PARTIAL_MIN && is_prefix(&held, &bytes));
    drop(held);
    for xid in ["kept", "killed"] {
        assert!(spool.has_partial(&transfer(xid)));
        assert!(matches!(send(&spool, xid, &bytes).unwrap(), Committed::Stored(_)));
        assert!(!spool.has_partial(&transfer(xid)));
    }
    assert_eq!(names(image.path(), "partial").len(), 0);
    for n in [1, 2] {
        assert!(check(&spool, &user("ann"), id(n)).unwrap() == bytes);
    }
    assert_eq!(spool.usage(&user("ann")).bytes, 2 * WHOLE as u64);
}

#[test]
fn small_refused_and_nameless_transfers_leave_nothing() {
    let (temp, bytes) = (scratch(), wire());
    let disk = Disk::planned();
    let (spool, _) = Spool::open_with(temp.path(), LIMITS, disk.clone()).unwrap();
    let nothing_left = |why: &str| {
        assert_eq!(names(temp.path(), "partial"), Vec::<String>::new(), "{why}");
        assert_eq!(names(temp.path(), "tmp"), Vec::<String>::new(), "{why}");
        assert_eq!(spool.usage(&user("ann")).bytes, 0);
    };
    begun(&spool, "small", &bytes[..1_000_000]).unwrap().keep();
    nothing_left("small");
    begun(&spool, "thrown away", &bytes).unwrap().discard();
    nothing_left("thrown away");
    let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
    let mut staged = spool.stage(&reservation);
    staged.write(&bytes).unwrap();
    staged.keep();
    nothing_left("without an id");
    let mut staged = begun(&spool, "full", &bytes[..HALF]).unwrap();
    disk.fail(uft_spool::Fault {
        act: uft_spool::Act::Write,
        nth: 1,
        errno: 28,
        lasting: true,
    });
    assert!(matches!(staged.write(&bytes), Err(Error::NoRoom { .. })));
    drop(staged);
    disk.heal();
    nothing_left("disk full");
    // A commit that fails is a refusal too.
    disk.fail(uft_spool::Fault {
        act: uft_spool::Act::Create,
        nth: 2,
        errno: 28,
        lasting: true,
    });
    assert!(send(&spool, "refused", &bytes).is_err());
    disk.heal();
    nothing_left("commit refused");
}

#[test]
fn a_second_session_takes_the_transfer_and_the_first_can_do_no_harm() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    let mut first = begun(&spool, "x", &bytes[..HALF]).unwrap();
    let second = resume(&spool, "x").unwrap();
    let there = second.len();
    assert!(is_prefix(&second, &bytes));
    let late = vec![0xff; 200_000];
    assert!(matches!(first.write(&late), Err(Error::Superseded)));
    first.keep();
    let mut second = second.metered().unwrap();
    second.write(&bytes[there as usize..]).unwrap();
    assert_eq!(second.measure().blake3, blake3::hash(&bytes));
    let again = resume(&spool, "x").unwrap();
    assert!(matches!(second.write(b"more"), Ok(()) | Err(Error::Superseded)));
    drop((second, again));
    assert!(matches!(send(&spool, "x", &bytes).unwrap(), Committed::Stored(_)));
    assert!(matches!(send(&spool, "x", &bytes).unwrap(), Committed::Repeat(_)));
    assert!(check(&spool, &user("ann"), id(1)).unwrap() == bytes);
    assert_eq!(names(temp.path(), "partial"), Vec::<String>::new());
}

#[test]
fn another_sender_user_or_recipient_is_offered_nothing() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    begun(&spool, "x", &bytes).unwrap().keep();
    let reservation = spool.reserve(&[user("ann")], &[], None, None).unwrap();
    for other in [
        Transfer::of("address 192.0.2.2", "maint", "ann", "x"),
        Transfer::of("local maint", "maint", "ann", "x"),
        Transfer::of("address 192.0.2.1", "other", "ann", "x"),
        Transfer::of("address 192.0.2.1", "maint", "bob", "x"),
        Transfer::of("address 192.0.2.1", "maint", "ann", "y"),
    ] {
        assert!(!spool.has_partial(&other) && spool.resume(&reservation, &other).unwrap().is_none());
    }
    assert!(spool.has_partial(&transfer("x")));
}

#[test]
fn a_delivery_that_needs_the_room_gets_it_the_oldest_partial_goes_first() {
    let (temp, bytes) = (scratch(), wire());
    let disk = Disk::planned();
    let limits = Limits {
        min_free: 1000,
        ..LIMITS
    };
    let (spool, _) = Spool::open_with(temp.path(), limits, disk.clone()).unwrap();
    for xid in ["oldest", "newest"] {
        begun(&spool, xid, &bytes).unwrap().keep();
    }
    // The rest of the disk stays as full as it is: what fits after all is decided by what is really written.
    disk.fail(uft_spool::Fault {
        act: uft_spool::Act::Write,
        nth: 1,
        errno: 28,
        lasting: false,
    });
    assert_eq!(parcel("ann", &[7; 100_000]).ids(&spool), [id(1)]);
    assert!(!spool.has_partial(&transfer("oldest")) && spool.has_partial(&transfer("newest")));
    // What would not fit either way throws nothing away.
    disk.pretend_free(500);
    let refused = spool.reserve(&[user("ann")], &[], None, Some(1 << 29));
    assert!(matches!(refused, Err(Error::NoRoom { .. })));
    assert!(spool.has_partial(&transfer("newest")));
    let refused = spool.reserve(&[user("ann")], &[], None, Some(1000));
    assert!(
        matches!(refused, Err(Error::NoRoom { .. })),
        "it looked as if it would help"
    );
    assert!(!spool.has_partial(&transfer("newest")));
}

#[test]
fn a_quota_that_is_used_up_refuses_and_keeps() {
    let (temp, bytes) = (scratch(), wire());
    let limits = Limits {
        stranger_bytes: WHOLE as u64 + 1000,
        ..LIMITS
    };
    let (spool, _) = Spool::open(temp.path(), limits).unwrap();
    begun(&spool, "x", &bytes).unwrap().keep();
    let from = Stranger::of("192.0.2.1".parse().unwrap());
    let ann = [user("ann")];
    let busy = spool.reserve(&ann, &[], Some(&from), None).unwrap();
    let mut other = spool.stage(&busy);
    other.write(&[0; 2000]).unwrap();
    let reservation = spool.reserve(&ann, &[], Some(&from), None).unwrap();
    assert!(matches!(
        spool.resume(&reservation, &transfer("x")),
        Err(Error::StrangerQuota { .. })
    ));
    assert!(spool.has_partial(&transfer("x")));
    drop((other, busy));
    let held = spool.resume(&reservation, &transfer("x")).unwrap().unwrap();
    assert!(held.metered().is_ok_and(|held| held.len() == WHOLE as u64));
}

#[test]
fn what_nobody_goes_on_with_is_swept_by_the_hour_and_at_the_start() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    begun(&spool, "young", &bytes).unwrap().keep();
    begun(&spool, "old", &bytes).unwrap().keep();
    let taken = begun(&spool, "taken", &bytes).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap();
    assert_eq!(spool.sweep_partials(seconds - 10), 0);
    assert_eq!(spool.sweep_partials(seconds + 10), 2);
    assert!(!spool.has_partial(&transfer("old")) && spool.has_partial(&transfer("taken")));
    drop(taken);
    begun(&spool, "old", &bytes).unwrap().keep();
    let old = names(temp.path(), "partial");
    begun(&spool, "young", &bytes).unwrap().keep();
    drop(spool);
    let day = Duration::from_secs(PARTIAL_AGE + 10);
    for name in &old {
        let file = fs::File::options()
            .write(true)
            .open(temp.path().join("partial").join(name));
        file.unwrap().set_modified(SystemTime::now() - day).unwrap();
    }
    fs::write(temp.path().join("partial/stranger"), &bytes).unwrap();
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
    assert_eq!((old.len(), recovery.swept), (2, 3));
    assert!(spool.has_partial(&transfer("young")));
    assert_eq!(names(temp.path(), "partial").len(), 1);
}

#[test]
fn a_partial_that_shares_its_file_with_an_item_is_never_written_to() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    begun(&spool, "x", &bytes[..HALF]).unwrap().keep();
    let name = names(temp.path(), "partial").swap_remove(0);
    let partial = temp.path().join("partial").join(name);
    // As a crash between two names of one file could leave it.
    fs::hard_link(&partial, temp.path().join("other name")).unwrap();
    assert!(resume(&spool, "x").is_none());
    assert!(!partial.exists());
    assert!(fs::read(temp.path().join("other name")).unwrap() == bytes[..HALF]);
}

#[test]
fn a_transfer_that_was_delivered_is_known_by_its_digest() {
    let (temp, bytes) = (scratch(), wire());
    let spool = open(temp.path());
    let (ann, digest, from) = ([user("ann")], blake3::hash(&bytes), facts(None).origin);
    let find = |to: &[UserName], origin: &Origin, xid: &str, digest| {
        spool.delivered(to, vec![], origin, xid, digest).unwrap()
    };
    assert_eq!(find(&ann, &from, "x", &digest), None);
    send(&spool, "x", &bytes).unwrap();
    let had = Some(in_inboxes(vec![(user("ann"), id(1))]));
    assert_eq!(find(&ann, &from, "x", &digest), had);
    spool.remove(&user("ann"), id(1)).unwrap();
    assert_eq!(find(&ann, &from, "x", &digest), had);
    let both = [user("ann"), user("bob")];
    let other = Origin {
        user: "other".into(),
        ..from.clone()
    };
    for (to, origin, xid) in [
        (&ann[..], &other, "x"),
        (&ann, &from, "y"),
        (&both, &from, "x"),
        (&[], &from, "x"),
    ] {
        assert_eq!(find(to, origin, xid, &digest), None);
    }
    assert_eq!(find(&ann, &from, "x", &blake3::hash(b"other")), None);
    let jobs = vec![job("maint@VM1")];
    assert_eq!(
        spool.delivered(&[], jobs.clone(), &from, "q", &digest).unwrap(),
        None
    );
    let queued = Parcel {
        xid: Some("q"),
        jobs: jobs.clone(),
        local: &bytes,
        ..Parcel::default()
    };
    let numbers = queued.job_ids(&spool);
    let had = spool.delivered(&[], jobs, &from, "q", &digest).unwrap();
    assert_eq!(had.map(|had| had.queue), Some(numbers));
}

/// Whatever a crash leaves, at whatever step: a sender who goes on or begins anew has exactly one whole item in the end.
#[test]
fn every_crash_of_a_transfer_that_is_interrupted_ends_in_one_item() {
    let (temp, bytes) = (scratch(), wire());
    let root = temp.path().canonicalize().unwrap();
    let disk = Disk::planned();
    let (spool, _) = Spool::open_with(&root, LIMITS, disk.clone()).unwrap();
    parcel("ann", b"before").ids(&spool);
    let model = Model::load(&root);
    disk.record();
    begun(&spool, "x", &bytes[..HALF]).unwrap().keep();
    let kept = disk.recorded().len();
    // The same once more, in one record.
    resume(&spool, "x").into_iter().for_each(Staged::discard);
    disk.record();
    begun(&spool, "x", &bytes[..HALF]).unwrap().keep();
    send(&spool, "x", &bytes).unwrap();
    let all = disk.recorded();
    assert!(kept < all.len());
    let mut resumed = 0;
    every_crash(&root, model, &all, |crash| {
        let what = &crash.what;
        let image = scratch();
        build(image.path(), &crash.names, &crash.contents);
        let (spool, recovery) = Spool::open(image.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(
            (recovery.problems, recovery.quarantined),
            (vec![], vec![]),
            "{what}"
        );
        let ann = user("ann");
        let found = spool.list(&ann).unwrap().len();
        assert!(found == 2 || found == 1 && !crash.done, "{what}: {found}");
        resumed += usize::from(resume(&spool, "x").is_some_and(|held| is_prefix(&held, &bytes)));
        let committed = send(&spool, "x", &bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(matches!(committed, Committed::Repeat(_)), found == 2, "{what}");
        let list = spool.list(&ann).unwrap();
        assert_eq!(list.len(), 2, "{what}");
        for summary in list {
            let stored = check(&spool, &ann, summary.id).unwrap();
            assert!(stored == bytes || stored == b"before", "{what}");
            assert!(
                read(&spool, &ann, summary.id, Form::Wire).unwrap() == stored,
                "{what}"
            );
        }
        assert!(names(image.path(), "partial").len() <= 1, "{what}");
    });
    assert!(resumed >= 8, "{resumed}");
}
