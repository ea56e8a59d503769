//! A directory of its own for each test: spool, socket, configuration, log, and a place to work in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Random;

/// The directory; it is removed with the value.
#[derive(Debug)]
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let root = tempfile::Builder::new().prefix("uft-it-").tempdir().unwrap();
        // Other users of the system come in too: the daemon has to keep them out of the spool by itself.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for dir in ["work", "home", "in"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        Place { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Where programs are started.
    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Where files are received.
    pub(crate) fn inbound(&self) -> PathBuf {
        self.path("in")
    }

    /// A file in the working directory.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What is in the receiving directory, sorted.
    pub(crate) fn received(&self) -> Vec<String> {
        names(&self.inbound())
    }

    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        names(&self.path(dir))
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Bytes that do not compress, do not repeat, and are the same for the same seed.
pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::seeded(seed);
    let mut bytes: Vec<u8> = (0..len.div_ceil(8))
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// About `len` bytes of text in lines, all characters of which every code page has.
pub(crate) fn text_of(seed: u64, len: usize) -> String {
    let mut random = Random::seeded(seed);
    let mut text = String::with_capacity(len + 80);
    while text.len() < len {
        text.push_str(&format!(
            "line {:08} of the text, and some more of it: {:x}\n",
            text.len(),
            random.next()
        ));
    }
    text
}
