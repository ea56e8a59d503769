//! What holds for any stream: the bodies of the fuzz targets on the known answers, whole, cut and damaged, and on
//! streams made at random. What is known of single streams is in `tests/netdata.rs`.

use proptest::prelude::*;

use super::unit::ControlBuilder;
use super::*;
use crate::canon;

#[path = "../../../fuzz/bodies/netdata.rs"]
pub(super) mod bodies;

/// The streams of `tests/vectors/netdata` by name.
pub(super) fn vectors() -> Vec<(String, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/netdata");
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "nd"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    assert_eq!(found.len(), 27);
    found
}

/// A stream of INMR01, what is given, and INMR06.
pub(super) fn stream(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut wire = Vec::new();
    ControlBuilder::new(ControlKind::Inmr01)
        .one(Key::INMLRECL, &[80])
        .write(&mut wire);
    build(&mut wire);
    ControlBuilder::new(ControlKind::Inmr06).write(&mut wire);
    wire
}

/// A file of a stream: its step, INMR03, its records.
pub(super) fn file(number: u32, units: &[(Key, &[u8])], records: &[&[u8]], wire: &mut Vec<u8>) {
    let step = ControlBuilder::new(ControlKind::Inmr02).file(number);
    let step = units
        .iter()
        .fold(step, |step, (key, value)| step.one(*key, value));
    step.write(wire);
    ControlBuilder::new(ControlKind::Inmr03).write(wire);
    for record in records {
        write_segments(record, false, wire);
    }
}

pub(super) fn fault(wire: &[u8]) -> Fault {
    bodies::read_with(wire, 3, Limits::default());
    decode(wire, Limits::default()).unwrap_err().fault
}

pub(super) fn contents(wire: &[u8]) -> Contents {
    bodies::read_with(wire, 3, Limits::default());
    decode(wire, Limits::default()).unwrap()
}

#[test]
fn the_fuzz_bodies_hold_on_their_seeds() {
    for (_, wire) in vectors() {
        for head in [[0, 0], [0, 80], [1, 0], [1, 6], [1, 79]] {
            bodies::read(&[&head, wire.as_slice()].concat());
        }
        for head in [
            [0, 20, 3, 0],
            [1, 0, 0, 6],
            [31, 255, 0x40, 255],
            [12, 63, 200, 30],
        ] {
            bodies::round_trip(&[&head, wire.as_slice()].concat());
        }
    }
    for text in [
        "",
        "\n",
        " ",
        "a\n\n \n  \nb ",
        "é\u{85}x\r\n",
        "€",
        &"x".repeat(300),
    ] {
        for choices in 0..32 {
            bodies::round_trip(&[&[choices, 0, 0, 0], text.as_bytes()].concat());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_at_any_borders(head: [u8; 2], wire in proptest::collection::vec(any::<u8>(), 0..300)) {
        bodies::read(&[&head, wire.as_slice()].concat());
        let begun = [b"\x08\xe0\xc9\xd5\xd4\xd9\xf0\xf1".as_slice(), &wire].concat();
        bodies::read(&[&head, begun.as_slice()].concat());
    }

    #[test]
    fn any_records_come_back(head: [u8; 4], data in proptest::collection::vec(any::<u8>(), 0..4000)) {
        bodies::round_trip(&[&head, data.as_slice()].concat());
    }

    #[test]
    fn any_text_comes_back(head: [u8; 4], text in "([ -~]{0,40}|[ é\u{85}\r]{0,3})(\n([ -~]{0,40}|[ é\u{85}\r]{0,3})){0,20}\n?") {
        bodies::round_trip(&[&head, text.as_bytes()].concat());
    }
}
