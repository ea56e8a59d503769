//! The end of an item's file: the envelope, and how it is found again.
//!
//! An item is one file of `local + json + 52` bytes. Numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | `local` | the local form, as the recipient gets it |
//! | `local` | `json` | the envelope, JSON in UTF-8 |
//! | `local + json` | 32 | BLAKE3 of the JSON |
//! | `local + json + 32` | 8 | `local`, unsigned |
//! | `local + json + 40` | 4 | `json`, unsigned; `2 <= json <= 1048576` |
//! | `local + json + 44` | 8 | the end mark `UFTitem` and 0x0A |
//!
//! The last 52 bytes are the *footer*: read from the end, it says where everything is. A file that was cut, or whose
//! last blocks never reached the disk, does not add up; a flipped bit is found by the digest or by the sum of the
//! lengths. What the digest does *not* cover is the local form: its own digest is in the envelope, for whoever reads
//! all of it.
//!
//! What this file does *not* do: read or write files.

use crate::envelope::Envelope;

/// Bytes of the footer.
pub const FOOTER: usize = 52;
/// Longest envelope, in bytes of JSON.
pub const ENVELOPE_MAX: u64 = 1 << 20;
/// The version of the envelope that this program writes and reads.
pub const ENVELOPE_VERSION: u32 = 1;

const END_MARK: &[u8; 8] = b"UFTitem\n";

/// Why the end of a file is not a trailer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrailer {
    /// The slice given does not reach back to the envelope: not an error of the file. The value is how many bytes of
    /// its end are needed.
    #[error("{0} bytes of the end are needed")]
    Short(usize),
    /// No end mark: torn, or not an item.
    #[error("no end mark")]
    NoEndMark,
    /// The lengths do not add up to the length of the file.
    #[error("lengths do not add up: {local} + {json} + 52 in a file of {file}")]
    Lengths {
        /// Length of the local form, as the footer says.
        local: u64,
        /// Length of the envelope, as the footer says.
        json: u32,
        /// Length of the file.
        file: u64,
    },
    /// The envelope is not the one that was written.
    #[error("envelope does not match its digest")]
    Digest,
    /// The envelope matches its digest and cannot be understood.
    #[error("envelope cannot be read: {0}")]
    Json(String),
    /// An envelope of a later version.
    #[error("envelope of version {0}, 1 is known")]
    Version(u32),
}

/// Appends the trailer of an item whose local form has `envelope.local.bytes` bytes; the value is its length.
///
/// # Errors
/// The length of the envelope, when that is more than [`ENVELOPE_MAX`]; `out` is as it was.
pub fn append(envelope: &Envelope, out: &mut Vec<u8>) -> Result<usize, u64> {
    let start = out.len();
    // Strings, numbers and sequences only: there is nothing in an envelope that JSON cannot say.
    serde_json::to_writer(&mut *out, envelope).map_err(|_| u64::MAX)?;
    let json = (out.len() - start) as u64;
    let (Ok(short), true) = (u32::try_from(json), json <= ENVELOPE_MAX) else {
        out.truncate(start);
        return Err(json);
    };
    let digest = blake3::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(digest.as_bytes());
    out.extend_from_slice(&envelope.local.bytes.to_le_bytes());
    out.extend_from_slice(&short.to_le_bytes());
    out.extend_from_slice(END_MARK);
    Ok(out.len() - start)
}

/// Reads the envelope out of `tail`, the last bytes of a file of `file` bytes. Pure; any input is safe.
///
/// # Errors
/// [`BadTrailer::Short`] asks for a longer tail (never longer than the file); every other error is about the file.
pub fn parse(tail: &[u8], file: u64) -> Result<Envelope, BadTrailer> {
    if file < FOOTER as u64 {
        return Err(BadTrailer::NoEndMark);
    }
    let Some((rest, footer)) = tail.split_last_chunk::<FOOTER>() else {
        return Err(BadTrailer::Short(FOOTER));
    };
    let Some((digest, footer)) = footer.split_first_chunk::<32>() else {
        return Err(BadTrailer::NoEndMark);
    };
    let Some((local, footer)) = footer.split_first_chunk::<8>() else {
        return Err(BadTrailer::NoEndMark);
    };
    let Some((json, end_mark)) = footer.split_first_chunk::<4>() else {
        return Err(BadTrailer::NoEndMark);
    };
    if end_mark != END_MARK {
        return Err(BadTrailer::NoEndMark);
    }
    let (local, json) = (u64::from_le_bytes(*local), u32::from_le_bytes(*json));
    let sum = local
        .checked_add(u64::from(json))
        .and_then(|n| n.checked_add(FOOTER as u64));
    if sum != Some(file) || u64::from(json) > ENVELOPE_MAX {
        return Err(BadTrailer::Lengths { local, json, file });
    }
    let need = json as usize;
    let Some(text) = rest.len().checked_sub(need).and_then(|at| rest.get(at..)) else {
        return Err(BadTrailer::Short(need + FOOTER));
    };
    if blake3::hash(text) != blake3::Hash::from_bytes(*digest) {
        return Err(BadTrailer::Digest);
    }
    let envelope: Envelope = serde_json::from_slice(text).map_err(|e| BadTrailer::Json(e.to_string()))?;
    if envelope.version != ENVELOPE_VERSION {
        return Err(BadTrailer::Version(envelope.version));
    }
    if envelope.local.bytes != local {
        return Err(BadTrailer::Lengths {
            local: envelope.local.bytes,
            json,
            file,
        });
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{Attribute, Facts, FileType, Measure, Origin, Proof, TypeSpec};

    fn envelope(local: u64, name: Option<String>, notes: Vec<String>) -> Envelope {
        let measure = Measure {
            bytes: local,
            blake3: blake3::hash(b"x"),
        };
        Envelope {
            version: 1,
            facts: Facts {
                name,
                spec: TypeSpec::plain(FileType::I),
                stored_as: FileType::I,
                origin: Origin {
                    user: "a".into(),
                    node: None,
                    host: "192.0.2.1".into(),
                    proof: Proof::Address,
                },
                received: -5,
                attributes: vec![Attribute {
                    key: "TITLE".into(),
                    value: "t".into(),
                }],
                xid: None,
                exact: true,
                notes,
                receipt: None,
            },
            local: measure,
            wire: measure,
            wire_kept: false,
            aux: None,
        }
    }

    fn file(local: &[u8], name: Option<String>, notes: Vec<String>) -> (Vec<u8>, Envelope) {
        let envelope = envelope(local.len() as u64, name, notes);
        let mut file = local.to_vec();
        append(&envelope, &mut file).unwrap();
        (file, envelope)
    }

    #[test]
    fn a_tail_that_is_too_short_says_how_much_it_needs() {
        let (file, envelope) = file(b"hello", None, vec![]);
        let len = file.len() as u64;
        assert_eq!(
            parse(&file[file.len() - 10..], len),
            Err(BadTrailer::Short(FOOTER))
        );
        let Err(BadTrailer::Short(need)) = parse(&file[file.len() - FOOTER..], len) else {
            panic!("not short")
        };
        assert_eq!(need, file.len() - 5);
        assert_eq!(parse(&file[file.len() - need..], len), Ok(envelope));
    }

    #[test]
    fn every_flipped_bit_of_a_trailer_is_found() {
        let (file, _) = file(b"hello", Some("n".into()), vec![]);
        for at in 5..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[at] ^= 1 << bit;
                assert!(parse(&bad, bad.len() as u64).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn every_cut_of_an_item_is_found() {
        let (file, _) = file(b"hello", Some("n".into()), vec![]);
        for len in 0..file.len() {
            let result = parse(&file[..len], len as u64);
            assert!(
                !matches!(result, Ok(_) | Err(BadTrailer::Short(_))),
                "cut at {len}"
            );
        }
    }

    #[test]
    fn an_envelope_of_more_than_a_mebibyte_is_not_written() {
        let long = envelope(0, None, vec!["x".repeat(1 << 20)]);
        let mut out = vec![7];
        assert!(matches!(append(&long, &mut out), Err(n) if n > ENVELOPE_MAX));
        assert_eq!(out, [7]);
    }

    #[test]
    fn a_later_version_is_not_guessed_at() {
        let mut later = envelope(0, None, vec![]);
        later.version = 2;
        let mut file = vec![];
        append(&later, &mut file).unwrap();
        assert_eq!(parse(&file, file.len() as u64), Err(BadTrailer::Version(2)));
    }

    proptest! {
        #[test]
        fn what_was_appended_is_parsed(local in proptest::collection::vec(any::<u8>(), 0..200),
                                       name in proptest::option::of(".*"), notes in proptest::collection::vec(".*", 0..4)) {
            let (file, envelope) = file(&local, name, notes);
            prop_assert_eq!(parse(&file, file.len() as u64), Ok(envelope));
        }

        #[test]
        fn anything_may_be_parsed(tail in proptest::collection::vec(any::<u8>(), 0..300), file in any::<u64>()) {
            prop_assert!(parse(&tail, file).is_err());
        }

        #[test]
        fn anything_with_an_end_mark_may_be_parsed(mut tail in proptest::collection::vec(any::<u8>(), 0..300), file in 0u64..400) {
            tail.extend_from_slice(END_MARK);
            prop_assert!(parse(&tail, file).is_err());
        }
    }
}
