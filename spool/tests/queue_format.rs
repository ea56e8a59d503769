//! Queues that an older program, an accident or a stranger has left: what is whole is served, the rest is moved away.
//!
//! `fixtures/1-queue` is a spool of format 1 with a queue, as it was written: 1 is to be sent and has all forms, 2 is
//! held, 3 has failed, 4 is finished.

use std::fs;
use std::path::Path;

use uft_spool::{Error, Form, Recovery, Spool, State};

use crate::common::*;
use crate::format::copy;

fn old() -> tempfile::TempDir {
    let temp = scratch();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/1-queue"),
        temp.path(),
    );
    temp
}

fn open(dir: &tempfile::TempDir) -> (Spool, Recovery) {
    Spool::open(dir.path(), LIMITS).unwrap()
}

fn states(spool: &Spool) -> Vec<(u64, State)> {
    let jobs = spool.jobs().unwrap().into_iter();
    jobs.map(|job| (job.id.get(), job.state)).collect()
}

const ALL: [(u64, State); 3] = [(1, State::Ready), (2, State::Held), (3, State::Failed)];

fn corrupt(dir: &tempfile::TempDir) -> Vec<String> {
    let names = fs::read_dir(dir.path().join("corrupt")).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn make_fixture(dir: &Path) {
    let (spool, _) = Spool::open(dir, LIMITS).unwrap();
    let forms = Parcel {
        wire: Some(b"local\r\n"),
        aux: Some(b"fork"),
        xid: Some("x1"),
        ..queued("bob@BETA", b"local\n")
    };
    forms.job_ids(&spool);
    queued("eve@beta.example:608,bob@GAMMA,bob@DELTA", b"small").job_ids(&spool);
    spool.hold(id(2), "by hand").unwrap();
    spool.fail(id(3), "550 no such user").unwrap();
    spool.finish(id(4)).unwrap();
    spool.close();
    if let Some(keep) = std::env::var_os("SPOOL_FIXTURE") {
        copy(dir, Path::new(&keep));
    }
}

#[test]
fn a_queue_of_format_1_is_read() {
    let old = old();
    let (spool, recovery) = open(&old);
    assert!(recovery.rebuilt && recovery.clean && !recovery.queue_renumbered);
    assert_eq!((recovery.jobs, recovery.learnt, recovery.items), (3, 3, 0));
    assert_eq!((&recovery.quarantined, &recovery.problems), (&vec![], &vec![]));
    assert_eq!(states(&spool), ALL);
    let item = spool.job(id(1)).unwrap();
    assert_eq!(
        (item.job, item.envelope.facts.xid.as_deref()),
        (job("bob@BETA"), Some("x1"))
    );
    assert_eq!(
        spool.job(id(3)).unwrap().job.why.as_deref(),
        Some("550 no such user")
    );
    for (form, bytes) in [
        (Form::Local, &b"local\n"[..]),
        (Form::Wire, b"local\r\n"),
        (Form::Aux, b"fork"),
    ] {
        assert_eq!(read_job(&spool, id(1), form).unwrap(), bytes);
    }
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(5)]);
}

/// The fixture is what this program writes; made anew by `make_fixture` in a directory of choice.
#[test]
fn the_fixture_of_a_queue_is_what_is_written_today() {
    let temp = scratch();
    make_fixture(temp.path());
    let old = old();
    for name in [
        "format",
        "queue/1",
        "queue/1.wire",
        "queue/1.aux",
        "queue/1.job",
        "queue/2",
        "queue/held/2.job",
        "failed/3.job",
        "queue/seq",
    ] {
        let (now, then) = (fs::read(temp.path().join(name)), fs::read(old.path().join(name)));
        assert!(now.unwrap() == then.unwrap(), "{name}");
    }
}

#[test]
fn a_spool_of_the_first_release_is_given_a_queue() {
    let old = old();
    for name in ["queue", "failed"] {
        fs::remove_dir_all(old.path().join(name)).unwrap();
    }
    let (spool, recovery) = open(&old);
    assert!(!recovery.queue_renumbered && recovery.problems.is_empty());
    assert!(states(&spool).is_empty());
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(1)]);
}

#[test]
fn a_job_file_cut_at_any_byte_is_moved_away_with_its_item() {
    let whole = fs::read(old().path().join("queue/1.job")).unwrap();
    for len in 0..whole.len() {
        let old = old();
        fs::write(old.path().join("queue/1.job"), &whole[..len]).unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!(recovery.problems, [], "{len}");
        assert_eq!(
            corrupt(&old),
            ["queue~1", "queue~1.aux", "queue~1.job", "queue~1.wire"],
            "{len}"
        );
        assert_eq!(states(&spool), ALL[1..]);
        assert!(matches!(spool.job(id(1)), Err(Error::NoSuchJob(_))));
        assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(5)]);
    }
}

#[test]
fn a_damaged_item_is_moved_away_with_its_job() {
    for indexed in [false, true] {
        let old = old();
        if indexed {
            drop(open(&old));
        }
        fs::write(old.path().join("queue/1"), b"torn").unwrap();
        let (spool, recovery) = open(&old);
        if indexed {
            // As in an inbox: what the index knows is not read again; whoever wants it hears of it.
            assert_eq!((recovery.jobs, states(&spool)), (3, ALL.to_vec()));
            assert!(matches!(spool.job(id(1)), Err(Error::Damaged { .. })));
            assert!(matches!(
                spool.open_job(id(1), Form::Aux),
                Err(Error::Damaged { .. })
            ));
            assert!(matches!(
                spool.deliver_job(id(1), &[user("bob")]),
                Err(Error::Damaged { .. })
            ));
            spool.finish(id(1)).unwrap();
            assert_eq!(spool.totals().jobs, 2);
        } else {
            assert_eq!(
                corrupt(&old),
                ["queue~1", "queue~1.aux", "queue~1.job", "queue~1.wire"]
            );
        }
        assert_eq!(states(&spool), ALL[1..]);
    }
}

#[test]
fn a_damaged_job_file_is_noticed_while_the_spool_is_open() {
    let old = old();
    let (spool, _) = open(&old);
    fs::write(old.path().join("queue/1.job"), b"{}").unwrap();
    assert!(matches!(spool.job(id(1)), Err(Error::Damaged { .. })));
    assert!(matches!(spool.hold(id(1), "x"), Err(Error::Damaged { .. })));
    // It can be got rid of, and is taken off the right account.
    spool.finish(id(1)).unwrap();
    assert_eq!(
        (states(&spool), spool.queue_usage(&user("ann")).items),
        (ALL[1..].to_vec(), 2)
    );
    fs::remove_file(old.path().join("queue/2")).unwrap();
    assert!(matches!(spool.job(id(2)), Err(Error::Damaged { .. })));
    spool.finish(id(2)).unwrap();
    assert_eq!(spool.totals().bytes, 5);
}

#[test]
fn a_job_without_an_item_and_an_item_without_a_job_are_put_right() {
    for indexed in [false, true] {
        let old = old();
        if indexed {
            drop(open(&old));
        }
        fs::remove_file(old.path().join("queue/2")).unwrap();
        fs::remove_file(old.path().join("failed/3.job")).unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!(
            (corrupt(&old), recovery.orphans),
            (vec!["held~2.job".to_owned()], 1)
        );
        assert_eq!(states(&spool), ALL[..1]);
        assert_eq!(recovery.forgotten, if indexed { 2 } else { 0 });
        assert!(!old.path().join("queue/3").exists());
        assert_eq!(spool.totals().jobs, 1);
    }
}

#[test]
fn an_item_whose_job_was_lost_by_an_accident_is_not_deleted() {
    let old = old();
    drop(open(&old));
    fs::remove_file(old.path().join("queue/1.job")).unwrap();
    let (spool, recovery) = open(&old);
    assert_eq!(corrupt(&old), ["queue~1", "queue~1.aux", "queue~1.wire"]);
    assert_eq!((recovery.forgotten, recovery.orphans), (1, 0));
    assert_eq!(states(&spool), ALL[1..]);
}

#[test]
fn of_two_files_of_a_job_the_newer_one_is_right() {
    for clean in [false, true] {
        let old = old();
        let before = fs::read(old.path().join("queue/1.job")).unwrap();
        let (spool, _) = open(&old);
        spool.hold(id(1), "wait").unwrap();
        drop(spool);
        // A crash after the new file was durable and before the old one was gone; and one the other way.
        fs::write(old.path().join("queue/1.job"), &before).unwrap();
        let held = fs::read(old.path().join("queue/held/1.job")).unwrap();
        let newer = |dir: &tempfile::TempDir, state| {
            if !clean {
                fs::write(dir.path().join("lock"), b"").unwrap();
            }
            let (spool, recovery) = open(dir);
            assert_eq!((recovery.orphans, recovery.quarantined), (1, vec![]));
            assert_eq!(states(&spool)[0], (1, state));
            assert_eq!(spool.job(id(1)).unwrap().state, state);
            spool
        };
        let spool = newer(&old, State::Held);
        spool.release(id(1)).unwrap();
        drop(spool);
        fs::write(old.path().join("queue/held/1.job"), &held).unwrap();
        drop(newer(&old, State::Ready));
        // One that is torn does not count.
        fs::write(old.path().join("failed/1.job"), &held[..20]).unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!((recovery.quarantined.len(), states(&spool)), (1, ALL.to_vec()));
        assert_eq!(corrupt(&old), ["failed~1.job"]);
    }
}

#[test]
fn a_job_that_was_changed_behind_the_index_is_read_again() {
    let old = old();
    let (spool, _) = open(&old);
    spool.hold(id(1), "wait").unwrap();
    spool.reroute(id(2), "robert", "OMEGA").unwrap();
    let files = ["queue/held/1.job", "queue/held/2.job"].map(|name| fs::read(old.path().join(name)).unwrap());
    drop(spool);
    let other = self::old();
    drop(open(&other));
    fs::remove_file(other.path().join("queue/1.job")).unwrap();
    fs::write(other.path().join("queue/held/1.job"), &files[0]).unwrap();
    fs::write(other.path().join("queue/held/2.job"), &files[1]).unwrap();
    fs::write(other.path().join("lock"), b"").unwrap();
    let (spool, recovery) = open(&other);
    assert_eq!((recovery.learnt, recovery.forgotten, recovery.orphans), (0, 0, 0));
    let jobs = spool.jobs().unwrap();
    assert_eq!(
        (jobs[0].state, jobs[0].job.why.as_deref()),
        (State::Held, Some("wait"))
    );
    assert_eq!(jobs[1].job.place, "OMEGA");
}

#[test]
fn a_missing_sibling_of_a_job_is_reported_and_the_rest_is_served() {
    for indexed in [false, true] {
        let old = old();
        if indexed {
            drop(open(&old));
        }
        fs::remove_file(old.path().join("queue/1.wire")).unwrap();
        fs::write(old.path().join("queue/1.aux"), b"fork!").unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!(recovery.problems.len(), 1);
        assert_eq!(read_job(&spool, id(1), Form::Local).unwrap(), b"local\n");
        assert!(matches!(
            spool.deliver_job(id(1), &[user("bob")]),
            Err(Error::Damaged { .. })
        ));
        for form in [Form::Wire, Form::Aux] {
            assert!(matches!(spool.open_job(id(1), form), Err(Error::Damaged { .. })));
        }
        assert!(matches!(
            spool.open_job(id(2), Form::Aux),
            Err(Error::NotKept {
                user: None,
                form: "aux",
                ..
            })
        ));
    }
}

#[test]
fn what_is_not_a_job_is_moved_away() {
    let old = old();
    let at = |name: &str| old.path().join(name);
    for name in [
        "queue/notes.txt",
        "queue/007.job",
        "queue/5.job.job",
        "queue/5.",
        "queue/5.JOB",
        "queue/-1",
        "queue/held/7",
        "queue/held/7.aux",
        "queue/held/seq",
        "failed/\u{1b}[2J",
        "failed/8.wire",
    ] {
        fs::write(at(name), b"x").unwrap();
    }
    fs::remove_file(at("queue/2")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("queue/2")).unwrap();
    std::os::unix::fs::symlink("1.job", at("queue/9.job")).unwrap();
    fs::create_dir(at("queue/10")).unwrap();
    fs::create_dir(at("failed/held")).unwrap();
    fs::write(at("failed/11.job"), b"x").unwrap();
    let (spool, recovery) = open(&old);
    assert_eq!(recovery.problems, []);
    // The eleven, the link, its job, the other link, two directories and a job of nothing.
    assert_eq!(recovery.quarantined.len(), 17, "{:#?}", recovery.quarantined);
    assert_eq!(corrupt(&old).len(), 17);
    assert_eq!(states(&spool), [ALL[0], ALL[2]]);
    assert!(fs::symlink_metadata("/etc/passwd").unwrap().is_file());
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(12)]);
    drop(spool);
    let (_, recovery) = open(&old);
    assert_eq!((recovery.quarantined, recovery.problems), (vec![], vec![]));
}

#[test]
fn a_job_that_was_replaced_while_the_spool_is_open_is_not_followed() {
    let old = old();
    let (spool, _) = open(&old);
    let secret = old.path().join("secret");
    for name in ["queue/1", "queue/2"] {
        fs::rename(old.path().join(name), &secret).unwrap();
        std::os::unix::fs::symlink(&secret, old.path().join(name)).unwrap();
    }
    assert!(matches!(
        spool.open_job(id(1), Form::Local),
        Err(Error::Damaged { .. })
    ));
    assert!(matches!(
        spool.deliver_job(id(2), &[user("bob")]),
        Err(Error::Damaged { .. })
    ));
    // A name that is taken already is passed over, and never replaced.
    std::os::unix::fs::symlink(&secret, old.path().join("queue/5")).unwrap();
    std::os::unix::fs::symlink(&secret, old.path().join("queue/6.job")).unwrap();
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(7)]);
    assert!(secret.exists() && !old.path().join("queue/6").exists());
}

#[test]
fn lost_numbers_of_the_queue_go_on_above_the_highest_ever_seen() {
    let old = old();
    let (spool, _) = open(&old);
    for n in 5..=20 {
        assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(n)]);
        spool.finish(id(n)).unwrap();
    }
    drop(spool);
    fs::write(old.path().join("queue/seq"), [0x33; 4128]).unwrap();
    let (spool, recovery) = open(&old);
    assert!(recovery.queue_renumbered && recovery.renumbered.is_empty());
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(21)]);
    drop(spool);
    // Without the index as well: what the files and the names in corrupt/ tell.
    fs::remove_file(old.path().join("index.sqlite")).unwrap();
    fs::remove_file(old.path().join("queue/seq")).unwrap();
    fs::write(old.path().join("queue/21.job"), b"torn").unwrap();
    let (spool, recovery) = open(&old);
    assert!(recovery.queue_renumbered);
    assert_eq!(queued("bob@BETA", b"x").job_ids(&spool), [id(22)]);
}
