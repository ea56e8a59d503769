//! Speed of the conversions in memory, beside `memcpy` and the `iconv` program on the same bytes and core.
//!
//! `cargo bench --bench canon`. Prints a table; asserts nothing. Rates are GB of input a second, median of five.
//! What it does *not* measure: disks, sockets, digests.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a program for its makers"
)]

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use uft::canon::{Decoder, Encoder, Policy, Restorer, TextSniffer};
use uft_spool::{FileType, TypeSpec};

/// Bytes of the sample.
const SIZE: usize = 64 << 20;
/// Bytes a call, as the daemon reads them.
const PIECE: usize = 256 << 10;
const RUNS: usize = 5;

fn main() {
    let text = sample(0);
    let accented = sample(20);
    let wire_a = encode(FileType::A, &text);
    let wire_e = encode(FileType::E, &text);
    let wire_e_accented = encode(FileType::E, &accented);
    let short = b"ab\r\n".repeat(SIZE / 4);

    println!("{:<44} {:>8}", "work", "GB/s");
    row("memcpy", rate(&text, |piece, out| out.extend_from_slice(piece)));
    row("A decode", decode(FileType::A, None, &wire_a));
    row(
        "A decode, lines of 2 characters",
        decode(FileType::A, None, &short),
    );
    row(
        "A decode, charset utf-8",
        decode(FileType::A, Some("utf-8"), &wire_a),
    );
    row("A encode", encoding(FileType::A, &text));
    row("A restore", restore(FileType::A, &text));
    row("E decode", decode(FileType::E, None, &wire_e));
    row(
        "E decode, one character in 20 accented",
        decode(FileType::E, None, &wire_e_accented),
    );
    row("E encode", encoding(FileType::E, &text));
    row(
        "E encode, one character in 20 accented",
        encoding(FileType::E, &accented),
    );
    row("E restore", restore(FileType::E, &text));
    row("V encode (bytes)", encoding(FileType::V, &text));
    let mut sniffer = TextSniffer::new();
    row(
        "text sniffer",
        rate(&text, |piece, _| _ = black_box(sniffer.feed(piece))),
    );
    iconv("IBM1047", "UTF-8", &wire_e);
    iconv("UTF-8", "IBM1047", &text);
}

fn row(work: &str, rate: f64) {
    println!("{work:<44} {rate:>8.2}");
}

/// Lines of 0 to 79 characters; one in `every` accented, 0 for none.
fn sample(every: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = String::with_capacity(SIZE + 256);
    while text.len() < SIZE {
        for _ in 0..next() % 80 {
            let random = next();
            text.push(match every {
                1.. if random % every == 0 => 'é',
                _ => char::from(b' ' + (random >> 32) as u8 % 95),
            });
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn encode(file_type: FileType, text: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(file_type, None, Policy::Refuse, None);
    let mut wire = Vec::new();
    encoder.feed(text, &mut wire).unwrap();
    encoder.finish(&mut wire).unwrap();
    wire
}

fn decode(file_type: FileType, charset: Option<&str>, wire: &[u8]) -> f64 {
    let mut decoder = Decoder::new(&TypeSpec::plain(file_type), charset);
    rate(wire, |piece, out| decoder.feed(piece, out).unwrap())
}

fn encoding(file_type: FileType, text: &[u8]) -> f64 {
    let mut encoder = Encoder::new(file_type, None, Policy::Refuse, None);
    rate(text, |piece, out| encoder.feed(piece, out).unwrap())
}

fn restore(file_type: FileType, text: &[u8]) -> f64 {
    let mut restorer = Restorer::new(&TypeSpec::plain(file_type), None);
    rate(text, |piece, out| restorer.feed(piece, out).unwrap())
}

/// GB of input a second, piece by piece into one buffer that is used again.
fn rate(input: &[u8], mut work: impl FnMut(&[u8], &mut Vec<u8>)) -> f64 {
    let mut out = Vec::with_capacity(4 * PIECE);
    median(|| {
        let start = Instant::now();
        for piece in input.chunks(PIECE) {
            out.clear();
            work(black_box(piece), &mut out);
            black_box(&out);
        }
        input.len() as f64 / start.elapsed().as_secs_f64() / 1e9
    })
}

fn median(mut run: impl FnMut() -> f64) -> f64 {
    let mut rates: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

/// The `iconv` program with the input in a file; its start counts, at this size it does not show.
fn iconv(from: &str, to: &str, input: &[u8]) {
    let work = format!("iconv -f {from} -t {to}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    let run = || -> std::io::Result<f64> {
        let start = Instant::now();
        let mut child = Command::new("iconv")
            .args(["-f", from, "-t", to])
            .arg(file.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut buffer = vec![0; PIECE];
        let mut output = child.stdout.take().unwrap();
        while output.read(&mut buffer)? > 0 {}
        assert!(child.wait()?.success());
        Ok(input.len() as f64 / start.elapsed().as_secs_f64() / 1e9)
    };
    match run() {
        Ok(_) => row(&work, median(|| run().unwrap())),
        Err(error) => println!("{work:<44} {error}"),
    }
}
