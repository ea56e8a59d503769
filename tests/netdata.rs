//! NETDATA against the known answers of `tests/vectors/netdata`, and against a real peer, the Python package `xmi-reader`
//! (`netdata/peer.rs`).

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: a panic is its way to fail"
)]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uft::canon::Page;
use uft::canon::netdata::{
    Contents, Fate, Fault, FileKind, Limits, Newline, Place, Style, Summary, Survey, decode, is_netdata,
};

#[path = "netdata/peer.rs"]
mod peer;

fn vectors() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/netdata"))
}

fn read(name: &str) -> Vec<u8> {
    fs::read(vectors().join(name)).unwrap_or_else(|err| panic!("{name}: {err}"))
}

fn entries() -> Vec<Value> {
    serde_json::from_slice(&read("manifest.json")).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The records of a `.rec` file.
fn records(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (record, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        records.push(record);
        rest = after;
    }
    assert!(rest.is_empty());
    records
}

fn decoded(name: &str) -> Contents {
    decode(&read(name), Limits::default()).unwrap_or_else(|err| panic!("{name}: {err}"))
}

fn survey(wire: &[u8], piece: usize) -> Summary {
    let mut survey = Survey::new(Limits::default());
    wire.chunks(piece).for_each(|piece| survey.feed(piece).unwrap());
    survey.finish().unwrap()
}

#[test]
fn every_known_answer_comes_out() {
    let mut good = 0;
    for entry in entries().iter().filter(|entry| entry["error"].is_null()) {
        let name = entry["file"].as_str().unwrap();
        let wire = read(name);
        assert_eq!(digest(&wire), entry["sha256"].as_str().unwrap(), "{name}");
        assert_eq!(wire.len() as u64, entry["bytes"].as_u64().unwrap(), "{name}");
        assert!(is_netdata(&wire), "{name}");

        let contents = decoded(name);
        let want = read(entry["records"].as_str().unwrap());
        assert_eq!(digest(&want), entry["records_sha256"].as_str().unwrap(), "{name}");
        let got: Vec<&[u8]> = contents.files.iter().flat_map(|file| file.records()).collect();
        assert_eq!(got, records(&want), "{name}");
        assert_eq!(
            got.len() as u64,
            entry["record_count"].as_u64().unwrap(),
            "{name}"
        );

        if let Some(text) = entry["text"].as_str() {
            let file = &contents.files[0];
            assert!(file.is_text, "{name}");
            let want = String::from_utf8(read(text)).unwrap();
            assert_eq!(file.text(Page::DEFAULT, Newline::Lf), want, "{name}");
            let crlf = file.text(Page::DEFAULT, Newline::CrLf);
            assert_eq!(crlf, want.replace('\n', "\r\n"), "{name}");
        }
        if let Some(split) = entry["split"].as_array() {
            let want: Vec<u64> = split.iter().map(|count| count.as_u64().unwrap()).collect();
            let got: Vec<u64> = contents.files.iter().map(|file| file.tally.records).collect();
            assert_eq!(got, want, "{name}");
        }
        assert_eq!(contents.receipt.is_some(), entry["kind"] == "ack", "{name}");
        assert!(entry["ack"].is_null() || contents.header.ack.is_some(), "{name}");

        if let Some(want) = entry["members"].as_array() {
            let members = contents.files[0].members().unwrap();
            let got: Vec<Value> = members
                .iter()
                .map(|found| {
                    json!({
                        "name": found.member.name,
                        "aliases": found.member.aliases,
                        "user": found.member.statistics.as_ref().map(|statistics| &statistics.user),
                        "text": found.text(Page::DEFAULT, Newline::Lf),
                    })
                })
                .collect();
            assert_eq!(&got, want, "{name}");
        }

        for piece in [1, 7, 80, usize::MAX] {
            let summary = survey(&wire, piece);
            assert_eq!(summary.header, contents.header, "{name}");
            assert_eq!(summary.files.len(), contents.files.len(), "{name}");
            for (summary, file) in summary.files.iter().zip(&contents.files) {
                assert_eq!((&summary.info, summary.tally), (&file.info, file.tally), "{name}");
                assert_eq!(summary.is_text, file.is_text, "{name}");
            }
        }
        good += 1;
    }
    assert_eq!(good, 21);
}

#[test]
fn every_known_error_is_refused_with_its_place() {
    for (name, fault, record) in [
        (
            "e01-no-trailer.nd",
            Fault::Truncated {
                place: Place::BeforeTrailer,
            },
            8,
        ),
        (
            "e02-truncated-segment.nd",
            Fault::Truncated {
                place: Place::InSegment,
            },
            8,
        ),
        (
            "e03-zero-length-segment.nd",
            Fault::SegmentLength { length: 0 },
            9,
        ),
        ("e04-length-one-segment.nd", Fault::SegmentLength { length: 1 }, 9),
        ("e05-continuation-first.nd", Fault::NothingToContinue, 9),
        ("e06-first-in-record.nd", Fault::RecordInRecord, 9),
    ] {
        let wire = read(name);
        let error = decode(&wire, Limits::default()).unwrap_err();
        println!("{name}: {error}");
        assert_eq!((&error.fault, error.record), (&fault, record), "{name}: {error}");
        assert!(error.offset <= wire.len() as u64, "{name}: {error}");
    }
    assert_eq!(
        entries().iter().filter(|entry| !entry["error"].is_null()).count(),
        6
    );
}

#[test]
fn names_kinds_and_wishes_are_what_the_senders_meant() {
    let file = |name: &str, at: usize| decoded(name).files[at].info.clone();
    let notes = file("v02-v-text-cms.nd", 0);
    let name = notes.name.unwrap();
    assert_eq!(
        (name.to_string().as_str(), name.mode().as_deref()),
        ("NOTES.TEXT", Some("A1"))
    );
    assert_eq!(
        (name.style(), notes.recfm.to_string().as_str()),
        (Style::Cms, "V")
    );
    assert_eq!(notes.dates.changed.unwrap().to_string(), "2026-01-01T12:00:00Z");
    let data_set = file("v01-fb80-text-mvs.nd", 0);
    assert_eq!(data_set.name.unwrap().to_string(), "ALICE.TEST.TEXT");
    assert_eq!(
        (data_set.recfm.to_string().as_str(), data_set.lrecl),
        ("FB", Some(80))
    );
    assert_eq!(data_set.block_size, Some(3120));
    let member = file("v10-member-seq.nd", 0).name.unwrap();
    assert_eq!(member.to_string(), "ALICE.LIB.CNTL(RUNIT)");
    assert_eq!(file("v09-fb80-blocked.nd", 0).name, None);
    let kinds: Vec<FileKind> = (0..2)
        .map(|at| file("v16-message-plus-file.nd", at).kind)
        .collect();
    assert_eq!(kinds, [FileKind::Note, FileKind::Sequential]);
    assert_eq!(file("v11-cms-note.nd", 0).kind, FileKind::Note);
    assert_eq!(file("v17-two-files.nd", 1).name.unwrap().to_string(), "TWO.TEXT");

    let header = decoded("v13-ack-id.nd").header;
    assert_eq!(header.ack.unwrap().text(), "FRED");
    assert_eq!(decoded("v12-ack-noid.nd").header.ack.unwrap().id(), b"");
    assert_eq!(
        (header.from.to_string().as_str(), header.to.to_string().as_str()),
        ("ALICE@NODEA", "BOB@NODEB")
    );
    assert_eq!(header.sent.unwrap().to_string(), "2026-01-02T03:04:05Z");

    let received = decoded("v14-ack-received.nd").receipt.unwrap();
    assert_eq!(
        (received.name.unwrap().to_string().as_str(), &received.fate),
        ("ALICE.ACK", &Fate::Received)
    );
    assert_eq!(received.sent.unwrap().to_string(), "2026-01-02T03:04:05Z");
    let deleted = decoded("v15-ack-deleted.nd").receipt.unwrap();
    assert_eq!(
        (deleted.name.unwrap().to_string().as_str(), &deleted.fate),
        ("ACKME.TEXT", &Fate::Deleted)
    );
    assert_eq!(deleted.ack.unwrap().text(), "FRED");
}
