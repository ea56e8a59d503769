//! Many at once: caps that refuse politely, and service for those inside.

use std::net::Ipv4Addr;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Daemon, Wire, random_bytes, until};

/// Every idle connection costs this process two descriptors at most.
fn raise_descriptor_limit(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    )
    .unwrap_or_else(|err| panic!("this test needs {wanted} open files: {err}"));
}

#[test]
fn two_thousand_idle_connections_leave_room_for_a_delivery() {
    raise_descriptor_limit(8_192);
    let daemon = Daemon::with("[uft]\nmax_sessions = 5000\nmax_sessions_per_address = 5000");
    daemon.connect().deliver("root", "I", "warm", b"up").has(200);
    daemon.quiet();
    let before = daemon.memory("VmRSS");
    let idle: Vec<Wire> = (0..2_000).map(|_| Wire::open(daemon.address())).collect();
    assert_eq!(daemon.status().sessions, 2_000);
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(
        grown < 2_000 * 64,
        "{grown} KiB for 2000 sessions: more than 64 KiB each"
    );
    daemon
        .connect()
        .deliver("alice", "I", "served", &random_bytes(1, 1_000_000))
        .has(200);
    daemon
        .uft([
            "--user",
            "alice",
            "receive",
            "1",
            "-o",
            daemon.place.inbound().to_str().unwrap(),
        ])
        .ok();
    drop(idle);
    daemon.quiet();
    daemon.assert_untouched();
}

#[test]
fn the_cap_in_all_refuses_politely_and_forgets() {
    let daemon = Daemon::with("[uft]\nmax_sessions = 10\nmax_sessions_per_address = 100");
    let mut inside: Vec<Wire> = (0..10).map(|_| daemon.connect()).collect();
    for _ in 0..5 {
        let mut outside = Wire::silent(daemon.address());
        let refusal = outside.reply().has(521);
        assert!(refusal.text.contains("too many"), "{refusal:?}");
        outside.ends();
    }
    for wire in &mut inside {
        wire.ask("NOOP").has(200);
    }
    inside.pop().unwrap().ask("QUIT").has(221);
    until("a free place", || {
        (Wire::silent(daemon.address()).reply().code == 223).then_some(())
    });
    drop(inside);
    daemon.assert_untouched();
}

#[test]
fn the_cap_of_one_address_leaves_the_others_alone() {
    let daemon = Daemon::with("[uft]\nmax_sessions_per_address = 5");
    let crowd: Vec<Wire> = (0..5).map(|_| daemon.connect()).collect();
    Wire::silent(daemon.address()).reply().has(521);
    let mut elsewhere = Wire::from(Ipv4Addr::new(127, 0, 0, 9), daemon.address()).assert_herald();
    elsewhere.deliver("alice", "I", "from elsewhere", b"x").has(200);
    assert_eq!(daemon.item("alice").envelope.facts.origin.host, "127.0.0.9");
    drop((crowd, elsewhere));
    daemon.quiet();
    daemon.connect();
}

#[test]
fn a_herd_that_connects_and_leaves_is_forgotten() {
    let daemon = Daemon::start();
    let address = daemon.address();
    let herds: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..250 {
                    drop(Wire::silent(address));
                }
            })
        })
        .collect();
    herds.into_iter().for_each(|herd| herd.join().unwrap());
    daemon.assert_untouched();
}

#[test]
fn deliveries_to_one_inbox_at_once_are_all_there_and_numbered_once() {
    let daemon = Daemon::start();
    let address = daemon.address();
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            thread::spawn(move || {
                let mut wire = Wire::open(address);
                for n in 0..20 {
                    let bytes = random_bytes(sender * 100 + n, 1_000);
                    wire.deliver("alice", "I", &format!("{sender}-{n}"), &bytes)
                        .has(200);
                }
            })
        })
        .collect();
    // Meanwhile the inbox is listed, and what is there is received.
    let reader = &daemon;
    let mut received = 0;
    while senders.iter().any(|sender| !sender.is_finished()) {
        if let Some(item) = reader.items("alice").first() {
            let bytes = reader.bytes(item, uft::local::Form::Local);
            assert_eq!(blake3::hash(&bytes), item.envelope.local.blake3, "torn");
            assert!(reader.discard(item));
            received += 1;
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let left = daemon.items("alice");
    assert_eq!(left.len() + received, 160);
    let mut names: Vec<_> = left.iter().map(|item| item.envelope.facts.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), left.len(), "each once");
}

#[test]
fn a_session_gives_the_memory_of_its_bursts_back() {
    let daemon = Daemon::with("[uft]\nmax_sessions_per_address = 500");
    let burst = random_bytes(1, 250_000);
    let used = || {
        let mut wire = daemon.connect();
        wire.begin("alice", "I", "given up", burst.len());
        wire.burst("DATA", &burst).has(213);
        wire
    };
    drop(used());
    daemon.quiet();
    let before = daemon.memory("VmRSS");
    let idle: Vec<Wire> = (0..200).map(|_| used()).collect();
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(
        grown < 200 * 64,
        "{grown} KiB for 200 idle sessions: more than 64 KiB each"
    );
    drop(idle);
}
