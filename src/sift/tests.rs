//! Jobs by example, in both directions, and the round trip through a real session.

use bytes::BytesMut;
use proptest::prelude::*;
use uft_spool::{Attribute, Facts, FileType, Measure, Origin, Proof, TypeSpec};

use super::bodies::{fed, job};
use super::rig::Stored;
use super::*;
use crate::proto::{Command, Draft, Expected, Request};

fn measure(bytes: &[u8]) -> Measure {
    Measure {
        bytes: bytes.len() as u64,
        blake3: blake3::hash(bytes),
    }
}

fn facts() -> Facts {
    Facts {
        name: Some(" a report.txt".into()),
        spec: TypeSpec::plain(FileType::A),
        stored_as: FileType::A,
        origin: Origin {
            user: "maint".into(),
            node: None,
            host: "192.0.2.1".into(),
            proof: Proof::Address,
        },
        received: 0,
        attributes: vec![attribute("CLASS", "A PRT"), attribute("HOPS", "1")],
        xid: Some("ALPHA.00ff".into()),
        exact: true,
        notes: vec![],
        receipt: None,
    }
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute {
        key: key.into(),
        value: value.into(),
    }
}

/// A whole job: head, second fork, body.
fn whole(facts: &Facts, to: &str, body: &[u8], aux: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = head(facts, to, &measure(body), aux.map(|aux| aux.len() as u64));
    if let Some(aux) = aux {
        bytes.extend_from_slice(aux);
        bytes.extend_from_slice(DATA);
    }
    bytes.extend_from_slice(body);
    bytes
}

/// What a job of these bytes comes to.
fn stored(job: &[u8]) -> Result<Stored, BadJob> {
    let (ended, mut stored, _) = fed(job, job.len() as u64, usize::MAX);
    ended.map(|()| stored.remove(0))
}

fn fault(job: &[u8]) -> (u64, Fault) {
    let (ended, stored, _) = fed(job, job.len() as u64, 7);
    assert_eq!(stored, [], "nothing of a bad job is kept");
    let bad = ended.unwrap_err();
    (bad.line, bad.fault)
}

#[test]
fn a_head_says_everything_in_lines() {
    let text = String::from_utf8(head(&facts(), "bob@BETA", &measure(b"body"), None)).unwrap();
    let digest = blake3::hash(b"body").to_hex();
    assert_eq!(
        text,
        format!(
            "FILE 4 maint -\nUSER bob@BETA\nTYPE A\nMETA NAME  a report.txt\nMETA CLASS A PRT\nMETA HOPS 1\n\
             META XID ALPHA.00ff\nMETA DIGEST blake3:{digest}\nDATA\n"
        )
    );
    let again = head(&facts(), "bob@BETA", &measure(b"body"), None);
    assert_eq!(again, text.as_bytes(), "the same at every attempt");
    let aux = head(&facts(), "bob", &measure(b"body"), Some(3));
    assert!(aux.ends_with(b"\nAUXDATA 3\n"));
}

#[test]
fn nothing_in_an_envelope_becomes_a_line_of_its_own() {
    let evil = "x\nDATA\r\nUSER root\u{85}QUIT\0";
    let hostile = Facts {
        name: Some(evil.into()),
        spec: TypeSpec {
            declared: Some(evil.into()),
            ..TypeSpec::plain(FileType::I)
        },
        origin: Origin {
            user: "a b\nDATA".into(),
            ..facts().origin
        },
        attributes: vec![
            attribute("TITLE", evil),
            attribute("USER", "root"),
            attribute("T\nDATA", "x"),
            attribute("", "x"),
            attribute("title", "x"),
        ],
        xid: Some("x\ny z".into()),
        ..facts()
    };
    let bytes = whole(&hostile, "alice", b"EOF\nUSER root\nQUIT\n", None);
    let stored = stored(&bytes).unwrap();
    assert_eq!(
        (stored.draft.recipient.as_str(), stored.data.len()),
        ("alice", 19)
    );
    assert_eq!(stored.draft.name.as_deref(), Some("x_DATA__USER root_QUIT_"));
    assert_eq!(stored.draft.from.as_deref(), Some("a_b_DATA"));
    assert_eq!(stored.draft.xid.as_deref(), Some("x_y_z"));
    assert_eq!(
        stored.draft.attributes,
        [attribute("TITLE", "x_DATA__USER root_QUIT_")]
    );
}

#[test]
fn a_head_without_a_sender_says_so_and_a_line_that_is_too_long_is_left_out() {
    let bare = Facts {
        name: None,
        origin: Origin {
            user: String::new(),
            ..facts().origin
        },
        attributes: vec![
            attribute("TITLE", &"x".repeat(4086)),
            attribute("TAG", &"x".repeat(4087)),
        ],
        xid: None,
        ..facts()
    };
    let stored = stored(&whole(&bare, "alice", b"", None)).unwrap();
    assert_eq!(
        (stored.draft.from, stored.draft.size, stored.draft.name),
        (None, None, None)
    );
    let kept: Vec<&str> = stored.draft.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(kept, ["TAG"], "4096 bytes are a line");
}

#[test]
fn a_job_of_the_field_is_read() {
    let text = b"#*209 a comment\r\n\r\n* another\nFILE * maint -\r\nuser ALICE\nTYPE N\nNAME profile exec\nDATE 2026-11-26\n\
                 META PROT U:RWX\nMSG ON\nDATA\r\nthe\nbody\n";
    let stored = stored(text).unwrap();
    assert_eq!(stored.data, b"the\nbody\n");
    assert_eq!(stored.draft.recipient, "alice");
    assert_eq!(stored.draft.name.as_deref(), Some("profile exec"));
    let keys: Vec<&str> = stored.draft.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["DATE", "PROT", "MSG"]);
}

#[test]
fn a_file_is_never_taken_for_commands() {
    for body in ["EOF\nQUIT\n", "\nDATA 5\nabc", "USER root\r\nDATA\r\n", "", "\n"] {
        let job = format!("FILE 0 maint\nUSER alice\nAUXDATA 9\nEOF\nQUIT\nDATA\n{body}");
        let stored = stored(job.as_bytes()).unwrap();
        assert_eq!(
            (stored.data.as_slice(), stored.aux.as_slice()),
            (body.as_bytes(), &b"EOF\nQUIT\n"[..])
        );
    }
}

#[test]
fn what_a_job_must_not_say_is_an_error_with_its_line() {
    for verb in [
        "EOF",
        "QUIT",
        "EXIT",
        "ABORT",
        "HELP",
        "NOOP",
        "MSG alice hello",
        "MSG",
        "CPQ TIME",
        "AGENT x",
        "PEER a b c",
        "PIPE",
        "GET / HTTP/1.1",
        "DROP TABLE",
    ] {
        let job = format!("# one\nFILE 1 a\nUSER alice\n{verb}\nDATA\nx");
        assert_eq!(fault(job.as_bytes()), (4, Fault::Verb), "{verb}");
    }
    for data in ["DATA 1", "DATA 0", "DATA x", "DAT\t7"] {
        assert_eq!(
            fault(format!("FILE 1\nUSER alice\n{data}\nx").as_bytes()),
            (3, Fault::CountedData)
        );
    }
    for aux in [
        "AUXDATA",
        "AUXDATA x",
        "AUXDATA -1",
        "AUXDATA +1",
        "AUXDATA 0x1",
        "AUXDATA 1K",
        "AUXDATA 9",
        "AUXD 99999999999999999999",
    ] {
        let job = format!("FILE 1\nUSER alice\n{aux}\nDATA\nxx");
        assert_eq!(fault(job.as_bytes()), (3, Fault::AuxCount), "{aux}");
    }
}

#[test]
fn a_head_without_end_is_found_out_before_it_takes_memory() {
    let long = format!("FILE 1\n{}\nDATA\n", "x".repeat(4097));
    assert_eq!(fault(long.as_bytes()), (2, Fault::LongLine));
    let endless = vec![b'x'; 1 << 16];
    assert_eq!(fault(&endless), (1, Fault::LongLine));
    let lines = "#\n".repeat(10_001);
    assert_eq!(fault(lines.as_bytes()), (10_001, Fault::LongHead));
    let head = format!("#{}\n", "x".repeat(4000)).repeat(300);
    assert_eq!(fault(head.as_bytes()), (263, Fault::LongHead));
}

#[test]
fn a_job_that_is_cut_off_anywhere_comes_to_nothing() {
    let whole = whole(&facts(), "alice", b"some bytes", Some(b"fork"));
    for length in 0..whole.len() {
        for size in [1, usize::MAX] {
            let (ended, stored, _) = fed(&whole[..length], whole.len() as u64, size);
            assert_eq!((ended.unwrap_err().fault, stored.len()), (Fault::Truncated, 0));
        }
    }
    assert!(stored(&whole).is_ok());
}

#[test]
fn more_bytes_than_were_announced_are_an_error() {
    let job = b"FILE 1\nUSER alice\nDATA\nxyz";
    for total in 0..job.len() {
        let (ended, stored, _) = fed(job, total as u64, usize::MAX);
        assert_eq!(
            (ended.unwrap_err().fault, stored.len()),
            (Fault::Excess, 0),
            "{total}"
        );
    }
}

#[test]
fn a_second_recipient_is_an_error_and_not_delivered_to_the_first() {
    for second in ["USER bob", "u", "FILE 9999999999999999"] {
        let job = format!("FILE 1 a\nUSER alice\n{second}\nDATA\nx");
        assert_eq!(fault(job.as_bytes()), (3, Fault::SecondUser), "{second}");
    }
}

#[test]
fn a_refused_job_is_not_stored_and_its_file_is_no_commands() {
    for head in [
        "FILE 1 a\nUSER nobody\n",
        "USER alice\n",
        "FILE 1\nUSER alice\nMETA DIGEST x\n",
        "",
    ] {
        let job = format!("{head}DATA\nFILE 1 a\r\nUSER alice\r\nDATA 0\r\nEOF\r\n");
        let (ended, stored, _) = fed(job.as_bytes(), job.len() as u64, 5);
        assert_eq!((ended, stored.len()), (Ok(()), 0), "{head}");
    }
}

#[test]
fn the_file_is_passed_on_without_a_copy() {
    let mut feed = Feed::new(1 << 40);
    let (mut input, mut out) = (BytesMut::from(&b"DATA\n"[..]), BytesMut::new());
    feed.push(&mut input, &mut out).unwrap();
    assert_eq!(out, format!("DATA {}\r\n", (1u64 << 40) - 5).as_bytes());
    let mut slice = BytesMut::from(&[7; 1 << 16][..]);
    let at = slice.as_ptr();
    let mut out = BytesMut::new();
    feed.push(&mut slice, &mut out).unwrap();
    assert_eq!((out.as_ptr(), out.len()), (at, 1 << 16));
}

#[test]
fn the_body_of_the_fuzz_target_holds_on_seeds() {
    let whole = whole(&facts(), "alice", b"EOF\nQUIT\n", Some(b"\nDATA\n"));
    let mut seeds = vec![
        b"".to_vec(),
        b"FILE 1\nUSER alice\nDATA\n".to_vec(),
        b"FILE 1\nUSER alice\nDATA 3\nabc".to_vec(),
        b"FILE 1\nUSER alice\nAUXDATA 3\nabcDATA\nFILE".to_vec(),
        b"MSG alice hello\n".to_vec(),
        whole.clone(),
    ];
    seeds.push(whole[..whole.len() / 2].to_vec());
    for seed in seeds {
        for chunk in [0, 3, 250] {
            job(&[&[chunk], seed.as_slice()].concat());
        }
    }
}

/// Texts as sessions hold them, without control characters (those are changed on the way).
fn any_facts() -> impl Strategy<Value = Facts> {
    let value = "[^\\pC\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}]{0,40}";
    let key = "(TITLE|CLASS|HOPS|VIA|ORIGIN|TAG|CHARSET|NOTIFY|X-[A-Z0-9_]{1,20})";
    let spec = "(A|I|E|N C|M|V M|F 80|T|U|Z what|A C)";
    (
        prop::option::of(value.prop_filter("a blank name is none", |name| {
            !name.trim_matches([' ', '\t']).is_empty()
        })),
        spec,
        "([a-z][a-z0-9@.]{0,20})?",
        prop::collection::vec((key, value), 0..8),
        prop::option::of("[!-~]{1,64}"),
    )
        .prop_map(|(name, spec, user, attributes, xid)| {
            let Some(Request::Type(Some(spec))) =
                Command::parse(format!("TYPE {spec}").as_bytes()).map(|command| command.request)
            else {
                panic!("{spec} is a type")
            };
            Facts {
                name,
                stored_as: spec.file_type,
                spec,
                origin: Origin {
                    user,
                    ..facts().origin
                },
                attributes: attributes
                    .iter()
                    .map(|(key, value)| attribute(key, value))
                    .collect(),
                xid,
                ..facts()
            }
        })
}

proptest! {
    #[test]
    fn a_job_comes_out_of_a_session_as_its_envelope_says(
        facts in any_facts(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        aux in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        size in 1usize..300,
    ) {
        let bytes = whole(&facts, "alice", &body, aux.as_deref());
        let (ended, mut stored, _) = fed(&bytes, bytes.len() as u64, size);
        prop_assert_eq!(ended, Ok(()));
        let file = stored.remove(0);
        let label = facts.attributes.iter().filter(|a| a.key == "CHARSET").map(|a| a.value.trim_matches([' ', '\t']))
            .rfind(|label| !label.is_empty());
        let blank = |a: &Attribute| a.key == "CHARSET" && a.value.trim_matches([' ', '\t']).is_empty();
        let expected = Draft {
            size: Some(body.len() as u64).filter(|&size| size > 0),
            from: Some(facts.origin.user.clone()).filter(|user| !user.is_empty()),
            recipient: "alice".into(),
            name: facts.name.clone(),
            spec: Some(facts.spec.clone()),
            charset: label.map(str::to_owned),
            attributes: facts.attributes.iter().filter(|a| !blank(a)).cloned().collect(),
            xid: facts.xid.clone(),
            digest: Some(Expected::Blake3(*blake3::hash(&body).as_bytes())),
            ..Draft::default()
        };
        prop_assert_eq!(file, Stored { draft: expected, data: body, aux: aux.unwrap_or_default() });
    }

    #[test]
    fn any_bytes_are_a_job_or_none(
        lines in prop::collection::vec("(FILE 1 a|USER (alice|bob|x)|TYPE A|DATA|DATA 2|AUXDATA [0-9]|META [A-Z]{1,5} [ -~]{0,9}|EOF|[ -~]{0,9})\r?\n", 0..8),
        body in prop::collection::vec(any::<u8>(), 0..40),
        chunk: u8,
    ) {
        job(&[&[chunk], lines.concat().as_bytes(), &body].concat());
    }
}
