//! What is to be sent: a transmission and its files, before the first byte.
//!
//! What it does *not* do: write it (`write.rs`).

use super::control::AckRequest;
use super::format::{Carriage, Recfm};
use super::name::{Name, Party, Style};
use super::stamp::Stamp;
use super::unit::{ControlBuilder, Key};
use super::write::CARD;
use super::{ControlKind, Dsorg};
use crate::canon::netdata::name::to_ebcdic;

/// Bytes of a record that is written, at most: what every reader takes.
pub(super) const RECORD_MAX: u32 = 65_535;
/// Files of a transmission, at most: more control records than that no reader need take.
const FILES_MAX: usize = 1024;
/// Bytes of a block, where the record leaves a choice; z/OS itself sends this.
const BLOCK: u32 = 3120;
/// Bytes of a block on z/OS, at most.
const BLOCK_MAX: u32 = 32_760;
/// Header of a variable record on z/OS, which its LRECL counts.
const HEADER: u32 = 4;
/// What z/OS says is the length of the records of a note.
const NOTE: u32 = 251;

/// A transmission: who sends what to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// From whom.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// When.
    pub sent: Stamp,
    /// In whose way.
    pub style: Style,
    /// A receipt is wanted.
    pub ack: Option<AckRequest>,
    /// The files, in order. A note is best the first.
    pub files: Vec<FileSpec>,
    /// Whether the last card is filled up, to a multiple of 80 bytes.
    pub pad: bool,
}

/// A file that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Its name, of the style of the transmission; none: it is a note.
    pub name: Option<Name>,
    /// Its records.
    pub format: Format,
    /// The first byte of every record is carriage control.
    pub carriage: Option<Carriage>,
    /// Its length in bytes, as far as it is known; readers take it for a hint.
    pub size: Option<u64>,
    /// When it was last changed.
    pub changed: Option<Stamp>,
}

/// The records of a file that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Records of `length` bytes (1 to 65535). A shorter one is filled up with `fill`, or sent as it is.
    Fixed {
        /// Bytes of a record.
        length: u32,
        /// What a short record is filled up with: 40 for text.
        fill: Option<u8>,
    },
    /// Records of any length up to `longest` (1 to 65535).
    Variable {
        /// Bytes of the longest record.
        longest: u32,
    },
}

/// What cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// A transmission has 1 to 1024 files.
    #[error("a transmission of {count} files; it has 1 to {FILES_MAX}")]
    Files {
        /// How many there are.
        count: usize,
    },
    /// A name of the other style.
    #[error("{name} is not a name of the style of the transmission, {style:?}")]
    NameStyle {
        /// The name.
        name: String,
        /// The style.
        style: Style,
    },
    /// A length that no record has.
    #[error("records of {length} bytes; they have 1 to {RECORD_MAX}")]
    RecordLength {
        /// The length.
        length: u32,
    },
}

impl Format {
    /// Variable records of up to `longest` bytes.
    pub const fn variable(longest: u32) -> Format {
        Format::Variable { longest }
    }

    /// Fixed records of text: filled up with blanks.
    pub const fn fixed_text(length: u32) -> Format {
        Format::Fixed {
            length,
            fill: Some(0x40),
        }
    }

    /// Fixed records of octets: the last may be short, so that no byte is added to the file.
    pub const fn fixed_octets(length: u32) -> Format {
        Format::Fixed { length, fill: None }
    }

    /// Bytes of a record, at most.
    pub const fn length(self) -> u32 {
        match self {
            Format::Fixed { length, .. } => length,
            Format::Variable { longest } => longest,
        }
    }

    fn recfm(self, style: Style, carriage: Option<Carriage>) -> Recfm {
        let recfm = match (self, style) {
            (Format::Fixed { .. }, Style::Cms) => Recfm::FIXED,
            (Format::Fixed { .. }, Style::Tso) => Recfm::FIXED_BLOCKED,
            (Format::Variable { .. }, Style::Cms) => Recfm::CMS_VARIABLE,
            (Format::Variable { .. }, Style::Tso) => Recfm::VARIABLE_BLOCKED,
        };
        Recfm(match carriage {
            None => recfm.0,
            Some(Carriage::Asa) => recfm.0 | 0x0400,
            Some(Carriage::Machine) => recfm.0 | 0x0200,
        })
    }
}

impl FileSpec {
    /// A file, or a note if it has no name.
    pub fn new(name: Option<Name>, format: Format) -> FileSpec {
        FileSpec {
            name,
            format,
            carriage: None,
            size: None,
            changed: None,
        }
    }

    fn description(&self, number: u32, style: Style, wire: &mut Vec<u8>) {
        let (length, note) = (self.format.length(), self.name.is_none());
        let recfm = self.format.recfm(style, self.carriage).0.to_be_bytes();
        let dsorg = Dsorg::Sequential.code().to_be_bytes();
        let size = self.size.unwrap_or_default();
        let record = ControlBuilder::new(ControlKind::Inmr02).file(number);
        let utility = to_ebcdic("INMCOPY");
        let record = match style {
            Style::Cms => record
                .one(Key::INMSIZE, &size.to_be_bytes())
                .one(Key::INMDSORG, &dsorg)
                .one(Key::INMLRECL, &length.to_be_bytes())
                .one(Key::INMUTILN, &utility)
                .one(Key::INMRECFM, &recfm),
            Style::Tso => {
                let lrecl = match self.format {
                    Format::Variable { .. } if note => length.max(NOTE),
                    Format::Variable { .. } => length + HEADER,
                    Format::Fixed { .. } => length,
                };
                let block = match self.format {
                    Format::Fixed { .. } => (BLOCK / length).max(1) * length,
                    Format::Variable { .. } => (lrecl + HEADER).max(BLOCK),
                };
                let record = record.one(Key::INMUTILN, &utility);
                let record = match note {
                    true => record.unit(Key::INMTERM, &[]),
                    false => record,
                };
                record
                    .one(Key::INMSIZE, &hint(size))
                    .one(Key::INMDSORG, &dsorg)
                    .one(Key::INMLRECL, &lrecl.to_be_bytes())
                    .one(Key::INMBLKSZ, &block.min(BLOCK_MAX).to_be_bytes())
                    .one(Key::INMRECFM, &recfm)
            }
        };
        let changed = self.changed.as_ref().map(Stamp::to_ebcdic);
        let record = match &self.name {
            None if style == Style::Cms => record.unit(Key::INMTERM, &[]),
            None => record,
            Some(name) => record
                .unit(Key::INMDSNAM, &name.fields())
                .maybe(Key::INMMEMBR, name.member_value())
                .maybe(Key::INMFFM, name.mode_number())
                .maybe(Key::INMLCHG, changed.as_deref()),
        };
        record.write(wire);
    }

    /// INMR03, which says how the file is transmitted: the same for all.
    pub(super) fn beginning(&self, style: Style, wire: &mut Vec<u8>) {
        let size = self.size.unwrap_or_default();
        let record = ControlBuilder::new(ControlKind::Inmr03);
        let record = match style {
            Style::Cms => record.one(Key::INMSIZE, &size.to_be_bytes()),
            Style::Tso => record.one(Key::INMSIZE, &hint(size)),
        };
        record
            .one(Key::INMDSORG, &Dsorg::Sequential.code().to_be_bytes())
            .one(Key::INMLRECL, &u16::from(CARD).to_be_bytes())
            .one(Key::INMRECFM, &Recfm::TRANSMITTED.0.to_be_bytes())
            .write(wire);
    }
}

/// A size in the four bytes that z/OS sends, or the most that they say.
fn hint(size: u64) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes()
}

impl Plan {
    /// A transmission without files yet.
    pub fn new(from: Party, to: Party, sent: Stamp, style: Style) -> Plan {
        Plan {
            from,
            to,
            sent,
            style,
            ack: None,
            files: Vec::new(),
            pad: true,
        }
    }

    pub(super) fn check(&self) -> Result<(), BadPlan> {
        let count = self.files.len();
        if !(1..=FILES_MAX).contains(&count) {
            return Err(BadPlan::Files { count });
        }
        for file in &self.files {
            let length = file.format.length();
            if !(1..=RECORD_MAX).contains(&length) {
                return Err(BadPlan::RecordLength { length });
            }
            if let Some(name) = file.name.as_ref().filter(|name| name.style() != self.style) {
                let (name, style) = (name.to_string(), self.style);
                return Err(BadPlan::NameStyle { name, style });
            }
        }
        Ok(())
    }

    /// INMR01, and INMR02 of every file: all of them before the first data, as z/OS wants it.
    pub(super) fn head(&self, wire: &mut Vec<u8>) {
        let count = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let record = ControlBuilder::new(ControlKind::Inmr01);
        let record = match self.style {
            Style::Cms => record.one(Key::INMLRECL, &u16::from(CARD).to_be_bytes()),
            Style::Tso => record.one(Key::INMLRECL, &[CARD]),
        };
        let record = record
            .one(Key::INMFNODE, &to_ebcdic(&self.from.node))
            .one(Key::INMFUID, &to_ebcdic(&self.from.user))
            .one(Key::INMTNODE, &to_ebcdic(&self.to.node))
            .one(Key::INMTUID, &to_ebcdic(&self.to.user))
            .one(Key::INMFTIME, &self.sent.to_ebcdic())
            .one(Key::INMNUMF, &count.to_be_bytes());
        let record = match self.ack.as_ref().map(AckRequest::id) {
            None => record,
            Some([]) => record.unit(Key::INMFACK, &[]),
            Some(id) => record.one(Key::INMFACK, id),
        };
        record.write(wire);
        for (number, file) in (1..).zip(&self.files) {
            file.description(number, self.style, wire);
        }
    }
}
