//! Gateways that prove who they are by a shared secret, and those who only pretend to.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use uft::client::{ClientError, Connection, Endpoint, Options};
use uft::proto::NotProven;
use uft::proto::proof::{Credentials, Exchange, Nonce, Role, Secret, Tag};
use uft_spool::Proof;

use crate::harness::{Daemon, PATIENCE, Place, Wire};

const SECRET: &str = "a secret of two gateways";
const OURS: Nonce = Nonce([0x5a; 16]);

/// The daemon ALPHA, which knows BETA by a secret and GAMMA without one.
struct Known {
    daemon: Daemon,
    place: Place,
}

fn secret_file(place: &Place, text: &str, mode: u32) -> PathBuf {
    let file = place.path("beta.secret");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn peers(file: &PathBuf) -> String {
    format!(
        "[[peer]]\nname = \"Beta\"\nuft = \"127.0.0.1:1\"\nsecret_file = {file:?}\n\
         [[peer]]\nname = \"gamma\"\nuft = \"127.0.0.1:1\"\n"
    )
}

fn known(settings: &str) -> Known {
    let place = Place::new();
    let file = secret_file(&place, &format!("{SECRET}\n"), 0o600);
    let daemon = Daemon::with(&format!("{settings}\n{}", peers(&file)));
    Known { daemon, place }
}

/// A connection, and the nonce in its herald.
fn greeted(wire: Wire) -> (Wire, Option<Nonce>) {
    let mut wire = wire;
    let herald = wire.reply().has(223).text;
    let nonce = herald
        .split_once(" ; ready. nonce=")
        .map(|(_, nonce)| nonce.parse().unwrap());
    (wire, nonce)
}

fn exchange(name: &str, nonce: Nonce) -> Exchange {
    Exchange {
        client: name.into(),
        server: "alpha".into(),
        server_nonce: nonce,
        client_nonce: OURS,
        exporter: Vec::new(),
    }
}

fn secret() -> Secret {
    Secret::of_file(SECRET.as_bytes()).unwrap()
}

fn line(name: &str, nonce: Nonce) -> String {
    let tag = exchange(name, nonce).prove(Role::Client, &secret());
    format!("PEER {name} {OURS} {tag}")
}

/// A connection of BETA, which has proven itself and has checked ALPHA.
fn proven(wire: Wire) -> Wire {
    let (mut wire, nonce) = greeted(wire);
    let nonce = nonce.expect("a nonce");
    let reply = wire.ask(&line("beta", nonce)).has(200).text;
    let (tag, rest) = reply.split_once(' ').unwrap();
    assert_eq!(rest, "; PEER okay");
    let tag: Tag = tag.parse().unwrap();
    assert!(exchange("beta", nonce).verify(Role::Server, &secret(), &tag));
    wire
}

#[test]
fn a_gateway_that_proved_itself_is_recorded_and_vouches_for_its_senders() {
    let Known { daemon, .. } = known("");
    let mut wire = proven(daemon.connect_silent());
    for (origin, user) in [
        (Some("ann@GAMMA"), "ann"),
        (None, "tester"),
        (Some("nonsense"), "tester"),
    ] {
        wire.begin("alice", "A", "f", 3);
        if let Some(origin) = origin {
            wire.ask(&format!("META ORIGIN {origin}")).has(200);
        }
        wire.burst("DATA", b"x\r\n").has(213);
        wire.ask("EOF").has(200);
        let item = daemon.items("alice").pop().unwrap();
        let from = &item.envelope.facts.origin;
        let node = if user == "ann" { "GAMMA" } else { "BETA" };
        assert_eq!((from.user.as_str(), from.node.as_deref()), (user, Some(node)));
        assert_eq!((from.host.as_str(), from.proof), ("127.0.0.1", Proof::Peer));
    }
    let listed = daemon.uft(["--user", "alice", "ls"]).ok();
    assert!(listed.out.contains(" ann@GAMMA"), "{}", listed.out);
    assert!(!listed.out.contains('?'), "{}", listed.out);
    let stat = daemon.uft(["--user", "alice", "stat", "1"]).ok();
    assert!(
        stat.out.contains("ann@GAMMA (the gateway proved itself"),
        "{}",
        stat.out
    );
    let json = daemon.uft(["--user", "alice", "stat", "--json", "1"]).ok();
    assert!(json.out.contains("\"proof\":\"peer\""), "{}", json.out);
    assert!(json.out.contains("\"from\":\"ann@GAMMA\""), "{}", json.out);
    daemon.uft(["--user", "alice", "receive", "--all"]).ok();
}

#[test]
fn what_a_stranger_says_of_its_origin_proves_nothing() {
    let Known { daemon, .. } = known("");
    let mut wire = daemon.connect();
    wire.begin("alice", "A", "f", 3);
    wire.ask("META ORIGIN ann@GAMMA").has(200);
    wire.ask("EOF").has(200);
    let item = daemon.item("alice");
    let facts = &item.envelope.facts;
    assert_eq!(facts.origin.proof, Proof::Address);
    assert_eq!(
        (facts.origin.user.as_str(), &facts.origin.node),
        ("tester", &None)
    );
    assert_eq!(facts.attribute("ORIGIN"), Some("ann@GAMMA"));
    let listed = daemon.uft(["--user", "alice", "ls"]).ok();
    assert!(listed.out.contains("?tester@127.0.0.1"), "{}", listed.out);
}

#[test]
fn strangers_quotas_and_refusals_are_not_for_gateways_that_proved_themselves() {
    let Known { daemon, .. } = known("[limits]\nstranger_items = 1");
    daemon.connect().deliver("alice", "I", "f", b"x").has(200);
    let mut stranger = daemon.connect();
    stranger.ask("FILE 1 tester -").has(200);
    stranger.ask("USER alice").has(541);
    let mut gateway = proven(daemon.connect_silent());
    for _ in 0..3 {
        gateway.deliver("alice", "I", "f", b"x").has(200);
    }
    let Known { daemon, .. } = known("[limits]\nstrangers = \"refuse\"");
    let mut stranger = daemon.connect();
    stranger.ask("FILE 1 tester -").has(568);
    proven(daemon.connect_silent())
        .deliver("alice", "I", "f", b"x")
        .has(200);
}

#[test]
fn a_proof_is_good_for_one_connection_and_one_role_and_one_name() {
    let Known { daemon, .. } = known("");
    let (mut first, nonce) = greeted(daemon.connect_silent());
    let nonce = nonce.unwrap();
    let good = line("beta", nonce);
    let reply = first.ask(&good).has(200).text;
    let theirs = reply.split(' ').next().unwrap().to_owned();
    let zeros = "0".repeat(64);
    for (bad, why) in [
        (good.clone(), "a proof of an earlier connection"),
        (
            format!("PEER beta {OURS} {theirs}"),
            "the server's own proof, sent back",
        ),
        (format!("PEER beta {OURS} {zeros}"), "no proof at all"),
        (format!("PEER gamma {OURS} {zeros}"), "a gateway without a secret"),
        (format!("PEER nobody {OURS} {zeros}"), "nobody"),
        ("PEER".into(), "nothing"),
        ("PEER beta".into(), "half of it"),
        (
            format!("PEER beta \u{1b}[31m {}", "x".repeat(3000)),
            "rubbish that is long",
        ),
    ] {
        let mut wire = daemon.connect();
        // What is sent along is not taken as a stranger's.
        wire.send(format!("{bad}\r\nFILE 1 tester -\r\nUSER alice\r\nEOF\r\n"));
        let reply = wire.reply().has(568);
        assert_eq!(reply.text, "client host is not a peer.", "{why}");
        wire.ends();
    }
    // On its own new connection, a name that the secret is not for.
    for name in ["gamma", "alpha", "nobody"] {
        let (mut wire, nonce) = greeted(daemon.connect_silent());
        wire.ask(&line(name, nonce.unwrap())).has(568);
        wire.ends();
    }
    assert_eq!(daemon.items("alice"), []);
    first.deliver("alice", "I", "f", b"x").has(200);
    assert!(!daemon.log().contains(SECRET), "a secret is never logged");
}

#[test]
fn it_is_said_once_and_before_any_file() {
    let Known { daemon, .. } = known("");
    let mut twice = proven(daemon.connect_silent());
    twice.ask(&line("beta", OURS)).has(403);
    twice.ends();
    let (mut late, nonce) = greeted(daemon.connect_silent());
    late.ask("FILE 1 tester -").has(200);
    late.ask("USER alice").has(208);
    late.ask(&line("beta", nonce.unwrap())).has(403);
    late.ends();
    daemon.assert_untouched();
}

#[test]
fn nonces_are_fresh_and_stand_in_the_herald_only_where_there_is_a_secret() {
    let Known { daemon, place } = known("");
    let first = greeted(daemon.connect_silent()).1.unwrap();
    let second = greeted(daemon.connect_silent()).1.unwrap();
    assert_ne!(first, second);
    let stranger = Daemon::start();
    let (mut wire, nonce) = greeted(stranger.connect_silent());
    assert_eq!(nonce, None);
    wire.ask(&line("beta", OURS)).has(402);
    wire.deliver("alice", "I", "f", b"x").has(200);
    // A secret that cannot be used is none, and the log says so.
    for text in ["short\n", ""] {
        let file = secret_file(&place, text, 0o600);
        daemon.reload();
        assert_eq!(greeted(daemon.connect_silent()).1, None, "{text:?}");
        assert!(daemon.log().contains(file.to_str().unwrap()));
    }
    fs::remove_file(place.path("beta.secret")).unwrap();
    daemon.reload();
    assert_eq!(greeted(daemon.connect_silent()).1, None);
}

#[test]
fn secrets_are_read_again_and_the_log_warns_of_one_that_everybody_can_read() {
    let Known { daemon, place } = known("");
    let (mut early, nonce) = greeted(daemon.connect_silent());
    assert!(!daemon.log().contains("can read this secret"));
    secret_file(&place, "quite another secret of the two", 0o644);
    daemon.reload();
    assert!(daemon.log().contains("can read this secret"));
    early.ask(&line("beta", nonce.unwrap())).has(568);
    secret_file(&place, &format!("{SECRET}\r\n"), 0o640);
    daemon.reload();
    proven(daemon.connect_silent());
    proven(Wire::from(Ipv4Addr::new(127, 0, 0, 9), daemon.address()));
}

/// What comes of dialling the daemon as a gateway.
fn dial(daemon: &Daemon, credentials: Credentials) -> Result<(), ClientError> {
    let endpoint = Endpoint::Tcp {
        host: "127.0.0.1".into(),
        port: Some(daemon.port()),
    };
    let options = Options {
        credentials: Some(credentials),
        ..Options::new(PATIENCE)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut watch = |_| {};
        let mut connection = Connection::open(&endpoint, &options, &mut watch).await?;
        connection.query("TIME", Vec::new(), &mut watch).await?;
        connection.quit(&mut watch).await;
        Ok(())
    })
}

#[test]
fn our_own_client_proves_itself_and_leaves_whoever_does_not() {
    let Known { daemon, .. } = known("");
    let credentials = |name: &str, server: &str, secret: &[u8]| Credentials {
        name: name.into(),
        server: server.into(),
        secret: Secret::of_file(secret).unwrap(),
    };
    dial(&daemon, credentials("beta", "alpha", SECRET.as_bytes())).unwrap();
    assert!(daemon.log().contains("has proven itself"));
    for (name, server, secret) in [
        ("beta", "alpha", &b"another secret than that"[..]),
        ("beta", "delta", SECRET.as_bytes()),
        ("nobody", "alpha", SECRET.as_bytes()),
    ] {
        let failed = dial(&daemon, credentials(name, server, secret)).unwrap_err();
        assert!(
            matches!(&failed, ClientError::NotProven { why: NotProven::Refused(code, _), .. } if code.0 == 568),
            "{failed}"
        );
    }
    let stranger = Daemon::start();
    let failed = dial(&stranger, credentials("beta", "alpha", SECRET.as_bytes())).unwrap_err();
    let text = failed.to_string();
    assert!(
        text.contains("not taken for the peer gateway: it asks for no proof"),
        "{text}"
    );
}
