//! A disk that is really full: refused with 5xx, nothing left behind, and the way out of it still works.

use std::fs;

use uft::local::Form;

use crate::harness::{Daemon, Setup, Tmpfs, random_bytes};

fn on(tmpfs: &Tmpfs, settings: &str) -> Daemon {
    Setup::new(settings).spool(&tmpfs.path().join("spool")).start()
}

/// Sends a file that cannot be taken; the refusal, at whichever command it comes.
fn refused(daemon: &Daemon, declared: &str, bytes: &[u8]) -> u16 {
    let mut wire = daemon.connect();
    wire.ask(&format!("FILE {declared} tester -")).has(200);
    let user = wire.ask("USER alice");
    if user.code != 208 {
        return user.code;
    }
    let burst = wire.burst("DATA", bytes);
    let last = if burst.code == 213 { wire.ask("EOF") } else { burst };
    if last.code >= 400 {
        wire.ends();
    }
    last.code
}

#[test]
fn a_file_that_cannot_fit_is_refused_before_its_data() {
    let tmpfs = Tmpfs::mount("size=16m");
    let daemon = on(&tmpfs, "[limits]\nmin_free = \"4MiB\"");
    let mut wire = daemon.connect();
    wire.ask("FILE 14000000 tester -").has(200);
    wire.ask("USER alice").has(559);
    daemon.place.file("large", random_bytes(1, 14_000_000));
    daemon.sendfile([daemon.to("alice").as_str(), "large"]).exits(73);
    daemon.connect().deliver("alice", "I", "small", b"fits").has(200);
}

#[test]
fn a_disk_that_fills_up_in_the_middle_refuses_the_file_and_nothing_else() {
    let tmpfs = Tmpfs::mount("size=12m");
    let daemon = on(&tmpfs, "[limits]\nmin_free = 0");
    daemon
        .connect()
        .deliver("alice", "I", "kept", &random_bytes(1, 500_000))
        .has(200);
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "too-much", 1);
    let bytes = random_bytes(2, 32_000_000);
    wire.send(format!("DATA {}\r\n", bytes.len()));
    wire.reply().is(3);
    // The rest of the burst is read to its end, so that the refusal is heard.
    wire.send(&bytes);
    let refusal = wire.reply();
    assert!(matches!(refusal.code, 513 | 559), "{refusal:?}");
    wire.ends();
    daemon.quiet();
    assert_eq!(daemon.staged(), Vec::<String>::new(), "the partial file is gone");
    assert_eq!(daemon.items("alice").len(), 1);
    // The disk is as free as before: the same file fits when it is small enough.
    daemon
        .connect()
        .deliver("alice", "I", "again", &bytes[..4_000_000])
        .has(200);
    assert_eq!(daemon.items("alice").len(), 2);
}

#[test]
fn a_full_disk_can_be_emptied_by_receiving() {
    let tmpfs = Tmpfs::mount("size=12m");
    let daemon = on(&tmpfs, "[limits]\nmin_free = 0");
    let bytes = random_bytes(3, 2_000_000);
    for name in ["first", "second", "third"] {
        daemon.connect().deliver("alice", "I", name, &bytes).has(200);
    }
    let filler = tmpfs.fill();
    let refusal = refused(&daemon, "1", &bytes);
    assert!(matches!(refusal, 513 | 559), "{refusal}");
    let out = daemon.place.inbound();
    let into = out.to_str().unwrap();
    daemon.uft(["--user", "alice", "ls"]).ok();
    daemon.uft(["--user", "alice", "receive", "1", "-o", into]).ok();
    assert_eq!(fs::read(out.join("first")).unwrap(), bytes);
    daemon.uft(["--user", "alice", "discard", "2"]).ok();
    fs::remove_file(filler).unwrap();
    assert_eq!(daemon.items("alice").len(), 1);
    daemon.connect().deliver("alice", "I", "later", &bytes).has(200);
    let names: Vec<_> = daemon
        .items("alice")
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["third", "later"]);
}

#[test]
fn small_files_on_a_full_disk_are_refused_too_and_the_daemon_starts_on_it() {
    let tmpfs = Tmpfs::mount("size=8m");
    let mut daemon = on(&tmpfs, "[limits]\nmin_free = 0");
    daemon
        .connect()
        .deliver("alice", "I", "before", b"kept through it all")
        .has(200);
    let filler = tmpfs.fill();
    for size in ["5000", "1", "0", "-"] {
        let refusal = refused(&daemon, size, &[b'x'; 5_000]);
        assert!(matches!(refusal, 513 | 559), "{size}: {refusal}");
    }
    daemon.quiet();
    assert_eq!(daemon.items("alice").len(), 1);
    daemon.stop();
    daemon.start_again();
    let item = daemon.item("alice");
    assert_eq!(daemon.bytes(&item, Form::Local), b"kept through it all");
    fs::remove_file(filler).unwrap();
    daemon
        .connect()
        .deliver("alice", "I", "after", b"taken again")
        .has(200);
}

#[test]
fn a_disk_without_inodes_refuses_and_recovers() {
    let tmpfs = Tmpfs::mount("size=32m,nr_inodes=200");
    let daemon = on(&tmpfs, "[limits]\nmin_free = 0");
    daemon.connect().deliver("alice", "I", "before", b"x").has(200);
    let fillers = tmpfs.fill_inodes();
    let refusal = refused(&daemon, "200000", &random_bytes(4, 200_000));
    assert!(matches!(refusal, 513 | 559), "{refusal}");
    daemon
        .uft([
            "--user",
            "alice",
            "receive",
            "1",
            "-o",
            daemon.place.inbound().to_str().unwrap(),
        ])
        .ok();
    fs::remove_dir_all(fillers).unwrap();
    daemon.connect().deliver("alice", "I", "after", b"y").has(200);
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn a_receiver_whose_own_disk_is_full_keeps_the_item() {
    let tmpfs = Tmpfs::mount("size=1m");
    let daemon = Daemon::start();
    daemon
        .connect()
        .deliver("alice", "I", "big", &random_bytes(5, 3_000_000))
        .has(200);
    let into = tmpfs.path().to_str().unwrap();
    let ran = daemon.uft(["--user", "alice", "receive", "1", "-o", into]).run();
    assert!(matches!(ran.code, 73 | 74), "{ran:?}");
    assert_eq!(daemon.items("alice").len(), 1, "not lost");
    let left: Vec<_> = fs::read_dir(tmpfs.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(left.is_empty(), "no half file is left: {left:?}");
}
