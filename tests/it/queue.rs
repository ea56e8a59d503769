//! `uft queue` and what leads into the queue: whose a job is, what may be done to it, and what others see of it.
//!
//! The next hop of most jobs here is a port where nobody listens, so that they stay where they are. How files travel from
//! gateway to gateway is not tested here, but that a user can make them go.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::harness::{Daemon, Network, Program, until};

const ROUTES: &str = r#"
    peer = [{ name = "beta", uft = "127.0.0.1:1" }]
    route = [
        { to = "BETA", via = "beta" },
        { to = "GAMMA", via = "beta" },
        { to = "DELTA", via = "reject" },
    ]
"#;

/// `uft --user alice ...`.
fn alice(daemon: &Daemon, arguments: &[&str]) -> Program {
    daemon.uft(["--user", "alice"].iter().chain(arguments))
}

/// A daemon that knows the way to BETA, and a job of alice's that goes there.
fn with_a_job(name: &str) -> Daemon {
    let daemon = Daemon::with(ROUTES);
    daemon
        .connect()
        .deliver("alice", "I", name, b"eighteen bytes....")
        .has(200);
    let queued = alice(&daemon, &["forward", "1", "bob@BETA"]).ok();
    assert_eq!(queued.out, "1 queued as job 1 for bob@BETA\n");
    daemon
}

fn jobs(daemon: &Daemon) -> Vec<Value> {
    alice(daemon, &["queue", "ls", "--json"]).ok().json()
}

fn only(daemon: &Daemon) -> Value {
    let mut jobs = jobs(daemon);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

/// It may be sent; somebody may have tried already.
fn waits(job: &Value) -> bool {
    job["state"] == "ready" || job["state"] == "deferred"
}

#[test]
fn a_forward_to_a_node_is_a_job_of_its_user_and_no_copy() {
    let daemon = with_a_job("a.txt");
    let job = only(&daemon);
    assert!(waits(&job), "{job}");
    for (key, want) in [
        ("id", Value::from(1)),
        ("to", "bob@BETA".into()),
        ("name", "a.txt".into()),
        ("size", 18.into()),
        ("priority", 50.into()),
        ("owner", "alice".into()),
        ("route", vec!["beta"].into()),
        ("why", Value::Null),
    ] {
        assert_eq!(job[key], want, "{key} of {job}");
    }
    let file = |path: &str| fs::metadata(daemon.spool().join(path)).unwrap();
    assert_eq!(file("queue/1").ino(), file("users/alice/1").ino());
    assert_eq!(daemon.items("alice").len(), 1, "it stays in the inbox");
    let shown = alice(&daemon, &["queue"]).ok();
    assert!(shown.out.starts_with("ID STATE"), "{}", shown.out);
    assert!(shown.out.contains(" bob@BETA "), "{}", shown.out);
}

#[test]
fn a_forward_to_a_host_is_queued_when_it_is_asked_for() {
    let daemon = with_a_job("a.txt");
    alice(&daemon, &["forward", "1", "bob@127.0.0.1:1", "--queue"]).ok();
    let to: Vec<Value> = jobs(&daemon).iter().map(|job| job["to"].clone()).collect();
    assert_eq!(to, ["bob@BETA", "bob@127.0.0.1:1"]);
    // Not asked for: it is sent at once, or not at all.
    alice(&daemon, &["forward", "1", "bob@127.0.0.1:1", "--timeout", "1s"]).exits(69);
    assert_eq!(jobs(&daemon).len(), 2);
}

#[test]
fn a_job_is_held_and_freed_and_tells_its_story() {
    let daemon = with_a_job("a.txt");
    let held = alice(&daemon, &["queue", "hold", "1"]).ok();
    assert_eq!(held.out, "1 held: a.txt (18 bytes) for bob@BETA\n");
    let job = only(&daemon);
    assert_eq!(
        (&job["state"], &job["why"]),
        (&"held".into(), &"held by root".into())
    );
    let refused = alice(&daemon, &["queue", "retry", "1"]).exits(64);
    assert!(refused.err.contains("job 1 is held"), "{}", refused.err);
    alice(&daemon, &["queue", "free", "1"]).ok();
    assert!(waits(&only(&daemon)));
    alice(&daemon, &["queue", "retry", "1"]).ok();
    let shown = alice(&daemon, &["queue", "show", "1"]).ok().out;
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text} in {shown}"));
    assert!(
        at("forwarded by root from item 1 of alice") < at("held by root"),
        "{shown}"
    );
    assert!(at("held by root") < at("freed by root"), "{shown}");
    for fact in [
        "to           bob@BETA",
        "route        beta",
        "owner        alice",
        "priority     50",
    ] {
        assert!(shown.contains(fact), "{fact} in {shown}");
    }
    let [story]: [Value; 1] = alice(&daemon, &["queue", "show", "1", "--json"])
        .ok()
        .json()
        .try_into()
        .unwrap();
    let told = story["story"].as_array().unwrap();
    assert!(
        told.iter().any(|chapter| chapter["text"] == "held by root"),
        "{story}"
    );
    assert_eq!(
        (&story["hops"], &story["via"]),
        (&0.into(), &Value::Array(vec![]))
    );
}

#[test]
fn a_job_is_given_another_destination() {
    let daemon = with_a_job("a.txt");
    alice(&daemon, &["queue", "hold", "1"]).ok();
    let said = alice(&daemon, &["queue", "reroute", "1", "carol at gamma"]).ok();
    assert_eq!(
        said.out,
        "1 rerouted: a.txt (18 bytes) for carol@GAMMA; it is held until uft queue free 1\n"
    );
    for (to, code) in [
        ("carol@NOWHERE", 68),
        ("carol@DELTA", 68),
        ("carol@", 64),
        ("x y", 64),
        ("mallory", 67),
    ] {
        alice(&daemon, &["queue", "reroute", "1", to]).exits(code);
    }
    let job = only(&daemon);
    assert_eq!(
        (&job["to"], &job["state"]),
        (&"carol@GAMMA".into(), &"held".into())
    );
}

#[test]
fn what_waits_counts_against_its_user_until_it_is_gone() {
    let daemon = Daemon::with(&format!("{ROUTES}\n[limits]\nuser_items = 2"));
    daemon.connect().deliver("alice", "I", "a", b"x").has(200);
    let forward = || alice(&daemon, &["forward", "1", "bob@BETA"]);
    forward().ok();
    forward().ok();
    let full = forward().exits(73);
    assert!(full.err.contains("2 of 2 jobs"), "{}", full.err);
    let sent = daemon.sendfile(["bob@BETA", "uftd.toml"]);
    sent.dir(&daemon.place.path("")).ok();
    alice(&daemon, &["queue", "purge", "1", "2"]).ok();
    forward().ok();
}

#[test]
fn a_job_that_is_purged_is_gone_and_its_item_in_the_inbox_is_not() {
    let daemon = with_a_job("a.txt");
    let purged = alice(&daemon, &["queue", "purge", "1"]).ok();
    assert_eq!(purged.out, "1 purged: a.txt (18 bytes) for bob@BETA\n");
    assert_eq!(jobs(&daemon), [] as [Value; 0]);
    let again = alice(&daemon, &["queue", "purge", "1"]).exits(66);
    assert!(
        again.err.contains("uft queue ls shows what there is"),
        "{}",
        again.err
    );
    assert_eq!(daemon.items("alice").len(), 1);
    let empty = alice(&daemon, &["queue"]).ok();
    assert_eq!(
        (empty.out.as_str(), empty.err.as_str()),
        ("", "uft: no job waits in the queue\n")
    );
}

#[test]
fn a_job_survives_the_end_of_the_daemon_as_it_was() {
    let mut daemon = with_a_job("a.txt");
    alice(&daemon, &["queue", "hold", "1"]).ok();
    daemon.kill();
    daemon.start_again();
    assert_eq!(only(&daemon)["state"], "held");
}

#[test]
fn a_job_that_was_given_up_is_listed_and_can_be_tried_again() {
    let mut daemon = with_a_job("a.txt");
    daemon.kill();
    let spool = daemon.spool();
    fs::rename(spool.join("queue/1.job"), spool.join("failed/1.job")).unwrap();
    daemon.start_again();
    assert_eq!(only(&daemon)["state"], "failed");
    let refused = alice(&daemon, &["queue", "retry", "1"]).exits(64);
    assert!(refused.err.contains("job 1 is given up"), "{}", refused.err);
    alice(&daemon, &["queue", "free", "1"]).ok();
    assert!(waits(&only(&daemon)));
}

#[test]
fn nobody_sees_or_touches_the_jobs_of_others() {
    let daemon = with_a_job("secret.txt");
    let nobody = |arguments: &[&str]| daemon.uft(arguments).by_nobody(&daemon.place);
    assert_eq!(nobody(&["queue", "ls", "--json"]).ok().out, "");
    for act in [
        &["queue", "show", "1"] as &[&str],
        &["queue", "hold", "1"],
        &["queue", "free", "1"],
        &["queue", "retry", "1"],
        &["queue", "purge", "1"],
        &["queue", "reroute", "1", "mallory@BETA"],
    ] {
        let there = nobody(act).exits(66);
        assert!(!there.err.contains("secret"), "{}", there.err);
        let mut other = act.to_vec();
        other[2] = "7";
        let missing = nobody(&other).exits(66);
        assert_eq!(
            there.err.replace("job 1", "job 7"),
            missing.err,
            "one answer for both"
        );
        nobody(&[&["--user", "alice"], act].concat()).exits(77);
    }
    nobody(&["queue", "ls", "--all"]).exits(77);
    nobody(&["--user", "alice", "queue"]).exits(77);
    nobody(&["--user", "alice", "forward", "1", "nobody@BETA"]).exits(77);
    assert!(waits(&only(&daemon)));
    // An administrator sees all, and the own ones when nothing else is said.
    assert_eq!(daemon.uft(["queue", "--json"]).ok().out, "");
    assert_eq!(daemon.uft(["queue", "--all", "--json"]).ok().json().len(), 1);
    daemon.uft(["queue", "purge", "1"]).ok();
}

#[test]
fn hostile_names_and_senders_are_shown_harmlessly() {
    let daemon = Daemon::with(ROUTES);
    let mut wire = daemon.connect();
    wire.ask("FILE 1 \u{1b}[31mmallory\u{202e} -").has(200);
    wire.ask("USER alice").has(208);
    wire.ask("META NAME \u{1b}]0;x\u{7}\u{202e}a.exe").has(200);
    wire.ask("META TITLE \u{9b}31m").has(200);
    wire.burst("DATA", b"x").has(213);
    wire.ask("EOF").has(200);
    alice(&daemon, &["forward", "1", "b\u{e9}b@BETA"])
        .ok()
        .assert_inert();
    for arguments in [
        &["queue"] as &[&str],
        &["queue", "--json"],
        &["queue", "show", "1"],
        &["queue", "show", "1", "--json"],
        &["queue", "hold", "1"],
        &["queue", "reroute", "1", "b\u{200b}b@BETA"],
        &["queue", "purge", "1"],
    ] {
        alice(&daemon, arguments).run().assert_inert();
    }
    let why = alice(&daemon, &["queue", "show", "\u{1b}[2J"]).exits(64);
    why.assert_inert();
}

#[test]
fn the_name_of_our_own_node_is_this_host() {
    let daemon = Daemon::with(ROUTES);
    let file = daemon.place.file("a.txt", "a\n");
    daemon.sendfile(["alice@ALPHA", file.to_str().unwrap()]).ok();
    let item = daemon.item("alice");
    assert_eq!(item.envelope.facts.origin.proof, uft_spool::Proof::Local);
    let said = daemon
        .sendfile(["--json", "alice@alpha,alice", file.to_str().unwrap()])
        .ok();
    assert_eq!(said.json().len(), 1, "one recipient by two names: {}", said.out);
}

/// Two gateways, the second one stopped, and a file for its bob in the queue of the first.
fn waiting(settings: &str) -> Network {
    let mut network = Network::row(&["ALPHA", "BETA"], settings);
    network.at_mut(1).kill();
    let alpha = network.at(0);
    alpha.place.file("a.txt", "text\n");
    alpha.sendfile(["bob@BETA", "a.txt"]).ok();
    until("an attempt at the next hop", || {
        let jobs = alpha.uft(["queue", "--json"]).ok().json();
        jobs[0]["said"].is_string().then_some(())
    });
    network
}

fn arrives(network: &Network) {
    until("the file at bob's", || {
        (network.at(1).items("bob").len() == 1).then_some(())
    });
    until("the end of the job", || {
        let left = network.at(0).uft(["queue", "--json"]).ok().out;
        left.is_empty().then_some(())
    });
}

#[test]
fn a_job_whose_next_hop_is_down_says_so_and_goes_at_once_when_it_is_to() {
    let mut network = waiting("[queue]\nretry = [\"1h\"]");
    let shown = network.at(0).uft(["queue"]).ok().out;
    assert!(
        shown.contains(" hop is down ") && shown.contains("\n   beta: "),
        "{shown}"
    );
    network.at_mut(1).start_again();
    network.at(0).uft(["queue", "retry", "1"]).ok();
    arrives(&network);
}

#[test]
fn a_job_that_is_held_stays_until_it_is_freed() {
    let mut network = waiting("");
    network.at(0).uft(["queue", "hold", "1"]).ok();
    network.at_mut(1).start_again();
    network.at(0).place.file("b.txt", "text\n");
    network.at(0).sendfile(["alice@BETA", "b.txt"]).ok();
    until("the file after it", || {
        (network.at(1).items("alice").len() == 1).then_some(())
    });
    assert_eq!(network.at(1).items("bob"), []);
    network.at(0).uft(["queue", "free", "1"]).ok();
    arrives(&network);
}

#[test]
fn a_forward_has_the_forwarder_for_its_sender() {
    let network = Network::row(&["ALPHA", "BETA"], "");
    let alpha = network.at(0);
    alpha
        .connect()
        .deliver("alice", "I", "a.bin", b"\x00\xff\r\n")
        .has(200);
    alice(alpha, &["forward", "1", "bob at beta"]).ok();
    arrives(&network);
    let item = network.at(1).item("bob");
    assert_eq!(
        network.at(1).bytes(&item, uft::local::Form::Wire),
        b"\x00\xff\r\n"
    );
    let origin = &item.envelope.facts.origin;
    assert_eq!(
        (origin.user.as_str(), origin.node.as_deref()),
        ("alice", Some("ALPHA"))
    );
}
