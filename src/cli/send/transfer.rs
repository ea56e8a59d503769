//! The id of a transfer, remembered until its outcome is known: `sendfile` that is started again after it was killed, or
//! after the network was away for longer than it tries, goes on with a large file where it was.
//!
//! A note in `$XDG_STATE_HOME/uft/sending` holds the id, at random. The note is named after what is sent to whom: the
//! file (device, inode, size, time), its name, type and attributes, the recipient and the server. It goes when the
//! server has said yes or no, so that the same command given again is another transfer. While one process uses it,
//! another that sends the same file takes an id of its own.
//!
//! What is wrong with a note costs at most the time of sending again: a server takes two transfers for the same only
//! when their bytes have the same digest, and goes on only where the bytes before have.
//!
//! What this file does *not* do: compare bytes (`client` does).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::exit::{Exit, Failure};
use crate::client::{Endpoint, Parcel};

/// Smaller files are sent again: servers keep nothing of them.
const LARGE: u64 = uft_spool::PARTIAL_MIN;
/// For this long a note counts: as long as servers know a transfer that is finished.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Notes looked at when old ones are thrown away.
const LOOK: usize = 1000;
/// Digits of an id.
const DIGITS: usize = 32;

/// The id of one transfer.
#[derive(Debug)]
pub(crate) struct TransferId {
    id: String,
    note: Option<Note>,
}

/// A note, locked.
#[derive(Debug)]
struct Note {
    file: File,
    path: PathBuf,
}

impl TransferId {
    /// The id under which a parcel goes to a server. `source`: the file, if it is one that can be read again.
    pub(crate) fn of(
        parcel: &Parcel,
        to: &Endpoint,
        source: Option<&std::fs::Metadata>,
    ) -> Result<TransferId, Failure> {
        let fresh = random()?;
        let source = source.filter(|source| source.len() >= LARGE);
        let found = source
            .zip(directory())
            .and_then(|(source, dir)| Note::open(&dir, &name(parcel, to, source), &fresh, SystemTime::now()));
        // Without a place for notes a transfer does not outlive the process, and that is all.
        let (id, note) = found.map_or((fresh, None), |(id, note)| (id, Some(note)));
        Ok(TransferId { id, note })
    }

    pub(crate) fn id(&self) -> String {
        self.id.clone()
    }

    /// The server has said yes or no, or may still do so to the next attempt.
    pub(crate) fn end(self, exit: Exit) {
        let open = matches!(exit, Exit::Temporary | Exit::Unreachable);
        if let Some(note) = self.note.filter(|_| !open) {
            note.remove();
        }
    }
}

/// A new id.
pub(crate) fn random() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| Failure::new(Exit::Io, format!("no random numbers for a transfer id: {e}")))?;
    Ok(format!("{:0DIGITS$x}", u128::from_ne_bytes(random)))
}

/// `$XDG_STATE_HOME/uft/sending`, else `~/.local/state/uft/sending`. A relative path counts as none.
fn directory() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(base.join("uft/sending"))
}

/// The name of a note: what is sent to whom.
fn name(parcel: &Parcel, to: &Endpoint, source: &std::fs::Metadata) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &str| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    };
    add(&to.to_string());
    add(&parcel.to);
    add(&parcel.from);
    add(&crate::proto::type_text(&parcel.spec));
    add(parcel.name.as_deref().unwrap_or_default());
    for (key, value) in &parcel.attributes {
        add(key);
        add(value);
    }
    for number in [
        source.dev(),
        source.ino(),
        source.len(),
        source.mtime().cast_unsigned(),
        source.mtime_nsec().cast_unsigned(),
    ] {
        add(&number.to_string());
    }
    hasher.finalize().to_hex().to_string()
}

impl Note {
    /// The id in a note, or `fresh`, which it holds from now on. None when another process uses the note, or there can be
    /// none.
    fn open(dir: &Path, name: &str, fresh: &str, now: SystemTime) -> Option<(String, Note)> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).ok()?;
        throw_away_old(dir, now);
        let path = dir.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .ok()?;
        file.try_lock().ok()?;
        // Another process may have ended its transfer between the two.
        let found = file.metadata().ok().filter(|found| found.nlink() > 0)?;
        let mut note = Note { file, path };
        let id = note.read().filter(|_| is_young(&found, now));
        match id {
            Some(id) => Some((id, note)),
            None => {
                note.write(fresh)?;
                Some((fresh.to_owned(), note))
            }
        }
    }

    fn read(&mut self) -> Option<String> {
        let mut text = String::new();
        (&self.file).take(100).read_to_string(&mut text).ok()?;
        let id = text.strip_suffix('\n')?;
        let whole = id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
        whole.then(|| id.to_owned())
    }

    fn write(&mut self, id: &str) -> Option<()> {
        self.file.set_len(0).ok()?;
        self.file.rewind().ok()?;
        writeln!(self.file, "{id}").ok()
    }

    /// Emptied first: a note that cannot be removed must not make one transfer of the next.
    fn remove(self) {
        let _ = self.file.set_len(0);
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_young(found: &std::fs::Metadata, now: SystemTime) -> bool {
    let age = found.modified().ok().map(|then| now.duration_since(then));
    match age {
        Some(Ok(age)) => age < REMEMBERED,
        // Written in the future: the clock was put back.
        Some(Err(_)) => true,
        None => false,
    }
}

fn throw_away_old(dir: &Path, now: SystemTime) {
    let Ok(entries) = dir.read_dir() else { return };
    for entry in entries.take(LOOK).flatten() {
        let old = entry
            .metadata()
            .is_ok_and(|found| found.is_file() && !is_young(&found, now));
        let free = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if old && free() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "ffffffffffffffffffffffffffffffff";

    fn open(dir: &Path, fresh: &str) -> Option<(String, Note)> {
        Note::open(dir, "n", fresh, SystemTime::now())
    }

    #[test]
    fn an_id_is_the_same_until_its_transfer_has_ended() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let (id, note) = open(&dir, A).unwrap();
        assert_eq!(id, A);
        assert!(open(&dir, B).is_none(), "another process sends the same file");
        drop(note);
        let (id, note) = open(&dir, B).unwrap();
        assert_eq!(id, A);
        note.remove();
        let (id, _note) = open(&dir, B).unwrap();
        assert_eq!(id, B);
    }

    #[test]
    fn a_note_that_is_old_or_torn_does_not_count() {
        let temp = tempfile::tempdir().unwrap();
        for text in ["", A, "zz\n", "0123\n", &format!("{A}{A}\n")] {
            std::fs::write(temp.path().join("n"), text).unwrap();
            assert_eq!(open(temp.path(), B).unwrap().0, B, "{text:?}");
        }
        let later = SystemTime::now() + REMEMBERED + Duration::from_secs(1);
        assert_eq!(Note::open(temp.path(), "n", A, later).unwrap().0, A);
        assert!(Note::open(temp.path(), "other", A, later).is_some());
        assert_eq!(temp.path().read_dir().unwrap().count(), 1, "old notes go");
    }
}
