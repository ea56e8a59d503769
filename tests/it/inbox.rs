//! `uft` on a real inbox: listing, looking, receiving, passing on, throwing away, waiting and watching.

use std::fs;

use serde_json::Value;

use crate::harness::{Daemon, until};

fn send(daemon: &Daemon, name: &str, bytes: &[u8]) {
    daemon.connect().deliver("alice", "A", name, bytes).has(200);
}

/// `uft --user alice ...`.
fn uft(daemon: &Daemon, arguments: &[&str]) -> crate::harness::Program {
    daemon.uft(["--user", "alice"].iter().chain(arguments))
}

#[test]
fn a_listing_has_the_newest_last_and_says_who_what_and_when() {
    let daemon = Daemon::start();
    send(&daemon, "one.txt", b"1\r\n");
    send(&daemon, "two.txt", b"22\r\n");
    let shown = uft(&daemon, &["ls"]).ok().out;
    let at = |name: &str| shown.find(name).unwrap_or_else(|| panic!("{name} in {shown}"));
    assert!(at("one.txt") < at("two.txt"), "{shown}");
    assert!(shown.contains("tester@127.0.0.1"), "{shown}");
    let items = uft(&daemon, &["ls", "--json"]).ok().json();
    assert_eq!(items.len(), 2);
    assert_eq!(items[1]["name"], "two.txt");
    assert_eq!(items[1]["size"], 3, "the local form: LF lines");
    assert_eq!(items[1]["type"], "A");
}

#[test]
fn an_empty_inbox_is_an_empty_list() {
    let daemon = Daemon::start();
    assert_eq!(uft(&daemon, &["ls", "--json"]).ok().out, "");
    uft(&daemon, &["ls"]).ok();
}

#[test]
fn an_item_says_everything_that_is_known_of_it() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    wire.begin("alice", "E", "report", 12);
    wire.ask("META TITLE quarterly").has(200);
    wire.burst("DATA", b"\xc8\xc5\xd3\xd3\xd6\x15").has(213);
    wire.ask("EOF").has(200);
    let [item]: [Value; 1] = uft(&daemon, &["stat", "1", "--json"])
        .ok()
        .json()
        .try_into()
        .unwrap();
    for key in [
        "id",
        "user",
        "from",
        "origin",
        "name",
        "type",
        "size",
        "wire_size",
        "digest",
        "local_digest",
        "received",
        "title",
        "meta",
        "exact",
    ] {
        assert!(item.get(key).is_some(), "{key} in {item}");
    }
    assert_eq!(item["user"], "alice");
    assert_eq!(item["origin"]["proof"], "address");
    assert_eq!(item["origin"]["host"], "127.0.0.1");
    assert_eq!(item["size"], 6);
    assert_eq!(item["wire_size"], 6);
    assert_eq!(item["title"], "quarterly");
    assert_eq!(
        item["digest"],
        format!("blake3:{}", blake3::hash(b"\xc8\xc5\xd3\xd3\xd6\x15").to_hex())
    );
    assert_eq!(
        item["local_digest"],
        format!("blake3:{}", blake3::hash(b"HELLO\n").to_hex())
    );
    let sha = uft(&daemon, &["stat", "1", "--sha256"]).ok().out;
    let digest = <sha2::Sha256 as sha2::Digest>::digest(b"\xc8\xc5\xd3\xd3\xd6\x15");
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        sha.contains(&hex),
        "the digest of the bytes as sent, {hex}: {sha}"
    );
    let shown = uft(&daemon, &["stat", "1"]).ok().out;
    assert!(
        shown.contains("quarterly") && shown.contains("tester@127.0.0.1"),
        "{shown}"
    );
}

#[test]
fn receiving_writes_the_file_then_removes_the_item() {
    let daemon = Daemon::start();
    send(&daemon, "note.txt", b"a note\r\n");
    let into = daemon.place.inbound();
    uft(&daemon, &["receive", "1"]).dir(&into).ok();
    assert_eq!(fs::read(into.join("note.txt")).unwrap(), b"a note\n");
    assert_eq!(daemon.items("alice"), []);
    uft(&daemon, &["receive", "1"]).exits(66);
}

#[test]
fn nothing_is_ever_overwritten_without_being_asked() {
    let daemon = Daemon::start();
    let into = daemon.place.inbound();
    for _ in 0..3 {
        send(&daemon, "same.txt", b"new\r\n");
    }
    fs::write(into.join("same.txt"), "old").unwrap();
    let out = into.to_str().unwrap();
    uft(&daemon, &["receive", "1", "-o", out]).ok();
    uft(&daemon, &["receive", "2", "-o", out]).ok();
    assert_eq!(fs::read(into.join("same.txt")).unwrap(), b"old");
    assert_eq!(daemon.place.received(), ["same.txt", "same.txt.1", "same.txt.2"]);
    uft(&daemon, &["receive", "3", "--force", "-o", out]).ok();
    assert_eq!(fs::read(into.join("same.txt")).unwrap(), b"new\n");
}

#[test]
fn keeping_peeking_and_failing_leave_the_item_where_it_is() {
    let daemon = Daemon::start();
    send(&daemon, "keep.txt", b"one\r\ntwo\r\nthree\r\n");
    assert_eq!(
        uft(&daemon, &["receive", "1", "--keep", "--stdout"]).ok().out,
        "one\ntwo\nthree\n"
    );
    let peeked = uft(&daemon, &["peek", "1", "--lines", "2"]).ok().out;
    assert!(
        peeked.contains("one\ntwo\n") && !peeked.contains("three"),
        "{peeked}"
    );
    uft(&daemon, &["receive", "1", "-o", "/nonexistent/directory/file"]).exits(73);
    assert_eq!(daemon.items("alice").len(), 1);
    assert_eq!(
        uft(&daemon, &["receive", "1", "--stdout", "--wire"]).ok().out,
        "one\r\ntwo\r\nthree\r\n"
    );
}

#[test]
fn discarding_takes_the_named_items_only() {
    let daemon = Daemon::start();
    for name in ["a", "b", "c"] {
        send(&daemon, name, b"x");
    }
    uft(&daemon, &["discard", "1", "3"]).ok();
    let left: Vec<u64> = daemon.items("alice").iter().map(|item| item.id.get()).collect();
    assert_eq!(left, [2]);
    uft(&daemon, &["discard", "1"]).exits(66);
    uft(&daemon, &["discard", "--all"]).ok();
    assert_eq!(daemon.items("alice"), []);
}

#[test]
fn passing_on_gives_a_second_inbox_the_same_file() {
    let daemon = Daemon::with("[users]\naliases = { both = [\"alice\", \"bob\"] }");
    send(&daemon, "shared.txt", b"for two\r\n");
    uft(&daemon, &["forward", "1", "bob"]).ok();
    let theirs = daemon.item("bob");
    assert_eq!(theirs.envelope, daemon.items("alice")[0].envelope);
    uft(&daemon, &["discard", "1"]).ok();
    assert_eq!(
        daemon.bytes(&theirs, uft::local::Form::Local),
        b"for two\n",
        "a link outlives the other"
    );
    uft(&daemon, &["forward", "99", "bob"]).exits(66);
    daemon
        .uft(["--user", "bob", "forward", &theirs.id.to_string(), "nosuch"])
        .exits(67);
}

#[test]
fn waiting_ends_with_the_arrival_or_with_its_time() {
    let daemon = Daemon::with("[query]\nallow = [\"NAMES\"]");
    let ended = uft(&daemon, &["wait", "--timeout", "1s"]).run();
    assert_eq!(ended.code, 75, "nothing came: {ended:?}");
    let mut waiting = uft(&daemon, &["wait", "--timeout", "60s"]).beside();
    until("the wait to begin", || {
        daemon
            .connect()
            .ask("CPQ NAMES")
            .before
            .iter()
            .any(|line| line.contains("alice"))
            .then_some(())
    });
    send(&daemon, "awaited.txt", b"here\r\n");
    assert_eq!(waiting.ends(), 0);
}

#[test]
fn watching_shows_arrivals_and_messages_as_they_come() {
    let daemon = Daemon::start();
    let watching = uft(&daemon, &["watch", "--json"]).beside();
    let mut wire = daemon.connect();
    wire.ask("FILE 0 mallory -").has(200);
    until("the watch to begin", || {
        (wire.ask("MSG alice first").code == 200).then_some(())
    });
    let message: Value = serde_json::from_str(&watching.line()).unwrap();
    assert!(
        message.to_string().contains("first") && message.to_string().contains("mallory"),
        "{message}"
    );
    assert!(
        message.to_string().contains("127.0.0.1"),
        "the host is beside the claim: {message}"
    );
    send(&daemon, "watched.txt", b"seen\r\n");
    let arrival: Value = serde_json::from_str(&watching.line()).unwrap();
    assert!(arrival.to_string().contains("watched.txt"), "{arrival}");
    drop(watching);
    until("545 again", || {
        (wire.ask("MSG alice gone").code == 545).then_some(())
    });
}

#[test]
fn telling_and_asking_reach_the_gateway_and_say_the_truth() {
    let daemon = Daemon::with("[query]\nallow = [\"TIME\", \"CPLEVEL\"]");
    let host = format!("127.0.0.1:{}", daemon.port());
    let to = daemon.to("alice");
    let nobody_there = daemon.uft(["tell", &to, "hello", "there"]).run();
    assert!(matches!(nobody_there.code, 75 | 77), "{nobody_there:?}");
    let watching = uft(&daemon, &["watch"]).beside();
    until("the message", || {
        (daemon.uft(["tell", &to, "hello", "there"]).run().code == 0).then_some(())
    });
    let line = watching.line();
    assert!(line.contains("hello there") && line.contains("root"), "{line}");
    let time = daemon.uft(["query", &host, "TIME"]).ok().out;
    assert!(time.contains("TIME IS ") && time.contains("GMT"), "{time}");
    assert!(daemon.uft(["query", &host, "CPLEVEL"]).ok().out.contains("uftd "));
    let refused = daemon.uft(["query", &host, "BOGUS"]).run();
    assert!(refused.code != 0, "{refused:?}");
}

#[test]
fn the_daemon_says_how_it_is() {
    let daemon = Daemon::start();
    send(&daemon, "counted", b"12345");
    let [status]: [Value; 1] = daemon.uft(["status", "--json"]).ok().json().try_into().unwrap();
    assert_eq!(status["items"], 1);
    assert_eq!(status["pid"], daemon.pid());
    assert!(
        status["listeners"]
            .to_string()
            .contains(&daemon.port().to_string()),
        "{status}"
    );
    let shown = daemon.uft(["status"]).ok().out;
    assert!(shown.contains(&daemon.port().to_string()), "{shown}");
}
