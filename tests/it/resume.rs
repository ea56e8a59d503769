//! Large transfers that break off: they go on where they were, with the right bytes, for the same sender only.

use std::fs;
use std::net::Ipv4Addr;

use uft::local::Form;

use crate::harness::{
    Daemon, Local, Mishap, Proxy, Random, Reply, Setup, Tmpfs, Wire, random_bytes, text_of, until,
};

const MIB: usize = 1 << 20;

/// Opens a file of a transfer; the reply to `META XID`.
fn named(wire: &mut Wire, to: &str, file_type: &str, xid: &str) -> Reply {
    wire.begin(to, file_type, "large", 5 * MIB);
    wire.ask(&format!("META XID {xid}")).has(200)
}

/// Sends the first bytes of a transfer in a burst that is never completed.
fn begun(daemon: &Daemon, file_type: &str, xid: &str, bytes: &[u8]) -> Wire {
    let mut wire = daemon.connect();
    named(&mut wire, "alice", file_type, xid);
    wire.ask(&format!("DATA {}", bytes.len() + 1)).is(3);
    wire.send(bytes);
    wire
}

/// Where a transfer may go on, with the digest of the bytes before.
fn offered(reply: &Reply) -> Option<(usize, String)> {
    let word = |key| {
        reply
            .text
            .split([' ', ';'])
            .find_map(|word| word.strip_prefix(key))
    };
    Some((word("offset=")?.parse().unwrap(), word("digest=")?.to_owned()))
}

/// Goes on with a transfer, and ends it; where it went on.
fn go_on(wire: &mut Wire, file_type: &str, xid: &str, bytes: &[u8]) -> usize {
    let (at, digest) = offered(&named(wire, "alice", file_type, xid)).expect("an offer");
    assert_eq!(digest, format!("blake3:{}", blake3::hash(&bytes[..at])));
    wire.ask(&format!("META OFFSET {at}")).has(200);
    wire.burst("DATA", &bytes[at..]).has(213);
    let digest = blake3::hash(bytes);
    wire.ask(&format!("META DIGEST blake3:{digest}")).has(200);
    wire.ask("EOF").has(200);
    at
}

fn partials(daemon: &Daemon) -> Vec<String> {
    let entries = fs::read_dir(daemon.spool().join("partial")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until the daemon has so much of the only transfer under way.
fn has_written(daemon: &Daemon, bytes: u64) {
    let dir = daemon.spool().join("partial");
    until("a partial of that size", || {
        let entry = fs::read_dir(&dir).unwrap().flatten().next()?;
        (entry.metadata().ok()?.len() >= bytes).then_some(())
    });
}

#[test]
fn every_type_goes_on_after_a_lost_connection() {
    let mut daemon = Daemon::start();
    let octets = random_bytes(1, 5 * MIB);
    let text = text_of(2, 5 * MIB).replace('\n', "\r\n").into_bytes();
    let ebcdic = b"\xc8\xc5\xd3\xd3\xd6\x15".repeat(MIB);
    // Not reversible from its third MiB on: both forms are staged from there.
    let mut odd = text.clone();
    odd.insert(3 * MIB, b'\n');
    for (file_type, bytes) in [
        ("I", &octets),
        ("V", &octets),
        ("A", &text),
        ("E", &ebcdic),
        ("A", &odd),
    ] {
        for (n, restart) in [(2 * MIB + 3, false), (4 * MIB, true)] {
            let xid = format!("{file_type}-{n}-{}", bytes.len());
            drop(begun(&daemon, file_type, &xid, &bytes[..n]));
            daemon.quiet();
            assert_eq!(partials(&daemon).len(), 1);
            if restart {
                daemon.restart();
            }
            let at = go_on(&mut daemon.connect(), file_type, &xid, bytes);
            assert_eq!(at, n, "{xid}");
            let item = daemon.items("alice").pop().unwrap();
            assert_eq!(item.envelope.wire.blake3, blake3::hash(bytes), "{xid}");
            let local = daemon.bytes(&item, Form::Local);
            assert_eq!(item.envelope.local.blake3, blake3::hash(&local), "{xid}");
            match file_type {
                "E" => assert!(local == b"HELLO\n".repeat(MIB)),
                "A" if bytes.len() == text.len() => {
                    assert!(local == text_of(2, 5 * MIB).into_bytes());
                    assert!(!item.envelope.wire_kept);
                }
                "A" => assert!(item.envelope.wire_kept && daemon.bytes(&item, Form::Wire) == *bytes),
                _ => assert!(local == *bytes),
            }
            assert_eq!((partials(&daemon).len(), daemon.staged().len()), (0, 0), "{xid}");
        }
    }
}

#[test]
fn what_is_kept_as_sent_goes_on_after_a_killed_daemon() {
    let mut daemon = Daemon::start();
    let bytes = random_bytes(3, 5 * MIB);
    for (file_type, kept) in [("I", true), ("A", false)] {
        let wire = begun(&daemon, file_type, file_type, &bytes[..3 * MIB]);
        if kept {
            has_written(&daemon, 2 * MIB as u64);
        }
        daemon.kill();
        drop(wire);
        daemon.start_again();
        assert_eq!(daemon.staged(), Vec::<String>::new());
        let mut wire = daemon.connect();
        if kept {
            assert!(go_on(&mut wire, file_type, file_type, &bytes) >= 2 * MIB);
            assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == bytes);
        } else {
            assert_eq!(offered(&named(&mut wire, "alice", file_type, file_type)), None);
        }
    }
}

#[test]
fn all_bytes_can_be_there_before() {
    let daemon = Daemon::start();
    let bytes = random_bytes(4, 2 * MIB);
    let mut wire = daemon.connect();
    named(&mut wire, "alice", "I", "x");
    wire.burst("DATA", &bytes).has(213);
    wire.reset();
    daemon.quiet();
    let mut wire = daemon.connect();
    let (at, _) = offered(&named(&mut wire, "alice", "I", "x")).unwrap();
    assert_eq!(at, bytes.len());
    wire.ask(&format!("META OFFSET {at}")).has(200);
    wire.ask("EOF").has(200);
    assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == bytes);
}

#[test]
fn nobody_else_is_offered_a_transfer() {
    let daemon = Daemon::start();
    let bytes = random_bytes(5, 3 * MIB);
    drop(begun(&daemon, "I", "x", &bytes));
    daemon.quiet();
    let offer = |wire: &mut Wire, head: [&str; 3]| {
        let last = head.map(|line| wire.ask(line).is(2)).into_iter().next_back();
        offered(&last.unwrap())
    };
    let mut elsewhere = Wire::from(Ipv4Addr::new(127, 0, 0, 2), daemon.address()).assert_herald();
    for (wire, head) in [
        (&mut elsewhere, ["FILE 0 tester -", "USER alice", "META XID x"]),
        (
            &mut daemon.connect(),
            ["FILE 0 other -", "USER alice", "META XID x"],
        ),
        (
            &mut daemon.connect(),
            ["FILE 0 tester -", "USER bob", "META XID x"],
        ),
        (
            &mut daemon.connect(),
            ["FILE 0 tester -", "USER alice", "META XID y"],
        ),
        (
            &mut daemon.connect(),
            ["FILE 0 tester -", "META XID x", "USER alice"],
        ),
    ] {
        assert_eq!(offer(wire, head), None, "{head:?}");
        wire.ask("META OFFSET 3145728").has(500);
        wire.ask("ABORT").has(226);
    }
    let mut local = Local::open(&daemon.socket(), "{\"op\":\"session\"}");
    local.line("{\"done\"");
    local.reply("2");
    local.send(b"FILE 0 tester -\r\nUSER alice\r\nMETA XID x\r\n");
    for code in ["200", "208", "200 META; META okay\r"] {
        local.reply(code);
    }
    drop(local);
    assert_eq!(go_on(&mut daemon.connect(), "I", "x", &bytes), bytes.len());
}

#[test]
fn what_its_sender_gives_up_or_the_daemon_refuses_is_not_kept() {
    let daemon = Daemon::start();
    let bytes = random_bytes(6, 3 * MIB);
    let sent = |end: &str, code: u16| {
        let mut wire = daemon.connect();
        named(&mut wire, "alice", "I", "x");
        wire.burst("DATA", &bytes).has(213);
        wire.ask(&format!("META DIGEST blake3:{}", blake3::hash(b"other")))
            .has(200);
        assert_eq!(partials(&daemon).len(), 1);
        wire.ask(end).has(code);
        drop(wire);
        daemon.quiet();
        assert_eq!(partials(&daemon), Vec::<String>::new(), "{end}");
    };
    sent("ABORT", 226);
    sent("QUIT", 221);
    sent("EOF", 513);
    // Nor what is offered and not taken.
    drop(begun(&daemon, "I", "x", &bytes));
    daemon.quiet();
    let mut wire = daemon.connect();
    assert!(offered(&named(&mut wire, "alice", "I", "x")).is_some());
    wire.burst("DATA", b"something else").has(213);
    assert_eq!(partials(&daemon), Vec::<String>::new());
    wire.ask("EOF").has(200);
    assert_eq!(
        daemon.bytes(&daemon.item("alice"), Form::Local),
        b"something else"
    );
    assert_eq!(daemon.staged(), Vec::<String>::new());
}

#[test]
fn a_session_that_hangs_does_not_keep_its_sender_from_going_on() {
    let daemon = Daemon::start();
    let bytes = random_bytes(7, 5 * MIB);
    let mut dead = begun(&daemon, "I", "x", &bytes[..3 * MIB]);
    has_written(&daemon, 2 * MIB as u64);
    let at = go_on(&mut daemon.connect(), "I", "x", &bytes);
    assert!(at >= 2 * MIB);
    // It wakes up, and cannot do any harm.
    dead.send([0xff]);
    if dead.reply().code == 213 {
        // Its last byte was not written down yet; the file is refused at the latest here.
        dead.ask("EOF").is(5);
    }
    dead.ends();
    assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == bytes);
    assert_eq!((partials(&daemon).len(), daemon.staged().len()), (0, 0));
}

#[test]
fn a_disk_that_is_short_of_room_has_it_for_deliveries() {
    let tmpfs = Tmpfs::mount("size=24m");
    let daemon = Setup::new("[limits]\nmin_free = \"2MiB\"")
        .spool(&tmpfs.path().join("spool"))
        .start();
    let bytes = random_bytes(8, 10 * MIB);
    drop(begun(&daemon, "I", "x", &bytes));
    daemon.quiet();
    assert_eq!(partials(&daemon).len(), 1);
    daemon
        .connect()
        .deliver("bob", "I", "new", &random_bytes(9, 15 * MIB))
        .has(200);
    assert_eq!(partials(&daemon), Vec::<String>::new());
    assert_eq!(offered(&named(&mut daemon.connect(), "alice", "I", "x")), None);
    // What runs into the full disk itself is not kept either.
    let mut wire = daemon.connect();
    named(&mut wire, "alice", "I", "y");
    wire.send(format!("DATA {}\r\n", bytes.len()));
    wire.reply().is(3);
    wire.send(&bytes);
    wire.reply().is(5);
    daemon.quiet();
    assert_eq!((partials(&daemon).len(), daemon.staged().len()), (0, 0));
}

#[test]
fn a_large_file_that_was_delivered_is_not_sent_again_for_a_lost_reply() {
    let daemon = Daemon::start();
    let bytes = random_bytes(10, 16 * MIB);
    daemon.place.file("large", &bytes);
    let proxy = Proxy::new(daemon.address(), [Mishap::LoseReply("ACK EOF")]);
    let ran = daemon
        .sendfile([&proxy.to("alice"), "large", "-t", "I", "-v"].map(AsRef::<str>::as_ref))
        .ok();
    assert!(
        ran.err.contains("stored") && ran.out.contains("resumed"),
        "{}\n{}",
        ran.err,
        ran.out
    );
    assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == bytes);
    assert!(proxy.sent() < 17 * MIB as u64, "{}", proxy.sent());
    // The same command once more is another file.
    daemon
        .sendfile([&proxy.to("alice"), "large", "-t", "I"].map(AsRef::<str>::as_ref))
        .ok();
    assert_eq!(daemon.items("alice").len(), 2);
}

#[test]
fn a_connection_that_is_cut_again_and_again_costs_little() {
    let daemon = Daemon::start();
    let text = text_of(11, 24 * MIB);
    daemon.place.file("octets", random_bytes(12, 24 * MIB));
    daemon.place.file("text", &text);
    for (file, file_type) in [("octets", "I"), ("text", "A"), ("text", "E")] {
        let cuts = [9, 8, 7].map(|mib| Mishap::CutAfter(mib * MIB as u64));
        let proxy = Proxy::new(daemon.address(), cuts);
        let to = proxy.to("bob");
        let ran = daemon
            .sendfile([to.as_str(), file, "-t", file_type, "--json", "--retries", "5"])
            .ok();
        let line = &ran.json()[0];
        assert!(line["resumed_at"].as_u64().unwrap() > 8 * MIB as u64, "{line}");
        let wire = line["bytes"].as_u64().unwrap();
        assert!(proxy.sent() < wire * 3 / 2, "{} of {wire}", proxy.sent());
        let item = daemon.items("bob").pop().unwrap();
        let local = daemon.bytes(&item, Form::Local);
        assert!(
            local == fs::read(daemon.place.work().join(file)).unwrap(),
            "{file} {file_type}"
        );
        assert_eq!(format!("blake3:{}", item.envelope.wire.blake3), line["digest"]);
    }
    assert_eq!((daemon.items("bob").len(), partials(&daemon).len()), (3, 0));
}

#[test]
fn a_daemon_that_is_killed_again_and_again_costs_little() {
    let mut random = Random::new();
    let mut daemon = Daemon::start();
    let bytes = random_bytes(13, 64 * MIB);
    daemon.place.file("large", &bytes);
    let kills = 3;
    let stalls = (0..kills).map(|_| Mishap::StallAfter(random.below(20 * MIB as u64)));
    let proxy = Proxy::new(daemon.address(), stalls.collect::<Vec<_>>());
    let to = proxy.to("alice");
    let mut sending = daemon
        .sendfile([to.as_str(), "large", "-t", "I", "--json", "--retries", "20"])
        .beside();
    for n in 1..=kills {
        proxy.stalls(n);
        daemon.kill();
        daemon.start_again();
        proxy.lead_to(daemon.address());
    }
    let line: serde_json::Value = serde_json::from_str(&sending.line()).unwrap();
    assert_eq!((sending.ends(), &line["status"]), (0, &"delivered".into()));
    assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == bytes);
    assert!(proxy.sent() < 96 * MIB as u64, "{}", proxy.sent());
    assert_eq!((partials(&daemon).len(), daemon.staged().len()), (0, 0));
}

#[test]
fn a_sender_that_is_killed_goes_on_when_it_is_started_again() {
    let daemon = Daemon::start();
    let bytes = random_bytes(14, 24 * MIB);
    daemon.place.file("large", &bytes);
    let proxy = Proxy::new(daemon.address(), [Mishap::StallAfter(16 * MIB as u64)]);
    let to = proxy.to("alice");
    let sendfile = || daemon.sendfile([to.as_str(), "large", "-t", "I", "--json"]);
    let killed = sendfile().beside();
    proxy.stalls(1);
    // While it is at it, another one sends a file of its own.
    let line = sendfile().ok().json().remove(0);
    assert_eq!(line["resumed_at"], serde_json::Value::Null);
    drop(killed);
    let line = sendfile().ok().json().remove(0);
    assert!(line["resumed_at"].as_u64().unwrap() > 8 * MIB as u64, "{line}");
    let items = daemon.items("alice");
    assert_eq!(items.len(), 2);
    assert!(items.iter().all(|item| daemon.bytes(item, Form::Local) == bytes));
    // What has succeeded is another transfer when it is asked for again.
    let line = sendfile().ok().json().remove(0);
    assert_eq!(
        (line["resumed_at"].clone(), daemon.items("alice").len()),
        (serde_json::Value::Null, 3)
    );
    let notes = daemon.place.path("home").join(".local/state/uft/sending");
    assert_eq!(fs::read_dir(notes).unwrap().count(), 0);
}

#[test]
fn a_file_that_was_changed_meanwhile_is_sent_from_its_start() {
    let daemon = Daemon::start();
    let (old, new) = (random_bytes(15, 16 * MIB), random_bytes(16, 16 * MIB));
    let path = daemon.place.file("large", &old);
    let proxy = Proxy::new(daemon.address(), [Mishap::StallAfter(10 * MIB as u64)]);
    let to = proxy.to("alice");
    let sendfile = || daemon.sendfile([to.as_str(), "large", "-t", "I", "--json"]);
    let killed = sendfile().beside();
    proxy.stalls(1);
    drop(killed);
    // In its place, of the same length, and with its time: only the bytes tell.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, &new).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let line = sendfile().ok().json().remove(0);
    assert_eq!(line["resumed_at"], serde_json::Value::Null);
    assert!(daemon.bytes(&daemon.item("alice"), Form::Local) == new);
    assert_eq!(partials(&daemon), Vec::<String>::new());
    // The same for a file that was delivered, and changed before the reply that was lost is missed.
    proxy.plan(Mishap::LoseReply("ACK EOF"));
    sendfile().ok();
    assert_eq!(daemon.items("alice").len(), 2);
}
