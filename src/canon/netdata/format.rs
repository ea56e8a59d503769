//! Record formats and organisations, as the text units INMRECFM and INMDSORG write them.
//!
//! What it does *not* do: apply them (`deblock.rs` does). Source: z/OS TSO/E Customization, "Text unit pairs"; the values
//! seen in streams are in the table at [`Recfm`].

use std::fmt;

/// A record format (INMRECFM), two bytes of bits.
///
/// | bits | meaning | | bits | meaning |
/// |---|---|---|---|---|
/// | 8000 | fixed (F) | | 0400 | ASA carriage control (A) |
/// | 4000 | variable (V) | | 0200 | machine carriage control (M) |
/// | C000 | undefined (U) | | 0002 | variable records without their 4-byte header |
/// | 1000 | blocked (B) | | 0001 | the form of the transmission itself |
/// | 0800 | spanned or standard (S) | | 2000, 0004, 0008 | track overflow, packed, Huffman |
///
/// Seen: 9000 (z/OS, FB), 9002 (XMIT370, FB), 5002 (z/OS message), 4802 (the transport of an unload), 0002 (CMS, LISTSERV,
/// funet-nje), 8000, 5000. CMS says 0002 of variable records: without F, V or U a record is variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Recfm(pub u16);

/// How the records of a file are told apart on its own system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// All of one length.
    Fixed,
    /// Each has its own.
    Variable,
    /// There are only blocks.
    Undefined,
}

/// Carriage control in the first byte of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carriage {
    /// A character: blank, 0, -, +, 1.
    Asa,
    /// A channel command.
    Machine,
}

impl Recfm {
    /// The form of a transmission, as INMR03 says it.
    pub const TRANSMITTED: Recfm = Recfm(0x0001);
    /// Variable records, as CMS says it.
    pub const CMS_VARIABLE: Recfm = Recfm(0x0002);
    /// Fixed records.
    pub const FIXED: Recfm = Recfm(0x8000);
    /// Fixed records in blocks.
    pub const FIXED_BLOCKED: Recfm = Recfm(0x9000);
    /// Variable records in blocks, sent without their headers.
    pub const VARIABLE_BLOCKED: Recfm = Recfm(0x5002);

    /// The value of a text unit: its first two bytes count.
    pub(super) fn from_bytes(value: &[u8]) -> Option<Recfm> {
        match value {
            [high, low, ..] => Some(Recfm(u16::from_be_bytes([*high, *low]))),
            [high] => Some(Recfm(u16::from_be_bytes([*high, 0]))),
            [] => None,
        }
    }

    /// Fixed, variable or undefined.
    pub const fn form(self) -> Form {
        match self.0 & 0xc000 {
            0xc000 => Form::Undefined,
            0x8000 => Form::Fixed,
            _ => Form::Variable,
        }
    }

    /// Whether several records share a block on their own system.
    pub const fn is_blocked(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// Whether a variable record may span blocks; for fixed records: that only the last block may be short.
    pub const fn is_spanned(self) -> bool {
        self.0 & 0x0800 != 0
    }

    /// Whether variable records come without their 4-byte headers (RDW).
    pub const fn is_headerless(self) -> bool {
        self.0 & 0x0002 != 0
    }

    /// What the first byte of every record is for.
    pub const fn carriage(self) -> Option<Carriage> {
        match self.0 & 0x0600 {
            0 => None,
            0x0200 => Some(Carriage::Machine),
            _ => Some(Carriage::Asa),
        }
    }
}

impl fmt::Display for Recfm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form() {
            Form::Fixed => "F",
            Form::Variable => "V",
            Form::Undefined => "U",
        })?;
        let letters = [
            (self.is_blocked(), "B"),
            (self.is_spanned(), "S"),
            (self.carriage() == Some(Carriage::Asa), "A"),
            (self.carriage() == Some(Carriage::Machine), "M"),
        ];
        letters
            .into_iter()
            .filter(|(set, _)| *set)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl fmt::Debug for Recfm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:04X})", self.0)
    }
}

/// How a data set is organised (INMDSORG).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Dsorg {
    /// 4000: a sequence of records. Also what a sender means that does not say.
    #[default]
    Sequential,
    /// 0200: a library of members.
    Partitioned,
    /// 0008: VSAM.
    Vsam,
    /// Another value.
    Other(u16),
}

impl Dsorg {
    pub(super) fn from_bytes(value: &[u8]) -> Option<Dsorg> {
        let code = match value {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => return None,
        };
        Some(match code {
            0x4000 => Dsorg::Sequential,
            0x0200 => Dsorg::Partitioned,
            0x0008 => Dsorg::Vsam,
            other => Dsorg::Other(other),
        })
    }

    pub(super) const fn code(self) -> u16 {
        match self {
            Dsorg::Sequential => 0x4000,
            Dsorg::Partitioned => 0x0200,
            Dsorg::Vsam => 0x0008,
            Dsorg::Other(code) => code,
        }
    }
}

impl fmt::Display for Dsorg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dsorg::Sequential => f.write_str("PS"),
            Dsorg::Partitioned => f.write_str("PO"),
            Dsorg::Vsam => f.write_str("VSAM"),
            Dsorg::Other(code) => write!(f, "{code:04X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_seen_in_streams_read_as_what_they_are() {
        for (bits, text, headerless) in [
            (0x9000, "FB", false),
            (0x9002, "FB", true),
            (0x5002, "VB", true),
            (0x4802, "VS", true),
            (0x0002, "V", true),
            (0x0000, "V", false),
            (0x8000, "F", false),
            (0x5000, "VB", false),
            (0xc000, "U", false),
            (0x9400, "FBA", false),
            (0x5202, "VBM", true),
        ] {
            let recfm = Recfm(bits);
            assert_eq!(
                (recfm.to_string().as_str(), recfm.is_headerless()),
                (text, headerless)
            );
        }
    }
}
