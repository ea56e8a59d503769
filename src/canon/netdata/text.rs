//! Text and octets to records and back.
//!
//! | | record | text |
//! |---|---|---|
//! | empty line | one blank (40), as CMS sends it | an empty line |
//! | fixed records | filled up with blanks | blanks at the end are dropped |
//! | variable records | the line | the record; only a record that is one blank is an empty line |
//! | line ends in a record (15, 25) | | U+0085: a record cannot forge a line |
//! | last line without a line end | a record like the others | has a line end |
//!
//! What it does *not* do: choose a page, or carriage control: its byte stays the first of its record.

use memchr::{memchr, memchr2};

use super::file::FileInfo;
use super::format::{Carriage, Form, Recfm};
use super::plan::{FileSpec, Format, Plan};
use super::write::{WriteError, Writer};
use super::{BadPlan, Name, Party, Stamp};
use crate::canon::ebcdic::{DISARMED, FromPage, Newlines, ToPage};
use crate::canon::{Misfit, Page, Policy, Report};

const BLANK: u8 = 0x40;
/// Line end in a page, and the byte of U+0085.
const NL: u8 = 0x15;
const NEL: u8 = 0x25;
const CR: u8 = 0x0d;
/// Bytes that are converted together.
const BATCH: usize = 32 << 10;

/// How lines of text end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Newline {
    /// LF.
    #[default]
    Lf,
    /// CR LF.
    CrLf,
}

/// Records to lines of UTF-8.
///
/// ```
/// # use uft::canon::netdata::{Limits, Newline, Party, Plan, RecordText, Stamp, decode};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wire = Plan::of_text(Party::new("A", "B")?, Party::new("C", "D")?, Stamp::of("2026-01-02T03:04:05Z".parse()?), "a.b", "Hello\n")?;
/// # let contents = decode(&wire, Limits::default())?;
/// let file = &contents.files[0];
/// let mut text = RecordText::new(&file.info, uft::canon::Page::DEFAULT, Newline::CrLf);
/// let mut lines = Vec::new();
/// for record in file.records() {
///     text.record(record, &mut lines);
/// }
/// assert!(text.finish(&mut lines).is_empty());
/// assert_eq!(lines, b"Hello\r\n");
/// # Ok(())
/// # }
/// ```
pub struct RecordText {
    page: FromPage,
    newline: Newline,
    strip: Strip,
    /// Records in the page, each with its line end, that have not been converted.
    pending: Vec<u8>,
    disarmed: bool,
}

/// Which blanks at the end of a record are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strip {
    /// All: they fill up a fixed record.
    All,
    /// The one of an empty line.
    Lone,
}

impl RecordText {
    /// A converter of the records of a file.
    pub fn new(info: &FileInfo, page: Page, newline: Newline) -> RecordText {
        RecordText::of_recfm(info.recfm, page, newline)
    }

    /// A converter of the records of the members of a library: their format is that of the
    /// [`Unload`](super::Unload::recfm), not that of the file.
    pub fn of_recfm(recfm: Recfm, page: Page, newline: Newline) -> RecordText {
        RecordText {
            page: FromPage::new(page, Newlines::Kept),
            newline,
            strip: match recfm.form() {
                Form::Fixed => Strip::All,
                Form::Variable | Form::Undefined => Strip::Lone,
            },
            pending: Vec::new(),
            disarmed: false,
        }
    }

    /// Converts a record; its line may come out with a later one.
    #[inline]
    pub fn record(&mut self, record: &[u8], text: &mut Vec<u8>) {
        let kept = match self.strip {
            Strip::Lone if record == [BLANK] => &[],
            Strip::Lone => record,
            Strip::All => without_blanks(record),
        };
        let start = self.pending.len();
        self.pending.extend_from_slice(kept);
        if memchr2(NL, NEL, kept).is_some() {
            self.disarmed = true;
            for byte in self.pending.iter_mut().skip(start).filter(|byte| **byte == NL) {
                *byte = NEL;
            }
        }
        match self.newline {
            Newline::Lf => self.pending.push(NL),
            Newline::CrLf => self.pending.extend_from_slice(&[CR, NL]),
        }
        if self.pending.len() >= BATCH {
            self.flush(text);
        }
    }

    /// Converts what has waited; also what the recipient should know.
    pub fn finish(mut self, text: &mut Vec<u8>) -> Vec<String> {
        self.flush(text);
        let mut notes = self.page.notes();
        if self.disarmed {
            notes.push(DISARMED.into());
        }
        notes
    }

    fn flush(&mut self, text: &mut Vec<u8>) {
        self.page.feed(&self.pending, text);
        self.pending.clear();
    }
}

impl std::fmt::Debug for RecordText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordText")
            .field("strip", &self.strip)
            .finish_non_exhaustive()
    }
}

/// Blanks at the end dropped, a word at a time.
#[inline]
fn without_blanks(record: &[u8]) -> &[u8] {
    const WORD: usize = 8;
    let mut kept = record;
    while let Some((before, [BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK, BLANK])) =
        kept.split_last_chunk::<WORD>()
    {
        kept = before;
    }
    while let [before @ .., BLANK] = kept {
        kept = before;
    }
    kept
}

/// Whether the records of a file look like text: no byte below 40 but TAB, CR, the line ends and the shifts.
#[derive(Clone, Copy, Debug)]
pub struct Sniffer {
    text: bool,
    /// The first byte of every record is a channel command, not text.
    skip: usize,
}

impl Sniffer {
    /// For the records of a file.
    pub fn new(info: &FileInfo) -> Sniffer {
        Sniffer {
            text: info.may_be_text(),
            skip: usize::from(info.carriage() == Some(Carriage::Machine)),
        }
    }

    /// For the records of a member of a library, by the format of the [`Unload`](super::Unload::recfm).
    pub fn of_recfm(recfm: Recfm) -> Sniffer {
        Sniffer {
            text: recfm.form() != Form::Undefined,
            skip: usize::from(recfm.carriage() == Some(Carriage::Machine)),
        }
    }

    /// Looks at a record.
    pub fn record(&mut self, record: &[u8]) {
        let record = record.get(self.skip..).unwrap_or_default();
        let low = |byte: &u8| *byte < BLANK;
        if self.text && record.iter().filter(|byte| low(byte)).count() > 0 {
            let odd = |byte: &u8| low(byte) && !matches!(*byte, 0x05 | CR | NL | NEL | 0x0e | 0x0f);
            self.text = !record.iter().any(odd);
        }
    }

    /// Whether all of them looked like text.
    pub fn is_text(&self) -> bool {
        self.text
    }
}

/// UTF-8 text to the records of a file, a line a record; LF alone ends a line.
///
/// ```
/// use uft::canon::{Page, Policy};
/// use uft::canon::netdata::TextRecords;
///
/// let mut longest = 0;
/// let mut text = TextRecords::new(Page::DEFAULT, Policy::Refuse, 65_535);
/// let mut sink = |record: &[u8]| Ok(longest = longest.max(record.len()));
/// text.each("Grüße\n\nund Küsse".as_bytes(), &mut sink)?;
/// let report = text.end(&mut sink)?;
/// assert_eq!(longest, 9);
/// assert_eq!(report.notes, ["the last line has no line end; its record is like the others"]);
/// # Ok::<(), uft::canon::netdata::WriteError>(())
/// ```
pub struct TextRecords {
    page: ToPage,
    /// Converted text, `start` bytes of it written. It ends with a line that is not complete.
    converted: Vec<u8>,
    limit: usize,
    line: u64,
    lone_blanks: u64,
    unended: bool,
}

impl TextRecords {
    /// A converter; a line is at most `limit` bytes in the page.
    pub fn new(page: Page, policy: Policy, limit: usize) -> TextRecords {
        TextRecords {
            page: ToPage::new(page, policy),
            converted: Vec::new(),
            limit,
            line: 1,
            lone_blanks: 0,
            unended: false,
        }
    }

    /// Converts the next bytes of the text, each complete line into a record of the file that the writer has begun.
    ///
    /// # Errors
    /// The first place that does not fit.
    pub fn feed(&mut self, text: &[u8], writer: &mut Writer, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        self.narrow(writer);
        self.each(text, &mut |record| writer.record(record, wire))
    }

    /// The end of the text.
    ///
    /// # Errors
    /// As for [`TextRecords::feed`].
    pub fn finish(mut self, writer: &mut Writer, wire: &mut Vec<u8>) -> Result<Report, WriteError> {
        self.narrow(writer);
        self.end(&mut |record| writer.record(record, wire))
    }

    /// A line too long is named by its number, which the writer does not know.
    fn narrow(&mut self, writer: &Writer) {
        self.limit = self.limit.min(writer.limit().unwrap_or(self.limit));
    }

    /// As [`TextRecords::feed`], with the records to a function: to measure a text before it is sent.
    ///
    /// # Errors
    /// The first place that does not fit, or the error of the function.
    pub fn each(
        &mut self,
        text: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        for piece in text.chunks(BATCH) {
            let seen = self.converted.len();
            let fits = self.page.feed(piece, &mut self.converted);
            // What came before the misfit first: which of two faults is named must not depend on the pieces.
            self.lines(seen, sink)?;
            fits?;
        }
        Ok(())
    }

    /// As [`TextRecords::finish`], with the records to a function.
    ///
    /// # Errors
    /// As for [`TextRecords::each`].
    pub fn end(
        mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), WriteError>,
    ) -> Result<Report, WriteError> {
        let seen = self.converted.len();
        let fits = self.page.end(&mut self.converted);
        self.lines(seen, sink)?;
        fits?;
        if !self.converted.is_empty() {
            self.unended = true;
            let line = std::mem::take(&mut self.converted);
            self.line(&line, sink)?;
        }
        let (substituted, transliterated) = self.page.counts();
        let mut notes = Vec::new();
        if self.unended {
            notes.push("the last line has no line end; its record is like the others".into());
        }
        if self.lone_blanks > 0 {
            notes.push(format!("{} of one blank: read as empty lines", self.lone_blanks));
        }
        for (count, how) in [
            (substituted, "replaced by SUB"),
            (transliterated, "written as others"),
        ] {
            if count > 0 {
                notes.push(format!("characters {how}: {count}"));
            }
        }
        Ok(Report {
            substituted,
            transliterated,
            notes,
        })
    }

    /// Writes the complete lines of `converted`; its first `seen` bytes have no line end.
    fn lines(
        &mut self,
        seen: usize,
        sink: &mut impl FnMut(&[u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let converted = std::mem::take(&mut self.converted);
        let mut rest = converted.as_slice();
        let mut seen = seen;
        while let Some((line, after)) = rest
            .get(seen..)
            .and_then(|new| memchr(NL, new))
            .and_then(|at| rest.split_at_checked(seen + at))
        {
            self.line(line, sink)?;
            rest = after.get(1..).unwrap_or_default();
            seen = 0;
        }
        let fits = self.fits(rest);
        let left = rest.len();
        let mut converted = converted;
        converted.drain(..converted.len() - left);
        self.converted = converted;
        fits
    }

    fn line(
        &mut self,
        line: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.fits(line)?;
        self.lone_blanks += u64::from(line == [BLANK]);
        self.line += 1;
        match line {
            [] => sink(&[BLANK]),
            line => sink(line),
        }
    }

    fn fits(&self, line: &[u8]) -> Result<(), WriteError> {
        match line.len() > self.limit {
            true => Err(WriteError::Misfit(Misfit::LineTooLong {
                line: self.line,
                limit: self.limit as u64,
            })),
            false => Ok(()),
        }
    }
}

impl std::fmt::Debug for TextRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextRecords")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// Octets to the records of a file: all as long as its format says, the last as long as it comes.
#[derive(Debug, Default)]
pub struct OctetRecords {
    /// The beginning of a record.
    open: Vec<u8>,
}

impl OctetRecords {
    /// A converter.
    pub fn new() -> OctetRecords {
        OctetRecords::default()
    }

    /// Writes the complete records of the next bytes.
    ///
    /// # Errors
    /// No file has begun.
    pub fn feed(&mut self, octets: &[u8], writer: &mut Writer, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        let length = writer
            .limit()
            .ok_or(WriteError::OutOfOrder("octets before the first file"))?;
        let mut rest = octets;
        if !self.open.is_empty() {
            let missing = length.saturating_sub(self.open.len());
            let (more, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.open.extend_from_slice(more);
            rest = after;
            if self.open.len() < length {
                return Ok(());
            }
            writer.record(&self.open, wire)?;
            self.open.clear();
        }
        let mut records = rest.chunks_exact(length);
        for record in &mut records {
            writer.record(record, wire)?;
        }
        self.open.extend_from_slice(records.remainder());
        Ok(())
    }

    /// Writes the last record, if one has begun.
    ///
    /// # Errors
    /// No file has begun.
    pub fn finish(self, writer: &mut Writer, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        match self.open.is_empty() {
            true => Ok(()),
            false => writer.record(&self.open, wire),
        }
    }
}

impl Plan {
    /// A whole transmission of one text, in the page of those who name none; the style is that of the name that fits.
    ///
    /// # Errors
    /// A character that the page lacks, or a line of more than 65535 bytes.
    pub fn of_text(
        from: Party,
        to: Party,
        sent: Stamp,
        file: &str,
        text: &str,
    ) -> Result<Vec<u8>, WriteError> {
        let most = super::plan::RECORD_MAX as usize;
        let mut longest: usize = 1;
        let mut measure = TextRecords::new(Page::DEFAULT, Policy::Refuse, most);
        let mut sink = |record: &[u8]| {
            longest = longest.max(record.len());
            Ok(())
        };
        measure.each(text.as_bytes(), &mut sink)?;
        measure.end(&mut sink)?;
        let longest = u32::try_from(longest).map_err(|_| BadPlan::RecordLength { length: u32::MAX })?;

        let name = Name::of_file(file);
        let mut plan = Plan::new(from, to, sent, name.style());
        plan.files.push(FileSpec {
            size: Some(text.len() as u64),
            ..FileSpec::new(Some(name), Format::variable(longest))
        });
        let mut wire = Vec::with_capacity(text.len() + text.len() / 8 + 1024);
        let mut writer = Writer::new(&plan)?;
        writer.start(&mut wire)?;
        let mut records = TextRecords::new(Page::DEFAULT, Policy::Refuse, most);
        records.feed(text.as_bytes(), &mut writer, &mut wire)?;
        records.finish(&mut writer, &mut wire)?;
        writer.finish(&mut wire)?;
        Ok(wire)
    }
}
