//! A directory as one tar stream.
//!
//! Entries come in the order of their names, so that the same directory gives the same archive; symlinks are stored as
//! symlinks and never followed; what is neither file, directory nor symlink is left out and said to be. A file that
//! changes its length while it is read ends the transfer: a padded or torn entry would look whole.
//! What it does *not* do: hold more than one piece of a file in memory, or unpack anything.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header, HeaderMode};

use crate::cli::exit::{Exit, Failure, reason};

/// The name of a directory in its archive, and of the archive: `dir` and `dir.tar`.
pub(crate) fn root_name(directory: &Path) -> Result<PathBuf, Failure> {
    let unreadable = |e: io::Error| cannot_read(directory, &e);
    // `.` and `..` have names too.
    let absolute = directory.canonicalize().map_err(unreadable)?;
    Ok(PathBuf::from(absolute.file_name().unwrap_or(OsStr::new("root"))))
}

/// Writes the archive of a directory; what was left out is told to `warn`.
pub(crate) fn write(
    directory: &Path,
    out: &mut impl Write,
    warn: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    let mut builder = Builder::new(out);
    builder.mode(HeaderMode::Complete);
    let root = root_name(directory)?;
    add(&mut builder, directory, &root, warn)?;
    builder
        .into_inner()
        .and_then(|out| out.flush())
        .map_err(|e| sink(&e))
}

fn add(
    builder: &mut Builder<&mut impl Write>,
    path: &Path,
    name: &Path,
    warn: &mut dyn FnMut(String),
) -> Result<(), Failure> {
    // The directory that was named may be a link to one; inside it links stay links.
    let found = match name.components().count() {
        0 | 1 => fs::metadata(path),
        _ => fs::symlink_metadata(path),
    };
    let found = found.map_err(|e| cannot_read(path, &e))?;
    let kind = found.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(|e| cannot_read(path, &e))?;
        let mut header = header(&found, EntryType::Symlink, 0);
        return builder
            .append_link(&mut header, name, target)
            .map_err(|e| sink(&e));
    }
    if kind.is_file() {
        return add_file(builder, path, name);
    }
    if !kind.is_dir() {
        warn(format!(
            "{}: not a file, directory or symlink; left out",
            path.display()
        ));
        return Ok(());
    }
    let mut header = header(&found, EntryType::Directory, 0);
    builder
        .append_data(&mut header, name.join(""), io::empty())
        .map_err(|e| sink(&e))?;
    let mut inside = fs::read_dir(path)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()
        })
        .map_err(|e| cannot_read(path, &e))?;
    inside.sort();
    for entry in inside {
        add(builder, &path.join(&entry), &name.join(&entry), warn)?;
    }
    Ok(())
}

fn add_file(builder: &mut Builder<&mut impl Write>, path: &Path, name: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(|e| cannot_read(path, &e))?;
    let found = file.metadata().map_err(|e| cannot_read(path, &e))?;
    let mut counted = Counted {
        file,
        left: found.len(),
        failed: None,
    };
    let mut header = header(&found, EntryType::Regular, found.len());
    let added = builder.append_data(&mut header, name, &mut counted);
    if let Some(e) = counted.failed {
        return Err(cannot_read(path, &e));
    }
    added.map_err(|e| sink(&e))
}

/// Exactly as many bytes of a file as its header says.
struct Counted {
    file: File,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let room = buf.get_mut(..most).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        let error = match self.file.read(room) {
            Ok(0) => io::Error::other("it became shorter while it was read"),
            Ok(count) => {
                self.left -= count as u64;
                return Ok(count);
            }
            Err(e) => e,
        };
        if error.kind() != io::ErrorKind::Interrupted {
            self.failed = Some(io::Error::new(error.kind(), error.to_string()));
        }
        Err(error)
    }
}

fn header(found: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(found, HeaderMode::Complete);
    header.set_entry_type(kind);
    header.set_size(size);
    header
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!("cannot read {}: {}", path.display(), reason(error)),
    )
}

/// The archive is refused by whoever takes it: the transfer has ended already and says why.
fn sink(error: &io::Error) -> Failure {
    Failure::new(Exit::Io, format!("archive: {}", reason(error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn archive(dir: &Path) -> (Vec<u8>, Vec<String>) {
        let mut out = Vec::new();
        let mut said = Vec::new();
        write(dir, &mut out, &mut |text| said.push(text)).unwrap();
        (out, said)
    }

    #[test]
    fn the_same_directory_gives_the_same_archive_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("b")).unwrap();
        for name in ["z", "a", "b/c"] {
            fs::write(top.join(name), name).unwrap();
        }
        symlink("/etc/passwd", top.join("link")).unwrap();
        let _socket = UnixListener::bind(top.join("socket")).unwrap();
        let (bytes, said) = archive(&top);
        assert_eq!(bytes, archive(&top).0);
        assert!(said.len() == 1 && said[0].contains("socket"), "{said:?}");
        let mut read = tar::Archive::new(bytes.as_slice());
        let entries: Vec<(String, EntryType)> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().to_string_lossy().into_owned();
                (path, entry.header().entry_type())
            })
            .collect();
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["top/", "top/a", "top/b/", "top/b/c", "top/link", "top/z"]);
        assert_eq!(entries[4].1, EntryType::Symlink);
    }
}
