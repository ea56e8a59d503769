//! Conversations recorded against the implementations in the field, held again with ours.
//!
//! A client decides on the first digit of a reply, so that is what is compared. Where ours answers differently on
//! purpose, [`DEVIATIONS`] says where and why; everything else must agree. The format of the recordings is described
//! in `tests/transcripts/uft/INDEX.md`, or in the second line of each.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Daemon, Wire};

/// A command that ours answers otherwise.
struct Deviation {
    file: &'static str,
    command: &'static str,
    /// First digit of our reply.
    ours: u16,
    /// The session ends with it.
    ends: bool,
    why: &'static str,
}

const fn deviation(
    file: &'static str,
    command: &'static str,
    ours: u16,
    ends: bool,
    why: &'static str,
) -> Deviation {
    Deviation {
        file,
        command,
        ours,
        ends,
        why,
    }
}

const REFUSED_DATA: &str = "a refused DATA ends the session: its bytes may be on the way already";
const TRUTH: &str = "a message that nobody saw is not acknowledged";

const DEVIATIONS: &[Deviation] = &[
    deviation("04-unknown-user.txt", "DATA 3", 4, true, REFUSED_DATA),
    deviation("05-no-FILE-first.txt", "DATA 3", 4, true, REFUSED_DATA),
    deviation("06-data-before-user.txt", "DATA 5", 4, true, REFUSED_DATA),
    deviation(
        "08-data-numbers.txt",
        "DATA -5",
        5,
        true,
        "a count that is none is refused, and a refused DATA ends the session",
    ),
    deviation(
        "08b-data-suffix.txt",
        "DATA 1K",
        5,
        true,
        "a count that two programs read as two numbers is refused",
    ),
    deviation(
        "09-size-forms.txt",
        "FILE 99999999999999 x AGENT deadbeef",
        5,
        false,
        "refused before the data when it can never fit",
    ),
    deviation(
        "19-cpq.txt",
        "CPQUERY TIME",
        2,
        false,
        "the spelling of CMS is understood too",
    ),
    deviation("20-msg.txt", "MSG root hello there", 5, false, TRUTH),
    deviation("20-msg.txt", "MSG nosuch hello", 5, false, TRUTH),
    deviation(
        "20-msg.txt",
        "MSG root",
        4,
        false,
        "a message without a text is none",
    ),
    deviation("20-msg.txt", "MSG", 4, false, "a message without a text is none"),
    deviation("20-msg.txt", "M root x", 5, false, TRUTH),
    deviation("54-tell.txt", "MSG alice hello world", 5, false, TRUTH),
];

/// One thing that happens in a recording.
#[derive(Debug)]
enum Happening {
    Client(Vec<u8>),
    Server(String),
    Silence,
    HalfClose,
}

#[test]
fn every_recorded_conversation_gets_the_same_classes_of_replies_or_a_listed_reason() {
    let agent = tempfile::NamedTempFile::new().unwrap();
    fs::write(agent.path(), "feedfacecafebeef0123\n").unwrap();
    let daemon = Daemon::with(&format!(
        "[users]\nlist = [\"alice\", \"bob\", \"root\", \"whoever\"]\n[agent]\nkey_file = {:?}",
        agent.path()
    ));
    let mut used = vec![false; DEVIATIONS.len()];
    let mut complaints = Vec::new();
    let recordings = recordings();
    for path in &recordings {
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Recorded against a server without a key.
        if file == "21-agent.txt" {
            continue;
        }
        complaints.extend(replay(&daemon, path, &file, &mut used));
    }
    let keyless = Daemon::start();
    let agent = recordings
        .iter()
        .find(|path| path.ends_with("21-agent.txt"))
        .expect("21-agent.txt");
    complaints.extend(replay(&keyless, agent, "21-agent.txt", &mut used));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    for (deviation, used) in DEVIATIONS.iter().zip(used) {
        assert!(
            used,
            "{}: {:?} does not deviate any more",
            deviation.file, deviation.command
        );
    }
}

#[test]
fn each_acknowledged_eof_of_the_recordings_is_one_item() {
    let daemon = Daemon::with("[users]\nlist = [\"alice\", \"bob\", \"root\", \"whoever\"]");
    let mut used = vec![false; DEVIATIONS.len()];
    for name in [
        "01-basic-A.txt",
        "03-second-file-without-FILE.txt",
        "22-auxdata.txt",
        "26-lf-only.txt",
        "14-abort.txt",
    ] {
        let path = directory().join(name);
        assert_eq!(replay(&daemon, &path, name, &mut used), Vec::<String>::new());
    }
    daemon.quiet();
    assert_eq!(daemon.items("bob"), [], "both of bob's files were aborted");
    let items = daemon.items("alice");
    assert_eq!(items.len(), 5);
    let first = &items[0].envelope;
    assert_eq!(
        (first.facts.name.as_deref(), first.local.bytes),
        (Some("hello.txt"), 7)
    );
    assert_eq!(first.facts.attribute("TITLE"), Some("my title here"));
    let aux = items
        .iter()
        .find(|item| item.envelope.aux.is_some())
        .expect("the second fork");
    assert_eq!(daemon.bytes(aux, uft::local::Form::Aux), b"forky");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/uft")
}

fn recordings() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory()).expect("tests/transcripts/uft");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    paths.sort();
    assert!(paths.len() >= 30, "the recordings are there: {paths:?}");
    paths
}

/// Holds one conversation; returns the differences that nobody listed.
fn replay(daemon: &Daemon, path: &Path, file: &str, used: &mut [bool]) -> Vec<String> {
    let happenings = parse(&fs::read_to_string(path).unwrap());
    let mut complaints = Vec::new();
    if !happenings
        .iter()
        .any(|happening| matches!(happening, Happening::Client(_)))
    {
        return complaints;
    }
    let mut wire = Wire::open(daemon.address());
    // The herald.
    let mut rest = happenings.as_slice();
    rest = &rest[rest
        .iter()
        .position(|h| !matches!(h, Happening::Server(_)))
        .unwrap()..];
    let mut last = String::new();
    while let Some((happening, after)) = rest.split_first() {
        rest = after;
        match happening {
            Happening::Client(bytes) => {
                last = String::from_utf8_lossy(bytes).trim().to_owned();
                if wire.try_send(bytes).is_err() {
                    complaints.push(format!("{file}: {last:?}: the connection is closed"));
                    return complaints;
                }
            }
            Happening::Silence => {
                if !wire.silence() {
                    complaints.push(format!("{file}: {last:?}: a reply where the field gives none"));
                }
            }
            Happening::HalfClose => wire.half_close(),
            Happening::Server(line) if line.starts_with(['1', '6']) => {}
            Happening::Server(line) => {
                let field = u16::from(line.as_bytes()[0] - b'0');
                let listed = DEVIATIONS
                    .iter()
                    .position(|d| d.file == file && d.command == last);
                let Some(reply) = wire.reply_or_end() else {
                    complaints.push(format!("{file}: {last:?}: closed instead of {line}"));
                    return complaints;
                };
                let class = reply.code / 100;
                match listed {
                    Some(at) if class == DEVIATIONS[at].ours && (class != field || DEVIATIONS[at].ends) => {
                        used[at] = true;
                        if DEVIATIONS[at].ends {
                            wire.ends();
                            return complaints;
                        }
                    }
                    None if class == field => {}
                    _ => complaints.push(format!(
                        "{file}: {last:?}: the field says {line}, ours {} {} ({})",
                        reply.code,
                        reply.text,
                        listed.map_or("not listed", |at| DEVIATIONS[at].why),
                    )),
                }
            }
        }
    }
    if last.eq_ignore_ascii_case("quit") {
        wire.ends();
    }
    complaints
}

fn parse(text: &str) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for row in text.lines() {
        if let Some(line) = row.strip_prefix("S> ") {
            happenings.push(Happening::Server(line.to_owned()));
        } else if let Some(sent) = row.strip_prefix("C> ") {
            happenings.push(Happening::Client(client_bytes(sent)));
        } else if row.starts_with("-- no reply within") {
            happenings.push(Happening::Silence);
        } else if matches!(row, "-- client half-closes" | "-- client sends FIN") {
            happenings.push(Happening::HalfClose);
        }
    }
    happenings
}

/// The bytes of a client's row; payload that the recording leaves out is made up to its length.
fn client_bytes(row: &str) -> Vec<u8> {
    if let Some(count) = row
        .strip_prefix('[')
        .and_then(|r| r.strip_suffix(" bytes of binary data]"))
    {
        return vec![b'x'; count.parse().unwrap()];
    }
    if let Some((head, rest)) = row.split_once(" ...(") {
        let (count, tail) = rest.split_once(" bytes)... ").unwrap();
        let (mut bytes, tail) = (unescape(head), unescape(tail));
        bytes.resize(count.parse::<usize>().unwrap() - tail.len(), 0);
        bytes.extend(tail);
        return bytes;
    }
    unescape(row)
}

/// A Python bytes literal without its quotes. An escape that was cut short at the end is left out.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b'r') => bytes.push(b'\r'),
            Some(b't') => bytes.push(b'\t'),
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.extend(u8::from_str_radix(&digits, 16));
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    bytes
}
