//! Spools that were damaged between two runs: rebuilt or set aside, the rest is served, and the log says so.

use std::fs;
use std::path::PathBuf;

use uft::local::Form;

use crate::harness::{Daemon, random_bytes, until};

fn filled() -> Daemon {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    for n in 0..5 {
        wire.deliver(
            "alice",
            "A",
            &format!("text-{n}"),
            format!("number {n}\r\n").as_bytes(),
        )
        .has(200);
    }
    wire.deliver("bob", "I", "large", &random_bytes(1, 300_000))
        .has(200);
    daemon
}

fn index_files(daemon: &Daemon) -> Vec<PathBuf> {
    let names = fs::read_dir(daemon.spool())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("index"))
        .collect()
}

fn assert_all_there(daemon: &Daemon) {
    let names: Vec<_> = daemon
        .items("alice")
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["text-0", "text-1", "text-2", "text-3", "text-4"]);
    for (n, item) in daemon.items("alice").iter().enumerate() {
        assert_eq!(
            daemon.bytes(item, Form::Local),
            format!("number {n}\n").as_bytes()
        );
    }
    assert_eq!(
        daemon.bytes(&daemon.item("bob"), Form::Local),
        random_bytes(1, 300_000)
    );
}

#[test]
fn a_deleted_index_is_rebuilt() {
    let mut daemon = filled();
    daemon.stop();
    let files = index_files(&daemon);
    assert!(!files.is_empty(), "there is an index");
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
    daemon.start_again();
    assert_all_there(&daemon);
    assert!(daemon.log().contains("index_rebuilt=true"), "the log says so");
    daemon.connect().deliver("alice", "I", "next", b"x").has(200);
    assert_eq!(daemon.items("alice").last().unwrap().id.get(), 6, "numbers go on");
}

#[test]
fn a_corrupt_index_is_rebuilt() {
    for damage in [
        b"".to_vec(),
        b"this is not a database".repeat(300),
        random_bytes(2, 70_000),
    ] {
        let mut daemon = filled();
        daemon.kill();
        for path in index_files(&daemon) {
            fs::write(path, &damage).unwrap();
        }
        daemon.start_again();
        assert_all_there(&daemon);
    }
}

#[test]
fn an_index_that_is_a_run_behind_is_brought_up_to_date() {
    let mut daemon = filled();
    daemon.stop();
    let old: Vec<(PathBuf, Vec<u8>)> = index_files(&daemon)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    daemon.start_again();
    daemon
        .connect()
        .deliver("alice", "I", "unknown to the old index", b"x")
        .has(200);
    let first = daemon.items("alice").remove(0);
    assert!(daemon.discard(&first));
    daemon.kill();
    index_files(&daemon)
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());
    for (path, bytes) in old {
        fs::write(path, bytes).unwrap();
    }
    daemon.start_again();
    let names: Vec<_> = daemon
        .items("alice")
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(
        names,
        ["text-1", "text-2", "text-3", "text-4", "unknown to the old index"]
    );
}

#[test]
fn a_damaged_item_is_set_aside_and_the_others_are_served() {
    let mut daemon = filled();
    daemon.stop();
    let path = daemon.spool().join("users/alice/3");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    index_files(&daemon)
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());
    daemon.start_again();
    let ids: Vec<u64> = daemon.items("alice").iter().map(|item| item.id.get()).collect();
    assert_eq!(ids, [1, 2, 4, 5]);
    assert!(daemon.log().contains("corrupt"), "{}", daemon.log());
    assert_eq!(fs::read_dir(daemon.spool().join("corrupt")).unwrap().count(), 1);
    daemon
        .uft([
            "--user",
            "alice",
            "receive",
            "--all",
            "-o",
            daemon.place.inbound().to_str().unwrap(),
        ])
        .ok();
    assert_eq!(daemon.place.received().len(), 4);
}

#[test]
fn an_item_whose_bytes_changed_is_not_received_as_if_they_had_not() {
    let mut daemon = filled();
    daemon.stop();
    let path = daemon.spool().join("users/bob/1");
    let mut bytes = fs::read(&path).unwrap();
    bytes[150_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    daemon.start_again();
    let into = daemon.place.inbound();
    let ran = daemon
        .uft(["--user", "bob", "receive", "1", "-o", into.to_str().unwrap()])
        .run();
    assert_ne!(ran.code, 0, "success on a corrupted file: {ran:?}");
    assert!(
        !into.join("large").exists(),
        "the damaged bytes look like the file"
    );
    assert_eq!(daemon.items("bob").len(), 1, "kept, for whoever repairs it");
}

#[test]
fn numbers_are_not_used_again_after_a_kill_or_a_restart() {
    let mut daemon = Daemon::start();
    let mut highest = 0;
    for round in 0..4 {
        daemon.connect().deliver("alice", "I", "f", b"x").has(200);
        let item = daemon.item("alice");
        assert!(item.id.get() > highest, "{} after {highest}", item.id);
        highest = item.id.get();
        assert!(daemon.discard(&item));
        if round % 2 == 0 {
            daemon.kill();
        } else {
            daemon.stop();
        }
        daemon.start_again();
    }
}

#[test]
fn unread_items_expire() {
    let mut daemon = filled();
    daemon.restart();
    assert_all_there(&daemon);
    daemon.configure("[limits]\nexpire = \"1s\"");
    // What came a second ago is not older than a second.
    let newest = daemon.item("bob").envelope.facts.received;
    until("the second after the next", || {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        (i64::try_from(now).unwrap() > newest + 1).then_some(())
    });
    daemon.restart();
    until("the expiry", || {
        (daemon.log().matches("expired unread").count() == 6).then_some(())
    });
    assert!(daemon.items("alice").is_empty() && daemon.items("bob").is_empty());
    daemon.configure("[limits]\nexpire = \"30d\"");
    daemon.restart();
    daemon.connect().deliver("alice", "I", "young", b"x").has(200);
    assert_eq!(daemon.item("alice").id.get(), 6, "numbers go on");
}
