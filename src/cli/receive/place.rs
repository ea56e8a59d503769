//! A new file in a directory, all of it or nothing, and never in the place of another.
//!
//! The bytes go to a temporary name that nobody can guess, created exclusively and without following links; the file is
//! fsynced, then *linked* to its name: the system refuses that when the name is taken, also by a symlink planted a
//! moment before, so there is no gap between looking and writing. Then the directory is fsynced. A crash leaves the
//! temporary name behind and no half file under a real one.
//! What it does *not* do: choose names (`safe_name`), or decide when the item may go.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::cli::exit::{Exit, Failure, reason};
use crate::cli::safe_name::numbered;

/// Numbers tried before giving up on a name.
const TRIES: u32 = 100_000;

/// A directory that files are put into.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    path: PathBuf,
}

/// A file that has no name yet; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Unnamed<'a> {
    place: &'a Place,
    file: File,
    temporary: String,
}

/// What a file gets besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Time of the last change, seconds since 1970.
    pub(crate) modified: Option<i64>,
    /// Permission bits, `<= 0o777`, before the umask.
    pub(crate) mode: Option<u32>,
}

impl Place {
    /// Opens the directory.
    pub(crate) fn open(path: &Path) -> Result<Place, Failure> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => Ok(Place {
                dir,
                path: path.to_owned(),
            }),
            Err(e) => Err(cannot_create(path, e)),
        }
    }

    /// Begins a file.
    pub(crate) fn create(&self) -> Result<Unnamed<'_>, Failure> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|e| Failure::new(Exit::Io, format!("no random numbers for a temporary name: {e}")))?;
        let temporary = format!(".uft-{:032x}", u128::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.dir, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Unnamed {
                place: self,
                file: File::from(file),
                temporary,
            }),
            Err(e) => Err(cannot_create(&self.path.join(&temporary), e)),
        }
    }
}

impl Unnamed<'_> {
    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|e| write_failed(&self.place.path, &e))
    }

    /// Makes the file durable under `name`, or under `name.1`, `name.2` ... when that is taken; with `force` in the place
    /// of what is there (a symlink there is replaced, never followed).
    pub(crate) fn publish(self, name: &str, stamp: Stamp, force: bool) -> Result<PathBuf, Failure> {
        let place = self.place;
        self.stamp(stamp)
            .and_then(|()| self.file.sync_all())
            .map_err(|e| write_failed(&place.path.join(name), &e))?;
        let name = if force {
            rustix::fs::renameat(&place.dir, self.temporary.as_str(), &place.dir, name)
                .map_err(|e| cannot_create(&place.path.join(name), e))?;
            name.to_owned()
        } else {
            self.link(name)?
        };
        rustix::fs::fsync(&place.dir).map_err(|e| write_failed(&place.path, &e.into()))?;
        Ok(match place.path == Path::new(".") {
            true => PathBuf::from(name),
            false => place.path.join(name),
        })
        // Dropping removes the temporary name; after a rename it is gone already.
    }

    fn link(&self, name: &str) -> Result<String, Failure> {
        let dir = self.place.dir.as_fd();
        let temporary = self.temporary.as_str();
        for n in 0..TRIES {
            let name = numbered(name, n);
            let linked = match rustix::fs::linkat(dir, temporary, dir, name.as_str(), AtFlags::empty()) {
                // File systems without hard links: a rename that refuses to replace does the same.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => {
                    rustix::fs::renameat_with(dir, temporary, dir, name.as_str(), RenameFlags::NOREPLACE)
                }
                other => other,
            };
            match linked {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(e) => return Err(cannot_create(&self.place.path.join(&name), e)),
            }
        }
        let path = self.place.path.join(name);
        Err(Failure::new(
            Exit::CannotCreate,
            format!("{}: it and {TRIES} numbered names are taken", path.display()),
        )
        .hint("name another file or directory with -o"))
    }

    fn stamp(&self, stamp: Stamp) -> io::Result<()> {
        // Nothing but the nine bits, and none that the umask takes away: a stranger's word gives no more than that.
        let allowed = 0o777 & !umask();
        let mode = stamp.mode.unwrap_or(0o666) & allowed;
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        if let Some(seconds) = stamp.modified {
            let omit = Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            };
            let times = Timestamps {
                last_access: omit,
                last_modification: Timespec {
                    tv_sec: seconds,
                    tv_nsec: 0,
                },
            };
            rustix::fs::futimens(&self.file, &times)?;
        }
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        // After a rename there is nothing under this name; nobody else can know it.
        let _ = rustix::fs::unlinkat(&self.place.dir, self.temporary.as_str(), AtFlags::empty());
    }
}

/// The umask, read by setting it: this program has one thread at that time.
fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

fn cannot_create(path: &Path, error: Errno) -> Failure {
    let error = io::Error::from(error);
    Failure::new(
        Exit::CannotCreate,
        format!("cannot create {}: {}", path.display(), reason(&error)),
    )
    .hint("the item stays in the inbox; name another file or directory with -o")
}

fn write_failed(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Exit::CannotCreate,
        _ => Exit::Io,
    };
    Failure::new(
        exit,
        format!("cannot write {}: {}", path.display(), reason(error)),
    )
    .hint("the item stays in the inbox")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn put(dir: &Path, name: &str, bytes: &[u8], stamp: Stamp, force: bool) -> PathBuf {
        let place = Place::open(dir).unwrap();
        let mut file = place.create().unwrap();
        file.write(bytes).unwrap();
        file.publish(name, stamp, force).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_existing_file_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["one", "two", "three"] {
            put(dir.path(), "x", text.as_bytes(), Stamp::default(), false);
        }
        assert_eq!(names(dir.path()), ["x", "x.1", "x.2"]);
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"one");
        put(dir.path(), "x", b"four", Stamp::default(), true);
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"four");
        assert_eq!(names(dir.path()), ["x", "x.1", "x.2"]);
    }

    #[test]
    fn a_planted_symlink_is_neither_followed_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, dir.path().join("x")).unwrap();
        symlink("nowhere", dir.path().join("y")).unwrap();
        assert!(put(dir.path(), "x", b"new", Stamp::default(), false).ends_with("x.1"));
        assert!(put(dir.path(), "y", b"new", Stamp::default(), false).ends_with("y.1"));
        assert!(put(dir.path(), "x", b"new", Stamp::default(), true).ends_with("x"));
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert!(dir.path().join("x").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path()).unwrap();
        let mut file = place.create().unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn bits_and_date_are_set_but_never_more_than_nine_bits_less_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp {
            modified: Some(1_000_000_000),
            mode: Some(0o777),
        };
        let path = put(dir.path(), "x", b"", stamp, false);
        let found = path.metadata().unwrap();
        assert_eq!(found.mode() & 0o7777, 0o777 & !umask());
        assert_eq!(found.mtime(), 1_000_000_000);
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_failure_to_create() {
        assert_eq!(
            Place::open(Path::new("/nonexistent/x")).unwrap_err().exit,
            Exit::CannotCreate
        );
    }
}
