//! The drop directory on the disk: what is in it, opening a job, taking it away.
//!
//! Everybody may write there, so nothing in it is believed: names are looked up below the open directory and never
//! followed, what is no plain file is never opened, and what is taken away is what was read. What this file does *not*
//! do: decide what becomes of a job.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, mkdirat, openat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::display::shown;

/// Where jobs go that are not taken.
const REJECTED: &CStr = c"rejected";
/// Seconds in which what is not complete may still become so.
const YOUNG: i64 = 60;
/// Names looked at in one go, besides those that wait; the rest is for the next.
const NAMES_MAX: usize = 10_000;
/// Names that are tried for a rejected job.
const TRIES: u32 = 1_000;

/// The directory, open.
#[derive(Debug)]
pub(super) struct DropDir {
    dir: OwnedFd,
    rejected: OwnedFd,
}

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it cannot be opened, or is a symlink or no directory")]
    NotOpened(#[source] io::Error),
    #[error(
        "everybody may write to it, and it has no sticky bit: anybody could take away what others put there"
    )]
    NotSticky,
    #[error("it is inside the spool")]
    InsideTheSpool,
    #[error("its directory rejected/ cannot be made, or is somebody else's")]
    Rejected(#[source] io::Error),
}

/// What a file is and was: when any of it changes, it is another one, or still being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified: (i64, u64),
}

/// A job, open for reading.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) file: File,
    pub(super) identity: Identity,
    /// User id of its owner.
    pub(super) owner: u32,
}

/// Why something is no job.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// It went away, or cannot be read (yet).
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    #[error("it is no regular file")]
    Irregular,
    #[error("it has {0} names: whoever put it here may not be its owner")]
    Linked(u64),
}

impl Identity {
    fn of(stat: &Stat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
        }
    }

    /// Of an open file, now.
    pub(super) fn now(file: &File) -> io::Result<Identity> {
        Ok(Identity::of(&fstat(file)?))
    }

    /// Whether it was written to less than a minute ago.
    pub(super) fn is_young(&self) -> bool {
        let now = jiff::Timestamp::now().as_second();
        now.saturating_sub(self.modified.0) < YOUNG
    }

    /// A transfer id: the same for the same file, whose first bytes are `head`. A job that is read again after a crash
    /// is recognised by it.
    pub(super) fn xid(&self, head: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        let (seconds, nanos) = self.modified;
        for number in [self.device, self.inode, self.size, seconds.cast_unsigned(), nanos] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(head);
        let hex = hasher.finalize().to_hex();
        format!("drop.{}", hex.get(..48).unwrap_or_default())
    }
}

impl DropDir {
    /// Opens the directory; makes `rejected/` in it.
    pub(super) fn open(path: &Path, spool: &Path) -> Result<DropDir, Unfit> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty());
        let dir = opened.map_err(|err| Unfit::NotOpened(err.into()))?;
        let stat = fstat(&dir).map_err(|err| Unfit::NotOpened(err.into()))?;
        if stat.st_mode & 0o002 != 0 && stat.st_mode & 0o1000 == 0 {
            return Err(Unfit::NotSticky);
        }
        // By other names than those of the configuration, too.
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if real(path).starts_with(real(spool)) {
            return Err(Unfit::InsideTheSpool);
        }
        let rejected = rejected(&dir).map_err(Unfit::Rejected)?;
        Ok(DropDir { dir, rejected })
    }

    /// The names of what may be complete, in order. Those that `wait` are all among them and keep no other name out: many
    /// jobs that cannot be taken must not stand before those that can.
    pub(super) fn names(&self, wait: &HashSet<CString>) -> io::Result<Vec<CString>> {
        let (mut names, mut new) = (Vec::new(), 0);
        for entry in Dir::read_from(&self.dir)? {
            let name = entry?.file_name().to_owned();
            if !is_complete(name.to_bytes()) || name.as_c_str() == REJECTED {
                continue;
            }
            if !wait.contains(&name) {
                new += 1;
                if new > NAMES_MAX {
                    continue;
                }
            }
            names.push(name);
        }
        names.sort();
        Ok(names)
    }

    /// Opens a job.
    pub(super) fn job(&self, name: &CStr) -> Result<Job, NotTaken> {
        let unreadable = |err: Errno| NotTaken::Unreadable(err.into());
        // What is no plain file is not even opened: that alone may wait, or do something.
        let stat = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unreadable)?;
        regular(&stat)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(NotTaken::Irregular),
            opened => File::from(opened.map_err(unreadable)?),
        };
        let stat = fstat(&file).map_err(unreadable)?;
        regular(&stat)?;
        Ok(Job {
            file,
            identity: Identity::of(&stat),
            owner: stat.st_uid,
        })
    }

    /// Whether a name stands for this file.
    pub(super) fn is(&self, name: &CStr, identity: &Identity) -> bool {
        let stat = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| Identity::of(&stat) == *identity)
    }

    /// Removes a job that was taken, if its name still stands for it.
    pub(super) fn remove(&self, name: &CStr, identity: &Identity) -> io::Result<()> {
        if self.is(name, identity) {
            unlinkat(&self.dir, name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Puts a job away, with the reason beside it; nothing that lies there is written over.
    pub(super) fn reject(&self, name: &CStr, why: &str) -> io::Result<String> {
        let plain = name.to_bytes();
        for n in 0..TRIES {
            let mut new = plain.to_vec();
            if n > 0 {
                new.extend_from_slice(format!("~{n}").as_bytes());
            }
            let flags = RenameFlags::NOREPLACE;
            match renameat_with(&self.dir, name, &self.rejected, new.as_slice(), flags) {
                Err(Errno::EXIST) => continue,
                renamed => renamed?,
            }
            self.explain(&new, why)?;
            return Ok(String::from_utf8_lossy(&new).into_owned());
        }
        Err(Errno::EXIST.into())
    }

    fn explain(&self, name: &[u8], why: &str) -> io::Result<()> {
        let path = [name, b".reason"].concat();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.rejected, path, flags, Mode::from_raw_mode(0o644))?);
        writeln!(file, "{}", shown(why))
    }
}

/// Whether a name is one that a complete job may have.
fn is_complete(name: &[u8]) -> bool {
    !name.starts_with(b".") && !name.ends_with(b".tmp") && !name.ends_with(b".part")
}

fn regular(stat: &Stat) -> Result<(), NotTaken> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(NotTaken::Irregular);
    }
    match stat.st_nlink {
        0 | 1 => Ok(()),
        more => Err(NotTaken::Linked(more)),
    }
}

/// The directory for what is rejected: ours, and nobody else's to change. Whoever knows a name may read the reason.
fn rejected(dir: &OwnedFd) -> io::Result<OwnedFd> {
    match mkdirat(dir, REJECTED, Mode::from_raw_mode(0o711)) {
        Err(Errno::EXIST) | Ok(()) => {}
        Err(err) => return Err(err.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let rejected = openat(dir, REJECTED, flags, Mode::empty())?;
    if fstat(&rejected)?.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fchmod(&rejected, Mode::from_raw_mode(0o711))?;
    Ok(rejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_wait_keep_no_other_job_out() {
        let dir = tempfile::tempdir().unwrap();
        let drop = DropDir::open(dir.path(), Path::new("/nowhere")).unwrap();
        for n in 0..NAMES_MAX + 3 {
            File::create(dir.path().join(format!("job{n}"))).unwrap();
        }
        let first = drop.names(&HashSet::new()).unwrap();
        assert_eq!(first.len(), NAMES_MAX);
        let wait: HashSet<CString> = first.into_iter().collect();
        let then = drop.names(&wait).unwrap();
        assert_eq!(then.len(), NAMES_MAX + 3);
        assert!(then.iter().filter(|name| wait.contains(*name)).count() == NAMES_MAX);
    }
}
