//! What must hold for any bytes given to `canon::netdata`. The first bytes of the data choose limits and pieces.
//!
//! Included by the fuzz targets and by the tests of `canon::netdata`, which run the same bodies on the known answers and
//! on damaged ones. Whoever includes it has a `canon` beside it.

use super::canon::netdata::{
    AckRequest, Contents, Error, Fate, FileKind, FileSpec, Format, Limits, Name, Newline, OctetRecords,
    Party, Plan, Receipt, Stamp, Style, Summary, Survey, TextRecords, Writer, decode,
};
use super::canon::{Page, Policy};

/// Any bytes to a reader: the outcome does not depend on the pieces, a fault has a place, and nothing comes out that did
/// not go in.
pub(crate) fn read(data: &[u8]) {
    let Some((head, wire)) = data.split_first_chunk::<2>() else {
        return;
    };
    let [choice, piece] = head.map(usize::from);
    let limits = match choice % 4 {
        0 => Limits {
            record: 300,
            control: 200,
            controls: 600,
            units: 12,
            files: 1,
            records: 20,
            total: 1000,
            members: 3,
        },
        _ => Limits::default(),
    };
    read_with(wire, 1 + piece % 97, limits);
}

pub(crate) fn read_with(wire: &[u8], piece: usize, limits: Limits) {
    let whole = survey(wire, usize::MAX, limits);
    assert_eq!(whole, survey(wire, piece, limits));
    answered(wire);
    let contents = decode(wire, limits);
    match (&whole, &contents) {
        (Ok(summary), Ok(contents)) => agree(summary, contents, wire),
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            assert!(one.offset <= wire.len() as u64 && one.record > 0, "{one}");
        }
        _ => panic!("{whole:?} {contents:?}"),
    }
}

/// What is a receipt asks for none, and what asks for one gets one that can be read.
fn answered(wire: &[u8]) {
    let wanted = Receipt::wanted(wire, Fate::Received);
    if let Some(receipt) = Receipt::of_stream(wire) {
        assert_eq!(wanted, None);
        receipt_comes_back(&receipt);
    }
    wanted.iter().for_each(receipt_comes_back);
}

fn survey(wire: &[u8], piece: usize, limits: Limits) -> Result<Summary, Error> {
    let mut survey = Survey::new(limits);
    for piece in wire.chunks(piece) {
        survey.feed(piece)?;
    }
    survey.finish()
}

fn agree(summary: &Summary, contents: &Contents, wire: &[u8]) {
    assert_eq!(
        (&summary.header, &summary.receipt),
        (&contents.header, &contents.receipt)
    );
    assert_eq!(summary.files.len(), contents.files.len());
    let mut bytes = 0;
    for (summary, file) in summary.files.iter().zip(&contents.files) {
        assert_eq!(
            (&summary.info, summary.tally, summary.is_text),
            (&file.info, file.tally, file.is_text)
        );
        assert_eq!(file.records().count() as u64, file.tally.records);
        assert_eq!(file.octets().len() as u64, file.tally.bytes);
        bytes += file.octets().len();
        let text = file.text(Page::DEFAULT, Newline::Lf);
        assert_eq!(text.matches('\n').count() as u64, file.tally.records);
        if file.info.kind == FileKind::Library {
            let members = file.members();
            match (summary.library.as_ref().expect("a library"), &members) {
                (Ok(library), Ok(members)) => {
                    assert_eq!(library.tally.members, members.len() as u64);
                    let sum: usize = members.iter().map(|member| member.octets().len()).sum();
                    assert!(sum <= file.octets().len());
                }
                (Err(one), Err(other)) => assert_eq!(one, other),
                (summary, _) => panic!("{summary:?} {members:?}"),
            }
        }
        if let Some(receipt) = Receipt::of(&contents.header, &file.info, Fate::Deleted) {
            receipt_comes_back(&receipt);
        }
    }
    assert!(bytes <= wire.len());
    if let Some(receipt) = &contents.receipt {
        receipt_comes_back(receipt);
    }
}

fn party() -> Party {
    Party::new("ALICE", "NODEA").expect("a party")
}

fn stamp() -> Stamp {
    Stamp::from_ebcdic(&[0xf2; 14]).expect("a stamp")
}

/// Whatever the name was, what is sent back is the same bytes.
fn receipt_comes_back(receipt: &Receipt) {
    let mut wire = Vec::new();
    receipt.write(&party(), &party(), &stamp(), &mut wire);
    assert_eq!(wire.len() % 80, 0);
    let back = decode(&wire, Limits::default())
        .expect("our own receipt")
        .receipt
        .expect("a receipt");
    assert_eq!((&back.sent, &back.ack), (&receipt.sent, &receipt.ack));
    let mut again = Vec::new();
    back.write(&party(), &party(), &stamp(), &mut again);
    assert_eq!(wire, again);
}

/// What is written is read back: records of any bytes in files of any format, text, and octets.
pub(crate) fn round_trip(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let [style, length, lengths, piece] = *head;
    records_come_back(style, length, lengths, usize::from(piece) + 1, rest);
    octets_come_back(style, usize::from(length) + 1, usize::from(piece) + 1, rest);
    if let Ok(text) = std::str::from_utf8(rest) {
        text_comes_back(style, usize::from(piece) + 1, text);
    }
}

fn plan(choices: u8, formats: &[Format]) -> Plan {
    let style = if choices & 1 == 0 { Style::Cms } else { Style::Tso };
    let mut plan = Plan::new(party(), party(), stamp(), style);
    plan.pad = choices & 2 == 0;
    plan.ack = (choices & 4 != 0).then(|| AckRequest::new(&[choices; 3]));
    let name = match style {
        Style::Cms => Name::cms("FILE", "TEXT"),
        Style::Tso => Name::dataset("A.FILE.TEXT"),
    };
    let mut note = choices & 8 != 0;
    for format in formats {
        let name = (!std::mem::take(&mut note)).then(|| name.clone().expect("a name"));
        plan.files.push(FileSpec::new(name, *format));
    }
    plan
}

fn records_come_back(choices: u8, length: u8, lengths: u8, piece: usize, data: &[u8]) {
    let length = u32::from(length) * 4 + 1;
    let formats = [
        Format::variable(length),
        Format::fixed_octets(length),
        Format::fixed_text(length),
    ];
    let plan = plan(choices, &formats);
    let mut files: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut rest = data;
    for format in formats {
        let mut records = Vec::new();
        let most = 1 + data.len() / 3;
        let mut taken = 0;
        while taken < most && !rest.is_empty() {
            let want = usize::from(lengths ^ rest[0]) * 5 % (length as usize + 1);
            let (record, after) = rest.split_at(want.max(1).min(rest.len()).min(length as usize));
            taken += record.len();
            // Every so often an empty one.
            let record = if record[0] == lengths { &[] } else { record };
            let mut record = record.to_vec();
            if format == Format::fixed_text(length) {
                record.resize(length as usize, 0x40);
            }
            records.push(record);
            rest = after;
        }
        files.push(records);
    }

    let mut wire = Vec::new();
    let mut writer = Writer::new(&plan).expect("a plan");
    for records in &files {
        writer.start(&mut wire).expect("a file");
        for record in records {
            writer.record(record, &mut wire).expect("a record");
        }
    }
    writer.finish(&mut wire).expect("the end");
    if plan.pad {
        assert_eq!(wire.len() % 80, 0);
    }

    read_with(&wire, piece, Limits::default());
    let contents = decode(&wire, Limits::default()).expect("our own stream");
    assert_eq!(
        (&contents.header.from, contents.header.files),
        (&plan.from, Some(3))
    );
    assert_eq!(contents.header.ack, plan.ack);
    for ((file, records), spec) in contents.files.iter().zip(&files).zip(&plan.files) {
        assert_eq!(file.info.name, spec.name);
        assert_eq!(file.info.kind == FileKind::Note, spec.name.is_none());
        assert!(file.records().eq(records.iter().map(Vec::as_slice)));
        assert_eq!((file.tally.blocks, file.tally.headers, file.tally.odd), (0, 0, 0));
    }
}

fn octets_come_back(choices: u8, length: usize, piece: usize, data: &[u8]) {
    let length = u32::try_from(length).expect("a length");
    let format = if choices & 16 == 0 {
        Format::variable(length)
    } else {
        Format::fixed_octets(length)
    };
    let mut wire = Vec::new();
    let mut writer = Writer::new(&plan(choices, &[format])).expect("a plan");
    writer.start(&mut wire).expect("a file");
    let mut octets = OctetRecords::new();
    for piece in data.chunks(piece) {
        octets.feed(piece, &mut writer, &mut wire).expect("octets");
    }
    octets.finish(&mut writer, &mut wire).expect("the last");
    writer.finish(&mut wire).expect("the end");
    let contents = decode(&wire, Limits::default()).expect("our own stream");
    assert_eq!(contents.files[0].octets(), data);
}

/// Text comes back line by line; a line of one blank is an empty line, and fixed records have no blanks at the end.
fn text_comes_back(choices: u8, piece: usize, text: &str) {
    let fixed = choices & 16 != 0;
    let format = if fixed {
        Format::fixed_text(200)
    } else {
        Format::variable(200)
    };
    let run = |piece: usize| {
        let mut wire = Vec::new();
        let mut writer = Writer::new(&plan(choices, &[format])).expect("a plan");
        writer.start(&mut wire).expect("a file");
        let mut records = TextRecords::new(Page::DEFAULT, Policy::Refuse, 65_535);
        for piece in text.as_bytes().chunks(piece) {
            records.feed(piece, &mut writer, &mut wire)?;
        }
        records.finish(&mut writer, &mut wire)?;
        writer.finish(&mut wire)?;
        Ok(wire)
    };
    let whole: Result<Vec<u8>, super::canon::netdata::WriteError> = run(usize::MAX);
    assert_eq!(whole, run(piece));
    let Ok(wire) = whole else { return };
    let contents = decode(&wire, Limits::default()).expect("our own stream");
    let back = contents.files[0].text(Page::DEFAULT, Newline::Lf);
    let mut want = String::new();
    for line in text.split_terminator('\n') {
        want += match fixed {
            true => line.trim_end_matches(' '),
            false if line == " " => "",
            false => line,
        };
        want.push('\n');
    }
    assert_eq!(back, want);
}
