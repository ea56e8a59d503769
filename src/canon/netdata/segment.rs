//! Segments, the outer layer: from the bytes of a stream to its logical records, and back.
//!
//! A stream is segments back to back. Cards of 80 bytes are only what carries it: a segment may straddle them.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 1 | length, 2 to 255, itself and the flags included |
//! | 1 | 1 | flags: 80 first of a record, 40 last, 20 control record, 10 number of the next record, 0F reserved |
//! | 2 | 0..253 | data |
//!
//! What it does *not* do: look into a record. Source: the NETDATA description (Palmer, O'Hara, 1981).

use super::Limits;
use super::error::{Error, Fault, Place};

/// Data bytes of a segment, at most.
pub const SEGMENT_DATA: usize = 253;
/// Bytes of a segment before its data.
const HEAD: usize = 2;

/// The flags of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// A data record in one segment.
    pub const DATA: Flags = Flags(0xc0);
    /// A control record in one segment.
    pub const CONTROL: Flags = Flags(0xe0);

    const FIRST: u8 = 0x80;
    const LAST: u8 = 0x40;
    const CONTROL_BIT: u8 = 0x20;
    const NUMBER: u8 = 0x10;

    /// The record begins here.
    pub const fn is_first(self) -> bool {
        self.0 & Flags::FIRST != 0
    }

    /// The record ends here.
    pub const fn is_last(self) -> bool {
        self.0 & Flags::LAST != 0
    }

    /// The record is a control record.
    pub const fn is_control(self) -> bool {
        self.0 & Flags::CONTROL_BIT != 0
    }

    /// Not data: the number of the next record, which readers skip.
    pub const fn is_number(self) -> bool {
        self.0 & Flags::NUMBER != 0
    }

    /// How every stream begins.
    pub(super) const fn begins_control(self) -> bool {
        self.is_first() && self.is_control() && !self.is_number()
    }

    /// Whether a segment can have this length.
    pub(super) const fn fits(length: u8) -> bool {
        length as usize >= HEAD
    }

    const fn is_whole_data(self) -> bool {
        self.0 & !0x0f == Flags::DATA.0
    }
}

/// A step of the framer.
pub(super) enum Step<'a> {
    /// All of the input is used up.
    More,
    /// A data record in one segment, all of it in the input: nothing was copied.
    Whole(&'a [u8]),
    /// A record is complete in [`Framer::record`].
    Built {
        /// It is a control record.
        control: bool,
    },
}

/// Bytes to logical records. Memory: the longest record allowed.
#[derive(Debug)]
pub(super) struct Framer {
    limits: Limits,
    /// Bytes taken.
    offset: u64,
    /// Where the segment and the record began.
    segment_at: u64,
    record_at: u64,
    /// Records begun.
    number: u64,
    state: State,
    /// A record is open, and whether it is a control record.
    open: Option<bool>,
    /// The data of the record so far.
    record: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between segments.
    Length,
    /// The length is known.
    Flags(u8),
    /// `left` bytes of data to come.
    Data { flags: Flags, left: usize },
}

impl Framer {
    pub(super) fn new(limits: Limits) -> Framer {
        Framer {
            limits,
            offset: 0,
            segment_at: 0,
            record_at: 0,
            number: 0,
            state: State::Length,
            open: None,
            record: Vec::new(),
        }
    }

    /// Exchanges the complete record for a buffer to build the next one in.
    pub(super) fn swap(&mut self, buffer: &mut Vec<u8>) {
        std::mem::swap(&mut self.record, buffer);
    }

    /// An error at the record that was read last.
    pub(super) fn at_record(&self, fault: Fault) -> Error {
        Error {
            record: self.number.max(1),
            offset: self.record_at,
            fault,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn records(&self) -> u64 {
        self.number
    }

    fn at_segment(&self, fault: Fault) -> Error {
        // A segment that belongs to no open record would have been the next one's.
        let record = self.number + u64::from(self.open.is_none());
        Error {
            record,
            offset: self.segment_at,
            fault,
        }
    }

    /// Takes bytes until a record is complete.
    ///
    /// # Errors
    /// Segments that do not fit together, or a record that is too long.
    #[inline]
    pub(super) fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Error> {
        if let (State::Length, None, [length, flags, rest @ ..]) = (self.state, self.open, *input)
            && Flags(*flags).is_whole_data()
            && let Some(data) = usize::from(*length).checked_sub(HEAD)
            && let Some((data, rest)) = rest.split_at_checked(data)
            && data.len() <= self.limits.record
        {
            self.segment_at = self.offset;
            self.record_at = self.offset;
            self.number += 1;
            self.offset += u64::from(*length);
            *input = rest;
            return Ok(Step::Whole(data));
        }
        self.assemble(input)
    }

    fn assemble<'a>(&mut self, input: &mut &'a [u8]) -> Result<Step<'a>, Error> {
        loop {
            match self.state {
                State::Length => {
                    let Some((&length, rest)) = input.split_first() else {
                        return Ok(Step::More);
                    };
                    self.segment_at = self.offset;
                    if !Flags::fits(length) {
                        return Err(self.at_segment(Fault::SegmentLength { length }));
                    }
                    self.take(input, rest, 1);
                    self.state = State::Flags(length);
                }
                State::Flags(length) => {
                    let Some((&flags, rest)) = input.split_first() else {
                        return Ok(Step::More);
                    };
                    let flags = Flags(flags);
                    self.begin(flags)?;
                    self.take(input, rest, 1);
                    let left = usize::from(length) - HEAD;
                    self.state = State::Data { flags, left };
                }
                State::Data { flags, left } => {
                    let (data, rest) = input.split_at_checked(left).unwrap_or((input, &[]));
                    self.take(input, rest, data.len());
                    if !flags.is_number() {
                        self.extend(data, flags)?;
                    }
                    if data.len() < left {
                        let left = left - data.len();
                        self.state = State::Data { flags, left };
                        return Ok(Step::More);
                    }
                    self.state = State::Length;
                    if flags.is_last() && !flags.is_number() {
                        self.open = None;
                        return Ok(Step::Built {
                            control: flags.is_control(),
                        });
                    }
                }
            }
        }
    }

    fn take<'a>(&mut self, input: &mut &'a [u8], rest: &'a [u8], taken: usize) {
        *input = rest;
        self.offset += taken as u64;
    }

    fn begin(&mut self, flags: Flags) -> Result<(), Error> {
        if flags.is_number() {
            return Ok(());
        }
        match (self.open, flags.is_first()) {
            (None, true) => {
                self.number += 1;
                self.record_at = self.segment_at;
                self.record.clear();
                self.open = Some(flags.is_control());
                Ok(())
            }
            (Some(control), false) if control == flags.is_control() => Ok(()),
            (Some(_), false) => Err(self.at_segment(Fault::Mixed)),
            (Some(_), true) => Err(self.at_segment(Fault::RecordInRecord)),
            (None, false) => Err(self.at_segment(Fault::NothingToContinue)),
        }
    }

    fn extend(&mut self, data: &[u8], flags: Flags) -> Result<(), Error> {
        let limit = match flags.is_control() {
            true => self.limits.control,
            false => self.limits.record,
        };
        if self.record.len() + data.len() > limit {
            return Err(self.at_segment(Fault::RecordTooLong { limit: limit as u64 }));
        }
        self.record.extend_from_slice(data);
        Ok(())
    }

    /// The end of the bytes, where none may end.
    pub(super) fn cut(&self) -> Error {
        let place = match (self.state, self.open) {
            (State::Length, None) => Place::BeforeTrailer,
            (State::Length, Some(_)) => Place::InRecord,
            (State::Flags(_) | State::Data { .. }, _) => Place::InSegment,
        };
        Error {
            record: self.number.max(1),
            offset: self.offset,
            fault: Fault::Truncated { place },
        }
    }
}

/// Appends a record in as many segments as it takes.
///
/// ```
/// use uft::canon::netdata::write_segments;
///
/// let mut wire = Vec::new();
/// write_segments(b"\xc8\xc9", false, &mut wire);
/// assert_eq!(wire, b"\x04\xc0\xc8\xc9");
/// ```
#[inline]
pub fn write_segments(record: &[u8], control: bool, wire: &mut Vec<u8>) {
    let kind = if control { Flags::CONTROL_BIT } else { 0 };
    if record.len() <= SEGMENT_DATA {
        return segment(record, Flags::FIRST | Flags::LAST | kind, wire);
    }
    wire.reserve(record.len() + HEAD * (record.len() / SEGMENT_DATA + 1));
    let mut rest = record;
    let mut first = Flags::FIRST;
    while let Some((data, after)) = rest
        .split_at_checked(SEGMENT_DATA)
        .filter(|(_, after)| !after.is_empty())
    {
        segment(data, first | kind, wire);
        first = 0;
        rest = after;
    }
    segment(rest, Flags::LAST | kind, wire);
}

#[inline]
fn segment(data: &[u8], flags: u8, wire: &mut Vec<u8>) {
    let length = u8::try_from(data.len() + HEAD).unwrap_or(u8::MAX);
    wire.extend_from_slice(&[length, flags]);
    wire.extend_from_slice(data);
}
