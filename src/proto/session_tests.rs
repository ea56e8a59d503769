//! Tests of `session.rs`: what is said, and what comes of it.

use proptest::prelude::*;

use super::*;
use crate::proto::ask::Answer;
use crate::proto::bodies::rig::{Faults, Server, serve};

/// The reply codes to a client's bytes, without the herald's two.
fn codes(bytes: &[u8]) -> Vec<u16> {
    codes_with(bytes, &Faults::default())
}

fn codes_with(bytes: &[u8], faults: &Faults) -> Vec<u16> {
    let (said, ..) = serve(bytes, usize::MAX, faults);
    let said = String::from_utf8(said).unwrap();
    said.lines()
        .skip(2)
        .map(|line| line[..3].parse().unwrap())
        .collect()
}

const HEAD: &str = "FILE 5 tester -\r\nUSER alice\r\n";

fn with_head(rest: &str) -> Vec<u16> {
    let codes = codes(format!("{HEAD}{rest}").as_bytes());
    assert_eq!(codes[..3], [200, 119, 208]);
    codes[3..].to_vec()
}

#[test]
fn the_herald_and_118_are_one_reply() {
    let mut session = Session::new(Greeting {
        host: "vm".into(),
        product: "uftd/1".into(),
        max_burst: 32256,
        nonce: None,
    });
    let Step::Reply(reply) = session.poll(&mut BytesMut::new()) else {
        panic!("a herald")
    };
    let mut out = BytesMut::new();
    reply.write(&mut out);
    assert_eq!(
        &out[..],
        b"223 vm UFT/2 uftd/1 32256 ; ready.\r\n118 SEQ=0001 (server)\r\n"
    );
    assert_eq!(session.poll(&mut BytesMut::new()), Step::NeedBytes);
}

#[test]
fn user_needs_a_file_and_comes_once() {
    assert_eq!(
        codes(b"USER alice\nFILE\nUSER alice\nUSER bob\nUSER\nABORT\nUSER bob\n")[..10],
        [403, 200, 119, 208, 403, 403, 226, 118, 119, 208]
    );
    assert_eq!(
        codes(b"FILE\nUSER nosuch\nUSER\nUSER ALICE\nQUIT\n"),
        [200, 532, 532, 119, 208, 221]
    );
}

#[test]
fn a_refused_data_ends_the_session_and_its_bytes_are_no_commands() {
    for bytes in [
        "DATA 20\r\nUSER alice\r\nQUIT\r\n",
        "FILE\r\nDATA 5\r\nMSG bob payload\r\n",
        "FILE\r\nUSER nosuch\r\nDATA 20\r\nMSG bob payload\r\n",
        "FILE\r\nUSER alice\r\nDATA 1K\r\nMSG bob payload\r\n",
        "FILE\r\nUSER alice\r\nDATA -5\r\nMSG bob payload\r\n",
        "FILE\r\nUSER alice\r\nAUXDATA 0x10\r\nMSG bob payload\r\n",
        "FILE\r\nUSER alice\r\nDATA 99999999999999999999\r\nMSG bob payload\r\n",
    ] {
        let (said, stored, messages, _, closed) = serve(bytes.as_bytes(), usize::MAX, &Faults::default());
        assert!(messages.is_empty() && stored.is_empty(), "{bytes}");
        assert_eq!(closed, Some(Closing::Linger), "{bytes}");
        assert!(matches!(
            said.split(|&b| b == b'\n').rev().nth(1),
            Some([b'4' | b'5', ..])
        ));
    }
}

#[test]
fn a_burst_whose_write_failed_is_read_to_its_end_then_refused() {
    let faults = Faults {
        write_at: Some(3),
        ..Faults::default()
    };
    let bytes = format!("{HEAD}DATA 24\r\nMSG bob x\r\nMSG bob y\r\n..MSG bob z\r\nQUIT\r\n");
    for size in 1..bytes.len() {
        let (said, stored, messages, discarded, closed) = serve(bytes.as_bytes(), size, &faults);
        assert!(
            String::from_utf8(said)
                .unwrap()
                .ends_with("bytes of data.\r\n559 insufficient space, try again later.\r\n")
        );
        assert_eq!(
            (stored.len(), messages.len(), discarded, closed),
            (0, 0, 1, Some(Closing::Linger))
        );
    }
}

#[test]
fn a_count_is_not_taken_from_the_next_command() {
    assert_eq!(with_head("DATA \r\n7\r\nQUIT\r\n"), [313, 213, 402, 221]);
    assert_eq!(
        with_head("DATA 0\r\nDATA 00002\r\nokEOF\r\n"),
        [313, 213, 313, 213, 200, 118, 221]
    );
}

#[test]
fn data_0_is_answered_in_one_reply() {
    let mut server = Server::new("uftd/0", Faults::default());
    server.feed(HEAD.as_bytes());
    let mut input = BytesMut::from("DATA 0\r\n");
    let mut session = Session::new(Greeting {
        host: "h".into(),
        product: "p".into(),
        max_burst: 1,
        nonce: None,
    });
    session.poll(&mut BytesMut::new());
    let mut head = BytesMut::from(HEAD);
    loop {
        match session.poll(&mut head) {
            Step::NeedBytes => break,
            Step::Ask(_) => session.answer(Ok(Answer::Done)),
            _ => {}
        }
    }
    assert!(matches!(
        session.poll(&mut input),
        Step::Ask(Ask::Burst { count: 0, .. })
    ));
    session.answer(Ok(Answer::Done));
    assert_eq!(
        session.poll(&mut input),
        Step::Ask(Ask::BurstEnd {
            fork: Fork::Data,
            count: 0
        })
    );
    session.answer(Ok(Answer::Done));
    let Step::Reply(reply) = session.poll(&mut input) else {
        panic!("a reply")
    };
    assert_eq!(
        reply.lines().map(|(code, _)| code.0).collect::<Vec<_>>(),
        [313, 213]
    );
}

#[test]
fn eof_is_acknowledged_only_for_a_file() {
    assert_eq!(
        codes(b"EOF\nFILE\nEOF\nUSER nosuch\nEOF\nNOOP\n"),
        [403, 200, 403, 532, 403, 200, 221]
    );
    assert_eq!(with_head("EOF\nEOF\nQUIT\n"), [200, 118, 403, 221]);
}

#[test]
fn eof_says_where_the_item_is() {
    let (said, ..) = serve(format!("{HEAD}EOF\n").as_bytes(), 1, &Faults::default());
    assert!(
        String::from_utf8(said)
            .unwrap()
            .contains("200 ACK EOF; id=1\r\n118 SEQ=0002 (server)\r\n")
    );
}

#[test]
fn a_refused_eof_ends_the_session() {
    let faults = Faults {
        commit: Some(Refusal::OverQuota),
        ..Faults::default()
    };
    assert_eq!(
        codes_with(format!("{HEAD}EOF\nNOOP\n").as_bytes(), &faults),
        [200, 119, 208, 541]
    );
}

#[test]
fn quit_delivers_only_a_file_that_is_whole() {
    let stored = |rest: &str| serve(format!("{HEAD}{rest}").as_bytes(), 3, &Faults::default());
    let (said, files, _, discarded, closed) = stored("DATA 5\r\nhelloQUIT\r\n");
    assert_eq!((files.len(), discarded, closed), (1, 0, Some(Closing::Now)));
    assert!(said.ends_with(b"213 5; received 5 bytes of data.\r\n221 goodbye.\r\n"));
    for rest in [
        "QUIT\r\n",
        "DATA 4\r\nhellQUIT\r\n",
        "AUXDATA 5\r\nhelloQUIT\r\n",
        "FILE 0 x -\r\nDATA 5\r\nhelloQUIT\r\n",
    ] {
        let (said, files, _, discarded, _) = stored(rest);
        assert_eq!((files.len(), discarded), (0, 1), "{rest}");
        assert!(said.ends_with(b"221 goodbye.\r\n"));
    }
}

#[test]
fn a_peer_that_goes_away_before_eof_has_sent_nothing() {
    let bytes = format!("{HEAD}DATA 5\r\nhelloEOF\r\n");
    for end in 0..bytes.len() {
        let (_, stored, _, discarded, closed) =
            serve(&bytes.as_bytes()[..end], usize::MAX, &Faults::default());
        assert_eq!((stored.len(), closed), (0, Some(Closing::Now)));
        assert_eq!(discarded, usize::from(end >= HEAD.len()));
    }
    let (said, stored, ..) = serve(bytes.as_bytes(), usize::MAX, &Faults::default());
    assert!(stored.len() == 1 && said.ends_with(b"221 goodbye.\r\n"));
}

#[test]
fn nothing_said_of_one_file_appears_on_the_next() {
    let bytes = "META XID early\nNAME early\nFILE 5 tester -\nUSER alice\nTYPE E\nUCS TN\nDATA 2\nhiAUXDATA 1\nxEOF\n\
                 USER bob\nEOF\nUSER bob\nNAME dropped\nMETA DIGEST sha256:0000000000000000000000000000000000000000000000000000000000000000\nABORT\nUSER root\nDATA 1\nyEOF\n";
    let (_, stored, ..) = serve(bytes.as_bytes(), 7, &Faults::default());
    assert_eq!(stored.len(), 3);
    let first = &stored[0];
    assert_eq!(
        (first.draft.name.as_deref(), first.draft.xid.as_deref()),
        (Some("early"), Some("early"))
    );
    assert_eq!(
        (first.draft.charset.as_deref(), &first.data[..], &first.aux[..]),
        (Some("TN"), &b"hi"[..], &b"x"[..])
    );
    for (other, to) in stored[1..].iter().zip(["bob", "root"]) {
        let expected = Draft {
            from: Some("tester".into()),
            recipient: to.into(),
            ..Draft::default()
        };
        assert_eq!(other.draft, expected);
        assert!(other.aux.is_empty());
    }
}

#[test]
fn a_refused_attribute_keeps_the_file_from_being_delivered_without_it() {
    let name = "x".repeat(1025);
    for bad in [
        format!("NAME {name}"),
        format!("META NAME {name}"),
        "META DIGEST md5:0".into(),
        "META XID".into(),
    ] {
        assert_eq!(
            with_head(&format!("{bad}\nDATA 2\nhiEOF\nNOOP\n")),
            [500, 500],
            "{bad}"
        );
        assert_eq!(with_head(&format!("{bad}\nEOF\nNOOP\n")), [500, 500], "{bad}");
        assert_eq!(
            with_head(&format!("{bad}\nABORT\nUSER bob\nEOF\n")),
            [500, 226, 118, 119, 208, 200, 118, 221],
            "{bad}"
        );
    }
    let faults = Faults {
        open: Some(Refusal::NoRoom),
        ..Faults::default()
    };
    assert_eq!(
        codes_with(b"FILE 1T x -\nUSER alice\nDATA 3\nabcEOF\n", &faults),
        [559, 403, 403]
    );
}

#[test]
fn overlong_lines_get_one_reply_and_leave_the_session_in_step() {
    for length in [4097, 4098, 8192, 100_000] {
        let long = "x".repeat(length);
        assert_eq!(
            codes(format!("NOOP {long}\r\nNOOP\r\n").as_bytes()),
            [500, 200, 221],
            "{length}"
        );
        assert_eq!(codes(format!("{long}\nNOOP\n").as_bytes()), [500, 200, 221]);
        assert_eq!(codes(format!("# {long}\nNOOP\n").as_bytes()), [200, 221]);
        assert_eq!(
            codes(format!("{HEAD}NAME {long}\nEOF\n").as_bytes()),
            [200, 119, 208, 500, 500]
        );
        for may_be_burst in [
            format!("DATA {long}\nNOOP\n"),
            format!("{}DATA 1\nNOOP\n", " ".repeat(length)),
        ] {
            assert_eq!(codes(may_be_burst.as_bytes()), [500]);
        }
    }
    assert_eq!(codes(&[b'x'; 1_000_000]), [221]);
}

#[test]
fn foreign_protocols_are_shown_out() {
    let http = "GET / HTTP/1.1\r\n".to_owned() + &"X-Header: y\r\n".repeat(100);
    let codes = codes(http.as_bytes());
    assert_eq!((codes.len(), codes.last()), (20, Some(&500)));
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\x00\n\r\n\x80\xff";
    assert_eq!(super::tests::codes(tls), [402, 402, 221]);
}

#[test]
fn a_million_meta_lines_end_the_session() {
    let bytes = "META TITLE x\n".repeat(10_000);
    let codes = codes(bytes.as_bytes());
    assert_eq!((codes.len(), codes.last()), (256 + 20, Some(&500)));
}

#[test]
fn what_is_not_ascii_is_kept() {
    let mut bytes = HEAD.as_bytes().to_vec();
    bytes.extend_from_slice(b"NAME gr\xfcn\0\x1b[2J\rx\nMETA TITLE \xf0\x9f\x93\xa6\nEOF\n");
    let (_, stored, ..) = serve(&bytes, 5, &Faults::default());
    let draft = &stored[0].draft;
    assert_eq!(draft.name.as_deref(), Some("grün\0\u{1b}[2J\rx"));
    assert_eq!(draft.attributes[0].value, "📦");
    assert!(draft.notes[0].contains("ISO-8859-1"));
}

#[test]
fn nothing_is_known_of_an_agent_key() {
    let mut session = Session::new(Greeting {
        host: "h".into(),
        product: "p".into(),
        max_burst: 1,
        nonce: None,
    });
    session.poll(&mut BytesMut::new());
    let step = session.poll(&mut BytesMut::from("FILE 18 root AGENT feedface\n"));
    assert!(!format!("{step:?} {session:?}").contains("feedface"));
    assert_eq!(
        codes(b"AGENT\nAGENT feedfacecafebeef0123 x\nAGEN x\n"),
        [400, 200, 500, 221]
    );
}

#[test]
fn messages_are_acknowledged_only_when_delivered() {
    assert_eq!(
        codes(b"MSG root hello\nMSG nosuch hello\nMSG root\nMSG\nMSG ON\nM ROOT x \n"),
        [200, 545, 416, 416, 200, 200, 221]
    );
    let (.., messages, _, _) = serve(
        b"FILE 0 tester -\nMSG ALICE hello  world \nABORT\nQUIT\n",
        4,
        &Faults::default(),
    );
    assert_eq!(
        messages,
        [(
            "alice".to_owned(),
            "hello  world".to_owned(),
            Some("tester".to_owned())
        )]
    );
}

#[test]
fn a_driver_can_end_a_session_with_a_last_word() {
    for (bytes, discarded) in [("", 0), (HEAD, 1), ("FILE\nUSER bob\nDATA 9\nabc", 1)] {
        let mut session = Session::new(Greeting {
            host: "h".into(),
            product: "p".into(),
            max_burst: 1,
            nonce: None,
        });
        let mut input = BytesMut::from(bytes);
        let mut ends = Vec::new();
        loop {
            match session.poll(&mut input) {
                Step::NeedBytes => session.end(&Refusal::Timeout),
                Step::Ask(Ask::Discard) => {
                    ends.push("discard");
                    session.answer(Ok(Answer::Done));
                }
                Step::Ask(_) => session.answer(Ok(Answer::Done)),
                Step::Reply(reply) if reply.code().0 == 521 => ends.push("521"),
                Step::Reply(_) | Step::Data(..) => {}
                Step::Close(closing) => {
                    assert_eq!(closing, Closing::Linger);
                    break;
                }
            }
        }
        assert_eq!(ends.len(), 1 + discarded, "{ends:?}");
        assert_eq!(ends[0], "521");
    }
}

/// Lines that sessions are made of, and some that they are not.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let verbs = prop::sample::select(vec![
        "FILE 5 a -",
        "FILE 3",
        "USER alice",
        "USER x",
        "TYPE A",
        "NAME x y",
        "META XID 1",
        "META DIGEST x",
        "DATA 3",
        "DATA 0",
        "DATA 1K",
        "AUXDATA 2",
        "EOF",
        "ABORT",
        "QUIT",
        "NOOP",
        "MSG bob x",
        "CPQ T",
        "HELP",
        "AGENT k",
        "#",
        "",
        "\u{1}",
        "BOGUS",
    ]);
    prop_oneof![
        8 => verbs.prop_map(|verb| format!("{verb}\r\n").into_bytes()),
        2 => Just(b"abc".to_vec()),
        1 => (4000usize..4200).prop_map(|n| [vec![b'x'; n], b"\n".to_vec()].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_outcome_does_not_depend_on_the_chunks(lines in prop::collection::vec(line(), 0..30), size in 1usize..5000, fault in 0u8..4) {
        let faults = Faults {
            write_at: (fault == 1).then_some(2),
            commit: (fault == 2).then_some(Refusal::DataError),
            burst: (fault == 3).then_some(Refusal::OverQuota),
            ..Faults::default()
        };
        let bytes = lines.concat();
        prop_assert_eq!(serve(&bytes, usize::MAX, &faults), serve(&bytes, size, &faults));
    }
}
