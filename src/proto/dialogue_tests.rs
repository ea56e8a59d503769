//! Tests of `dialogue.rs`: against our session at every chunking, and against scripted servers of the field.

use proptest::prelude::*;

use super::*;
use crate::proto::bodies::rig::{Client, Faults, Server as Rig, talk};
use crate::proto::bodies::sample_errands;
use crate::proto::errand::Delivery;
use crate::proto::refusal::Refusal;
use uft_spool::{Attribute, FileType, SpoolId, TypeSpec};

const OURS: &str = "uftd/0";
const FIELD: &str = "POSIXUFT/2.1.2";

fn file(to: &str) -> Errand {
    Errand::Deliver(Box::new(Delivery {
        to: to.into(),
        size: Some(2),
        from: Some("me".into()),
        name: Some("n".into()),
        spec: TypeSpec::plain(FileType::A),
        attributes: vec![],
        aux: false,
    }))
}

/// What a client says to a server that answers as scripted. Each pair: what the client must have said since the last
/// one, and what the server then says. At the end the server closes.
fn scripted(errands: Vec<Errand>, body: &[u8], script: &[(&str, &str)]) -> Client {
    let mut client = Client::new(DialogueOptions::default(), errands, body, b"fork");
    client.feed(b"");
    for (expected, answer) in script {
        let said = client.take();
        assert_eq!(String::from_utf8_lossy(&said), *expected);
        client.feed(answer.as_bytes());
    }
    assert_eq!(String::from_utf8_lossy(&client.take()), "", "said at the end");
    if !client.closed {
        client.close();
    }
    client
}

fn run(
    product: &str,
    errands: Vec<Errand>,
    body: &[u8],
    faults: Faults,
    up: usize,
    down: usize,
) -> (Client, Rig) {
    let mut client = Client::new(DialogueOptions::default(), errands, body, b"fork");
    let mut server = Rig::new(product, faults);
    talk(&mut client, &mut server, up, down);
    (client, server)
}

#[test]
fn both_sides_agree_at_every_chunking() {
    for product in [OURS, FIELD] {
        let (whole, served) = run(
            product,
            sample_errands(),
            b"some\r\nbytes\r\n",
            Faults::default(),
            9999,
            9999,
        );
        assert_eq!(whole.ends(), [(0, true), (1, true), (2, true), (3, true)]);
        assert_eq!(served.stored.len(), 2);
        assert_eq!(
            (&served.stored[1].data[..], &served.stored[1].aux[..]),
            (&b"some\r\nbytes\r\n"[..], &b"fork"[..])
        );
        assert_eq!(
            served.stored[0].draft.name.as_deref(),
            Some("a name with blanks.txt")
        );
        for up in 1..80 {
            for down in [1, 2, 3, 7, 50, 9999] {
                let (client, server) = run(
                    product,
                    sample_errands(),
                    b"some\r\nbytes\r\n",
                    Faults::default(),
                    up,
                    down,
                );
                assert_eq!(
                    (client.results(), &client.said),
                    (whole.results(), &whole.said),
                    "{product} {up} {down}"
                );
                assert_eq!(
                    (&server.stored, &server.messages),
                    (&served.stored, &served.messages)
                );
            }
        }
    }
}

#[test]
fn a_small_file_goes_to_our_server_in_one_piece() {
    let client = scripted(
        vec![file("alice")],
        b"hi",
        &[
            (
                "",
                "223 vm UFT/2 uftd/0.1.0 32256 ; ready.\r\n118 SEQ=0001 (server)\r\n",
            ),
            (
                "FILE 2 me -\r\nUSER alice\r\nTYPE A\r\nMETA NAME n\r\nDATA 2\r\nhiEOF\r\nQUIT\r\n",
                "200 ACK FILE\r\n119 x\r\n208 alice\r\n200 TYPE\r\n200 META\r\n313 2\r\n213 2\r\n200 ACK EOF; id=17\r\n118 SEQ\r\n",
            ),
        ],
    );
    let Some(Event::Delivered { errand: 0, id, .. }) = client
        .events
        .iter()
        .find(|event| matches!(event, Event::Delivered { .. }))
    else {
        panic!("delivered")
    };
    assert_eq!(*id, SpoolId::new(17));
    assert_eq!(client.ends(), [(0, true)]);
}

#[test]
fn a_file_that_goes_on_has_a_number_in_the_queue() {
    let client = scripted(
        vec![file("bob@BETA")],
        b"hi",
        &[
            ("", "223 vm UFT/2 uftd/0.1.0 32256 ; ready.\r\n"),
            (
                "FILE 2 me -\r\nUSER bob@BETA\r\nTYPE A\r\nMETA NAME n\r\nDATA 2\r\nhiEOF\r\nQUIT\r\n",
                "200 A\r\n208 bob\r\n200 T\r\n200 M\r\n313 2\r\n213 2\r\n200 ACK EOF; job=5\r\n118 SEQ\r\n",
            ),
        ],
    );
    let job = client.events.iter().find_map(|event| match event {
        Event::Delivered { id, job, .. } => Some((*id, *job)),
        _ => None,
    });
    assert_eq!(job, Some((None, SpoolId::new(5))));
}

#[test]
fn an_empty_file_has_no_data() {
    let (client, server) = run(OURS, vec![file("alice")], b"", Faults::default(), 99, 99);
    assert!(!String::from_utf8_lossy(&client.said).contains("DATA"));
    let (field, _) = run(FIELD, vec![file("alice")], b"", Faults::default(), 99, 99);
    assert!(!String::from_utf8_lossy(&field.said).contains("DATA"));
    assert_eq!(
        (client.ends(), field.ends(), server.stored.len()),
        (vec![(0, true)], vec![(0, true)], 1)
    );
}

#[test]
fn a_large_file_goes_in_bursts_of_the_servers_size() {
    let body: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    for (product, largest) in [(OURS, OUR_BURST_MAX), (FIELD, 32256)] {
        let (client, server) = run(
            product,
            vec![file("alice"), file("bob")],
            &body,
            Faults::default(),
            100_000,
            100,
        );
        assert_eq!(client.ends(), [(0, true), (1, true)]);
        assert!(server.stored.iter().all(|stored| stored.data == body));
        let said = String::from_utf8_lossy(&server.said).into_owned();
        let bursts: Vec<usize> = said
            .lines()
            .filter_map(|l| l.strip_prefix("213 ")?.split(';').next()?.parse().ok())
            .collect();
        assert_eq!(bursts.iter().max(), Some(&largest));
    }
}

#[test]
fn a_herald_without_a_burst_size_means_the_usual_one() {
    let (mut client, mut server) = (
        Client::new(DialogueOptions::default(), vec![file("bob")], &[7; 40_000], b""),
        Rig::new(FIELD, Faults::default()),
    );
    let _ = &mut server;
    client.feed(b"224 *anonymous UFT/2 UFT/redacted 0 ; ready.\r\n");
    client.feed(b"200 \r\n");
    for _ in 0..3 {
        client.feed(b"200 x\r\n");
    }
    assert!(client.said.ends_with(b"DATA 32256\r\n"));
}

#[test]
fn field_servers_are_spoken_to_line_by_line() {
    let client = scripted(
        vec![file("alice")],
        b"hi",
        &[
            ("", "223 vm UFT/2 POSIXUFT/2.1.2 32256 ; ready.\r\n"),
            ("FILE 2 me -\r\n", "118 SEQ=0001 (server)\r\n200 ACK FILE\r\n"),
            (
                "USER alice\r\n",
                "119 SEQ=0001 (user)\r\n208 alice; user alice okay\r\n",
            ),
            ("TYPE A\r\n", "200 TYPE; TYPE okay\r\n"),
            ("NAME n\r\n", "402 NAME; NAME not implemented.\r\n"),
            ("DATA 2\r\n", "313 2; send 2 bytes of data.\r\n"),
            ("hi", "213 2; received 2 bytes of data.\r\n"),
            ("EOF\r\n", "200 ACK EOF\r\n"),
            ("QUIT\r\n", ""),
        ],
    );
    assert_eq!(client.ends(), [(0, true)], "no 221 is no loss");
    assert!(client.events.iter().any(|event| matches!(
        event,
        Event::Ignored {
            at: At::Attribute,
            ..
        }
    )));
}

#[test]
fn the_cms_dialect_is_understood() {
    let message = Errand::Message {
        to: "op".into(),
        text: "hi".into(),
        from: None,
    };
    let client = scripted(
        vec![file("alice"), message, Errand::Query("FILES".into())],
        b"hi",
        &[
            ("", "222 vm UFT/2 VMCMSUFT/2.1 32256 ; ready.\r\n"),
            ("FILE 2 me -\r\n", "199 one moment\r\n203 ok\r\n"),
            ("USER alice\r\n", "208 ok\r\n"),
            ("TYPE A\r\n", "209 ok\r\n"),
            ("NAME n\r\n", "205 ok\r\n"),
            ("DATA 2\r\n", "# remark\r\n199 free text\r\n323 go\r\n"),
            ("hi", "199 x\r\n213 ok\r\n"),
            ("EOF\r\n", "* remark\r\n\r\n203 ok\r\n"),
            ("FILE 0 - -\r\n", "203 ok\r\n"),
            ("MSG op hi\r\n", "545 op not logged on\r\n"),
            ("ABORT\r\n", "203 ok\r\n"),
            ("CPQ FILES\r\n", "699 FILES:   1 RDR\r\n699  \r\n203 ok\r\n"),
            ("QUIT\r\n", "221 bye\r\n"),
        ],
    );
    assert_eq!(client.ends(), [(0, true), (1, false), (2, true)]);
    let bulk: Vec<&Event> = client
        .events
        .iter()
        .filter(|event| matches!(event, Event::Bulk(_)))
        .collect();
    assert_eq!(
        bulk,
        [&Event::Bulk("FILES:   1 RDR".into()), &Event::Bulk(" ".into())]
    );
}

#[test]
fn a_refusal_is_followed_by_abort_and_the_next_errand() {
    let head = [
        ("", "222 vm UFT/2 VMCMSUFT/2.1 32256 ; ready.\r\n"),
        ("FILE 2 me -\r\n", "203 ok\r\n"),
    ];
    let tail = [
        ("ABORT\r\n", "403 no\r\n"),
        ("CPQ T\r\n", "200 ok\r\n"),
        ("QUIT\r\n", "221 bye\r\n"),
    ];
    let until_data = [
        ("USER alice\r\n", "208 x\r\n"),
        ("TYPE A\r\n", "209 x\r\n"),
        ("NAME n\r\n", "205 x\r\n"),
    ];
    let data = [("DATA 2\r\n", "323 x\r\n"), ("hi", "213 x\r\n")];
    let cases: [(At, Vec<(&str, &str)>); 5] = [
        (At::User, vec![("USER alice\r\n", "553 no such user\r\n")]),
        (At::Type, vec![until_data[0], ("TYPE A\r\n", "402 no\r\n")]),
        (
            At::Data,
            [&until_data[..], &[("DATA 2\r\n", "401 not a number\r\n")]].concat(),
        ),
        (
            At::Burst,
            [&until_data[..], &data[..1], &[("hi", "513 x\r\n")]].concat(),
        ),
        (
            At::Eof,
            [&until_data[..], &data[..], &[("EOF\r\n", "531 x\r\n")]].concat(),
        ),
    ];
    for (place, middle) in cases {
        let script: Vec<(&str, &str)> = [&head[..], &middle[..], &tail[..]].concat();
        let client = scripted(vec![file("alice"), Errand::Query("T".into())], b"hi", &script);
        assert_eq!(client.ends(), [(0, false), (1, true)]);
        assert!(
            client
                .events
                .iter()
                .any(|event| matches!(event, Event::Refused { errand: 0, at, .. } if *at == place))
        );
    }
}

#[test]
fn uft1_gets_its_bytes_at_once_and_no_meta() {
    let mut errand = file("alice");
    if let Errand::Deliver(delivery) = &mut errand {
        delivery.attributes = vec![
            Attribute {
                key: "CLASS".into(),
                value: "A".into(),
            },
            Attribute {
                key: "PROT".into(),
                value: "U:R".into(),
            },
        ];
        delivery.aux = true;
    }
    let client = scripted(
        vec![errand],
        b"hi",
        &[
            ("", "102 host UFT/1 OLD/1.0\r\n"),
            ("FILE 2 me -\r\n", "200 ok\r\n"),
            ("USER alice\r\n", "200 ok\r\n"),
            ("TYPE A\r\n", "200 ok\r\n"),
            ("NAME n\r\n", "200 ok\r\n"),
            ("CLASS A\r\n", "200 ok\r\n"),
            ("DATA 2\r\nhi", "123 send\r\n213 ok\r\n"),
            ("EOF\r\n", "200 ok\r\n"),
            ("QUIT\r\n", "221 ok\r\n"),
        ],
    );
    assert_eq!(client.ends(), [(0, true)]);
    assert_eq!(
        client
            .events
            .iter()
            .filter(|event| matches!(event, Event::Altered { .. }))
            .count(),
        2
    );
}

#[test]
fn a_refused_file_in_one_piece_is_one_refusal() {
    for (faults, to, place, code) in [
        (Faults::default(), "nosuch", At::User, 532),
        (
            Faults {
                open: Some(Refusal::NoRoom),
                ..Faults::default()
            },
            "alice",
            At::File,
            559,
        ),
        (
            Faults {
                burst: Some(Refusal::OverQuota),
                ..Faults::default()
            },
            "alice",
            At::Data,
            541,
        ),
        (
            Faults {
                write_at: Some(1),
                ..Faults::default()
            },
            "alice",
            At::Burst,
            559,
        ),
        (
            Faults {
                burst_end: Some(Refusal::DataError),
                ..Faults::default()
            },
            "alice",
            At::Burst,
            513,
        ),
        (
            Faults {
                commit: Some(Refusal::DigestMismatch),
                ..Faults::default()
            },
            "alice",
            At::Eof,
            513,
        ),
    ] {
        for body in [&b"hi"[..], &[7; 200_000]] {
            for product in [OURS, FIELD] {
                let (client, server) = run(
                    product,
                    vec![file(to), file("bob")],
                    body,
                    faults.clone(),
                    5000,
                    3,
                );
                let refusals: Vec<&Event> = client
                    .events
                    .iter()
                    .filter(|event| matches!(event, Event::Refused { .. }))
                    .collect();
                assert!(
                    matches!(refusals[0], Event::Refused { errand: 0, at, code: got, .. } if (*at, got.0) == (place, code)),
                    "{refusals:?}"
                );
                assert_eq!(client.ends().len(), 2);
                assert!(server.stored.iter().all(|stored| stored.draft.recipient == "bob"));
            }
        }
    }
}

#[test]
fn a_lost_connection_names_the_place() {
    let bytes = "223 vm UFT/2 P/1 10 ; ready.\r\n200 f\r\n208 u\r\n200 t\r\n200 n\r\n313 d\r\n213 b\r\n200 e\r\n221 q\r\n";
    let places = [
        At::Herald,
        At::File,
        At::User,
        At::Type,
        At::Attribute,
        At::Data,
        At::Burst,
        At::Eof,
    ];
    for lines in 0..=9 {
        let sent: String = bytes.split_inclusive('\n').take(lines).collect();
        let mut client = Client::new(DialogueOptions::default(), vec![file("bob")], b"hi", b"");
        client.feed(b"");
        for line in sent.split_inclusive('\n') {
            client.feed(line.as_bytes());
        }
        client.close();
        assert_eq!(client.ends(), [(0, lines >= 8)]);
        if let Some(place) = places.get(lines) {
            assert!(
                client
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::Lost { at, .. } if at == place)),
                "{lines}"
            );
        }
    }
}

#[test]
fn a_refused_herald_refuses_every_errand() {
    let client = scripted(
        vec![file("a"), file("b")],
        b"",
        &[("", "568 x; client host is not a peer\r\n")],
    );
    assert!(client.closed);
    assert_eq!(
        client
            .events
            .iter()
            .filter(|event| matches!(event, Event::Refused { at: At::Herald, .. }))
            .count(),
        2
    );
    let client = scripted(vec![file("a")], b"", &[("", "220 mail.example ESMTP\r\n")]);
    assert!(
        client
            .events
            .iter()
            .any(|event| matches!(event, Event::Lost { at: At::Herald, .. }))
    );
}

#[test]
fn hostile_servers_take_bounded_memory() {
    let greet = |rest: &[u8]| {
        let mut client = Client::new(
            DialogueOptions::default(),
            vec![Errand::Query("T".into())],
            b"",
            b"",
        );
        client.feed(b"223 vm UFT/2 P/1 10 ; ready.\r\n");
        for piece in rest.chunks(3000) {
            client.feed(piece);
        }
        assert!(client.closed && client.events.len() <= CHATTER_MAX as usize + 10);
        client.ends()
    };
    assert_eq!(greet(&b"699 x\r\n".repeat(50_000)), [(0, false)]);
    assert_eq!(greet(&vec![b'x'; 100_000]), [(0, false)]);
    assert_eq!(greet(&b"\n".repeat(50_000)), [(0, false)]);
    assert_eq!(greet(b"313 what?\r\n"), [(0, false)]);
}

#[test]
fn a_reply_that_nobody_asked_for_is_no_acknowledgement() {
    let replies =
        "223 vm UFT/2 P/1 10 ; ready.\r\n200 a\r\n200 b\r\n200 c\r\n200 d\r\n313 e\r\n213 f\r\n200 g\r\n";
    let mut client = Client::new(DialogueOptions::default(), vec![file("bob")], b"hi", b"");
    client.feed(replies.as_bytes());
    assert_eq!(
        client.ends(),
        [(0, false)],
        "all replies before the first command"
    );
    let mut client = Client::new(DialogueOptions::default(), vec![file("bob")], b"hi", b"");
    for line in replies.split_inclusive('\n') {
        client.feed(line.as_bytes());
    }
    assert_eq!(client.ends(), [(0, true)]);

    let mut dialogue = Dialogue::new(DialogueOptions::default());
    let mut input = BytesMut::from("223 vm UFT/2 P/1 10 ; ready.\r\n521 time-out\r\n");
    assert!(matches!(
        dialogue.poll(&mut input),
        Action::Event(Event::Herald { .. })
    ));
    assert_eq!(dialogue.poll(&mut input), Action::Closed);
    dialogue.submit(Errand::Query("T".into()));
    assert_eq!(
        dialogue.poll(&mut input),
        Action::Event(Event::NotTried { errand: 0 })
    );
}

#[test]
fn an_attribute_can_follow_the_bytes() {
    for product in [OURS, FIELD] {
        let mut dialogue = Dialogue::new(DialogueOptions {
            transcript: true,
            ..DialogueOptions::default()
        });
        dialogue.submit(file("bob"));
        dialogue.finish();
        let mut input = BytesMut::from(format!("223 vm UFT/2 {product} 10 ; ready.\r\n").as_str());
        let (mut said, mut lines) = (Vec::new(), Vec::new());
        loop {
            match dialogue.poll(&mut input) {
                Action::NeedBytes => {
                    let reply: &[u8] = if said.ends_with(b"DATA 2\r\n") {
                        b"313 x\r\n"
                    } else {
                        b"200 x\r\n"
                    };
                    input.extend_from_slice(reply);
                }
                Action::Send(bytes) => {
                    said.extend_from_slice(&bytes);
                    if product == OURS {
                        input.extend_from_slice(
                            b"200 \r\n200 \r\n200 \r\n200 \r\n313 \r\n213 \r\n200 \r\n200 \r\n221 \r\n",
                        );
                    }
                }
                Action::WantBody { .. } => {
                    dialogue.attribute("DIGEST", "blake3:00");
                    dialogue.body(Bytes::from_static(b"hi"), true);
                }
                Action::Event(Event::Sent(line)) => lines.push(line),
                Action::Event(_) | Action::WantPrefix(_) => {}
                Action::Closed => break,
            }
        }
        assert!(
            String::from_utf8_lossy(&said).contains("hiMETA DIGEST blake3:00\r\nEOF\r\n"),
            "{product}"
        );
        assert!(lines.contains(&"[2 bytes]".to_owned()) && !lines.iter().any(|line| line.contains("hi")));
    }
}

#[test]
fn what_no_server_can_take_is_not_said() {
    let long = Errand::Message {
        to: "bob".into(),
        text: "x".repeat(300),
        from: None,
    };
    let (client, server) = run(
        FIELD,
        vec![file("a b"), file(&"x".repeat(64)), long, file("bob")],
        b"hi",
        Faults::default(),
        9,
        9,
    );
    assert_eq!(client.ends(), [(0, false), (1, false), (2, false), (3, true)]);
    assert_eq!(server.stored.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replies_in_any_order_end_every_errand_once(
        lines in prop::collection::vec(prop::sample::select(vec![
            "200 x", "223 vm UFT/2 uftd/1 9", "223 vm UFT/2 P/1 9", "102 vm UFT/1 9", "313 go", "500 no", "403 no", "118 i", "699 bulk", "# r",
            "221 bye", "900 ?", "", "2", "x",
        ]), 0..40),
        size in 1usize..100,
    ) {
        let mut bytes = vec![size as u8];
        bytes.extend(lines.join("\r\n").bytes());
        crate::proto::bodies::dialogue(&bytes);
        for herald in ["223 vm UFT/2 uftd/1 9\r\n", "223 vm UFT/2 P/1 9\r\n", "102 vm UFT/1\r\n"] {
            let mut bytes = vec![size as u8];
            bytes.extend(herald.bytes().chain(lines.join("\r\n").bytes()));
            crate::proto::bodies::dialogue(&bytes);
        }
    }

    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::proto::bodies::session(&data);
        crate::proto::bodies::dialogue(&data);
        crate::proto::bodies::line(&data);
    }
}
