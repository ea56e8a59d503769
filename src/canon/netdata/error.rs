//! What is wrong with a stream, where, in words.
//!
//! What it does *not* hold: what may not be written (`plan.rs`), and text that does not fit a page
//! ([`Misfit`](crate::canon::Misfit)).

use super::ControlKind;

/// Why a stream cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} at offset {offset}: {fault}")]
pub struct Error {
    /// The number of the record, from 1; control records and data records count alike.
    pub record: u64,
    /// Bytes of the stream before the segment or record at fault.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The stream does not begin with an INMR01 control record.
    #[error("this is not NETDATA: no INMR01 at the beginning")]
    NotNetdata,
    /// The stream ends before INMR06.
    #[error("the stream is cut short: it ends {place}")]
    Truncated {
        /// What the end interrupted.
        place: Place,
    },
    /// A length that no segment has: it counts itself and the flags.
    #[error("a segment of length {length}; the least is 2")]
    SegmentLength {
        /// The length as sent.
        length: u8,
    },
    /// A middle or last segment without a first.
    #[error("a segment that continues no record")]
    NothingToContinue,
    /// A first segment before the last of the record before.
    #[error("a record begins inside another")]
    RecordInRecord,
    /// The segments of one record disagree on what it is.
    #[error("a record that is partly control and partly data")]
    Mixed,
    /// A record longer than the limit.
    #[error("a record of more than {limit} bytes")]
    RecordTooLong {
        /// [`Limits::record`](super::Limits::record) or [`Limits::control`](super::Limits::control).
        limit: u64,
    },
    /// More of something than the limit.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// A control record without a name of six letters, or INMR02 without a file number.
    #[error("a control record of {length} bytes")]
    ControlTooShort {
        /// Its length.
        length: usize,
    },
    /// A text unit that runs past its control record.
    #[error("the text unit {key:04X} runs past the end of {record}")]
    UnitOverrun {
        /// Its key; 0 when even that is cut.
        key: u16,
        /// The control record.
        record: ControlKind,
    },
    /// A control record that cannot stand here.
    #[error("{record} {why}")]
    Misplaced {
        /// The control record.
        record: ControlKind,
        /// Why it cannot.
        why: &'static str,
    },
    /// Data before the first INMR03.
    #[error("data before the first INMR03")]
    DataOutsideFile,
    /// INMR03 begins a file that no INMR02 describes.
    #[error("no INMR02 describes file {file}")]
    Undescribed {
        /// Its number, from 1.
        file: u32,
    },
    /// A partitioned data set that cannot be taken apart.
    #[error("the unload of the partitioned data set is damaged: {0}")]
    Unload(#[from] UnloadFault),
}

/// What the end of a stream interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A segment.
    InSegment,
    /// A record, between two of its segments.
    InRecord,
    /// Between records, before INMR06.
    BeforeTrailer,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Place::InSegment => "inside a segment",
            Place::InRecord => "inside a record",
            Place::BeforeTrailer => "before INMR06",
        })
    }
}

/// What is wrong with the unload of a partitioned data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnloadFault {
    /// The first record is no COPYR1.
    #[error("no COPYR1 at the beginning")]
    NoHeader,
    /// A block that cannot stand in the directory.
    #[error("a block with a key of {key} and data of {data} bytes in the directory")]
    DirectoryBlock {
        /// Bytes of its key.
        key: u8,
        /// Bytes of its data.
        data: u16,
    },
    /// The used length of a directory block, or an entry, runs past the block.
    #[error("a directory entry runs past its block")]
    DirectoryOverrun,
    /// The data of a member comes a second time.
    #[error("the data of member {name} comes twice")]
    MemberTwice {
        /// Its name.
        name: String,
    },
    /// The data ends inside the directory, a block or a member.
    #[error("it ends inside {what}")]
    Truncated {
        /// What.
        what: &'static str,
    },
}
