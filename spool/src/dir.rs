//! Looking at the disk: directories, what is in them, and files opened for reading.
//!
//! No symlink is followed below the spool's own directory, and what is not a regular file is not opened as one. What
//! this file does *not* do: change anything (that is `disk.rs`).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::Error;

/// `O_NONBLOCK`: opening a planted FIFO must not wait for its other end; regular files do not care.
pub(crate) const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Dir {
    /// Opens the spool's own directory, whose path is the administrator's word.
    pub(crate) fn root(path: &Path) -> Result<Dir, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path, e))?;
        Ok(Dir {
            fd,
            path: path.to_owned(),
        })
    }

    /// Opens a directory inside this one; a symlink is an error.
    pub(crate) fn sub(&self, name: &str) -> Result<Dir, Error> {
        let path = self.path.join(name);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path }),
            Err(e) => Err(refused("open", &path, e)),
        }
    }

    /// Opens a regular file for reading; a symlink, FIFO or directory in its place is [`Error::Damaged`].
    pub(crate) fn read(&self, name: &str) -> Result<(File, u64), Error> {
        let path = || self.path.join(name);
        let fd = rustix::fs::openat(&self.fd, name, OFlags::RDONLY | SAFE, Mode::empty())
            .map_err(|e| refused("open", &path(), e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| Error::io("stat", path(), e))?;
        regular(&stat, &path())?;
        Ok((File::from(fd), u64::try_from(stat.st_size).unwrap_or_default()))
    }

    /// Whether the name exists, whatever it names.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What tells the file of this name from every other one, if it has a second name.
    pub(crate) fn inode(&self, name: &str) -> Option<u64> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (stat.st_nlink > 1).then_some(stat.st_ino)
    }

    /// Every name but `.` and `..`, with whether it is known to be a regular file or a directory.
    pub(crate) fn entries(&self) -> Result<Vec<(Vec<u8>, Kind)>, Error> {
        let err = |e: Errno| Error::io("list", &self.path, e);
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.fd.as_fd()).map_err(err)? {
            let entry = entry.map_err(err)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => {
                    match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => Kind::of(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
                        Err(Errno::NOENT) => continue,
                        Err(e) => return Err(err(e)),
                    }
                }
                known => Kind::of(known),
            };
            entries.push((name.to_bytes().to_vec(), kind));
        }
        Ok(entries)
    }
}

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Other,
}

impl Kind {
    fn of(file_type: rustix::fs::FileType) -> Kind {
        match file_type {
            rustix::fs::FileType::RegularFile => Kind::File,
            rustix::fs::FileType::Directory => Kind::Directory,
            _ => Kind::Other,
        }
    }
}

/// The answers by which the system says "that is not a plain file" are damage, not weather.
pub(crate) fn refused(what: &'static str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::LOOP => Error::damaged(path, "it is a symlink"),
        Errno::NXIO | Errno::ISDIR | Errno::NOTDIR => Error::damaged(path, "it is of the wrong kind"),
        errno => Error::io(what, path, errno),
    }
}

/// Takes regular files only.
pub(crate) fn regular(stat: &Stat, path: &Path) -> Result<(), Error> {
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if kind != rustix::fs::FileType::RegularFile {
        return Err(Error::damaged(
            path,
            format!("it is not a regular file but {kind:?}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;

    #[test]
    fn links_fifos_and_directories_are_not_opened_as_files() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::root(temp.path()).unwrap();
        std::fs::write(temp.path().join("file"), b"x").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        std::fs::hard_link(temp.path().join("file"), temp.path().join("second")).unwrap();
        std::fs::create_dir(temp.path().join("directory")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&dir.fd, "fifo", fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for name in ["link", "directory", "fifo"] {
            assert!(matches!(dir.read(name), Err(Error::Damaged { .. })), "{name}");
            assert!(
                matches!(Disk::new().open_own(&dir, name), Err(Error::Damaged { .. })),
                "{name}"
            );
        }
        assert!(matches!(
            Disk::new().open_own(&dir, "second"),
            Err(Error::Damaged { .. })
        ));
        assert!(dir.read("second").is_ok());
        assert!(matches!(dir.sub("link"), Err(Error::Damaged { .. })));
    }
}
