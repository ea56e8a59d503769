//! SIFT jobs: files that `sendfile --sift` prepares and `uft submit` hands in; and what goes into the queue at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use uft::local::Form;
use uft_spool::Proof;

use crate::harness::{Daemon, random_bytes};

const ROUTES: &str = r#"
    peer = [{ name = "beta", uft = "127.0.0.1:1" }]
    route = [{ to = "BETA", via = "beta" }]
"#;

/// Writes a job for these arguments; where it is.
fn prepared(daemon: &Daemon, arguments: &[&str]) -> PathBuf {
    let path = daemon.place.work().join("job.sift");
    let job = ["--sift", path.to_str().unwrap()];
    daemon.sendfile(job.iter().chain(arguments)).ok();
    path
}

fn submitted(daemon: &Daemon, path: &Path) -> Value {
    let ran = daemon.uft(["submit", "--json", path.to_str().unwrap()]).ok();
    let mut lines = ran.json();
    assert_eq!(lines.len(), 1, "{}", ran.out);
    lines.remove(0)
}

fn jobs(daemon: &Daemon) -> Vec<Value> {
    daemon.uft(["queue", "--all", "--json"]).ok().json()
}

#[test]
fn a_job_that_is_submitted_is_the_file_that_was_prepared() {
    let daemon = Daemon::start();
    let bytes = random_bytes(7, 3 << 20);
    daemon.place.file("big.bin", &bytes);
    daemon.place.file("fork", b"DATA\nEOF\nQUIT\n");
    let arguments = ["--title", "as agreed", "--aux", "fork", "alice", "big.bin"];
    let path = prepared(&daemon, &arguments);
    assert_eq!(
        daemon.place.names("work"),
        ["big.bin", "fork", "job.sift"],
        "nothing is left beside it"
    );
    let said = submitted(&daemon, &path);
    assert_eq!(
        (&said["status"], &said["to"], &said["id"], &said["bytes"]),
        (
            &"delivered".into(),
            &"alice".into(),
            &1.into(),
            &bytes.len().into()
        )
    );
    let item = daemon.item("alice");
    assert!(daemon.bytes(&item, Form::Local) == bytes);
    assert_eq!(daemon.bytes(&item, Form::Aux), b"DATA\nEOF\nQUIT\n");
    let facts = &item.envelope.facts;
    assert_eq!(
        (facts.name.as_deref(), facts.attribute("TITLE")),
        (Some("big.bin"), Some("as agreed"))
    );
    assert_eq!(
        (facts.origin.user.as_str(), facts.origin.proof),
        ("root", Proof::Local)
    );
}

#[test]
fn a_job_that_is_submitted_again_is_known() {
    let daemon = Daemon::start();
    daemon.place.file("a.txt", "text\n");
    let path = prepared(&daemon, &["alice", "a.txt"]);
    submitted(&daemon, &path);
    submitted(&daemon, &path);
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn a_job_travels_through_pipes() {
    let daemon = Daemon::start();
    let job = daemon
        .sendfile(["--sift", "-", "-t", "A", "--name", "x.txt", "alice", "-"])
        .input("one\ntwo\n")
        .ok();
    assert!(
        job.out.starts_with("FILE 10 root -\nUSER alice\nTYPE A\n"),
        "{}",
        job.out
    );
    let said = daemon.uft(["submit", "-"]).input(job.out).ok();
    assert!(
        said.out
            .starts_with("-: delivered to alice as item 1 (10 bytes, "),
        "{}",
        said.out
    );
    let item = daemon.item("alice");
    assert_eq!(daemon.bytes(&item, Form::Local), b"one\ntwo\n");
}

#[test]
fn another_user_who_submits_a_job_is_its_sender() {
    let daemon = Daemon::start();
    let job = "FILE 2 alice -\nUSER bob\nTYPE I\nDATA\nxy";
    daemon
        .uft(["submit", "-"])
        .input(job)
        .by_nobody(&daemon.place)
        .ok();
    assert_eq!(daemon.item("bob").envelope.facts.origin.user, "nobody");
}

#[test]
fn what_is_no_job_is_an_error_and_nothing_is_stored() {
    let daemon = Daemon::start();
    let head = "FILE 2 a -\nUSER alice\nTYPE I\n";
    let wrong_digest = format!("{head}META DIGEST blake3:{}\nDATA\nxy", "0".repeat(64));
    for (job, code, said) in [
        (String::new(), 65, "the job is empty"),
        (head.to_owned(), 65, "the job ends too early"),
        (
            format!("{head}AUXDATA 9\nxy"),
            65,
            "line 4 of the job: AUXDATA wants",
        ),
        (
            format!("{head}DATA 2\nxy"),
            65,
            "line 4 of the job: DATA has a number",
        ),
        (
            format!("{head}EOF\nDATA\nxy"),
            65,
            "line 4 of the job: a job has only",
        ),
        (format!("{head}MSG alice hi\nDATA\nxy"), 65, "line 4"),
        (
            format!("{head}META X {}\nDATA\nxy", "x".repeat(5000)),
            65,
            "longer than 4096",
        ),
        ("\u{1b}[2J\0\0\u{202e}\n".to_owned(), 65, "line 1"),
        (
            "FILE 2 a -\nUSER mallory\nTYPE I\nDATA\nxy".to_owned(),
            67,
            "mallory",
        ),
        (
            "FILE 2 a -\nUSER x@NOWHERE\nTYPE I\nDATA\nxy".to_owned(),
            68,
            "x@nowhere",
        ),
        ("FILE 2 a -\nTYPE I\nDATA\nxy".to_owned(), 65, "403"),
        (wrong_digest, 76, "digest mismatch"),
    ] {
        let ran = daemon.uft(["submit", "-"]).input(job).exits(code);
        ran.assert_inert();
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    assert_eq!(daemon.items("alice"), []);
    assert_eq!(jobs(&daemon), [] as [Value; 0]);
    daemon.uft(["submit", "missing.sift"]).exits(66);
}

#[test]
fn a_job_is_written_whole_and_over_nothing() {
    let daemon = Daemon::start();
    daemon.place.file("a.txt", "text\n");
    let there = daemon.place.file("job.sift", "mine");
    let refused = daemon
        .sendfile(["--sift", "job.sift", "alice", "a.txt"])
        .exits(73);
    assert!(refused.err.contains("job.sift exists"), "{}", refused.err);
    assert_eq!(fs::read(&there).unwrap(), b"mine");
    fs::remove_file(&there).unwrap();
    // Text that does not fit the code page.
    daemon.place.file("bad.txt", "\u{20ac}\n");
    daemon
        .sendfile([
            "--sift",
            "job.sift",
            "-t",
            "E",
            "--codepage",
            "IBM-037",
            "alice",
            "bad.txt",
        ])
        .exits(65);
    assert_eq!(daemon.place.names("work"), ["a.txt", "bad.txt"]);
    let path = prepared(&daemon, &["alice", "a.txt"]);
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    daemon
        .sendfile(["--sift", "no/such/dir/job", "alice", "a.txt"])
        .exits(73);
    daemon.sendfile(["--sift", "two", "alice,bob", "a.txt"]).exits(64);
    daemon
        .sendfile(["--sift", "two", "alice", "a.txt", "bad.txt"])
        .exits(64);
}

#[test]
fn a_job_says_where_it_is_for_and_needs_no_daemon() {
    let mut daemon = Daemon::with(ROUTES);
    daemon.place.file("a.txt", "text\n");
    daemon.kill();
    let path = prepared(&daemon, &["bob at BETA", "a.txt"]);
    let job = fs::read_to_string(&path).unwrap();
    assert!(job.contains("\nUSER bob@BETA\n"), "{job}");
    daemon.uft(["submit", "job.sift"]).exits(75);
    daemon.start_again();
    let said = submitted(&daemon, &path);
    assert_eq!((&said["status"], &said["job"]), (&"queued".into(), &1.into()));
    assert_eq!(jobs(&daemon)[0]["to"], "bob@BETA");
}

#[test]
fn what_is_for_a_node_or_is_to_wait_goes_into_the_queue() {
    let daemon = Daemon::with(ROUTES);
    daemon.place.file("a.txt", "text\n");
    let said = daemon.sendfile(["maint@beta", "a.txt"]).ok();
    assert!(
        said.out.starts_with("a.txt: queued as job 1 for maint@BETA ("),
        "{}",
        said.out
    );
    let to = "bob@127.0.0.1:1,bob@192.0.2.1";
    let said = daemon
        .sendfile(["--queue", "--port", "7", "--json", to, "a.txt"])
        .ok()
        .json();
    for (line, job) in said.iter().zip([2, 3]) {
        assert_eq!(
            (&line["status"], &line["job"]),
            (&"queued".into(), &job.into()),
            "{line}"
        );
    }
    let jobs = jobs(&daemon);
    let to: Vec<&Value> = jobs.iter().map(|job| &job["to"]).collect();
    assert_eq!(to, ["maint@BETA", "bob@127.0.0.1:1", "bob@192.0.2.1:7"]);
    assert!(jobs.iter().all(|job| job["owner"] == "root"), "{jobs:?}");
    // A local user has an inbox, with --queue too; a port makes a host of a name.
    daemon.sendfile(["--queue", "alice", "a.txt"]).ok();
    assert_eq!(daemon.items("alice").len(), 1);
    daemon
        .sendfile(["--port", "1", "--retries", "0", "maint@localhost", "a.txt"])
        .exits(69);
}

#[test]
fn nothing_is_queued_where_no_daemon_runs() {
    let mut daemon = Daemon::with(ROUTES);
    daemon.place.file("a.txt", "text\n");
    daemon.kill();
    let alone = daemon
        .sendfile(["--queue", "--retries", "0", "bob@127.0.0.1:1", "a.txt"])
        .exits(75);
    assert!(alone.err.contains("no uftd answers"), "{}", alone.err);
}
