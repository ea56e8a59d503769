//! Canonical types: conversions between the bytes on the wire and the local form of a file.
//!
//! Pure and streaming: bytes in, bytes out, in pieces of any size and constant memory; where the borders fall changes
//! nothing. What it does *not* do: files, sockets, or the choice of what to convert when.
//!
//! | type | [`Handling`] | local form ([`Decoder`]) | exact ([`Restorer`]) | as lines ([`Lines`]) |
//! |---|---|---|---|---|
//! | A | `Text` | CR LF is LF; a known charset becomes UTF-8 | unless a bare LF came, or a charset changed bytes | the same |
//! | M | `Mail` | CR LF is LF | unless a bare LF came | the same |
//! | E | `Ebcdic` | UTF-8 by the page: 15 is LF, 25 is U+0085 | always | the same |
//! | N | `Netdata` | as sent | always | not here |
//! | V, W, X | `Records` | as sent | always | a line a record |
//! | F | `Records` | as sent | always | a line a record; its length must be declared |
//! | I | `Octets` | as sent | always | as A |
//!
//! [`Encoder`] is the sender's direction, [`TextSniffer`] the test behind `--type auto`. Sources: RFC 1440, the UFT
//! pages of the POSIX and VM implementations, and for EBCDIC the tables of glibc (`page.rs`).

mod charset;
mod decode;
mod ebcdic;
mod encode;
mod lines;
pub mod netdata;
mod page;
mod pages;
mod records;
mod text;
mod translit;
mod utf8;

use uft_spool::FileType;

pub use decode::{Decoder, Outcome, Restorer};
pub use encode::{Encoder, Misfit, Policy, Report};
pub use lines::Lines;
pub use page::Page;
pub use text::TextSniffer;

/// The longest record that is turned into a line or made from one, in bytes: 16 MiB.
pub const MAX_RECORD: u64 = 16 << 20;

/// How the files of a type are converted. Whoever matches on it lists every value, so that a new one is met everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Text: CR LF, and a character set.
    Text,
    /// A mail message: CR LF; its character sets are its own affair.
    Mail,
    /// EBCDIC text: one table.
    Ebcdic,
    /// NETDATA: kept as sent.
    Netdata,
    /// Records: kept as sent, lines on demand.
    Records(Framing),
    /// Octets: kept as sent.
    Octets,
}

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A big-endian length of 2 bytes.
    Length16,
    /// A big-endian length of 4 bytes.
    Length32,
    /// A big-endian length of 8 bytes.
    Length64,
    /// All are of the declared length.
    Fixed,
}

/// The list of types and what becomes of each.
pub const fn handling(file_type: FileType) -> Handling {
    match file_type {
        FileType::A => Handling::Text,
        FileType::I => Handling::Octets,
        FileType::E => Handling::Ebcdic,
        FileType::N => Handling::Netdata,
        FileType::M => Handling::Mail,
        FileType::V => Handling::Records(Framing::Length16),
        FileType::W => Handling::Records(Framing::Length32),
        FileType::X => Handling::Records(Framing::Length64),
        FileType::F => Handling::Records(Framing::Fixed),
    }
}

/// Why a wire form cannot be converted. Offsets are those of the wire form, in bytes; records count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A record ends after the file does.
    #[error("record {record} at offset {offset} is cut short: {missing} bytes are missing")]
    Truncated {
        /// Its number.
        record: u64,
        /// Where it begins, its length included.
        offset: u64,
        /// Bytes that did not come.
        missing: u64,
    },
    /// The file ends inside the length of a record.
    #[error("record {record} at offset {offset} is cut short inside its length")]
    TruncatedLength {
        /// Its number.
        record: u64,
        /// Where it begins.
        offset: u64,
    },
    /// A record longer than [`MAX_RECORD`].
    #[error("record {record} at offset {offset} claims {length} bytes, more than {MAX_RECORD}")]
    TooLong {
        /// Its number.
        record: u64,
        /// Where it begins, its length included.
        offset: u64,
        /// Its length as sent.
        length: u64,
    },
    /// Type F without the length of its records.
    #[error("type F without a record length")]
    NoRecordLength,
    /// The type is not made of lines.
    #[error("type {} has no lines", .file_type.letter())]
    NoLines {
        /// The type.
        file_type: FileType,
    },
}

#[cfg(test)]
mod tests;

/// A label as it may stand in a note: hostile text, escaped and cut.
fn quoted(label: &str) -> String {
    format!("{:?}", label.chars().take(40).collect::<String>())
}
