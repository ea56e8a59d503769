//! Tests of transfers that go on: `META XID`, `META OFFSET`, and what a client makes of the answers.

use uft_spool::{Attribute, FileType, SpoolId, TypeSpec};

use super::bodies::rig::{Client, Faults, Server, Stored, serve, talk};
use super::{At, Delivery, DialogueOptions, Errand, Event, ONE_PIECE_MAX};

const OURS: &str = "uftd/0";
const FIELD: &str = "POSIXUFT/2.1.2";
const HEAD: &str = "FILE 10 tester -\nUSER alice\nMETA XID x\n";

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

fn file(digest: Option<&[u8]>) -> Errand {
    let mut attributes = Vec::new();
    if let Some(bytes) = digest {
        attributes.push(Attribute {
            key: "DIGEST".into(),
            value: format!("blake3:{}", blake3::hash(bytes)),
        });
    }
    attributes.push(Attribute {
        key: "XID".into(),
        value: "x".into(),
    });
    Errand::Deliver(Box::new(Delivery {
        to: "alice".into(),
        size: None,
        from: Some("tester".into()),
        name: None,
        spec: TypeSpec::plain(FileType::I),
        attributes,
        aux: false,
    }))
}

fn holding(held: &[u8]) -> Faults {
    Faults {
        held: held.to_vec(),
        ..Faults::default()
    }
}

/// The reply lines to a client that says all this, and what was stored.
fn said(rest: &str, held: &[u8]) -> (Vec<String>, Vec<Stored>) {
    let (said, stored, ..) = serve(format!("{HEAD}{rest}").as_bytes(), usize::MAX, &holding(held));
    let lines = String::from_utf8(said).unwrap();
    let lines = lines.lines().filter(|line| !line.starts_with('1')).skip(3);
    (lines.map(str::to_owned).collect(), stored)
}

#[test]
fn what_is_there_is_offered_with_its_digest() {
    let (lines, _) = said("ABORT\n", b"hello");
    let offer = format!(
        "200 META; META okay; offset=5 digest=blake3:{}",
        blake3::hash(b"hello")
    );
    assert_eq!(lines[0], offer);
    let (lines, _) = said("ABORT\n", b"");
    assert_eq!(lines[0], "200 META; META okay");
    // Not before it is known for whom it is, and not in the middle of it.
    for rest in [
        "META XID x\nFILE\nUSER alice\n",
        "FILE\nUSER alice\nDATA 2\nheMETA XID x\n",
        "FILE\nUSER alice\nMETA XID\nMETA XID \u{7}\n",
    ] {
        let (said, ..) = serve(rest.as_bytes(), usize::MAX, &holding(b"hello"));
        assert!(!String::from_utf8(said).unwrap().contains("offset"), "{rest}");
    }
}

#[test]
fn a_file_goes_on_where_it_was_offered_and_nowhere_else() {
    for (rest, stored) in [
        (
            "META OFFSET 5\nDATA 2\nwoMETA TITLE t\nDATA 3\nrldEOF\n",
            "helloworld",
        ),
        ("META OFFSET 5\nEOF\n", "hello"),
        ("META OFFSET 005\nQUIT\n", ""),
        ("META OFFSET 5\nDATA 5\nworldQUIT\n", "helloworld"),
        ("META OFFSET 0\nDATA 2\nheEOF\n", "he"),
        ("META OFFSET 5\nMETA OFFSET 0\nDATA 2\nheEOF\n", "he"),
        ("META OFFSET 5\nMETA XID y\nDATA 2\nheEOF\n", "he"),
        ("DATA 2\nheEOF\n", "he"),
        ("AUXDATA 1\nxMETA OFFSET 5\nEOF\n", "hello"),
    ] {
        let (lines, found) = said(rest, b"hello");
        let data: Vec<_> = found.iter().map(|stored| stored.data.as_slice()).collect();
        let want: Vec<_> = (!stored.is_empty())
            .then_some(stored.as_bytes())
            .into_iter()
            .collect();
        assert_eq!(data, want, "{rest} {lines:?}");
    }
    for wrong in ["4", "6", "-5", "+5", "5x", "", "0x5", "18446744073709551616"] {
        let (lines, found) = said(&format!("META OFFSET {wrong}\nDATA 2\nwoEOF\n"), b"hello");
        assert_eq!(
            (&lines[1][..3], &lines[2][..3], found.len()),
            ("500", "500", 0),
            "{wrong}"
        );
    }
    let (lines, found) = said("DATA 2\nheMETA OFFSET 5\nEOF\n", b"hello");
    assert!(lines[3].starts_with("500") && found.is_empty(), "{lines:?}");
    let (lines, found) = said("META OFFSET 5\nDATA 2\nwoEOF\n", b"");
    assert!(lines[1].starts_with("500") && found.is_empty(), "{lines:?}");
}

#[test]
fn what_was_offered_of_one_file_is_not_offered_of_the_next() {
    let (lines, found) = said("ABORT\nUSER alice\nMETA OFFSET 5\nEOF\n", b"hello");
    assert!(lines[3].starts_with("500") && found.is_empty(), "{lines:?}");
}

#[test]
fn both_sides_go_on_together_at_every_chunking() {
    let body = bytes(ONE_PIECE_MAX + 5000);
    for held in [1, ONE_PIECE_MAX - 1, ONE_PIECE_MAX, body.len() - 1, body.len()] {
        for pipeline in [true, false] {
            for (up, down) in [(99_999, 99_999), (99_999, 1), (7, 3), (1000, 50), (1, 99_999)] {
                let options = DialogueOptions {
                    pipeline,
                    ..DialogueOptions::default()
                };
                let mut client = Client::new(options, vec![file(None), file(None)], &body, b"");
                let mut server = Server::new(OURS, holding(&body[..held]));
                talk(&mut client, &mut server, up, down);
                assert_eq!(client.ends(), [(0, true), (1, true)], "{held} {up} {down}");
                assert!(server.stored.iter().all(|stored| stored.data == body));
                let resumed = Event::Resumed {
                    errand: 1,
                    offset: Some(held as u64),
                };
                assert!(client.events.contains(&resumed));
                assert!(client.said.len() < 2 * (body.len() - held) + 1000);
            }
        }
    }
}

#[test]
fn a_file_that_is_another_begins_anew_at_the_next_attempt() {
    let body = bytes(ONE_PIECE_MAX + 5000);
    let mut longer = body.clone();
    longer.extend(b"more");
    for held in [&b"another"[..], &longer, &bytes(70_001)[1..]] {
        let mut client = Client::new(DialogueOptions::default(), vec![file(None)], &body, b"");
        let mut server = Server::new(OURS, holding(held));
        talk(&mut client, &mut server, 1000, 1000);
        assert_eq!(client.ends(), [(0, false)]);
        assert!(client.events.contains(&Event::Changed { errand: 0 }));
        assert_eq!(
            (server.stored.len(), server.discarded),
            (0, 1),
            "ABORT throws it away"
        );
        assert!(client.said.len() < 200, "none of the file was sent");
    }
}

#[test]
fn a_file_that_the_server_has_is_not_sent_again() {
    let body = bytes(ONE_PIECE_MAX + 5000);
    let errands = vec![file(None), file(Some(&body)), file(None)];
    let mut client = Client::new(DialogueOptions::default(), errands, &body, b"");
    let mut server = Server::new(OURS, Faults::default());
    talk(&mut client, &mut server, 1000, 1000);
    assert_eq!(client.ends(), [(0, true), (1, true), (2, true)]);
    // The third did not say which bytes it has.
    assert_eq!(server.stored.len(), 2);
    assert!(client.said.len() > 2 * body.len() && client.said.len() < 2 * body.len() + 1000);
    let delivered = client.events.iter().filter_map(|event| match event {
        Event::Delivered { id, .. } => *id,
        _ => None,
    });
    assert_eq!(
        delivered.collect::<Vec<_>>(),
        [1, 1, 2].map(|n| SpoolId::new(n).unwrap())
    );
}

#[test]
fn a_small_file_does_not_wait_for_what_is_there() {
    let body = bytes(ONE_PIECE_MAX);
    let mut client = Client::new(DialogueOptions::default(), vec![file(Some(&body)); 2], &body, b"");
    let mut server = Server::new(OURS, holding(&body[..10]));
    talk(&mut client, &mut server, 1000, 1000);
    assert_eq!(client.ends(), [(0, true), (1, true)]);
    assert!(server.stored.iter().all(|stored| stored.data == body));
    assert!(client.said.len() > 2 * body.len());
}

#[test]
fn an_answer_that_makes_no_sense_is_no_offer() {
    let body = bytes(ONE_PIECE_MAX + 5000);
    for (product, words) in [
        (
            FIELD,
            format!("offset=5 digest=blake3:{}", blake3::hash(&body[..5])),
        ),
        (FIELD, "stored".to_owned()),
        (OURS, "stored".to_owned()),
        (OURS, "offset=5".to_owned()),
    ] {
        let mut client = Client::new(DialogueOptions::default(), vec![file(None)], &body, b"");
        client.feed(format!("223 vm UFT/2 {product} 32256 ; ready.\r\n").as_bytes());
        // Every line of the head gets the same answer.
        for _ in 0..4 {
            client.feed(format!("200 META; META okay; {words}\r\n").as_bytes());
        }
        let said = client.take();
        assert!(
            said.windows(5).any(|window| window == b"DATA "),
            "{product} {words}"
        );
        assert!(
            !client
                .events
                .iter()
                .any(|event| matches!(event, Event::Resumed { .. }))
        );
    }
}

#[test]
fn a_refused_offset_refuses_the_file() {
    let body = bytes(ONE_PIECE_MAX + 5000);
    let mut client = Client::new(DialogueOptions::default(), vec![file(None)], &body, b"");
    client.feed(b"223 vm UFT/2 uftd/0 32256 ; ready.\r\n");
    let digest = blake3::hash(&body[..7]);
    client.feed(format!("200 \r\n200 \r\n200 \r\n200 x; offset=7 digest=blake3:{digest}\r\n").as_bytes());
    assert!(client.said.ends_with(b"META OFFSET 7\r\n"));
    client.feed(b"500 META; malformed OFFSET.\r\n");
    let refused = |event: &Event| {
        matches!(
            event,
            Event::Refused {
                at: At::Attribute,
                ..
            }
        )
    };
    assert!(client.events.iter().any(refused));
}
