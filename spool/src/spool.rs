//! The spool as callers see it: room, lists, items, removal. Commits are in `commit.rs`, opening in `recover.rs`.
//!
//! What this file does *not* do: change the disk except through `disk.rs`, or know SQL.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::busy::Busy;
use crate::dir::Dir;
use crate::disk::{Disk, Handle, lock};
use crate::envelope::{Envelope, FileType, Receipt, Stranger};
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::inbox::{Inbox, Inboxes};
use crate::index::{Index, Row};
use crate::ledger::{Ledger, Limits, Payers, Usage};
use crate::make::CLEAN;
use crate::partial::Partials;
use crate::queue::Queue;
use crate::recover::Recovery;
use crate::seen::{Key, Seen};
use crate::stage::{Account, Reservation, Staged};
use crate::trailer::{self, BadTrailer};

/// Bytes of a file's end that are read at first: enough for nearly every trailer.
const TAIL: u64 = 4096;

/// An open spool. Everything may be called from any number of threads; every call may block on the disk.
#[derive(Debug)]
pub struct Spool {
    pub(crate) shared: Arc<Shared>,
}

/// What a spool, its reservations and its staged forms have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Disk,
    pub(crate) root: Dir,
    pub(crate) tmp: Dir,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) index: Index,
    pub(crate) inboxes: Inboxes,
    pub(crate) queue: Queue,
    pub(crate) seen: Seen,
    pub(crate) keys: Busy<Key>,
    pub(crate) partials: Partials,
    pub(crate) temporaries: AtomicU64,
    /// Holds the lock while it is open.
    pub(crate) lock: Handle,
}

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its number.
    pub id: SpoolId,
    /// Who sent it, as claimed: `user@host`, or the host alone.
    pub from: String,
    /// Type of the local form.
    pub file_type: FileType,
    /// Bytes of the local form.
    pub size: u64,
    /// Seconds since 1970-01-01 00:00 UTC.
    pub received: i64,
    /// The name as sent: hostile text.
    pub name: Option<String>,
    /// The TITLE attribute: hostile text.
    pub title: Option<String>,
    /// It is a receipt: hostile text.
    pub receipt: Option<Receipt>,
}

/// One item with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whose inbox.
    pub user: UserName,
    /// Its number there.
    pub id: SpoolId,
    /// What is known of it.
    pub envelope: Envelope,
}

/// Which bytes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the recipient gets it.
    Local,
    /// As it was sent.
    Wire,
    /// The second fork.
    Aux,
}

/// The bytes of one form of an item.
#[derive(Debug)]
pub struct Content {
    /// Open for reading, at offset 0.
    pub file: File,
    /// How many bytes from there belong to the form; the file may go on behind them.
    pub bytes: u64,
}

/// What the spool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Users that ever had an item.
    pub users: u64,
    /// Items in inboxes.
    pub items: u64,
    /// Jobs in the queue, held and failed ones among them.
    pub jobs: u64,
    /// Bytes of both, as quotas count them.
    pub bytes: u64,
    /// Bytes that the file system has left for us; 0 when it does not say.
    pub free: u64,
    /// Whether an fsync has failed, so that nothing is accepted.
    pub poisoned: bool,
}

impl Spool {
    /// Opens a spool, or makes one; see [`Recovery`] for what was found.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Format`], [`Error::Exposed`], or what the disk says.
    pub fn open(dir: &Path, limits: Limits) -> Result<(Spool, Recovery), Error> {
        Spool::open_with(dir, limits, Disk::new())
    }

    /// The same on a disk of the caller's.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_with(dir: &Path, limits: Limits, disk: Disk) -> Result<(Spool, Recovery), Error> {
        let (shared, recovery) = crate::recover::open(dir, limits, disk)?;
        Ok((
            Spool {
                shared: Arc::new(shared),
            },
            recovery,
        ))
    }

    /// New limits for what comes; what is there stays.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.shared.ledger).limits = limits;
    }

    /// Promises one item to each of `to` and one job to each of `jobs` (its owner, `None` for what came from a peer),
    /// if they can be kept. The declared size is believed as far as a refusal goes and no further: bytes are taken as
    /// they come.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OverQuota`], [`Error::StrangerQuota`], [`Error::QueueQuota`], [`Error::NoRoom`],
    /// [`Error::Poisoned`]; [`Error::NotReserved`] without any user or job.
    pub fn reserve(
        &self,
        to: &[UserName],
        jobs: &[Option<UserName>],
        from: Option<&Stranger>,
        declared: Option<u64>,
    ) -> Result<Reservation, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        if to.is_empty() && jobs.is_empty() {
            return Err(Error::NotReserved(None));
        }
        let owners: Vec<UserName> = jobs.iter().flatten().cloned().collect();
        let jobs_of = |owner: &UserName| owners.iter().filter(|other| *other == owner).count() as u64;
        let payers = Payers {
            users: unique(to),
            stranger: from.cloned(),
            owners: unique(&owners)
                .into_iter()
                .map(|owner| (owner.clone(), jobs_of(&owner)))
                .collect(),
        };
        let bytes = declared.unwrap_or(0);
        {
            let ledger = lock(&shared.ledger);
            let max = ledger.limits.max_file;
            if bytes > max {
                return Err(Error::TooLarge { bytes, max });
            }
            ledger.check(&payers, Usage { bytes, items: 1 })?;
        }
        shared.look_for_room(bytes)?;
        let account = Account::open(shared.clone(), payers)?;
        Ok(Reservation {
            account: Arc::new(account),
            jobs: jobs.to_vec(),
        })
    }

    /// A form of the file that the reservation is for. Nothing is written before it outgrows its buffer.
    pub fn stage(&self, reservation: &Reservation) -> Staged {
        Staged::new(reservation.account.clone())
    }

    /// The items of a user, by number.
    ///
    /// # Errors
    /// What the disk says, when the index could not tell and the directory had to.
    pub fn list(&self, user: &UserName) -> Result<Vec<Summary>, Error> {
        if let Some(list) = self.shared.index.list(user) {
            return Ok(list);
        }
        Ok(self
            .shared
            .repaired(user)?
            .into_iter()
            .map(|row| row.summary)
            .collect())
    }

    /// One item.
    ///
    /// # Errors
    /// [`Error::NoSuchItem`], [`Error::Damaged`], or what the disk says.
    pub fn item(&self, user: &UserName, id: SpoolId) -> Result<Item, Error> {
        let (dir, _) = self.shared.locate(user, id)?;
        let (_, envelope) = self.shared.read(&dir, user, id)?;
        Ok(Item {
            user: user.clone(),
            id,
            envelope,
        })
    }

    /// The bytes of an item.
    ///
    /// # Errors
    /// As [`Spool::item`], and [`Error::NotKept`] when the form is not there to be opened.
    pub fn open_form(&self, user: &UserName, id: SpoolId, form: Form) -> Result<Content, Error> {
        let (dir, _) = self.shared.locate(user, id)?;
        let (file, envelope) = self.shared.read(&dir, user, id)?;
        let opened = open_form(&dir, (Some(user), id), file, &envelope, form);
        opened.or_else(|e| {
            // The item may have been removed meanwhile; if it was not, its sibling is missing.
            if e.is(io::ErrorKind::NotFound) {
                self.shared.read(&dir, user, id)?;
                return Err(Error::damaged(
                    dir.path.join(id.to_string()),
                    "it lacks a sibling",
                ));
            }
            Err(e)
        })
    }

    /// Removes an item. It is gone for good when this returns, unless an fsync has failed before: then a crash may
    /// bring it back.
    ///
    /// # Errors
    /// [`Error::NoSuchItem`], or what the disk says.
    pub fn remove(&self, user: &UserName, id: SpoolId) -> Result<(), Error> {
        let (_, error) = self.shared.remove(&[(user.clone(), id)]);
        error.map_or(Ok(()), Err)
    }

    /// Removes up to `most` items that were received before a time (seconds since 1970), the oldest first; which.
    ///
    /// # Errors
    /// What the index or the disk says, when nothing could be removed.
    pub fn expire(&self, before: i64, most: usize) -> Result<Vec<(UserName, SpoolId)>, Error> {
        for user in self.shared.index.stale() {
            self.shared.repaired(&user)?;
        }
        let due = self.shared.index.received_before(before, most)?;
        match self.shared.remove(&due) {
            (gone, Some(e)) if gone.is_empty() && !matches!(e, Error::NoSuchItem { .. }) => Err(e),
            (gone, _) => Ok(gone),
        }
    }

    /// What a user has stored.
    pub fn usage(&self, user: &UserName) -> Usage {
        lock(&self.shared.ledger).usage(user)
    }

    /// What everybody has stored.
    pub fn totals(&self) -> Totals {
        let shared = &self.shared;
        let (stored, queued) = {
            let ledger = lock(&shared.ledger);
            (ledger.total(), ledger.queued())
        };
        Totals {
            users: shared.inboxes.all().len() as u64,
            items: stored.items,
            jobs: queued.items,
            bytes: stored.bytes.saturating_add(queued.bytes),
            free: shared.disk.free(&shared.root).map_or(0, |free| free.bytes),
            poisoned: shared.disk.is_poisoned(),
        }
    }

    /// An orderly stop: the next start has nothing to check. Dropping the spool does the same. The lock is given up
    /// when the last reservation and the last staged form are gone as well.
    pub fn close(self) {}
}

impl Drop for Spool {
    fn drop(&mut self) {
        let shared = &self.shared;
        if shared.disk.is_poisoned() {
            return;
        }
        // Nothing is lost when any of this fails: the next start skips some numbers, or checks the index.
        let _ = shared.inboxes.close();
        let _ = shared.queue.close(&shared.disk);
        if shared.index.close() {
            let _ = shared
                .disk
                .write_at(&shared.lock, CLEAN.as_bytes(), 0)
                .and_then(|()| shared.disk.sync(&shared.lock));
        }
    }
}

impl Shared {
    pub(crate) fn temporary_name(&self) -> String {
        self.temporaries.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// The directory of an inbox in which an item of this number may be seen.
    pub(crate) fn locate(&self, user: &UserName, id: SpoolId) -> Result<(Arc<Dir>, Arc<Inbox>), Error> {
        let inbox = self
            .inboxes
            .existing(user)
            .filter(|inbox| !inbox.numbers.is_hidden(id));
        let inbox = inbox.ok_or_else(|| Error::NoSuchItem {
            user: user.clone(),
            id,
        })?;
        Ok((self.inboxes.dir(&inbox)?, inbox))
    }

    pub(crate) fn read(&self, dir: &Dir, user: &UserName, id: SpoolId) -> Result<(File, Envelope), Error> {
        read_item(dir, &id.to_string()).map_err(|e| match e.is(io::ErrorKind::NotFound) {
            true => Error::NoSuchItem {
                user: user.clone(),
                id,
            },
            false => e,
        })
    }

    /// Compares the index with the directory of a user, and gives what is right.
    pub(crate) fn repaired(&self, user: &UserName) -> Result<Vec<Row>, Error> {
        self.index.repair(user, |held| {
            let Some(inbox) = self.inboxes.existing(user) else {
                return Ok(Vec::new());
            };
            let dir = self.inboxes.dir(&inbox)?;
            let names = dir.entries()?;
            let names = names
                .iter()
                .filter_map(|(name, _)| std::str::from_utf8(name).ok());
            let mut ids: Vec<SpoolId> = names
                .filter_map(item_name)
                .filter(|id| !inbox.numbers.is_hidden(*id))
                .collect();
            ids.sort_unstable();
            let mut held = held.into_iter().peekable();
            let mut right = Vec::with_capacity(ids.len());
            for id in ids {
                while held.next_if(|row| row.summary.id < id).is_some() {}
                if let Some(row) = held.next_if(|row| row.summary.id == id) {
                    right.push(row);
                } else if let Ok((_, envelope)) = read_item(&dir, &id.to_string()) {
                    right.push(Row::of(user, id, &envelope));
                }
            }
            Ok(right)
        })
    }

    /// The item that this transfer became for this user, if it was delivered before.
    pub(crate) fn delivered(&self, user: &UserName, key: &Key) -> Result<Option<SpoolId>, Error> {
        let live = if self.index.is_stale(user) {
            let rows = self.repaired(user)?.into_iter();
            rows.filter(|row| row.facts.key == Some(*key))
                .map(|row| row.summary.id)
                .collect()
        } else {
            self.index.with_key(user, key)
        };
        if let (false, Some(inbox)) = (live.is_empty(), self.inboxes.existing(user)) {
            let dir = self.inboxes.dir(&inbox)?;
            if let Some(id) = live.into_iter().find(|id| dir.has(&id.to_string())) {
                return Ok(Some(id));
            }
        }
        Ok(self.seen.find(key).and_then(SpoolId::new))
    }
}

/// The number in the name of an item: decimal, without leading zeros, and not larger than any number given out.
pub(crate) fn item_name(name: &str) -> Option<SpoolId> {
    if name.starts_with('0') {
        return None;
    }
    name.parse()
        .ok()
        .filter(|id: &SpoolId| id.get() < crate::numbers::ID_MAX)
}

/// Opens one form of an item whose file is open.
///
/// # Errors
/// An answer of the kind `NotFound` when a sibling that should be there is not.
pub(crate) fn open_form(
    dir: &Dir,
    (user, id): (Option<&UserName>, SpoolId),
    file: File,
    envelope: &Envelope,
    form: Form,
) -> Result<Content, Error> {
    let item = Content {
        file,
        bytes: envelope.local.bytes,
    };
    let not_kept = |form| Error::NotKept {
        user: user.cloned(),
        id,
        form,
    };
    let (name, measure) = match form {
        Form::Local => return Ok(item),
        Form::Wire if envelope.wire_kept => (format!("{id}.wire"), envelope.wire),
        Form::Wire if envelope.wire == envelope.local => return Ok(item),
        Form::Wire => return Err(not_kept("wire")),
        Form::Aux => (format!("{id}.aux"), envelope.aux.ok_or_else(|| not_kept("aux"))?),
    };
    match dir.read(&name)? {
        (file, bytes) if bytes == measure.bytes => Ok(Content { file, bytes }),
        (_, len) => {
            let reason = format!("{len} bytes, {} were written", measure.bytes);
            Err(Error::damaged(dir.path.join(name), reason))
        }
    }
}

/// Opens an item and reads its trailer.
pub(crate) fn read_item(dir: &Dir, name: &str) -> Result<(File, Envelope), Error> {
    let (file, len) = dir.read(name)?;
    let mut most = TAIL.min(len);
    loop {
        let mut tail = vec![0; usize::try_from(most).unwrap_or_default()];
        match file.read_exact_at(&mut tail, len - most) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::damaged(dir.path.join(name), "it has become shorter"));
            }
            Err(e) => return Err(Error::io("read", dir.path.join(name), e)),
        }
        match trailer::parse(&tail, len) {
            Ok(envelope) => return Ok((file, envelope)),
            Err(BadTrailer::Short(need)) if need as u64 > most => most = (need as u64).min(len),
            Err(e) => return Err(Error::damaged(dir.path.join(name), e)),
        }
    }
}

/// Each user once, in the order given.
pub(crate) fn unique(users: &[UserName]) -> Vec<UserName> {
    let mut unique: Vec<UserName> = Vec::with_capacity(users.len());
    for user in users {
        if !unique.contains(user) {
            unique.push(user.clone());
        }
    }
    unique
}

/// Seconds since 1970-01-01 00:00 UTC.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
