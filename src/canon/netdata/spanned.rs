//! Spanned records of a library (VS, VBS): a record in segments, in as many blocks as it takes.
//!
//! | offset in a segment | bytes | meaning |
//! |---|---|---|
//! | 0 | 2 | its length, these four bytes included |
//! | 2 | 1 | 00 the whole record, 01 its first segment, 02 its last, 03 one between |
//! | 3 | 1 | 00 |
//!
//! What it does *not* do: find the blocks (`unload.rs`), or lose anything: a segment that fits nothing is a record of its
//! own, and one that is not continued ends where it ends. Both are counted. Source: z/OS DFSMS Using Data Sets, "Spanned
//! variable-length records".

use super::deblock::HEADER;
use super::error::Fault;

/// Which part of a record a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First,
    Last,
    Between,
}

/// What came of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// No record yet.
    Nothing,
    /// Its bytes are a record.
    Itself,
    /// A record, of several segments: [`Spanned::record`].
    Joined,
    /// The record before it, which is not continued: [`Spanned::record`]. The segment is to be offered once more.
    Before,
}

/// A record in the making.
#[derive(Debug, Default)]
pub(super) struct Spanned {
    open: Option<Vec<u8>>,
    record: Vec<u8>,
    /// Records that lack a segment.
    broken: u64,
}

impl Spanned {
    /// Takes a segment.
    ///
    /// # Errors
    /// The record becomes longer than `limit`.
    pub(super) fn take(&mut self, part: Part, bytes: &[u8], limit: usize) -> Result<Made, Fault> {
        let begins = matches!(part, Part::Whole | Part::First);
        if begins && self.close() {
            return Ok(Made::Before);
        }
        match (part, &mut self.open) {
            (Part::Whole, _) => Ok(Made::Itself),
            (Part::First, open) => {
                *open = Some(bytes.to_vec());
                Ok(Made::Nothing)
            }
            (Part::Last | Part::Between, None) => {
                self.broken += 1;
                Ok(Made::Itself)
            }
            (_, Some(open)) if open.len() + bytes.len() > limit => {
                let limit = limit as u64;
                Err(Fault::RecordTooLong { limit })
            }
            (Part::Between, Some(open)) => {
                open.extend_from_slice(bytes);
                Ok(Made::Nothing)
            }
            (Part::Last, Some(open)) => {
                open.extend_from_slice(bytes);
                self.record = self.open.take().unwrap_or_default();
                Ok(Made::Joined)
            }
        }
    }

    /// Ends the record that is open, if one is; it lacks its last segment.
    pub(super) fn close(&mut self) -> bool {
        let Some(open) = self.open.take() else {
            return false;
        };
        self.record = open;
        self.broken += 1;
        true
    }

    /// Whether a record is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The record that was completed last.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// Records that lack a segment.
    pub(super) fn broken(&self) -> u64 {
        self.broken
    }
}

/// The first segment, and how many bytes it takes.
pub(super) fn next(bytes: &[u8]) -> Option<(Part, &[u8], usize)> {
    let [high, low, part, 0, rest @ ..] = bytes else {
        return None;
    };
    let part = match part {
        0 => Part::Whole,
        1 => Part::First,
        2 => Part::Last,
        3 => Part::Between,
        _ => return None,
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let data = rest.get(..length.checked_sub(HEADER)?)?;
    Some((part, data, length))
}

/// Whether bytes are one or more segments, and nothing else.
pub(super) fn segments_add_up(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((_, _, length)) = next(rest) {
        rest = rest.get(length..).unwrap_or_default();
    }
    rest.is_empty() && !bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_joined_and_none_is_lost() {
        let mut spanned = Spanned::default();
        let mut take = |part, bytes: &[u8]| {
            let made = spanned.take(part, bytes, 5).unwrap();
            let record = spanned.record().to_vec();
            (made, record, spanned.broken())
        };
        assert_eq!(take(Part::First, b"ab").0, Made::Nothing);
        assert_eq!(take(Part::Between, b"cd").0, Made::Nothing);
        assert_eq!(take(Part::Last, b"e"), (Made::Joined, b"abcde".to_vec(), 0));
        assert_eq!(take(Part::Whole, b"x").0, Made::Itself);
        // What comes before a first segment was not complete.
        take(Part::First, b"lost");
        assert_eq!(take(Part::Whole, b"x"), (Made::Before, b"lost".to_vec(), 1));
        assert_eq!(take(Part::Whole, b"x").0, Made::Itself);
        // What continues nothing is on its own.
        assert_eq!(take(Part::Last, b"y").0, Made::Itself);
        take(Part::First, b"abcd");
        let long = spanned.take(Part::Last, b"ef", 5);
        assert_eq!(long, Err(Fault::RecordTooLong { limit: 5 }));
        assert_eq!(spanned.broken(), 2);
    }

    #[test]
    fn segments_add_up_or_are_data() {
        let two = b"\x00\x06\x01\x00ab\x00\x04\x02\x00";
        assert!(segments_add_up(two));
        assert_eq!(next(two), Some((Part::First, b"ab".as_slice(), 6)));
        for data in [
            b"".as_slice(),
            b"\x00\x06\x04\x00ab",
            b"\x00\x06\x00\x01ab",
            b"\x00\x07\x00\x00ab",
            b"\x00\x03\x00\x00",
            b"\x00\x00\x00\x00",
        ] {
            assert!(!segments_add_up(data), "{data:?}");
        }
    }
}
