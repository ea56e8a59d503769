//! The writer: from a plan and the records of its files to the bytes of a stream.
//!
//! What it does *not* do: make records of text or octets (`text.rs`).

use super::plan::{BadPlan, FileSpec, Format, Plan};
use super::segment::write_segments;
use super::unit::ControlBuilder;
use super::{ControlKind, Style};
use crate::canon::Misfit;

/// Bytes of a card, which carries the stream where there are cards.
pub(super) const CARD: u8 = 80;

/// Why something cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The plan is none.
    #[error(transparent)]
    Plan(#[from] BadPlan),
    /// Text that does not fit.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// A record longer than the format of its file.
    #[error("a record of {length} bytes in a file of records of up to {limit}")]
    RecordTooLong {
        /// Its length.
        length: usize,
        /// The most.
        limit: u32,
    },
    /// A file more than the plan has, a record outside of any, or an end before the last file.
    #[error("{0}")]
    OutOfOrder(&'static str),
}

/// A streaming writer. Everything is appended to the buffer of the caller, who empties it between calls.
///
/// ```
/// use uft::canon::netdata::{FileSpec, Format, Name, Party, Plan, Stamp, Style, Writer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (from, to) = (Party::new("ALICE", "NODEA")?, Party::new("BOB", "NODEB")?);
/// let mut plan = Plan::new(from, to, Stamp::of("2026-01-02T03:04:05Z".parse()?), Style::Tso);
/// plan.files.push(FileSpec::new(None, Format::fixed_text(80)));
/// plan.files.push(FileSpec::new(Some(Name::dataset("ALICE.DATA")?), Format::fixed_octets(1024)));
///
/// let mut wire = Vec::new();
/// let mut writer = Writer::new(&plan)?;
/// writer.start(&mut wire)?;
/// writer.record(b"\xc8\xc5\xd9\xc5\x40\xc9\xe3\x40\xc9\xe2", &mut wire)?;
/// writer.start(&mut wire)?;
/// writer.record(&[0; 1024], &mut wire)?;
/// writer.finish(&mut wire)?;
/// assert_eq!(wire.len() % 80, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer {
    style: Style,
    pad: bool,
    /// Files that have not begun, the next one last.
    files: Vec<FileSpec>,
    /// INMR01 and INMR02, until the first file begins.
    head: Vec<u8>,
    format: Option<Format>,
    /// Bytes written, of which the padding makes a whole number of cards.
    written: u64,
    filled: Vec<u8>,
}

impl Writer {
    /// A writer of a transmission.
    ///
    /// # Errors
    /// There is no file, a name is of the other style, or a record length is none.
    pub fn new(plan: &Plan) -> Result<Writer, BadPlan> {
        plan.check()?;
        let mut head = Vec::new();
        plan.head(&mut head);
        Ok(Writer {
            style: plan.style,
            pad: plan.pad,
            files: plan.files.iter().rev().cloned().collect(),
            head,
            format: None,
            written: 0,
            filled: Vec::new(),
        })
    }

    /// Begins the next file of the plan; the one before is complete.
    ///
    /// # Errors
    /// There is none.
    pub fn start(&mut self, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        let file = self
            .files
            .pop()
            .ok_or(WriteError::OutOfOrder("all files of the plan have been written"))?;
        let before = wire.len();
        wire.append(&mut self.head);
        file.beginning(self.style, wire);
        self.written += (wire.len() - before) as u64;
        self.format = Some(file.format);
        Ok(())
    }

    /// A record of the file.
    ///
    /// # Errors
    /// It is longer than the format of the file says, or no file has begun.
    #[inline]
    pub fn record(&mut self, record: &[u8], wire: &mut Vec<u8>) -> Result<(), WriteError> {
        let format = self
            .format
            .ok_or(WriteError::OutOfOrder("a record before the first file"))?;
        let limit = format.length();
        let length = record.len();
        if length > limit as usize {
            return Err(WriteError::RecordTooLong { length, limit });
        }
        let before = wire.len();
        match format {
            Format::Fixed { fill: Some(fill), .. } if length < limit as usize => {
                self.filled.clear();
                self.filled.extend_from_slice(record);
                self.filled.resize(limit as usize, fill);
                write_segments(&self.filled, false, wire);
            }
            Format::Fixed { .. } | Format::Variable { .. } => write_segments(record, false, wire),
        }
        self.written += (wire.len() - before) as u64;
        Ok(())
    }

    /// The end of the last file, and of the transmission.
    ///
    /// # Errors
    /// Files of the plan are missing.
    pub fn finish(mut self, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        if !self.files.is_empty() {
            return Err(WriteError::OutOfOrder(
                "the transmission ends before its last file",
            ));
        }
        let before = wire.len();
        ControlBuilder::new(ControlKind::Inmr06).write(wire);
        self.written += (wire.len() - before) as u64;
        if self.pad {
            pad(self.written, wire);
        }
        Ok(())
    }

    /// Bytes of a record of the file that has begun, at most.
    pub(super) fn limit(&self) -> Option<usize> {
        self.format.map(|format| format.length() as usize)
    }
}

/// Fills the last card of a stream of `written` bytes with 00, as CMS does.
pub(super) fn pad(written: u64, wire: &mut Vec<u8>) {
    let card = u64::from(CARD);
    let missing = (card - written % card) % card;
    wire.resize(wire.len() + usize::try_from(missing).unwrap_or_default(), 0);
}
