//! Text units, of which control records are made.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 2 | key |
//! | 2 | 2 | count of values; 0 is legal: the key alone says something |
//! | 4 | 2 + n | for each value: its length n, then n bytes |
//!
//! All numbers are big-endian. A number as a value has 1 to 8 bytes, whatever the key. Names are EBCDIC, with or without
//! blanks behind. Order carries no meaning; unknown keys are skipped.
//!
//! What it does *not* do: know which unit belongs where (`control.rs`). Sources: z/OS TSO/E Customization ("Text unit
//! pairs", keys and values), the 1981 description, and real streams.

use std::fmt;

use super::error::Fault;
use super::{ControlKind, Limits};

/// The key of a text unit: what its values mean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u16);

macro_rules! keys {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        impl Key {
            $(#[doc = $text] pub const $name: Key = Key($code);)*

            /// The name of the key in the documents, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

keys! {
    INMDDNAM = 0x0001, "File name of a step (ddname).";
    INMDSNAM = 0x0002, "Name of the file: a value a qualifier. CMS: file mode letter first, then name and type.";
    INMMEMBR = 0x0003, "Member names; with INMCOPY: the one member that is sent as a sequence of records.";
    INMSECND = 0x000b, "Secondary space.";
    INMDIR = 0x000c, "Directory blocks.";
    INMEXPDT = 0x0022, "Expiry date.";
    INMTERM = 0x0028, "No value: the file is a note, it has no name.";
    INMBLKSZ = 0x0030, "Block size.";
    INMDSORG = 0x003c, "Organisation, see [`Dsorg`](super::Dsorg).";
    INMLRECL = 0x0042, "Length of records, or the most.";
    INMRECFM = 0x0049, "Record format, see [`Recfm`](super::Recfm).";
    INMTNODE = 0x1001, "Node of the recipient.";
    INMTUID = 0x1002, "User name of the recipient.";
    INMFNODE = 0x1011, "Node of the sender.";
    INMFUID = 0x1012, "User name of the sender.";
    INMLREF = 0x1020, "Date of last use.";
    INMLCHG = 0x1021, "Date of last change.";
    INMCREAT = 0x1022, "Date of creation.";
    INMFVERS = 0x1023, "Version of the format; absent: 1.";
    INMFTIME = 0x1024, "When it was sent.";
    INMTTIME = 0x1025, "When it arrived.";
    INMFACK = 0x1026, "A receipt is wanted; its value, if any, is to be sent back in it.";
    INMERRCD = 0x1027, "In a receipt: what became of the file.";
    INMUTILN = 0x1028, "Program of a step: INMCOPY, IEBCOPY, AMSCIPHR.";
    INMUSERP = 0x1029, "A string of the sending user.";
    INMRECCT = 0x102a, "Records sent.";
    INMSIZE = 0x102c, "Bytes, roughly; nothing may be sized by it.";
    INMFFM = 0x102d, "CMS: file mode number.";
    INMNUMF = 0x102f, "Files; absent: 1.";
    INMTYPE = 0x8012, "Kind of library: 80 PDSE.";
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:04X}", self.0),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text unit, in the bytes of its control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// What it says.
    pub key: Key,
    count: u16,
    values: &'a [u8],
}

impl<'a> Unit<'a> {
    /// Its values in order.
    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.values;
        std::iter::from_fn(move || value(&mut rest))
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The first value, as most keys have one.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.values().next()
    }

    /// The first value as a number, of 1 to 8 bytes.
    pub fn number(&self) -> Option<u64> {
        let value = self.value()?;
        (1..=8).contains(&value.len()).then(|| {
            value
                .iter()
                .fold(0, |number, &byte| (number << 8) | u64::from(byte))
        })
    }
}

/// The text units of a control record. They are checked as a whole before the first is looked at, so that reading them
/// needs no memory and cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units<'a> {
    bytes: &'a [u8],
}

impl<'a> Units<'a> {
    /// # Errors
    /// A unit that runs past the end, or more units than there may be.
    pub(super) fn parse(bytes: &'a [u8], record: ControlKind, limits: &Limits) -> Result<Units<'a>, Fault> {
        let mut rest = bytes;
        let mut count: usize = 0;
        while !rest.is_empty() {
            count += 1;
            if count > limits.units {
                return Err(Fault::TooMany {
                    what: "text units in a control record",
                    limit: limits.units as u64,
                });
            }
            let key = short(rest).unwrap_or_default();
            unit(&mut rest).ok_or(Fault::UnitOverrun { key, record })?;
        }
        Ok(Units { bytes })
    }

    /// The units in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || unit(&mut rest))
    }

    /// The first unit of a key.
    pub fn find(&self, key: Key) -> Option<Unit<'a>> {
        self.iter().find(|unit| unit.key == key)
    }
}

fn short(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|two| u16::from_be_bytes(*two))
}

fn value<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *rest = after;
    Some(value)
}

/// Takes a unit off the bytes, if it is complete.
fn unit<'a>(rest: &mut &'a [u8]) -> Option<Unit<'a>> {
    let (head, values) = rest.split_first_chunk::<4>()?;
    let [key_high, key_low, count_high, count_low] = *head;
    let count = u16::from_be_bytes([count_high, count_low]);
    let mut after = values;
    for _ in 0..count {
        value(&mut after)?;
    }
    let (values, _) = values.split_at_checked(values.len() - after.len())?;
    *rest = after;
    Some(Unit {
        key: Key(u16::from_be_bytes([key_high, key_low])),
        count,
        values,
    })
}

/// Builds a control record.
#[derive(Debug)]
pub(super) struct ControlBuilder {
    bytes: Vec<u8>,
}

impl ControlBuilder {
    pub(super) fn new(kind: ControlKind) -> ControlBuilder {
        ControlBuilder {
            bytes: kind.ebcdic().to_vec(),
        }
    }

    /// INMR02 has the number of its file before its units.
    pub(super) fn file(mut self, number: u32) -> ControlBuilder {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn unit(mut self, key: Key, values: &[&[u8]]) -> ControlBuilder {
        self.short(usize::from(key.0));
        self.short(values.len());
        for value in values {
            self.short(value.len());
            self.bytes.extend_from_slice(value);
        }
        self
    }

    pub(super) fn one(self, key: Key, value: &[u8]) -> ControlBuilder {
        self.unit(key, &[value])
    }

    /// A unit if there is a value for it.
    pub(super) fn maybe(self, key: Key, value: Option<&[u8]>) -> ControlBuilder {
        match value {
            Some(value) => self.one(key, value),
            None => self,
        }
    }

    pub(super) fn write(self, wire: &mut Vec<u8>) {
        super::segment::write_segments(&self.bytes, true, wire);
    }

    /// Counts and lengths are those of validated names and of numbers: far below 65536.
    fn short(&mut self, number: usize) {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&number.to_be_bytes());
    }
}
