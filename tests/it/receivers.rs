//! Receiving under bad conditions: killed in the middle, two at once, called by old names, and asked in nonsense.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, PATIENCE, Program, Random, binary, random_bytes};

#[test]
fn a_receiver_that_is_killed_loses_nothing() {
    let daemon = Daemon::start();
    let mut random = Random::new();
    let bytes = random_bytes(1, 3_000_000);
    let into = daemon.place.inbound();
    let mut cut_short = 0;
    for round in 0..40 {
        let name = format!("file-{round}");
        daemon.connect().deliver("alice", "I", &name, &bytes).has(200);
        let id = daemon.item("alice").id.to_string();
        let arguments = ["--user", "alice", "receive", &id, "-o", into.to_str().unwrap()];
        let receiver = daemon.uft(arguments).beside();
        let moment = Instant::now() + Duration::from_micros(random.below(60_000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        // Dropped, it is killed.
        drop(receiver);
        let left = daemon.items("alice");
        let file = fs::read(into.join(&name));
        if let Ok(file) = &file {
            assert!(*file == bytes, "round {round}: half a file under its name");
        }
        match left.as_slice() {
            [] => assert!(file.is_ok(), "round {round}: neither item nor file"),
            [item] => {
                cut_short += 1;
                assert!(daemon.discard(item));
            }
            more => panic!("{more:?}"),
        }
    }
    assert!(cut_short > 0, "no receiver was killed in time");
}

#[test]
fn two_receivers_at_once_get_everything_between_them() {
    let daemon = Daemon::start();
    let mut wire = daemon.connect();
    for n in 0..30u64 {
        wire.deliver("alice", "I", &format!("file-{n}"), &random_bytes(n, 20_000))
            .has(200);
    }
    let (one, other) = (daemon.place.path("one"), daemon.place.path("other"));
    let receivers = [&one, &other].map(|dir| {
        fs::create_dir(dir).unwrap();
        daemon
            .uft(["--user", "alice", "receive", "--all", "-o", dir.to_str().unwrap()])
            .beside()
    });
    for mut receiver in receivers {
        // Whoever is second at an item is told so, or has a copy of its own.
        receiver.ends();
    }
    assert_eq!(daemon.items("alice"), []);
    for n in 0..30u64 {
        let copies: Vec<Vec<u8>> = [&one, &other]
            .iter()
            .filter_map(|dir| fs::read(dir.join(format!("file-{n}"))).ok())
            .collect();
        assert!(!copies.is_empty(), "file-{n} is lost");
        assert!(
            copies.iter().all(|copy| *copy == random_bytes(n, 20_000)),
            "file-{n} is torn"
        );
    }
}

#[test]
fn the_old_names_of_the_programs_do_what_they_did() {
    let daemon = Daemon::with("[query]\nallow = [\"TIME\"]");
    let called = |name: &str, arguments: &[&str]| {
        let link = daemon.place.path(name);
        if !link.exists() {
            symlink(binary(if name == "sf" { "sendfile" } else { "uft" }), &link).unwrap();
        }
        Program::new(link, &daemon.place.work())
            .env("UFT_SOCKET", daemon.socket())
            .env("HOME", daemon.place.path("home"))
            .arguments(arguments)
    };
    daemon.place.file("old.txt", "by an old name\n");
    called("sf", &["-a", "old.txt", &daemon.to("root")]).ok();
    called("sf", &["-i", "old.txt", &daemon.to("root")]).ok();
    assert!(called("rls", &[]).ok().out.contains("old.txt"));
    assert!(called("rstat", &["1"]).ok().out.contains("old.txt"));
    called("rcv", &["1", "received.txt"]).ok();
    assert_eq!(
        fs::read(daemon.place.work().join("received.txt")).unwrap(),
        b"by an old name\n"
    );
    called("rrm", &["2"]).ok();
    assert_eq!(daemon.items("root"), []);
    let host = format!("127.0.0.1:{}", daemon.port());
    assert!(called("cpq", &["-h", &host, "time"]).ok().out.contains("TIME IS"));
    let nobody_there = called("tell", &[&daemon.to("alice"), "hello"]).run();
    assert_ne!(nobody_there.code, 0, "{nobody_there:?}");
}

#[test]
fn an_alias_of_the_sender_stands_for_its_addresses() {
    let daemon = Daemon::start();
    daemon.place.file("f", "x");
    let config = daemon.place.path("home/.config/uft");
    fs::create_dir_all(&config).unwrap();
    let aliases = format!(
        "team = [{:?}, {:?}]\nboss = {:?}\n",
        daemon.to("alice"),
        daemon.to("bob"),
        daemon.to("alice")
    );
    fs::write(config.join("aliases.toml"), aliases).unwrap();
    daemon.sendfile(["team", "f"]).ok();
    daemon.sendfile(["boss", "f"]).ok();
    assert_eq!((daemon.items("alice").len(), daemon.items("bob").len()), (2, 1));
}

#[test]
fn nonsense_on_the_local_socket_is_refused_and_harms_nobody() {
    let daemon = Daemon::start();
    daemon.connect().deliver("alice", "I", "kept", b"x").has(200);
    let requests: [&[u8]; 9] = [
        b"\n",
        b"not json\n",
        b"{}\n",
        b"{\"op\":\"list\"}\n",
        b"{\"op\":\"no_such\"}\n",
        b"{\"op\":\"stat\",\"user\":\"../alice\",\"id\":1}\n",
        b"{\"op\":\"stat\",\"user\":\"alice\",\"id\":0}\n",
        b"{\"op\":\"stat\",\"user\":\"alice\",\"id\":1,\"more\":true}\n",
        b"{\"op\":\"open\",\"user\":\"alice\",\"id\":1,\"form\":\"../../../etc/passwd\"}\n",
    ];
    for request in requests {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("refused"), "{}: {answer}", request.escape_ascii());
    }
    // A line without end: cut at the limit, not gathered.
    let before = daemon.memory("VmRSS");
    let mut endless = UnixStream::connect(daemon.socket()).unwrap();
    endless.set_write_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..64 {
        if endless.write_all(&vec![b'x'; 1 << 20]).is_err() {
            break;
        }
    }
    let grown = daemon.memory("VmRSS").saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    drop(endless);
    assert_eq!(daemon.items("alice").len(), 1);
}

#[test]
fn a_user_cannot_take_all_places_on_the_local_socket() {
    let daemon = Daemon::start();
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(UnixStream::connect(daemon.socket()).unwrap());
    }
    assert_ne!(
        daemon.uft(["ls"]).run().code,
        0,
        "the next one of the same user is turned away"
    );
    // Root has taken what one user may have; somebody else is still served.
    let ran = daemon.uft(["ls"]).by_nobody(&daemon.place).run();
    assert_eq!(ran.code, 0, "{ran:?}");
    drop(open);
}
