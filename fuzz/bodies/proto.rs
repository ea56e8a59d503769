//! What must hold for any bytes given to `proto`. The first byte of the data chooses faults and chunks, the rest is what
//! a peer sends.
//!
//! Included by the fuzz targets and by the tests of `proto`, which run the same bodies on the recorded conversations.
//! Whoever includes it has a `proto` beside it.

use bytes::BytesMut;
use uft_spool::{Attribute, FileType, TypeSpec};

use super::proto::{Delivery, DialogueOptions, Errand, Frame, Framer, Identity, LINE_MAX, Refusal};

#[path = "proto_rig.rs"]
pub(crate) mod rig;

use rig::{Client, Faults, NONCE, credentials, serve};

/// How much of an overlong line the framer shows, in bytes.
const HEAD_MAX: usize = 64;

/// Any bytes to a session: invariants hold, and the outcome does not depend on the chunks.
pub(crate) fn session(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let faults = Faults {
        burst: (first & 0x80 != 0).then_some(Refusal::OverQuota),
        write_at: (first & 0x40 != 0).then_some(3),
        commit: (first & 0x20 != 0).then_some(Refusal::NoRoom),
        held: [&b""[..], b"some"][usize::from(first >> 4 & 1)].to_vec(),
        gateway: first & 0x40 != 0,
        ..Faults::default()
    };
    let whole = serve(bytes, usize::MAX, &faults);
    assert_eq!(whole, serve(bytes, usize::from(first & 0x1f) + 1, &faults));
    assert!(whole.4.is_some());
}

/// Any bytes from a server to a dialogue: every errand ends exactly once, lines are bounded, and it makes no difference
/// how a line is cut. (Lines that come before they were asked for do make one: a server that is out of step is
/// found out when two replies come together.)
pub(crate) fn dialogue(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let errands = sample_errands();
        let count = errands.len();
        let identity = (first & 0x80 != 0).then(|| Identity {
            credentials: credentials(),
            nonce: NONCE,
            exporter: Vec::new(),
        });
        let options = DialogueOptions {
            identity,
            ..DialogueOptions::default()
        };
        let mut client = Client::new(options, errands, b"some\r\nbytes\r\n", b"fork");
        client.feed(b"");
        for piece in pieces {
            client.feed(piece);
        }
        client.close();
        assert_eq!(
            client.ends().iter().map(|end| end.0).collect::<Vec<_>>(),
            (0..count).collect::<Vec<_>>()
        );
        assert!(
            client
                .said
                .split(|&b| b == b'\n')
                .all(|line| line.len() <= LINE_MAX)
        );
        (client.events, client.said)
    };
    run(&mut bytes.chunks(usize::from(first) + 1));
    let lines = run(&mut bytes.split_inclusive(|&b| b == b'\n'));
    assert_eq!(lines, run(&mut bytes.chunks(1)));
}

/// Any bytes to the framer: bounded, in step, the same at every chunking.
pub(crate) fn line(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let limit = usize::from(first >> 4) + 1;
    let run = |size: usize| {
        let (mut framer, mut input, mut frames) = (Framer::new(limit), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            input.extend_from_slice(piece);
            loop {
                match framer.next(&mut input) {
                    Frame::More => break,
                    Frame::TooLong(head) => {
                        assert!(head.len() > limit.min(HEAD_MAX - 1) && head.len() <= HEAD_MAX);
                        frames.push(Frame::TooLong(head.slice(..1)));
                    }
                    frame => frames.push(frame),
                }
            }
            assert!(input.len() <= limit + 1);
        }
        frames
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.len(), bytes.iter().filter(|&&b| b == b'\n').count());
    assert_eq!(whole, run(usize::from(first & 15) + 1));
}

/// Two files (one with a second fork), a message and a query.
pub(crate) fn sample_errands() -> Vec<Errand> {
    let file = |to: &str, aux| {
        Errand::Deliver(Box::new(Delivery {
            to: to.into(),
            size: Some(13),
            from: Some("tester".into()),
            name: Some("a name with blanks.txt".into()),
            spec: TypeSpec::plain(FileType::A),
            attributes: vec![
                Attribute {
                    key: "DATE".into(),
                    value: "2026-11-20 23:56:30 GMT".into(),
                },
                Attribute {
                    key: "CLASS".into(),
                    value: "A PRT".into(),
                },
            ],
            aux,
        }))
    };
    let message = Errand::Message {
        to: "alice".into(),
        text: "hello".into(),
        from: Some("tester".into()),
    };
    vec![
        file("alice", false),
        file("bob", true),
        message,
        Errand::Query("TIME".into()),
    ]
}
