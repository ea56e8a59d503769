//! Streams made to do harm: lengths and counts that promise more than there is, records inside records, and more of
//! everything than anyone needs.

use super::tests::{bodies, contents, fault, file, stream};
use super::unit::ControlBuilder;
use super::*;

/// A control record of these bytes, inside an otherwise good stream.
fn with_control(record: &[u8]) -> Vec<u8> {
    stream(|wire| write_segments(record, true, wire))
}

fn inmr02(units: &[u8]) -> Vec<u8> {
    [b"\xc9\xd5\xd4\xd9\xf0\xf2\0\0\0\x01".as_slice(), units].concat()
}

#[test]
fn text_units_that_promise_more_than_there_is_are_refused() {
    let overrun = |key| Fault::UnitOverrun {
        key,
        record: ControlKind::Inmr02,
    };
    for (units, key) in [
        (b"\x10".as_slice(), 0),
        (b"\x10\x28\x00", 0x1028),
        (b"\x10\x28\x00\x01", 0x1028),
        (b"\x10\x28\x00\x01\x00\x02\xc9", 0x1028),
        (b"\x10\x28\xff\xff\x00\x00\x00\x00", 0x1028),
        (b"\x10\x28\x00\x01\xff\xff\xc9", 0x1028),
        (b"\x00\x28\x00\x00\x10\x28\x00\x02\x00\x00", 0x1028),
    ] {
        assert_eq!(fault(&with_control(&inmr02(units))), overrun(key), "{units:02x?}");
    }
    assert_eq!(
        fault(&with_control(b"\xc9\xd5\xd4")),
        Fault::ControlTooShort { length: 3 }
    );
    assert_eq!(
        fault(&with_control(&inmr02(b"")[..8])),
        Fault::ControlTooShort { length: 8 }
    );
    assert_eq!(fault(&with_control(b"")), Fault::ControlTooShort { length: 0 });
}

#[test]
fn too_many_of_anything_is_refused() {
    let limits = Limits::default();
    let too_many = |what, limit: u64| Fault::TooMany { what, limit };
    let units = b"\x7a\xbc\x00\x00".repeat(65_535);
    assert_eq!(
        fault(&with_control(&inmr02(&units))),
        Fault::RecordTooLong { limit: 65_536 }
    );
    let units = &units[..60_000];
    let what = "text units in a control record";
    assert_eq!(
        fault(&with_control(&inmr02(units))),
        too_many(what, limits.units as u64)
    );
    // As many values as fit into one unit are no harm.
    let values = [b"\x10\x29\x7f\x00".as_slice(), &[0; 2 * 0x7f00]].concat();
    let wire = stream(|wire| {
        write_segments(
            &[b"\xc9\xd5\xd4\xd9\xf0\xf4", values.as_slice()].concat(),
            true,
            wire,
        )
    });
    assert!(contents(&wire).files.is_empty());

    let many = stream(|wire| {
        let record = [
            b"\xc9\xd5\xd4\xd9\xf0\xf4\x10\x29\x00\x01\xfd\xe8".as_slice(),
            &[0; 65_000],
        ]
        .concat();
        (0..20).for_each(|_| write_segments(&record, true, wire));
    });
    assert_eq!(
        fault(&many),
        too_many("bytes of control records", limits.controls as u64)
    );

    let files = stream(|wire| (1..=17).for_each(|number| file(number, &[], &[], wire)));
    assert_eq!(fault(&files), too_many("files", 16));
    let mut declared = Vec::new();
    ControlBuilder::new(ControlKind::Inmr01)
        .one(Key::INMNUMF, &[0xff; 8])
        .write(&mut declared);
    (1..=1025).for_each(|number| file(number, &[], &[], &mut declared));
    assert_eq!(fault(&declared), too_many("files", 1024));
    let mut declared = Vec::new();
    ControlBuilder::new(ControlKind::Inmr01)
        .one(Key::INMNUMF, &[1])
        .write(&mut declared);
    (1..=2).for_each(|number| file(number, &[], &[], &mut declared));
    assert_eq!(fault(&declared), too_many("files", 1));

    let wire = stream(|wire| file(1, &[], &[b"abc", b"def"], wire));
    for (limits, fault) in [
        (Limits { records: 1, ..limits }, too_many("records", 1)),
        (Limits { total: 5, ..limits }, too_many("bytes of records", 5)),
        (Limits { record: 2, ..limits }, Fault::RecordTooLong { limit: 2 }),
    ] {
        bodies::read_with(&wire, 2, limits);
        assert_eq!(decode(&wire, limits).unwrap_err().fault, fault);
    }
}

#[test]
fn long_records_come_out_whole_up_to_the_limit() {
    let record: Vec<u8> = (0..200_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let wire = stream(|wire| file(1, &[], &[&record, b"", &record], wire));
    assert!(
        contents(&wire).files[0]
            .records()
            .eq([record.as_slice(), b"", &record])
    );
    let limits = Limits {
        record: 199_999,
        ..Limits::default()
    };
    let error = decode(&wire, limits).unwrap_err();
    assert_eq!(
        (error.fault, error.record),
        (Fault::RecordTooLong { limit: 199_999 }, 4)
    );
}

#[test]
fn lengths_of_records_and_sizes_are_hints_that_size_nothing() {
    for lrecl in [
        [0_u8; 8],
        [0xff; 8],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ] {
        let units: [(Key, &[u8]); 4] = [
            (Key::INMRECFM, &[0x90, 0]),
            (Key::INMLRECL, &lrecl),
            (Key::INMSIZE, &[0xff; 8]),
            (Key::INMBLKSZ, &[0xff; 8]),
        ];
        let wire = stream(|wire| file(1, &units, &[&[0xc1; 1000]], wire));
        let records = if lrecl[7] == 1 && lrecl[4] == 0 { 1000 } else { 1 };
        assert_eq!(contents(&wire).files[0].tally.records, records);
    }
}

#[test]
fn a_record_inside_another_or_out_of_place_is_refused() {
    let inside = |bytes: &[u8]| {
        let mut wire = stream(|wire| file(1, &[], &[], wire));
        wire.truncate(wire.len() - 8);
        wire.extend_from_slice(bytes);
        fault(&wire)
    };
    // A control record inside a data record, and the other way round.
    assert_eq!(
        inside(b"\x03\x80\xc1\x08\xe0\xc9\xd5\xd4\xd9\xf0\xf6"),
        Fault::RecordInRecord
    );
    assert_eq!(
        inside(b"\x03\x80\xc1\x08\x60\xc9\xd5\xd4\xd9\xf0\xf6"),
        Fault::Mixed
    );
    assert_eq!(inside(b"\x03\xa0\xc9\x03\x40\xd5"), Fault::Mixed);
    assert_eq!(inside(b"\x03\xa0\xc9\x03\xa0\xc9"), Fault::RecordInRecord);
    assert_eq!(inside(b"\x03\x00\xc9"), Fault::NothingToContinue);

    assert_eq!(
        fault(&stream(|wire| write_segments(b"data", false, wire))),
        Fault::DataOutsideFile
    );
    let nobody = stream(|wire| ControlBuilder::new(ControlKind::Inmr03).write(wire));
    assert_eq!(fault(&nobody), Fault::Undescribed { file: 1 });
    let misplaced = |wire: &[u8]| match fault(wire) {
        Fault::Misplaced { record, .. } => record,
        other => panic!("{other}"),
    };
    let twice = stream(|wire| ControlBuilder::new(ControlKind::Inmr01).write(wire));
    assert_eq!(misplaced(&twice), ControlKind::Inmr01);
    let late = stream(|wire| {
        file(1, &[], &[], wire);
        file(1, &[], &[], wire);
    });
    assert_eq!(misplaced(&late), ControlKind::Inmr02);
    let no_data = stream(|wire| ControlBuilder::new(ControlKind::Inmr02).file(1).write(wire));
    assert_eq!(misplaced(&no_data), ControlKind::Inmr06);
    let receipt = |wire: &mut Vec<u8>| ControlBuilder::new(ControlKind::Inmr07).write(wire);
    for wire in [
        stream(|wire| {
            receipt(wire);
            receipt(wire);
        }),
        stream(|wire| {
            file(1, &[], &[], wire);
            receipt(wire);
        }),
    ] {
        assert_eq!(misplaced(&wire), ControlKind::Inmr07);
    }
    let after = stream(|wire| {
        receipt(wire);
        file(1, &[], &[], wire);
    });
    assert_eq!(misplaced(&after), ControlKind::Inmr02);
}

#[test]
fn unknown_programs_and_ciphers_are_told_and_left_as_they_are() {
    let block = [0xc1; 160];
    let kind = |utility: &[u8]| {
        let units: [(Key, &[u8]); 3] = [
            (Key::INMUTILN, utility),
            (Key::INMRECFM, &[0x90, 0]),
            (Key::INMLRECL, &[80]),
        ];
        let wire = stream(|wire| file(1, &units, &[&block], wire));
        let file = contents(&wire).files.remove(0);
        (file.info.kind, file.tally.records, file.is_text)
    };
    assert_eq!(
        kind(b"\xc9\xd5\xd4\xc3\xd6\xd7\xe8\x40"),
        (FileKind::Sequential, 2, true)
    );
    assert_eq!(
        kind(b"\xc1\xd4\xe2\xc3\xc9\xd7\xc8\xd9"),
        (FileKind::Encrypted, 1, false)
    );
    assert_eq!(
        kind(b"\xc1\xd4\xe2\xd9\xc5\xd7\xd9\xd6"),
        (FileKind::Encrypted, 1, false)
    );
    assert_eq!(kind(b"\xe7\xe8\xe9"), (FileKind::Foreign("XYZ".into()), 1, false));
}

#[test]
fn a_receipt_without_a_name_or_with_an_empty_id_says_what_it_can() {
    let wire = stream(|wire| {
        ControlBuilder::new(ControlKind::Inmr07)
            .one(Key::INMFACK, b"")
            .one(Key::INMERRCD, b"\xd5\xd6")
            .write(wire);
    });
    let fate = Fate::Other("NO".into());
    let (sent, name, ack) = (None, None, None);
    assert_eq!(
        contents(&wire).receipt,
        Some(Receipt {
            sent,
            name,
            ack,
            fate
        })
    );
}

#[test]
fn headers_of_variable_records_are_taken_off_if_they_add_up() {
    let two = b"\x00\x05\x00\x00\xc1\x00\x06\x00\x00\xc2\xc3";
    let run = |recfm: [u8; 2], record: &[u8]| {
        let wire = stream(|wire| file(1, &[(Key::INMRECFM, &recfm)], &[record], wire));
        let file = contents(&wire).files.remove(0);
        let records: Vec<Vec<u8>> = file.records().map(<[u8]>::to_vec).collect();
        (records, file.tally.headers)
    };
    assert_eq!(
        run([0x50, 0x00], two),
        (vec![b"\xc1".to_vec(), b"\xc2\xc3".to_vec()], 1)
    );
    assert_eq!(run([0x50, 0x02], two), (vec![two.to_vec()], 0));
    assert_eq!(run([0xc0, 0x00], two), (vec![two.to_vec()], 0));
    assert_eq!(run([0x50, 0x00], &two[1..]), (vec![two[1..].to_vec()], 0));
    assert_eq!(run([0x50, 0x00], b"\x00\x04\x00\x00"), (vec![vec![]], 1));
}
