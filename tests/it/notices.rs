//! Telling people: on a real terminal, through the hook program, and never as a way in.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Daemon, Terminal, assert_inert, needs_root, until};

const ON_TERMINALS: &str = "[notice]\ntty = true";

#[test]
fn a_message_is_shown_on_the_terminal_with_the_host_it_came_from_and_nothing_it_could_obey() {
    needs_root("the terminals that it opens are root's");
    let daemon = Daemon::with(ON_TERMINALS);
    let terminal = Terminal::open();
    let mut wire = daemon.connect();
    wire.ask("FILE 0 mall\u{1b}[31mory -").has(200);
    wire.ask("MSG root \u{1b}]0;owned\u{7}\u{1b}[2Jhello \u{202e}olleh\u{9b}1m root-line-end")
        .has(200);
    let shown = terminal.shows("root-line-end");
    assert!(
        shown.contains("hello") && shown.contains("127.0.0.1"),
        "{shown:?}"
    );
    only_notices(&shown);
}

#[test]
fn a_terminal_that_permits_no_messages_gets_none() {
    needs_root("the terminals that it opens are root's");
    let daemon = Daemon::with(ON_TERMINALS);
    let (quiet, open) = (Terminal::open(), Terminal::open());
    quiet.permit(false);
    daemon.connect().ask("MSG root only-for-the-open-one").has(200);
    open.shows("only-for-the-open-one");
    assert_eq!(quiet.now(), "");
}

#[test]
fn an_arrival_is_announced_on_the_terminal() {
    needs_root("the terminals that it opens are root's");
    let daemon = Daemon::with(ON_TERMINALS);
    let terminal = Terminal::open();
    daemon
        .connect()
        .deliver("root", "I", "par\u{1b}[2Jcel.txt", b"12345")
        .has(200);
    let shown = terminal.shows("uft receive 1");
    assert!(
        shown.contains("cel.txt") && shown.contains("tester@127.0.0.1") && shown.contains("5 bytes"),
        "{shown:?}"
    );
    only_notices(&shown);
}

#[test]
fn a_receipt_is_announced_as_one() {
    needs_root("the terminals that it opens are root's");
    let daemon = Daemon::with(ON_TERMINALS);
    let terminal = Terminal::open();
    let wire = include_bytes!("../vectors/netdata/v15-ack-deleted.nd");
    daemon.connect().deliver("root", "N", "x", wire).has(200);
    let shown = terminal.shows("ACKME.TEXT (sent 2026-01-02 03:04 UTC): deleted");
    assert!(
        shown.contains("item 1 from tester@127.0.0.1: receipt for"),
        "{shown:?}"
    );
    only_notices(&shown);
}

/// The line ends and the bell before each notice are ours; nothing else of the kind may reach a terminal. There may be
/// more notices than the test's own: the terminals of one user are open to every daemon that runs beside this one.
fn only_notices(shown: &str) {
    let whole_lines = shown
        .rsplit_once('\n')
        .map_or("", |(lines, _)| lines)
        .replace('\r', "");
    assert_inert("the terminal", &whole_lines.replace("\n\u{7}uftd: ", "\n"));
}

#[test]
fn a_message_is_acknowledged_only_when_somebody_saw_it() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    for to in ["alice", "nosuch", "../x", "root"] {
        wire.ask(&format!("MSG {to} hello")).has(545);
    }
    wire.ask("MSG").is(4);
    wire.ask("MSG alice").is(4);
    let watching = daemon.uft(["--user", "alice", "watch"]).beside();
    until("the watch", || {
        (wire.ask("MSG alice \u{1b}[2Jseen").code == 200).then_some(())
    });
    let line = watching.line();
    assert_inert("uft watch", &line);
    assert!(line.contains("seen"), "{line:?}");
}

#[test]
fn a_flood_of_messages_is_stopped() {
    let daemon = Daemon::start();
    let watching = daemon.uft(["--user", "alice", "watch"]).beside();
    let mut wire = daemon.connect();
    until("the watch", || {
        (wire.ask("MSG alice first").code == 200).then_some(())
    });
    let mut refused = 0;
    for n in 0..200 {
        let mut wire = daemon.connect();
        refused += usize::from(wire.ask(&format!("MSG alice {n}")).code != 200);
    }
    assert!(refused >= 100, "{refused} of 200 refused");
    drop(watching);
}

/// A program that writes the environment it was given to a file, at once.
fn hook(daemon_dir: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (script, out) = (daemon_dir.join("hook.sh"), daemon_dir.join("told"));
    let text = format!(
        "#!/bin/sh\nenv -0 > \"$1.tmp\" && mv \"$1.tmp\" {:?}/\"$UFT_ID\"\n",
        out.to_str().unwrap()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&out).unwrap();
    (script, out)
}

#[test]
fn the_hook_program_gets_the_envelope_and_hostile_names_are_inert() {
    let place = crate::harness::Place::new();
    let (script, out) = hook(&place.work());
    let scratch = place.work().join("scratch");
    let daemon = Daemon::with(&format!("[notice]\nhook = [{script:?}, {scratch:?}]"));
    let names = [
        "plain.txt",
        "$(touch pwned) `touch pwned`; touch pwned",
        "a\0b\u{1b}[2J",
    ];
    for (n, name) in names.iter().enumerate() {
        let mut wire = daemon.connect();
        wire.ask("FILE 5 mallory -").has(200);
        wire.ask("USER alice").has(208);
        wire.ask("TYPE A").has(200);
        wire.ask(&format!("META NAME {name}")).has(200);
        wire.ask("META TITLE LD_PRELOAD=/x").has(200);
        wire.ask("META CLASS A").has(200);
        wire.burst("DATA", b"12345").has(213);
        wire.ask("EOF").has(200);
        let told = out.join((n + 1).to_string());
        let environment = until("the hook", || fs::read(&told).ok());
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables: Vec<&str> = environment.split('\0').collect();
        let name = name.replace('\0', "\u{fffd}");
        for wanted in [
            "UFT_USER=alice".to_owned(),
            format!("UFT_ID={}", n + 1),
            format!("UFT_NAME={name}"),
            "UFT_TYPE=A".to_owned(),
            "UFT_SIZE=5".to_owned(),
            "UFT_FROM=mallory".to_owned(),
            "UFT_HOST=127.0.0.1".to_owned(),
            "UFT_PROOF=address".to_owned(),
            "UFT_TITLE=LD_PRELOAD=/x".to_owned(),
            "UFT_CLASS=A".to_owned(),
        ] {
            assert!(
                variables.contains(&wanted.as_str()),
                "{wanted:?} in {variables:#?}"
            );
        }
        assert!(
            !variables.iter().any(|v| v.starts_with("LD_PRELOAD")),
            "{variables:#?}"
        );
    }
    assert!(!place.work().join("pwned").exists() && !std::path::Path::new("/pwned").exists());
}

#[test]
fn the_hook_program_hears_what_a_receipt_says() {
    let place = crate::harness::Place::new();
    let (script, out) = hook(&place.work());
    let scratch = place.work().join("scratch");
    let daemon = Daemon::with(&format!("[notice]\nhook = [{script:?}, {scratch:?}]"));
    let wire = include_bytes!("../vectors/netdata/v15-ack-deleted.nd");
    let receipt = "receipt for ACKME.TEXT (sent 2026-01-02 03:04 UTC): deleted";
    for (id, kind, bytes, said) in [(1, "N", wire.as_slice(), receipt), (2, "I", b"a file", "")] {
        daemon.connect().deliver("alice", kind, "x", bytes).has(200);
        let environment = until("the hook", || fs::read_to_string(out.join(id.to_string())).ok());
        let wanted = format!("UFT_RECEIPT={said}");
        assert!(environment.split('\0').any(|v| v == wanted), "{environment:?}");
    }
}

#[test]
fn a_hook_that_fails_or_is_not_there_changes_nothing() {
    for program in ["/bin/false", "/no/such/program"] {
        let daemon = Daemon::with(&format!("[notice]\nhook = [{program:?}]"));
        daemon.connect().deliver("alice", "I", "f", b"x").has(200);
        until("the log's word", || {
            daemon.log().contains("arrival hook").then_some(())
        });
        assert_eq!(daemon.items("alice").len(), 1);
    }
}

#[test]
fn what_the_hook_prints_goes_to_the_log_and_not_among_the_ready_lines() {
    let daemon = Daemon::with("[notice]\nhook = [\"/bin/echo\", \"the hook speaks\"]");
    daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    until("the hook's word", || {
        daemon.log().contains("the hook speaks").then_some(())
    });
}
