//! Who sent it: claims are shown as claims, proofs as proofs; secrets are kept, and inboxes are private.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Daemon, Local};

#[test]
fn a_claimed_sender_is_shown_with_the_address_it_came_from() {
    let daemon = Daemon::start();
    for claim in ["root", "root@alpha.example", "alice", "-", ""] {
        let mut wire = daemon.connect();
        wire.ask(&format!("FILE 1 {claim}")).has(200);
        wire.ask("USER alice").has(208);
        wire.ask("META FROM root").has(200);
        wire.ask("META REMOTE alpha.example").has(200);
        wire.burst("DATA", b"x").has(213);
        wire.ask("EOF").has(200);
    }
    for line in daemon.uft(["--user", "alice", "ls", "--json"]).ok().json() {
        let from = line["from"].as_str().unwrap();
        assert!(from.ends_with("127.0.0.1"), "{from}");
    }
    let stat = daemon
        .uft(["--user", "alice", "stat", "2", "--json"])
        .ok()
        .json()
        .remove(0);
    assert_eq!(stat["origin"]["proof"], "address");
    assert_eq!(stat["origin"]["host"], "127.0.0.1");
    let shown = daemon.uft(["--user", "alice", "ls"]).ok().out;
    assert_eq!(shown.matches("127.0.0.1").count(), 5, "{shown}");
}

#[test]
fn a_local_sender_is_who_the_kernel_says() {
    let daemon = Daemon::start();
    daemon.place.file("f", "x");
    fs::copy(daemon.place.work().join("f"), daemon.place.path("f")).unwrap();
    daemon.sendfile(["alice", "f"]).ok();
    daemon.sendfile(["alice", "f"]).by_nobody(&daemon.place).ok();
    let origins: Vec<Value> = (1..=2)
        .map(|id| {
            daemon
                .uft(["--user", "alice", "stat", &id.to_string(), "--json"])
                .ok()
                .json()
                .remove(0)["origin"]
                .clone()
        })
        .collect();
    assert_eq!(
        (&origins[0]["user"], &origins[0]["proof"]),
        (&"root".into(), &"local".into())
    );
    assert_eq!(
        (&origins[1]["user"], &origins[1]["proof"]),
        (&"nobody".into(), &"local".into())
    );
    assert_eq!(origins[1]["host"], "alpha.example");
}

#[test]
fn a_local_session_cannot_claim_to_be_somebody_else() {
    use std::io::{BufRead, BufReader, Write};
    let daemon = Daemon::start();
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(b"{\"op\":\"session\"}\n").unwrap();
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    stream
        .write_all(b"FILE 1 mallory -\r\nUSER alice\r\nDATA 1\r\nxEOF\r\nQUIT\r\n")
        .unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
    assert!(said.contains("221"), "{said}");
    assert_eq!(daemon.item("alice").envelope.facts.origin.user, "root");
}

#[test]
fn each_user_sees_the_own_inbox_and_no_other() {
    let daemon = Daemon::start();
    daemon
        .connect()
        .deliver("nobody", "A", "mine", b"for nobody\r\n")
        .has(200);
    daemon
        .connect()
        .deliver("alice", "A", "hers", b"for alice\r\n")
        .has(200);
    let place = &daemon.place;
    let own = daemon.uft(["ls", "--json"]).by_nobody(place).ok().json();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["name"], "mine");
    assert_eq!(
        daemon.uft(["receive", "1", "--stdout"]).by_nobody(place).ok().out,
        "for nobody\n"
    );
    daemon.uft(["discard", "1"]).by_nobody(place).ok();
    daemon
        .uft(["receive", "1", "--stdout"])
        .by_nobody(place)
        .exits(66);
    for op in ["list", "stat", "open", "discard", "forward", "wait", "watch"] {
        let request = serde_json::json!({
            "op": op, "user": "alice", "id": 1, "full": true, "form": "local", "to": "nobody",
        });
        let known: &[&str] = match op {
            "list" => &["op", "user", "full"],
            "open" => &["op", "user", "id", "form"],
            "forward" => &["op", "user", "id", "to"],
            "wait" | "watch" => &["op", "user"],
            _ => &["op", "user", "id"],
        };
        let mut object = request.as_object().unwrap().clone();
        object.retain(|key, _| known.contains(&key.as_str()));
        let answer = ask_by_nobody(&daemon, &Value::Object(object));
        assert!(answer.contains("not_allowed"), "{op}: {answer}");
    }
    assert_eq!(daemon.items("alice").len(), 1);
}

/// One request on the local socket by another user, through a program that every system has.
fn ask_by_nobody(daemon: &Daemon, request: &Value) -> String {
    let script = format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\ns.connect({:?})\n\
         s.sendall({:?}.encode() + b'\\n')\nprint(s.makefile().readline())",
        daemon.socket().to_str().unwrap(),
        request.to_string(),
    );
    crate::harness::Program::new("/usr/bin/python3".into(), Path::new("/"))
        .arguments(["-c", &script])
        .by_nobody(&daemon.place)
        .ok()
        .out
}

#[test]
fn an_agent_key_is_in_no_log_spool_or_listing() {
    const KEY: &str = "feedfacecafebeef0123456789abcdef";
    let place = crate::harness::Place::new();
    let key_file = place.file("key", format!("{KEY}\n"));
    let mut daemon = Daemon::with(&format!("[agent]\nkey_file = {key_file:?}"));
    let mut wire = daemon.connect();
    wire.ask(&format!("AGENT {KEY}")).has(200);
    wire.ask(&format!("AGENT {KEY}x")).has(500);
    wire.ask(&format!("FILE 1 tester AGENT {KEY}")).has(200);
    wire.ask("USER alice").has(208);
    wire.burst("DATA", b"x").has(213);
    wire.ask("EOF").has(200);
    wire.ask(&format!("FILE 1 tester AGENT {KEY} {}", "y".repeat(5_000)))
        .is(5);
    let shown = daemon.uft(["--user", "alice", "stat", "1", "--json"]).ok();
    let listed = daemon.uft(["--user", "alice", "ls"]).ok();
    daemon.stop();
    for (what, text) in [("stat", shown.out), ("ls", listed.out), ("the log", daemon.log())] {
        assert!(
            !text.contains(KEY) && !text.contains(&KEY[..16]),
            "{what} has the key"
        );
    }
    assert_no_file_has(&daemon.spool(), KEY.as_bytes());
}

fn assert_no_file_has(dir: &Path, secret: &[u8]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_file_has(&path, secret);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} has the key", path.display());
        }
    }
}

#[test]
fn the_replies_do_not_tell_who_exists() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    let known = wire.ask("MSG alice hello").code;
    let unknown = wire.ask("MSG nosuch hello").code;
    assert_eq!(known, unknown, "a message does not tell who exists");
}

#[test]
fn a_local_request_is_short_and_an_endless_one_is_refused() {
    let daemon = Daemon::start();
    let text = "x".repeat(100_000);
    let request = format!("{{\"op\":\"tell\",\"to\":\"alice\",\"text\":\"{text}\"}}");
    let answer = Local::open(&daemon.socket(), &request).line("{\"refused\"");
    assert!(
        answer.contains("malformed") && answer.contains("16384"),
        "{answer}"
    );
}

#[test]
fn the_log_says_discarded_of_what_was_there_only() {
    let daemon = Daemon::start();
    daemon.uft(["--user", "alice", "discard", "7"]).exits(66);
    assert!(!daemon.log().contains("discarded"), "{}", daemon.log());
    daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    daemon.uft(["--user", "alice", "discard", "1"]).ok();
    assert!(daemon.log().contains("discarded"), "{}", daemon.log());
}
