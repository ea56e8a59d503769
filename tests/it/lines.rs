//! Lines and counts that are too long, too many, in pieces, or no UFT at all: refused, in step, and harmless.

use crate::harness::{Daemon, Wire, random_bytes};

/// The longest line, without its end.
const LINE_MAX: usize = 4096;

#[test]
fn a_line_at_the_limit_is_read_and_one_over_it_is_refused_once() {
    let daemon = Daemon::start();
    for length in LINE_MAX - 3..=LINE_MAX + 3 {
        for end in ["\r\n", "\n"] {
            let mut wire = daemon.connect();
            let mut line = "NOOP ".to_owned();
            line.push_str(&"x".repeat(length - line.len()));
            wire.send(line + end);
            let reply = wire.reply();
            let wanted = if length <= LINE_MAX { 2 } else { 5 };
            assert_eq!(reply.code / 100, wanted, "{length} {end:?}: {reply:?}");
            // In step: one reply to it, and the next command gets its own.
            wire.ask("CPQ BOGUS").has(433);
        }
    }
}

#[test]
fn the_tail_of_an_overlong_line_is_no_command() {
    let daemon = Daemon::start();
    for length in [4_097, 8_192, 70_000, 1_000_000] {
        let mut wire = daemon.connect();
        wire.ask("FILE 1 x -").has(200);
        let mut line = "NOOP ".to_owned() + &"y".repeat(length);
        line.push_str("\rUSER alice");
        wire.send(line + "\r\n");
        wire.reply().is(5);
        wire.ask("USER alice").has(208);
        wire.ask("ABORT").has(226);
    }
    daemon.assert_untouched();
}

#[test]
fn a_line_without_an_end_is_no_command() {
    let daemon = Daemon::start();
    for length in [
        4,
        LINE_MAX - 1,
        LINE_MAX,
        LINE_MAX + 1,
        LINE_MAX + 2,
        3 * LINE_MAX,
    ] {
        let mut wire = daemon.connect();
        wire.begin("alice", "I", "unfinished", 1);
        wire.burst("DATA", b"x").has(213);
        let mut line = b"EOF ".to_vec();
        line.resize(length, b' ');
        wire.send(&line);
        wire.half_close();
        let rest = wire.rest();
        assert!(!rest.contains("200 "), "{length}: {rest}");
    }
    daemon.assert_untouched();
}

#[test]
fn a_declared_size_is_an_estimate_and_the_bursts_count() {
    let daemon = Daemon::start();
    let sizes = [
        "0",
        "1",
        "5",
        "6",
        "1000000",
        "-1",
        "-9223372036854775808",
        "36K",
        "1M",
        "*",
        "-",
        "",
        "0x10",
        "abc",
        "1e9",
    ];
    for size in sizes {
        let mut wire = daemon.connect();
        wire.ask(&format!("FILE {size} tester -")).has(200);
        wire.ask("USER alice").has(208);
        wire.burst("DATA", b"12").has(213);
        wire.burst("DATA", b"345").has(213);
        wire.ask("EOF").has(200);
    }
    let items = daemon.items("alice");
    assert_eq!(items.len(), sizes.len());
    assert!(items.iter().all(|item| item.envelope.local.bytes == 5));
    // What can never fit is refused at once, whatever number it is.
    for size in [
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "17179869185",
        "17G",
        "99999999999G",
    ] {
        let mut wire = daemon.connect();
        let file = wire.ask(&format!("FILE {size} tester -"));
        if file.code == 200 {
            wire.ask("USER alice").has(208);
            wire.burst("DATA", b"12345").has(213);
        } else {
            assert_eq!(file.code, 531, "{size}");
        }
    }
    daemon.quiet();
    assert_eq!(daemon.items("alice").len(), sizes.len());
}

#[test]
fn an_endless_line_costs_no_memory() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    let before = daemon.memory("VmRSS");
    let piece = vec![b'z'; 1 << 20];
    for _ in 0..64 {
        if wire.try_send(&piece).is_err() {
            break;
        }
    }
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for a line of 64 MiB");
    drop(wire);
    daemon.assert_untouched();
}

#[test]
fn a_million_attributes_are_not_kept() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "many", 1);
    let before = daemon.memory("VmRSS");
    let reader = wire.socket().try_clone().unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
    let lines: String = (0..1_000)
        .map(|n| format!("META KEY{n} {}\r\n", "v".repeat(100)))
        .collect();
    for _ in 0..1_000 {
        if wire.try_send(&lines).is_err() {
            break;
        }
    }
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for a million attributes");
    let _ = wire.socket().shutdown(std::net::Shutdown::Both);
    let _ = drain.join().unwrap();
    daemon.assert_untouched();
}

#[test]
fn the_bytes_of_a_refused_burst_are_never_commands() {
    let daemon = Daemon::start();
    let payload = "FILE 1 evil -\r\nUSER bob\r\nDATA 4\r\nevilEOF\r\n";
    let refused = [
        format!(
            "FILE 9 x -\r\nUSER nosuch\r\nDATA {}\r\n{payload}EOF\r\n",
            payload.len()
        ),
        format!("DATA {}\r\n{payload}", payload.len()),
        format!("FILE 9 x -\r\nUSER alice\r\nDATA -1\r\n{payload}"),
        format!("FILE 9 x -\r\nUSER alice\r\nDATA 0x10\r\n{payload}"),
        format!("FILE 9 x -\r\nUSER alice\r\nDATA 99999999999999999999\r\n{payload}"),
        format!("FILE 9 x -\r\nUSER alice\r\nAUXDATA +4\r\n{payload}"),
        format!(
            "FILE 9 x -\r\nUSER alice\r\nDATA {}\r\n{payload}",
            "1".repeat(5_000)
        ),
    ];
    for conversation in refused {
        let mut wire = Wire::silent(daemon.address());
        wire.send(&conversation);
        wire.half_close();
        let rest = wire.rest();
        assert!(!rest.contains("208 bob"), "{conversation:?}: {rest}");
        let last = rest.lines().last().unwrap_or_default();
        assert!(
            last.starts_with(['4', '5']),
            "{conversation:?}: the refusal is the last word: {rest}"
        );
    }
    daemon.assert_untouched();
}

#[test]
fn the_refusal_of_a_burst_that_was_sent_ahead_is_not_lost_to_a_reset() {
    let daemon = Daemon::with("[limits]\nuser_bytes = \"10KiB\"");
    let bytes = random_bytes(1, 4_000_000);
    for _ in 0..5 {
        let mut wire = Wire::silent(daemon.address());
        wire.send("FILE 9 x -\r\nUSER nosuch\r\nDATA 4000000\r\n");
        let _ = wire.try_send(&bytes);
        let codes: Vec<u16> = std::iter::from_fn(|| wire.reply_or_end())
            .map(|reply| reply.code)
            .collect();
        assert_eq!(codes, [223, 200, 532, 403]);
        let mut over = Wire::silent(daemon.address());
        over.send("FILE 9 x -\r\nUSER alice\r\nDATA 4000000\r\n");
        let _ = over.try_send(&bytes);
        let _ = over.try_send("EOF\r\n");
        let codes: Vec<u16> = std::iter::from_fn(|| over.reply_or_end())
            .map(|reply| reply.code)
            .collect();
        assert_eq!(codes, [223, 200, 208, 313, 541]);
    }
    daemon.assert_untouched();
}

#[test]
fn the_count_decides_where_the_payload_ends() {
    let daemon = Daemon::start();
    let mut wire = Wire::silent(daemon.address());
    // Payload that looks like commands, in the middle of pipelined commands, cut at every place.
    let payload = "EOF\r\nQUIT\r\nABORT\r\n";
    let conversation = format!(
        "FILE 9 x -\r\nUSER alice\r\nTYPE I\r\nDATA {}\r\n{payload}DATA 0\r\nDATA 1\r\n!EOF\r\nQUIT\r\n",
        payload.len()
    );
    for byte in conversation.as_bytes() {
        wire.send([*byte]);
    }
    let codes: Vec<u16> = std::iter::from_fn(|| wire.reply_or_end())
        .map(|reply| reply.code)
        .collect();
    assert_eq!(
        codes,
        [223, 200, 208, 200, 313, 213, 313, 213, 313, 213, 200, 221]
    );
    let item = daemon.item("alice");
    assert_eq!(
        daemon.bytes(&item, uft::local::Form::Local),
        format!("{payload}!").into_bytes()
    );
}

#[test]
fn foreign_protocols_get_a_few_refusals_and_the_door() {
    let daemon = Daemon::start();
    let hello: Vec<u8> = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        &random_bytes(7, 500),
    ]
    .concat();
    let http = b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\n\r\n".to_vec();
    let smtp = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<alice>\r\nDATA\r\n".to_vec();
    let ssh = b"SSH-2.0-OpenSSH_9.9\r\n".to_vec();
    for (what, bytes) in [
        ("tls", hello),
        ("http", http),
        ("smtp", smtp),
        ("ssh", ssh),
        ("zeroes", vec![0; 100_000]),
    ] {
        let mut wire = Wire::silent(daemon.address());
        let _ = wire.try_send(&bytes);
        wire.half_close();
        let rest = wire.rest();
        // The herald, refusals, and the goodbye to somebody who closed first: nothing was done.
        let done = rest
            .lines()
            .skip(1)
            .filter(|line| line.starts_with(['2', '3']) && !line.starts_with("221"));
        assert_eq!(done.count(), 0, "{what}: {rest}");
        assert!(rest.lines().count() <= 25, "{what}: {rest}");
    }
    for seed in 0..20 {
        let mut wire = Wire::silent(daemon.address());
        let _ = wire.try_send(random_bytes(seed, 200_000));
        let _ = wire.socket().shutdown(std::net::Shutdown::Write);
        let _ = wire.rest();
    }
    daemon.assert_untouched();
}

#[test]
fn nonsense_without_end_is_shown_out() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    let _ = wire.try_send("XYZZY\r\n".repeat(1_000));
    let refusals = std::iter::from_fn(|| wire.reply_or_end()).count();
    assert!((1..=30).contains(&refusals), "{refusals} refusals");
    daemon.assert_untouched();
}

#[test]
fn what_was_said_of_one_file_is_not_said_of_the_next() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.begin("alice", "E", "first", 6);
    wire.ask("META TITLE secret title").has(200);
    wire.ask("META XID first-1").has(200);
    wire.burst("DATA", b"\xc8\xc5\xd3\xd3\xd6\x15").has(213);
    wire.burst("AUXDATA", b"fork").has(213);
    wire.ask("EOF").has(200);
    wire.ask("USER alice").has(208);
    wire.burst("DATA", b"plain").has(213);
    wire.ask("EOF").has(200);
    wire.begin("bob", "E", "aborted", 6);
    wire.ask("META TITLE gone").has(200);
    wire.ask("ABORT").has(226);
    wire.ask("USER bob").has(208);
    wire.ask("EOF").has(200);
    let items = daemon.items("alice");
    let second = &items[1].envelope;
    assert_eq!(
        (second.facts.name.as_deref(), second.facts.stored_as.letter()),
        (None, 'I')
    );
    assert_eq!(
        (second.facts.attributes.len(), &second.facts.xid, &second.aux),
        (0, &None, &None)
    );
    let bobs = daemon.item("bob").envelope;
    assert_eq!(
        (bobs.facts.name, bobs.facts.attributes.len(), bobs.local.bytes),
        (None, 0, 0)
    );
}
