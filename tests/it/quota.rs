//! Quotas: counted for everybody, on every way around them.

use std::net::Ipv4Addr;
use std::thread;

use crate::harness::{Daemon, Wire, random_bytes};

#[test]
fn bytes_are_refused_when_declared_and_when_they_come() {
    let daemon = Daemon::with("[limits]\nuser_bytes = \"100KiB\"");
    let mut wire = daemon.connect();
    wire.ask("FILE 200000 tester -").has(200);
    wire.ask("USER alice").has(541);
    // The same, not declared.
    let mut liar = daemon.connect();
    liar.begin("alice", "I", "liar", 10);
    let said = liar.burst("DATA", &random_bytes(1, 200_000));
    assert_eq!(said.code, 541, "{said:?}");
    liar.ends();
    assert_eq!(daemon.items("alice"), []);
    daemon
        .connect()
        .deliver("alice", "I", "fits", &random_bytes(2, 60_000))
        .has(200);
    daemon
        .connect()
        .deliver("bob", "I", "another", &random_bytes(2, 60_000))
        .has(200);
}

#[test]
fn what_is_received_makes_room_again() {
    let daemon = Daemon::with("[limits]\nuser_items = 2");
    for _ in 0..2 {
        daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    }
    let mut wire = daemon.connect();
    wire.ask("FILE 1 tester -").has(200);
    wire.ask("USER alice").has(541);
    daemon.uft(["--user", "alice", "discard", "1"]).ok();
    daemon.connect().deliver("alice", "I", "f", b"x").has(200);
}

#[test]
fn many_empty_files_are_many_items() {
    let daemon = Daemon::with("[limits]\nuser_items = 5");
    let mut taken = 0;
    for _ in 0..10 {
        let mut wire = daemon.connect();
        wire.ask("FILE 0 tester -").has(200);
        if wire.ask("USER alice").code == 208 {
            taken += u16::from(wire.ask("EOF").code == 200);
        }
    }
    assert_eq!((taken, daemon.items("alice").len()), (5, 5));
}

#[test]
fn parallel_sessions_cannot_pass_the_limit_together() {
    let daemon = Daemon::with("[limits]\nuser_items = 5\nuser_bytes = \"1MiB\"");
    let address = daemon.address();
    let senders: Vec<_> = (0..20)
        .map(|seed| {
            thread::spawn(move || {
                let mut wire = Wire::open(address);
                wire.ask("FILE 1 tester -").has(200);
                if wire.ask("USER alice").code != 208 {
                    return 0;
                }
                let bytes = random_bytes(seed, 300_000);
                wire.send(format!("DATA {}\r\n", bytes.len()));
                let _ = wire.try_send(&bytes);
                let _ = wire.try_send("EOF\r\n");
                let replies: Vec<u16> = std::iter::from_fn(|| wire.reply_or_end())
                    .take(3)
                    .map(|reply| reply.code)
                    .collect();
                u32::from(replies.last() == Some(&200))
            })
        })
        .collect();
    let acknowledged: u32 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    daemon.quiet();
    let items = daemon.items("alice");
    assert_eq!(acknowledged as usize, items.len());
    let bytes: u64 = items.iter().map(|item| item.envelope.local.bytes).sum();
    assert!(
        items.len() <= 5 && bytes <= 1 << 20,
        "{} items, {bytes} bytes",
        items.len()
    );
    assert!(!items.is_empty(), "some of them fit");
}

#[test]
fn aliases_and_the_case_of_a_name_lead_to_the_same_inbox() {
    let daemon = Daemon::with(
        "[users]\naliases = { post = [\"alice\"], all = [\"alice\", \"bob\"] }\n[limits]\nuser_items = 3",
    );
    for name in ["alice", "ALICE", "post"] {
        daemon.connect().deliver(name, "I", "f", b"x").has(200);
    }
    for name in ["Alice", "aLiCe", "POST", "all"] {
        let mut wire = daemon.connect();
        wire.ask("FILE 1 tester -").has(200);
        wire.ask(&format!("USER {name}")).has(541);
    }
    assert_eq!(daemon.items("alice").len(), 3);
    assert_eq!(daemon.items("bob"), [], "nobody gets half of a list");
}

#[test]
fn one_address_cannot_fill_the_house() {
    let daemon = Daemon::with("[limits]\nstranger_items = 4\nstranger_bytes = \"200KiB\"");
    for user in ["alice", "bob", "alice"] {
        daemon.connect().deliver(user, "I", "f", b"x").has(200);
    }
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "many bytes", 1);
    let said = wire.burst("DATA", &random_bytes(1, 300_000));
    assert_eq!(said.code, 541, "{said:?}");
    daemon.quiet();
    daemon.connect().deliver("bob", "I", "f", b"x").has(200);
    let mut wire = daemon.connect();
    wire.ask("FILE 1 other-name -").has(200);
    wire.ask("USER bob").has(541);
    // Somebody else, and the users of this host, are not in that account.
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    Wire::from(elsewhere, daemon.address())
        .assert_herald()
        .deliver("bob", "I", "f", b"x")
        .has(200);
    daemon.place.file("mine", "from here");
    daemon.sendfile(["bob", "mine"]).ok();
    assert_eq!(daemon.items("bob").len(), 4);
}

#[test]
fn a_quota_is_counted_again_after_a_restart() {
    let mut daemon = Daemon::with("[limits]\nuser_items = 2\nstranger_items = 2");
    for _ in 0..2 {
        daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    }
    daemon.restart();
    for user in ["alice", "bob"] {
        let mut wire = daemon.connect();
        wire.ask("FILE 1 tester -").has(200);
        wire.ask(&format!("USER {user}")).has(541);
    }
}

#[test]
fn an_abandoned_file_gives_its_room_back() {
    let daemon = Daemon::with("[limits]\nuser_items = 1\nuser_bytes = \"1MiB\"");
    for _ in 0..3 {
        let mut wire = daemon.connect();
        wire.begin("alice", "I", "f", 900_000);
        wire.burst("DATA", &random_bytes(1, 500_000)).has(213);
        wire.ask("ABORT").has(226);
        wire.ask("QUIT").has(221);
    }
    for _ in 0..3 {
        let mut wire = daemon.connect();
        wire.begin("alice", "I", "f", 900_000);
        wire.burst("DATA", &random_bytes(1, 500_000)).has(213);
        wire.reset();
        daemon.quiet();
    }
    daemon
        .connect()
        .deliver("alice", "I", "f", &random_bytes(1, 900_000))
        .has(200);
}
