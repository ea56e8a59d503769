//! The EBCDIC pages against two other makers' tables: the iconv of glibc and the codecs of Python.
//!
//! Every difference is listed here and must still exist, so that neither side changes unnoticed. The test needs the
//! programs `iconv` (glibc) and `python3`: it fails, and says so, where they are missing.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: a panic is its way to fail"
)]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use uft::canon::Page;

/// The line ends, which z/OS UNIX and we have the other way round than both: byte, theirs, ours.
const LINE_ENDS: [(u8, char, char); 2] = [(0x15, '\u{85}', '\n'), (0x25, '\n', '\u{85}')];

/// Where Python differs from glibc and us: page, byte, Python's, ours.
const PYTHON_DIFFERS: [(Page, u8, char, char); 3] = [
    (Page::Ibm273, 0xbc, '\u{203e}', '\u{af}'),
    (Page::Ibm1026, 0x9d, '\u{b8}', '\u{2db}'),
    (Page::Ibm1026, 0xbc, '\u{af}', '\u{2014}'),
];

/// The pages that Python has.
const PYTHON_HAS: [Page; 5] = [
    Page::Ibm037,
    Page::Ibm273,
    Page::Ibm500,
    Page::Ibm1026,
    Page::Ibm1140,
];

/// What a program writes for an input.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => panic!("this test needs the program `{program}`: {error}"),
    };
    // At most 256 characters: far below what a pipe holds, so writing before reading cannot block.
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{program} {}`: {errors}",
        arguments.join(" ")
    );
    output.stdout
}

/// A page as the other makers name it: `037`, `1047`.
fn number(page: Page) -> String {
    format!("{:03}", page.number())
}

fn ours(page: Page) -> Vec<char> {
    (0..=u8::MAX).map(|byte| page.char(byte)).collect()
}

/// Their table with the line ends exchanged, after a look that they were the other way round.
fn with_our_line_ends(page: Page, mut theirs: Vec<char>) -> Vec<char> {
    assert_eq!(theirs.len(), 256, "{page}");
    for (byte, their, our) in LINE_ENDS {
        assert_eq!(
            theirs[usize::from(byte)],
            their,
            "{page} {byte:02X}: the listed difference is gone"
        );
        theirs[usize::from(byte)] = our;
    }
    theirs
}

#[test]
fn every_byte_is_what_the_iconv_of_glibc_says_both_ways() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for page in Page::ALL {
        let name = format!("IBM{}", number(page));
        let text = String::from_utf8(run("iconv", &["-f", &name, "-t", "UTF-8"], &all)).unwrap();
        assert_eq!(
            with_our_line_ends(page, text.chars().collect()),
            ours(page),
            "{page}"
        );
        assert_eq!(
            run("iconv", &["-f", "UTF-8", "-t", &name], text.as_bytes()),
            all,
            "{page}"
        );
    }
}

#[test]
fn every_byte_is_what_python_says_but_for_the_listed_ones() {
    let numbers: Vec<String> = Page::ALL.map(number).into();
    let mut arguments = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/ebcdic.py")];
    arguments.extend(numbers.iter().map(String::as_str));
    let table = String::from_utf8(run("python3", &arguments, b"")).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap(), words.collect())
        })
        .collect();

    for page in Page::ALL {
        let row = &rows[number(page).as_str()];
        assert_eq!(
            row[0] != "none",
            PYTHON_HAS.contains(&page),
            "{page}: the list of Python's pages is old"
        );
        if row[0] == "none" {
            continue;
        }
        let theirs = row.iter().map(|code| {
            let code = u32::from_str_radix(code, 16).unwrap_or_else(|_| panic!("{page}: an undefined byte"));
            char::from_u32(code).unwrap()
        });
        let mut theirs = with_our_line_ends(page, theirs.collect());
        for (_, byte, their, our) in PYTHON_DIFFERS
            .into_iter()
            .filter(|(differing, ..)| *differing == page)
        {
            assert_eq!(
                theirs[usize::from(byte)],
                their,
                "{page} {byte:02X}: the listed difference is gone"
            );
            theirs[usize::from(byte)] = our;
        }
        assert_eq!(theirs, ours(page), "{page}");
    }
}

#[test]
fn the_tables_are_what_their_script_writes() {
    run(
        "python3",
        &[
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/canon/pages/generate.py"),
            "--check",
        ],
        b"",
    );
}
