//! Hostile text: names, titles and senders made to drive a terminal, forge a line or leave a directory.

use std::fs;

use crate::harness::{Daemon, Program, assert_inert, until};

/// What is sent as a name, and the name under which it is received (`None`: any name that is safe).
const NAMES: &[(&str, Option<&str>)] = &[
    ("../../etc/passwd", Some("passwd")),
    ("/etc/shadow", Some("shadow")),
    ("..\\..\\windows\\system.ini", Some("system.ini")),
    ("..", None),
    (".", None),
    ("/", None),
    ("\\", None),
    ("...", None),
    (".bashrc", Some("_bashrc")),
    ("-rf", Some("_rf")),
    ("--force", None),
    ("\u{1b}[2J\u{1b}[31mred.txt", None),
    ("\u{1b}]0;title\u{7}x", None),
    ("\u{9b}31mc1", None),
    ("invoice\u{202e}fdp.exe", None),
    ("zero\u{200b}width\u{feff}.txt", None),
    ("bell\u{7}back\u{8}space\u{7f}.txt", None),
    ("carriage\rreturn.txt", None),
    ("tab\there.txt", None),
    ("nul\0byte.txt", None),
    ("$(touch pwned);`touch pwned`|touch pwned&.txt", None),
    ("con", None),
    ("nul.txt", None),
    ("aux", None),
    ("~root", None),
    ("#auto#", None),
    ("*", None),
    ("uftd: listening on uft 1.2.3.4:5", None),
];

fn send_all(daemon: &Daemon) {
    let mut wire = daemon.connect();
    for (name, _) in NAMES {
        wire.ask("FILE 1 \u{1b}[31mmallory\u{202e} -").has(200);
        wire.ask("USER alice").has(208);
        wire.ask(&format!("META NAME {name}")).has(200);
        wire.ask(&format!("META TITLE {name}")).has(200);
        wire.burst("DATA", b"x").has(213);
        wire.ask("EOF").has(200);
    }
}

fn alice(daemon: &Daemon, arguments: &[&str]) -> Program {
    daemon.uft(["--user", "alice"].iter().chain(arguments))
}

#[test]
fn hostile_names_are_shown_harmlessly_wherever_they_are_shown() {
    let daemon = Daemon::start();
    send_all(&daemon);
    let listed = alice(&daemon, &["ls"]).ok();
    listed.assert_inert();
    assert!(
        listed.out.lines().count() >= NAMES.len(),
        "one line each: {}",
        listed.out
    );
    assert!(
        listed.out.lines().count() <= NAMES.len() + 2,
        "nobody forges a line: {}",
        listed.out
    );
    for id in 1..=NAMES.len() {
        let id = id.to_string();
        alice(&daemon, &["stat", &id]).ok().assert_inert();
        alice(&daemon, &["peek", &id]).ok().assert_inert();
    }
    // Programs get the text as it was sent, escaped as JSON escapes.
    let json = alice(&daemon, &["ls", "--json"]).ok();
    assert_inert("ls --json", &json.out);
    assert_eq!(json.json().len(), NAMES.len());
    let log = daemon.log();
    assert_inert("the log", &log);
    assert!(
        !log.lines()
            .any(|line| line.starts_with("uftd: listening on uft 1.2.3.4")),
        "{log}"
    );
}

#[test]
fn hostile_names_stay_inside_the_directory_that_was_asked_for() {
    let daemon = Daemon::start();
    send_all(&daemon);
    let into = daemon.place.inbound().join("deep");
    fs::create_dir(&into).unwrap();
    let before = daemon.place.names("");
    for (n, (name, wanted)) in NAMES.iter().enumerate() {
        let id = (n + 1).to_string();
        let ran = alice(&daemon, &["receive", &id, "-o", into.to_str().unwrap()]).ok();
        ran.assert_inert();
        let received: Vec<String> = fs::read_dir(&into)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let [file] = received.as_slice() else {
            panic!("{name:?} gave {received:?}")
        };
        assert_inert("a file name", file);
        assert!(!file.contains(['\n', '\t', '/', '\\']), "{name:?} gave {file:?}");
        assert!(!file.starts_with(['-', '.', '~', '#']), "{name:?} gave {file:?}");
        if let Some(wanted) = wanted {
            assert_eq!(file, wanted, "{name:?}");
        }
        fs::remove_file(into.join(file)).unwrap();
    }
    assert_eq!(daemon.place.received(), ["deep"]);
    assert_eq!(daemon.place.names(""), before);
    assert_eq!(
        daemon.place.names("work"),
        Vec::<String>::new(),
        "no shell saw any of it"
    );
}

#[test]
fn long_names_are_kept_and_cut_only_where_a_file_is_made() {
    let daemon = Daemon::start();
    let names = [
        "x".repeat(20),
        "y".repeat(64),
        "z".repeat(255),
        "w".repeat(300),
        "\u{e4}".repeat(200),
    ];
    let mut wire = daemon.connect();
    for name in &names {
        wire.ask("FILE 1 t -").has(200);
        wire.ask("USER alice").has(208);
        wire.ask(&format!("META NAME {name}")).has(200);
        wire.burst("DATA", b"x").has(213);
        wire.ask("EOF").has(200);
    }
    let kept: Vec<_> = daemon
        .items("alice")
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(kept, names);
    alice(
        &daemon,
        &["receive", "--all", "-o", daemon.place.inbound().to_str().unwrap()],
    )
    .ok();
    let files = daemon.place.received();
    assert_eq!(files.len(), names.len());
    assert!(files.iter().all(|file| file.len() <= 255), "{files:?}");
    // Too long to keep: refused before the data, not after it.
    wire.ask("FILE 1 t -").has(200);
    wire.ask("USER alice").has(208);
    wire.ask(&format!("NAME {}", "n".repeat(3_000))).is(5);
    wire.ask("DATA 1").is(5);
}

#[test]
fn control_characters_cannot_forge_a_line_in_what_the_daemon_writes() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.ask("FILE 1 t -").has(200);
    // Each of these is one line on the wire, whatever it looks like inside.
    wire.send(b"META TITLE a\rEOF\r\n");
    wire.reply().has(200);
    wire.send(b"META NAME a\x00b\x0bc\x0cd\xffe\xc2\x85f\xe2\x80\xa8g\r\n");
    wire.reply().has(200);
    wire.ask("USER alice").has(208);
    wire.burst("DATA", b"x").has(213);
    wire.ask("EOF").has(200);
    assert_eq!(
        alice(&daemon, &["ls"])
            .ok()
            .out
            .lines()
            .filter(|line| line.contains("127.0.0.1"))
            .count(),
        1
    );
    assert_inert("the log", &daemon.log());
    assert_eq!(alice(&daemon, &["ls", "--json"]).ok().json().len(), 1);
}

#[test]
fn names_that_are_no_users_are_refused_and_make_no_directory() {
    let daemon = Daemon::start();
    let before = daemon.place.names("spool/users");
    let long = "u".repeat(64);
    for name in [
        "..",
        ".",
        "../alice",
        "/etc",
        "alice/../bob",
        "\\",
        "-alice",
        ".alice",
        "ali\u{7}ce",
        "ali ce/x",
        "*",
        &long,
        "tmp",
        "users",
        "corrupt",
    ] {
        let mut wire = daemon.connect();
        wire.ask("FILE 1 t -").has(200);
        if name.contains(' ') {
            continue;
        }
        wire.ask(&format!("USER {name}")).has(532);
    }
    assert_eq!(daemon.place.names("spool/users"), before);
    daemon.assert_untouched();
}

#[test]
fn a_name_can_begin_with_a_dash_and_controls_are_sent_as_underscores() {
    let daemon = Daemon::start();
    daemon.place.file("f", "x");
    let to = daemon.to("alice");
    daemon
        .sendfile(["--name", "-rf", "--title", "--all", to.as_str(), "f"])
        .ok();
    let warned = daemon.sendfile(["--name", "a\u{1b}[2Jb", to.as_str(), "f"]).ok();
    assert!(!warned.err.is_empty(), "a warning");
    warned.assert_inert();
    let names: Vec<_> = daemon
        .items("alice")
        .iter()
        .map(|item| item.envelope.facts.name.clone().unwrap())
        .collect();
    assert_eq!(names[0], "-rf");
    assert!(names[1].starts_with("a_") && names[1].ends_with('b'), "{names:?}");
}

#[test]
fn text_in_an_item_is_shown_filtered_by_peek() {
    let daemon = Daemon::start();
    daemon
        .connect()
        .deliver(
            "alice",
            "A",
            "t",
            b"ok \x1b]0;owned\x07\x1b[2J\r\n\xe2\x80\xaegnp\r\nend\r\n",
        )
        .has(200);
    let peeked = alice(&daemon, &["peek", "1"]).ok();
    peeked.assert_inert();
    assert!(peeked.out.contains("end"), "{}", peeked.out);
    until("the item", || daemon.items("alice").pop());
}
