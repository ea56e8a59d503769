//! Why the spool said no: one enum for the crate, every variant with its facts.
//!
//! Whoever answers a peer chooses the code by variant ([`Error::is_room`], [`Error::is_transient`]), never by text.
//! What it does *not* hold: reply codes or anything else of the wire.

use std::io;
use std::path::{Path, PathBuf};

use crate::id::{SpoolId, UserName};

/// What there is too little of on the disk.
#[derive(Debug, thiserror::Error)]
pub enum Shortage {
    /// Free space would fall below the configured reserve.
    #[error("{free} bytes are free, {min_free} are kept back and {wanted} more were wanted")]
    Reserve {
        /// Free bytes now.
        free: u64,
        /// Bytes to be kept free.
        min_free: u64,
        /// Bytes that were to come.
        wanted: u64,
    },
    /// The file system has no inode left.
    #[error("no inode is left")]
    Inodes,
    /// The operating system refused: `ENOSPC` or `EDQUOT`.
    #[error("{what}: {source}")]
    Refused {
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What can go wrong in the spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipient's quota is used up.
    #[error(
        "user {user} has {items} of {max_items} items and {bytes} of {max_bytes} bytes, {wanted} bytes more do not fit"
    )]
    OverQuota {
        /// Whose quota.
        user: UserName,
        /// Bytes in the inbox and on their way to it.
        bytes: u64,
        /// Items in the inbox and on their way to it.
        items: u64,
        /// Bytes asked for.
        wanted: u64,
        /// The limit in bytes.
        max_bytes: u64,
        /// The limit in items.
        max_items: u64,
    },
    /// Too much from this address is still unread.
    #[error(
        "{stranger} has {items} of {max_items} unread items and {bytes} of {max_bytes} bytes, {wanted} bytes more do not fit"
    )]
    StrangerQuota {
        /// The address.
        stranger: String,
        /// Bytes unread and on their way.
        bytes: u64,
        /// Items unread and on their way.
        items: u64,
        /// Bytes asked for.
        wanted: u64,
        /// The limit in bytes.
        max_bytes: u64,
        /// The limit in items.
        max_items: u64,
    },
    /// The owner's quota for what waits in the queue is used up.
    #[error(
        "user {owner} has {items} of {max_items} jobs and {bytes} of {max_bytes} bytes in the queue, {wanted} bytes more do not fit"
    )]
    QueueQuota {
        /// Whose quota.
        owner: UserName,
        /// Bytes in the queue and on their way to it.
        bytes: u64,
        /// Jobs in the queue and on their way to it.
        items: u64,
        /// Bytes asked for.
        wanted: u64,
        /// The limit in bytes.
        max_bytes: u64,
        /// The limit in jobs.
        max_items: u64,
    },
    /// One file is larger than any file may be.
    #[error("a file of {bytes} bytes or more, {max} are allowed")]
    TooLarge {
        /// Its length as far as it is known.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The disk is full, or nearly.
    #[error("no room at {}: {shortage}", path.display())]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Of what.
        shortage: Shortage,
    },
    /// There is no such item (any more).
    #[error("user {user} has no item {id}")]
    NoSuchItem {
        /// The inbox.
        user: UserName,
        /// The number.
        id: SpoolId,
    },
    /// There is no such job in the queue (any more).
    #[error("there is no job {0} in the queue")]
    NoSuchJob(SpoolId),
    /// The form asked for does not stand in the spool: the wire form is to be made from the local form, or the
    /// item has no second fork.
    #[error("item {id} of {} does not keep its {form} form", owner(user))]
    NotKept {
        /// The inbox; `None`: the queue.
        user: Option<UserName>,
        /// The number.
        id: SpoolId,
        /// `wire` or `aux`.
        form: &'static str,
    },
    /// A file of the spool is not what it was when it was written.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An fsync failed: what the disk holds is not known, so nothing more is promised until the spool is opened anew.
    #[error("an fsync of the spool failed: nothing is accepted until the service is restarted")]
    Poisoned,
    /// The sender of this transfer has gone on with it elsewhere.
    #[error("the transfer goes on in another session")]
    Superseded,
    /// Another process has the spool open.
    #[error("spool {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The directory holds a spool of another format, or something else.
    #[error(
        "spool {}: its format is {found}, this program reads \"{}\"; start the version that wrote it, or move the directory away",
        path.display(),
        crate::make::FORMAT.trim_end()
    )]
    Format {
        /// The spool.
        path: PathBuf,
        /// What its `format` file says.
        found: String,
    },
    /// The directory can be changed by others.
    #[error("spool {} can be written by others (mode {mode:o}): chmod it to 700", path.display())]
    Exposed {
        /// The spool.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The facts of an item are longer than a trailer may be.
    #[error("the envelope takes {bytes} bytes, {max} are allowed", max = crate::trailer::ENVELOPE_MAX)]
    EnvelopeTooLong {
        /// Its length.
        bytes: u64,
    },
    /// What a job is addressed to is longer than a job file may be.
    #[error("the job is too long to be kept")]
    JobTooLong,
    /// A delivery names nobody, or somebody for whom no room was reserved.
    #[error("a delivery without a reservation for {}", .0.as_ref().map_or("anybody", UserName::as_str))]
    NotReserved(Option<UserName>),
    /// Every number of this directory has been used.
    #[error("every spool id of {} has been used", .0.display())]
    OutOfIds(PathBuf),
    /// The operating system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index refused; the files are not touched by that.
    #[error("index of the spool: {0}")]
    Index(#[from] rusqlite::Error),
}

impl Error {
    /// An error of the operating system: `ENOSPC` and `EDQUOT` become [`Error::NoRoom`], the rest [`Error::Io`].
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Error {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoRoom {
                path,
                shortage: Shortage::Refused { what, source },
            },
            _ => Error::Io { what, path, source },
        }
    }

    pub(crate) fn damaged(path: impl AsRef<Path>, reason: impl ToString) -> Error {
        Error::Damaged {
            path: path.as_ref().to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Whether this is an answer of the operating system of this kind.
    pub(crate) fn is(&self, kind: io::ErrorKind) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == kind)
    }

    /// Whether room ran out: of a quota or of the disk. The same file may fit once something was taken away.
    pub fn is_room(&self) -> bool {
        matches!(
            self,
            Error::OverQuota { .. }
                | Error::StrangerQuota { .. }
                | Error::QueueQuota { .. }
                | Error::NoRoom { .. }
        )
    }

    /// Whether the same request may succeed later without being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::OverQuota { .. }
            | Error::StrangerQuota { .. }
            | Error::QueueQuota { .. }
            | Error::NoRoom { .. }
            | Error::Poisoned
            | Error::Superseded
            | Error::Locked(_)
            | Error::Io { .. }
            | Error::Index(_) => true,
            Error::TooLarge { .. }
            | Error::NoSuchItem { .. }
            | Error::NoSuchJob(_)
            | Error::NotKept { .. }
            | Error::Damaged { .. }
            | Error::Format { .. }
            | Error::Exposed { .. }
            | Error::EnvelopeTooLong { .. }
            | Error::JobTooLong
            | Error::NotReserved(_)
            | Error::OutOfIds(_) => false,
        }
    }
}

fn owner(user: &Option<UserName>) -> String {
    user.as_ref()
        .map_or_else(|| "the queue".into(), |user| format!("user {user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_room_and_a_bad_one_is_io() {
        for errno in [28, 122] {
            let error = Error::io("write", "x", io::Error::from_raw_os_error(errno));
            assert!(matches!(error, Error::NoRoom { .. }));
            assert!(error.is_room() && error.is_transient());
        }
        for errno in [5, 30] {
            let error = Error::io("write", "x", io::Error::from_raw_os_error(errno));
            assert!(matches!(error, Error::Io { .. }));
            assert!(!error.is_room() && error.is_transient());
        }
    }
}
