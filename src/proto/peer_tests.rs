//! Tests of `PEER`: both sides against each other at every chunking, and each against one that lies.

use bytes::BytesMut;

use super::bodies::rig::{Client, Faults, NONCE, Server, credentials, serve, talk};
use super::bodies::sample_errands;
use super::proof::{Credentials, Exchange, Nonce, Role, Secret};
use super::{
    Ask, Closing, Code, DialogueOptions, Event, Greeting, Identity, NotProven, PeerClaim, Session, Step,
};

const OURS: Nonce = Nonce([9; 16]);

fn identity(credentials: Credentials) -> Option<Identity> {
    Some(Identity {
        credentials,
        nonce: OURS,
        exporter: Vec::new(),
    })
}

fn client(credentials: Credentials) -> Client {
    let options = DialogueOptions {
        identity: identity(credentials),
        ..DialogueOptions::default()
    };
    Client::new(options, sample_errands(), b"some\r\nbytes\r\n", b"fork")
}

fn known() -> Faults {
    Faults {
        gateway: true,
        ..Faults::default()
    }
}

fn exchange(name: &str, nonce: Nonce) -> Exchange {
    Exchange {
        client: name.into(),
        server: "beta".into(),
        server_nonce: nonce,
        client_nonce: OURS,
        exporter: Vec::new(),
    }
}

fn proof_line(name: &str, nonce: Nonce, role: Role) -> String {
    let tag = exchange(name, nonce).prove(role, &credentials().secret);
    format!("PEER {name} {OURS} {tag}\r\n")
}

/// The final replies to what a client says, without the herald's, and how it ended.
fn codes(said: &str, faults: &Faults) -> (Vec<u16>, Option<Closing>) {
    let (replies, _, _, _, closed) = serve(said.as_bytes(), usize::MAX, faults);
    let lines = String::from_utf8(replies).unwrap();
    let codes = lines
        .lines()
        .skip(2)
        .filter(|line| !line.starts_with('1'))
        .map(|line| line.get(..3).unwrap().parse().unwrap());
    (codes.collect(), closed)
}

#[test]
fn two_gateways_prove_themselves_at_every_chunking_and_then_everything_is_as_ever() {
    for product in ["uftd/0", "POSIXUFT/2.1.2"] {
        for (up, down) in [(9999, 9999), (1, 1), (1, 9999), (9999, 1), (7, 3), (64, 50)] {
            let mut client = client(credentials());
            let mut server = Server::new(product, known());
            talk(&mut client, &mut server, up, down);
            assert_eq!(client.ends(), [(0, true), (1, true), (2, true), (3, true)]);
            assert_eq!((server.proven, server.stored.len()), (1, 2));
            assert!(client.events.contains(&Event::Proven));
            assert!(client.said.starts_with(b"PEER alpha 0909"));
        }
    }
}

#[test]
fn nothing_but_the_proof_is_said_to_a_server_that_does_not_prove_itself() {
    let right = exchange("alpha", NONCE).prove(Role::Server, &credentials().secret);
    let reflected = exchange("alpha", NONCE).prove(Role::Client, &credentials().secret);
    let earlier = exchange("alpha", Nonce([1; 16])).prove(Role::Server, &credentials().secret);
    let herald = format!("223 beta UFT/2 uftd/0 32256 ; ready. nonce={NONCE}\r\n");
    let cases = [
        (format!("200 {reflected} ; PEER okay\r\n"), NotProven::Wrong),
        (format!("200 {earlier} ; PEER okay\r\n"), NotProven::Wrong),
        ("200 PEER; PEER okay\r\n".to_owned(), NotProven::Wrong),
        ("200\r\n".to_owned(), NotProven::Wrong),
        (format!("313 {reflected}\r\n"), NotProven::Wrong),
        (
            "568 no.\r\n".to_owned(),
            NotProven::Refused(Code(568), "no.".into()),
        ),
        (
            format!("402 {right}\r\n"),
            NotProven::Refused(Code(402), right.to_string()),
        ),
    ];
    for (answer, why) in cases {
        let mut client = client(credentials());
        client.feed(herald.as_bytes());
        client.feed(b"199 wait\r\n# a remark\r\n");
        assert!(!client.closed);
        client.feed(answer.as_bytes());
        assert!(client.closed);
        assert!(client.events.contains(&Event::NotProven(why)), "{answer}");
        assert_eq!(client.ends(), [(0, false), (1, false), (2, false), (3, false)]);
        let said = String::from_utf8(client.said).unwrap();
        assert!(
            said.lines().count() == 1 && said.starts_with("PEER alpha "),
            "{said}"
        );
    }
}

#[test]
fn a_server_that_asks_for_no_proof_is_not_the_gateway() {
    for herald in [
        "223 beta UFT/2 uftd/0 32256 ; ready.\r\n",
        "223 beta UFT/2 uftd/0 32256 ; ready. nonce=12\r\n",
        "223 vm UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n",
        "102 host UFT/1\r\n",
    ] {
        let mut client = client(credentials());
        client.feed(herald.as_bytes());
        assert!(client.closed && client.said.is_empty(), "{herald}");
        assert!(client.events.contains(&Event::NotProven(NotProven::NoNonce)));
    }
}

#[test]
fn two_that_do_not_agree_on_names_or_secret_do_not_meet() {
    let Credentials { name, server, secret } = credentials();
    let other = Secret::of_file(b"somebody else's secret").unwrap();
    let cases = [
        (name.clone(), server.clone(), other),
        ("gamma".into(), server.clone(), secret.clone()),
        (name.clone(), "gamma".into(), secret.clone()),
    ];
    for (name, server, secret) in cases {
        let mut client = client(Credentials { name, server, secret });
        let mut rig = Server::new("uftd/0", known());
        talk(&mut client, &mut rig, 9999, 9999);
        let refused = NotProven::Refused(Code(568), "client host is not a peer.".into());
        assert!(client.events.contains(&Event::NotProven(refused)));
        assert_eq!((rig.proven, rig.stored.len()), (0, 0));
    }
    let upper = Credentials {
        name: name.to_uppercase(),
        server: server.to_uppercase(),
        secret,
    };
    let mut client = client(upper);
    let mut rig = Server::new("uftd/0", known());
    talk(&mut client, &mut rig, 9999, 9999);
    assert_eq!(rig.proven, 1, "names have no case");
}

#[test]
fn a_wrong_proof_ends_the_session_with_one_answer_and_what_follows_is_not_read() {
    let good = proof_line("alpha", NONCE, Role::Client);
    let zeros = format!("PEER alpha {OURS} {}\r\n", "0".repeat(64));
    for bad in [
        proof_line("alpha", NONCE, Role::Server),
        proof_line("alpha", Nonce([1; 16]), Role::Client),
        proof_line("nobody", NONCE, Role::Client),
        zeros,
        "PEER\r\n".into(),
        "PEER alpha\r\n".into(),
        "PEER alpha x y\r\n".into(),
        good.replace("\r\n", " more\r\n"),
        good.replace("PEER alpha", "PEER \u{e4}\u{1b}"),
    ] {
        let (codes, closed) = codes(
            &format!("{bad}{good}FILE 1 x -\r\nUSER alice\r\nQUIT\r\n"),
            &known(),
        );
        assert_eq!((codes, closed), (vec![568], Some(Closing::Linger)), "{bad}");
    }
}

#[test]
fn it_is_said_once_and_before_every_file() {
    let good = proof_line("ALPHA", NONCE, Role::Client);
    let file = "FILE 1 x -\r\nUSER alice\r\n";
    for (said, replies) in [
        (
            format!("NOOP\r\n{good}{file}QUIT\r\n"),
            &[200, 200, 200, 208, 221][..],
        ),
        (format!("{good}{good}{file}"), &[200, 403]),
        (format!("FILE 1 x -\r\n{good}{file}"), &[200, 403]),
        (format!("{file}{good}{file}"), &[200, 208, 403]),
        (format!("{file}ABORT\r\n{good}{file}"), &[200, 208, 226, 403]),
    ] {
        assert_eq!(codes(&said, &known()).0, replies, "{said}");
    }
}

#[test]
fn a_server_that_knows_no_gateway_has_never_heard_of_it() {
    let good = proof_line("alpha", NONCE, Role::Client);
    for said in [&good, "PEER\r\n", "peer x\r\n"] {
        let (codes, closed) = codes(&format!("{said}NOOP\r\nQUIT\r\n"), &Faults::default());
        assert_eq!((codes, closed), (vec![402, 200, 221], Some(Closing::Now)));
    }
    assert_eq!(
        codes("PEE x\r\nPE\r\nP\r\nPERM x\r\n", &known()).0[..4],
        [402, 402, 402, 200]
    );
}

#[test]
fn a_question_about_a_proof_names_both_nonces() {
    let mut session = Session::new(Greeting {
        host: "h".into(),
        product: "uftd/0".into(),
        max_burst: 1,
        nonce: Some(NONCE),
    });
    let mut input = BytesMut::new();
    session.poll(&mut input);
    input.extend_from_slice(proof_line("alpha", NONCE, Role::Client).as_bytes());
    let expected = PeerClaim {
        name: "alpha".into(),
        server_nonce: NONCE,
        client_nonce: OURS,
        proof: exchange("alpha", NONCE).prove(Role::Client, &credentials().secret),
    };
    assert_eq!(session.poll(&mut input), Step::Ask(Ask::Peer(expected)));
}
