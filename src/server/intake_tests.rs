//! Tests of `intake.rs`, on a spool of their own.

use std::io::Read;

use proptest::prelude::*;
use uft_spool::{Form, Limits, Proof};

use super::*;
use crate::canon::Restorer;
use crate::proto::Fork;

fn spool() -> (tempfile::TempDir, Arc<Spool>) {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_file: 1 << 30,
        user_bytes: 1 << 30,
        user_items: 1000,
        min_free: 0,
        stranger_bytes: 1 << 30,
        stranger_items: 1000,
    };
    let (spool, _) = Spool::open(&dir.path().join("spool"), limits).unwrap();
    (dir, Arc::new(spool))
}

fn draft(file_type: Option<FileType>, charset: Option<&str>) -> Draft {
    Draft {
        spec: file_type.map(TypeSpec::plain),
        charset: charset.map(str::to_owned),
        ..Draft::default()
    }
}

/// Takes `wire` in slices of `slice` bytes; the draft at the end may differ from that at the beginning.
fn deliver(
    spool: &Arc<Spool>,
    wire: &[u8],
    slice: usize,
    begin: &Draft,
    end: Draft,
) -> Result<(), IntakeError> {
    let to = vec!["alice".parse().unwrap()];
    let mut intake = Intake::open(spool, to, None, None)?;
    intake.begin(Fork::Data, begin);
    for bytes in wire.chunks(slice) {
        intake.take(Fork::Data, bytes)?;
    }
    let origin = Origin {
        user: "bob".into(),
        node: None,
        host: "192.0.2.1".into(),
        proof: Proof::Address,
    };
    intake.commit(end, origin, 1_000).map(drop)
}

fn form(spool: &Spool, form: Form) -> Option<Vec<u8>> {
    let user = "alice".parse().unwrap();
    let id = spool.list(&user).unwrap().last()?.id;
    let content = spool.open_form(&user, id, form).ok()?;
    let mut bytes = Vec::new();
    content.file.take(content.bytes).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// The wire form of the newest item as a receiver gets it: kept, or made again.
fn wire(spool: &Spool) -> Vec<u8> {
    let user = "alice".parse().unwrap();
    let id = spool.list(&user).unwrap().last().unwrap().id;
    let envelope = spool.item(&user, id).unwrap().envelope;
    form(spool, Form::Wire).unwrap_or_else(|| {
        assert!(envelope.facts.exact);
        let charset = envelope.facts.attribute("CHARSET").map(str::to_owned);
        let mut restorer = Restorer::new(&envelope.facts.spec, charset.as_deref());
        let mut bytes = Vec::new();
        restorer
            .feed(&form(spool, Form::Local).unwrap(), &mut bytes)
            .unwrap();
        restorer.finish(&mut bytes).unwrap();
        bytes
    })
}

#[test]
fn a_reversible_text_is_stored_once() {
    let (_dir, spool) = spool();
    let text = b"one\r\ntwo\r\n".repeat(30_000);
    let plain = draft(Some(FileType::A), None);
    deliver(&spool, &text, 100_000, &plain, plain.clone()).unwrap();
    assert_eq!(form(&spool, Form::Local).unwrap(), b"one\ntwo\n".repeat(30_000));
    let user = "alice".parse().unwrap();
    assert!(
        !spool
            .item(&user, spool.list(&user).unwrap()[0].id)
            .unwrap()
            .envelope
            .wire_kept
    );
    assert!(wire(&spool) == text);
}

#[test]
fn the_first_byte_that_cannot_be_given_back_keeps_the_wire_form() {
    let (_dir, spool) = spool();
    for at in [0, 1, 4, 5, 99_999, 100_000, 100_001, 299_999] {
        let mut text = b"one\r\ntwo\r\n".repeat(30_000);
        text.insert(at, b'\n');
        text.push(b'\r');
        let plain = draft(Some(FileType::M), None);
        deliver(&spool, &text, 100_000, &plain, plain.clone()).unwrap();
        assert!(wire(&spool) == text, "{at}");
    }
}

#[test]
fn a_type_that_comes_after_the_data_is_obeyed() {
    let (_dir, spool) = spool();
    let text = b"\xc8\xc5\xd3\xd3\xd6\x15".repeat(20_000);
    let (none, late) = (draft(None, None), draft(Some(FileType::E), None));
    deliver(&spool, &text, 4096, &none, late.clone()).unwrap();
    assert_eq!(form(&spool, Form::Local).unwrap(), b"HELLO\n".repeat(20_000));
    deliver(&spool, &text, 4096, &late, draft(Some(FileType::I), None)).unwrap();
    assert!(form(&spool, Form::Local).unwrap() == text);
}

#[test]
fn a_digest_that_does_not_fit_stores_nothing() {
    let (_dir, spool) = spool();
    let text = b"one\r\n".repeat(50_000);
    let sha: [u8; 32] = Sha256::digest(&text).into();
    let right = [
        Expected::Sha256(sha),
        Expected::Blake3(*blake3::hash(&text).as_bytes()),
    ];
    let plain = draft(Some(FileType::A), None);
    for expected in right {
        let end = Draft {
            digest: Some(expected),
            ..plain.clone()
        };
        deliver(&spool, &text, 7_000, &plain, end).unwrap();
    }
    let user = "alice".parse().unwrap();
    assert_eq!(spool.list(&user).unwrap().len(), 2);
    for expected in [Expected::Sha256([0; 32]), Expected::Blake3([0; 32])] {
        let end = Draft {
            digest: Some(expected),
            ..plain.clone()
        };
        assert!(matches!(
            deliver(&spool, &text, 7_000, &plain, end),
            Err(IntakeError::Digest)
        ));
    }
    assert_eq!(spool.list(&user).unwrap().len(), 2);
    assert_eq!(spool.usage(&user).items, 2, "room is given back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_senders_bytes_can_always_be_had(
        pieces in prop::collection::vec(prop::sample::select(vec![
            &b"\r\n"[..], b"\n", b"\r", b"text", b"\xe4", "\u{e4}".as_bytes(), b"\x15\x25", b"\0",
        ]), 0..60),
        times in prop::sample::select(vec![1usize, 3000]),
        slice in 1usize..70_000,
        kind in prop::sample::select(vec![
            (FileType::A, None), (FileType::A, Some("utf-8")), (FileType::A, Some("windows-1252")),
            (FileType::A, Some("shift_jis")), (FileType::M, None), (FileType::E, None), (FileType::E, Some("cp273")),
            (FileType::V, None), (FileType::I, None),
        ]),
    ) {
        let (_dir, spool) = spool();
        let bytes = pieces.concat().repeat(times);
        let mut plain = draft(Some(kind.0), kind.1);
        plain.attributes = kind.1.map(|value| uft_spool::Attribute { key: "CHARSET".into(), value: value.into() })
            .into_iter().collect();
        deliver(&spool, &bytes, slice, &plain, plain.clone()).unwrap();
        prop_assert!(wire(&spool) == bytes);
    }
}
