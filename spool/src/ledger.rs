//! Who has used how much: quotas of users, of strangers and of the owners of jobs, with what is still on its way.
//!
//! Pure: numbers in, verdicts out. Bytes are taken before they are written and given back when a delivery fails, so
//! that parallel sessions cannot pass a limit together. What it does *not* know: free space on the disk, and what is
//! in the files; the spool fills it from the index when it opens.

use std::collections::HashMap;

use crate::envelope::Stranger;
use crate::error::Error;
use crate::id::UserName;

/// What a spool may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one form of one file.
    pub max_file: u64,
    /// Bytes of one user's items; and, counted apart, of the user's jobs in the queue.
    pub user_bytes: u64,
    /// Items of one user; and, counted apart, jobs.
    pub user_items: u64,
    /// Bytes of the file system that stay free.
    pub min_free: u64,
    /// Unread bytes from one stranger, in all inboxes.
    pub stranger_bytes: u64,
    /// Unread items from one stranger, in all inboxes.
    pub stranger_items: u64,
}

impl Default for Limits {
    /// What the service has when nothing is configured.
    fn default() -> Limits {
        const GIB: u64 = 1 << 30;
        Limits {
            max_file: 16 * GIB,
            user_bytes: 64 * GIB,
            user_items: 10_000,
            min_free: GIB,
            stranger_bytes: 4 * GIB,
            stranger_items: 1_000,
        }
    }
}

/// Bytes and items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, as quotas count them: the larger of local and wire form, and the second fork.
    pub bytes: u64,
    /// Items.
    pub items: u64,
}

impl Usage {
    fn add(&mut self, more: Usage) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.items = self.items.saturating_add(more.items);
    }

    /// The same for several items.
    fn times(self, n: u64) -> Usage {
        Usage {
            bytes: self.bytes.saturating_mul(n),
            items: self.items.saturating_mul(n),
        }
    }

    fn sub(&mut self, less: Usage) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.items = self.items.saturating_sub(less.items);
    }
}

/// One account: what is stored and what is on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    stored: Usage,
    flying: Usage,
}

impl Tally {
    /// The sum, when `more` still fits; else the sum without it.
    fn fits(&self, more: Usage, max_bytes: u64, max_items: u64) -> Result<(), Usage> {
        let mut now = self.stored;
        now.add(self.flying);
        let mut then = now;
        then.add(more);
        // Taking nothing of a kind is never refused: an inbox over its (lowered) limit in items can still stream
        // what it was already promised.
        let bytes = more.bytes == 0 || then.bytes <= max_bytes;
        let items = more.items == 0 || then.items <= max_items;
        if bytes && items { Ok(()) } else { Err(now) }
    }

    fn is_empty(&self) -> bool {
        self.stored == Usage::default() && self.flying == Usage::default()
    }
}

/// Who pays for a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payers {
    /// One item in the inbox of each.
    pub(crate) users: Vec<UserName>,
    /// Who sent it: pays for every inbox.
    pub(crate) stranger: Option<Stranger>,
    /// Who has how many jobs of it in the queue, each once; what came from a peer is nobody's.
    pub(crate) owners: Vec<(UserName, u64)>,
}

/// Every account of a spool.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) limits: Limits,
    users: HashMap<UserName, Tally>,
    strangers: HashMap<Stranger, Tally>,
    owners: HashMap<UserName, Tally>,
    total: Usage,
    queued: Usage,
}

impl Ledger {
    pub(crate) fn new(limits: Limits) -> Ledger {
        Ledger {
            limits,
            users: HashMap::new(),
            strangers: HashMap::new(),
            owners: HashMap::new(),
            total: Usage::default(),
            queued: Usage::default(),
        }
    }

    /// Whether `more` for each item fits everybody who pays; nothing is taken.
    pub(crate) fn check(&self, payers: &Payers, more: Usage) -> Result<(), Error> {
        let limits = &self.limits;
        for user in &payers.users {
            let tally = self.users.get(user).copied().unwrap_or_default();
            tally
                .fits(more, limits.user_bytes, limits.user_items)
                .map_err(|now| Error::OverQuota {
                    user: user.clone(),
                    bytes: now.bytes,
                    items: now.items,
                    wanted: more.bytes,
                    max_bytes: limits.user_bytes,
                    max_items: limits.user_items,
                })?;
        }
        if let Some(stranger) = &payers.stranger {
            let tally = self.strangers.get(stranger).copied().unwrap_or_default();
            let more = more.times(payers.users.len() as u64);
            tally
                .fits(more, limits.stranger_bytes, limits.stranger_items)
                .map_err(|now| Error::StrangerQuota {
                    stranger: stranger.as_str().to_owned(),
                    bytes: now.bytes,
                    items: now.items,
                    wanted: more.bytes,
                    max_bytes: limits.stranger_bytes,
                    max_items: limits.stranger_items,
                })?;
        }
        for (owner, jobs) in &payers.owners {
            let tally = self.owners.get(owner).copied().unwrap_or_default();
            let more = more.times(*jobs);
            tally
                .fits(more, limits.user_bytes, limits.user_items)
                .map_err(|now| Error::QueueQuota {
                    owner: owner.clone(),
                    bytes: now.bytes,
                    items: now.items,
                    wanted: more.bytes,
                    max_bytes: limits.user_bytes,
                    max_items: limits.user_items,
                })?;
        }
        Ok(())
    }

    /// Takes `more` for each item on its way, or nothing at all.
    pub(crate) fn take(&mut self, payers: &Payers, more: Usage) -> Result<(), Error> {
        self.check(payers, more)?;
        for user in &payers.users {
            entry(&mut self.users, user).flying.add(more);
            if let Some(stranger) = &payers.stranger {
                entry(&mut self.strangers, stranger).flying.add(more);
            }
        }
        for (owner, jobs) in &payers.owners {
            entry(&mut self.owners, owner).flying.add(more.times(*jobs));
        }
        Ok(())
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&mut self, payers: &Payers, less: Usage) {
        for user in &payers.users {
            change(&mut self.users, user, |tally| tally.flying.sub(less));
            if let Some(stranger) = &payers.stranger {
                change(&mut self.strangers, stranger, |tally| tally.flying.sub(less));
            }
        }
        for (owner, jobs) in &payers.owners {
            let less = less.times(*jobs);
            change(&mut self.owners, owner, |tally| tally.flying.sub(less));
        }
    }

    /// One item is stored.
    pub(crate) fn stored(&mut self, user: &UserName, stranger: Option<&Stranger>, bytes: u64) {
        self.add(user, stranger, Usage { bytes, items: 1 });
    }

    /// Items that were stored before.
    pub(crate) fn add(&mut self, user: &UserName, stranger: Option<&Stranger>, more: Usage) {
        entry(&mut self.users, user).stored.add(more);
        if let Some(stranger) = stranger {
            entry(&mut self.strangers, stranger).stored.add(more);
        }
        self.total.add(more);
    }

    /// One item is gone.
    pub(crate) fn removed(&mut self, user: &UserName, stranger: Option<&Stranger>, bytes: u64) {
        let less = Usage { bytes, items: 1 };
        change(&mut self.users, user, |tally| tally.stored.sub(less));
        if let Some(stranger) = stranger {
            change(&mut self.strangers, stranger, |tally| tally.stored.sub(less));
        }
        self.total.sub(less);
    }

    /// Jobs are in the queue.
    pub(crate) fn queue(&mut self, owner: Option<&UserName>, more: Usage) {
        if let Some(owner) = owner {
            entry(&mut self.owners, owner).stored.add(more);
        }
        self.queued.add(more);
    }

    /// One job is gone.
    pub(crate) fn unqueue(&mut self, owner: Option<&UserName>, bytes: u64) {
        let less = Usage { bytes, items: 1 };
        if let Some(owner) = owner {
            change(&mut self.owners, owner, |tally| tally.stored.sub(less));
        }
        self.queued.sub(less);
    }

    /// What a user has stored.
    pub(crate) fn usage(&self, user: &UserName) -> Usage {
        self.users.get(user).map(|tally| tally.stored).unwrap_or_default()
    }

    /// What a local user has in the queue.
    pub(crate) fn queued_by(&self, owner: &UserName) -> Usage {
        self.owners
            .get(owner)
            .map(|tally| tally.stored)
            .unwrap_or_default()
    }

    /// What everybody has stored.
    pub(crate) fn total(&self) -> Usage {
        self.total
    }

    /// What is in the queue.
    pub(crate) fn queued(&self) -> Usage {
        self.queued
    }
}

/// An account that may be new.
fn entry<'a, K: Clone + Eq + std::hash::Hash>(map: &'a mut HashMap<K, Tally>, key: &K) -> &'a mut Tally {
    map.entry(key.clone()).or_default()
}

/// Changes an account, and forgets it when nothing is left: addresses come and go.
fn change<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Tally>, key: &K, how: impl FnOnce(&mut Tally)) {
    if let Some(tally) = map.get_mut(key) {
        how(tally);
        if tally.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            max_file: 100,
            user_bytes: 100,
            user_items: 3,
            min_free: 0,
            stranger_bytes: 50,
            stranger_items: 2,
        }
    }

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn of(bytes: u64, items: u64) -> Usage {
        Usage { bytes, items }
    }

    fn payers(users: &[UserName], stranger: Option<&Stranger>) -> Payers {
        Payers {
            users: users.to_vec(),
            stranger: stranger.cloned(),
            owners: vec![],
        }
    }

    #[test]
    fn what_is_on_its_way_counts_against_the_quota() {
        let mut ledger = Ledger::new(limits());
        let ann = [user("ann")];
        ledger.take(&payers(&ann, None), of(60, 1)).unwrap();
        assert!(matches!(
            ledger.take(&payers(&ann, None), of(41, 1)),
            Err(Error::OverQuota {
                bytes: 60,
                items: 1,
                ..
            })
        ));
        ledger.take(&payers(&ann, None), of(40, 1)).unwrap();
        ledger.give_back(&payers(&ann, None), of(60, 1));
        ledger.take(&payers(&ann, None), of(60, 1)).unwrap();
    }

    #[test]
    fn empty_files_count_as_items() {
        let mut ledger = Ledger::new(limits());
        let ann = [user("ann")];
        for _ in 0..3 {
            ledger.take(&payers(&ann, None), of(0, 1)).unwrap();
        }
        assert!(matches!(
            ledger.take(&payers(&ann, None), of(0, 1)),
            Err(Error::OverQuota { items: 3, .. })
        ));
    }

    #[test]
    fn one_full_inbox_of_two_takes_nothing_from_the_other() {
        let mut ledger = Ledger::new(limits());
        ledger.stored(&user("bob"), None, 100);
        let both = [user("ann"), user("bob")];
        assert!(matches!(
            ledger.take(&payers(&both, None), of(1, 1)),
            Err(Error::OverQuota { .. })
        ));
        ledger.take(&payers(&both[..1], None), of(100, 1)).unwrap();
    }

    #[test]
    fn a_stranger_pays_for_every_recipient() {
        let mut ledger = Ledger::new(limits());
        let far = Stranger::of("192.0.2.1".parse().unwrap());
        let both = [user("ann"), user("bob")];
        ledger.take(&payers(&both, Some(&far)), of(25, 1)).unwrap();
        assert!(matches!(
            ledger.take(&payers(&[user("eve")], Some(&far)), of(0, 1)),
            Err(Error::StrangerQuota { .. })
        ));
        ledger.give_back(&payers(&both, Some(&far)), of(25, 1));
        ledger.stored(&both[0], Some(&far), 25);
        ledger.take(&payers(&both[..1], Some(&far)), of(25, 1)).unwrap();
        ledger.give_back(&payers(&both[..1], Some(&far)), of(25, 1));
        ledger.removed(&both[0], Some(&far), 25);
        assert!(ledger.users.is_empty() && ledger.strangers.is_empty());
        assert_eq!(ledger.total(), Usage::default());
    }

    #[test]
    fn numbers_at_the_end_of_the_range_do_not_wrap() {
        let mut ledger = Ledger::new(Limits {
            user_bytes: u64::MAX,
            ..limits()
        });
        let ann = [user("ann")];
        ledger.take(&payers(&ann, None), of(u64::MAX - 1, 1)).unwrap();
        ledger.take(&payers(&ann, None), of(u64::MAX, 1)).unwrap();
        assert!(matches!(
            ledger.take(
                &payers(&ann, Some(&Stranger::of("::1".parse().unwrap()))),
                of(u64::MAX, 1)
            ),
            Err(Error::StrangerQuota { .. })
        ));
    }

    #[test]
    fn what_waits_in_the_queue_is_counted_apart_from_the_inbox() {
        let mut ledger = Ledger::new(limits());
        let ann = user("ann");
        ledger.stored(&ann, None, 100);
        let jobs = |n| Payers {
            owners: vec![(user("ann"), n)],
            ..Payers::default()
        };
        ledger.take(&jobs(2), of(40, 1)).unwrap();
        assert!(matches!(
            ledger.take(&jobs(1), of(21, 1)),
            Err(Error::QueueQuota {
                bytes: 80,
                items: 2,
                wanted: 21,
                ..
            })
        ));
        assert!(ledger.take(&jobs(2), of(0, 1)).is_err());
        ledger.give_back(&jobs(2), of(40, 1));
        ledger.queue(Some(&ann), of(80, 2));
        ledger.queue(None, of(1_000, 1_000));
        assert_eq!(
            (ledger.queued_by(&ann), ledger.queued()),
            (of(80, 2), of(1_080, 1_002))
        );
        assert_eq!((ledger.usage(&ann), ledger.total()), (of(100, 1), of(100, 1)));
        ledger.unqueue(Some(&ann), 40);
        ledger.unqueue(Some(&ann), 40);
        ledger.unqueue(None, 1_000);
        assert!(ledger.owners.is_empty());
        assert_eq!(ledger.queued(), of(0, 999));
    }
}
