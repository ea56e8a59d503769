//! Next hops that are not ours, or not well: servers of the field, moody ones, and one that never answers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use uft::local::Form;

use crate::harness::{Link, Network, until};
use crate::relay::{empty, items, submit};

/// A server of the field: takes everything but `META`, and says what it was told.
fn field_server(refuse: &'static str) -> (u16, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        writer
            .write_all(b"223 field UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n")
            .unwrap();
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return said;
            }
            let line = line.trim_end().to_owned();
            said.push(line.clone());
            let verb = line.split(' ').next().unwrap_or_default();
            let reply = match verb {
                _ if verb == refuse => "402 not implemented".to_owned(),
                "DATA" => {
                    let count: usize = line[5..].parse().unwrap();
                    writer.write_all(b"313 send\r\n").unwrap();
                    let mut bytes = vec![0; count];
                    std::io::Read::read_exact(&mut reader, &mut bytes).unwrap();
                    "213 ok".to_owned()
                }
                "QUIT" => "221 bye".to_owned(),
                _ if line.starts_with(['#', '*']) => continue,
                _ => "200 ok".to_owned(),
            };
            if writer.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
                return said;
            }
        }
    });
    (port, serving)
}

#[test]
fn a_server_that_refuses_relay_headers_gets_the_file_without_and_that_is_told() {
    let (port, serving) = field_server("META");
    let mut network = Network::of(&["ALPHA"], "");
    network.at_mut(0).configure(&format!(
        "[[peer]]\nname = \"old\"\nuft = \"127.0.0.1:{port}\"\n[[route]]\nto = \"OLD\"\nvia = \"old\""
    ));
    network.reload();
    submit(network.at(0), "bob@OLD", "f", b"abc");
    empty(network.at(0));
    let said = serving.join().unwrap();
    assert!(said.contains(&"USER bob".to_owned()), "{said:?}");
    assert!(
        said.iter().any(|line| line.starts_with("META ORIGIN root@ALPHA")),
        "{said:?}"
    );
    assert!(said.contains(&"EOF".to_owned()), "{said:?}");
    let story = network.at(0).uft(["queue", "show", "1"]).ok();
    assert!(story.out.contains("does not take META"), "{}", story.out);
}

/// A server that says these to one `EOF` after the other, and yes to everything else.
fn moody_server(replies: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut replies = replies.iter();
        while replies.len() > 0 {
            let (stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            let _ = writer.write_all(b"223 field UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n");
            for line in BufReader::new(stream).lines() {
                let said = match line.unwrap_or_default().split(' ').next() {
                    Some("EOF") => replies.next().expect("no more files than replies"),
                    Some("QUIT") => "221 bye",
                    Some(verb) if verb.starts_with(['#', '*']) => continue,
                    _ => "200 ok",
                };
                if writer.write_all(format!("{said}\r\n").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_later_is_tried_again_and_a_never_is_told() {
    let port = moody_server(&["451 not now", "541 full", "200 got it", "550 never"]);
    let mut network = Network::of(&["ALPHA"], "");
    network.at_mut(0).configure(&format!(
        "[[peer]]\nname = \"old\"\nuft = \"127.0.0.1:{port}\"\nmax_parallel = 1\n[[route]]\nto = \"OLD\"\nvia = \"old\""
    ));
    network.reload();
    submit(network.at(0), "bob@OLD", "first", b"");
    empty(network.at(0));
    let story = network.at(0).uft(["queue", "show", "1"]).ok().out;
    for said in ["451 not now", "541 full", "200 got it"] {
        assert!(story.contains(said), "{story}");
    }
    assert_eq!(network.at(0).items("root"), []);
    submit(network.at(0), "bob@OLD", "second", b"");
    let letter = items(network.at(0), "root", 1).remove(0);
    let text = String::from_utf8(network.at(0).bytes(&letter, Form::Local)).unwrap();
    assert!(text.contains("550 never"), "{text}");
}

#[test]
fn a_peer_that_accepts_and_never_answers_keeps_nobody_else_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut network = Network::of(&["ALPHA", "BETA"], "[queue]\ntimeout = \"300ms\"");
    let address = silent.local_addr().unwrap();
    network.introduce(0, &[1], &Link::default());
    network.introduce(1, &[0], &Link::default());
    network.add(0, &format!("[[peer]]\nname = \"mute\"\nuft = \"{address}\"\n"));
    network.route(
        0,
        &[("MUTE".into(), "mute".into()), ("BETA".into(), "beta".into())],
    );
    network.reload();
    for n in 0..5 {
        submit(network.at(0), "bob@MUTE", &format!("m{n}"), b"x");
    }
    submit(network.at(0), "bob@BETA", "b", b"x");
    items(network.at(1), "bob", 1);
    until("the time-out", || {
        network.at(0).log().contains("next hop not reached").then_some(())
    });
    let waiting = network.at(0).queued();
    assert_eq!(
        waiting.iter().filter(|name| name.ends_with(".job")).count(),
        5,
        "{waiting:?}"
    );
}

#[test]
fn a_station_on_the_way_sends_on_what_is_for_a_user_behind_it() {
    let network = Network::row(&["ALPHA", "BETA", "GAMMA"], "[queue]\npercent = true");
    for (n, to) in ["bob%GAMMA@BETA", "bob%GAMMA", "bob%GAMMA%BETA@ALPHA"]
        .iter()
        .enumerate()
    {
        submit(network.at(0), to, "f", to.as_bytes());
        items(network.at(2), "bob", n + 1);
    }
    empty(network.at(0));
    empty(network.at(1));
}

#[test]
fn hosts_that_never_answer_keep_no_peer_waiting() {
    let silent = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut network = Network::row(&["ALPHA", "BETA"], "");
    let mut local = network.at(0).session();
    for n in 2..90 {
        let to = format!("bob@127.0.0.{n}:{port}");
        assert!(local.deliver(&to, "f", &[], b"x").contains("job="));
    }
    submit(network.at(0), "bob@BETA", "quick", b"x");
    items(network.at(1), "bob", 1);
    network.at_mut(0).kill();
}
