//! Old and damaged spools: what is whole is served, what is not is moved away, and somebody is told.
//!
//! `fixtures/1` is a spool of format 1 as it was written, with two users: ann has a text with all three forms (1) and
//! a small file (3); number 2 was removed, and is in the log; bob has ann's 1 as his 1.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use uft_spool::{Committed, Error, FileType, Form, Recovery, Spool, UserName};

use crate::common::*;

/// A copy of the fixture, which may be changed.
fn old() -> tempfile::TempDir {
    let temp = scratch();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/1"),
        temp.path(),
    );
    // A version control system keeps no empty directories.
    for name in ["tmp", "corrupt"] {
        fs::create_dir_all(temp.path().join(name)).unwrap();
    }
    temp
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn open(dir: &tempfile::TempDir) -> (Spool, Recovery) {
    Spool::open(dir.path(), LIMITS).unwrap()
}

/// What an accident does to a file.
type Spoil = fn(&Path);

fn ann() -> UserName {
    user("ann")
}

fn ids(spool: &Spool, user: &UserName) -> Vec<u64> {
    spool
        .list(user)
        .unwrap()
        .iter()
        .map(|summary| summary.id.get())
        .collect()
}

#[test]
fn a_spool_of_format_1_is_read() {
    let old = old();
    let (spool, recovery) = open(&old);
    assert!(recovery.rebuilt && !recovery.created && recovery.clean);
    assert_eq!((recovery.items, recovery.learnt), (3, 3));
    assert_eq!((&recovery.quarantined, &recovery.problems), (&vec![], &vec![]));
    let list = spool.list(&ann()).unwrap();
    assert_eq!(
        list.iter().map(|summary| summary.id.get()).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_eq!((list[0].from.as_str(), list[0].size), ("maint@192.0.2.1", 6));
    assert_eq!(
        (list[0].file_type, list[0].received),
        (FileType::I, 1_795_218_990)
    );
    assert_eq!(check(&spool, &ann(), id(1)).unwrap(), b"local\n");
    assert_eq!(read(&spool, &ann(), id(1), Form::Wire).unwrap(), b"local\r\n");
    assert_eq!(read(&spool, &ann(), id(1), Form::Aux).unwrap(), b"fork");
    assert_eq!(check(&spool, &ann(), id(3)).unwrap(), b"small");
    assert_eq!(check(&spool, &user("bob"), id(1)).unwrap(), b"local\n");
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(4)]);
}

/// The fixture is what this program writes; made anew by `make_fixture` in a directory of choice.
#[test]
fn the_fixture_is_what_is_written_today() {
    let temp = scratch();
    make_fixture(temp.path());
    let old = old();
    for name in [
        "format",
        "users/ann/1",
        "users/ann/1.wire",
        "users/ann/1.aux",
        "users/ann/3",
        "users/ann/seq",
        "users/bob/1",
    ] {
        let (now, then) = (fs::read(temp.path().join(name)), fs::read(old.path().join(name)));
        assert!(now.unwrap() == then.unwrap(), "{name}");
    }
}

fn make_fixture(dir: &Path) {
    let (spool, _) = Spool::open(dir, LIMITS).unwrap();
    Parcel {
        wire: Some(b"local\r\n"),
        aux: Some(b"fork"),
        ..parcel("ann,bob", b"local\n")
    }
    .ids(&spool);
    Parcel {
        xid: Some("x2"),
        ..parcel("ann", b"gone")
    }
    .ids(&spool);
    spool.remove(&ann(), id(2)).unwrap();
    parcel("ann", b"small").ids(&spool);
    spool.close();
    if let Some(keep) = std::env::var_os("SPOOL_FIXTURE") {
        copy(dir, Path::new(&keep));
    }
}

#[test]
fn an_item_cut_at_any_byte_is_moved_away_and_the_rest_is_served() {
    let whole = fs::read(old().path().join("users/ann/3")).unwrap();
    for len in 0..whole.len() {
        let old = old();
        fs::write(old.path().join("users/ann/3"), &whole[..len]).unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!(recovery.quarantined.len(), 1, "{len}");
        assert_eq!(recovery.quarantined[0].0.file_name().unwrap(), "3");
        assert_eq!(fs::read(old.path().join("corrupt/ann~3")).unwrap(), whole[..len]);
        assert_eq!(ids(&spool, &ann()), [1]);
        assert!(matches!(spool.item(&ann(), id(3)), Err(Error::NoSuchItem { .. })));
        assert_eq!(parcel("ann", b"x").ids(&spool), [id(4)]);
    }
}

#[test]
fn a_flipped_byte_of_a_trailer_is_noticed_with_the_index_and_without() {
    let mut item = fs::read(old().path().join("users/ann/3")).unwrap();
    let indexed = old();
    drop(open(&indexed));
    for at in 5..item.len() {
        item[at] ^= 0x20;
        fs::write(indexed.path().join("users/ann/3"), &item).unwrap();
        let (spool, recovery) = open(&indexed);
        assert_eq!(recovery.quarantined, []);
        assert_eq!(ids(&spool, &ann()), [1, 3]);
        assert!(
            matches!(spool.item(&ann(), id(3)), Err(Error::Damaged { .. })),
            "{at}"
        );
        assert!(matches!(
            spool.open_form(&ann(), id(3), Form::Local),
            Err(Error::Damaged { .. })
        ));
        assert!(matches!(
            spool.link(&ann(), id(3), &ann()),
            Err(Error::Damaged { .. })
        ));
        drop(spool);
        let bare = old();
        fs::write(bare.path().join("users/ann/3"), &item).unwrap();
        let (spool, recovery) = open(&bare);
        assert_eq!(recovery.quarantined.len(), 1, "{at}");
        assert_eq!(ids(&spool, &ann()), [1]);
        item[at] ^= 0x20;
    }
    fs::write(indexed.path().join("users/ann/3"), b"torn").unwrap();
    let (spool, _) = open(&indexed);
    spool.remove(&ann(), id(3)).unwrap();
    assert_eq!(ids(&spool, &ann()), [1]);
}

#[test]
fn an_index_that_cannot_be_read_is_moved_aside_and_made_anew() {
    let spoil: [(&str, Spoil); 6] = [
        ("garbage", |index| fs::write(index, [0x5A; 5000]).unwrap()),
        ("empty", |index| fs::write(index, b"").unwrap()),
        ("half", |index| {
            let bytes = fs::read(index).unwrap();
            fs::write(index, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("zeros in the middle", |index| {
            let mut bytes = fs::read(index).unwrap();
            bytes[4096..8192].fill(0);
            fs::write(index, bytes).unwrap();
        }),
        ("a directory", |index| {
            fs::remove_file(index).unwrap();
            fs::create_dir(index).unwrap();
        }),
        ("a symlink", |index| {
            fs::rename(index, index.with_file_name("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", index).unwrap();
        }),
    ];
    for clean in [false, true] {
        for (what, spoil) in spoil {
            let old = old();
            drop(open(&old));
            if !clean {
                fs::write(old.path().join("lock"), b"").unwrap();
            }
            spoil(&old.path().join("index.sqlite"));
            let (spool, recovery) = open(&old);
            assert!(recovery.rebuilt, "{what}: {recovery:?}");
            assert_eq!(
                recovery.quarantined.len(),
                usize::from(what != "empty"),
                "{what}: {recovery:?}"
            );
            assert_eq!(ids(&spool, &ann()), [1, 3], "{what}");
            assert_eq!(spool.totals().items, 3);
        }
    }
}

#[test]
fn rows_without_items_and_items_without_rows_are_put_right() {
    let old = old();
    drop(open(&old));
    fs::remove_file(old.path().join("users/ann/1")).unwrap();
    fs::hard_link(old.path().join("users/ann/3"), old.path().join("users/ann/9")).unwrap();
    fs::remove_dir_all(old.path().join("users/bob")).unwrap();
    let (spool, recovery) = open(&old);
    assert_eq!((recovery.learnt, recovery.forgotten, recovery.orphans), (1, 2, 2));
    assert_eq!(ids(&spool, &ann()), [3, 9]);
    assert!(spool.list(&user("bob")).unwrap().is_empty());
    assert_eq!(spool.totals().items, 2);
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(10)]);
}

#[test]
fn a_missing_sibling_is_reported_and_the_item_is_served() {
    for indexed in [false, true] {
        let old = old();
        if indexed {
            drop(open(&old));
        }
        fs::remove_file(old.path().join("users/ann/1.wire")).unwrap();
        fs::write(old.path().join("users/ann/1.aux"), b"fork!").unwrap();
        let (spool, recovery) = open(&old);
        assert_eq!(recovery.problems.len(), 1);
        assert_eq!(read(&spool, &ann(), id(1), Form::Local).unwrap(), b"local\n");
        assert!(matches!(
            spool.open_form(&ann(), id(1), Form::Wire),
            Err(Error::Damaged { .. })
        ));
        assert!(matches!(
            spool.open_form(&ann(), id(1), Form::Aux),
            Err(Error::Damaged { .. })
        ));
        assert_eq!(
            read(&spool, &user("bob"), id(1), Form::Wire).unwrap(),
            b"local\r\n"
        );
    }
}

#[test]
fn what_is_not_ours_is_moved_away() {
    let old = old();
    let inbox = old.path().join("users/ann");
    let fifo = |name: &str| {
        let dir = fs::File::open(&inbox).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&dir, name, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    };
    for name in [
        "notes.txt",
        "007",
        "0",
        "5.wire.wire",
        "x.aux",
        "9223372036854775807",
        "99999999999999999999",
        "-1",
        "\u{1b}[2J",
        "5.WIRE",
    ] {
        fs::write(inbox.join(name), b"x").unwrap();
    }
    fs::write(inbox.join("6"), b"not an item, but with its name").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", inbox.join("7")).unwrap();
    std::os::unix::fs::symlink("1.wire", inbox.join("3.wire")).unwrap();
    fifo("8");
    fifo("3.aux");
    fs::create_dir(inbox.join("9")).unwrap();
    fs::write(inbox.join("9/x"), b"x").unwrap();
    fs::create_dir(old.path().join("users/Bob")).unwrap();
    fs::write(old.path().join("users/eve"), b"x").unwrap();
    std::os::unix::fs::symlink("ann", old.path().join("users/mallory")).unwrap();
    fs::write(old.path().join("tmp/17"), b"x").unwrap();
    fs::create_dir(old.path().join("tmp/18")).unwrap();
    fs::create_dir(old.path().join("queue")).unwrap();
    let (spool, recovery) = open(&old);
    assert_eq!(recovery.problems, []);
    assert_eq!(recovery.quarantined.len(), 20, "{:#?}", recovery.quarantined);
    assert_eq!(recovery.swept, 1);
    assert_eq!(fs::read_dir(old.path().join("corrupt")).unwrap().count(), 20);
    assert_eq!(ids(&spool, &ann()), [1, 3]);
    assert!(fs::symlink_metadata("/etc/passwd").unwrap().is_file());
    assert!(spool.list(&user("mallory")).unwrap().is_empty());
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(10)]);
    drop(spool);
    let (_, recovery) = open(&old);
    assert_eq!(
        (recovery.quarantined.len(), recovery.rebuilt, recovery.clean),
        (0, false, true)
    );
}

#[test]
fn an_item_replaced_while_the_spool_is_open_is_not_followed() {
    let old = old();
    let (spool, _) = open(&old);
    let item = old.path().join("users/ann/3");
    let secret = old.path().join("secret");
    fs::rename(&item, &secret).unwrap();
    std::os::unix::fs::symlink(&secret, &item).unwrap();
    assert!(matches!(spool.item(&ann(), id(3)), Err(Error::Damaged { .. })));
    assert!(matches!(
        spool.open_form(&ann(), id(3), Form::Local),
        Err(Error::Damaged { .. })
    ));
    assert!(matches!(
        spool.link(&ann(), id(3), &user("bob")),
        Err(Error::Damaged { .. })
    ));
    // A name that is taken already is passed over, and never replaced.
    std::os::unix::fs::symlink(&secret, old.path().join("users/ann/4")).unwrap();
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(5)]);
    spool.remove(&ann(), id(3)).unwrap();
    assert!(secret.exists());
}

#[test]
fn lost_numbers_go_on_above_the_highest_ever_seen() {
    let spoil: [(&str, Spoil); 5] = [
        ("garbage", |seq| fs::write(seq, [0x33; 4128]).unwrap()),
        ("missing", |seq| fs::remove_file(seq).unwrap()),
        ("empty", |seq| fs::write(seq, b"").unwrap()),
        ("a directory", |seq| {
            fs::remove_file(seq).unwrap();
            fs::create_dir(seq).unwrap();
        }),
        ("a second name of an item", |seq| {
            fs::remove_file(seq).unwrap();
            fs::hard_link(seq.with_file_name("1"), seq).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let old = old();
        let (spool, _) = open(&old);
        for n in 4..=20 {
            assert_eq!(parcel("ann", b"x").ids(&spool), [id(n)]);
            spool.remove(&ann(), id(n)).unwrap();
        }
        drop(spool);
        spoil(&old.path().join("users/ann/seq"));
        let (spool, recovery) = open(&old);
        assert_eq!(recovery.renumbered, [ann()], "{what}");
        assert_eq!(parcel("ann", b"x").ids(&spool), [id(21)], "{what}");
        assert_eq!(check(&spool, &ann(), id(1)).unwrap(), b"local\n", "{what}");
        drop(spool);
        // Without the index as well: what the files and the names in corrupt/ tell.
        fs::remove_file(old.path().join("index.sqlite")).unwrap();
        fs::remove_file(old.path().join("users/ann/seq")).unwrap();
        fs::write(old.path().join("users/ann/21"), b"torn").unwrap();
        let (spool, _) = open(&old);
        assert_eq!(parcel("ann", b"x").ids(&spool), [id(22)], "{what}");
    }
}

#[test]
fn the_log_of_repeats_survives_damage_record_by_record() {
    let again = Parcel {
        xid: Some("x2"),
        ..parcel("ann", b"gone")
    };
    let repeat = Committed::Repeat(in_inboxes(vec![(ann(), id(2))]));
    for spoil in [0, 1, 2] {
        let old = old();
        // The fixture is older than seven days some day: a record of today.
        fs::remove_file(old.path().join("seen.log")).unwrap();
        let (spool, _) = open(&old);
        for (n, xid) in [(4, "x4"), (5, "x5")] {
            assert_eq!(
                Parcel {
                    xid: Some(xid),
                    ..parcel("ann", b"gone")
                }
                .ids(&spool),
                [id(n)]
            );
            spool.remove(&ann(), id(n)).unwrap();
        }
        drop(spool);
        let log = old.path().join("seen.log");
        let mut bytes = fs::read(&log).unwrap();
        assert_eq!(bytes.len(), 128);
        match spoil {
            0 => bytes.extend(b"half a record"),
            1 => bytes[70] ^= 1,
            _ => bytes.truncate(100),
        }
        fs::write(&log, &bytes).unwrap();
        let (spool, recovery) = open(&old);
        assert!(recovery.quarantined.is_empty() && recovery.problems.is_empty());
        let first = Parcel {
            xid: Some("x4"),
            ..again.clone()
        }
        .commit(&spool)
        .unwrap();
        assert_eq!(first, Committed::Repeat(in_inboxes(vec![(ann(), id(4))])));
        let second = Parcel {
            xid: Some("x5"),
            ..again.clone()
        }
        .commit(&spool)
        .unwrap();
        assert_eq!(matches!(second, Committed::Repeat(_)), spoil == 0);
        drop(spool);
        assert_eq!(fs::read(&log).unwrap().len() % 64, 0);
        assert!(
            again
                .commit(&open(&old).0)
                .is_ok_and(|committed| committed != repeat)
        );
    }
}

#[test]
fn another_format_is_not_touched() {
    for found in [
        &b"uft-spool 2\n"[..],
        b"uft-spool 1",
        b"",
        b"\xFF\xFE",
        &[0x41; 10_000],
    ] {
        let old = old();
        fs::write(old.path().join("format"), found).unwrap();
        let Err(error) = Spool::open(old.path(), LIMITS) else {
            panic!("{found:?} was opened")
        };
        assert!(matches!(error, Error::Format { .. }));
        assert!(
            error.to_string().contains("start the version that wrote it"),
            "{error}"
        );
        assert!(!old.path().join("index.sqlite").exists());
    }
    let old = old();
    fs::remove_file(old.path().join("format")).unwrap();
    assert!(matches!(
        Spool::open(old.path(), LIMITS),
        Err(Error::Format { .. })
    ));
}

#[test]
fn a_spool_that_others_may_write_is_refused() {
    let old = old();
    fs::set_permissions(old.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Spool::open(old.path(), LIMITS),
        Err(Error::Exposed { mode: 0o777, .. })
    ));
}

#[test]
fn files_are_of_no_interest_to_others() {
    let temp = scratch();
    let dir = temp.path().join("new/spool");
    make_fixture(&dir);
    let mut left = vec![dir];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mode = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.mode() & 0o777, mode, "{}", path.display());
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn a_spool_that_was_not_made_to_the_end_is_made_again() {
    let temp = scratch();
    fs::create_dir(temp.path().join("tmp")).unwrap();
    fs::write(temp.path().join("tmp/format"), b"uft").unwrap();
    fs::create_dir(temp.path().join("users")).unwrap();
    let (spool, recovery) = open(&temp);
    assert!(recovery.created);
    assert_eq!(parcel("ann", b"x").ids(&spool), [id(1)]);
}
