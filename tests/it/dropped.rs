//! The drop directory: complete jobs are taken as their owners', and nothing that anybody puts there does harm.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Daemon, Local, Place, Setup, needs_root, until};

/// A drop directory, and a daemon that takes what is put into it.
struct Drop {
    place: Place,
    daemon: Daemon,
}

impl Drop {
    fn open(more: &str) -> Drop {
        needs_root("jobs are those of the users who own them");
        let place = Place::new();
        let dir = place.path("drop");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1733)).unwrap();
        let daemon = Setup::new(&format!(
            "[queue]\ndrop = {:?}\nrescan = \"1s\"\nretry = [\"100ms\"]\n",
            dir.to_str().unwrap()
        ));
        let daemon = daemon.over(more).start();
        Drop { place, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path("drop").join(name)
    }

    /// Renames a job into place, as one should.
    fn put(&self, name: &str, job: impl AsRef<[u8]>) {
        let aside = self.path(&format!(".{name}"));
        fs::write(&aside, job).unwrap();
        fs::rename(&aside, self.path(name)).unwrap();
    }

    fn gone(&self, name: &str) {
        until(name, || {
            fs::symlink_metadata(self.path(name)).is_err().then_some(())
        });
    }

    /// The reason why it was rejected.
    fn rejected(&self, name: &str) -> String {
        let reason = self.path("rejected").join(format!("{name}.reason"));
        let reason = until(name, || {
            fs::read_to_string(&reason)
                .ok()
                .filter(|text| text.ends_with('\n'))
        });
        assert!(fs::symlink_metadata(self.path("rejected").join(name)).is_ok());
        assert!(
            fs::symlink_metadata(self.path(name)).is_err(),
            "{name} is still there"
        );
        reason
    }

    fn bodies(&self, user: &str) -> Vec<Vec<u8>> {
        let items = self.daemon.items(user);
        items
            .iter()
            .map(|item| self.daemon.bytes(item, uft::local::Form::Local))
            .collect()
    }

    /// A job that is good, after something that may not have been.
    fn still_serves(&self) {
        self.put("last-of-all", job("root", "fine"));
        self.gone("last-of-all");
        assert!(self.bodies("root").contains(&b"fine".to_vec()));
    }
}

fn job(to: &str, body: &str) -> String {
    format!("# a job\nFILE 0 mallory -\nUSER {to}\nTYPE I\nMETA NAME f.txt\nDATA\n{body}")
}

#[test]
fn a_job_that_is_renamed_into_place_is_taken_as_its_owners() {
    let drop = Drop::open("");
    drop.put("one", job("alice", "EOF\r\nQUIT\r\n"));
    drop.gone("one");
    let item = drop.daemon.item("alice");
    let origin = &item.envelope.facts.origin;
    assert_eq!(
        (origin.user.as_str(), origin.proof),
        ("root", uft_spool::Proof::Local)
    );
    assert_eq!(item.envelope.facts.name.as_deref(), Some("f.txt"));
    assert_eq!(drop.bodies("alice"), [b"EOF\r\nQUIT\r\n"]);
}

#[test]
fn what_waits_at_the_start_is_taken_and_what_is_being_written_is_not() {
    let mut drop = Drop::open("");
    drop.daemon.stop();
    for name in [".hidden", "a.tmp", "b.part", "c"] {
        fs::write(drop.path(name), job("alice", name)).unwrap();
    }
    drop.daemon.start_again();
    drop.gone("c");
    drop.still_serves();
    assert_eq!(drop.bodies("alice"), [b"c"]);
    fs::rename(drop.path("a.tmp"), drop.path("a")).unwrap();
    drop.gone("a");
    assert_eq!(drop.bodies("alice").len(), 2);
}

#[test]
fn what_is_no_plain_file_is_put_away_and_never_opened() {
    let drop = Drop::open("");
    let secret = drop.place.file("secret", job("alice", "not yours"));
    symlink(&secret, drop.path("link")).unwrap();
    fs::hard_link(&secret, drop.path("hard")).unwrap();
    fs::create_dir(drop.path("dir")).unwrap();
    let fifo = drop.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for name in ["link", "dir", "fifo"] {
        assert!(drop.rejected(name).contains("no regular file"), "{name}");
    }
    assert!(drop.rejected("hard").contains("2 names"));
    drop.still_serves();
    assert!(drop.bodies("alice").is_empty());
    assert!(secret.exists());
}

#[test]
fn what_is_no_job_is_put_away_with_the_line_that_is_wrong() {
    let drop = Drop::open("");
    let long = format!("FILE 0 x -\n# {}\nUSER alice\nDATA\nx", "y".repeat(5000));
    for (name, job, said) in [
        (
            "junk",
            "\u{0}\u{1}\u{1b}[2J\n".to_owned() + &"\u{fffd}".repeat(300),
            "line 1",
        ),
        ("long", long, "line 2"),
        (
            "verb",
            "FILE 0 x -\nUSER alice\nCPQ TIME\nDATA\nx".into(),
            "line 3",
        ),
        ("quit", "FILE 0 x -\nQUIT\nDATA\nx".into(), "line 2"),
        (
            "counted",
            job("alice", "x").replace("DATA\n", "DATA 1\n"),
            "line 6",
        ),
        (
            "two",
            job("alice", "x").replace("USER alice\n", "USER alice\nUSER bob\n"),
            "line 4",
        ),
        ("early", "DATA\nx".into(), "403"),
        ("nobody", job("no-such-user", "x"), "532"),
        ("nowhere", job("alice@NOWHERE", "x"), "533"),
    ] {
        drop.put(name, job);
        let reason = drop.rejected(name);
        assert!(reason.contains(said), "{name}: {reason}");
        crate::harness::assert_inert(name, &reason);
    }
    drop.still_serves();
    assert!(drop.bodies("alice").is_empty());
}

#[test]
fn nothing_that_was_rejected_is_written_over() {
    let drop = Drop::open("");
    for n in 0..3 {
        drop.put("same", format!("junk {n}\n"));
        drop.gone("same");
    }
    let names = ["same", "same~1", "same~2"];
    let kept = names.map(|name| fs::read_to_string(drop.path("rejected").join(name)).unwrap());
    assert_eq!(kept, ["junk 0\n", "junk 1\n", "junk 2\n"]);
}

#[test]
fn a_job_that_is_larger_than_any_file_may_be_is_put_away_unread() {
    let drop = Drop::open("[limits]\nmax_file = \"1MiB\"");
    let aside = drop.path(".huge");
    fs::write(&aside, job("alice", "x")).unwrap();
    File::options()
        .write(true)
        .open(&aside)
        .unwrap()
        .set_len(300 << 20)
        .unwrap();
    fs::rename(&aside, drop.path("huge")).unwrap();
    assert!(drop.rejected("huge").contains("bytes"));
    // Below the first glance, and still too large.
    drop.put("large", job("alice", &"x".repeat(1_500_000)));
    assert!(drop.rejected("large").contains("531"));
    assert!(drop.bodies("alice").is_empty());
    assert!(drop.daemon.staged().is_empty());
}

#[test]
fn a_large_job_goes_through_in_little_memory() {
    let drop = Drop::open("");
    let before = drop.daemon.memory("VmHWM");
    let aside = drop.path(".big");
    fs::write(&aside, job("alice", "")).unwrap();
    let head = fs::metadata(&aside).unwrap().len();
    File::options()
        .write(true)
        .open(&aside)
        .unwrap()
        .set_len(head + (100 << 20))
        .unwrap();
    fs::rename(&aside, drop.path("big")).unwrap();
    drop.gone("big");
    assert_eq!(drop.daemon.item("alice").envelope.local.bytes, 100 << 20);
    let more = drop.daemon.memory("VmHWM").saturating_sub(before);
    assert!(more < 48 << 10, "{more} KiB more");
}

#[test]
fn a_job_that_does_not_fit_now_stays_and_is_tried_again() {
    let drop = Drop::open("[limits]\nuser_items = 1");
    drop.put("first", job("alice", "1"));
    drop.gone("first");
    drop.put("second", job("alice", "2"));
    until("the refusal", || {
        drop.daemon.log().contains("over quota").then_some(())
    });
    assert!(drop.path("second").exists());
    let item = drop.daemon.item("alice");
    assert!(drop.daemon.discard(&item));
    drop.gone("second");
    assert_eq!(drop.bodies("alice"), [b"2"]);
}

#[test]
fn somebody_elses_job_is_somebody_elses() {
    let drop = Drop::open("");
    let script = format!(
        "printf '{}' > .n && mv .n nobodys",
        job("alice", "x").replace('\n', "\\n")
    );
    let status = Command::new("setpriv")
        .args([
            "--reuid",
            "nobody",
            "--regid",
            "nogroup",
            "--clear-groups",
            "--",
            "/bin/sh",
            "-c",
            &script,
        ])
        .current_dir(drop.place.path("drop"))
        .status()
        .unwrap();
    assert!(status.success());
    drop.gone("nobodys");
    assert_eq!(drop.daemon.item("alice").envelope.facts.origin.user, "nobody");
}

#[test]
fn a_job_that_is_read_again_after_a_crash_is_stored_once() {
    let mut drop = Drop::open("");
    for round in 0..8 {
        let name = format!("job{round}");
        drop.put(&name, job("alice", &format!("round {round}")));
        // Somewhere between the first byte and the removal of the name.
        until("the delivery", || {
            (drop.daemon.log().matches("delivered").count() > round || !drop.path(&name).exists())
                .then_some(())
        });
        drop.daemon.kill();
        drop.daemon.start_again();
        drop.gone(&name);
    }
    assert_eq!(drop.bodies("alice").len(), 8);
}

#[test]
fn five_hundred_jobs_at_once_are_all_taken() {
    let mut drop = Drop::open("");
    drop.daemon.stop();
    for n in 0..500 {
        drop.put(&format!("job{n:03}"), job("alice", &n.to_string()));
    }
    drop.daemon.start_again();
    until("all jobs", || {
        (names(&drop.place.path("drop")) == ["rejected"]).then_some(())
    });
    let mut bodies: Vec<usize> = drop
        .daemon
        .items("alice")
        .iter()
        .map(|item| {
            String::from_utf8(drop.daemon.bytes(item, uft::local::Form::Local))
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..500).collect::<Vec<_>>());
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_directory_that_is_not_safe_is_not_used_and_the_log_says_why() {
    let mut drop = Drop::open("");
    drop.daemon.stop();
    fs::set_permissions(drop.place.path("drop"), fs::Permissions::from_mode(0o777)).unwrap();
    drop.put("one", job("alice", "x"));
    drop.daemon.start_again();
    until("the log's word", || {
        drop.daemon.log().contains("no sticky bit").then_some(())
    });
    assert!(drop.path("one").exists());
    fs::set_permissions(drop.place.path("drop"), fs::Permissions::from_mode(0o1777)).unwrap();
    drop.gone("one");
    let real = drop.place.path("real");
    fs::rename(drop.place.path("drop"), &real).unwrap();
    symlink(&real, drop.place.path("drop")).unwrap();
    until("the log's word", || {
        drop.daemon.log().contains("is a symlink").then_some(())
    });
    // The socket is as before.
    let mut local = Local::open(&drop.daemon.socket(), "{\"op\":\"status\"}");
    local.line("{\"status\"");
}
