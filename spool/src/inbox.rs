//! One user's directory: its handle, its numbers, its shared fsync.
//!
//! What this file does *not* do: look at items.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::dir::Dir;
use crate::disk::{Disk, lock};
use crate::error::Error;
use crate::group::Group;
use crate::id::UserName;
use crate::numbers::{Next, Numbers};

/// Directories held open; beyond that, all are closed and opened again as they are needed.
const OPEN_MAX: usize = 512;

/// One user's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) user: UserName,
    pub(crate) group: Group,
    pub(crate) numbers: Numbers,
    dir: Mutex<Option<Arc<Dir>>>,
}

impl Inbox {
    fn new(user: UserName, start: Next) -> Inbox {
        Inbox {
            user,
            group: Group::default(),
            numbers: Numbers::new(start),
            dir: Mutex::default(),
        }
    }
}

/// Every inbox of a spool.
#[derive(Debug)]
pub(crate) struct Inboxes {
    disk: Disk,
    users: Dir,
    map: RwLock<HashMap<UserName, Arc<Inbox>>>,
    open: AtomicUsize,
}

impl Inboxes {
    pub(crate) fn new(disk: Disk, users: Dir) -> Inboxes {
        Inboxes {
            disk,
            users,
            map: RwLock::default(),
            open: AtomicUsize::new(0),
        }
    }

    /// An inbox that was found on the disk.
    pub(crate) fn found(&self, user: UserName, start: Next) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(user.clone(), Arc::new(Inbox::new(user, start)));
    }

    /// The inbox, if the user ever had an item.
    pub(crate) fn existing(&self, user: &UserName) -> Option<Arc<Inbox>> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(user)
            .cloned()
    }

    /// The inbox, which is made durable if it is new.
    pub(crate) fn inbox(&self, user: &UserName) -> Result<Arc<Inbox>, Error> {
        if let Some(inbox) = self.existing(user) {
            return Ok(inbox);
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = map.get(user) {
            return Ok(inbox.clone());
        }
        self.disk.make_dir(&self.users, user.as_str())?;
        self.disk.sync_dir(&self.users)?;
        let inbox = Arc::new(Inbox::new(user.clone(), Next::FIRST));
        map.insert(user.clone(), inbox.clone());
        Ok(inbox)
    }

    /// The directory of an inbox, opened if it is not.
    pub(crate) fn dir(&self, inbox: &Inbox) -> Result<Arc<Dir>, Error> {
        let mut slot = lock(&inbox.dir);
        if let Some(dir) = &*slot {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.users.sub(inbox.user.as_str())?);
        *slot = Some(dir.clone());
        drop(slot);
        if self.open.fetch_add(1, Ordering::Relaxed) >= OPEN_MAX {
            self.open.store(0, Ordering::Relaxed);
            for inbox in self.all() {
                *lock(&inbox.dir) = None;
            }
        }
        Ok(dir)
    }

    /// Every inbox there is.
    pub(crate) fn all(&self) -> Vec<Arc<Inbox>> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Writes the exact next numbers of those that were used.
    pub(crate) fn close(&self) -> Result<(), Error> {
        for inbox in self.all() {
            if inbox.numbers.in_use() {
                inbox.numbers.close(&self.disk, &*self.dir(&inbox)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::{BLOCK, SEQ};

    #[test]
    fn a_number_is_durable_before_it_is_given_out() {
        let temp = tempfile::tempdir().unwrap();
        let disk = Disk::planned();
        let inboxes = Inboxes::new(disk.clone(), Dir::root(temp.path()).unwrap());
        let inbox = inboxes.inbox(&"ann".parse().unwrap()).unwrap();
        let dir = inboxes.dir(&inbox).unwrap();
        let seq = || {
            Next::parse(&std::fs::read(dir.path.join(SEQ)).unwrap())
                .unwrap()
                .next
        };
        for n in 1..=BLOCK {
            assert_eq!(inbox.numbers.number(&disk, &dir).unwrap().get(), n);
        }
        assert_eq!(seq(), BLOCK + 1);
        disk.fail(crate::Fault {
            act: crate::Act::Write,
            nth: 1,
            errno: 28,
            lasting: false,
        });
        assert!(matches!(
            inbox.numbers.number(&disk, &dir),
            Err(Error::NoRoom { .. })
        ));
        assert_eq!(inbox.numbers.number(&disk, &dir).unwrap().get(), BLOCK + 1);
        assert_eq!(seq(), 2 * BLOCK + 1);
        inboxes.close().unwrap();
        assert_eq!(seq(), BLOCK + 2);
    }
}
