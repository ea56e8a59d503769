//! A disk that forgets what was not synced: every state in which a crash could leave it.
//!
//! What this file does *not* do: know what a spool is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uft_spool::Step;

/// A file as the page cache has it, and as the disk has it.
#[derive(Clone, Default)]
struct Inode {
    now: Vec<u8>,
    kept: Vec<u8>,
}

pub(crate) type Names = BTreeMap<PathBuf, Option<usize>>;

/// A spool on a disk that forgets what was not synced. A name is a file, or (`None`) a directory.
#[derive(Clone, Default)]
pub(crate) struct Model {
    files: Vec<Inode>,
    now: Names,
    kept: Names,
}

impl Model {
    /// Everything that is in a directory, durable; without the index.
    pub(crate) fn load(root: &Path) -> Model {
        let mut model = Model::default();
        let mut inodes = HashMap::new();
        model.walk(root, root, &mut inodes);
        model.kept = model.now.clone();
        model
    }

    fn walk(&mut self, root: &Path, dir: &Path, inodes: &mut HashMap<u64, usize>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                self.now.insert(name, None);
                self.walk(root, &path, inodes);
            } else if !name.to_str().unwrap().starts_with("index.") {
                let at = *inodes.entry(meta.ino()).or_insert_with(|| {
                    let bytes = fs::read(&path).unwrap();
                    self.files.push(Inode {
                        now: bytes.clone(),
                        kept: bytes,
                    });
                    self.files.len() - 1
                });
                self.now.insert(name, Some(at));
            }
        }
    }

    fn file(&mut self, root: &Path, path: &Path) -> &mut Inode {
        let at = self.now[path.strip_prefix(root).unwrap()].unwrap();
        &mut self.files[at]
    }

    /// Carries out a step; of a write only the first `most` bytes.
    pub(crate) fn apply(&mut self, root: &Path, step: &Step, most: usize) {
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        match step {
            Step::Create(path) => {
                self.files.push(Inode::default());
                assert_eq!(self.now.insert(name(path), Some(self.files.len() - 1)), None);
            }
            Step::Write(path, offset, bytes) => {
                let bytes = &bytes[..bytes.len().min(most)];
                let (at, file) = (*offset as usize, self.file(root, path));
                let end = file.now.len().max(at + bytes.len());
                file.now.resize(end, 0);
                file.now[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Step::Resize(path, len) => self.file(root, path).now.resize(*len as usize, 0),
            Step::Sync(path) => {
                let file = self.file(root, path);
                file.kept = file.now.clone();
            }
            Step::SyncDir(path) if !path.starts_with(root) => {}
            Step::SyncDir(path) => {
                let dir = name(path);
                self.kept.retain(|name, _| name.parent() != Some(&dir));
                self.kept.extend(children(&self.now, &dir));
            }
            Step::Rename(from, to) => {
                let file = self.now.remove(&name(from)).unwrap();
                self.now.insert(name(to), file);
            }
            Step::Link(from, to) => {
                let file = self.now[&name(from)];
                assert_eq!(self.now.insert(name(to), file), None);
            }
            Step::Unlink(path) => assert!(self.now.remove(&name(path)).is_some()),
            Step::MakeDir(path) => assert_eq!(self.now.insert(name(path), None), None),
        }
    }

    /// Every state that a crash could leave now: names, content of each file, what it is.
    pub(crate) fn crashes(&self) -> Vec<(String, Names, Vec<Vec<u8>>)> {
        let now: Vec<_> = self.files.iter().map(|file| file.now.clone()).collect();
        let kept: Vec<_> = self.files.iter().map(|file| file.kept.clone()).collect();
        let zeros: Vec<_> = self.files.iter().map(|file| blank(file, 0)).collect();
        let noise: Vec<_> = self.files.iter().map(|file| blank(file, 0xAA)).collect();
        let mut crashes = vec![
            ("everything written".into(), self.now.clone(), now.clone()),
            ("only what was synced".into(), self.kept.clone(), kept.clone()),
            (
                "names written, content not".into(),
                self.now.clone(),
                kept.clone(),
            ),
            ("names written, content zeros".into(), self.now.clone(), zeros),
            ("names written, content stale".into(), self.now.clone(), noise),
            ("content written, names not".into(), self.kept.clone(), now),
        ];
        let dirs: BTreeSet<PathBuf> = self
            .now
            .keys()
            .chain(self.kept.keys())
            .filter_map(|name| name.parent())
            .map(Path::to_owned)
            .collect();
        for dir in dirs {
            for (what, most, one) in [
                ("only", &self.kept, &self.now),
                ("all but", &self.now, &self.kept),
            ] {
                let mut names = most.clone();
                names.retain(|name, _| name.parent() != Some(&dir));
                names.extend(children(one, &dir));
                crashes.push((
                    format!("names written: {what} {}", dir.display()),
                    names,
                    kept.clone(),
                ));
            }
        }
        let changed: BTreeSet<_> = self
            .now
            .iter()
            .chain(&self.kept)
            .map(|(name, _)| name.clone())
            .collect();
        for name in changed
            .into_iter()
            .filter(|name| self.now.get(name) != self.kept.get(name))
        {
            for (what, most, one) in [
                ("only", &self.kept, &self.now),
                ("all but", &self.now, &self.kept),
            ] {
                let mut names = most.clone();
                match one.get(&name) {
                    Some(at) => names.insert(name.clone(), *at),
                    None => names.remove(&name),
                };
                crashes.push((
                    format!("name written: {what} {}", name.display()),
                    names,
                    kept.clone(),
                ));
            }
        }
        crashes
    }
}

/// A file whose length reached the disk and whose unsynced bytes did not.
fn blank(file: &Inode, with: u8) -> Vec<u8> {
    let mut bytes = file.kept.clone();
    bytes.resize(file.now.len(), with);
    bytes
}

/// The contents that have a name.
fn used(names: &Names, contents: &[Vec<u8>]) -> Vec<Vec<u8>> {
    names.values().flatten().map(|at| contents[*at].clone()).collect()
}

fn children(names: &Names, dir: &Path) -> Names {
    names
        .iter()
        .filter(|(name, _)| name.parent() == Some(dir))
        .map(|(name, at)| (name.clone(), *at))
        .collect()
}

/// Builds a directory from names and contents; what stands in a lost directory is lost.
pub(crate) fn build(root: &Path, names: &Names, contents: &[Vec<u8>]) {
    let mut first: HashMap<usize, PathBuf> = HashMap::new();
    for (name, at) in names {
        let path = root.join(name);
        if !path.parent().unwrap().is_dir() {
            continue;
        }
        match at {
            None => fs::create_dir(path).unwrap(),
            Some(at) => match first.get(at) {
                Some(other) => fs::hard_link(other, path).unwrap(),
                None => {
                    fs::write(&path, &contents[*at]).unwrap();
                    first.insert(*at, path);
                }
            },
        }
    }
}

/// The index files as they are at this moment.
pub(crate) fn index_of(root: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let names = ["index.sqlite", "index.sqlite-wal"];
    names
        .into_iter()
        .filter_map(|name| Some((name, fs::read(root.join(name)).ok()?)))
        .collect()
}

/// One state in which a crash could leave the disk.
pub(crate) struct Crash {
    /// What it is.
    pub(crate) what: String,
    /// All steps were taken before it.
    pub(crate) done: bool,
    /// Counts on from crash to crash: for what is tried by turns.
    pub(crate) turn: usize,
    /// Everything was written, or only what was synced.
    pub(crate) pure: bool,
    pub(crate) names: Names,
    pub(crate) contents: Vec<Vec<u8>>,
}

/// Every state in which a crash before, between and after these steps could leave the disk, each once.
pub(crate) fn every_crash(root: &Path, mut model: Model, steps: &[Step], mut look: impl FnMut(&Crash)) {
    let mut tried = HashSet::new();
    for k in 0..=steps.len() {
        let mut crashes = model.crashes();
        if let Some(step @ Step::Write(_, _, bytes)) = steps.get(k) {
            for most in [1, bytes.len() / 2, bytes.len() - bytes.len().min(1)] {
                let mut torn = model.clone();
                torn.apply(root, step, most);
                let (_, names, contents) = torn.crashes().swap_remove(0);
                crashes.push((format!("{most} bytes of a write"), names, contents));
            }
        }
        let done = k == steps.len();
        crashes.retain(|(_, names, contents)| tried.insert((done, names.clone(), used(names, contents))));
        for (n, (crash, names, contents)) in crashes.into_iter().enumerate() {
            look(&Crash {
                what: format!("{k} of {} steps, {crash}", steps.len()),
                done,
                turn: n + k,
                pure: n < 2,
                names,
                contents,
            });
        }
        if let Some(step) = steps.get(k) {
            model.apply(root, step, usize::MAX);
        }
    }
}
