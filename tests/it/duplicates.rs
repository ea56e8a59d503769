//! A file sent twice: one item when it is the same transfer, two when it is not; and digests that do not fit.

use crate::harness::{Daemon, Reply, random_bytes};

fn deliver(daemon: &Daemon, to: &str, xid: &str, bytes: &[u8]) -> Reply {
    let mut wire = daemon.connect();
    wire.begin(to, "I", "resent", bytes.len());
    wire.ask(&format!("META XID {xid}")).has(200);
    wire.burst("DATA", bytes).has(213);
    wire.ask("EOF")
}

#[test]
fn a_resend_after_a_lost_reply_is_acknowledged_and_not_stored_again() {
    let mut daemon = Daemon::start();
    let bytes = random_bytes(1, 100_000);
    let mut wire = daemon.connect();
    wire.begin("alice", "I", "resent", bytes.len());
    wire.ask("META XID lost-1").has(200);
    wire.burst("DATA", &bytes).has(213);
    wire.send("EOF\r\n");
    // The reply is never read.
    wire.reset();
    daemon.quiet();
    deliver(&daemon, "alice", "lost-1", &bytes).has(200);
    deliver(&daemon, "alice", "lost-1", &bytes).has(200);
    assert_eq!(daemon.items("alice").len(), 1);
    // Also after a restart, and after the file was received.
    daemon.restart();
    deliver(&daemon, "alice", "lost-1", &bytes).has(200);
    assert_eq!(daemon.items("alice").len(), 1);
    assert!(daemon.discard(&daemon.item("alice")));
    deliver(&daemon, "alice", "lost-1", &bytes).has(200);
    assert_eq!(daemon.items("alice"), [], "received once is received");
}

#[test]
fn another_file_recipient_or_id_is_another_item() {
    let daemon = Daemon::start();
    deliver(&daemon, "alice", "x-1", b"one").has(200);
    deliver(&daemon, "alice", "x-2", b"one").has(200);
    deliver(&daemon, "bob", "x-1", b"one").has(200);
    // The same id with other bytes is not the same transfer.
    deliver(&daemon, "alice", "x-1", b"two").has(200);
    assert_eq!((daemon.items("alice").len(), daemon.items("bob").len()), (3, 1));
    // Without an id every delivery stands for itself.
    for _ in 0..2 {
        daemon.connect().deliver("bob", "I", "same", b"same").has(200);
    }
    assert_eq!(daemon.items("bob").len(), 3);
}

#[test]
fn a_digest_that_does_not_fit_is_refused_and_nothing_is_stored() {
    let daemon = Daemon::start();
    let (good, bad) = (blake3::hash(b"content").to_hex(), blake3::hash(b"other").to_hex());
    // printf content | sha256sum
    let sha = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    for (digest, before, code) in [
        (format!("blake3:{good}"), true, 200),
        (format!("blake3:{good}"), false, 200),
        (format!("sha256:{sha}"), true, 200),
        (format!("blake3:{bad}"), true, 513),
        (format!("blake3:{bad}"), false, 513),
        (format!("sha256:{bad}"), true, 513),
    ] {
        let mut wire = daemon.connect();
        wire.begin("alice", "I", "digested", 7);
        if before {
            wire.ask(&format!("META DIGEST {digest}")).has(200);
        }
        wire.burst("DATA", b"content").has(213);
        if !before {
            wire.ask(&format!("META DIGEST {digest}")).has(200);
        }
        wire.ask("EOF").has(code);
        if code == 513 {
            wire.ends();
        }
    }
    daemon.quiet();
    assert_eq!(daemon.items("alice").len(), 3);
    assert_eq!(daemon.staged(), Vec::<String>::new());
}

#[test]
fn the_sender_resends_without_doubling() {
    let daemon = Daemon::start();
    let bytes = random_bytes(5, 200_000);
    daemon.place.file("once", &bytes);
    // The program gives each delivery its own id: the same command twice is two files on purpose.
    for _ in 0..2 {
        daemon.sendfile([daemon.to("alice").as_str(), "once"]).ok();
    }
    let items = daemon.items("alice");
    let ids: Vec<_> = items.iter().map(|item| item.envelope.facts.xid.clone()).collect();
    assert_eq!(items.len(), 2);
    assert!(ids[0].is_some() && ids[0] != ids[1], "{ids:?}");
}
