//! The framing of record files (types V, W, X and F): where a record begins and ends.
//!
//! What it does *not* do: look at what is in a record. Source: RFC 1440 ("V", "W", "X", "F"); lengths are big-endian
//! and do not count themselves.

use super::{Failure, Framing, MAX_RECORD};

/// What comes next in the wire form.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Bytes of a record.
    Part(&'a [u8]),
    /// The record is complete.
    End,
}

/// A reader of records, in pieces.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of a length: 2, 4 or 8; 0 for fixed records.
    prefix: usize,
    /// Bytes of a fixed record, `1 <= fixed`.
    fixed: u64,
    length: u64,
    /// Bytes of the length seen, `0 <= have < prefix`.
    have: usize,
    /// Inside a record: bytes to come.
    left: Option<u64>,
    /// Bytes of the wire form taken.
    offset: u64,
    /// Where the record began, its length included, and its number from 1.
    start: u64,
    record: u64,
}

impl Frames {
    /// # Errors
    /// Fixed records without a length.
    pub(super) fn new(framing: Framing, record_length: Option<u32>) -> Result<Frames, Failure> {
        let (prefix, fixed) = match framing {
            Framing::Length16 => (2, 0),
            Framing::Length32 => (4, 0),
            Framing::Length64 => (8, 0),
            Framing::Fixed => match record_length {
                Some(length) if length > 0 => (0, u64::from(length)),
                _ => return Err(Failure::NoRecordLength),
            },
        };
        Ok(Frames {
            prefix,
            fixed,
            length: 0,
            have: 0,
            left: None,
            offset: 0,
            start: 0,
            record: 0,
        })
    }

    /// Takes the next piece off the input; `None` when all of it is used up.
    ///
    /// # Errors
    /// A length that no record has.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Failure> {
        loop {
            match self.left {
                Some(0) => {
                    self.left = None;
                    return Ok(Some(Piece::End));
                }
                Some(left) => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let Some((part, rest)) =
                        input.split_at_checked(most).filter(|(part, _)| !part.is_empty())
                    else {
                        return Ok(None);
                    };
                    *input = rest;
                    self.offset += part.len() as u64;
                    self.left = Some(left - part.len() as u64);
                    return Ok(Some(Piece::Part(part)));
                }
                None => {
                    if !self.begin(input)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The end of the wire form.
    ///
    /// # Errors
    /// The last record is not complete.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match self.left {
            Some(missing) if missing > 0 => Err(Failure::Truncated {
                record: self.record,
                offset: self.start,
                missing,
            }),
            _ if self.have > 0 => Err(Failure::TruncatedLength {
                record: self.record,
                offset: self.start,
            }),
            _ => Ok(()),
        }
    }

    /// Whether a record has begun.
    fn begin(&mut self, input: &mut &[u8]) -> Result<bool, Failure> {
        if self.have == 0 && !input.is_empty() {
            self.start = self.offset;
            self.record += 1;
        }
        if self.prefix == 0 {
            self.left = (!input.is_empty()).then_some(self.fixed);
            return Ok(self.left.is_some());
        }
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            self.offset += 1;
            self.have += 1;
            self.length = (self.length << 8) | u64::from(byte);
            if self.have == self.prefix {
                let length = std::mem::take(&mut self.length);
                self.have = 0;
                if length > MAX_RECORD {
                    return Err(Failure::TooLong {
                        record: self.record,
                        offset: self.start,
                        length,
                    });
                }
                self.left = Some(length);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
