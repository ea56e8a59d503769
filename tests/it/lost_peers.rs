//! Peers that vanish, stall, dribble, or never listen: ended by a deadline, and nothing of theirs is seen.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::harness::{Daemon, Wire, random_bytes};

/// Opens a file and sends `sent` of the `announced` bytes of a burst.
fn inside_a_burst(daemon: &Daemon, announced: usize, sent: usize) -> Wire {
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "partial", announced);
    wire.ask(&format!("DATA {announced}")).is(3);
    wire.send(random_bytes(1, sent));
    wire
}

#[test]
fn a_connection_that_ends_inside_a_burst_leaves_nothing() {
    let daemon = Daemon::start();
    for (announced, sent) in [(10, 5), (100_000, 99_999), (3_000_000, 2_000_000), (3_000_000, 0)] {
        drop(inside_a_burst(&daemon, announced, sent));
        inside_a_burst(&daemon, announced, sent).reset();
        let mut halved = inside_a_burst(&daemon, announced, sent);
        halved.half_close();
        halved.ends();
    }
    daemon.assert_untouched();
}

#[test]
fn a_connection_that_ends_before_eof_leaves_nothing() {
    let daemon = Daemon::start();
    for size in [0, 10, 500_000] {
        for reset in [false, true] {
            let mut wire = daemon.connect();
            wire.begin("alice", "A", "whole-but-not-finished", size);
            wire.burst("DATA", &vec![b'x'; size]).has(213);
            if reset { wire.reset() } else { drop(wire) }
        }
    }
    for command in ["FILE 1 x -", "NOOP", "META TITLE x"] {
        let mut wire = daemon.connect();
        wire.ask(command).is(2);
        wire.reset();
    }
    Wire::silent(daemon.address()).reset();
    daemon.assert_untouched();
}

#[test]
fn a_reset_while_replies_are_pending_harms_nobody() {
    let daemon = Daemon::start();
    for _ in 0..20 {
        let mut wire = daemon.connect();
        wire.send("HELP\r\n".repeat(200));
        wire.reset();
    }
    daemon.assert_untouched();
}

#[test]
fn one_byte_after_the_other_is_cut() {
    let daemon = Daemon::with("[uft]\nburst_timeout = \"1s\"\nmin_rate = \"1000B\"\nidle_timeout = \"60s\"");
    let wire = inside_a_burst(&daemon, 100_000, 10);
    let began = Instant::now();
    // Each byte is well within the time-out for the next one; together they are too slow.
    let mut reply = [0; 200];
    let mut stream = wire.socket().try_clone().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "still not cut");
        let _ = stream.write_all(b"x");
        match stream.read(&mut reply) {
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(0) | Err(_) => break,
            Ok(n) => {
                assert!(reply[..n].starts_with(b"5"), "{}", reply[..n].escape_ascii());
                break;
            }
        }
    }
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "a slow start is allowed"
    );
    drop(stream);
    drop(wire);
    daemon.assert_untouched();
}

#[test]
fn a_burst_that_stalls_is_cut() {
    let daemon = Daemon::with("[uft]\nburst_timeout = \"1s\"\nidle_timeout = \"60s\"");
    let mut wire = inside_a_burst(&daemon, 1_000_000, 700_000);
    wire.reply().has(521);
    wire.ends();
    daemon.assert_untouched();
}

#[test]
fn a_slow_but_steady_sender_is_served() {
    let daemon = Daemon::with("[uft]\nburst_timeout = \"1s\"\nmin_rate = \"5B\"\nidle_timeout = \"60s\"");
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "slow", 20);
    wire.ask("DATA 20").is(3);
    for _ in 0..10 {
        assert!(wire.silence(), "nothing is said inside a burst");
        wire.send(b"ab");
    }
    wire.reply().has(213);
    wire.ask("EOF").has(200);
    assert_eq!(daemon.item("alice").envelope.local.bytes, 20);
}

#[test]
fn whoever_says_nothing_is_shown_out() {
    let daemon = Daemon::with("[uft]\nidle_timeout = \"1s\"");
    let began = Instant::now();
    let mut greeted = daemon.connect();
    let mut half_a_line = daemon.connect();
    half_a_line.send("FILE 1 x");
    let mut opened = daemon.connect();
    opened.begin("alice", "I", "idle", 10);
    opened.burst("DATA", b"0123456789").has(213);
    for wire in [&mut greeted, &mut half_a_line, &mut opened] {
        wire.reply().has(521);
        wire.ends();
    }
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "not before the time-out"
    );
    daemon.assert_untouched();
}

#[test]
fn a_line_that_dribbles_has_one_deadline_and_not_one_a_byte() {
    let daemon = Daemon::with("[uft]\nidle_timeout = \"1s\"");
    let mut wire = daemon.connect();
    wire.ask("NOOP").has(200);
    let began = Instant::now();
    while wire.silence() {
        assert!(began.elapsed() < Duration::from_secs(20), "still not cut");
        let _ = wire.try_send("#");
    }
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "not before the time-out"
    );
    daemon.assert_untouched();
}

#[test]
fn a_peer_that_never_reads_its_replies_is_dropped() {
    let daemon = Daemon::with("[uft]\nidle_timeout = \"1s\"");
    let mut deaf = Wire::silent(daemon.address());
    sockopt::set_socket_recv_buffer_size(deaf.socket(), 4096).unwrap();
    deaf.socket()
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let commands = "HELP\r\n".repeat(10_000);
    // At some point the daemon stops reading, since it cannot write; then it leaves.
    let mut sent = 0;
    while deaf.try_send(&commands).is_ok() {
        sent += commands.len();
        assert!(sent < 512 << 20, "the daemon reads for ever");
    }
    daemon.quiet();
    daemon.assert_untouched();
}

#[test]
fn a_half_close_after_eof_still_gets_its_replies() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.send("FILE 5 tester -\r\nUSER alice\r\nTYPE I\r\nDATA 5\r\nhelloEOF\r\n");
    wire.half_close();
    let codes: Vec<u16> = std::iter::from_fn(|| wire.reply_or_end())
        .map(|reply| reply.code)
        .collect();
    assert_eq!(codes, [200, 208, 200, 313, 213, 200, 221]);
    assert_eq!(daemon.item("alice").envelope.local.bytes, 5);
}

#[test]
fn quit_delivers_only_what_is_known_to_be_whole() {
    let daemon = Daemon::start();
    let mut whole = daemon.connect();
    whole.begin("alice", "I", "whole", 4);
    whole.burst("DATA", b"1234").has(213);
    whole.ask("QUIT").has(221);
    whole.ends();
    assert_eq!(daemon.item("alice").envelope.local.bytes, 4);
    let mut short = daemon.connect();
    short.begin("bob", "I", "short", 40);
    short.burst("DATA", b"1234").has(213);
    short.ask("QUIT").has(221);
    short.ends();
    daemon.quiet();
    assert_eq!(daemon.items("bob"), []);
}

#[test]
fn endless_comments_do_not_put_off_the_deadline() {
    let daemon = Daemon::with("[uft]\nidle_timeout = \"1s\"");
    let mut wire = daemon.connect();
    let comments = "# nothing\r\n\r\n".repeat(1_000);
    let began = Instant::now();
    // There is always something to read, and never a command in it.
    while wire.try_send(&comments).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(10), "still not cut");
    }
    daemon.assert_untouched();
}

#[test]
fn a_session_in_which_nothing_comes_about_has_an_end() {
    let daemon = Daemon::with("[uft]\nsession_timeout = \"1s\"\nmin_rate = \"100KiB\"");
    // Each command and each burst is well within its time-out; together they are nothing.
    for (open_file, command) in [(false, "NOOP\r\n"), (true, "DATA 1\r\nx")] {
        let began = Instant::now();
        let mut wire = daemon.connect();
        if open_file {
            wire.begin("alice", "I", "a byte a burst", 1_000_000);
        }
        let mut code = 200;
        while code != 521 {
            assert!(code < 400, "{code}");
            assert!(began.elapsed() < Duration::from_secs(15), "still not cut");
            // What follows a 313 has been sent with it.
            if code != 313 {
                let _ = wire.try_send(command);
            }
            code = wire.reply().code;
        }
        wire.ends();
        assert!(
            began.elapsed() >= Duration::from_millis(900),
            "not before its time"
        );
    }
    daemon.quiet();
    daemon.assert_untouched();
}

#[test]
fn whoever_delivers_may_stay() {
    let daemon = Daemon::with("[uft]\nsession_timeout = \"1s\"");
    let mut wire = daemon.connect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        wire.deliver("alice", "I", "small", b"x").has(200);
        wire.ask("NOOP").has(200);
        assert!(wire.silence());
    }
    wire.ask("QUIT").has(221);
}
