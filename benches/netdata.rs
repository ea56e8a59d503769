//! Speed and memory of the NETDATA reader and writer, beside `memcpy` of the same bytes on the same core.
//!
//! `cargo bench --bench netdata`. Prints a table; asserts nothing. Rates are MB of the stream a second, median of five; the
//! stream is made and read piece by piece, 256 KiB a call, as the daemon does it. With `NETDATA_GIB=10` it sends so
//! many GiB through writer and reader in one go instead, and prints the most memory the process had. With `NETDATA_PYTHON=PATH`, a
//! Python that has the package `xmi-reader`, that package reads the same streams.
//! What it does *not* measure: disks, sockets, digests.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a program for its makers"
)]

use std::hint::black_box;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use uft::canon::netdata::{
    Event, FileSpec, Format, Limits, Name, Newline, OctetRecords, Party, Plan, Reader, RecordText, Sniffer,
    Stamp, Style, Survey, TextRecords, Writer,
};
use uft::canon::{Page, Policy};

/// Bytes of a sample.
const SIZE: usize = 64 << 20;
/// Bytes a call.
const PIECE: usize = 256 << 10;
const RUNS: usize = 5;

fn main() {
    if let Some(gib) = std::env::var("NETDATA_GIB").ok().and_then(|gib| gib.parse().ok()) {
        return through(gib, &octets(1 << 20), &text(1 << 20));
    }
    let text = text(SIZE);
    let octets = octets(SIZE);
    println!("{:<52} {:>8}", "work", "MB/s");
    let rate = |bytes: usize, run: &mut dyn FnMut()| {
        let mut rates: Vec<f64> = (0..RUNS)
            .map(|_| {
                let start = Instant::now();
                run();
                bytes as f64 / start.elapsed().as_secs_f64() / 1e6
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        rates[RUNS / 2]
    };
    let row = |work: &str, bytes: usize, run: &mut dyn FnMut()| {
        println!("{work:<52} {:>8.0}", rate(bytes, run));
    };

    let mut copy = Vec::with_capacity(PIECE);
    row("memcpy", SIZE, &mut || {
        for piece in octets.chunks(PIECE) {
            copy.clear();
            copy.extend_from_slice(black_box(piece));
            black_box(&copy);
        }
    });

    let v80 = Format::variable(80);
    let f80 = Format::fixed_text(80);
    let long = Format::variable(32 << 10);
    for (title, format) in [("text, V 80", v80), ("text, F 80", f80)] {
        let mut wire = Vec::new();
        write_text(&text, format, |piece| wire.extend_from_slice(piece));
        row(&format!("{title}: encode from UTF-8"), wire.len(), &mut || {
            write_text(&text, format, |piece| _ = black_box(piece));
        });
        row(&format!("{title}: decode to records"), wire.len(), &mut || {
            read_records(&wire)
        });
        row(&format!("{title}: decode to UTF-8"), wire.len(), &mut || {
            read_text(&wire)
        });
        row(&format!("{title}: survey"), wire.len(), &mut || survey(&wire));
        peer(title, &wire);
    }
    for (title, format) in [
        ("octets, V 80", v80),
        ("octets, F 80", Format::fixed_octets(80)),
        ("octets, V 32 KiB", long),
    ] {
        let mut wire = Vec::new();
        write_octets(&octets, format, |piece| wire.extend_from_slice(piece));
        row(&format!("{title}: encode"), wire.len(), &mut || {
            write_octets(&octets, format, |piece| _ = black_box(piece));
        });
        row(&format!("{title}: decode to records"), wire.len(), &mut || {
            read_records(&wire)
        });
        row(&format!("{title}: survey"), wire.len(), &mut || survey(&wire));
        peer(title, &wire);
    }
    let mut blocked = Vec::new();
    write_octets(&octets, Format::fixed_octets(27_920), |piece| {
        blocked.extend_from_slice(piece)
    });
    // LRECL, which is what blocks are cut by, is the only number of the first file that is 27920.
    let declared = 27_920_u32.to_be_bytes();
    let at = blocked.windows(4).position(|window| window == declared).unwrap();
    blocked[at..at + 4].copy_from_slice(&80_u32.to_be_bytes());
    row(
        "octets, blocks of F 80: decode to records",
        blocked.len(),
        &mut || read_records(&blocked),
    );
}

/// Lines of 0 to 80 characters, 64 on average.
fn text(size: usize) -> Vec<u8> {
    let mut random = random();
    let mut text = Vec::with_capacity(size + 100);
    while text.len() < size {
        let length = 48 + random() % 33;
        text.extend((0..length).map(|_| b' ' + (random() >> 32) as u8 % 95));
        text.push(b'\n');
    }
    text
}

fn octets(size: usize) -> Vec<u8> {
    let mut random = random();
    (0..size).map(|_| (random() >> 32) as u8).collect()
}

fn random() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn plan(format: Format) -> Plan {
    let party = Party::new("ALICE", "NODEA").unwrap();
    let stamp = Stamp::of("2026-01-02T03:04:05Z".parse().unwrap());
    let mut plan = Plan::new(party.clone(), party, stamp, Style::Tso);
    plan.files
        .push(FileSpec::new(Some(Name::dataset("ALICE.BENCH").unwrap()), format));
    plan
}

fn write_text(text: &[u8], format: Format, mut sink: impl FnMut(&[u8])) {
    let mut writer = Writer::new(&plan(format)).unwrap();
    let mut wire = Vec::with_capacity(2 * PIECE);
    writer.start(&mut wire).unwrap();
    let mut records = TextRecords::new(Page::DEFAULT, Policy::Refuse, 65_535);
    for piece in text.chunks(PIECE) {
        records.feed(piece, &mut writer, &mut wire).unwrap();
        sink(&wire);
        wire.clear();
    }
    records.finish(&mut writer, &mut wire).unwrap();
    writer.finish(&mut wire).unwrap();
    sink(&wire);
}

fn write_octets(octets: &[u8], format: Format, mut sink: impl FnMut(&[u8])) {
    let mut writer = Writer::new(&plan(format)).unwrap();
    let mut wire = Vec::with_capacity(2 * PIECE);
    writer.start(&mut wire).unwrap();
    let mut records = OctetRecords::new();
    for piece in octets.chunks(PIECE) {
        records.feed(piece, &mut writer, &mut wire).unwrap();
        sink(&wire);
        wire.clear();
    }
    records.finish(&mut writer, &mut wire).unwrap();
    writer.finish(&mut wire).unwrap();
    sink(&wire);
}

fn each_record(wire: &[u8], mut sink: impl FnMut(&[u8])) {
    let mut reader = Reader::new(Limits::default());
    for piece in wire.chunks(PIECE) {
        let mut rest = black_box(piece);
        while let Some(event) = reader.next(&mut rest).unwrap() {
            if let Event::Record(record) = event {
                sink(record);
            }
        }
    }
    reader.finish().unwrap();
}

/// To the local form of a binary file: its octets.
fn read_records(wire: &[u8]) {
    let mut out = Vec::with_capacity(2 * PIECE);
    each_record(wire, |record| {
        out.extend_from_slice(record);
        if out.len() > PIECE {
            black_box(&out);
            out.clear();
        }
    });
}

/// To the local form of a text file: its lines.
fn read_text(wire: &[u8]) {
    let mut out = Vec::with_capacity(2 * PIECE);
    let mut reader = Reader::new(Limits::default());
    let mut text: Option<(RecordText, Sniffer)> = None;
    for piece in wire.chunks(PIECE) {
        let mut rest = black_box(piece);
        while let Some(event) = reader.next(&mut rest).unwrap() {
            match (event, &mut text) {
                (Event::FileStart(info), _) => {
                    text = Some((
                        RecordText::new(info, Page::DEFAULT, Newline::Lf),
                        Sniffer::new(info),
                    ));
                }
                (Event::Record(record), Some((text, sniffer))) => {
                    sniffer.record(record);
                    text.record(record, &mut out);
                    if out.len() > PIECE {
                        black_box(&out);
                        out.clear();
                    }
                }
                _ => {}
            }
        }
    }
    reader.finish().unwrap();
    assert!(text.is_some_and(|(_, sniffer)| sniffer.is_text()));
}

fn survey(wire: &[u8]) {
    let mut survey = Survey::new(Limits::default());
    wire.chunks(PIECE).for_each(|piece| survey.feed(piece).unwrap());
    black_box(survey.finish().unwrap());
}

/// What the Python package makes of the same stream, if there is one to ask.
fn peer(title: &str, wire: &[u8]) {
    let Ok(python) = std::env::var("NETDATA_PYTHON") else {
        return;
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(wire).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/netdata_read.py");
    let output = Command::new(python)
        .arg("-I")
        .arg(script)
        .arg("--time")
        .arg(file.path())
        .output()
        .unwrap();
    let seconds: f64 = match String::from_utf8_lossy(&output.stdout).trim().parse() {
        Ok(seconds) => seconds,
        Err(_) => return println!("{title}: xmi-reader: {}", String::from_utf8_lossy(&output.stderr)),
    };
    println!(
        "{:<52} {:>8.1}",
        format!("{title}: xmi-reader"),
        wire.len() as f64 / seconds / 1e6
    );
}

/// Many GiB from the writer straight into the reader: records of 32 KiB of octets, then lines of text.
fn through(gib: u64, octets: &[u8], text: &[u8]) {
    let mut plan = plan(Format::variable(32 << 10));
    plan.files.push(FileSpec::new(
        Some(Name::dataset("ALICE.TEXT").unwrap()),
        Format::variable(80),
    ));
    let mut writer = Writer::new(&plan).unwrap();
    let mut reader = Reader::new(Limits::default());
    let mut wire = Vec::new();
    let mut bytes = 0_u64;
    let start = Instant::now();
    let mut read = |wire: &mut Vec<u8>, bytes: &mut u64| {
        *bytes += wire.len() as u64;
        let mut rest = wire.as_slice();
        while let Some(event) = reader.next(&mut rest).unwrap() {
            black_box(event);
        }
        wire.clear();
        reader.is_complete()
    };
    let half = gib << 29;
    writer.start(&mut wire).unwrap();
    let mut records = OctetRecords::new();
    while bytes < half {
        records.feed(octets, &mut writer, &mut wire).unwrap();
        read(&mut wire, &mut bytes);
    }
    records.finish(&mut writer, &mut wire).unwrap();
    writer.start(&mut wire).unwrap();
    let mut records = TextRecords::new(Page::DEFAULT, Policy::Refuse, 65_535);
    while bytes < 2 * half {
        records.feed(text, &mut writer, &mut wire).unwrap();
        read(&mut wire, &mut bytes);
    }
    records.finish(&mut writer, &mut wire).unwrap();
    writer.finish(&mut wire).unwrap();
    assert!(read(&mut wire, &mut bytes));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM: unknown");
    let seconds = start.elapsed().as_secs_f64();
    println!("{bytes} bytes written and read in {seconds:.1} s; {most}");
}
