//! A summary of a stream, in constant memory but for the lists of files and members: what a listing shows.
//!
//! What it does *not* do: keep a record.

use super::Limits;
use super::control::Header;
use super::directory::Member;
use super::error::{Error, Fault};
use super::file::{FileInfo, FileKind};
use super::format::Recfm;
use super::read::{Event, Reader, Tally};
use super::receipt::Receipt;
use super::text::Sniffer;
use super::unload::{Unload, UnloadEvent, UnloadTally};

/// What a stream says and holds, without its records.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// From whom to whom.
    pub header: Header,
    /// The files, notes included.
    pub files: Vec<FileSummary>,
    /// The stream is a receipt; it has no files.
    pub receipt: Option<Receipt>,
    /// Bytes behind its end.
    pub ignored: u64,
}

/// A file of a stream, without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// What is said about it.
    pub info: FileInfo,
    /// What it turned out to be.
    pub tally: Tally,
    /// All of its records look like text.
    pub is_text: bool,
    /// Of a library: its members, or why they cannot be told apart.
    pub library: Option<Result<LibrarySummary, Fault>>,
}

/// A library, without the records of its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibrarySummary {
    /// The members in the order of their data.
    pub members: Vec<Member>,
    /// The format of their records.
    pub recfm: Recfm,
    /// What it turned out to be.
    pub tally: UnloadTally,
}

/// Reads a stream for its summary.
///
/// ```
/// use uft::canon::netdata::{Limits, Survey};
/// # use uft::canon::netdata::{Party, Plan, Stamp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wire = Plan::of_text(Party::new("A", "B")?, Party::new("C", "D")?, Stamp::of("2026-01-02T03:04:05Z".parse()?), "a.b", "Hello\n")?;
///
/// let mut survey = Survey::new(Limits::default());
/// for piece in wire.chunks(100) {
///     survey.feed(piece)?;
/// }
/// let summary = survey.finish()?;
/// assert_eq!((summary.files[0].tally.records, summary.files[0].is_text), (1, true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Survey {
    reader: Reader,
    limits: Limits,
    summary: Summary,
    sniffer: Option<Sniffer>,
    library: Option<Library>,
}

#[derive(Debug)]
struct Library {
    unload: Unload,
    members: Vec<Member>,
    fault: Option<Fault>,
}

impl Survey {
    /// A survey of one stream. The limit on members holds for all of its libraries together.
    pub fn new(limits: Limits) -> Survey {
        Survey {
            reader: Reader::new(limits),
            limits,
            summary: Summary::default(),
            sniffer: None,
            library: None,
        }
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// The stream is damaged, or beyond a limit. A damaged library is no error: the stream is not.
    pub fn feed(&mut self, wire: &[u8]) -> Result<(), Error> {
        let mut rest = wire;
        while let Some(event) = self.reader.next(&mut rest)? {
            match event {
                Event::Header(header) => self.summary.header = header.clone(),
                Event::FileStart(info) => {
                    self.sniffer = Some(Sniffer::new(info));
                    self.library = (info.kind == FileKind::Library).then(|| Library {
                        unload: Unload::new(self.limits),
                        members: Vec::new(),
                        fault: None,
                    });
                    self.summary.files.push(FileSummary {
                        info: info.clone(),
                        tally: Tally::default(),
                        is_text: false,
                        library: None,
                    });
                }
                Event::Record(record) => {
                    if let Some(sniffer) = &mut self.sniffer {
                        sniffer.record(record);
                    }
                    if let Some(library) = &mut self.library {
                        library.record(record);
                    }
                }
                Event::FileEnd(tally) => {
                    if let Some(file) = self.summary.files.last_mut() {
                        file.tally = tally;
                        file.is_text = self.sniffer.is_some_and(|sniffer| sniffer.is_text());
                        file.library = self.library.take().map(Library::finish);
                        if let Some(Ok(library)) = &file.library {
                            let names = library.members.iter().map(|member| 1 + member.aliases.len());
                            self.limits.members = self.limits.members.saturating_sub(names.sum());
                        }
                    }
                }
                Event::Ack(receipt) => self.summary.receipt = Some(receipt.clone()),
                Event::Control(_) | Event::End => {}
            }
        }
        Ok(())
    }

    /// The end of the bytes.
    ///
    /// # Errors
    /// The stream is not complete.
    pub fn finish(self) -> Result<Summary, Error> {
        self.reader.finish()?;
        Ok(Summary {
            ignored: self.reader.ignored(),
            ..self.summary
        })
    }
}

impl Library {
    fn record(&mut self, mut record: &[u8]) {
        while self.fault.is_none() {
            match self.unload.next(&mut record) {
                Ok(None) => return,
                Ok(Some(UnloadEvent::Directory(members))) => self.members = members.to_vec(),
                Ok(Some(_)) => {}
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn finish(self) -> Result<LibrarySummary, Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(LibrarySummary {
                members: self.members,
                recfm: self.unload.recfm(),
                tally: self.unload.finish()?,
            }),
        }
    }
}
