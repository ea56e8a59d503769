//! `FILE ... AGENT key` from the address of a gateway that we know: the daemon asks back, and nobody else.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use uft_spool::Proof;

use crate::harness::{Daemon, PATIENCE, Wire};

/// Where the gateway BETA is.
const BETA: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const KEY: &str = "feedfacecafebeef0123";

/// A server that answers `AGENT` as `answer` says, and tells what it was asked.
struct Agent {
    address: SocketAddr,
    asked: Receiver<String>,
}

fn agent(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> Agent {
    let listener = TcpListener::bind((BETA, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = converse(stream, &answer, |line| tell.send(line).is_ok());
        }
    });
    Agent { address, asked }
}

fn converse(
    mut stream: TcpStream,
    answer: impl Fn(&str) -> Option<String>,
    tell: impl Fn(String) -> bool,
) -> std::io::Result<()> {
    stream.write_all(b"# hello\r\n223 beta UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n118 SEQ=0001\r\n")?;
    let reader = BufReader::new(stream.try_clone()?);
    for line in reader.lines() {
        let line = line?;
        tell(line.clone());
        match answer(&line) {
            Some(reply) => stream.write_all(format!("{reply}\r\n").as_bytes())?,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn genuine(line: &str) -> Option<String> {
    let reply = if line == format!("AGENT {KEY}") {
        "200 ACK AGENT"
    } else {
        "500 NAK AGENT"
    };
    Some(reply.to_owned())
}

/// A daemon that knows BETA at this address.
fn knowing(beta: SocketAddr) -> Daemon {
    Daemon::with(&format!("[[peer]]\nname = \"beta\"\nuft = \"{beta}\"\n"))
}

/// Sends a file with this third operand of `FILE`; what was proven of its sender.
fn sent(daemon: &Daemon, from: Ipv4Addr, auth: &str) -> Proof {
    let mut wire = Wire::from(from, daemon.address()).assert_herald();
    wire.ask(&format!("FILE 1 maint {auth}")).has(200);
    wire.ask("USER alice").has(208);
    wire.ask("META ORIGIN ann@GAMMA").has(200);
    wire.ask("EOF").has(200);
    let facts = daemon.items("alice").pop().unwrap().envelope.facts;
    let node = (facts.origin.proof == Proof::Agent).then(|| "BETA".to_owned());
    assert_eq!((facts.origin.user, facts.origin.node), ("maint".to_owned(), node));
    facts.origin.proof
}

#[test]
fn a_key_that_the_gateway_confirms_is_a_proof_and_a_batch_costs_one_question() {
    let beta = agent(genuine);
    let daemon = knowing(beta.address);
    for _ in 0..10 {
        assert_eq!(sent(&daemon, BETA, &format!("AGENT {KEY}")), Proof::Agent);
    }
    assert_eq!(beta.asked.recv_timeout(PATIENCE).unwrap(), format!("AGENT {KEY}"));
    assert_eq!(beta.asked.recv_timeout(PATIENCE).unwrap(), "QUIT");
    assert!(beta.asked.try_recv().is_err(), "asked once");
    assert_eq!(
        sent(&daemon, BETA, "-"),
        Proof::Address,
        "without the key nothing is proven"
    );
    let listed = daemon.uft(["--user", "alice", "ls"]).ok();
    assert!(listed.out.contains(" maint@BETA"), "{}", listed.out);
    assert!(!daemon.log().contains(KEY), "a key is never logged");
}

#[test]
fn whoever_has_a_key_does_not_get_a_new_allowance_of_messages_with_every_name() {
    let beta = agent(genuine);
    let daemon = knowing(beta.address);
    let mut wire = Wire::from(BETA, daemon.address()).assert_herald();
    let mut told = |n: u32| {
        wire.ask(&format!("FILE 1 user{n} AGENT {KEY}")).has(200);
        wire.ask("MSG alice hello").code
    };
    // 60 of them are nobody's: alice is not there.
    assert!((0..60).all(|n| told(n) == 545));
    assert_eq!(told(60), 521);
}

#[test]
fn a_gateway_that_can_prove_itself_better_is_not_believed_for_a_key() {
    let beta = agent(genuine);
    let secret = std::env::temp_dir().join(format!("uft-it-agent-{}.secret", std::process::id()));
    std::fs::write(&secret, "a secret that both have").unwrap();
    let daemon = Daemon::with(&format!(
        "[[peer]]\nname = \"beta\"\nuft = \"{}\"\nsecret_file = {:?}\n",
        beta.address,
        secret.to_str().unwrap()
    ));
    assert_eq!(sent(&daemon, BETA, &format!("AGENT {KEY}")), Proof::Address);
    assert!(beta.asked.try_recv().is_err(), "nobody was asked");
    std::fs::remove_file(secret).unwrap();
}

#[test]
fn only_the_file_with_the_key_is_proven() {
    let beta = agent(genuine);
    let daemon = knowing(beta.address);
    let mut wire = Wire::from(BETA, daemon.address()).assert_herald();
    for (auth, proof) in [
        (format!("AGENT {KEY}"), Proof::Agent),
        ("-".into(), Proof::Address),
    ] {
        wire.ask(&format!("FILE 1 maint {auth}")).has(200);
        wire.ask("USER alice").has(208);
        wire.ask("EOF").has(200);
        let facts = daemon.items("alice").pop().unwrap().envelope.facts;
        assert_eq!(facts.origin.proof, proof);
    }
}

#[test]
fn a_gateway_that_denies_talks_nonsense_or_is_gone_proves_nothing() {
    type Answer = fn(&str) -> Option<String>;
    let answers: [Answer; 4] = [
        |_| Some("500 NAK AGENT".into()),
        |_| Some("402 AGENT; not implemented.".into()),
        |_| None,
        |_| Some("x".repeat(9000)),
    ];
    for answer in answers {
        let beta = agent(answer);
        let daemon = knowing(beta.address);
        assert_eq!(sent(&daemon, BETA, &format!("AGENT {KEY}")), Proof::Address);
    }
    let nobody = TcpListener::bind((BETA, 0)).unwrap().local_addr().unwrap();
    let daemon = knowing(nobody);
    assert_eq!(sent(&daemon, BETA, &format!("AGENT {KEY}")), Proof::Address);
}

#[test]
fn a_gateway_that_does_not_answer_keeps_the_sender_for_a_few_seconds_and_no_other() {
    // It is connected to by the kernel, and says nothing.
    let listener = TcpListener::bind((BETA, 0)).unwrap();
    let daemon = knowing(listener.local_addr().unwrap());
    thread::scope(|scope| {
        let slow = scope.spawn(|| sent(&daemon, BETA, &format!("AGENT {KEY}")));
        let (_asked, _) = listener.accept().unwrap();
        daemon.connect().deliver("bob", "I", "f", b"x").has(200);
        assert!(!slow.is_finished(), "others do not wait with it");
        assert_eq!(slow.join().unwrap(), Proof::Address);
    });
}

#[test]
fn nobody_but_a_known_gateway_is_ever_asked_and_that_one_not_for_ever() {
    let beta = agent(|_| Some("500 NAK AGENT".into()));
    let daemon = knowing(beta.address);
    // The same port of another address, and the gateway's own with something that is no key.
    let elsewhere = Ipv4Addr::new(127, 0, 0, 8);
    let trap = TcpListener::bind((elsewhere, beta.address.port())).unwrap();
    trap.set_nonblocking(true).unwrap();
    assert_eq!(sent(&daemon, elsewhere, &format!("AGENT {KEY}")), Proof::Address);
    assert!(trap.accept().is_err(), "nobody connected");
    assert_eq!(sent(&daemon, BETA, "AGENT"), Proof::Address);
    assert_eq!(sent(&daemon, BETA, "AGENT a\rQUIT"), Proof::Address);
    assert_eq!(sent(&daemon, BETA, "IDENT"), Proof::Address);
    assert!(beta.asked.try_recv().is_err());
    for n in 0..20 {
        assert_eq!(sent(&daemon, BETA, &format!("AGENT wrong{n}")), Proof::Address);
    }
    let asked = beta.asked.try_iter().filter(|line| line != "QUIT").count();
    assert!((1..=6).contains(&asked), "asked {asked} times");
}
