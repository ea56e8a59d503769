//! Libraries: unloads built by hand, good and damaged.

use super::tests::{contents, file, stream};
use super::*;

const CMS: [u8; 4] = [0; 4];

/// An unload in the making. The library begins on cylinder 2, track 3 of a disk of 15 tracks a cylinder, and goes on
/// elsewhere after 4 tracks.
struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    fn new(recfm: u8, lrecl: u16, pdse: bool) -> Builder {
        let mut copyr1 = [0; 56];
        copyr1[0] = u8::from(pdse);
        copyr1[1..4].copy_from_slice(&[0xca, 0x6d, 0x0f]);
        copyr1[8..10].copy_from_slice(&lrecl.to_be_bytes());
        copyr1[10] = recfm;
        copyr1[26..28].copy_from_slice(&15_u16.to_be_bytes());
        let mut copyr2 = [0; 276];
        copyr2[16 + 6..16 + 10].copy_from_slice(&[0, 2, 0, 3]);
        copyr2[16 + 14..16 + 16].copy_from_slice(&[0, 4]);
        copyr2[32 + 6..32 + 10].copy_from_slice(&[0, 9, 0, 0]);
        copyr2[32 + 14..32 + 16].copy_from_slice(&[0, 10]);
        Builder {
            bytes: [copyr1.as_slice(), &copyr2].concat(),
        }
    }

    fn block(mut self, flags: u8, place: [u8; 5], key: &[u8], data: &[u8]) -> Builder {
        self.bytes.extend_from_slice(&[flags, 0, 0, 0]);
        self.bytes.extend_from_slice(&place);
        self.bytes.push(key.len() as u8);
        self.bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(data);
        self
    }

    /// A directory block of entries: name, place, alias.
    fn directory(self, entries: &[(&str, [u8; 3], bool)], last: bool) -> Builder {
        let mut data = vec![0, 0];
        for (name, ttr, alias) in entries {
            let mut field = super::name::to_ebcdic(name);
            field.resize(8, 0x40);
            data.extend_from_slice(&field);
            data.extend_from_slice(ttr);
            data.push(if *alias { 0x81 } else { 0x01 });
            data.extend_from_slice(&[0, 0]);
        }
        if last {
            data.extend_from_slice(&[0xff; 8]);
            data.extend_from_slice(&CMS);
        }
        let used = data.len() as u16;
        data[..2].copy_from_slice(&used.to_be_bytes());
        data.resize(256, 0);
        let block = self.block(0, [0; 5], &[0xff; 8], &data);
        if last {
            block.block(0, [0; 5], b"", b"")
        } else {
            block
        }
    }

    fn members(&self) -> Result<Vec<MemberContents>, Fault> {
        members(&self.bytes)
    }
}

/// The members of a library sent in records of various lengths.
fn members(bytes: &[u8]) -> Result<Vec<MemberContents>, Fault> {
    let run = |length: usize| {
        let units: [(Key, &[u8]); 1] = [(Key::INMUTILN, b"\xc9\xc5\xc2\xc3\xd6\xd7\xe8")];
        let records: Vec<&[u8]> = bytes.chunks(length).collect();
        let wire = stream(|wire| file(1, &units, &records, wire));
        contents(&wire).files[0].members()
    };
    let whole = run(100_000);
    for length in [1, 13, 80] {
        assert_eq!(run(length), whole);
    }
    whole
}

fn names(members: &[MemberContents]) -> Vec<String> {
    let shown = |member: &MemberContents| match member.member.aliases.as_slice() {
        [] => format!("{:?}", member.member.name),
        aliases => format!("{:?} {aliases:?}", member.member.name),
    };
    members.iter().map(shown).collect()
}

fn fixed() -> Builder {
    Builder::new(0x90, 3, false)
        .directory(&[("ALPHA", [0, 1, 1], false), ("ALSO", [0, 4, 2], true)], false)
        .directory(&[("BETA", [0, 4, 2], false), ("EMPTY", [0, 5, 1], false)], true)
}

#[test]
fn members_are_found_by_their_place_whatever_their_order() {
    let library = fixed()
        // Track 4 of the library is the first of its second extent.
        .block(0, [0, 9, 0, 0, 2], b"", b"\xc1\xc2\xc3\xc4\xc5\xc6")
        .block(0, [0, 9, 0, 0, 3], b"", b"\xc7\xc8\xc9")
        .block(0, [0, 9, 0, 0, 4], b"", b"")
        .block(0, [0, 2, 0, 4, 1], b"", b"\xd1\xd2\xd3\xd4")
        .block(0, [0, 2, 0, 4, 2], b"", b"")
        .block(0, [0, 9, 0, 1, 1], b"", b"");
    let members = library.members().unwrap();
    assert_eq!(
        names(&members),
        ["Some(\"BETA\") [\"ALSO\"]", "Some(\"ALPHA\")", "Some(\"EMPTY\")"]
    );
    let records: Vec<&[u8]> = members[0].records().collect();
    assert_eq!(records, [b"\xc1\xc2\xc3", b"\xc4\xc5\xc6", b"\xc7\xc8\xc9"]);
    assert_eq!(
        members[0].text(crate::canon::Page::DEFAULT, Newline::Lf),
        "ABC\nDEF\nGHI\n"
    );
    assert_eq!(members[1].octets(), b"\xd1\xd2\xd3\xd4");
    assert_eq!(members[2].records().count(), 0);
    assert!(members.iter().all(|member| member.is_text));
}

#[test]
fn members_out_of_the_extents_go_by_order_and_the_rest_has_no_name() {
    let far = |record| [0x7f, 0xff, 0x7f, 0xff, record];
    let library = (0..5).fold(fixed(), |library, n| {
        library
            .block(0, far(2 * n), b"", &[0xc1 + n])
            .block(0, far(2 * n + 1), b"", b"")
    });
    let members = library.members().unwrap();
    let want = [
        "Some(\"ALPHA\")",
        "Some(\"BETA\") [\"ALSO\"]",
        "Some(\"EMPTY\")",
        "None",
        "None",
    ];
    assert_eq!(names(&members), want);
    assert!(
        members
            .iter()
            .zip(0..)
            .all(|(member, n)| member.octets() == [0xc1 + n])
    );
}

#[test]
fn attributes_of_a_pdse_are_no_data_and_keys_are_no_data_either() {
    let library = Builder::new(0xc0, 0, true)
        .directory(&[("MODULE", [0, 1, 1], false)], true)
        .block(0x04, [0, 2, 0, 4, 1], b"", b"attributes")
        .block(0, [0, 2, 0, 4, 1], b"KEY", b"\x01\x02")
        .block(0x04, [0, 2, 0, 4, 1], b"", b"")
        .block(0, [0, 2, 0, 4, 2], b"", b"\x03")
        .block(0, [0, 2, 0, 4, 3], b"", b"");
    let members = library.members().unwrap();
    assert!(members[0].records().eq([b"\x01\x02".as_slice(), b"\x03"]));
    assert!(!members[0].is_text, "a load module stays binary");
}

#[test]
fn variable_records_are_taken_out_of_their_blocks() {
    let place = |n| [0, 2, 0, 4, n];
    let library = |recfm: u8, blocks: &[&[u8]]| {
        let start = Builder::new(recfm, 84, false).directory(&[("VB", [0, 1, 1], false)], true);
        let library = blocks.iter().zip(1..).fold(start, |library, (block, n)| {
            library.block(0, place(n), b"", block)
        });
        let members = library.block(0, place(99), b"", b"").members().unwrap();
        members[0].records().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let with_length = b"\x00\x0d\x00\x00\x00\x05\x00\x00\xc1\x00\x04\x00\x00";
    assert_eq!(
        library(0x50, &[with_length, with_length]),
        [b"\xc1".to_vec(), vec![], b"\xc1".to_vec(), vec![]]
    );
    assert_eq!(library(0x50, &[&with_length[4..]]), [b"\xc1".to_vec(), vec![]]);
}

#[test]
fn spanned_records_are_put_together_over_their_blocks() {
    let first = b"\x00\x0e\x00\x00\x00\x05\x00\x00\xc1\x00\x05\x01\x00\xc2";
    let between = b"\x00\x0a\x00\x00\x00\x06\x03\x00\xc3\xc4";
    let last = b"\x00\x0d\x00\x00\x00\x05\x02\x00\xc5\x00\x04\x00\x00";
    let library = |blocks: &[&[u8]]| {
        let start = Builder::new(0x58, 84, false).directory(&[("VBS", [0, 1, 1], false)], true);
        let library = blocks.iter().zip(1..).fold(start, |library, (block, n)| {
            library.block(0, [0, 2, 0, 4, n], b"", block)
        });
        let library = library.block(0, [0, 2, 0, 4, 99], b"", b"");
        let members = library.members().unwrap();
        let records: Vec<Vec<u8>> = members[0].records().map(<[u8]>::to_vec).collect();
        let mut unload = Unload::new(Limits::default());
        let mut rest = library.bytes.as_slice();
        while unload.next(&mut rest).unwrap().is_some() {}
        let tally = unload.finish().unwrap();
        (records, (tally.odd, tally.broken))
    };
    let (one, joined) = (b"\xc1".to_vec(), b"\xc2\xc3\xc4\xc5".to_vec());
    assert_eq!(
        library(&[first, between, last]),
        (vec![one.clone(), joined, vec![]], (0, 0))
    );
    // A part is missing: what there is comes all the same.
    let (cut, alone) = (b"\xc2".to_vec(), b"\xc5".to_vec());
    assert_eq!(library(&[first]), (vec![one.clone(), cut.clone()], (0, 1)));
    assert_eq!(
        library(&[first, first]),
        (vec![one.clone(), cut.clone(), one, cut], (0, 2))
    );
    assert_eq!(library(&[last]), (vec![alone, vec![]], (0, 1)));
    // Without its end mark nobody knows that nothing follows.
    let unended = Builder::new(0x58, 84, false)
        .directory(&[("VBS", [0, 1, 1], false)], true)
        .block(0, [0, 2, 0, 4, 1], b"", first);
    let what = "a record";
    assert_eq!(unended.members(), Err(UnloadFault::Truncated { what }.into()));
    // No segments at all.
    assert_eq!(library(&[b"\x00"]), (vec![vec![0]], (1, 0)));
}

#[test]
fn a_damaged_library_is_an_error_and_the_stream_is_not() {
    // The entry that ends the directory is in its second block; without data, its members are missing, and counted.
    const DIRECTORY: usize = 56 + 276 + 2 * (12 + 8 + 256);
    let good = fixed()
        .block(0, [0, 2, 0, 4, 1], b"", b"\xc1")
        .block(0, [0, 2, 0, 4, 2], b"", b"");
    for cut in 0..good.bytes.len() {
        match members(&good.bytes[..cut]) {
            Ok(members) => assert!(cut >= DIRECTORY && members.len() <= 1, "{cut}"),
            Err(fault) => assert!(
                matches!(fault, Fault::Unload(UnloadFault::Truncated { .. })),
                "{cut}"
            ),
        }
    }
    let unload = |fault| Err(Fault::Unload(fault));
    assert_eq!(members(&[0; 1000]), unload(UnloadFault::NoHeader));
    let twice = good.block(0, [0, 2, 0, 4, 1], b"", b"\xc1").members();
    let name = "ALPHA".to_owned();
    assert_eq!(twice, unload(UnloadFault::MemberTwice { name }));

    let directory = |data: &[u8], key: &[u8]| {
        Builder::new(0x90, 80, false)
            .block(0, [0; 5], key, data)
            .members()
    };
    assert_eq!(
        directory(&[0; 255], &[0; 8]),
        unload(UnloadFault::DirectoryBlock { key: 8, data: 255 })
    );
    for used in [[0, 0], [0, 1], [1, 1], [0xff, 0xff], [0, 13]] {
        let mut data = [0x40; 256];
        data[..2].copy_from_slice(&used);
        assert_eq!(
            directory(&data, &[0; 8]),
            unload(UnloadFault::DirectoryOverrun),
            "{used:?}"
        );
    }
}

#[test]
fn a_directory_without_end_stops_at_the_limit() {
    let entries: Vec<(&str, [u8; 3], bool)> = (0..18).map(|_| ("SAME", [0, 1, 1], true)).collect();
    let mut library = Builder::new(0x90, 80, false);
    for _ in 0..65_535 / 18 + 2 {
        library = library.directory(&entries, false);
    }
    let units: [(Key, &[u8]); 1] = [(Key::INMUTILN, b"\xc9\xc5\xc2\xc3\xd6\xd7\xe8")];
    let wire = stream(|wire| file(1, &units, &[&library.bytes], wire));
    let fault = decode(&wire, Limits::default()).unwrap().files[0]
        .members()
        .unwrap_err();
    let (what, limit) = ("members", 65_535);
    assert_eq!(fault, Fault::TooMany { what, limit });
}

#[test]
fn every_change_of_a_byte_of_a_library_is_survived() {
    let library = fixed()
        .block(0, [0, 2, 0, 4, 1], b"K", b"\xc1\xc2")
        .block(0, [0, 2, 0, 4, 2], b"", b"");
    let mut bytes = library.bytes;
    for at in 0..bytes.len() {
        let was = bytes[at];
        for byte in [0, 1, 0x7f, 0x80, 0xff, was ^ 4, was ^ 8] {
            bytes[at] = byte;
            let mut unload = Unload::new(Limits::default());
            let mut rest = bytes.as_slice();
            let mut out = 0;
            let outcome = loop {
                match unload.next(&mut rest) {
                    Ok(Some(UnloadEvent::Record(record))) => out += record.len(),
                    Ok(Some(_)) => {}
                    Ok(None) => break unload.finish().map(|_| ()),
                    Err(fault) => break Err(fault),
                }
            };
            assert!(out <= bytes.len(), "{at} {outcome:?}");
        }
        bytes[at] = was;
    }
}
