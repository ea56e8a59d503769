//! What a crash may leave, and what a bad disk may answer.
//!
//! The steps of an operation are recorded. For every prefix of them the states are built in which a crash at that
//! moment could leave the disk, and a spool is opened on each: what was acknowledged is there exactly once and
//! identical; what was not is invisible or whole; no number is used twice. Then every single operation is made to fail.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uft_spool::{Act, Committed, Disk, Error, Fault, Form, Spool, SpoolId, Step, UserName};

use crate::common::*;

static BIG: [u8; 200_000] = [0x42; 200_000];
const USERS: [&str; 3] = ["ann", "bob", "eve"];

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
fn index_of(root: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let names = ["index.sqlite", "index.sqlite-wal"];
    names
        .into_iter()
        .filter_map(|name| Some((name, fs::read(root.join(name)).ok()?)))
        .collect()
}

/// Whose items hold which bytes.
type Stock = BTreeMap<(UserName, u64), Vec<u8>>;

fn stock(spool: &Spool) -> Stock {
    let mut stock = Stock::new();
    for name in USERS {
        let user = user(name);
        for summary in spool.list(&user).unwrap() {
            let bytes = check(spool, &user, summary.id).unwrap();
            assert_eq!(summary.size, bytes.len() as u64);
            stock.insert((user.clone(), summary.id.get()), bytes);
        }
        assert_eq!(spool.usage(&user).items, spool.list(&user).unwrap().len() as u64);
    }
    stock
}

type Operation = fn(&Spool) -> Result<(), Error>;

fn stored(result: Result<Committed, Error>) -> Result<(), Error> {
    result.map(|committed| assert!(matches!(committed, Committed::Stored(_))))
}

const COMES_AND_GOES: &str = "a file that comes and goes";

/// Every operation that changes the disk, on the spool of [`prepare`].
const OPERATIONS: [(&str, Operation); 10] = [
    ("one recipient", |spool| {
        stored(
            Parcel {
                xid: Some("new"),
                ..parcel("ann", b"one")
            }
            .commit(spool),
        )
    }),
    ("a new recipient", |spool| {
        stored(parcel("eve", b"one").commit(spool))
    }),
    ("a large file", |spool| stored(parcel("ann", &BIG).commit(spool))),
    ("three forms", |spool| {
        stored(
            Parcel {
                wire: Some(b"w"),
                aux: Some(b"a"),
                ..parcel("ann", b"local")
            }
            .commit(spool),
        )
    }),
    ("two recipients", |spool| {
        stored(parcel("bob,eve", b"two").commit(spool))
    }),
    ("two recipients, three forms", |spool| {
        stored(
            Parcel {
                wire: Some(&BIG),
                aux: Some(b""),
                ..parcel("ann,bob", b"local")
            }
            .commit(spool),
        )
    }),
    ("a forward", |spool| {
        spool.link(&user("ann"), id(2), &user("bob")).map(drop)
    }),
    ("a removal", |spool| spool.remove(&user("ann"), id(1))),
    ("a removal of three forms", |spool| {
        spool.remove(&user("ann"), id(2))
    }),
    (COMES_AND_GOES, |spool| {
        let id = match parcel("ann", b"brief").commit(spool)? {
            Committed::Stored(ids) | Committed::Repeat(ids) => ids[0].1,
        };
        spool.remove(&user("ann"), id)
    }),
];

/// A spool with some history: two items of ann's (one with all forms), two of ann's and one of bob's gone again.
fn prepare(root: &Path, disk: &Disk) -> Spool {
    let (spool, _) = Spool::open_with(root, LIMITS, disk.clone()).unwrap();
    Parcel {
        xid: Some("x1"),
        ..parcel("ann", b"first")
    }
    .ids(&spool);
    Parcel {
        wire: Some(b"WIRE"),
        aux: Some(b"fork"),
        ..parcel("ann", b"second")
    }
    .ids(&spool);
    Parcel {
        xid: Some("gone"),
        ..parcel("ann", b"third")
    }
    .ids(&spool);
    parcel("ann,bob", b"fourth").ids(&spool);
    spool.remove(&user("ann"), id(3)).unwrap();
    spool.remove(&user("ann"), id(4)).unwrap();
    spool.remove(&user("bob"), id(1)).unwrap();
    spool
}

#[test]
fn every_crash_of_every_operation_keeps_the_promise() {
    for (what, operation) in OPERATIONS {
        let temp = scratch();
        let root = temp.path().canonicalize().unwrap();
        let disk = Disk::planned();
        let spool = prepare(&root, &disk);
        // The next number of ann's is the first of a block.
        for n in 5..=64 {
            assert_eq!(parcel("ann", b"").ids(&spool), [id(n)]);
            spool.remove(&user("ann"), id(n)).unwrap();
        }
        let before = stock(&spool);
        let old_index = index_of(&root);
        let base = Model::load(&root);
        disk.record();
        operation(&spool).unwrap();
        let steps = disk.recorded();
        let after = stock(&spool);
        let new_index = index_of(&root);
        assert!(!steps.is_empty() && (before != after || what == COMES_AND_GOES));
        let mut model = base.clone();
        let mut tried = HashSet::new();
        for k in 0..=steps.len() {
            let mut crashes = model.crashes();
            if let Some(step @ Step::Write(_, _, bytes)) = steps.get(k) {
                for most in [1, bytes.len() / 2, bytes.len() - bytes.len().min(1)] {
                    let mut torn = model.clone();
                    torn.apply(&root, step, most);
                    let (_, names, contents) = torn.crashes().swap_remove(0);
                    crashes.push((format!("{most} bytes of a write"), names, contents));
                }
            }
            let done = k == steps.len();
            crashes.retain(|(_, names, contents)| tried.insert((done, names.clone(), used(names, contents))));
            for (n, (crash, names, contents)) in crashes.iter().enumerate() {
                let what = format!("{what}, {k} of {} steps, {crash}", steps.len());
                let indexes: [&[_]; 3] = [&[], &old_index, &new_index];
                // Whatever the index says, it makes no difference: all three for the two pure states, one by turns
                // for the others.
                for (m, index) in indexes.into_iter().enumerate() {
                    if n < 2 || (n + k) % 3 == m {
                        survives(&what, names, contents, index, &before, &after, done);
                    }
                }
            }
            if let Some(step) = steps.get(k) {
                model.apply(&root, step, usize::MAX);
            }
        }
    }
}

#[test]
fn a_crash_while_the_spool_is_made_costs_nothing() {
    let temp = scratch();
    let root = temp.path().canonicalize().unwrap();
    let disk = Disk::planned();
    disk.record();
    let (spool, _) = Spool::open_with(&root, LIMITS, disk.clone()).unwrap();
    parcel("ann", b"first").ids(&spool);
    let steps = disk.recorded();
    let mut model = Model::default();
    for k in 0..=steps.len() {
        for (crash, names, contents) in model.crashes() {
            let what = format!("{k} of {} steps, {crash}", steps.len());
            let temp = scratch();
            build(temp.path(), &names, &contents);
            let (spool, recovery) =
                Spool::open(temp.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(
                (&recovery.quarantined, &recovery.problems),
                (&vec![], &vec![]),
                "{what}"
            );
            let listed = spool.list(&user("ann")).unwrap();
            assert!(
                listed.len() == 1 || listed.is_empty() && k < steps.len(),
                "{what}"
            );
            let found = stock(&spool);
            assert!(found.values().all(|bytes| bytes == b"first"), "{what}");
        }
        if let Some(step) = steps.get(k) {
            model.apply(&root, step, usize::MAX);
        }
    }
}

/// Opens a spool on what a crash has left.
fn survives(
    what: &str,
    names: &Names,
    contents: &[Vec<u8>],
    index: &[(&str, Vec<u8>)],
    before: &Stock,
    after: &Stock,
    acknowledged: bool,
) {
    let temp = scratch();
    build(temp.path(), names, contents);
    for (name, bytes) in index {
        fs::write(temp.path().join(name), bytes).unwrap();
    }
    let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(recovery.problems, [], "{what}");
    let found = stock(&spool);
    for (at, bytes) in before.iter().filter(|(at, _)| after.contains_key(at)) {
        assert_eq!(found.get(at), Some(bytes), "{what}: lost {at:?}");
    }
    for (at, bytes) in &found {
        let brief = what.starts_with(COMES_AND_GOES) && *at == (user("ann"), 65) && bytes == b"brief";
        let known = before
            .get(at)
            .or_else(|| after.get(at))
            .or(brief.then_some(bytes));
        assert_eq!(known, Some(bytes), "{what}: {at:?} came from nowhere");
    }
    if acknowledged {
        assert!(found == *after, "{what}: {:?}", found.keys());
    }
    // Nothing acknowledged was moved away, and nothing is left of what was not.
    assert_eq!(recovery.quarantined, [], "{what}");
    assert_eq!(
        fs::read_dir(temp.path().join("tmp")).unwrap().count(),
        0,
        "{what}"
    );
    // Repeats are known, whether their item is there or not.
    let ann = user("ann");
    for (xid, bytes, id) in [("x1", &b"first"[..], 1), ("gone", b"third", 3)] {
        let again = Parcel {
            xid: Some(xid),
            ..parcel("ann", bytes)
        }
        .commit(&spool)
        .unwrap();
        assert_eq!(
            again,
            Committed::Repeat(vec![(ann.clone(), crate::common::id(id))]),
            "{what}"
        );
    }
    // No number is used twice.
    let brief = u64::from(acknowledged && what.starts_with(COMES_AND_GOES));
    for (name, used) in [("ann", 64 + brief), ("bob", 1), ("eve", 0)] {
        let of = |stock: &Stock| {
            stock
                .keys()
                .filter(|(user, _)| user.as_str() == name)
                .map(|(_, id)| *id)
                .max()
        };
        let used = used.max(of(&found).unwrap_or(0));
        let fresh = parcel(name, b"fresh").ids(&spool)[0].get();
        assert!(fresh > used, "{what}: {name} got {fresh} again");
    }
}

fn right_error(error: &Error, errno: i32) -> bool {
    match errno {
        28 | 122 => matches!(error, Error::NoRoom { .. }) && error.is_room(),
        _ => matches!(error, Error::Io { source, .. } if source.raw_os_error() == Some(errno)),
    }
}

#[test]
fn every_failing_operation_is_refused_and_leaves_nothing() {
    let acts = [
        Act::Create,
        Act::Write,
        Act::Sync,
        Act::SyncDir,
        Act::Rename,
        Act::Link,
        Act::MakeDir,
    ];
    for (what, operation) in OPERATIONS.into_iter().filter(|(what, _)| *what != COMES_AND_GOES) {
        let removal = what.starts_with("a removal");
        for (act, errno) in acts
            .into_iter()
            .flat_map(|act| [28, 122, 5, 30].map(|errno| (act, errno)))
        {
            for nth in 1.. {
                let what = format!("{what}, {act:?} {nth} fails with {errno}");
                let temp = scratch();
                let disk = Disk::planned();
                let spool = prepare(temp.path(), &disk);
                let before = stock(&spool);
                let totals = spool.totals();
                disk.fail(Fault {
                    act,
                    nth,
                    errno,
                    lasting: false,
                });
                let result = operation(&spool);
                if disk.is_armed() {
                    result.unwrap();
                    break;
                }
                let fsync = matches!(act, Act::Sync | Act::SyncDir);
                assert_eq!(spool.totals().poisoned, fsync, "{what}");
                if removal {
                    // Removing goes on, whatever cannot be written.
                    result.unwrap();
                    assert_eq!(stock(&spool).len(), before.len() - 1, "{what}");
                } else {
                    let error = result.unwrap_err();
                    assert!(right_error(&error, errno), "{what}: {error:?}");
                    assert!(stock(&spool) == before, "{what}");
                    let now = spool.totals();
                    assert_eq!((now.items, now.bytes), (totals.items, totals.bytes), "{what}");
                    assert_eq!(
                        fs::read_dir(temp.path().join("tmp")).unwrap().count(),
                        0,
                        "{what}"
                    );
                    if fsync {
                        assert!(matches!(operation(&spool), Err(Error::Poisoned)), "{what}");
                        spool.remove(&user("ann"), id(1)).unwrap();
                    } else {
                        operation(&spool).unwrap_or_else(|e| panic!("{what}, again: {e}"));
                    }
                }
                let served = stock(&spool);
                drop(spool);
                let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
                assert_eq!(
                    (recovery.problems, recovery.quarantined),
                    (vec![], vec![]),
                    "{what}"
                );
                assert!(stock(&spool) == served, "{what}");
            }
        }
    }
}

#[test]
fn a_failing_index_fails_nothing_and_is_repaired() {
    for (what, operation) in OPERATIONS.into_iter().filter(|(what, _)| *what != COMES_AND_GOES) {
        for lasting in [false, true] {
            let temp = scratch();
            let disk = Disk::planned();
            let spool = prepare(temp.path(), &disk);
            let before = stock(&spool);
            disk.fail(Fault {
                act: Act::Index,
                nth: 1,
                errno: 28,
                lasting,
            });
            operation(&spool).unwrap();
            let now = stock(&spool);
            assert_ne!(now.len(), before.len(), "{what}");
            // A repeat is known although the index is not to be asked.
            let again = Parcel {
                xid: Some("x1"),
                ..parcel("ann", b"first")
            }
            .commit(&spool)
            .unwrap();
            assert!(matches!(again, Committed::Repeat(_)), "{what}");
            disk.heal();
            assert!(stock(&spool) == now, "{what}");
            drop(spool);
            let (spool, recovery) = Spool::open(temp.path(), LIMITS).unwrap();
            assert!(stock(&spool) == now && recovery.problems.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_full_disk_can_be_opened_read_and_emptied() {
    let temp = scratch();
    drop(prepare(temp.path(), &Disk::new()));
    fs::write(temp.path().join("index.sqlite"), b"garbage").unwrap();
    let disk = Disk::planned();
    for act in [Act::Create, Act::Write, Act::MakeDir, Act::Link, Act::Index] {
        disk.fail(Fault {
            act,
            nth: 1,
            errno: 28,
            lasting: true,
        });
    }
    let (spool, recovery) = Spool::open_with(temp.path(), LIMITS, disk.clone()).unwrap();
    assert!(recovery.rebuilt);
    let ann = user("ann");
    assert_eq!(spool.list(&ann).unwrap().len(), 2);
    assert!(matches!(
        parcel("ann", b"x").commit(&spool),
        Err(Error::NoRoom { .. })
    ));
    assert_eq!(read(&spool, &ann, id(2), Form::Wire).unwrap(), b"WIRE");
    let listed: Vec<SpoolId> = spool
        .list(&ann)
        .unwrap()
        .iter()
        .map(|summary| summary.id)
        .collect();
    for id in listed {
        spool.remove(&ann, id).unwrap();
    }
    assert!(spool.list(&ann).unwrap().is_empty());
    let again = Parcel {
        xid: Some("x1"),
        ..parcel("ann", b"first")
    }
    .commit(&spool)
    .unwrap();
    assert!(matches!(again, Committed::Repeat(_)));
    disk.heal();
    assert!(parcel("ann", b"x").ids(&spool)[0] > id(4));
}
