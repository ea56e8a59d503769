//! Control records: what a stream says about itself.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 6 | name in EBCDIC, see [`ControlKind`] |
//! | 6 | 4 | INMR02 only: number of the file, from 1 |
//! | 6 or 10 | | text units, see [`Units`] |
//!
//! What it does *not* do: say which may follow which (`reader.rs`). Source: z/OS TSO/E Customization, "Transmission
//! control records".

use std::fmt;

use super::Limits;
use super::error::Fault;
use super::format::{Dsorg, Recfm};
use super::name::{Name, Party, text};
use super::stamp::Stamp;
use super::unit::{Key, Unit, Units};

/// The control records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The first of every stream: from whom, to whom, when.
    Inmr01,
    /// A step that made a file what it is, or how to undo it.
    Inmr02,
    /// The data of the next file follow.
    Inmr03,
    /// For the exits of an installation.
    Inmr04,
    /// The last: the stream is complete.
    Inmr06,
    /// A receipt.
    Inmr07,
    /// Another one; its name in EBCDIC.
    Other([u8; 6]),
}

impl ControlKind {
    pub(super) const fn from_ebcdic(name: [u8; 6]) -> ControlKind {
        match &name {
            b"\xc9\xd5\xd4\xd9\xf0\xf1" => ControlKind::Inmr01,
            b"\xc9\xd5\xd4\xd9\xf0\xf2" => ControlKind::Inmr02,
            b"\xc9\xd5\xd4\xd9\xf0\xf3" => ControlKind::Inmr03,
            b"\xc9\xd5\xd4\xd9\xf0\xf4" => ControlKind::Inmr04,
            b"\xc9\xd5\xd4\xd9\xf0\xf6" => ControlKind::Inmr06,
            b"\xc9\xd5\xd4\xd9\xf0\xf7" => ControlKind::Inmr07,
            _ => ControlKind::Other(name),
        }
    }

    pub(super) const fn ebcdic(self) -> [u8; 6] {
        let digit = match self {
            ControlKind::Inmr01 => 0xf1,
            ControlKind::Inmr02 => 0xf2,
            ControlKind::Inmr03 => 0xf3,
            ControlKind::Inmr04 => 0xf4,
            ControlKind::Inmr06 => 0xf6,
            ControlKind::Inmr07 => 0xf7,
            ControlKind::Other(name) => return name,
        };
        [0xc9, 0xd5, 0xd4, 0xd9, 0xf0, digit]
    }
}

impl fmt::Display for ControlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.ebcdic()))
    }
}

/// A control record, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control<'a> {
    /// Which.
    pub kind: ControlKind,
    /// The file that an INMR02 is about, from 1.
    pub file: Option<u32>,
    /// What it says.
    pub units: Units<'a>,
}

impl<'a> Control<'a> {
    /// Reads a control record whose segments have been joined.
    ///
    /// # Errors
    /// It is too short, or a text unit runs past its end.
    pub fn parse(record: &'a [u8], limits: &Limits) -> Result<Control<'a>, Fault> {
        let short = Fault::ControlTooShort { length: record.len() };
        let (name, rest) = record.split_first_chunk::<6>().ok_or(short.clone())?;
        let kind = ControlKind::from_ebcdic(*name);
        let (file, units) = match kind {
            ControlKind::Inmr02 => {
                let (number, units) = rest.split_first_chunk::<4>().ok_or(short)?;
                (Some(u32::from_be_bytes(*number)), units)
            }
            _ => (None, rest),
        };
        // What an unknown control record is made of is not known either.
        let units = match kind {
            ControlKind::Other(_) => &[],
            _ => units,
        };
        Ok(Control {
            kind,
            file,
            units: Units::parse(units, kind, limits)?,
        })
    }

    fn text(&self, key: Key) -> Option<String> {
        self.units.find(key)?.value().map(text)
    }

    fn number(&self, key: Key) -> Option<u64> {
        self.units.find(key)?.number()
    }

    fn stamp(&self, key: Key) -> Option<Stamp> {
        Stamp::from_ebcdic(self.units.find(key)?.value()?)
    }

    /// The name that INMDSNAM, INMFFM and INMMEMBR make. A receipt tells less of the file than its transmission did: there
    /// INMFFM alone says that it is one of CMS.
    pub(super) fn name(&self) -> Option<Name> {
        let fields = self.units.find(Key::INMDSNAM).map(|unit| owned(&unit));
        let member = self.units.find(Key::INMMEMBR).and_then(|unit| unit.value());
        let mode = self.units.find(Key::INMFFM).and_then(|unit| unit.value());
        let blocks = self.kind == ControlKind::Inmr07 || self.units.find(Key::INMBLKSZ).is_some();
        fields
            .filter(|fields| !fields.is_empty())
            .map(|fields| Name::received(fields, mode.map(Into::into), member.map(Into::into), blocks))
    }
}

fn owned(unit: &Unit<'_>) -> Vec<Vec<u8>> {
    unit.values().map(<[u8]>::to_vec).collect()
}

/// What INMR01 says: the whole transmission. All of it is the sender's word.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// From whom (INMFUID, INMFNODE).
    pub from: Party,
    /// To whom (INMTUID, INMTNODE).
    pub to: Party,
    /// When it was sent (INMFTIME).
    pub sent: Option<Stamp>,
    /// How many files it says it has (INMNUMF).
    pub files: Option<u64>,
    /// A receipt is wanted (INMFACK).
    pub ack: Option<AckRequest>,
    /// Version of the format (INMFVERS).
    pub version: Option<u64>,
}

/// The wish for a receipt (INMFACK), and what to repeat in it: up to 64 bytes, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AckRequest {
    id: Vec<u8>,
}

impl AckRequest {
    /// Bytes of an id, at most.
    pub const MAX: usize = 64;

    /// A request with an id; longer ones are cut.
    pub fn new(id: &[u8]) -> AckRequest {
        AckRequest {
            id: id.get(..AckRequest::MAX).unwrap_or(id).to_vec(),
        }
    }

    /// A request whose id is a word, in EBCDIC.
    pub fn with_text(id: &str) -> AckRequest {
        AckRequest::new(&super::name::to_ebcdic(id))
    }

    /// The bytes to repeat; none: there is no id.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The id as it may be shown.
    pub fn text(&self) -> String {
        text(&self.id)
    }
}

impl Header {
    pub(super) fn of(control: &Control<'_>) -> Header {
        let name = |key| control.text(key).unwrap_or_default();
        Header {
            from: Party {
                node: name(Key::INMFNODE),
                user: name(Key::INMFUID),
            },
            to: Party {
                node: name(Key::INMTNODE),
                user: name(Key::INMTUID),
            },
            sent: control.stamp(Key::INMFTIME),
            files: control.number(Key::INMNUMF),
            ack: control
                .units
                .find(Key::INMFACK)
                .map(|unit| AckRequest::new(unit.value().unwrap_or_default())),
            version: control.number(Key::INMFVERS),
        }
    }
}

/// The program of a step (INMUTILN).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Utility {
    /// INMCOPY: records of a sequential file. Also what a sender means that does not say.
    Copy,
    /// IEBCOPY: the unload of a library.
    Unload,
    /// AMSCIPHR (1981: AMSREPRO): encryption.
    Cipher,
    /// Another program: its data cannot be read here.
    Other(String),
}

/// What an INMR02 says: one step of one file. Several steps of a file may come in either order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStep {
    /// Number of the file, from 1.
    pub file: u32,
    /// The program.
    pub utility: Utility,
    /// Name of the file.
    pub name: Option<Name>,
    /// It is a note (INMTERM).
    pub note: bool,
    /// Format of the records.
    pub recfm: Option<Recfm>,
    /// Length of the records, or the most.
    pub lrecl: Option<u64>,
    /// Size of blocks.
    pub block_size: Option<u64>,
    /// Organisation.
    pub dsorg: Option<Dsorg>,
    /// Bytes, roughly.
    pub size: Option<u64>,
    /// Directory blocks of a library.
    pub directory_blocks: Option<u64>,
    /// The library is a PDSE (INMTYPE).
    pub pdse: bool,
    /// When the file was made, last changed, last used, and will expire.
    pub dates: Dates,
}

/// Dates of a file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Dates {
    /// INMCREAT.
    pub created: Option<Stamp>,
    /// INMLCHG.
    pub changed: Option<Stamp>,
    /// INMLREF.
    pub referenced: Option<Stamp>,
    /// INMEXPDT.
    pub expires: Option<Stamp>,
}

impl FileStep {
    pub(super) fn of(control: &Control<'_>) -> FileStep {
        let utility = match control.text(Key::INMUTILN).as_deref() {
            None | Some("INMCOPY" | "") => Utility::Copy,
            Some("IEBCOPY") => Utility::Unload,
            Some("AMSCIPHR" | "AMSREPRO") => Utility::Cipher,
            Some(other) => Utility::Other(other.into()),
        };
        let value = |key| control.units.find(key).and_then(|unit| unit.value());
        FileStep {
            file: control.file.unwrap_or_default(),
            utility,
            name: control.name(),
            note: control.units.find(Key::INMTERM).is_some(),
            recfm: value(Key::INMRECFM).and_then(Recfm::from_bytes),
            lrecl: control.number(Key::INMLRECL),
            block_size: control.number(Key::INMBLKSZ),
            dsorg: value(Key::INMDSORG).and_then(Dsorg::from_bytes),
            size: control.number(Key::INMSIZE),
            directory_blocks: control.number(Key::INMDIR),
            pdse: value(Key::INMTYPE)
                .and_then(|value| value.first())
                .is_some_and(|bits| bits & 0x80 != 0),
            dates: Dates {
                created: control.stamp(Key::INMCREAT),
                changed: control.stamp(Key::INMLCHG),
                referenced: control.stamp(Key::INMLREF),
                expires: control.stamp(Key::INMEXPDT),
            },
        }
    }
}
