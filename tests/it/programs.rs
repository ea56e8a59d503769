//! Delivery to programs: real programs, what they are given, and what becomes of a file that they do not take.

use std::fs;
use std::path::{Path, PathBuf};

use uft::local::Form;

use crate::harness::{Daemon, Place, needs_root, random_bytes, until};

/// A place with a script in it, and a daemon that hands what is for `lister` to the script. The script runs with the
/// place's working directory as its first argument.
struct Counter {
    place: Place,
    daemon: Daemon,
}

impl Counter {
    fn open(script: &str, more: &str) -> Counter {
        let place = Place::new();
        let path = place.file("script.sh", script);
        let settings = section("lister", &path, &place.work());
        let daemon = Daemon::with(&format!(
            "[queue]\nretry = [\"50ms\", \"100ms\"]\n{settings}{more}"
        ));
        Counter { place, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.work().join(name)
    }

    /// What the script wrote, once it is there.
    fn written(&self, name: &str) -> Vec<u8> {
        until(name, || fs::read(self.path(name)).ok())
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn logged(&self, what: &str) -> usize {
        self.daemon.log().matches(what).count()
    }

    fn empty(&self) {
        until("an empty inbox", || {
            self.daemon.items("lister").is_empty().then_some(())
        });
    }
}

fn section(name: &str, script: &Path, dir: &Path) -> String {
    format!(
        "[users.program.{name}]\ncommand = [\"/bin/sh\", {:?}, {:?}]\n",
        script.to_str().unwrap(),
        dir.to_str().unwrap()
    )
}

/// Stores standard input and environment, each complete when its name is there.
const KEEP: &str =
    "cd \"$1\" && cat > in.tmp && mv in.tmp \"in.$UFT_ID\" && env -0 > env.tmp && mv env.tmp \"env.$UFT_ID\"";

#[test]
fn a_program_gets_exactly_the_bytes_and_the_file_is_gone_when_it_took_them() {
    let counter = Counter::open(KEEP, "");
    // More than a pipe holds; behind the bytes in the spool stands the record of the item.
    for (n, bytes) in [Vec::new(), b"x".to_vec(), random_bytes(7, 3_000_000)]
        .iter()
        .enumerate()
    {
        counter
            .daemon
            .connect()
            .deliver("lister", "I", "f", bytes)
            .has(200);
        assert!(counter.written(&format!("in.{}", n + 1)) == *bytes, "file {n}");
    }
    counter
        .daemon
        .connect()
        .deliver("LISTER", "A", "f", b"a\r\nb\r\n")
        .has(200);
    assert_eq!(counter.written("in.4"), b"a\nb\n", "the local form");
    counter.empty();
}

#[test]
fn names_that_a_stranger_chose_are_inert() {
    let counter = Counter::open(KEEP, "");
    let names = [
        "$(touch pwned) `touch pwned`; touch pwned",
        "a\0b\u{1b}[2J",
        "../../x",
    ];
    for (n, name) in names.iter().enumerate() {
        let mut wire = counter.daemon.connect();
        wire.ask("FILE 5 mall'ory -").has(200);
        wire.ask("USER lister").has(208);
        wire.ask(&format!("META NAME {name}")).has(200);
        wire.ask("META TITLE LD_PRELOAD=/x").has(200);
        wire.burst("DATA", b"12345").has(213);
        wire.ask("EOF").has(200);
        let environment = counter.written(&format!("env.{}", n + 1));
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables: Vec<&str> = environment.split('\0').collect();
        let name = name.replace('\0', "\u{fffd}");
        for wanted in [
            format!("UFT_NAME={name}"),
            "UFT_USER=lister".to_owned(),
            "UFT_SIZE=5".to_owned(),
            "UFT_FROM=mall'ory".to_owned(),
            "UFT_PROOF=address".to_owned(),
            "UFT_TITLE=LD_PRELOAD=/x".to_owned(),
        ] {
            assert!(
                variables.contains(&wanted.as_str()),
                "{wanted:?} in {variables:#?}"
            );
        }
        assert!(!variables.iter().any(|v| v.starts_with("LD_PRELOAD")));
    }
    assert!(!counter.path("pwned").exists() && !Path::new("/pwned").exists());
}

#[test]
fn files_are_handed_over_in_order_and_one_at_a_time() {
    let script = "cd \"$1\" && mkdir busy && cat > /dev/null && echo \"$UFT_NAME\" >> order && rmdir busy";
    let counter = Counter::open(script, "");
    let mut wire = counter.daemon.connect();
    let names: Vec<String> = (0..25).map(|n| format!("f{n}")).collect();
    for name in &names {
        wire.deliver("lister", "I", name, b"x").has(200);
    }
    counter.empty();
    assert_eq!(counter.lines("order"), names);
    assert_eq!(counter.logged("program failed"), 0);
}

#[test]
fn a_slow_program_holds_up_no_other() {
    let place = Place::new();
    let slow = place.file(
        "slow.sh",
        "cat > /dev/null; until [ -e \"$1/go\" ]; do sleep 0.05; done",
    );
    let quick = place.file("quick.sh", "cat > \"$1/tmp\" && mv \"$1/tmp\" \"$1/quick\"");
    let daemon = Daemon::with(&format!(
        "{}{}",
        section("slow", &slow, &place.work()),
        section("quick", &quick, &place.work())
    ));
    let mut wire = daemon.connect();
    wire.deliver("slow", "I", "f", b"1").has(200);
    wire.deliver("quick", "I", "f", b"2").has(200);
    until("the quick one", || fs::read(place.work().join("quick")).ok());
    assert_eq!(daemon.items("slow").len(), 1);
    place.file("go", "");
    until("the slow one", || daemon.items("slow").is_empty().then_some(()));
}

#[test]
fn a_file_that_is_not_taken_stays_is_tried_again_and_then_waits_for_a_reload() {
    let script = "cat > /dev/null; echo x >> \"$1/tries\"; test -e \"$1/ok\"";
    let counter = Counter::open(script, "");
    // A user of this host, who can be told.
    let reply = counter.daemon.session().deliver("lister", "f", &[], b"x");
    assert!(reply.starts_with("200 "), "{reply}");
    until("the last attempt", || {
        (counter.logged("stays in the inbox") == 1).then_some(())
    });
    assert_eq!(counter.lines("tries").len(), 3, "one attempt and two pauses");
    assert_eq!(counter.logged("exit status: 1"), 3, "each attempt");
    let letters = until("two letters", || {
        let letters = counter.daemon.items("root");
        (letters.len() >= 2).then_some(letters)
    });
    let texts: Vec<String> = letters
        .iter()
        .map(|letter| String::from_utf8(counter.daemon.bytes(letter, Form::Local)).unwrap())
        .collect();
    assert_eq!(
        texts.len(),
        2,
        "after the first attempt and after the last: {texts:?}"
    );
    assert!(
        texts[0].contains("exit status: 1") && texts[0].contains("It is tried again"),
        "{texts:?}"
    );
    assert!(texts[1].contains("It is not tried again"), "{texts:?}");
    assert_eq!(counter.daemon.item("lister").envelope.local.bytes, 1);
    // One that fails holds up nobody.
    counter.place.file("ok", "");
    counter
        .daemon
        .connect()
        .deliver("lister", "I", "g", b"yy")
        .has(200);
    until("the second file", || {
        (counter.daemon.items("lister").len() == 1).then_some(())
    });
    assert_eq!(
        counter.daemon.item("lister").envelope.facts.name.as_deref(),
        Some("f")
    );
    counter.daemon.reload();
    counter.empty();
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
    let script = "sleep 1000 & echo $! > \"$1/tmp\" && mv \"$1/tmp\" \"$1/child\"; cat > /dev/null; wait";
    let counter = Counter::open(script, "timeout = \"500ms\"");
    counter
        .daemon
        .connect()
        .deliver("lister", "I", "f", b"x")
        .has(200);
    let child = String::from_utf8(counter.written("child")).unwrap();
    let running = || {
        let text = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        text.contains("(sleep)") && !text.contains(") Z ")
    };
    until("the end of the group", || (!running()).then_some(()));
    until("the log's word", || {
        (counter.logged("and was ended") > 0).then_some(())
    });
    assert_eq!(counter.daemon.items("lister").len(), 1);
}

#[test]
fn a_program_that_cannot_be_run_is_said_once_an_attempt_and_the_file_stays() {
    let daemon = Daemon::with(
        "[queue]\nretry = [\"50ms\"]\n[users.program.none]\ncommand = [\"/no/such/program\"]\n\
         [users.program.inert]\ncommand = [\"/etc/passwd\"]",
    );
    let mut wire = daemon.connect();
    for name in ["none", "inert"] {
        wire.deliver(name, "I", "f", b"x").has(200);
    }
    let given_up = || daemon.log().matches("stays in the inbox").count();
    until("both to be given up", || (given_up() == 2).then_some(()));
    let log = daemon.log();
    let warned = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("cannot be run"));
    assert_eq!(warned.count(), 2 * 2, "{log}");
    assert_eq!((daemon.items("none").len(), daemon.items("inert").len()), (1, 1));
}

#[test]
fn what_waited_is_handed_over_after_a_restart_even_if_it_was_begun_before_the_crash() {
    let script = "cat > /dev/null; echo x >> \"$1/begun\"; until [ -e \"$1/go\" ]; do sleep 0.05; done; echo \"$UFT_NAME\" >> \"$1/done\"";
    let mut counter = Counter::open(script, "");
    let mut wire = counter.daemon.connect();
    wire.deliver("lister", "I", "first", b"x").has(200);
    wire.deliver("lister", "I", "second", b"x").has(200);
    until("the first run", || {
        (counter.lines("begun").len() == 1).then_some(())
    });
    counter.daemon.kill();
    counter.place.file("go", "");
    counter.daemon.start_again();
    counter.empty();
    let done = counter.lines("done");
    for name in ["first", "second"] {
        assert!(done.iter().any(|line| line == name), "{name} in {done:?}");
    }
}

#[test]
fn a_stop_waits_for_a_program_and_ends_it_when_the_grace_is_over() {
    let script = "cat > /dev/null; echo $$ > \"$1/tmp\" && mv \"$1/tmp\" \"$1/pid\"; sleep 1000";
    let mut counter = Counter::open(script, "");
    counter.daemon.configure("shutdown_grace = \"300ms\"");
    counter.daemon.reload();
    counter
        .daemon
        .connect()
        .deliver("lister", "I", "f", b"x")
        .has(200);
    let pid = String::from_utf8(counter.written("pid")).unwrap();
    counter.daemon.stop();
    let running =
        || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|text| !text.contains(") Z "));
    until("the program's end", || (!running()).then_some(()));
    counter.daemon.start_again();
    assert_eq!(counter.daemon.items("lister").len(), 1);
}

#[test]
fn the_sender_of_a_netdata_file_has_the_receipt_when_its_program_took_it() {
    needs_root("it sends as a user of this host");
    let counter = Counter::open(KEEP, "");
    let file = counter.place.file("n.txt", "text\n");
    let arguments = ["-t", "N", "--notify", "received", "lister"];
    counter.daemon.sendfile(arguments).arguments([file]).ok();
    counter.empty();
    let receipt = until("the receipt", || counter.daemon.items("root").pop());
    assert!(receipt.envelope.facts.receipt.is_some(), "{receipt:?}");
}

#[test]
fn a_name_is_a_program_or_a_user_and_not_both() {
    let mut daemon = Daemon::start();
    for (users, said) in [
        ("list = [\"lister\"]", "a user or an alias"),
        (
            "list = []\naliases = { lister = [\"root\"] }",
            "users.program = lister",
        ),
    ] {
        daemon.configure(&format!(
            "[users]\n{users}\n[users.program.lister]\ncommand = [\"/bin/true\"]"
        ));
        daemon.reload();
        until(said, || daemon.log().contains(said).then_some(()));
    }
    daemon.connect().ask("FILE 0 x -").has(200);
    let mut other = Daemon::start();
    other.stop();
    other.configure("[users.program.daemon]\ncommand = [\"/bin/true\"]");
    assert_eq!(other.try_start().unwrap_err().code(), Some(2));
    assert!(other.log().contains("an account of this host has this name"));
}
