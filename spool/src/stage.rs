//! Bytes on their way into the spool: room that was promised, and forms that are not items yet.
//!
//! A small form stays in memory until the commit, so that it is written with one write; a large one goes to a
//! temporary file. Every byte is counted against the quotas before it is kept. What this file does *not* do: give a
//! form its place (that is `commit.rs`).

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use crate::disk::{Free, lock};
use crate::envelope::{Measure, Stranger};
use crate::error::{Error, Shortage};
use crate::id::UserName;
use crate::ledger::{Payers, Usage};
use crate::partial::{PARTIAL_MIN, Transfer};
use crate::spool::Shared;
use crate::temporary::Temporary;

/// Bytes that a form may have in memory.
const BUFFER: usize = 64 * 1024;
/// Bytes written before the disk is told to begin with them.
const AHEAD: u64 = 16 << 20;
/// Bytes between two looks at the free space.
const LOOK: u64 = 16 << 20;
/// Bytes read at a time when a form is resumed.
const READ: usize = 1 << 20;

/// Room for one file in inboxes and in the queue. Dropping it gives back whatever was not committed.
#[derive(Debug)]
pub struct Reservation {
    pub(crate) account: Arc<Account>,
    /// The owner of each job.
    pub(crate) jobs: Vec<Option<UserName>>,
}

impl Reservation {
    /// For whom.
    pub fn users(&self) -> &[UserName] {
        &self.account.payers.users
    }
}

/// What one delivery has taken so far.
#[derive(Debug, Default)]
struct Taken {
    /// Bytes of the metered forms.
    metered: u64,
    /// Bytes of the longest unmetered form.
    unmetered: u64,
    /// Taken from the ledger for each item: `taken >= max(metered, unmetered)`.
    taken: Usage,
}

/// The running account of one delivery, shared by its reservation and its forms.
#[derive(Debug)]
pub(crate) struct Account {
    shared: Arc<Shared>,
    pub(crate) payers: Payers,
    taken: Mutex<Taken>,
}

impl Account {
    /// Takes one item for everybody who pays.
    pub(crate) fn open(shared: Arc<Shared>, payers: Payers) -> Result<Account, Error> {
        let taken = Usage { bytes: 0, items: 1 };
        lock(&shared.ledger).take(&payers, taken)?;
        Ok(Account {
            shared,
            payers,
            taken: Mutex::new(Taken {
                taken,
                ..Taken::default()
            }),
        })
    }

    fn need(&self, now: &mut Taken, bytes: u64) -> Result<(), Error> {
        if let Some(more) = bytes.checked_sub(now.taken.bytes).filter(|more| *more > 0) {
            let more = Usage {
                bytes: more,
                items: 0,
            };
            lock(&self.shared.ledger).take(&self.payers, more)?;
            now.taken.bytes = bytes;
        }
        Ok(())
    }

    /// A form has grown by `more` to `len`.
    fn grow(&self, metered: bool, more: u64, len: u64) -> Result<(), Error> {
        let mut now = lock(&self.taken);
        let sum = if metered {
            now.metered.saturating_add(more)
        } else {
            now.metered
        };
        let longest = if metered {
            now.unmetered
        } else {
            now.unmetered.max(len)
        };
        self.need(&mut now, sum.max(longest))?;
        (now.metered, now.unmetered) = (sum, longest);
        Ok(())
    }

    /// Makes sure that this many bytes are taken for every user.
    pub(crate) fn at_least(&self, bytes: u64) -> Result<(), Error> {
        self.need(&mut lock(&self.taken), bytes)
    }

    /// Gives everything back, and in the same breath counts what was stored instead.
    pub(crate) fn settle(&self, stored: &[(Payer, u64)]) {
        let mut now = lock(&self.taken);
        let mut ledger = lock(&self.shared.ledger);
        ledger.give_back(&self.payers, now.taken);
        now.taken = Usage::default();
        for (payer, bytes) in stored {
            match payer {
                Payer::User(user, stranger) => ledger.stored(user, stranger.as_ref(), *bytes),
                Payer::Owner(owner) => {
                    let (bytes, items) = (*bytes, 1);
                    ledger.queue(owner.as_ref(), Usage { bytes, items });
                }
            }
        }
    }
}

/// Whom a stored item counts against.
#[derive(Clone, Debug)]
pub(crate) enum Payer {
    /// The recipient, and the stranger who sent it.
    User(UserName, Option<Stranger>),
    /// The owner of a job, if it has one.
    Owner(Option<UserName>),
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle(&[]);
    }
}

/// One form of a file (local, wire, or second fork) while it arrives. Dropping it removes what was written, unless it
/// is [`Staged::resumable`].
#[derive(Debug)]
pub struct Staged {
    account: Arc<Account>,
    metered: bool,
    /// The end of the form, not written yet: all of it while there is no file.
    buffer: Vec<u8>,
    file: Option<Temporary>,
    /// Bytes in the file.
    written: u64,
    /// Bytes of the file that the disk was told of: `begun <= written`.
    begun: u64,
    /// Length at which the free space is looked at again.
    look: u64,
    hasher: blake3::Hasher,
    /// Whose partial it becomes when it is large enough.
    transfer: Option<Transfer>,
}

impl Staged {
    pub(crate) fn new(account: Arc<Account>) -> Staged {
        Staged {
            account,
            metered: true,
            buffer: Vec::new(),
            file: None,
            written: 0,
            begun: 0,
            look: BUFFER as u64,
            hasher: blake3::Hasher::new(),
            transfer: None,
        }
    }

    /// The form that a partial holds, read from its start; nothing when it cannot be read.
    pub(crate) fn resumed(
        account: Arc<Account>,
        mut file: Temporary,
        bytes: u64,
    ) -> Result<Option<Staged>, Error> {
        account.grow(false, bytes, bytes)?;
        let mut hasher = blake3::Hasher::new();
        let mut slice = vec![0; READ];
        let mut at = 0;
        while at < bytes {
            let most = usize::try_from(bytes - at).unwrap_or(READ).min(READ);
            let read = slice
                .get_mut(..most)
                .map(|slice| file.handle.file.read_at(slice, at));
            match read {
                Some(Ok(n @ 1..)) => {
                    hasher.update(slice.get(..n).unwrap_or_default());
                    at += n as u64;
                }
                Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    file.spoil();
                    return Ok(None);
                }
            }
        }
        Ok(Some(Staged {
            file: Some(file),
            written: bytes,
            begun: bytes,
            look: bytes,
            hasher,
            metered: false,
            ..Staged::new(account)
        }))
    }

    /// A form that is made from another one (the local form): counted against the quota only as far as it grows
    /// longer than all metered forms together, so that a converted file is not charged twice.
    #[must_use]
    pub fn unmetered(mut self) -> Staged {
        self.metered = false;
        self
    }

    /// A form that counts in full, after all.
    ///
    /// # Errors
    /// [`Error::OverQuota`] and [`Error::StrangerQuota`].
    pub fn metered(mut self) -> Result<Staged, Error> {
        if !self.metered {
            self.account.grow(true, self.len(), self.len())?;
            self.metered = true;
        }
        Ok(self)
    }

    /// The wire form of a transfer that its sender may go on with: once it is large, dropping it keeps it, and so does
    /// a crash. A write that fails, a commit, [`Staged::discard`] and [`Staged::forgo`] end that.
    #[must_use]
    pub fn resumable(mut self, transfer: Transfer) -> Staged {
        self.transfer = Some(transfer);
        self
    }

    /// Keeps what there is so far for the sender to go on, if it is [`Staged::resumable`] and large. Only dropping it
    /// would do without the last bytes, which are in memory.
    pub fn keep(mut self) {
        let shared = self.account.shared.clone();
        if self.len() < PARTIAL_MIN || self.spill(&shared).is_err() {
            return self.discard();
        }
        self.adopt();
    }

    /// Throws it away.
    pub fn discard(mut self) {
        self.forgo();
    }

    /// Its sender will not go on with it, whatever becomes of it: dropping it throws it away.
    pub fn forgo(&mut self) {
        self.transfer = None;
        if let Some(file) = &mut self.file {
            file.spoil();
        }
    }

    /// Once it is large, its place is in `partial/`.
    fn adopt(&mut self) {
        if let (PARTIAL_MIN.., Some(file)) = (self.written, &mut self.file)
            && let Some(transfer) = self.transfer.take()
            && !file.is_partial()
        {
            file.adopt(transfer);
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::OverQuota`], [`Error::StrangerQuota`] and [`Error::NoRoom`] as soon as it is
    /// known; [`Error::Superseded`], [`Error::Io`]. None of `bytes` is part of the form then, and nothing of it is
    /// kept.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.take(bytes).inspect_err(|_| self.forgo())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let more = bytes.len() as u64;
        let len = self.len().saturating_add(more);
        let shared = self.account.shared.clone();
        let max = lock(&shared.ledger).limits.max_file;
        if len > max {
            return Err(Error::TooLarge { bytes: len, max });
        }
        self.account.grow(self.metered, more, len)?;
        if len > self.look {
            shared.look_for_room(more)?;
            self.look = len.saturating_add(LOOK);
        }
        if self.buffer.len() + bytes.len() > BUFFER {
            self.spill(&shared)?;
        }
        if bytes.len() > BUFFER {
            let written = self.written;
            let file = self.file(&shared)?;
            file.write_at(bytes, written)?;
            self.written += more;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self.adopt();
        self.begin_writing(&shared);
        self.hasher.update(bytes);
        Ok(())
    }

    fn file(&mut self, shared: &Arc<Shared>) -> Result<&Temporary, Error> {
        let file = match self.file.take() {
            Some(file) => file,
            None => Temporary::create(shared)?,
        };
        Ok(self.file.insert(file))
    }

    /// Has the disk work on what was written while more arrives.
    fn begin_writing(&mut self, shared: &Shared) {
        let fresh = self.written - self.begun;
        if let Some(file) = self.file.as_ref().filter(|_| fresh >= AHEAD) {
            shared.disk.begin_writing(&file.handle, self.begun, fresh);
            self.begun = self.written;
        }
    }

    /// Moves the buffer to the file.
    fn spill(&mut self, shared: &Arc<Shared>) -> Result<(), Error> {
        let written = self.written;
        let buffer = std::mem::take(&mut self.buffer);
        let file = self.file(shared)?;
        let result = file.write_at(&buffer, written);
        let len = buffer.len() as u64;
        self.buffer = buffer;
        result?;
        self.written += len;
        self.buffer.clear();
        Ok(())
    }

    /// Length so far, in bytes.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length and digest so far.
    pub fn measure(&self) -> Measure {
        Measure {
            bytes: self.len(),
            blake3: self.hasher.finalize(),
        }
    }

    /// Reads what was written so far, from the start.
    ///
    /// # Errors
    /// None today; reading itself may fail with what the disk says.
    pub fn reader(&mut self) -> Result<StagedReader<'_>, Error> {
        Ok(StagedReader { staged: self, at: 0 })
    }

    /// Ends the form with `tail` (which belongs to no measure) and makes its content durable.
    pub(crate) fn finish(mut self, tail: &[u8]) -> Result<Temporary, Error> {
        let shared = self.account.shared.clone();
        self.buffer.extend_from_slice(tail);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => Temporary::create(&shared)?,
        };
        file.complete()?;
        if !self.buffer.is_empty() {
            file.write_at(&self.buffer, self.written)?;
        }
        shared.disk.sync(&file.handle)?;
        Ok(file)
    }
}

impl Shared {
    /// Whether `more` bytes would leave enough free.
    pub(crate) fn look_for_room(&self, more: u64) -> Result<(), Error> {
        let min_free = lock(&self.ledger).limits.min_free;
        let free = self.room(more, min_free)?;
        let shortage = if free.bytes.checked_sub(more).is_none_or(|left| left < min_free) {
            Shortage::Reserve {
                free: free.bytes,
                min_free,
                wanted: more,
            }
        } else if !free.inodes {
            Shortage::Inodes
        } else {
            return Ok(());
        };
        Err(Error::NoRoom {
            path: self.root.path.clone(),
            shortage,
        })
    }

    /// What is free, after partials that only wait have given way, if that is enough then.
    fn room(&self, more: u64, min_free: u64) -> Result<Free, Error> {
        loop {
            let free = self.disk.free(&self.tmp)?;
            let needed = more.saturating_add(min_free);
            let short = needed > free.bytes || !free.inodes;
            let helps = needed <= free.bytes.saturating_add(self.partials.waiting());
            if !(short && helps && self.partials.evict()) {
                return Ok(free);
            }
        }
    }
}

/// Reads a [`Staged`] form from its start.
#[derive(Debug)]
pub struct StagedReader<'a> {
    staged: &'a Staged,
    at: u64,
}

impl Read for StagedReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let staged = self.staged;
        let n = match (&staged.file, staged.written.checked_sub(self.at)) {
            (Some(file), Some(left)) if left > 0 => {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
                let (into, _) = into.split_at_mut(most);
                file.handle.file.read_at(into, self.at)?
            }
            _ => {
                let skip = usize::try_from(self.at - staged.written).unwrap_or(usize::MAX);
                staged.buffer.get(skip..).unwrap_or_default().read(into)?
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}
