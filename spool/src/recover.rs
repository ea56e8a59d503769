//! Opening a spool: making a new one, and putting right what a crash, an accident or a stranger left behind.
//!
//! The order matters: lock, format, sweep, log of repeats, index, inboxes, queue (`recover/queue.rs`), ledger. Files that are not whole items are
//! moved to `corrupt/`, never deleted; temporary files and orphaned siblings were never promised to anybody and are
//! deleted. The index is made to agree with the directories; only items that it does not know are read.
//!
//! What this file does *not* do: read the bytes of items (their digest is for whoever reads them all).

mod queue;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use crate::busy::Busy;
use crate::dir::{Dir, Kind};
use crate::disk::Disk;
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::inbox::Inboxes;
use crate::index::{INDEX, Index, Known, Row};
use crate::ledger::{Ledger, Limits};
use crate::make;
use crate::numbers::{Next, Numbers, SEQ};
use crate::partial::{PARTIAL, Partials};
use crate::queue::Queue;
use crate::seen::{SEEN, Seen};
use crate::spool::{Shared, item_name, now, read_item};

const SQLITE: [&str; 4] = [
    INDEX,
    "index.sqlite-wal",
    "index.sqlite-shm",
    "index.sqlite-journal",
];

/// What was found when a spool was opened, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The spool is new.
    pub created: bool,
    /// The last stop was orderly.
    pub clean: bool,
    /// Temporary files that were removed, and partial ones that nobody will go on with.
    pub swept: usize,
    /// Siblings without an item, items of the queue without a job, and older files of a job, that were removed.
    pub orphans: usize,
    /// What was moved to `corrupt/`: where it was, and why.
    pub quarantined: Vec<(PathBuf, String)>,
    /// What is wrong and was left where it is: items that lack a sibling, files that could not be moved.
    pub problems: Vec<(PathBuf, String)>,
    /// The index was made anew.
    pub rebuilt: bool,
    /// Items and jobs that the index did not know.
    pub learnt: u64,
    /// Rows of the index without an item or a job.
    pub forgotten: u64,
    /// Users whose file of numbers was lost: they go on above the highest number ever seen.
    pub renumbered: Vec<UserName>,
    /// The same happened to the queue.
    pub queue_renumbered: bool,
    /// Items that are served.
    pub items: u64,
    /// Jobs that are served.
    pub jobs: u64,
}

/// Opens the spool in `path`.
pub(crate) fn open(path: &Path, limits: Limits, disk: Disk) -> Result<(Shared, Recovery), Error> {
    let disk = disk.reopened();
    let root = make::root(&disk, path)?;
    let lock = make::lock(&disk, &root)?;
    let created = make::format(&disk, &root)?;
    let clean = make::take_clean(&disk, &lock)?;
    let recovery = Recovery {
        created,
        clean,
        ..Recovery::default()
    };
    let tmp = root.sub("tmp")?;
    let corrupt = root.sub("corrupt")?;
    let mut opening = Opening {
        disk: &disk,
        root: &root,
        tmp: &tmp,
        corrupt: &corrupt,
        recovery,
    };
    opening.sweep()?;
    let partials = opening.partials()?;
    let seen = opening.seen()?;
    let mut queue = Queue::new(&root, Next::FIRST)?;
    opening.settle_queue(&queue);
    let (
        index,
        Agreed {
            inboxes,
            next,
            mut ledger,
        },
    ) = opening.indexed(&seen, &queue)?;
    queue.numbers = Numbers::new(next);
    ledger.limits = limits;
    let mut recovery = opening.recovery;
    recovery.items = ledger.total().items;
    let shared = Shared {
        ledger: Mutex::new(ledger),
        index,
        inboxes,
        queue,
        seen,
        keys: Busy::default(),
        partials,
        temporaries: AtomicU64::new(0),
        lock,
        disk,
        tmp,
        root,
    };
    Ok((shared, recovery))
}

/// What index and directories agree on.
struct Agreed {
    inboxes: Inboxes,
    /// Where the numbers of the queue go on.
    next: Next,
    ledger: Ledger,
}

struct Opening<'a> {
    disk: &'a Disk,
    root: &'a Dir,
    tmp: &'a Dir,
    corrupt: &'a Dir,
    recovery: Recovery,
}

/// What the directory of a user holds.
#[derive(Default)]
struct Found {
    items: Vec<SpoolId>,
    siblings: HashSet<(SpoolId, bool)>,
    high: u64,
}

impl Opening<'_> {
    /// Removes what deliveries that were not acknowledged left in `tmp/`.
    fn sweep(&mut self) -> Result<(), Error> {
        for (name, kind) in self.tmp.entries()? {
            let text = std::str::from_utf8(&name)
                .ok()
                .filter(|_| kind != Kind::Directory);
            match text.map(|text| self.disk.unlink(self.tmp, text)) {
                Some(Ok(())) => self.recovery.swept += 1,
                Some(Err(e)) => self.problem(self.tmp, &name, &e),
                None => self.quarantine(self.tmp, "tmp", &name, "not a temporary file of ours"),
            }
        }
        Ok(())
    }

    /// What is kept of interrupted transfers. An older spool gets the directory for it; without room it does without.
    fn partials(&mut self) -> Result<Partials, Error> {
        let made = self
            .disk
            .make_dir(self.root, PARTIAL)
            .and_then(|_| self.root.sub(PARTIAL));
        let dir = match made {
            Ok(dir) => dir,
            Err(e) => {
                self.problem(self.root, PARTIAL.as_bytes(), &e);
                return Ok(Partials::new(self.disk.clone(), None));
            }
        };
        let entries = dir.entries()?;
        let partials = Partials::new(self.disk.clone(), Some(dir));
        let Some(dir) = partials.dir() else {
            return Ok(partials);
        };
        let now = SystemTime::now();
        for (name, kind) in entries {
            let text = std::str::from_utf8(&name)
                .ok()
                .filter(|_| kind != Kind::Directory);
            let Some(text) = text else {
                self.quarantine(dir, PARTIAL, &name, "not a partial file of ours");
                continue;
            };
            let found = dir.read(text).ok().and_then(|(file, len)| {
                let since = file.metadata().ok()?.modified().ok()?;
                Some((len, since))
            });
            if found.is_some_and(|(len, since)| partials.found(text, len, since, now)) {
                continue;
            }
            match self.disk.unlink(dir, text) {
                Ok(()) => self.recovery.swept += 1,
                Err(e) => self.problem(dir, &name, &e),
            }
        }
        Ok(partials)
    }

    fn problem(&mut self, dir: &Dir, name: &[u8], reason: &dyn ToString) {
        let path = dir.path.join(std::ffi::OsStr::from_bytes(name));
        self.recovery.problems.push((path, reason.to_string()));
    }

    /// Moves something to `corrupt/` under a name that says where it was.
    fn quarantine(&mut self, dir: &Dir, place: &str, name: &[u8], reason: impl ToString) {
        let was = dir.path.join(std::ffi::OsStr::from_bytes(name));
        let shown: String = String::from_utf8_lossy(name)
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        let plain = format!("{place}~{shown}");
        let Some(from) = std::str::from_utf8(name).ok() else {
            return self.recovery.problems.push((was, "its name is not UTF-8".into()));
        };
        for n in 0..u32::MAX {
            let to = if n == 0 {
                plain.clone()
            } else {
                format!("{plain}~{n}")
            };
            match self.disk.rename((dir, from), (self.corrupt, &to)) {
                Ok(()) => return self.recovery.quarantined.push((was, reason.to_string())),
                Err(e) if e.is(std::io::ErrorKind::AlreadyExists) => {}
                Err(e) => {
                    let reason = format!("{}; it could not be moved away: {e}", reason.to_string());
                    return self.recovery.problems.push((was, reason));
                }
            }
        }
    }

    /// The index, in agreement with the directories. One that fails on the way is replaced: by a new one, or, when
    /// there is no room for that, by one in memory.
    fn indexed(&mut self, seen: &Seen, queue: &Queue) -> Result<(Index, Agreed), Error> {
        let so_far = self.recovery.clone();
        if let Some(index) = self.old_index() {
            match self.agree(&index, seen, queue) {
                Ok(agreed) => return Ok((index, agreed)),
                Err(e) => {
                    drop(index);
                    self.recovery = so_far;
                    if !e.is_room() {
                        self.quarantine(self.root, "spool", INDEX.as_bytes(), e);
                    }
                }
            }
        }
        self.recovery.rebuilt = !self.recovery.created;
        let so_far = self.recovery.clone();
        let made = self.new_index().and_then(|index| {
            let agreed = self.agree(&index, seen, queue)?;
            Ok((index, agreed))
        });
        made.or_else(|e| {
            self.recovery = so_far;
            self.problem(
                self.root,
                INDEX.as_bytes(),
                &format!("{e}; the index is in memory only"),
            );
            let index = Index::in_memory()?;
            let agreed = self.agree(&index, seen, queue)?;
            Ok((index, agreed))
        })
    }

    /// Opens the index that is there, if it can be believed.
    fn old_index(&mut self) -> Option<Index> {
        for name in SQLITE {
            if let Err(Error::Damaged { reason, .. }) = self.root.read(name) {
                self.quarantine(self.root, "spool", name.as_bytes(), reason);
            }
        }
        if !self.root.has(INDEX) {
            return None;
        }
        match Index::open(self.disk, &self.root.path.join(INDEX), !self.recovery.clean) {
            Ok((index, fresh)) => {
                self.recovery.rebuilt = fresh;
                Some(index)
            }
            Err(e) if e.is_room() => None,
            Err(e) => {
                self.quarantine(self.root, "spool", INDEX.as_bytes(), e);
                None
            }
        }
    }

    fn new_index(&mut self) -> Result<Index, Error> {
        for name in SQLITE
            .into_iter()
            .filter(|name| *name != INDEX && self.root.has(name))
        {
            self.disk.unlink(self.root, name)?;
        }
        // SQLite would create it with the permissions of the umask.
        self.disk.create(self.root, INDEX)?;
        Ok(Index::open(self.disk, &self.root.path.join(INDEX), false)?.0)
    }

    /// Makes the index agree with the directories, and counts what is there.
    fn agree(&mut self, index: &Index, seen: &Seen, queue: &Queue) -> Result<Agreed, Error> {
        let inboxes = Inboxes::new(self.disk.clone(), self.root.sub("users")?);
        self.inboxes(index, &inboxes, seen)?;
        let next = self.queue(index, queue, seen)?;
        let mut ledger = Ledger::new(Limits::default());
        for (user, stranger, usage) in index.tallies()? {
            ledger.add(&user, stranger.as_ref(), usage);
        }
        for (owner, usage) in index.queue_tallies()? {
            ledger.queue(owner.as_ref(), usage);
        }
        Ok(Agreed {
            inboxes,
            next,
            ledger,
        })
    }

    fn seen(&mut self) -> Result<Seen, Error> {
        let time = now();
        match Seen::open(self.disk, self.root, self.tmp, time) {
            Err(Error::Damaged { reason, .. }) => {
                self.quarantine(self.root, "spool", SEEN.as_bytes(), reason);
                Seen::open(self.disk, self.root, self.tmp, time)
            }
            other => other,
        }
    }

    /// Compares every directory with the index.
    fn inboxes(&mut self, index: &Index, inboxes: &Inboxes, seen: &Seen) -> Result<(), Error> {
        let users = self.root.sub("users")?;
        let mut gone: HashSet<UserName> = index.users()?.into_iter().collect();
        let mut lost: Vec<(UserName, u64)> = Vec::new();
        for (name, kind) in users.entries()? {
            let parsed = std::str::from_utf8(&name)
                .ok()
                .and_then(|text| text.parse::<UserName>().ok());
            let user = match parsed {
                Some(user) if user.as_str().as_bytes() == name && kind == Kind::Directory => user,
                _ => {
                    self.quarantine(&users, "users", &name, "not the directory of a user");
                    continue;
                }
            };
            let dir = users.sub(user.as_str())?;
            let high = self.inbox(index, &user, &dir)?;
            gone.remove(&user);
            match self.next(&dir)? {
                Some(next) => {
                    inboxes.found(
                        user,
                        Next {
                            next: next.next.max(high.saturating_add(1)),
                            ..next
                        },
                    );
                }
                None => lost.push((user, high)),
            }
        }
        for user in gone {
            self.recovery.forgotten += index.known(&user)?.len() as u64;
            index.forget(&user)?;
        }
        if !lost.is_empty() {
            let corrupt = self.highest_corrupt()?;
            for (user, high) in lost {
                let high = high
                    .max(index.high(&user)?)
                    .max(corrupt.get(&user).copied().unwrap_or_default());
                let high = high.max(seen.highest());
                inboxes.found(
                    user.clone(),
                    Next {
                        generation: 0,
                        next: high.saturating_add(1),
                    },
                );
                if high > 0 {
                    self.recovery.renumbered.push(user);
                }
            }
        }
        Ok(())
    }

    /// Makes the index agree with one directory; the highest number that was seen in it.
    fn inbox(&mut self, index: &Index, user: &UserName, dir: &Dir) -> Result<u64, Error> {
        let mut found = self.names(user, dir)?;
        found.items.sort_unstable();
        let known = index.known(user)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut bad: HashSet<SpoolId> = HashSet::new();
        let mut expected: Vec<Known> = Vec::new();
        let mut held = known.iter().copied().peekable();
        let mut gone = Vec::new();
        for id in &found.items {
            while let Some((old, ..)) = held.next_if(|(held, ..)| held < id) {
                gone.push((user.clone(), old));
            }
            if let Some(known) = held.next_if(|(held, ..)| held == id) {
                expected.push(known);
                continue;
            }
            let name = id.to_string();
            match read_item(dir, &name) {
                Ok((_, envelope)) => {
                    let row = Row::of(user, *id, &envelope);
                    expected.push((*id, row.facts.wire, row.facts.aux));
                    rows.push(row);
                }
                Err(Error::Damaged { reason, .. }) => {
                    self.quarantine(dir, user.as_str(), name.as_bytes(), reason);
                    bad.insert(*id);
                }
                Err(e) => {
                    self.problem(dir, name.as_bytes(), &e);
                    bad.insert(*id);
                }
            }
        }
        gone.extend(held.map(|(old, ..)| (user.clone(), old)));
        for (id, wire, aux) in expected {
            for (due, is_wire, suffix) in [(wire, true, ".wire"), (aux, false, ".aux")] {
                if !found.siblings.remove(&(id, is_wire)) && due {
                    self.problem(dir, format!("{id}{suffix}").as_bytes(), &"it is missing");
                }
            }
        }
        for (id, is_wire) in found.siblings {
            let name = format!("{id}{}", if is_wire { ".wire" } else { ".aux" });
            if bad.contains(&id) {
                self.quarantine(
                    dir,
                    user.as_str(),
                    name.as_bytes(),
                    format!("item {id} is damaged"),
                );
            } else {
                match self.disk.unlink(dir, &name) {
                    Ok(()) => self.recovery.orphans += 1,
                    Err(e) => self.problem(dir, name.as_bytes(), &e),
                }
            }
        }
        self.recovery.learnt += rows.len() as u64;
        self.recovery.forgotten += gone.len() as u64;
        if !rows.is_empty() && !self.recovery.clean {
            // A killed process may have renamed them without the fsync, and from now on a repeat of them is answered
            // as stored. A failure poisons; what is there can still be read.
            let _ = self.disk.sync_dir(dir);
        }
        if !(rows.is_empty() && gone.is_empty()) {
            index.correct(&rows, &gone)?;
        }
        Ok(found.high.max(known.last().map_or(0, |(id, ..)| id.get())))
    }

    /// Sorts the names in a directory; what is not ours is moved away.
    fn names(&mut self, user: &UserName, dir: &Dir) -> Result<Found, Error> {
        let mut found = Found::default();
        for (name, kind) in dir.entries()? {
            let text = std::str::from_utf8(&name).unwrap_or_default();
            if text == SEQ {
                continue; // `next` looks at it
            }
            let (stem, is_wire) = match (text.strip_suffix(".wire"), text.strip_suffix(".aux")) {
                (Some(stem), _) => (stem, Some(true)),
                (None, Some(stem)) => (stem, Some(false)),
                (None, None) => (text, None),
            };
            match (item_name(stem), is_wire) {
                (None, _) => self.quarantine(dir, user.as_str(), &name, "not the name of an item"),
                (Some(id), _) if kind != Kind::File => {
                    found.high = found.high.max(id.get());
                    self.quarantine(dir, user.as_str(), &name, "not a regular file");
                }
                (Some(id), is_wire) => {
                    found.high = found.high.max(id.get());
                    match is_wire {
                        Some(is_wire) => {
                            found.siblings.insert((id, is_wire));
                        }
                        None => found.items.push(id),
                    }
                }
            }
        }
        Ok(found)
    }

    /// The next number of a user, if its file says so.
    fn next(&mut self, dir: &Dir) -> Result<Option<Next>, Error> {
        let handle = match self.disk.open_own(dir, SEQ) {
            Ok(handle) => handle,
            Err(e) if e.is(std::io::ErrorKind::NotFound) => return Ok(None),
            Err(Error::Damaged { reason, .. }) => {
                let place = dir
                    .path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                self.quarantine(dir, &place, SEQ.as_bytes(), reason);
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        let read = (&handle.file).take(8192).read_to_end(&mut bytes);
        read.map_err(|e| Error::io("read", &handle.path, e))?;
        Ok(Next::parse(&bytes))
    }

    /// The highest number of each user among the names in `corrupt/`.
    fn highest_corrupt(&self) -> Result<HashMap<UserName, u64>, Error> {
        let mut highest: HashMap<UserName, u64> = HashMap::new();
        for (name, _) in self.corrupt.entries()? {
            let Ok(text) = std::str::from_utf8(&name) else {
                continue;
            };
            let mut parts = text.split('~');
            let user = parts.next().and_then(|user| user.parse().ok());
            let id = parts
                .next()
                .and_then(|name| item_name(name.split('.').next().unwrap_or_default()));
            if let (Some(user), Some(id)) = (user, id) {
                let top: &mut u64 = highest.entry(user).or_default();
                *top = id.get().max(*top);
            }
        }
        Ok(highest)
    }
}
