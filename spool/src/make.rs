//! The directory of a spool before anything in it is looked at: made if it is new, locked, of the right format.
//!
//! What this file does *not* do: anything about users, items or jobs.

use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::dir::Dir;
use crate::disk::{Disk, Handle};
use crate::error::Error;

/// What `format` says.
pub(crate) const FORMAT: &str = "uft-spool 1\n";
/// What `lock` says after an orderly stop.
pub(crate) const CLEAN: &str = "clean\n";

/// Opens the spool's directory, or makes it; a path that was made is durable.
pub(crate) fn root(disk: &Disk, path: &Path) -> Result<Dir, Error> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io("open", path, e))?;
    let missing = absolute
        .ancestors()
        .take_while(|dir| !dir.exists())
        .filter_map(Path::parent);
    let parents: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    let made = std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path);
    made.map_err(|e| Error::io("mkdir", path, e))?;
    for parent in parents {
        disk.sync_dir(&Dir::root(&parent)?)?;
    }
    let path = path.canonicalize().map_err(|e| Error::io("open", path, e))?;
    let mode = path.metadata().map_err(|e| Error::io("stat", &path, e))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::Exposed { path, mode });
    }
    Dir::root(&path)
}

/// Takes the lock. It is the kernel's, on an open file: it cannot be left behind by a crash.
pub(crate) fn lock(disk: &Disk, root: &Dir) -> Result<Handle, Error> {
    const LOCK: &str = "lock";
    let handle = match disk.open_own(root, LOCK) {
        Err(e) if e.is(std::io::ErrorKind::NotFound) => match disk.create(root, LOCK) {
            // Another process was faster: whose lock it is will turn out.
            Err(e) if e.is(std::io::ErrorKind::AlreadyExists) => disk.open_own(root, LOCK)?,
            other => other?,
        },
        other => other?,
    };
    match rustix::fs::flock(&handle.file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(handle),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked(root.path.clone())),
        Err(e) => Err(Error::io("lock", &handle.path, e)),
    }
}

/// Checks the format, or makes the directories of a new spool: `format` is written last, so that a spool which was not
/// made to the end is made again. Whether it is new.
pub(crate) fn format(disk: &Disk, root: &Dir) -> Result<bool, Error> {
    const NAME: &str = "format";
    let other = |found: String| Error::Format {
        path: root.path.clone(),
        found,
    };
    match root.read(NAME) {
        Ok((file, _)) => {
            let mut found = Vec::new();
            file.take(200)
                .read_to_end(&mut found)
                .map_err(|e| Error::io("read", root.path.join(NAME), e))?;
            if found != FORMAT.as_bytes() {
                return Err(other(format!("{:?}", String::from_utf8_lossy(&found))));
            }
        }
        Err(e) if !e.is(std::io::ErrorKind::NotFound) => return Err(e),
        Err(_) => {
            let users = match root.sub("users") {
                Ok(users) => !users.entries()?.is_empty(),
                Err(e) if e.is(std::io::ErrorKind::NotFound) => false,
                Err(e) => return Err(e),
            };
            if users {
                return Err(other("missing, and there are users".into()));
            }
            for name in ["tmp", "users", "corrupt"] {
                disk.make_dir(root, name)?;
            }
            disk.sync_dir(&make_queue(disk, root)?)?;
            disk.sync_dir(root)?;
            let tmp = root.sub("tmp")?;
            if tmp.has(NAME) {
                disk.unlink(&tmp, NAME)?;
            }
            let file = disk.create(&tmp, NAME)?;
            disk.write_at(&file, FORMAT.as_bytes(), 0)?;
            disk.sync(&file)?;
            disk.rename((&tmp, NAME), (root, NAME))?;
            disk.sync_dir(root)?;
            return Ok(true);
        }
    }
    for name in ["tmp", "users", "corrupt"]
        .into_iter()
        .filter(|name| !root.has(name))
    {
        disk.make_dir(root, name)?;
    }
    let queue = make_queue(disk, root)?;
    // Also when nothing was missing: a killed process may have made them without making them durable. A failure
    // poisons: nothing is accepted then, and what is there can still be read.
    let _ = disk.sync_dir(&queue).and_then(|()| disk.sync_dir(root));
    Ok(false)
}

/// Makes what is missing of the directories of the queue, none of it durable yet; `queue/`. A spool of the first release
/// has none of them.
fn make_queue(disk: &Disk, root: &Dir) -> Result<Dir, Error> {
    for name in ["queue", "failed"] {
        if !root.has(name) {
            disk.make_dir(root, name)?;
        }
    }
    let queue = root.sub("queue")?;
    if !queue.has("held") {
        disk.make_dir(&queue, "held")?;
    }
    Ok(queue)
}

/// Whether the last stop was orderly; from now on, durably, it was not.
pub(crate) fn take_clean(disk: &Disk, lock: &Handle) -> Result<bool, Error> {
    let mut found = Vec::new();
    (&lock.file)
        .take(64)
        .read_to_end(&mut found)
        .map_err(|e| Error::io("read", &lock.path, e))?;
    if !found.is_empty() {
        disk.resize(lock, 0)?;
        disk.sync(lock)?;
    }
    Ok(found == CLEAN.as_bytes())
}
