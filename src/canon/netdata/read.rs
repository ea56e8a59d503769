//! The reader: from the bytes of a stream to what it says and holds, in the order in which it comes.
//!
//! What it does *not* do: convert text (`text.rs`), take libraries apart (`unload.rs`), or keep a file in memory
//! (`contents.rs`).

use std::collections::BTreeMap;
use std::ops::Range;

use super::control::{Control, FileStep, Header};
use super::deblock::{self, Cut, Rule};
use super::error::{Error, Fault};
use super::file::FileInfo;
use super::receipt::Receipt;
use super::segment::{Framer, Step};
use super::{ControlKind, Flags, HEAD, Limits, SIGNATURE, SIGNATURE_AT};

/// What comes next in a stream.
///
/// In order: `Control` INMR01, `Header`; for each file some `Control`s, `FileStart`, any number of `Record`s, `FileEnd`; or
/// `Control` INMR07 and `Ack` instead of files; at last `Control` INMR06 and `End`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A control record as it came. The other events say what is in it, so that it may be passed over.
    Control(Control<'a>),
    /// Who sends what to whom.
    Header(&'a Header),
    /// A file begins.
    FileStart(&'a FileInfo),
    /// A record of the file; of a library or an encrypted file, a record of the stream.
    Record(&'a [u8]),
    /// The file is complete.
    FileEnd(Tally),
    /// The stream is a receipt.
    Ack(&'a Receipt),
    /// The stream is complete; whatever follows is ignored.
    End,
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Records of the file.
    pub records: u64,
    /// Bytes of its records.
    pub bytes: u64,
    /// Records of the stream that were blocks, and have been cut.
    pub blocks: u64,
    /// Records whose headers (RDW) have been taken off.
    pub headers: u64,
    /// Fixed records longer than their declared length and no multiple of it, kept as they are.
    pub odd: u64,
}

impl Tally {
    /// What the recipient should know.
    pub fn notes(&self) -> Vec<String> {
        let notes = [
            (self.blocks, "blocks were cut into records"),
            (self.headers, "records lost the header that their length was in"),
            (
                self.odd,
                "records are longer than the declared length, and kept as they are",
            ),
        ];
        let notes = notes.into_iter().filter(|(count, _)| *count > 0);
        notes.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// A streaming reader: bytes in pieces of any size, in memory bounded by its [`Limits`]. After an error it is of no
/// further use.
///
/// ```
/// use uft::canon::netdata::{Event, Limits, Reader};
/// # use uft::canon::netdata::{FileSpec, Format, Name, Party, Plan, Stamp, Style, Writer};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut plan = Plan::new(Party::new("ALICE", "NODEA")?, Party::new("BOB", "NODEB")?, Stamp::of("2026-01-02T03:04:05Z".parse()?), Style::Cms);
/// # plan.files.push(FileSpec::new(Some(Name::cms("NOTES", "TEXT")?), Format::variable(80)));
/// # let (mut wire, mut writer) = (Vec::new(), Writer::new(&plan)?);
/// # writer.start(&mut wire)?;
/// # writer.record(b"\xc8\x85\x93\x93\x96", &mut wire)?;
/// # writer.finish(&mut wire)?;
///
/// let mut reader = Reader::new(Limits::default());
/// let mut seen = Vec::new();
/// // One byte at a time, as a slow line would bring them.
/// for piece in wire.chunks(1) {
///     let mut rest = piece;
///     while let Some(event) = reader.next(&mut rest)? {
///         match event {
///             Event::FileStart(file) => seen.push(format!("{} {}", file.name.as_ref().unwrap(), file.recfm)),
///             Event::Record(record) => seen.push(format!("{record:02x?}")),
///             _ => {}
///         }
///     }
/// }
/// reader.finish()?;
/// assert_eq!(seen, ["NOTES.TEXT V", "[c8, 85, 93, 93, 96]"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    framer: Framer,
    todo: Todo,
    /// The control record in hand, or the last one.
    control: Vec<u8>,
    /// Bytes of control records so far.
    control_bytes: usize,
    /// A record of several pieces.
    block: Vec<u8>,
    header: Header,
    begun: bool,
    /// Steps of files that have not begun.
    steps: BTreeMap<u32, Vec<FileStep>>,
    files: u32,
    file: Option<FileInfo>,
    rule: Rule,
    tally: Tally,
    receipt: Option<Receipt>,
    /// Records and bytes handed out.
    records: u64,
    bytes: u64,
    ignored: u64,
}

/// What the next call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Read,
    /// The block is one record.
    Record,
    /// The block from `at` on is records of `length` bytes, or behind headers.
    Block {
        at: usize,
        length: Option<usize>,
    },
    /// The control record ends a file.
    FileEnd,
    /// The control record itself.
    Control,
    /// What the control record means.
    Meaning(ControlKind),
    Done,
}

impl Reader {
    /// A reader of one stream.
    pub fn new(limits: Limits) -> Reader {
        Reader {
            framer: Framer::new(limits),
            limits,
            todo: Todo::Read,
            control: Vec::new(),
            control_bytes: 0,
            block: Vec::new(),
            header: Header::default(),
            begun: false,
            steps: BTreeMap::new(),
            files: 0,
            file: None,
            rule: Rule::AsSent,
            tally: Tally::default(),
            receipt: None,
            records: 0,
            bytes: 0,
            ignored: 0,
        }
    }

    /// The next event; `None` when the input is used up and more is needed.
    ///
    /// # Errors
    /// The stream is damaged, or beyond a limit.
    #[inline]
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        if self.todo == Todo::Read && self.file.is_some() {
            // The fast way: a record that lies in the input whole and is not a block.
            match self.framer.step(input)? {
                Step::More => return Ok(None),
                Step::Whole(record) => {
                    if let Cut::Whole = self.rule.cut(record) {
                        self.count(record.len())?;
                        return Ok(Some(Event::Record(record)));
                    }
                    self.block.clear();
                    self.block.extend_from_slice(record);
                    self.block_or_record()?;
                }
                Step::Built { control } => self.built(control)?,
            }
        }
        self.slow(input)
    }

    fn slow<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, Error> {
        loop {
            match self.todo {
                Todo::Read => {
                    self.check_signature(input)?;
                    match self.framer.step(input)? {
                        Step::More => return Ok(None),
                        Step::Whole(record) => {
                            self.block.clear();
                            self.block.extend_from_slice(record);
                            self.block_or_record()?;
                        }
                        Step::Built { control } => self.built(control)?,
                    }
                }
                Todo::Record => {
                    self.todo = Todo::Read;
                    self.count(self.block.len())?;
                    return Ok(Some(Event::Record(&self.block)));
                }
                Todo::Block { at, length } => {
                    let Some((record, at)) = piece(&self.block, at, length) else {
                        self.todo = Todo::Read;
                        continue;
                    };
                    self.todo = Todo::Block { at, length };
                    self.count(record.len())?;
                    return Ok(self.block.get(record).map(Event::Record));
                }
                Todo::FileEnd => {
                    self.todo = Todo::Control;
                    self.file = None;
                    return Ok(Some(Event::FileEnd(std::mem::take(&mut self.tally))));
                }
                Todo::Control => {
                    let bytes = std::mem::take(&mut self.control);
                    let kind = self.control(&bytes)?;
                    self.control = bytes;
                    self.todo = match kind {
                        ControlKind::Inmr01
                        | ControlKind::Inmr03
                        | ControlKind::Inmr06
                        | ControlKind::Inmr07 => Todo::Meaning(kind),
                        _ => Todo::Read,
                    };
                    let control =
                        Control::parse(&self.control, &self.limits).map_err(|f| self.framer.at_record(f))?;
                    return Ok(Some(Event::Control(control)));
                }
                Todo::Meaning(kind) => {
                    self.todo = Todo::Read;
                    match kind {
                        ControlKind::Inmr01 => return Ok(Some(Event::Header(&self.header))),
                        ControlKind::Inmr03 => return Ok(self.file.as_ref().map(Event::FileStart)),
                        ControlKind::Inmr07 => return Ok(self.receipt.as_ref().map(Event::Ack)),
                        _ => {
                            self.todo = Todo::Done;
                            return Ok(Some(Event::End));
                        }
                    }
                }
                Todo::Done => {
                    self.ignored += input.len() as u64;
                    *input = &[];
                    return Ok(None);
                }
            }
        }
    }

    /// The end of the bytes.
    ///
    /// # Errors
    /// The stream is not complete.
    pub fn finish(&self) -> Result<(), Error> {
        if self.is_complete() {
            return Ok(());
        }
        match self.framer.offset() < HEAD as u64 {
            true => Err(self.framer.at_record(Fault::NotNetdata)),
            false => Err(self.framer.cut()),
        }
    }

    /// Whether INMR06 was read.
    pub fn is_complete(&self) -> bool {
        self.todo == Todo::Done
    }

    /// Bytes behind INMR06, which do not belong to the stream: mostly the rest of a card.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Records of the stream so far, and bytes, control records included.
    pub fn position(&self) -> (u64, u64) {
        (self.framer.records(), self.framer.offset())
    }

    /// The first bytes say that this is NETDATA, or it is none: what else they could mean is of no interest.
    fn check_signature(&self, input: &[u8]) -> Result<(), Error> {
        let Ok(taken) = usize::try_from(self.framer.offset()) else {
            return Ok(());
        };
        let wanted = [0; SIGNATURE_AT]
            .into_iter()
            .chain(SIGNATURE)
            .enumerate()
            .skip(taken);
        let fits = wanted.zip(input).all(|((at, want), &byte)| match at {
            0 => Flags::fits(byte),
            1 => Flags(byte).begins_control(),
            _ => byte == want,
        });
        match fits {
            true => Ok(()),
            false => Err(self.framer.at_record(Fault::NotNetdata)),
        }
    }

    /// A record of several segments is complete.
    fn built(&mut self, control: bool) -> Result<(), Error> {
        if !control {
            self.framer.swap(&mut self.block);
            return self.block_or_record();
        }
        self.framer.swap(&mut self.control);
        let at = |fault| self.framer.at_record(fault);
        self.control_bytes += self.control.len();
        if self.control_bytes > self.limits.controls {
            let (what, limit) = ("bytes of control records", self.limits.controls as u64);
            return Err(at(Fault::TooMany { what, limit }));
        }
        let name = self.control.first_chunk().copied().map(ControlKind::from_ebcdic);
        let ends = matches!(name, Some(ControlKind::Inmr03 | ControlKind::Inmr06));
        self.todo = match ends && self.file.is_some() {
            true => Todo::FileEnd,
            false => Todo::Control,
        };
        Ok(())
    }

    /// The block is a record of the stream: one record of the file or several.
    fn block_or_record(&mut self) -> Result<(), Error> {
        if self.file.is_none() {
            let fault = if self.begun {
                Fault::DataOutsideFile
            } else {
                Fault::NotNetdata
            };
            return Err(self.framer.at_record(fault));
        }
        self.todo = match self.rule.cut(&self.block) {
            Cut::Whole => Todo::Record,
            Cut::Odd => {
                self.tally.odd += 1;
                Todo::Record
            }
            Cut::Every(length) => {
                self.tally.blocks += 1;
                let length = Some(length);
                Todo::Block { at: 0, length }
            }
            Cut::Headers => {
                self.tally.headers += 1;
                let length = None;
                Todo::Block { at: 0, length }
            }
        };
        Ok(())
    }

    fn count(&mut self, length: usize) -> Result<(), Error> {
        self.records += 1;
        self.bytes += length as u64;
        self.tally.records += 1;
        self.tally.bytes += length as u64;
        if self.records <= self.limits.records && self.bytes <= self.limits.total {
            return Ok(());
        }
        let (what, limit) = match self.records > self.limits.records {
            true => ("records", self.limits.records),
            false => ("bytes of records", self.limits.total),
        };
        Err(self.framer.at_record(Fault::TooMany { what, limit }))
    }

    /// Takes in what a control record says, if it may stand here.
    fn control(&mut self, bytes: &[u8]) -> Result<ControlKind, Error> {
        let at = |fault| self.framer.at_record(fault);
        if !self.begun && !bytes.starts_with(&SIGNATURE) {
            return Err(at(Fault::NotNetdata));
        }
        let control = Control::parse(bytes, &self.limits).map_err(at)?;
        let kind = control.kind;
        let misplaced = |why| at(Fault::Misplaced { record: kind, why });
        match kind {
            ControlKind::Inmr01 if self.begun => return Err(misplaced("comes twice")),
            ControlKind::Inmr01 => {
                self.header = Header::of(&control);
                self.begun = true;
            }
            ControlKind::Inmr02 | ControlKind::Inmr03 if self.receipt.is_some() => {
                return Err(misplaced("comes after a receipt"));
            }
            ControlKind::Inmr02 => {
                let step = FileStep::of(&control);
                if step.file <= self.files {
                    return Err(misplaced("is about a file that has begun"));
                }
                self.steps.entry(step.file).or_default().push(step);
            }
            ControlKind::Inmr03 => self.file_begins()?,
            ControlKind::Inmr07 if self.files > 0 || !self.steps.is_empty() => {
                return Err(misplaced("comes with a file"));
            }
            ControlKind::Inmr07 if self.receipt.is_some() => return Err(misplaced("comes twice")),
            ControlKind::Inmr07 => self.receipt = Some(Receipt::read(&control)),
            ControlKind::Inmr06 if !self.steps.is_empty() => {
                return Err(misplaced("comes before all files that INMR02 describes"));
            }
            ControlKind::Inmr04 | ControlKind::Inmr06 | ControlKind::Other(_) => {}
        }
        Ok(kind)
    }

    fn file_begins(&mut self) -> Result<(), Error> {
        self.files += 1;
        let at = |fault| self.framer.at_record(fault);
        let declared = self.header.files.filter(|&files| files > 0);
        let limit = declared
            .unwrap_or(Limits::UNDECLARED_FILES)
            .min(u64::from(self.limits.files));
        if u64::from(self.files) > limit {
            return Err(at(Fault::TooMany { what: "files", limit }));
        }
        let steps = self.steps.remove(&self.files).unwrap_or_default();
        let info = FileInfo::of(self.files, &steps).ok_or(at(Fault::Undescribed { file: self.files }))?;
        self.rule = Rule::of(&info);
        self.file = Some(info);
        Ok(())
    }
}

/// Where the record at `at` of a block is, and where the next begins. Fixed records are `length` bytes, others behind headers.
fn piece(block: &[u8], at: usize, length: Option<usize>) -> Option<(Range<usize>, usize)> {
    match length {
        Some(length) => {
            let end = at.saturating_add(length).min(block.len());
            (at < end).then_some((at..end, end))
        }
        None => {
            let (record, rest) = deblock::next(block.get(at..)?)?;
            let end = block.len() - rest.len();
            Some((end - record.len()..end, end))
        }
    }
}
