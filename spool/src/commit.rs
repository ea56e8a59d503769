//! A file becomes an item: the commit of a delivery, and what is linked from one place in the spool to another.
//!
//! A delivery has three moments. Its forms are written to `tmp/` and synced; a crash leaves temporary files, which are
//! swept. Its siblings get their names, durably, and so does what is to be queued; a crash leaves orphans, which are
//! swept. Its item is renamed to its place, or its job is, and the directory is synced: from the rename on it may
//! survive a crash, from the sync on it does, and only then is it acknowledged.
//!
//! What this file does *not* do: give names (`place.rs`), count room (that is the account's), convert, or decide who a
//! recipient is.

use std::io;

use crate::dir::Dir;
use crate::envelope::{Envelope, Facts, Measure, Origin};
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::job::{Job, JobFile};
use crate::ledger::Payers;
use crate::place::Source;
use crate::seen::{Key, Sent, job_key, key};
use crate::spool::{Shared, Spool, unique};
use crate::stage::{Account, Reservation, Staged};
use crate::trailer;

/// A file that has arrived, and who it is for.
#[derive(Debug)]
pub struct Delivery {
    /// Inboxes; all of them have room reserved.
    pub to: Vec<UserName>,
    /// What goes on to other nodes: one job for each address, all of them with room reserved. Not both empty.
    pub jobs: Vec<Job>,
    /// The room.
    pub reservation: Reservation,
    /// What the recipient gets.
    pub local: Staged,
    /// What was sent, if it is to be kept; `None` when it is the local form, or can be made from it.
    pub wire: Option<Staged>,
    /// Length and digest of what was sent.
    pub wire_measure: Measure,
    /// The second fork.
    pub aux: Option<Staged>,
    /// The rest of the envelope.
    pub facts: Facts,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is stored, durably (some of the recipients may have had it before).
    Stored(Placed),
    /// Every recipient has had it before: the same transfer id, sender and bytes.
    Repeat(Placed),
}

/// Where a delivery is, or was: one entry for each recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// The numbers in the inboxes.
    pub inbox: Vec<(UserName, SpoolId)>,
    /// The numbers in the queue, in the order of the jobs; of two jobs with the same address the first one counts.
    pub queue: Vec<SpoolId>,
}

/// The recipients of one delivery, and which of them have had it before.
struct Recipients {
    users: Vec<(UserName, Option<Key>, Option<SpoolId>)>,
    jobs: Vec<(JobFile, Option<SpoolId>)>,
}

impl Recipients {
    /// Everybody once; nobody is known to have had it.
    fn new(to: &[UserName], jobs: Vec<Job>, sent: Sent<'_>) -> Recipients {
        let users = unique(to).into_iter().map(|user| {
            let key = key(sent, &user);
            (user, key, None)
        });
        let mut recipients = Recipients {
            users: users.collect(),
            jobs: Vec::with_capacity(jobs.len()),
        };
        for job in jobs {
            let same = |(other, _): &(JobFile, _)| other.job.to == job.to && other.job.place == job.place;
            if !recipients.jobs.iter().any(same) {
                let key = job_key(sent, &job);
                recipients.jobs.push((JobFile::new(job, key), None));
            }
        }
        recipients
    }

    fn keys(&self) -> Vec<Key> {
        let users = self.users.iter().filter_map(|(_, key, _)| *key);
        users
            .chain(self.jobs.iter().filter_map(|(file, _)| file.key))
            .collect()
    }

    /// Asks for each whether it has had this transfer.
    fn look_back(&mut self, shared: &Shared) -> Result<(), Error> {
        for (user, key, had) in &mut self.users {
            *had = key.map_or(Ok(None), |key| shared.delivered(user, &key))?;
        }
        for (file, had) in &mut self.jobs {
            *had = file.key.map_or(Ok(None), |key| shared.queued_before(&key))?;
        }
        Ok(())
    }

    fn missing(&self) -> (Vec<UserName>, Vec<JobFile>) {
        let users = self.users.iter().filter(|(.., had)| had.is_none());
        let jobs = self.jobs.iter().filter(|(_, had)| had.is_none());
        (
            users.map(|(user, ..)| user.clone()).collect(),
            jobs.map(|(file, _)| file.clone()).collect(),
        )
    }

    /// The numbers of all, given those of the missing ones.
    fn placed(self, users: Vec<SpoolId>, jobs: Vec<SpoolId>) -> Placed {
        let (mut users, mut jobs) = (users.into_iter(), jobs.into_iter());
        let inbox = self
            .users
            .into_iter()
            .filter_map(|(user, _, had)| Some((user, had.or_else(|| users.next())?)));
        let queue = self
            .jobs
            .into_iter()
            .filter_map(|(_, had)| had.or_else(|| jobs.next()));
        Placed {
            inbox: inbox.collect(),
            queue: queue.collect(),
        }
    }
}

impl Spool {
    /// Stores a delivery: durable, for every recipient, when this returns `Ok`. When it does not, nothing of it can be
    /// seen (after a crash: nothing, or a whole item).
    ///
    /// # Errors
    /// [`Error::Poisoned`], quotas and room as in [`Spool::reserve`], or what the disk says.
    pub fn commit(&self, delivery: Delivery) -> Result<Committed, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let Delivery {
            to,
            jobs,
            reservation,
            mut local,
            mut wire,
            wire_measure,
            aux,
            facts,
        } = delivery;
        // Stored, refused or a repeat: the sender has an answer, and nothing is left to go on with.
        local.forgo();
        wire.iter_mut().for_each(Staged::forgo);
        reservation.covers(&to, &jobs)?;
        let envelope = Envelope {
            version: trailer::ENVELOPE_VERSION,
            facts,
            local: local.measure(),
            wire: wire.as_ref().map_or(wire_measure, Staged::measure),
            wire_kept: wire.is_some(),
            aux: aux.as_ref().map(Staged::measure),
        };
        let mut recipients = Recipients::new(&to, jobs, Sent::from(&envelope));
        let _held = shared.keys.hold(recipients.keys());
        recipients.look_back(shared)?;
        let (users, jobs) = recipients.missing();
        if users.is_empty() && jobs.is_empty() {
            return Ok(Committed::Repeat(recipients.placed(vec![], vec![])));
        }
        reservation.account.at_least(envelope.charge())?;
        let mut end = Vec::with_capacity(1024);
        trailer::append(&envelope, &mut end).map_err(|bytes| Error::EnvelopeTooLong { bytes })?;
        let wire = wire.map(|wire| wire.finish(&[])).transpose()?;
        let aux = aux.map(|aux| aux.finish(&[])).transpose()?;
        let mut item = local.finish(&end)?;
        let source = Source {
            item: (item.dir(), &item.name),
            wire: wire.as_ref().map(|file| (file.dir(), file.name.as_str())),
            aux: aux.as_ref().map(|file| (file.dir(), file.name.as_str())),
            moves: !users.is_empty(),
        };
        let placing = shared.place(&users, &jobs, &source)?;
        item.placed = !users.is_empty();
        let (users, jobs) = placing.keep(&reservation.account, &envelope);
        Ok(Committed::Stored(recipients.placed(users, jobs)))
    }

    /// What a transfer became, when every recipient has had it: what a commit of the same transfer id, origin and bytes
    /// would be told. Waits for such a commit that is under way.
    ///
    /// # Errors
    /// What the disk says, when the index could not tell and the directory had to.
    pub fn delivered(
        &self,
        to: &[UserName],
        jobs: Vec<Job>,
        origin: &Origin,
        xid: &str,
        wire: &blake3::Hash,
    ) -> Result<Option<Placed>, Error> {
        let shared = &self.shared;
        let xid = Some(xid);
        let mut recipients = Recipients::new(to, jobs, Sent { xid, origin, wire });
        let _held = shared.keys.hold(recipients.keys());
        recipients.look_back(shared)?;
        let (users, jobs) = recipients.missing();
        let had = users.is_empty() && jobs.is_empty() && !recipients.keys().is_empty();
        Ok(had.then(|| recipients.placed(vec![], vec![])))
    }

    /// Puts an item into another inbox as well: the same bytes under a second name, durable when this returns.
    ///
    /// # Errors
    /// [`Error::NoSuchItem`], [`Error::Damaged`], [`Error::OverQuota`] of `to`, [`Error::Poisoned`], or what the
    /// disk says.
    pub fn link(&self, user: &UserName, id: SpoolId, to: &UserName) -> Result<SpoolId, Error> {
        // The sender's quota was asked when the file came; a forward is the recipient's doing.
        let payers = Payers {
            users: vec![to.clone()],
            ..Payers::default()
        };
        let (stored, _) = self.forward(user, id, payers, |_| None)?;
        stored.first().copied().ok_or(Error::NotReserved(None))
    }

    /// Puts an item of an inbox into the queue as well: the same bytes under a second name, durable when this returns.
    ///
    /// It is a new transfer and wants a transfer id of its own in the job: with one, the same call again is known as a
    /// repeat; without one it is not, and goes out under the id of the item, if that has any.
    ///
    /// # Errors
    /// [`Error::NoSuchItem`], [`Error::Damaged`], [`Error::QueueQuota`] of the job's owner, [`Error::Poisoned`], or
    /// what the disk says.
    pub fn link_job(&self, user: &UserName, id: SpoolId, job: Job) -> Result<SpoolId, Error> {
        let payers = Payers {
            owners: job.owner.iter().map(|owner| (owner.clone(), 1)).collect(),
            ..Payers::default()
        };
        let (_, queued) = self.forward(user, id, payers, |envelope| {
            let key = job.xid.as_ref().and_then(|_| job_key(envelope, &job));
            Some(JobFile::new(job, key))
        })?;
        queued.first().copied().ok_or(Error::NotReserved(None))
    }

    /// Gives an item of an inbox second names in other inboxes, or in the queue.
    fn forward(
        &self,
        user: &UserName,
        id: SpoolId,
        payers: Payers,
        job: impl FnOnce(&Envelope) -> Option<JobFile>,
    ) -> Result<(Vec<SpoolId>, Vec<SpoolId>), Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let (dir, _) = shared.locate(user, id)?;
        let (_, envelope) = shared.read(&dir, user, id)?;
        let job = job(&envelope);
        let key = job.as_ref().and_then(|file| file.key);
        let _held = shared.keys.hold(key.into_iter().collect());
        if let Some(had) = key.map_or(Ok(None), |key| shared.queued_before(&key))? {
            return Ok((vec![], vec![had]));
        }
        let users = payers.users.clone();
        let account = Account::open(shared.clone(), payers)?;
        account.at_least(envelope.charge())?;
        let names = Names::of(id);
        let placing = shared.place(&users, job.as_slice(), &names.source(&dir, &envelope));
        let placing = placing.map_err(|e| match e.is(io::ErrorKind::NotFound) && !dir.has(&names.item) {
            true => Error::NoSuchItem {
                user: user.clone(),
                id,
            },
            false => e,
        })?;
        Ok(placing.keep(&account, &envelope))
    }

    /// Ends a job whose destination turned out to be this host: its item gets second names in these inboxes, with the
    /// form that it has, and then the job is gone. Who has had the same transfer keeps what he has.
    ///
    /// After a crash, or an error, the same call finishes what is left, and nobody has the item twice.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], [`Error::Damaged`], [`Error::OverQuota`] of a recipient, [`Error::Poisoned`],
    /// [`Error::NotReserved`] without any, or what the disk says.
    pub fn deliver_job(&self, id: SpoolId, to: &[UserName]) -> Result<Vec<(UserName, SpoolId)>, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let _busy = shared.queue.busy.hold(vec![id]);
        shared.find_job(id)?;
        let (_, envelope) = shared.read_queued(id)?;
        let mut recipients = Recipients::new(to, vec![], Sent::from(&envelope));
        if recipients.users.is_empty() {
            return Err(Error::NotReserved(None));
        }
        let _held = shared.keys.hold(recipients.keys());
        recipients.look_back(shared)?;
        let names = Names::of(id);
        for (user, _, had) in recipients.users.iter_mut().filter(|(_, key, _)| key.is_none()) {
            *had = self.same_file(user, &names.item)?;
        }
        let (users, _) = recipients.missing();
        let mut stored = Vec::new();
        if !users.is_empty() {
            let payers = Payers {
                users: users.clone(),
                ..Payers::default()
            };
            let account = Account::open(shared.clone(), payers)?;
            account.at_least(envelope.charge())?;
            let placing = shared.place(&users, &[], &names.source(shared.queue.items(), &envelope));
            let placing = placing.map_err(|e| match e.is(io::ErrorKind::NotFound) {
                true => shared.lacking(id, "it lacks a sibling"),
                false => e,
            })?;
            (stored, _) = placing.keep(&account, &envelope);
        }
        shared.end_job(id)?;
        Ok(recipients.placed(stored, vec![]).inbox)
    }

    /// The item of a user that is a second name of a queued one: how a transfer without an id is known.
    fn same_file(&self, user: &UserName, queued: &str) -> Result<Option<SpoolId>, Error> {
        let shared = &self.shared;
        let wanted = shared.queue.items().inode(queued);
        let Some(inbox) = shared.inboxes.existing(user).filter(|_| wanted.is_some()) else {
            return Ok(None);
        };
        let dir = shared.inboxes.dir(&inbox)?;
        let same = |id: &SpoolId| dir.inode(&id.to_string()) == wanted;
        Ok(self.list(user)?.into_iter().map(|item| item.id).find(same))
    }
}

impl Reservation {
    /// Whether a delivery asks for no more than was promised.
    fn covers(&self, to: &[UserName], jobs: &[Job]) -> Result<(), Error> {
        if to.is_empty() && jobs.is_empty() {
            return Err(Error::NotReserved(None));
        }
        if let Some(stranger) = to.iter().find(|user| !self.users().contains(user)) {
            return Err(Error::NotReserved(Some(stranger.clone())));
        }
        for job in jobs {
            let asked = jobs.iter().filter(|other| other.owner == job.owner).count();
            let promised = self.jobs.iter().filter(|owner| **owner == job.owner).count();
            if asked > promised {
                return Err(Error::NotReserved(job.owner.clone()));
            }
        }
        Ok(())
    }
}

/// The names of an item and its siblings.
struct Names {
    item: String,
    wire: String,
    aux: String,
}

impl Names {
    fn of(id: SpoolId) -> Names {
        Names {
            item: id.to_string(),
            wire: format!("{id}.wire"),
            aux: format!("{id}.aux"),
        }
    }

    /// An item that keeps the names it has.
    fn source<'a>(&'a self, dir: &'a Dir, envelope: &Envelope) -> Source<'a> {
        Source {
            item: (dir, &self.item),
            wire: envelope.wire_kept.then_some((dir, self.wire.as_str())),
            aux: envelope.aux.map(|_| (dir, self.aux.as_str())),
            moves: false,
        }
    }
}
