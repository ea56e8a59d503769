//! Messages and questions for other nodes: over real gateways, and never in a circle, late, or for strangers.

use std::net::TcpListener;

use crate::harness::{Daemon, Link, Local, Network, assert_inert, needs_root, until};

const NAMES: &str = "[query]\nallow = [\"CPUID\"]";

/// Tells until somebody watches; the line that the watcher saw.
fn told(from: &Daemon, at: &Daemon, to: &str) -> String {
    let watching = at.uft(["--user", "bob", "watch"]).beside();
    until("the watch", || {
        (from.uft(["tell", to, "lunch?"]).run().code == 0).then_some(())
    });
    watching.line()
}

fn session(daemon: &Daemon) -> Local {
    let mut local = Local::open(&daemon.socket(), "{\"op\":\"session\"}");
    local.line("{\"done\"");
    local.reply("223");
    local
}

fn say(local: &mut Local, line: &str, wanted: &str) -> String {
    local.send(format!("{line}\r\n").as_bytes());
    local.reply(wanted)
}

#[test]
fn a_message_reaches_a_user_of_the_next_node_and_says_who_sent_it() {
    needs_root("a user of this host sends it");
    let network = Network::row(&["ALPHA", "BETA"], "");
    let line = told(network.at(0), network.at(1), "bob@BETA");
    assert!(line.contains("root@ALPHA") && line.contains("lunch?"), "{line}");
}

#[test]
fn a_message_passes_nodes_on_the_way_and_keeps_its_sender() {
    needs_root("a user of this host sends it");
    let network = Network::row(&["ALPHA", "BETA", "GAMMA", "DELTA"], "");
    let line = told(network.at(0), network.at(3), "bob@delta");
    assert!(line.contains("root@ALPHA"), "{line}");
    let mut session = session(network.at(0));
    let watching = network.at(3).uft(["--user", "bob", "watch"]).beside();
    until("the watch", || {
        session.send("MSG bob@DELTA \u{1b}[2Jescape\r\n".as_bytes());
        session.reply("").starts_with("200").then_some(())
    });
    assert_inert("uft watch", &watching.line());
}

#[test]
fn a_message_is_acknowledged_only_when_somebody_saw_it_at_the_far_end() {
    needs_root("a user of this host sends it");
    let mut network = Network::row(&["ALPHA", "BETA", "GAMMA"], "");
    let mut session = session(network.at(0));
    for to in ["bob@GAMMA", "nosuch@GAMMA", "bob@BETA"] {
        say(&mut session, &format!("MSG {to} x"), "545");
        network.at(0).uft(["tell", to, "x"]).exits(75);
    }
    say(&mut session, "MSG bob@NOWHERE x", "533");
    network.at_mut(2).kill();
    say(&mut session, "MSG bob@GAMMA x", "545");
    network.at_mut(1).kill();
    let refused = say(&mut session, "MSG bob@GAMMA x", "545");
    assert!(refused.contains("nobody answers"), "{refused}");
    let ran = network.at(0).uft(["query", "GAMMA", "TIME"]).exits(75);
    assert!(ran.err.contains("nobody answers"), "{}", ran.err);
}

#[test]
fn strangers_may_not_have_anything_passed_on() {
    let network = Network::row(&["ALPHA", "BETA"], NAMES);
    let mut wire = network.at(0).connect();
    wire.ask("MSG bob@BETA x").has(567);
    wire.ask("META ORIGIN root@ALPHA").has(200);
    wire.ask("MSG bob@BETA x").has(567);
    wire.ask("META AT BETA").has(200);
    wire.ask("CPQ CPUID").has(567);
    // What is for this host is not passed on.
    wire.ask("MSG bob@ALPHA x").has(545);
    wire.ask("META AT ALPHA").has(200);
    let answer = wire.ask("CPQ CPUID").has(200);
    assert!(answer.before[0].contains("CPUID = ALPHA"), "{answer:?}");
    assert!(!network.at(1).log().contains("MSG"), "{}", network.at(1).log());
}

#[test]
fn a_question_is_answered_by_the_node_that_it_is_for() {
    needs_root("a user of this host asks");
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], NAMES);
    for name in ["ALPHA", "BETA", "GAMMA", "gamma"] {
        let ran = network.at(0).uft(["query", name, "CPUID"]).ok();
        assert_eq!(ran.out, format!("CPUID = {}\n", name.to_uppercase()));
    }
    let ran = network.at(0).uft(["query", "GAMMA", "BOGUS"]).run();
    assert_ne!(ran.code, 0);
    let mut session = session(network.at(0));
    say(&mut session, "META AT GAMMA", "200");
    say(&mut session, "CPQ CPUID", "699 CPUID = GAMMA");
}

/// Three gateways, each of which believes that the way to ZETA is by the next.
fn circle(settings: &str) -> Network {
    let mut network = Network::of(&["ALPHA", "BETA", "GAMMA"], settings);
    for here in 0..3 {
        let others: Vec<usize> = (0..3).filter(|&other| other != here).collect();
        network.introduce(here, &others, &Link::default());
        let next = ["beta", "gamma", "alpha"][here];
        network.route(here, &[("ZETA".into(), next.into())]);
    }
    network.reload();
    network
}

#[test]
fn what_goes_round_in_a_circle_is_stopped() {
    needs_root("a user of this host sends it");
    let network = circle("");
    let mut session = session(network.at(0));
    say(&mut session, "MSG bob@ZETA x", "500");
    say(&mut session, "META AT ZETA", "200");
    say(&mut session, "CPQ TIME", "500");
    let passes = |n: usize| network.at(n).log().matches("has been at ALPHA before").count();
    assert_eq!([passes(0), passes(1), passes(2)], [2, 0, 0]);
}

#[test]
fn what_has_come_too_far_or_does_not_say_how_far_is_stopped() {
    needs_root("a user of this host sends it");
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "[queue]\nmax_hops = 1");
    let mut first = session(network.at(0));
    // ALPHA and BETA pass it on: one too many for the next.
    say(&mut first, "MSG bob@GAMMA x", "545");
    say(&mut first, "META HOPS 1", "200");
    say(&mut first, "MSG bob@GAMMA x", "500");
    let mut second = session(network.at(0));
    say(&mut second, "META HOPS minus one", "200");
    say(&mut second, "MSG bob@BETA x", "500");
}

#[test]
fn the_first_gateway_that_can_be_reached_is_taken() {
    needs_root("a user of this host sends it");
    let mut network = Network::of(&["ALPHA", "BETA", "GAMMA"], NAMES);
    // One that takes connections and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = deaf.local_addr().unwrap();
    network.introduce(0, &[1, 2], &Link::default());
    network.introduce(2, &[0], &Link::default());
    let mut settings = toml_of(network.at(0));
    settings += &format!("[[peer]]\nname = \"deaf\"\nuft = \"{deaf}\"\n");
    settings += "[[route]]\nto = \"GAMMA\"\nvia = [\"deaf\", \"beta\", \"gamma\"]\n";
    network.at_mut(0).configure(&settings);
    network.reload();
    network.at_mut(1).kill();
    let ran = network.at(0).uft(["query", "GAMMA", "CPUID"]).ok();
    assert_eq!(ran.out, "CPUID = GAMMA\n");
}

/// The peers of a daemon's configuration.
fn toml_of(daemon: &Daemon) -> String {
    let text = std::fs::read_to_string(daemon.place.path("uftd.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut peers = toml::Table::new();
    peers.insert("peer".into(), table["peer"].clone());
    toml::to_string(&peers).unwrap()
}

#[test]
fn a_flood_of_messages_to_other_nodes_is_stopped() {
    needs_root("a user of this host sends it");
    let network = Network::row(&["ALPHA", "BETA"], "");
    let mut stopped = false;
    for _ in 0..70 {
        let mut session = session(network.at(0));
        session.send(b"MSG bob@BETA x\r\n");
        stopped |= session.reply("5").starts_with("521");
    }
    assert!(stopped);
    assert!(network.at(1).log().matches("session opened").count() <= 60);
}
