//! What happens to a job beside its way: damage, other addresses, a second failure, connections that end.
//!
//! How files travel from gateway to gateway otherwise is tested in `relay`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use uft::local::{Form, ItemInfo};

use crate::harness::{Daemon, Network, until};

/// Waits until a user has this many items, and gives them.
fn items(daemon: &Daemon, user: &str, count: usize) -> Vec<ItemInfo> {
    until(&format!("{count} items for {user}"), || {
        let items = daemon.items(user);
        (items.len() >= count).then_some(items)
    })
}

/// Sends a file from a local user of a gateway (root), over its socket.
fn submit(daemon: &Daemon, to: &str, name: &str, bytes: &[u8]) {
    let reply = daemon.session().deliver(to, name, &[], bytes);
    assert!(reply.starts_with("200 "), "{reply}");
}

fn empty(daemon: &Daemon) {
    until("an empty queue", || daemon.queued().is_empty().then_some(()));
}

#[test]
fn a_job_whose_bytes_are_damaged_is_held_and_not_passed_on() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).kill();
    submit(network.at(0), "bob@BETA", "f", &[b'x'; 1000]);
    let path = network.at(0).spool().join("queue/1");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    network.at_mut(1).start_again();
    until("the job to be held", || {
        let jobs = network.at(0).uft(["queue", "--json"]).ok().json();
        (jobs[0]["state"] == "held").then_some(())
    });
    assert_eq!(network.at(1).items("bob"), []);
}

#[test]
fn a_job_that_is_freed_and_fails_again_is_told_again() {
    let network = Network::row(&["ALPHA", "BETA"], "");
    submit(network.at(0), "nosuch@BETA", "f", b"x");
    items(network.at(0), "root", 1);
    let failed = network.at(0).spool().join("failed/1.job");
    until("the failed job", || failed.exists().then_some(()));
    // A second is what tells two failures of one job apart.
    let queued = |daemon: &Daemon| daemon.uft(["queue", "--json"]).ok().json()[0]["queued"].clone();
    let before = queued(network.at(0));
    until("a later second", || {
        network.at(0).uft(["queue", "free", "1"]).ok();
        until("the failed job", || failed.exists().then_some(()));
        (queued(network.at(0)) != before).then_some(())
    });
    items(network.at(0), "root", 2);
}

#[test]
fn a_forward_that_comes_home_is_delivered_as_it_is() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(1).kill();
    let alpha = network.at(0);
    alpha.place.file("a.txt", "one\ntwo\n");
    alpha.sendfile(["-t", "A", "alice", "a.txt"]).ok();
    alpha.uft(["--user", "alice", "forward", "1", "bob@BETA"]).ok();
    alpha.uft(["queue", "reroute", "1", "bob@ALPHA"]).ok();
    let item = items(alpha, "bob", 1).remove(0);
    assert_eq!(alpha.bytes(&item, Form::Local), b"one\ntwo\n");
    empty(alpha);
}

#[test]
fn a_full_inbox_of_this_host_is_waited_for_too() {
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    network.at_mut(0).configure("[limits]\nuser_items = 1");
    network.at(0).reload();
    network.at_mut(1).kill();
    let alpha = network.at(0);
    submit(alpha, "alice@ALPHA", "first", b"x");
    let first = items(alpha, "alice", 1).remove(0);
    submit(alpha, "bob@BETA", "second", b"y");
    alpha.uft(["queue", "reroute", "1", "alice@ALPHA"]).ok();
    until("an attempt", || {
        let jobs = alpha.uft(["queue", "--json"]).ok().json();
        jobs[0]["attempts"].as_u64().filter(|&attempts| attempts > 0)
    });
    assert!(alpha.discard(&first));
    let second = items(alpha, "alice", 1).remove(0);
    assert_eq!(second.envelope.facts.name.as_deref(), Some("second"));
    empty(alpha);
}

/// A gateway that sends what is for NODE to a port of ours.
fn towards(listener: &TcpListener, settings: &str) -> Network {
    let mut network = Network::of(&["ALPHA"], settings);
    let address = listener.local_addr().unwrap();
    network.at_mut(0).configure(&format!(
        "[[peer]]\nname = \"old\"\nuft = \"{address}\"\n[[route]]\nto = \"OLD\"\nvia = \"old\""
    ));
    network.reload();
    network
}

const HERALD: &[u8] = b"223 field UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n";

/// Serves a session until its first `EOF`, and closes the connection then. What was said.
fn serve_one(listener: &TcpListener) -> Vec<String> {
    let (mut writer, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(writer.try_clone().unwrap());
    writer.write_all(HERALD).unwrap();
    let mut said: Vec<String> = Vec::new();
    while said.last().is_none_or(|line| line != "EOF") {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
        let line = line.trim_end().to_owned();
        if let Some(count) = line.strip_prefix("DATA ") {
            writer.write_all(b"313 send\r\n").unwrap();
            std::io::Read::read_exact(&mut reader, &mut vec![0; count.parse().unwrap()]).unwrap();
        }
        if !line.starts_with(['#', '*']) {
            writer.write_all(b"200 ok\r\n").unwrap();
        }
        said.push(line);
    }
    said
}

#[test]
fn a_server_that_ends_each_session_after_a_file_gets_the_next_one_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = towards(&listener, "[queue]\nretry = [\"1h\"]");
    for name in ["one", "two", "three"] {
        submit(network.at(0), "bob@OLD", name, b"abc");
        let said = serve_one(&listener);
        assert!(said.contains(&format!("NAME {name}")), "{said:?}");
        empty(network.at(0));
    }
}

#[test]
fn a_job_that_is_rerouted_while_its_hop_is_called_does_not_go_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = towards(&listener, "");
    submit(network.at(0), "bob@OLD", "f", b"abc");
    let (mut stream, _) = listener.accept().unwrap();
    network.at(0).uft(["queue", "reroute", "1", "alice@ALPHA"]).ok();
    let (heard, said) = mpsc::channel();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(HERALD).unwrap();
    thread::spawn(move || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        heard.send(line).unwrap();
        stream.write_all(b"532 no such user\r\n").unwrap();
    });
    items(network.at(0), "alice", 1);
    empty(network.at(0));
    let first = said.recv().unwrap();
    assert!(!first.starts_with("FILE"), "{first}");
}
