//! Exit codes: what a script sees of each kind of failure.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use crate::harness::{Daemon, Place, Program, binary, random_bytes};

/// A program for which no daemon runs.
fn alone(place: &Place, name: &str, arguments: &[&str]) -> Program {
    Program::new(binary(name), &place.work())
        .env("UFT_SOCKET", place.path("no-socket"))
        .env("HOME", place.path("home"))
        .arguments(arguments)
}

#[test]
fn a_command_line_that_makes_no_sense_is_64() {
    let place = Place::new();
    alone(&place, "sendfile", &[]).exits(64);
    alone(&place, "sendfile", &["--no-such-option", "a@b", "f"]).exits(64);
    alone(&place, "uft", &["no-such-command"]).exits(64);
    alone(&place, "uft", &["stat", "not-a-number"]).exits(64);
}

#[test]
fn a_file_that_cannot_be_read_is_66_and_a_missing_item_too() {
    let daemon = Daemon::start();
    daemon
        .sendfile([daemon.to("alice").as_str(), "no-such-file"])
        .exits(66);
    daemon.uft(["--user", "alice", "stat", "7"]).exits(66);
    daemon.uft(["--user", "alice", "peek", "7"]).exits(66);
    assert_eq!(daemon.items("alice"), []);
}

#[test]
fn an_unknown_user_is_67() {
    let daemon = Daemon::start();
    daemon.place.file("f", "x");
    daemon.sendfile([daemon.to("nosuch").as_str(), "f"]).exits(67);
    daemon.sendfile(["nosuch", "f"]).exits(67);
}

#[test]
fn a_host_that_is_none_is_68_and_one_that_does_not_answer_is_69() {
    let place = Place::new();
    place.file("f", "x");
    alone(&place, "sendfile", &["a@no-such-host.invalid:6608", "f"]).exits(68);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to = format!("a@{closed}");
    alone(&place, "sendfile", &["--retries", "0", &to, "f"]).exits(69);
    alone(&place, "uft", &["query", &closed.to_string(), "TIME"]).exits(69);
}

#[test]
fn a_full_inbox_and_a_file_too_large_are_73() {
    let daemon = Daemon::with("[limits]\nuser_items = 1\nmax_file = \"100KiB\"");
    daemon.place.file("f", "x");
    daemon.place.file("large", random_bytes(1, 200 * 1024));
    daemon.sendfile([daemon.to("alice").as_str(), "large"]).exits(73);
    daemon.sendfile([daemon.to("alice").as_str(), "f"]).ok();
    daemon.sendfile([daemon.to("alice").as_str(), "f"]).exits(73);
    daemon.sendfile(["alice", "f"]).exits(73);
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn no_daemon_is_75_with_advice() {
    let place = Place::new();
    let ran = alone(&place, "uft", &["ls"]).exits(75);
    assert!(ran.err.contains("uftd"), "what to do next: {}", ran.err);
    place.file("f", "x");
    alone(&place, "sendfile", &["alice", "f"]).exits(75);
}

#[test]
fn somebody_elses_inbox_is_77() {
    let daemon = Daemon::start();
    daemon
        .connect()
        .deliver("alice", "A", "private", b"secret\r\n")
        .has(200);
    for command in [
        vec!["ls"],
        vec!["receive", "1"],
        vec!["peek", "1"],
        vec!["discard", "1"],
        vec!["forward", "1", "nobody"],
    ] {
        let arguments: Vec<&str> = ["--user", "alice"].into_iter().chain(command).collect();
        let ran = daemon.uft(arguments).by_nobody(&daemon.place).exits(77);
        assert!(
            !ran.out.contains("secret") && !ran.out.contains("private"),
            "{ran:?}"
        );
    }
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn a_gateway_that_refuses_strangers_is_77() {
    let daemon = Daemon::with("[limits]\nstrangers = \"refuse\"");
    daemon.place.file("f", "x");
    daemon.sendfile([daemon.to("alice").as_str(), "f"]).exits(77);
    assert_eq!(daemon.items("alice"), []);
    daemon.sendfile(["alice", "f"]).ok();
    assert_eq!(daemon.items("alice").len(), 1, "the local user is no stranger");
}

/// A server that says these lines, each to whatever comes, and then closes.
fn scripted(lines: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
            for (n, line) in lines.iter().enumerate() {
                if n > 0 {
                    let mut command = String::new();
                    if std::io::BufRead::read_line(&mut reader, &mut command).unwrap_or(0) == 0 {
                        break;
                    }
                }
                if stream.write_all(line.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    format!("a@{address}")
}

#[test]
fn a_server_that_is_none_of_ours_is_never_taken_for_success() {
    let place = Place::new();
    place.file("f", "x");
    let cases: [(&'static [&'static str], &[i32]); 6] = [
        (&["SSH-2.0-OpenSSH_9.9\r\n"], &[76]),
        (&["568 h; client host is not a peer\r\n"], &[77]),
        (&["223 h UFT/2 X/1 32256 ; ready.\r\n"], &[69, 75, 76]),
        (&["223 h UFT/2 X/1 32256 ; ready.\r\n", "532 no\r\n"], &[67, 77]),
        (
            &[
                "223 h UFT/2 X/1 32256 ; ready.\r\n",
                "200 ok\r\n",
                "532 a 2; no such user\r\n",
            ],
            &[67],
        ),
        (&[""], &[69, 75, 76]),
    ];
    for (script, wanted) in cases {
        let to = scripted(script);
        let ran = alone(
            &place,
            "sendfile",
            &["--retries", "0", "--timeout", "5s", &to, "f"],
        )
        .run();
        assert!(
            wanted.contains(&ran.code),
            "{script:?}: wanted {wanted:?}, got {ran:?}"
        );
        ran.assert_inert();
    }
}

#[test]
fn what_a_server_says_cannot_drive_the_terminal() {
    let place = Place::new();
    place.file("f", "x");
    let to = scripted(&[
        "223 h UFT/2 X/1 32256 ; \x1b]0;owned\x07ready.\r\n",
        "532 \x1b[2Jgone \u{202e}txt.exe\x00\r\n",
    ]);
    let ran = alone(
        &place,
        "sendfile",
        &["-v", "--retries", "0", "--timeout", "5s", &to, "f"],
    )
    .run();
    assert_ne!(ran.code, 0);
    ran.assert_inert();
}

#[test]
fn a_local_daemon_that_does_not_answer_is_given_up_on() {
    let place = Place::new();
    place.file("f", "x");
    let hung = UnixListener::bind(place.path("no-socket")).unwrap();
    let ran = alone(
        &place,
        "sendfile",
        &["--timeout", "1s", "--retries", "0", "alice", "f"],
    )
    .exits(75);
    assert!(ran.err.contains("1 s"), "{}", ran.err);
    drop(hung);
}
