//! Every operation that changes the disk: the only place that creates, writes, syncs, renames, links and unlinks.
//!
//! Tests put a *plan* inside: the n-th operation of a kind fails with an error of their choice, or all operations are
//! recorded so that the states which a crash could leave can be built. The index is SQLite's and writes for itself; it
//! asks here for permission only ([`Act::Index`]).
//!
//! A failed fsync poisons: what the kernel has thrown away by then cannot be known, and a second fsync would report
//! success (the error is reported once). So no fsync is tried after one has failed, and whoever needs one is answered
//! [`Error::Poisoned`] until the spool is opened anew.
//!
//! What this file does *not* do: decide what is written where, or read.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::dir::{Dir, SAFE, refused, regular};
use crate::error::Error;

const FILE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY: Mode = Mode::from_raw_mode(0o700);

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// A file is created.
    Create,
    /// Bytes are written to a file; when planned to fail, half of them are written before.
    Write,
    /// A file is cut or extended.
    Resize,
    /// An fsync of a file.
    Sync,
    /// An fsync of a directory.
    SyncDir,
    /// A rename.
    Rename,
    /// A hard link.
    Link,
    /// A name is removed.
    Unlink,
    /// A directory is made.
    MakeDir,
    /// A transaction of the index.
    Index,
}

/// One planned failure.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which kind of operation fails.
    pub act: Act,
    /// Which one, counted from 1 from the moment of planning.
    pub nth: u64,
    /// `errno` of the failure.
    pub errno: i32,
    /// Whether all later ones of the kind fail as well (a full disk stays full).
    pub lasting: bool,
}

/// One operation that was carried out; paths as they were used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An empty file was created.
    Create(PathBuf),
    /// Bytes were written at an offset.
    Write(PathBuf, u64, Vec<u8>),
    /// A file was given this length.
    Resize(PathBuf, u64),
    /// The content of a file was made durable.
    Sync(PathBuf),
    /// The names in a directory were made durable.
    SyncDir(PathBuf),
    /// A name was changed; an existing one was replaced.
    Rename(PathBuf, PathBuf),
    /// A second name was given.
    Link(PathBuf, PathBuf),
    /// A name was removed.
    Unlink(PathBuf),
    /// A directory was made.
    MakeDir(PathBuf),
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    steps: Option<Vec<Step>>,
    free: Option<u64>,
}

/// The disk under a spool. Clones share the plan.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    plan: Option<Arc<Mutex<Plan>>>,
    poisoned: Arc<AtomicBool>,
}

/// A file open for writing.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// What the file system has left for us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Free {
    pub(crate) bytes: u64,
    pub(crate) inodes: bool,
}

/// A mutex whose holder panicked still guards plain data.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// The disk as it is.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// A disk with an empty plan, to be filled through any of its clones.
    pub fn planned() -> Disk {
        Disk {
            plan: Some(Arc::default()),
            ..Disk::default()
        }
    }

    /// The same plan and no memory of failed fsyncs: for a spool that is opened.
    pub(crate) fn reopened(&self) -> Disk {
        Disk {
            plan: self.plan.clone(),
            poisoned: Arc::default(),
        }
    }

    fn plan(&self) -> Option<MutexGuard<'_, Plan>> {
        self.plan.as_deref().map(lock)
    }

    /// Plans a failure; without effect on a disk without a plan.
    pub fn fail(&self, fault: Fault) {
        if let Some(mut plan) = self.plan() {
            plan.faults.push(fault);
        }
    }

    /// Forgets every planned failure and a planned amount of free space.
    pub fn heal(&self) {
        if let Some(mut plan) = self.plan() {
            plan.faults.clear();
            plan.free = None;
        }
    }

    /// Whether a planned failure has not happened yet.
    pub fn is_armed(&self) -> bool {
        self.plan()
            .is_some_and(|plan| plan.faults.iter().any(|fault| fault.nth > 0))
    }

    /// Makes the file system look as if it had this many bytes free.
    pub fn pretend_free(&self, bytes: u64) {
        if let Some(mut plan) = self.plan() {
            plan.free = Some(bytes);
        }
    }

    /// Records operations from now on.
    pub fn record(&self) {
        if let Some(mut plan) = self.plan() {
            plan.steps = Some(Vec::new());
        }
    }

    /// What was carried out since [`Disk::record`]; the recording ends.
    pub fn recorded(&self) -> Vec<Step> {
        self.plan()
            .and_then(|mut plan| plan.steps.take())
            .unwrap_or_default()
    }

    /// Whether an fsync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn healthy(&self) -> Result<(), Error> {
        if self.is_poisoned() {
            Err(Error::Poisoned)
        } else {
            Ok(())
        }
    }

    /// The planned failure of this operation, if it is this one's turn.
    fn fault(&self, act: Act) -> Option<io::Error> {
        let mut plan = self.plan()?;
        let mut hit = None;
        for fault in plan.faults.iter_mut().filter(|fault| fault.act == act) {
            match fault.nth {
                0 if !fault.lasting => {}
                0 | 1 => {
                    fault.nth = 0;
                    hit.get_or_insert(fault.errno);
                }
                _ => fault.nth -= 1,
            }
        }
        hit.map(io::Error::from_raw_os_error)
    }

    fn gate(&self, act: Act) -> io::Result<()> {
        self.fault(act).map_or(Ok(()), Err)
    }

    /// Permission for a transaction of the index.
    pub(crate) fn index(&self) -> io::Result<()> {
        self.gate(Act::Index)
    }

    fn note(&self, step: impl FnOnce() -> Step) {
        if let Some(steps) = self.plan().as_mut().and_then(|plan| plan.steps.as_mut()) {
            steps.push(step());
        }
    }

    /// Creates a file of mode 0600, open for reading and writing; never opens one that is there.
    pub(crate) fn create(&self, dir: &Dir, name: &str) -> Result<Handle, Error> {
        let path = dir.path.join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = self
            .gate(Act::Create)
            .and_then(|()| Ok(rustix::fs::openat(&dir.fd, name, flags, FILE)?));
        match opened {
            Ok(fd) => {
                self.note(|| Step::Create(path.clone()));
                Ok(Handle {
                    file: File::from(fd),
                    path,
                })
            }
            Err(e) => Err(Error::io("create", path, e)),
        }
    }

    /// Opens a file of the spool's own for writing: regular, ours, and with one name only, so that a planted link
    /// cannot make us write into something else.
    pub(crate) fn open_own(&self, dir: &Dir, name: &str) -> Result<Handle, Error> {
        let path = dir.path.join(name);
        let fd = rustix::fs::openat(&dir.fd, name, OFlags::RDWR | SAFE, Mode::empty())
            .map_err(|e| refused("open", &path, e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", &path, e))?;
        regular(&stat, &path)?;
        if stat.st_nlink != 1 {
            return Err(Error::damaged(
                &path,
                format!("the file has {} names", stat.st_nlink),
            ));
        }
        Ok(Handle {
            file: File::from(fd),
            path,
        })
    }

    /// Writes all of `bytes` at an offset.
    pub(crate) fn write_at(&self, to: &Handle, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let written = match self.fault(Act::Write) {
            None => to.file.write_all_at(bytes, offset),
            Some(fault) => {
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                to.file.write_all_at(half, offset).and(Err(fault))
            }
        };
        written.map_err(|e| Error::io("write", &to.path, e))?;
        self.note(|| Step::Write(to.path.clone(), offset, bytes.to_vec()));
        Ok(())
    }

    /// Asks the system to begin writing a range to the disk, so that the fsync at the end finds little left to do. Only
    /// a hint: nothing depends on it.
    pub(crate) fn begin_writing(&self, of: &Handle, offset: u64, len: u64) {
        if let Some(len) = NonZeroU64::new(len) {
            // On Linux this starts the writing of what is dirty, and drops only what is clean.
            let _ = rustix::fs::fadvise(&of.file, offset, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    /// Cuts a file.
    pub(crate) fn resize(&self, of: &Handle, len: u64) -> Result<(), Error> {
        self.gate(Act::Resize)
            .and_then(|()| of.file.set_len(len))
            .map_err(|e| Error::io("resize", &of.path, e))?;
        self.note(|| Step::Resize(of.path.clone(), len));
        Ok(())
    }

    /// Makes the content of a file durable.
    pub(crate) fn sync(&self, of: &Handle) -> Result<(), Error> {
        self.healthy()?;
        let synced = self.gate(Act::Sync).and_then(|()| of.file.sync_all());
        self.synced(synced, &of.path)?;
        self.note(|| Step::Sync(of.path.clone()));
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Dir) -> Result<(), Error> {
        self.healthy()?;
        let synced = self
            .gate(Act::SyncDir)
            .and_then(|()| Ok(rustix::fs::fsync(&dir.fd)?));
        self.synced(synced, &dir.path)?;
        self.note(|| Step::SyncDir(dir.path.clone()));
        Ok(())
    }

    fn synced(&self, result: io::Result<()>, path: &Path) -> Result<(), Error> {
        result.map_err(|e| {
            self.poisoned.store(true, Ordering::Release);
            Error::io("fsync", path, e)
        })
    }

    /// Renames; a file that has the new name already is an error of kind `AlreadyExists`.
    pub(crate) fn rename(&self, from: (&Dir, &str), to: (&Dir, &str)) -> Result<(), Error> {
        let path = || to.0.path.join(to.1);
        let renamed = self.gate(Act::Rename).and_then(|()| {
            match rustix::fs::renameat_with(&from.0.fd, from.1, &to.0.fd, to.1, RenameFlags::NOREPLACE) {
                // Not every file system can; a link never replaces either.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    rustix::fs::linkat(&from.0.fd, from.1, &to.0.fd, to.1, AtFlags::empty())?;
                    Ok(rustix::fs::unlinkat(&from.0.fd, from.1, AtFlags::empty())?)
                }
                other => Ok(other?),
            }
        });
        renamed.map_err(|e| Error::io("rename", path(), e))?;
        self.note(|| Step::Rename(from.0.path.join(from.1), path()));
        Ok(())
    }

    /// Renames, in the place of what has the new name.
    pub(crate) fn replace(&self, from: (&Dir, &str), to: (&Dir, &str)) -> Result<(), Error> {
        let path = || to.0.path.join(to.1);
        self.gate(Act::Rename)
            .and_then(|()| Ok(rustix::fs::renameat(&from.0.fd, from.1, &to.0.fd, to.1)?))
            .map_err(|e| Error::io("rename", path(), e))?;
        self.note(|| Step::Rename(from.0.path.join(from.1), path()));
        Ok(())
    }

    /// Gives a second name; never over an existing one.
    pub(crate) fn link(&self, from: (&Dir, &str), to: (&Dir, &str)) -> Result<(), Error> {
        let path = || to.0.path.join(to.1);
        self.gate(Act::Link)
            .and_then(|()| {
                Ok(rustix::fs::linkat(
                    &from.0.fd,
                    from.1,
                    &to.0.fd,
                    to.1,
                    AtFlags::empty(),
                )?)
            })
            .map_err(|e| Error::io("link", path(), e))?;
        self.note(|| Step::Link(from.0.path.join(from.1), path()));
        Ok(())
    }

    /// Removes the name of a file.
    pub(crate) fn unlink(&self, dir: &Dir, name: &str) -> Result<(), Error> {
        self.gate(Act::Unlink)
            .and_then(|()| Ok(rustix::fs::unlinkat(&dir.fd, name, AtFlags::empty())?))
            .map_err(|e| Error::io("unlink", dir.path.join(name), e))?;
        self.note(|| Step::Unlink(dir.path.join(name)));
        Ok(())
    }

    /// Makes a directory of mode 0700; one that is there is left alone. Whether it was made.
    pub(crate) fn make_dir(&self, dir: &Dir, name: &str) -> Result<bool, Error> {
        let path = || dir.path.join(name);
        match self
            .gate(Act::MakeDir)
            .and_then(|()| Ok(rustix::fs::mkdirat(&dir.fd, name, DIRECTORY)?))
        {
            Ok(()) => {
                self.note(|| Step::MakeDir(path()));
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(Error::io("mkdir", path(), e)),
        }
    }

    /// What is free for us.
    pub(crate) fn free(&self, dir: &Dir) -> Result<Free, Error> {
        let stat = rustix::fs::fstatvfs(&dir.fd).map_err(|e| Error::io("statvfs", &dir.path, e))?;
        let real = stat.f_bavail.saturating_mul(stat.f_frsize);
        let bytes = self.plan().and_then(|plan| plan.free).unwrap_or(real);
        // File systems without a fixed number of inodes report none at all.
        Ok(Free {
            bytes,
            inodes: stat.f_files == 0 || stat.f_favail > 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::root(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_rename_never_replaces() {
        let (_temp, dir) = dir();
        let disk = Disk::new();
        disk.write_at(&disk.create(&dir, "a").unwrap(), b"a", 0).unwrap();
        disk.write_at(&disk.create(&dir, "b").unwrap(), b"b", 0).unwrap();
        let error = disk.rename((&dir, "a"), (&dir, "b")).unwrap_err();
        assert!(error.is(io::ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(dir.path.join("b")).unwrap(), b"b");
    }

    #[test]
    fn no_fsync_is_tried_after_one_has_failed() {
        let (_temp, dir) = dir();
        let disk = Disk::planned();
        let file = disk.create(&dir, "a").unwrap();
        disk.fail(Fault {
            act: Act::Sync,
            nth: 1,
            errno: 5,
            lasting: false,
        });
        disk.record();
        assert!(matches!(disk.sync(&file), Err(Error::Io { what: "fsync", .. })));
        assert!(matches!(disk.sync(&file), Err(Error::Poisoned)));
        assert!(matches!(disk.sync_dir(&dir), Err(Error::Poisoned)));
        assert_eq!(disk.recorded(), []);
        assert!(disk.reopened().sync_dir(&dir).is_ok());
    }

    #[test]
    fn the_nth_operation_fails_and_the_others_do_not() {
        let (_temp, dir) = dir();
        let disk = Disk::planned();
        disk.fail(Fault {
            act: Act::Create,
            nth: 2,
            errno: 28,
            lasting: false,
        });
        assert!(disk.create(&dir, "a").is_ok());
        assert!(disk.is_armed());
        assert!(matches!(disk.create(&dir, "b"), Err(Error::NoRoom { .. })));
        assert!(!disk.is_armed());
        assert!(disk.create(&dir, "b").is_ok());
    }
}
