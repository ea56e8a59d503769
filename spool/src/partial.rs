//! Interrupted transfers: wire bytes that a sender may go on from, in `partial/`.
//!
//! The file of a transfer whose sender gave it an id moves from `tmp/` to `partial/<name>` when it has
//! [`PARTIAL_MIN`] bytes, and from there to its inbox when it is complete: nothing is copied. Nothing here is synced
//! before that and nothing is promised: what a partial holds is read again, with its digest, before it is offered, and
//! the sender compares. So whatever a crash leaves under such a name does no harm.
//!
//! A partial is *taken* while a form is written to it, and *waits* otherwise. Whoever takes one that is taken already
//! becomes its only writer: the sender of a connection that is dead, and not known to be, need not wait for its
//! time-out. Those that wait are bounded in number, bytes and age, and give way, the oldest first, when room is short.
//!
//! What this file does *not* do: write bytes, or count quotas (`stage.rs` does both).

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::dir::Dir;
use crate::disk::{Disk, Handle, lock};
use crate::error::Error;
use crate::spool::{Spool, read_item};
use crate::stage::{Reservation, Staged};
use crate::temporary::Temporary;

/// Bytes from which on an interrupted transfer is kept.
pub const PARTIAL_MIN: u64 = 1 << 20;
/// Seconds for which it is kept.
pub const PARTIAL_AGE: u64 = 24 * 3600;

/// Name of the directory.
pub(crate) const PARTIAL: &str = "partial";
/// Most that wait for one sender. In bytes: one file of the largest size.
const SENDER_COUNT: usize = 16;
/// Most that wait in all. In bytes: four files of the largest size.
const COUNT: usize = 256;
const FILES: u64 = 4;

/// Which transfer: what was proven of its sender, the sender's name, the recipient, and the sender's id of it. One
/// sender cannot name the transfer of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transfer {
    sender: [u8; 8],
    rest: [u8; 24],
}

impl Transfer {
    /// The transfer `xid` to `to` of somebody who is proven to be `sender` and calls himself `user`.
    pub fn of(sender: &str, user: &str, to: &str, xid: &str) -> Transfer {
        let mut hasher = blake3::Hasher::new();
        for part in [sender, user, to, xid] {
            hasher.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut transfer = Transfer {
            sender: [0; 8],
            rest: [0; 24],
        };
        blake3::Hasher::new()
            .update(sender.as_bytes())
            .finalize_xof()
            .fill(&mut transfer.sender);
        hasher.finalize_xof().fill(&mut transfer.rest);
        transfer
    }

    /// The name of its file: 64 hexadecimal digits, of which 16 are the sender's.
    fn name(&self) -> String {
        let mut name = String::with_capacity(64);
        for byte in self.sender.iter().chain(&self.rest) {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    fn parse(name: &str) -> Option<Transfer> {
        let hash = blake3::Hash::from_hex(name).ok()?;
        let (sender, rest) = hash.as_bytes().split_first_chunk()?;
        let transfer = Transfer {
            sender: *sender,
            rest: rest.try_into().ok()?,
        };
        // In one spelling only.
        (transfer.name() == name).then_some(transfer)
    }
}

/// The right to write to a partial. It can be lost at any time but while it is held.
#[derive(Clone, Debug)]
pub(crate) struct Lease(Arc<Mutex<bool>>);

impl Lease {
    fn new() -> Lease {
        Lease(Arc::new(Mutex::new(true)))
    }

    /// # Errors
    /// [`Error::Superseded`] when it has been lost.
    pub(crate) fn hold(&self) -> Result<MutexGuard<'_, bool>, Error> {
        let valid = lock(&self.0);
        if *valid { Ok(valid) } else { Err(Error::Superseded) }
    }
}

#[derive(Debug)]
enum State {
    Waits {
        bytes: u64,
        since: SystemTime,
    },
    Taken(Lease),
    /// It has its end and becomes an item.
    Complete(Lease),
}

impl State {
    fn is_of(&self, lease: &Lease) -> bool {
        match self {
            State::Waits { .. } => false,
            State::Taken(held) | State::Complete(held) => Arc::ptr_eq(&held.0, &lease.0),
        }
    }
}

type Table = HashMap<Transfer, State>;

/// Every partial of a spool.
#[derive(Debug)]
pub(crate) struct Partials {
    disk: Disk,
    /// `None` when it could not be made: then nothing is kept.
    dir: Option<Dir>,
    table: Mutex<Table>,
}

impl Partials {
    pub(crate) fn new(disk: Disk, dir: Option<Dir>) -> Partials {
        Partials {
            disk,
            dir,
            table: Mutex::default(),
        }
    }

    /// Counts a file that was there when the spool was opened; whether it is one of ours, and large and young enough
    /// to be of use.
    pub(crate) fn found(&self, name: &str, bytes: u64, since: SystemTime, now: SystemTime) -> bool {
        let day = Duration::from_secs(PARTIAL_AGE);
        let old = now.duration_since(since).is_ok_and(|age| age >= day);
        match Transfer::parse(name) {
            Some(transfer) if bytes >= PARTIAL_MIN && !old => {
                lock(&self.table).insert(transfer, State::Waits { bytes, since });
                true
            }
            _ => false,
        }
    }

    /// Where they are. A file that was taken is there.
    pub(crate) fn dir(&self) -> Option<&Dir> {
        self.dir.as_ref()
    }

    /// Whether there is one that can be taken.
    pub(crate) fn has(&self, transfer: &Transfer) -> bool {
        matches!(
            lock(&self.table).get(transfer),
            Some(State::Waits { .. } | State::Taken(_))
        )
    }

    /// Makes a temporary file the partial of a transfer, instead of one that waits; its new name, unless another form
    /// is written to that one, or the disk does not want to.
    pub(crate) fn adopt(
        &self,
        from: (&Dir, &str),
        transfer: &Transfer,
        max_file: u64,
    ) -> Option<(Lease, String)> {
        let (dir, name) = (self.dir.as_ref()?, transfer.name());
        let mut table = lock(&self.table);
        match table.get(transfer) {
            None => {}
            Some(State::Waits { .. }) => self.unlink(&mut table, transfer),
            Some(State::Taken(_) | State::Complete(_)) => return None,
        }
        self.disk.rename(from, (dir, &name)).ok()?;
        let lease = Lease::new();
        table.insert(*transfer, State::Taken(lease.clone()));
        self.trim(&mut table, transfer, max_file);
        Some((lease, name))
    }

    /// Takes the partial of a transfer, from another form if need be.
    fn take(&self, transfer: &Transfer) -> Option<(Lease, String)> {
        let lease = Lease::new();
        let mut table = lock(&self.table);
        let before = match table.get_mut(transfer)? {
            State::Complete(_) => return None,
            state => std::mem::replace(state, State::Taken(lease.clone())),
        };
        drop(table);
        if let State::Taken(old) = before {
            // Waits for a write that is under way; there is none after it.
            *lock(&old.0) = false;
        }
        Some((lease, transfer.name()))
    }

    /// From here on nobody else can take it.
    ///
    /// # Errors
    /// [`Error::Superseded`] when somebody has.
    pub(crate) fn complete(&self, transfer: &Transfer, lease: &Lease) -> Result<(), Error> {
        match lock(&self.table).get_mut(transfer) {
            Some(state) if state.is_of(lease) => {
                *state = State::Complete(lease.clone());
                Ok(())
            }
            _ => Err(Error::Superseded),
        }
    }

    /// It waits from now on.
    pub(crate) fn give_back(&self, transfer: &Transfer, lease: &Lease, bytes: u64, max_file: u64) {
        let mut table = lock(&self.table);
        if let Some(state) = table.get_mut(transfer).filter(|state| state.is_of(lease)) {
            let since = SystemTime::now();
            *state = State::Waits { bytes, since };
            self.trim(&mut table, transfer, max_file);
        }
    }

    /// It has become an item.
    pub(crate) fn placed(&self, transfer: &Transfer, lease: &Lease) {
        let mut table = lock(&self.table);
        if table.get(transfer).is_some_and(|state| state.is_of(lease)) {
            table.remove(transfer);
        }
    }

    /// It is of no use any more.
    pub(crate) fn discard(&self, transfer: &Transfer, lease: &Lease) {
        let mut table = lock(&self.table);
        if table.get(transfer).is_some_and(|state| state.is_of(lease)) {
            self.unlink(&mut table, transfer);
        }
    }

    /// Bytes that [`Partials::evict`] can free.
    pub(crate) fn waiting(&self) -> u64 {
        lock(&self.table).values().fold(0, |sum, state| match state {
            State::Waits { bytes, .. } => sum.saturating_add(*bytes),
            State::Taken(_) | State::Complete(_) => sum,
        })
    }

    /// Removes the one that has waited longest, if any waits.
    pub(crate) fn evict(&self) -> bool {
        let mut table = lock(&self.table);
        let oldest = oldest(&table, |_| true);
        oldest
            .map(|transfer| self.unlink(&mut table, &transfer))
            .is_some()
    }

    /// Removes those that have waited since before a time; how many.
    pub(crate) fn expire(&self, before: SystemTime) -> usize {
        let mut table = lock(&self.table);
        let old = |state: &State| matches!(state, State::Waits { since, .. } if *since < before);
        let due: Vec<Transfer> = table
            .iter()
            .filter(|(_, state)| old(state))
            .map(|(transfer, _)| *transfer)
            .collect();
        due.iter().for_each(|transfer| self.unlink(&mut table, transfer));
        due.len()
    }

    /// What waits has to be within the limits: its sender's first, then those of all.
    fn trim(&self, table: &mut Table, newest: &Transfer, max_file: u64) {
        let of_sender = |transfer: &Transfer| transfer.sender == newest.sender;
        self.thin(table, of_sender, SENDER_COUNT, max_file);
        self.thin(table, |_| true, COUNT, max_file.saturating_mul(FILES));
    }

    fn thin(&self, table: &mut Table, of: impl Fn(&Transfer) -> bool, most: usize, most_bytes: u64) {
        loop {
            let sizes = table.iter().filter_map(|(transfer, state)| match state {
                State::Waits { bytes, .. } if of(transfer) => Some(*bytes),
                _ => None,
            });
            let (count, sum) = sizes.fold((0, 0u64), |(n, sum), bytes| (n + 1, sum.saturating_add(bytes)));
            let over = count > most || sum > most_bytes;
            match oldest(table, &of).filter(|_| over) {
                Some(transfer) => self.unlink(table, &transfer),
                None => return,
            }
        }
    }

    /// One whose name cannot be removed now is found again at the next start.
    fn unlink(&self, table: &mut Table, transfer: &Transfer) {
        table.remove(transfer);
        if let Some(dir) = &self.dir {
            let _ = self.disk.unlink(dir, &transfer.name());
        }
    }
}

fn oldest(table: &Table, of: impl Fn(&Transfer) -> bool) -> Option<Transfer> {
    let waiting = table.iter().filter_map(|(transfer, state)| match state {
        State::Waits { since, .. } => Some((*since, *transfer)),
        State::Taken(_) | State::Complete(_) => None,
    });
    waiting
        .filter(|(_, transfer)| of(transfer))
        .min()
        .map(|(_, transfer)| transfer)
}

impl Spool {
    /// Whether wire bytes of this transfer are kept. Cheap.
    pub fn has_partial(&self, transfer: &Transfer) -> bool {
        self.shared.partials.has(transfer)
    }

    /// What is kept of a transfer, read again from the disk: a form whose length and digest are those of the bytes that
    /// are there. It can be written to, after [`Staged::metered`] if it is the wire form that counts; dropped, it
    /// is kept again, and [`Staged::discard`] throws it away. Another form that was being written of the same
    /// transfer ends here.
    ///
    /// # Errors
    /// Quotas as in [`Staged::write`], and [`Error::Poisoned`]. What cannot be read is thrown away.
    pub fn resume(&self, reservation: &Reservation, transfer: &Transfer) -> Result<Option<Staged>, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let partials = &shared.partials;
        let (Some(dir), Some((lease, name))) = (partials.dir(), partials.take(transfer)) else {
            return Ok(None);
        };
        let (handle, bytes) = match reopened(&shared.disk, dir, &name) {
            Ok(found) => found,
            Err(_) => {
                partials.discard(transfer, &lease);
                return Ok(None);
            }
        };
        let file = Temporary::partial(shared, handle, name, *transfer, lease);
        Staged::resumed(reservation.account.clone(), file, bytes)
    }

    /// Throws away what has been kept since before a time (seconds since 1970); how many.
    pub fn sweep_partials(&self, before: i64) -> usize {
        let since = Duration::from_secs(u64::try_from(before).unwrap_or_default());
        self.shared.partials.expire(SystemTime::UNIX_EPOCH + since)
    }
}

/// Opens a partial, without the trailer that it has when the crash came between its end and its rename.
fn reopened(disk: &Disk, dir: &Dir, name: &str) -> Result<(Handle, u64), Error> {
    let handle = disk.open_own(dir, name)?;
    let len = handle
        .file
        .metadata()
        .map_err(|e| Error::io("stat", &handle.path, e))?
        .len();
    let bytes = match read_item(dir, name) {
        Ok((_, envelope)) => envelope.local.bytes.min(len),
        Err(_) => len,
    };
    if bytes < len {
        disk.resize(&handle, bytes)?;
    }
    Ok((handle, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(sender: &str, xid: &str) -> Transfer {
        Transfer::of(sender, "maint", "ann", xid)
    }

    fn waiting(partials: &Partials) -> usize {
        lock(&partials.table).len()
    }

    #[test]
    fn a_transfer_is_its_sender_user_recipient_and_id() {
        let one = Transfer::of("a", "b", "c", "d");
        for other in [
            ("ab", "", "c", "d"),
            ("a", "bc", "", "d"),
            ("a", "b", "c", "e"),
            ("x", "b", "c", "d"),
        ] {
            assert_ne!(one, Transfer::of(other.0, other.1, other.2, other.3));
        }
        assert_eq!(Transfer::parse(&one.name()), Some(one));
        for bad in [
            "",
            "x",
            &one.name()[1..],
            &one.name().to_uppercase(),
            &format!("{}0", one.name()),
        ] {
            assert_eq!(Transfer::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sender_who_leaves_many_throws_away_only_the_own_oldest() {
        let partials = Partials::new(Disk::new(), None);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_218_990);
        let after = |n: u64| start + Duration::from_secs(n);
        let found = |sender: &str, n: u64| {
            let name = transfer(sender, &n.to_string()).name();
            assert!(partials.found(&name, PARTIAL_MIN, after(n), start));
        };
        found("other", 0);
        (1..=SENDER_COUNT as u64 + 5).for_each(|n| found("many", n));
        let newest = transfer("many", "new");
        let lease = Lease::new();
        lock(&partials.table).insert(newest, State::Taken(lease.clone()));
        partials.give_back(&newest, &lease, PARTIAL_MIN, 1 << 40);
        assert_eq!(waiting(&partials), 1 + SENDER_COUNT);
        assert!(partials.has(&newest) && partials.has(&transfer("other", "0")));
        assert!(!partials.has(&transfer("many", "6")) && partials.has(&transfer("many", "7")));
        // In bytes: one largest file.
        let lease = Lease::new();
        lock(&partials.table).insert(newest, State::Taken(lease.clone()));
        partials.give_back(&newest, &lease, 10 * PARTIAL_MIN, 12 * PARTIAL_MIN);
        assert_eq!(waiting(&partials), 1 + 3);
    }

    #[test]
    fn the_oldest_give_way_whoever_left_them() {
        let partials = Partials::new(Disk::new(), None);
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_218_990);
        for n in 0..3 {
            let name = transfer(&n.to_string(), "x").name();
            assert!(partials.found(&name, PARTIAL_MIN, start + Duration::from_secs(n), start));
        }
        assert_eq!(partials.waiting(), 3 * PARTIAL_MIN);
        assert!(partials.evict());
        assert!(!partials.has(&transfer("0", "x")) && partials.has(&transfer("1", "x")));
        assert_eq!(partials.expire(start + Duration::from_secs(2)), 1);
        assert!(partials.has(&transfer("2", "x")));
        assert!(partials.evict() && !partials.evict());
        let day = Duration::from_secs(PARTIAL_AGE);
        assert!(!partials.found(&transfer("0", "x").name(), PARTIAL_MIN, start, start + day));
        assert!(!partials.found(&transfer("0", "x").name(), PARTIAL_MIN - 1, start, start));
    }

    #[test]
    fn whoever_takes_a_partial_is_its_only_writer() {
        let partials = Partials::new(Disk::new(), None);
        let (one, time) = (transfer("a", "x"), SystemTime::now());
        assert!(partials.take(&one).is_none());
        assert!(partials.found(&one.name(), PARTIAL_MIN, time, time));
        let (first, _) = partials.take(&one).unwrap();
        assert!(first.hold().is_ok());
        let (second, _) = partials.take(&one).unwrap();
        assert!(matches!(first.hold(), Err(Error::Superseded)));
        assert!(matches!(partials.complete(&one, &first), Err(Error::Superseded)));
        // What the first one does at its end changes nothing for the second.
        partials.give_back(&one, &first, 1, 1);
        partials.discard(&one, &first);
        assert!(second.hold().is_ok() && partials.complete(&one, &second).is_ok());
        assert!(
            partials.take(&one).is_none() && !partials.has(&one),
            "it becomes an item"
        );
        partials.placed(&one, &second);
        assert_eq!(waiting(&partials), 0);
    }
}
