//! NETDATA, the format in which TRANSMIT (z/OS) and SENDFILE (CMS) send files: type N.
//!
//! A stream is made of segments, segments of records, and some records are control records, which are made of text units:
//!
//! | layer | here | made of |
//! |---|---|---|
//! | segment | [`Flags`], [`write_segments`] | length, flags, up to 253 bytes |
//! | record | [`Event::Record`] | segments |
//! | control record | [`Control`], [`ControlKind`] | a name and text units |
//! | text unit | [`Unit`], [`Key`] | a key and values |
//! | file | [`FileInfo`], [`Event::FileStart`] | its INMR02 records, then its records |
//! | library | [`Unload`], [`Member`] | directory and members, in the records of a file |
//!
//! [`Reader`] turns bytes into [`Event`]s and [`Writer`] files into bytes; both stream, in constant memory. On top of them:
//! [`decode`] for what fits into memory, [`RecordText`] and [`TextRecords`] for text, [`Survey`] for a summary, [`Receipt`]
//! for the answer to a sender who wants one.
//!
//! ```
//! use uft::canon::Page;
//! use uft::canon::netdata::{Limits, Newline, Party, Plan, Stamp, decode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let from = Party::new("ALICE", "NODEA")?;
//! let to = Party::new("BOB", "NODEB")?;
//! let sent = Stamp::of("2026-01-02T03:04:05Z".parse()?);
//! let wire = Plan::of_text(from, to, sent, "notes.text", "Hello,\n\nBob.\n")?;
//!
//! let contents = decode(&wire, Limits::default())?;
//! let file = &contents.files[0];
//! assert_eq!(file.info.name.as_ref().unwrap().to_string(), "NOTES.TEXT");
//! assert_eq!(file.text(Page::DEFAULT, Newline::Lf), "Hello,\n\nBob.\n");
//! # Ok(())
//! # }
//! ```
//!
//! What it does *not* do: files, clocks, sockets, or policy (who gets a receipt, what a name becomes on disk). It writes
//! no libraries, no record numbers and no INMR04.
//!
//! Sources: the NETDATA description of Palmer and O'Hara (1981); z/OS TSO/E Customization (control records, text units);
//! the z/VM pages of NETDATA and SENDFILE; the notes of the xmi-reader project; and streams of z/OS, CMS, MVS 3.8
//! (XMIT370), LISTSERV, HUJI and funet-nje.

mod contents;
mod control;
mod deblock;
mod directory;
mod error;
mod file;
mod format;
mod name;
mod plan;
mod read;
mod receipt;
mod segment;
mod spanned;
mod stamp;
mod survey;
mod text;
mod unit;
mod unload;
mod write;

pub use contents::{Contents, FileContents, MemberContents, decode};
pub use control::{AckRequest, Control, ControlKind, Dates, FileStep, Header, Utility};
pub use directory::{Member, Statistics};
pub use error::{Error, Fault, Place, UnloadFault};
pub use file::{FileInfo, FileKind};
pub use format::{Carriage, Dsorg, Form, Recfm};
pub use name::{BadName, Name, Party, Style};
pub use plan::{BadPlan, FileSpec, Format, Plan};
pub use read::{Event, Reader, Tally};
pub use receipt::{Fate, Receipt};
pub use segment::{Flags, SEGMENT_DATA, write_segments};
pub use stamp::Stamp;
pub use survey::{FileSummary, LibrarySummary, Summary, Survey};
pub use text::{Newline, OctetRecords, RecordText, Sniffer, TextRecords};
pub use unit::{Key, Unit, Units};
pub use unload::{Unload, UnloadEvent, UnloadTally};
pub use write::{WriteError, Writer};

/// INMR01 in EBCDIC, and how far from the beginning of a stream it is: behind length and flags.
const SIGNATURE: [u8; 6] = *b"\xc9\xd5\xd4\xd9\xf0\xf1";
const SIGNATURE_AT: usize = 2;

/// Bytes that [`is_netdata`] needs.
pub const HEAD: usize = SIGNATURE_AT + SIGNATURE.len();

/// Whether a file that begins like this is NETDATA.
pub fn is_netdata(head: &[u8]) -> bool {
    match head {
        [length, flags, name @ ..] => {
            Flags::fits(*length) && Flags(*flags).begins_control() && name.starts_with(&SIGNATURE)
        }
        _ => false,
    }
}

/// What a reader puts up with. Beyond a limit it stops with an error; it never cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a record of the stream.
    pub record: usize,
    /// Bytes of a control record.
    pub control: usize,
    /// Bytes of all control records together.
    pub controls: usize,
    /// Text units of a control record.
    pub units: usize,
    /// Files, whatever INMR01 declares. It declares fewer: no more than those. It declares nothing: no more than 16.
    pub files: u32,
    /// Records of all files together.
    pub records: u64,
    /// Bytes of all records together. Members of libraries are made of them, each byte once: that is no more.
    pub total: u64,
    /// Members of a library, aliases included.
    pub members: usize,
}

impl Limits {
    const UNDECLARED_FILES: u64 = 16;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            record: 16 << 20,
            control: 64 << 10,
            controls: 1 << 20,
            units: 4096,
            files: 1024,
            records: 1 << 36,
            total: 64 << 30,
            members: 65_535,
        }
    }
}

#[cfg(test)]
mod bombs_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod tests;
