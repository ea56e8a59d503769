//! The promises of the converters, for any input and any borders.

use proptest::prelude::*;
use uft_spool::{FileType, TypeSpec};

use super::*;
use crate::canon;

#[path = "../../fuzz/bodies/canon.rs"]
mod bodies;

fn decode(file_type: FileType, charset: Option<&str>, wire: &[u8]) -> (Vec<u8>, Outcome) {
    let (mut decoder, mut local) = (Decoder::new(&TypeSpec::plain(file_type), charset), Vec::new());
    decoder.feed(wire, &mut local).unwrap();
    let outcome = decoder.finish(&mut local).unwrap();
    (local, outcome)
}

fn encode(file_type: FileType, page: Option<Page>, local: &[u8]) -> Result<(Vec<u8>, Report), Misfit> {
    let (mut encoder, mut wire) = (Encoder::new(file_type, page, Policy::Refuse, Some(4)), Vec::new());
    encoder.feed(local, &mut wire)?;
    let report = encoder.finish(&mut wire)?;
    Ok((wire, report))
}

fn lines_of(
    spec: &TypeSpec,
    charset: Option<&str>,
    page: Option<Page>,
    wire: &[u8],
) -> Result<(String, Vec<String>), Failure> {
    let (mut reader, mut lines) = (Lines::new(spec, charset, page), Vec::new());
    reader.feed(wire, &mut lines)?;
    let outcome = reader.finish(&mut lines)?;
    Ok((String::from_utf8(lines).unwrap(), outcome.notes))
}

fn lines(file_type: FileType, wire: &[u8]) -> Result<(String, Vec<String>), Failure> {
    lines_of(&TypeSpec::plain(file_type), None, None, wire)
}

/// Records with a length of 2 bytes.
fn records(records: &[&[u8]]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| [&(record.len() as u16).to_be_bytes(), *record].concat())
        .collect()
}

#[test]
fn hello_world_in_ebcdic_as_it_is_on_the_wire() {
    let wire = b"\xc8\xc5\xd3\xd3\xd6\x15\xe6\xd6\xd9\xd3\xc4\x15";
    let (local, outcome) = decode(FileType::E, None, wire);
    assert_eq!(local, b"HELLO\nWORLD\n");
    assert_eq!(
        outcome,
        Outcome {
            exact: true,
            notes: vec![]
        }
    );
    assert_eq!(
        encode(FileType::E, None, b"HELLO\nWORLD\n").unwrap(),
        (wire.to_vec(), Report::default())
    );
}

#[test]
fn records_become_lines_and_lines_records() {
    let wire = b"\0\x04rec1\0\0\0\x07record3";
    assert_eq!(lines(FileType::V, wire).unwrap().0, "rec1\n\nrecord3\n");
    assert_eq!(
        encode(FileType::V, None, b"rec1\n\nrecord3\n").unwrap(),
        (wire.to_vec(), Report::default())
    );
    assert_eq!(lines(FileType::W, b"\0\0\0\x02ab\0\0\0\0").unwrap().0, "ab\n\n");
    assert_eq!(lines(FileType::X, b"\0\0\0\0\0\0\0\x02ab").unwrap().0, "ab\n");
    assert_eq!(
        encode(FileType::W, None, b"ab\n\n").unwrap().0,
        b"\0\0\0\x02ab\0\0\0\0"
    );
    assert_eq!(
        encode(FileType::X, None, b"ab\n").unwrap().0,
        b"\0\0\0\0\0\0\0\x02ab"
    );
    assert_eq!(
        encode(FileType::F, None, b"ab\n\nabcd").unwrap().0,
        b"ab      abcd"
    );
    assert_eq!(
        encode(FileType::F, Some(Page::DEFAULT), b"A\n").unwrap().0,
        b"\xc1\x40\x40\x40"
    );
    let fixed = TypeSpec {
        record_length: Some(4),
        ..TypeSpec::plain(FileType::F)
    };
    assert_eq!(
        lines_of(&fixed, None, None, b"ab  abcd").unwrap().0,
        "ab  \nabcd\n"
    );
}

#[test]
fn types_that_are_kept_as_sent_are_kept_as_sent() {
    for file_type in [
        FileType::I,
        FileType::N,
        FileType::V,
        FileType::W,
        FileType::X,
        FileType::F,
    ] {
        assert!(!Decoder::new(&TypeSpec::plain(file_type), Some("utf-16")).converts());
        let (local, outcome) = decode(file_type, Some("utf-16"), b"\0\r\n\xff\xc1\x15");
        assert_eq!(
            (local.as_slice(), outcome.exact),
            (b"\0\r\n\xff\xc1\x15".as_slice(), true)
        );
    }
    assert!(
        [FileType::A, FileType::E, FileType::M]
            .iter()
            .all(|&t| Decoder::new(&TypeSpec::plain(t), None).converts())
    );
    assert_eq!(encode(FileType::I, None, b"a\n\xff").unwrap().0, b"a\n\xff");
    assert_eq!(encode(FileType::N, None, b"a\n\xff").unwrap().0, b"a\n\xff");
}

#[test]
fn a_bare_line_end_stays_and_is_not_exact() {
    assert_eq!(decode(FileType::A, None, b"a\r\nb\nc\rd").0, b"a\nb\nc\rd");
    assert!(!decode(FileType::A, None, b"a\r\nb\nc").1.exact);
    assert!(decode(FileType::M, None, b"a\r\n\r\r\nc\r").1.exact);
    assert!(decode(FileType::A, None, b"").1.exact);
}

#[test]
fn a_charset_label_decides_what_text_is() {
    let (local, outcome) = decode(FileType::A, Some("ISO-8859-1"), b"caf\xe9\r\n");
    assert_eq!(
        (local.as_slice(), outcome),
        (
            "café\n".as_bytes(),
            Outcome {
                exact: false,
                notes: vec![]
            }
        )
    );
    assert!(decode(FileType::A, Some("utf-8"), "café\r\n".as_bytes()).1.exact);
    assert_eq!(decode(FileType::A, Some("utf-16le"), b"a\0\r\0\n\0").0, b"a\n");
    let (local, outcome) = decode(FileType::A, Some("utf-8"), b"a\xff\xfe\r\n");
    assert_eq!(local, "a\u{fffd}\u{fffd}\n".as_bytes());
    assert_eq!(
        outcome.notes,
        ["2 malformed sequences replaced (declared as UTF-8)"]
    );
    // A message names its own character sets.
    assert_eq!(
        decode(FileType::M, Some("ISO-8859-1"), b"caf\xe9\r\n").0,
        b"caf\xe9\n"
    );
}

#[test]
fn a_label_nobody_knows_is_a_note() {
    let (local, outcome) = decode(FileType::A, Some("kl\u{1b}ingon"), b"\xe9\r\n");
    assert_eq!((local.as_slice(), outcome.exact), (b"\xe9\n".as_slice(), true));
    assert_eq!(
        outcome.notes,
        ["charset \"kl\\u{1b}ingon\" is not known: bytes kept"]
    );
    let (_, outcome) = decode(FileType::A, Some("cp037"), b"\xe9\r\n");
    assert_eq!(
        outcome.notes,
        ["charset IBM-037 is EBCDIC, the type is not: bytes kept"]
    );
    let (local, outcome) = decode(FileType::E, Some("utf-8"), b"\xc1");
    assert_eq!((local.as_slice(), outcome.exact), (b"A".as_slice(), true));
    assert_eq!(
        outcome.notes,
        ["charset \"utf-8\" is not known: read as IBM-1047"]
    );
    assert!(decode(FileType::A, Some(&"x".repeat(5000)), b"").1.notes[0].len() < 100);
    assert_eq!(decode(FileType::E, Some("IBM-037"), b"\xba\xbb").0, b"[]");
}

#[test]
fn a_damaged_record_file_is_refused_with_its_place() {
    let message = |wire: &[u8]| lines(FileType::V, wire).unwrap_err().to_string();
    assert_eq!(
        message(b"\0\x02ab\0\x05abc"),
        "record 2 at offset 4 is cut short: 2 bytes are missing"
    );
    assert_eq!(
        message(b"\0\x02ab\0"),
        "record 2 at offset 4 is cut short inside its length"
    );
    let failure = lines(FileType::X, b"\0\0\0\0\0\0\0\x01a\xff\0\0\0\0\0\0\0rest").unwrap_err();
    assert_eq!(
        failure,
        Failure::TooLong {
            record: 2,
            offset: 9,
            length: 0xff << 56
        }
    );
    assert_eq!(
        failure.to_string(),
        "record 2 at offset 9 claims 18374686479671623680 bytes, more than 16777216"
    );
    for wire in [b"".as_slice(), b"a"] {
        assert_eq!(lines(FileType::F, wire), Err(Failure::NoRecordLength));
        assert_eq!(
            lines(FileType::N, wire),
            Err(Failure::NoLines {
                file_type: FileType::N
            })
        );
    }
    let fixed = TypeSpec {
        record_length: Some(4),
        ..TypeSpec::plain(FileType::F)
    };
    let failure = lines_of(&fixed, None, None, b"abcdef").unwrap_err();
    assert_eq!(
        failure,
        Failure::Truncated {
            record: 2,
            offset: 4,
            missing: 2
        }
    );
}

#[test]
fn records_without_a_page_are_read_as_what_they_look_like() {
    let read = |wire: &[u8]| lines(FileType::V, wire).unwrap();
    let (text, notes) = read(&records(&["caf\u{e9}\t1".as_bytes(), b""]));
    assert_eq!(text, "café\t1\n\n");
    assert!(notes[0].contains("UTF-8"), "{notes:?}");
    let (text, notes) = read(&records(&[b"\xc8\xc5\xd3\xd3\xd6", b"\x40\x15\x25"]));
    assert_eq!(text, "HELLO\n \u{85}\u{85}\n");
    assert!(
        notes[0].contains("IBM-1047") && notes[1].contains("U+0085"),
        "{notes:?}"
    );
    // Valid UTF-8, but with a control character; a character cut by the end of a record.
    assert_eq!(
        read(&records(&[b"\x05A"])).0,
        "\t\u{a0}".replace('\u{a0}', &Page::DEFAULT.char(b'A').to_string()) + "\n"
    );
    assert!(read(&records(&[b"a\xc3", b"\xa9"])).1[0].contains("IBM-1047"));
    assert_eq!(read(b""), (String::new(), vec![]));
    assert_eq!(read(b"\0\0"), ("\n".into(), vec![]));
}

#[test]
fn the_first_64_kib_decide_wherever_the_borders_are() {
    let text = "é".repeat(30_000);
    let mut wire = records(&[text.as_bytes(), text.as_bytes(), b"\xc8\xc5\n"]);
    let run = |wire: &[u8], piece| {
        let (mut reader, mut lines) = (Lines::new(&TypeSpec::plain(FileType::V), None, None), Vec::new());
        wire.chunks(piece)
            .for_each(|piece| reader.feed(piece, &mut lines).unwrap());
        let outcome = reader.finish(&mut lines).unwrap();
        (lines, outcome)
    };
    let whole = run(&wire, usize::MAX);
    assert!(
        whole.0.ends_with(b"\n\xc8\xc5\xc2\x85\n"),
        "what comes later is kept as it is, but forges no line"
    );
    assert_eq!(whole.1.notes.len(), 2);
    for piece in [1, 1000, 65535, 65536, 65537] {
        assert_eq!(run(&wire, piece), whole);
    }
    wire[10] = 0xff;
    assert!(run(&wire, 4096).1.notes[0].contains("IBM-1047"));
}

#[test]
fn a_page_asked_for_wins_over_the_label_and_the_label_over_the_look() {
    let v = TypeSpec::plain(FileType::V);
    let wire = records(&[b"\xba"]);
    let read = |charset, page| lines_of(&v, charset, page, &wire).unwrap();
    assert_eq!(read(None, None).0, "Ý\n");
    assert_eq!(read(Some("IBM-037"), None), ("[\n".into(), vec![]));
    assert_eq!(read(Some("IBM-037"), Some(Page::Ibm1047)), ("Ý\n".into(), vec![]));
    assert_eq!(read(Some("latin1"), None), ("º\n".into(), vec![]));
    let (text, notes) = read(Some("klingon"), None);
    assert_eq!((text.as_str(), notes.len()), ("Ý\n", 2));
    for file_type in [FileType::A, FileType::I, FileType::E, FileType::M] {
        let spec = TypeSpec::plain(file_type);
        assert_eq!(
            lines_of(&spec, None, Some(Page::Ibm037), b"\xba\x15").unwrap().0,
            "[\n"
        );
    }
    assert_eq!(lines(FileType::I, b"a\r\n").unwrap().0, "a\n");
    assert_eq!(
        lines_of(&TypeSpec::plain(FileType::I), Some("cp037"), None, b"\xba\x15")
            .unwrap()
            .0,
        "[\n"
    );
}

#[test]
fn a_charset_in_records_starts_anew_with_each() {
    let v = TypeSpec::plain(FileType::V);
    let wire = records(&[b"\x1b$B4A", b"x", b"\x82"]);
    assert_eq!(
        lines_of(&v, Some("iso-2022-jp"), None, &wire).unwrap().0,
        "漢\nx\n\u{fffd}\n"
    );
    let (text, notes) = lines_of(&v, Some("utf-16be"), None, &records(&[b"\0a\0\n\0b", b"\0"])).unwrap();
    assert_eq!(text, "a\u{85}b\n\u{fffd}\n");
    assert_eq!(notes.len(), 2);
}

#[test]
fn what_is_odd_about_lines_sent_as_records_is_noted() {
    let (wire, report) = encode(FileType::V, None, b"a\r\n\r\nb").unwrap();
    assert_eq!(wire, records(&[b"a\r", b"\r", b"b"]));
    assert!(report.notes[0].starts_with("2 lines with a CR") && report.notes[1].contains("no line end"));
    assert_eq!(
        encode(FileType::V, None, b"").unwrap(),
        (vec![], Report::default())
    );
}

#[test]
fn a_line_that_no_record_can_hold_does_not_fit() {
    let long = [b"ok\n".as_slice(), &vec![b'x'; 65535]].concat();
    assert_eq!(encode(FileType::V, None, &long).unwrap().0.len(), 4 + 2 + 65535);
    let longer = [long.as_slice(), b"x\n"].concat();
    let misfit = Misfit::LineTooLong {
        line: 2,
        limit: 65535,
    };
    assert_eq!(encode(FileType::V, None, &longer), Err(misfit.clone()));
    assert_eq!(encode(FileType::V, Some(Page::DEFAULT), &longer), Err(misfit));
    // In the page it is shorter than in UTF-8: what counts is what is sent.
    let accented = "é".repeat(65535);
    assert!(encode(FileType::V, Some(Page::DEFAULT), accented.as_bytes()).is_ok());
    assert!(encode(FileType::V, None, accented.as_bytes()).is_err());
    assert_eq!(
        encode(FileType::F, None, b"abcde"),
        Err(Misfit::LineTooLong { line: 1, limit: 4 })
    );
    for length in [None, Some(0), Some(65536)] {
        let encoder = Encoder::new(FileType::F, None, Policy::Refuse, length);
        assert_eq!(encoder.finish(&mut vec![]), Err(Misfit::NoRecordLength));
    }
}

#[test]
fn a_misfit_in_a_record_is_named_with_line_and_column() {
    let misfit = encode(FileType::V, Some(Page::DEFAULT), "a\nb€\n".as_bytes()).unwrap_err();
    assert_eq!(
        misfit,
        Misfit::Character {
            line: 2,
            column: 2,
            character: '€',
            page: Page::DEFAULT
        }
    );
    let misfit = encode(FileType::V, Some(Page::DEFAULT), b"a\n\xc3\n").unwrap_err();
    assert_eq!(
        misfit,
        Misfit::Byte {
            line: 2,
            column: 1,
            byte: 0xc3
        }
    );
}

#[test]
fn substitutions_are_counted_in_the_report() {
    let mut encoder = Encoder::new(FileType::E, None, Policy::of(true, true), None);
    let mut wire = Vec::new();
    encoder.feed("“漢”".as_bytes(), &mut wire).unwrap();
    let report = encoder.finish(&mut wire).unwrap();
    assert_eq!((report.substituted, report.transliterated), (1, 2));
    assert_eq!(
        report.notes,
        ["1 character replaced by SUB", "2 characters written as others"]
    );
}

#[test]
fn a_changed_local_form_is_not_restored() {
    let mut restorer = Restorer::new(&TypeSpec::plain(FileType::E), None);
    assert!(restorer.feed("漢".as_bytes(), &mut vec![]).is_err());
    let mut restorer = Restorer::new(&TypeSpec::plain(FileType::E), None);
    restorer.feed(b"\xc3", &mut vec![]).unwrap();
    assert!(restorer.finish(&mut vec![]).is_err());
}

/// The bodies of the fuzz targets on the known answers, under every choice of type, charset, page and policy.
#[test]
fn the_fuzz_bodies_hold_on_their_seeds() {
    let seeds: [&[u8]; 7] = [
        b"",
        b"a\r\nb\r\r\n\nc\r",
        b"\xc8\xc5\xd3\xd3\xd6\x15\xe6\x25\x0e\x04",
        b"\0\x04rec1\0\0\0\x07record3",
        b"\0\0\0\0\0\0\0\x02a\n",
        "é€“\u{85}漢\n\u{feff}x".as_bytes(),
        b"\xfe\xff\0\r\0\n\xd8\0\xff\x80\x1b$B4A",
    ];
    for seed in seeds {
        for kind in 0..9 {
            for other in 0..=46_u8 {
                for pieces in [0, 1, 0x22] {
                    let head = [kind, other % 12, other, other.wrapping_mul(7), pieces, pieces];
                    let data = [&head, seed].concat();
                    bodies::decode(&data);
                    bodies::encode(&data);
                    bodies::lines(&data);
                }
            }
        }
    }
}

/// Bytes in which the interesting ones are frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => any::<u8>(),
        2 => Just(b'\r'),
        3 => Just(b'\n'),
        1 => Just(0),
        1 => Just(0xc3),
        4 => b' '..b'~',
    ];
    prop_oneof![
        proptest::collection::vec(byte, 0..400),
        proptest::collection::vec(prop_oneof![9 => b' '..b'~', 1 => Just(b'\n')], 0..3000),
        any::<String>().prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_wire_form_at_any_borders(head: [u8; 6], wire in bytes()) {
        bodies::decode(&[&head, wire.as_slice()].concat());
    }

    #[test]
    fn any_local_file_at_any_borders(head: [u8; 6], local in bytes()) {
        bodies::encode(&[&head, local.as_slice()].concat());
    }

    #[test]
    fn any_records_at_any_borders(head: [u8; 6], wire in bytes(), parts in proptest::collection::vec(bytes(), 0..5)) {
        bodies::lines(&[&head, wire.as_slice()].concat());
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        bodies::lines(&[&[5, head[1], head[2], head[3], head[4], head[5]], records(&parts).as_slice()].concat());
    }
}
