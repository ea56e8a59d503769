//! What a stream says about one of its files: its INMR02 records, put together.
//!
//! What it does *not* hold: the records of the file (`reader.rs`), or the members of a library (`unload.rs`).

use super::control::{Dates, FileStep, Utility};
use super::format::{Carriage, Dsorg, Form, Recfm};
use super::name::Name;

/// What kind of thing a file of a stream is, and so what can be done with its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A sequence of records.
    Sequential,
    /// A note (INMTERM): text without a name.
    Note,
    /// A partitioned data set: its records go to [`Unload`](super::Unload), which makes members of them.
    Library,
    /// Encrypted: its records are of no use here.
    Encrypted,
    /// Made by a program that is not known here.
    Foreign(String),
}

/// A file of a stream, before its records. All of it is the sender's word; nothing is sized by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its place in the stream, from 1.
    pub number: u32,
    /// What can be done with it.
    pub kind: FileKind,
    /// Its name; notes and some senders' files have none.
    pub name: Option<Name>,
    /// Format of its records.
    pub recfm: Recfm,
    /// Length of its records, or the most; for variable records of z/OS 4 more.
    pub lrecl: Option<u64>,
    /// Size of its blocks on its own system.
    pub block_size: Option<u64>,
    /// Its organisation.
    pub dsorg: Dsorg,
    /// Bytes, roughly: some senders say 0.
    pub size: Option<u64>,
    /// Directory blocks of a library.
    pub directory_blocks: Option<u64>,
    /// The library is a PDSE.
    pub pdse: bool,
    /// Its dates.
    pub dates: Dates,
}

impl FileInfo {
    /// The steps of a file in any order; `None` if there are none. The step that names the file tells of the file, the
    /// others of its transport.
    pub(super) fn of(number: u32, steps: &[FileStep]) -> Option<FileInfo> {
        let transport = |step: &&FileStep| step.utility == Utility::Copy;
        let main = steps
            .iter()
            .find(|step| step.name.is_some() && !transport(step))
            .or_else(|| steps.iter().find(|step| step.name.is_some()))
            .or_else(|| steps.iter().find(|step| !transport(step)))
            .or_else(|| steps.first())?;
        let foreign = steps.iter().find_map(|step| match &step.utility {
            Utility::Other(name) => Some(name.clone()),
            _ => None,
        });
        let kind = match foreign {
            _ if steps.iter().any(|step| step.utility == Utility::Cipher) => FileKind::Encrypted,
            Some(name) => FileKind::Foreign(name),
            None if steps.iter().any(|step| step.utility == Utility::Unload) => FileKind::Library,
            None if main.name.is_none() && steps.iter().any(|step| step.note) => FileKind::Note,
            None => FileKind::Sequential,
        };
        Some(FileInfo {
            number,
            kind,
            name: main.name.clone(),
            recfm: main.recfm.unwrap_or_default(),
            lrecl: main.lrecl,
            block_size: main.block_size,
            dsorg: main.dsorg.unwrap_or_default(),
            size: main.size,
            directory_blocks: main.directory_blocks,
            pdse: main.pdse,
            dates: main.dates.clone(),
        })
    }

    /// What the first byte of every record is for; it stays where it is.
    pub fn carriage(&self) -> Option<Carriage> {
        match self.kind {
            FileKind::Sequential | FileKind::Note | FileKind::Library => self.recfm.carriage(),
            FileKind::Encrypted | FileKind::Foreign(_) => None,
        }
    }

    /// Whether the records could be text at all; a [`Sniffer`](super::Sniffer) that saw all of them knows more.
    pub fn may_be_text(&self) -> bool {
        matches!(self.kind, FileKind::Sequential | FileKind::Note) && self.recfm.form() != Form::Undefined
    }
}
