//! The recorded conversations of `tests/transcripts/uft`, replayed: what a client of the field said is said to our
//! session, and the classes of the final replies are those of the recording, or those listed in [`DEVIATIONS`].

use super::bodies;
use super::bodies::rig::{Faults, Stored, serve};

macro_rules! recordings {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../tests/transcripts/uft/", $name, ".txt")))),*]
    };
}

const RECORDINGS: &[(&str, &str)] = recordings! {
    "01-basic-A"
    "03-second-file-without-FILE"
    "04-unknown-user"
    "05-no-FILE-first"
    "06-data-before-user"
    "07-bad-type"
    "08-data-numbers"
    "08b-data-suffix"
    "09-size-forms"
    "10-size-mismatch"
    "11-eof-without-data"
    "12-quit-without-eof"
    "13-close-without-quit"
    "14-abort"
    "15-meta-forms"
    "16-legacy-attrs"
    "18-help-noop-comments"
    "19-cpq"
    "20-msg"
    "21-agent"
    "21b-agent-with-key"
    "22-auxdata"
    "23-pipe-unknown"
    "26-lf-only"
    "28-data-then-early-commands"
    "30-anonymous-build"
    "40-sf-ascii"
    "41-sf-image"
    "42b-sf-mail-with-a"
    "43-sf-netdata"
    "44-sf-ebcdic"
    "45-sf-var"
    "46-sf-class-name-copy"
    "47-sf-stdin"
    "48-sf-empty"
    "51-sf-crlf-input"
    "52-sf-nops-chaff"
    "53-sf-unknown-user"
    "54-tell"
    "55-cpq"
    "56-cpq-logmsg"
    "57-sf-with-agent-key"
};

/// Where our final replies differ from the recorded ones, in full; the reasons are in `docs/protocol.md`.
const DEVIATIONS: &[(&str, &[u16])] = &[
    // A refused DATA ends the session.
    ("04-unknown-user", &[223, 200, 532, 200, 403]),
    ("05-no-FILE-first", &[223, 403, 200, 200, 403]),
    ("06-data-before-user", &[223, 200, 403]),
    ("08-data-numbers", &[223, 200, 208, 200, 213, 213, 513]),
    ("08b-data-suffix", &[223, 200, 208, 200, 513]),
    // The CMS spelling CPQUERY is understood.
    (
        "19-cpq",
        &[
            223, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 416, 200, 200, 200, 433, 433,
            402, 200, 221,
        ],
    ),
    // A message that cannot be delivered is not acknowledged.
    ("20-msg", &[223, 200, 200, 545, 416, 416, 200, 226, 221]),
];

/// The bytes of one row.
fn unescape(row: &str) -> Vec<u8> {
    if let Some((length, "of binary data]")) = row.strip_prefix('[').and_then(|row| row.split_once(" bytes "))
    {
        return vec![0x55; length.parse().unwrap()];
    }
    if let Some((_, rest)) = row.split_once("...(") {
        return vec![0x55; rest.split(' ').next().unwrap().parse().unwrap()];
    }
    let mut bytes = Vec::new();
    let mut chars = row.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            (_, Some('r')) => bytes.push(b'\r'),
            (_, Some('n')) => bytes.push(b'\n'),
            (_, Some('t')) => bytes.push(b'\t'),
            (_, Some('x')) => {
                let hex: String = chars.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            (_, Some(other)) => bytes.push(u8::try_from(other).unwrap()),
            (c, None) => bytes.extend(c.to_string().bytes()),
        }
    }
    bytes
}

fn is_final(code: &u16) -> bool {
    matches!(code / 100, 2 | 4 | 5)
}

/// What the client said, and the numbers of the final replies it got.
fn recorded(text: &str) -> (Vec<u8>, Vec<u16>) {
    let said = text
        .lines()
        .filter_map(|row| row.strip_prefix("C> "))
        .flat_map(unescape)
        .collect();
    let replies = text
        .lines()
        .filter_map(|row| row.strip_prefix("S> ")?.get(..3)?.parse().ok());
    (said, replies.filter(is_final).collect())
}

fn replay(name: &str, size: usize) -> (Vec<u16>, Vec<Stored>) {
    let (_, text) = RECORDINGS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a recording");
    let (said, stored, ..) = serve(&recorded(text).0, size, &Faults::default());
    let said = String::from_utf8(said).unwrap();
    (
        said.lines()
            .map(|line| line[..3].parse().unwrap())
            .filter(is_final)
            .collect(),
        stored,
    )
}

#[test]
fn clients_of_the_field_are_answered_as_recorded() {
    for (name, text) in RECORDINGS {
        let (_, recorded) = recorded(text);
        let deviation = DEVIATIONS.iter().find(|(other, _)| other == name);
        for size in [1, 7, 100_000] {
            let (codes, _) = replay(name, size);
            match deviation {
                Some((_, expected)) => {
                    assert_eq!(codes, *expected, "{name}");
                    assert_ne!(codes, recorded, "{name} does not deviate");
                }
                None => {
                    let classes = |codes: &[u16]| codes.iter().map(|code| code / 100).collect::<Vec<_>>();
                    assert_eq!(
                        classes(&codes),
                        classes(&recorded),
                        "{name}: {codes:?} {recorded:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_field_clients_send_is_what_is_stored() {
    let (_, stored) = replay("40-sf-ascii", 1);
    let draft = &stored[0].draft;
    assert_eq!(
        (draft.name.as_deref(), draft.from.as_deref()),
        (Some("text.txt"), Some("root"))
    );
    assert_eq!(
        (draft.size, &stored[0].data[..]),
        (Some(18), &b"line one\r\nline two\r\n"[..])
    );
    let keys: Vec<&str> = draft.attributes.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["DATE", "XDATE", "PROT", "XPERM"]);
    assert_eq!(replay("41-sf-image", 1000).1[0].data.len(), 70_000);
    assert!(replay("48-sf-empty", 1).1[0].data.is_empty());
    assert_eq!(replay("22-auxdata", 1).1[0].aux, b"forky");
    for (name, count) in [
        ("03-second-file-without-FILE", 2),
        ("12-quit-without-eof", 0),
        ("13-close-without-quit", 0),
        ("14-abort", 0),
    ] {
        assert_eq!(replay(name, 1).1.len(), count, "{name}");
    }
    let legacy = replay("16-legacy-attrs", 3).1;
    assert!(
        legacy[0]
            .draft
            .attributes
            .iter()
            .any(|a| a.key == "MSG" && a.value == "ON")
    );
    let meta = replay("15-meta-forms", 3).1;
    assert_eq!(meta[0].draft.name.as_deref(), Some("../../etc/passwd"));
    assert!(
        !meta[0]
            .draft
            .attributes
            .iter()
            .any(|a| a.key == "SIZE" || a.key == "USER" || a.key.contains(';'))
    );
}

#[test]
fn both_sides_of_the_recordings_are_survived_by_the_fuzz_targets() {
    for (_, text) in RECORDINGS {
        let server: Vec<u8> = text
            .lines()
            .filter_map(|row| row.strip_prefix("S> "))
            .flat_map(unescape)
            .collect();
        let (client, _) = recorded(text);
        for side in [client, server] {
            // Bursts of 70 kB, byte by byte, would only take time.
            let side = side.get(..4000).unwrap_or(&side);
            for first in [0x00, 0x25, 0x43, 0x8f] {
                let seed = [&[first], side].concat();
                bodies::session(&seed);
                bodies::dialogue(&seed);
                bodies::line(&seed);
            }
        }
    }
}
