//! From the records of a stream to the records of a file: some senders put whole blocks, or a whole file, into one.
//!
//! | file | record of the stream | becomes |
//! |---|---|---|
//! | F, length n | a multiple of n, more than n | pieces of n bytes |
//! | F, length n | shorter than n | as it is: the last one may be |
//! | F, length n | another length | as it is, and counted |
//! | V with headers | RDWs (length with itself, 2 bytes; 0, 2 bytes) that add up to the record | what is behind each |
//! | V with headers | anything else | as it is |
//! | V without headers, U, and what is no sequence of records | | as it is |
//!
//! What it does *not* do: blocks inside an unload (`unload.rs` uses the walk of this file). Source: what z/OS, XMIT370 and
//! xmi-reader were seen to send.

use super::file::{FileInfo, FileKind};
use super::format::Form;

/// Bytes of a record descriptor word, and of a block descriptor word.
pub(super) const HEADER: usize = 4;

/// How a record of the stream is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is one record.
    Whole,
    /// It is one record, but not of the length that all should have.
    Odd,
    /// Records of this length.
    Every(usize),
    /// Records behind their headers.
    Headers,
}

/// How the records of a file are cut, as far as the file decides.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    AsSent,
    Fixed(usize),
    Headers,
}

impl Rule {
    pub(super) fn of(info: &FileInfo) -> Rule {
        if !matches!(info.kind, FileKind::Sequential | FileKind::Note) {
            return Rule::AsSent;
        }
        match info.recfm.form() {
            Form::Fixed => match info.lrecl.and_then(|length| usize::try_from(length).ok()) {
                Some(length) if length > 0 => Rule::Fixed(length),
                _ => Rule::AsSent,
            },
            Form::Variable if !info.recfm.is_headerless() => Rule::Headers,
            Form::Variable | Form::Undefined => Rule::AsSent,
        }
    }

    /// How a record is cut. Constant time but for the walk, which is one step a record.
    pub(super) fn cut(self, record: &[u8]) -> Cut {
        match self {
            Rule::AsSent => Cut::Whole,
            Rule::Fixed(length) if record.len() <= length => Cut::Whole,
            Rule::Fixed(length) if record.len().is_multiple_of(length) => Cut::Every(length),
            Rule::Fixed(_) => Cut::Odd,
            Rule::Headers if headers_add_up(record) => Cut::Headers,
            Rule::Headers => Cut::Whole,
        }
    }
}

/// Whether bytes are one or more records, each behind a header that counts itself.
pub(super) fn headers_add_up(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((_, after)) = next(rest) {
        rest = after;
    }
    rest.is_empty() && !bytes.is_empty()
}

/// The first record behind its header, and what follows it.
pub(super) fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [high, low, 0, 0, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(HEADER)?;
            rest.split_at_checked(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_add_up_or_are_data() {
        let one = b"\x00\x06\x00\x00ab";
        assert!(headers_add_up(one) && headers_add_up(&one.repeat(3)));
        assert_eq!(next(one), Some((b"ab".as_slice(), b"".as_slice())));
        assert!(headers_add_up(b"\x00\x04\x00\x00"));
        for data in [
            b"".as_slice(),
            b"\x00\x06\x00\x01ab",
            b"\x00\x06\x00\x00a",
            b"\x00\x06\x00\x00abc",
            b"\x00\x03\x00\x00",
            b"\x00\x06",
            b"\x00\x00\x00\x00",
        ] {
            assert!(!headers_add_up(data), "{data:?}");
        }
    }

    #[test]
    fn fixed_records_are_cut_when_the_length_says_so() {
        let rule = Rule::Fixed(3);
        assert_eq!(rule.cut(b""), Cut::Whole);
        assert_eq!(rule.cut(b"ab"), Cut::Whole);
        assert_eq!(rule.cut(b"abc"), Cut::Whole);
        assert_eq!(rule.cut(b"abcd"), Cut::Odd);
        assert_eq!(rule.cut(b"abcdef"), Cut::Every(3));
    }
}
