//! Taking items away: by their number, or because they are old.
//!
//! What this file does *not* do: ask whether the user may.

use std::io;
use std::sync::Arc;

use crate::dir::Dir;
use crate::disk::lock;
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::inbox::Inbox;
use crate::index::{Row, RowFacts};
use crate::seen::Entry;
use crate::spool::{Shared, now};

impl Shared {
    /// Removes items: those that are gone, and the first error.
    ///
    /// The key of a transfer is durable before its item goes, so that a crash in between leaves either to know a
    /// repeat by. The item's own name goes, durably, before its siblings: what is left of it after a crash is swept as
    /// orphans.
    pub(crate) fn remove(&self, items: &[(UserName, SpoolId)]) -> (Vec<(UserName, SpoolId)>, Option<Error>) {
        let mut error = None;
        let mut known = Vec::new();
        for (user, id) in items {
            match self.known(user, *id) {
                Ok((dir, inbox, facts)) => known.push((dir, inbox, *id, facts)),
                Err(e) => error = error.or(Some(e)),
            }
        }
        let time = now();
        let entries = known.iter().filter_map(|(_, _, id, facts)| {
            Some(Entry {
                key: facts.key?,
                id: id.get(),
                time,
            })
        });
        // A removal must work on a full disk: at worst a repeat is not known after a crash.
        let _ = self
            .seen
            .append(&self.disk, &self.root, &entries.collect::<Vec<_>>());
        let mut gone = Vec::new();
        let mut touched: Vec<(Arc<Dir>, Arc<Inbox>, Vec<String>)> = Vec::new();
        for (dir, inbox, id, facts) in known {
            let user = &inbox.user;
            match self.disk.unlink(&dir, &id.to_string()) {
                Ok(()) => {}
                Err(e) if e.is(io::ErrorKind::NotFound) => {
                    self.index.delete(user, id);
                    error = error.or(Some(Error::NoSuchItem {
                        user: user.clone(),
                        id,
                    }));
                    continue;
                }
                Err(e) => {
                    error = error.or(Some(e));
                    continue;
                }
            }
            self.index.delete(user, id);
            lock(&self.ledger).removed(user, facts.stranger.as_ref(), facts.charged);
            gone.push((user.clone(), id));
            let kept = [(facts.wire, "wire"), (facts.aux, "aux")]
                .into_iter()
                .filter(|(kept, _)| *kept);
            let siblings = kept.map(|(_, suffix)| format!("{id}.{suffix}"));
            match touched.iter_mut().find(|(other, ..)| Arc::ptr_eq(other, &dir)) {
                Some((.., names)) => names.extend(siblings),
                None => touched.push((dir, inbox, siblings.collect())),
            }
        }
        for (dir, inbox, siblings) in touched {
            // The items are gone as far as anybody can see; a failure here poisons, and that is reported there. Then
            // the siblings stay, for an item that a crash may bring back.
            if inbox.group.sync(|| self.disk.sync_dir(&dir)).is_ok() {
                for name in siblings {
                    let _ = self.disk.unlink(&dir, &name);
                }
            }
        }
        (gone, error)
    }

    /// Where an item is, and what its removal has to know; from the index, else from its file.
    fn known(&self, user: &UserName, id: SpoolId) -> Result<(Arc<Dir>, Arc<Inbox>, RowFacts), Error> {
        let (dir, inbox) = self.locate(user, id)?;
        let facts = match self.index.find(user, id).filter(|_| !self.index.is_stale(user)) {
            // A key is not logged for what is not there.
            Some(facts) if facts.key.is_none() || dir.has(&id.to_string()) => facts,
            _ => match self.read(&dir, user, id) {
                Ok((_, envelope)) => Row::of(user, id, &envelope).facts,
                Err(Error::Damaged { .. }) => RowFacts::unknown(),
                Err(e) => return Err(e),
            },
        };
        Ok((dir, inbox, facts))
    }
}

impl RowFacts {
    /// A damaged item: whatever it was charged is found again at the next start.
    fn unknown() -> RowFacts {
        RowFacts {
            charged: 0,
            stranger: None,
            key: None,
            wire: true,
            aux: true,
        }
    }
}
