//! From a local file to the wire form of its type: the sender's direction.
//!
//! | type | wire form |
//! |---|---|
//! | A, M | a CR before every LF that has none; the bytes are not looked at otherwise |
//! | E | UTF-8 to the page: LF is 15, U+0085 is 25; nothing is lost silently ([`Policy`]) |
//! | V, W, X | a record a line, after its length in 2, 4 or 8 bytes; converted when a page is named, else the bytes |
//! | F | a record a line, filled with blanks; a longer line does not fit |
//! | I, N | the bytes (N: the file is NETDATA already) |
//!
//! LF alone separates lines: a CR before it is a byte of its record, and counted in a note. What follows the last LF is
//! a record too.
//!
//! What it does *not* do: choose the type, read files, or build NETDATA.

use memchr::memchr;
use uft_spool::FileType;

use super::ebcdic::ToPage;
use super::page::Page;
use super::text::ToCrlf;
use super::{Framing, Handling, MAX_RECORD, handling};

/// What to do about a character that is not in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// The file does not fit: [`Misfit`].
    #[default]
    Refuse,
    /// It becomes SUB (3F), and is counted; so does a malformed sequence.
    Substitute,
    /// A small table of typography (quotes, dashes, blanks, euro sign) is tried; the rest is refused.
    Translit,
    /// The table first, SUB for the rest.
    TranslitThenSubstitute,
}

impl Policy {
    /// The policy of two switches.
    pub fn of(translit: bool, substitute: bool) -> Policy {
        match (translit, substitute) {
            (false, false) => Policy::Refuse,
            (false, true) => Policy::Substitute,
            (true, false) => Policy::Translit,
            (true, true) => Policy::TranslitThenSubstitute,
        }
    }

    pub(super) fn substitutes(self) -> bool {
        matches!(self, Policy::Substitute | Policy::TranslitThenSubstitute)
    }

    pub(super) fn transliterates(self) -> bool {
        matches!(self, Policy::Translit | Policy::TranslitThenSubstitute)
    }
}

/// Why a file does not fit its type. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A character that is not in the page.
    #[error("line {line}, column {column}: {character:?} (U+{:04X}) is not in {page}", u32::from(*.character))]
    Character {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
        /// The character.
        character: char,
        /// The page.
        page: Page,
    },
    /// A byte that begins no character.
    #[error("line {line}, column {column}: byte {byte:02X} is not UTF-8")]
    Byte {
        /// Its line.
        line: u64,
        /// Its column.
        column: u64,
        /// The byte.
        byte: u8,
    },
    /// A line that no record of the type can hold.
    #[error("line {line}: longer than {limit} bytes, the most a record can hold")]
    LineTooLong {
        /// The line.
        line: u64,
        /// Bytes a record.
        limit: u64,
    },
    /// Type F without the length of its records, or with one that no record has.
    #[error("type F needs a record length of 1 to {} bytes", u16::MAX)]
    NoRecordLength,
}

/// What was done besides the plain conversion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Characters and malformed sequences replaced by SUB.
    pub substituted: u64,
    /// Characters written as others.
    pub transliterated: u64,
    /// What the sender should know, counts included.
    pub notes: Vec<String>,
}

/// Local file to wire form, in pieces of any size. After an error it is of no further use.
pub struct Encoder {
    engine: Engine,
}

enum Engine {
    Same,
    Text(ToCrlf),
    Page(Box<ToPage>),
    Records(Box<ToRecords>),
    NoRecordLength,
}

impl Encoder {
    /// An encoder of a type. `page` is used by E (default [`Page::DEFAULT`]) and by records (default: the bytes as they
    /// are), `record_length` by F alone, which needs one (1 to 65535).
    pub fn new(
        file_type: FileType,
        page: Option<Page>,
        policy: Policy,
        record_length: Option<u32>,
    ) -> Encoder {
        let engine = match handling(file_type) {
            Handling::Text | Handling::Mail => Engine::Text(ToCrlf::bare()),
            Handling::Ebcdic => Engine::Page(Box::new(ToPage::new(page.unwrap_or_default(), policy))),
            Handling::Netdata | Handling::Octets => Engine::Same,
            Handling::Records(framing) => match ToRecords::new(framing, page, policy, record_length) {
                Some(records) => Engine::Records(Box::new(records)),
                None => Engine::NoRecordLength,
            },
        };
        Encoder { engine }
    }

    /// Whether the wire form may differ from the file.
    pub fn converts(&self) -> bool {
        !matches!(self.engine, Engine::Same)
    }

    /// Converts the next bytes of the file, appending to `wire`.
    ///
    /// # Errors
    /// The first place that does not fit; what was appended is then of no use.
    pub fn feed(&mut self, local: &[u8], wire: &mut Vec<u8>) -> Result<(), Misfit> {
        match &mut self.engine {
            Engine::Same => wire.extend_from_slice(local),
            Engine::Text(text) => text.feed(local, wire),
            Engine::Page(page) => page.feed(local, wire)?,
            Engine::Records(records) => records.feed(local, wire)?,
            Engine::NoRecordLength => return Err(Misfit::NoRecordLength),
        }
        Ok(())
    }

    /// The end of the file.
    ///
    /// # Errors
    /// As for [`Encoder::feed`]: a character may have been cut by the end.
    pub fn finish(self, wire: &mut Vec<u8>) -> Result<Report, Misfit> {
        let mut report = Report::default();
        let page = match self.engine {
            Engine::Same | Engine::Text(_) => None,
            Engine::Page(mut page) => {
                page.end(wire)?;
                Some(*page)
            }
            Engine::Records(mut records) => {
                records.end(wire)?;
                report.notes = records.notes();
                records.page
            }
            Engine::NoRecordLength => return Err(Misfit::NoRecordLength),
        };
        if let Some(page) = page {
            (report.substituted, report.transliterated) = page.counts();
        }
        let counts = [
            (report.substituted, "replaced by SUB"),
            (report.transliterated, "written as others"),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        report
            .notes
            .extend(counts.map(|(count, how)| format!("{} {how}", plural(count, "character"))));
        Ok(report)
    }
}

/// Lines to records.
struct ToRecords {
    framing: Framing,
    /// Bytes a record: the most, or for F exactly.
    limit: usize,
    page: Option<ToPage>,
    record: Vec<u8>,
    /// The line has begun: a record is due even if nothing of it has come out yet.
    open: bool,
    line: u64,
    /// The last byte of the line so far was a CR.
    after_cr: bool,
    cr_lines: u64,
    unended: bool,
}

impl ToRecords {
    fn new(framing: Framing, page: Option<Page>, policy: Policy, length: Option<u32>) -> Option<ToRecords> {
        let limit = match framing {
            Framing::Length16 => u64::from(u16::MAX),
            Framing::Length32 | Framing::Length64 => MAX_RECORD,
            // Every line is filled up to this length: it is bounded, so that short lines do not become gigabytes.
            Framing::Fixed => u64::from(u16::try_from(length?).ok().filter(|&length| length > 0)?),
        };
        Some(ToRecords {
            framing,
            limit: usize::try_from(limit).ok()?,
            page: page.map(|page| ToPage::new(page, policy)),
            record: Vec::new(),
            open: false,
            line: 1,
            after_cr: false,
            cr_lines: 0,
            unended: false,
        })
    }

    fn feed(&mut self, local: &[u8], wire: &mut Vec<u8>) -> Result<(), Misfit> {
        let mut rest = local;
        while let Some((line, after)) = memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
            self.part(line)?;
            self.cr_lines += u64::from(self.after_cr);
            self.record_ends(wire)?;
            rest = after.get(1..).unwrap_or_default();
        }
        self.part(rest)
    }

    fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        if self.open {
            self.unended = true;
            self.record_ends(wire)?;
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.cr_lines > 0 {
            notes.push(format!(
                "{} with a CR at the end, kept in the record",
                plural(self.cr_lines, "line")
            ));
        }
        if self.unended {
            notes.push("the last line has no line end; its record is like the others".into());
        }
        notes
    }

    fn part(&mut self, line: &[u8]) -> Result<(), Misfit> {
        let Some(&last) = line.last() else { return Ok(()) };
        self.open = true;
        self.after_cr = last == b'\r';
        let converted = match &mut self.page {
            Some(page) => page.feed(line, &mut self.record),
            None => {
                // One byte over the limit is enough to know: a line of many gigabytes is not collected first.
                let room = (self.limit + 1).saturating_sub(self.record.len());
                self.record.extend_from_slice(line.get(..room).unwrap_or(line));
                Ok(())
            }
        };
        // The length first: which of two misfits of a line is named must not depend on how the file was cut.
        self.fits()?;
        converted
    }

    fn record_ends(&mut self, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        if let Some(page) = &mut self.page {
            let ended = page.end(&mut self.record);
            page.next_line();
            self.fits()?;
            ended?;
        }
        let length = self.record.len();
        match self.framing {
            Framing::Length16 => {
                wire.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes())
            }
            Framing::Length32 => {
                wire.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes())
            }
            Framing::Length64 => wire.extend_from_slice(&(length as u64).to_be_bytes()),
            Framing::Fixed => {}
        }
        wire.append(&mut self.record);
        if self.framing == Framing::Fixed {
            let blank = if self.page.is_some() { 0x40 } else { b' ' };
            wire.resize(wire.len() + (self.limit - length), blank);
        }
        self.line += 1;
        self.open = false;
        self.after_cr = false;
        Ok(())
    }

    fn fits(&self) -> Result<(), Misfit> {
        match self.record.len() > self.limit {
            true => Err(Misfit::LineTooLong {
                line: self.line,
                limit: self.limit as u64,
            }),
            false => Ok(()),
        }
    }
}

fn plural(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
