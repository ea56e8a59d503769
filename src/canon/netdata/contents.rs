//! A whole stream in memory: for small files, tools and tests.
//!
//! What it does *not* do: anything that [`Reader`] and [`Unload`] could not do in constant memory.

use super::Limits;
use super::control::Header;
use super::directory::Member;
use super::error::{Error, Fault};
use super::file::{FileInfo, FileKind};
use super::format::{Form, Recfm};
use super::read::{Event, Reader, Tally};
use super::receipt::Receipt;
use super::text::{Newline, RecordText, Sniffer};
use super::unload::{Unload, UnloadEvent};
use crate::canon::Page;

/// What a stream says and holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Contents {
    /// From whom to whom.
    pub header: Header,
    /// The files, notes included.
    pub files: Vec<FileContents>,
    /// The stream is a receipt; it has no files.
    pub receipt: Option<Receipt>,
}

/// A file and its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContents {
    /// What is said about it.
    pub info: FileInfo,
    /// What it turned out to be.
    pub tally: Tally,
    /// Its records look like text.
    pub is_text: bool,
    limits: Limits,
    records: Records,
}

/// A member of a library and its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberContents {
    /// What the directory says.
    pub member: Member,
    /// Its records look like text.
    pub is_text: bool,
    recfm: Recfm,
    records: Records,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Records {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

impl Records {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bounds = starts.zip(&self.ends);
        bounds.map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }

    fn text(&self, mut converter: RecordText) -> String {
        let mut text = Vec::with_capacity(self.bytes.len() + self.ends.len());
        for record in self.iter() {
            converter.record(record, &mut text);
        }
        converter.finish(&mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Reads a whole stream.
///
/// # Errors
/// It is damaged, incomplete, or beyond a limit.
pub fn decode(wire: &[u8], limits: Limits) -> Result<Contents, Error> {
    let mut reader = Reader::new(limits);
    let mut contents = Contents::default();
    let mut rest = wire;
    let mut sniffer = None;
    while let Some(event) = reader.next(&mut rest)? {
        match (event, contents.files.last_mut()) {
            (Event::Header(header), _) => contents.header = header.clone(),
            (Event::FileStart(info), _) => {
                sniffer = Some(Sniffer::new(info));
                contents.files.push(FileContents {
                    info: info.clone(),
                    tally: Tally::default(),
                    is_text: false,
                    limits,
                    records: Records::default(),
                });
            }
            (Event::Record(record), Some(file)) => {
                if let Some(sniffer) = &mut sniffer {
                    sniffer.record(record);
                }
                file.records.push(record);
            }
            (Event::FileEnd(tally), Some(file)) => {
                file.tally = tally;
                file.is_text = sniffer.is_some_and(|sniffer| sniffer.is_text());
            }
            (Event::Ack(receipt), _) => contents.receipt = Some(receipt.clone()),
            (Event::Control(_) | Event::End | Event::Record(_) | Event::FileEnd(_), _) => {}
        }
    }
    reader.finish()?;
    Ok(contents)
}

impl FileContents {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter()
    }

    /// The records end to end, and nothing between them: the octets of a binary file.
    pub fn octets(&self) -> &[u8] {
        &self.records.bytes
    }

    /// The records as lines.
    pub fn text(&self, page: Page, newline: Newline) -> String {
        self.records.text(RecordText::new(&self.info, page, newline))
    }

    /// The members of a library; none of another file.
    ///
    /// # Errors
    /// The library is damaged or beyond a limit.
    pub fn members(&self) -> Result<Vec<MemberContents>, Fault> {
        let mut members: Vec<MemberContents> = Vec::new();
        if self.info.kind != FileKind::Library {
            return Ok(members);
        }
        let mut unload = Unload::new(self.limits);
        let mut sniffer = None;
        for mut record in self.records() {
            loop {
                // Every event is of a member or of the directory, by when the format is known.
                let recfm = unload.recfm();
                let Some(event) = unload.next(&mut record)? else {
                    break;
                };
                match (event, members.last_mut()) {
                    (UnloadEvent::Member(member), _) => {
                        sniffer = Some(Sniffer::of_recfm(recfm));
                        members.push(MemberContents {
                            member: member.clone(),
                            is_text: true,
                            recfm,
                            records: Records::default(),
                        });
                    }
                    (UnloadEvent::Record(record), Some(member)) => {
                        if let Some(sniffer) = &mut sniffer {
                            sniffer.record(record);
                            member.is_text = sniffer.is_text();
                        }
                        member.records.push(record);
                    }
                    (UnloadEvent::Directory(_) | UnloadEvent::MemberEnd | UnloadEvent::Record(_), _) => {}
                }
            }
        }
        unload.finish()?;
        for member in &mut members {
            member.is_text &= member.recfm.form() != Form::Undefined;
        }
        Ok(members)
    }
}

impl MemberContents {
    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter()
    }

    /// The records end to end.
    pub fn octets(&self) -> &[u8] {
        &self.records.bytes
    }

    /// The records as lines.
    pub fn text(&self, page: Page, newline: Newline) -> String {
        self.records.text(RecordText::of_recfm(self.recfm, page, newline))
    }
}
