//! Links and pipes that somebody planted where files are received, and where they are kept.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Daemon, Program};

fn receive(daemon: &Daemon, more: &[&str]) -> Program {
    let into = daemon.place.inbound();
    let fixed = ["--user", "alice", "receive", "1", "-o", into.to_str().unwrap()];
    daemon.uft(fixed.iter().chain(more))
}

fn daemon_with_note() -> Daemon {
    let daemon = Daemon::start();
    daemon
        .connect()
        .deliver("alice", "I", "note", b"content")
        .has(200);
    daemon
}

#[test]
fn a_symbolic_link_in_the_target_directory_is_not_followed() {
    for force in [false, true] {
        let daemon = daemon_with_note();
        let victim = daemon.place.file("victim", "untouched");
        symlink(&victim, daemon.place.inbound().join("note")).unwrap();
        let more: &[&str] = if force { &["--force"] } else { &[] };
        receive(&daemon, more).ok();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched", "force: {force}");
        let name = if force { "note" } else { "note.1" };
        let path = daemon.place.inbound().join(name);
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "force: {force}");
        assert_eq!(fs::read(path).unwrap(), b"content");
    }
}

#[test]
fn a_dangling_link_is_not_a_free_name() {
    let daemon = daemon_with_note();
    let elsewhere = daemon.place.work().join("created-through-the-link");
    symlink(&elsewhere, daemon.place.inbound().join("note")).unwrap();
    receive(&daemon, &[]).ok();
    assert!(!elsewhere.exists());
    assert_eq!(daemon.place.received(), ["note", "note.1"]);
}

#[test]
fn a_hard_link_in_the_target_directory_is_not_written_through() {
    let daemon = daemon_with_note();
    let victim = daemon.place.file("victim", "untouched");
    fs::hard_link(&victim, daemon.place.inbound().join("note")).unwrap();
    receive(&daemon, &["--force"]).ok();
    assert_eq!(fs::read(victim).unwrap(), b"untouched");
    assert_eq!(fs::read(daemon.place.inbound().join("note")).unwrap(), b"content");
}

#[test]
fn a_pipe_in_the_target_directory_does_not_hang_the_receiver() {
    let daemon = daemon_with_note();
    let pipe = daemon.place.inbound().join("note");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    receive(&daemon, &[]).ok();
    assert_eq!(
        fs::read(daemon.place.inbound().join("note.1")).unwrap(),
        b"content"
    );
}

#[test]
fn what_is_planted_in_the_spool_is_neither_followed_nor_served() {
    let mut daemon = daemon_with_note();
    daemon.stop();
    let inbox = daemon.spool().join("users/alice");
    let secret = daemon.place.file("secret", "the administrator's own");
    symlink(&secret, inbox.join("2")).unwrap();
    fs::hard_link(&secret, inbox.join("3")).unwrap();
    mknodat(CWD, inbox.join("4"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(inbox.join("5")).unwrap();
    fs::write(inbox.join("6"), "no trailer").unwrap();
    fs::write(inbox.join("not-a-number"), "foreign").unwrap();
    let outside = daemon.place.path("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, daemon.spool().join("users/bob")).unwrap();
    fs::write(daemon.spool().join("tmp/left-over"), "torn").unwrap();
    // The index may know of it or not: both must hold.
    for index_too in [false, true] {
        if index_too {
            for name in daemon
                .place
                .names("spool")
                .iter()
                .filter(|name| name.starts_with("index"))
            {
                fs::remove_file(daemon.spool().join(name)).unwrap();
            }
        }
        daemon.start_again();
        let items = daemon.items("alice");
        assert_eq!(items.len(), 1, "{items:#?}");
        assert_eq!(daemon.staged(), Vec::<String>::new());
        daemon.connect().deliver("alice", "I", "more", b"x").has(200);
        let more = daemon.items("alice").pop().unwrap();
        assert!(more.id.get() > 6, "no number is used twice: {}", more.id);
        assert!(daemon.discard(&more));
        // Bob's directory was a link out of the spool: nothing may be written there.
        daemon
            .connect()
            .deliver("bob", "I", "into the spool", b"x")
            .has(200);
        assert_eq!(
            fs::read_dir(&outside).unwrap().count(),
            0,
            "written through a planted link"
        );
        assert!(
            fs::symlink_metadata(daemon.spool().join("users/bob"))
                .unwrap()
                .is_dir()
        );
        daemon.stop();
    }
    assert_eq!(fs::read(secret).unwrap(), b"the administrator's own");
}

#[test]
fn the_spool_is_closed_to_other_users_of_the_host() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = daemon_with_note();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.spool()), 0o700);
    assert_eq!(mode(&daemon.socket()), 0o666);
    let item = daemon.spool().join("users/alice/1");
    assert_eq!(mode(&item) & 0o077, 0, "{:o}", mode(&item));
}
