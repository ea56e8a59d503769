//! Giving an item its places: names in inboxes, and in the queue with a job beside it.
//!
//! What has to be there first is made durable first: siblings before their item, in the queue the item before its
//! job. So a crash leaves orphans, which are swept, or a whole item. Nothing here can replace a file: a name that is
//! taken costs a number.
//!
//! What this file does *not* do: write the bytes, count room, or know repeats.

use std::io;
use std::sync::Arc;

use crate::dir::Dir;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::inbox::Inbox;
use crate::index::{JobRow, Row};
use crate::job::{JobFile, Shelf};
use crate::queue::job_name;
use crate::spool::Shared;
use crate::stage::{Account, Payer};
use crate::temporary::Temporary;

/// Names that are found taken before the directory is given up on.
const TAKEN_MAX: u32 = 100_000;

/// Where the bytes of an item are before it has its places.
pub(crate) struct Source<'a> {
    pub(crate) item: (&'a Dir, &'a str),
    pub(crate) wire: Option<(&'a Dir, &'a str)>,
    pub(crate) aux: Option<(&'a Dir, &'a str)>,
    /// The item's present name is temporary: the first inbox's takes its place.
    pub(crate) moves: bool,
}

/// One recipient's place.
struct Place {
    inbox: Arc<Inbox>,
    dir: Arc<Dir>,
    id: SpoolId,
}

/// One job's place.
struct Slot {
    id: SpoolId,
    file: JobFile,
    /// The file of the job, until it has its name.
    written: Option<Temporary>,
}

/// Places that are being filled. Dropped before it is kept, it removes every name that it made.
pub(crate) struct Placing<'a> {
    shared: &'a Shared,
    places: Vec<Place>,
    slots: Vec<Slot>,
    /// Names in inboxes.
    made: Vec<(Arc<Dir>, String)>,
    /// Names in the queue: items and siblings, and the files of jobs.
    queued: Vec<String>,
    jobs: Vec<String>,
    kept: bool,
}

impl Shared {
    /// Gives the source a durable place in every inbox, and in the queue for every job.
    pub(crate) fn place(
        self: &Arc<Self>,
        users: &[UserName],
        jobs: &[JobFile],
        source: &Source<'_>,
    ) -> Result<Placing<'_>, Error> {
        let mut taken = 0;
        loop {
            match self.try_place(users, jobs, source) {
                Err(e) if e.is(io::ErrorKind::AlreadyExists) && taken < TAKEN_MAX => taken += 1,
                other => return other,
            }
        }
    }

    fn try_place(
        self: &Arc<Self>,
        users: &[UserName],
        jobs: &[JobFile],
        source: &Source<'_>,
    ) -> Result<Placing<'_>, Error> {
        let mut placing = Placing {
            shared: self,
            places: Vec::with_capacity(users.len()),
            slots: Vec::with_capacity(jobs.len()),
            made: Vec::new(),
            queued: Vec::new(),
            jobs: Vec::new(),
            kept: false,
        };
        for user in users {
            let inbox = self.inboxes.inbox(user)?;
            let dir = self.inboxes.dir(&inbox)?;
            let id = inbox.numbers.number(&self.disk, &dir)?;
            placing.places.push(Place { inbox, dir, id });
        }
        for file in jobs {
            let id = self.queue.numbers.number(&self.disk, self.queue.items())?;
            placing.slots.push(Slot {
                id,
                file: file.clone(),
                written: None,
            });
        }
        for slot in &mut placing.slots {
            slot.written = Some(self.write_job(&slot.file)?);
        }
        placing.fill(source)?;
        Ok(placing)
    }
}

impl Placing<'_> {
    fn fill(&mut self, source: &Source<'_>) -> Result<(), Error> {
        let siblings = [(source.wire, ".wire"), (source.aux, ".aux")];
        for (from, suffix) in siblings {
            if let Some(from) = from {
                self.link_inboxes(from, suffix, 0)?;
                self.link_queue(from, suffix)?;
            }
        }
        self.link_queue(source.item, "")?;
        if source.wire.is_some() || source.aux.is_some() {
            self.sync_inboxes()?;
        }
        self.sync_queue()?;
        self.link_inboxes(source.item, "", usize::from(source.moves))?;
        if let (true, Some(place)) = (source.moves, self.places.first()) {
            let name = place.id.to_string();
            self.shared.disk.rename(source.item, (&place.dir, &name))?;
            let dir = place.dir.clone();
            self.made.push((dir, name));
        }
        self.name_jobs()?;
        self.sync_inboxes()?;
        self.sync_queue()
    }

    /// Gives every inbox but the first `skip` another name of the same file.
    fn link_inboxes(&mut self, from: (&Dir, &str), suffix: &str, skip: usize) -> Result<(), Error> {
        for place in self.places.iter().skip(skip) {
            let name = format!("{}{suffix}", place.id);
            self.shared.disk.link(from, (&place.dir, &name))?;
            self.made.push((place.dir.clone(), name));
        }
        Ok(())
    }

    /// The same in the queue.
    fn link_queue(&mut self, from: (&Dir, &str), suffix: &str) -> Result<(), Error> {
        for slot in &self.slots {
            let name = format!("{}{suffix}", slot.id);
            self.shared.disk.link(from, (self.shared.queue.items(), &name))?;
            self.queued.push(name);
        }
        Ok(())
    }

    /// Renames the files of the jobs into the queue.
    fn name_jobs(&mut self) -> Result<(), Error> {
        let shared = self.shared;
        for slot in &mut self.slots {
            let Some(mut written) = slot.written.take() else {
                continue;
            };
            let name = job_name(slot.id);
            let to = (shared.queue.items(), name.as_str());
            shared.disk.rename((&shared.tmp, &written.name), to)?;
            written.placed = true;
            self.jobs.push(name);
        }
        Ok(())
    }

    fn sync_inboxes(&self) -> Result<(), Error> {
        for Place { inbox, dir, .. } in &self.places {
            inbox.group.sync(|| self.shared.disk.sync_dir(dir))?;
        }
        Ok(())
    }

    fn sync_queue(&self) -> Result<(), Error> {
        match self.slots.is_empty() {
            true => Ok(()),
            false => self.shared.queue.sync(&self.shared.disk, Shelf::Queue),
        }
    }

    /// The item is durable: it is counted, listed, and may be seen. Its numbers in the inboxes, and of its jobs.
    pub(crate) fn keep(mut self, account: &Account, envelope: &Envelope) -> (Vec<SpoolId>, Vec<SpoolId>) {
        self.kept = true;
        let places = self.places.iter();
        let rows: Vec<Row> = places
            .map(|place| Row::of(&place.inbox.user, place.id, envelope))
            .collect();
        let slots = self.slots.iter();
        let jobs: Vec<JobRow> = slots
            .map(|slot| JobRow::of(slot.id, Shelf::Queue, slot.file.clone(), envelope))
            .collect();
        let users = rows.iter().map(|row| {
            (
                Payer::User(row.user.clone(), row.facts.stranger.clone()),
                row.facts.charged,
            )
        });
        let owners = jobs
            .iter()
            .map(|row| (Payer::Owner(row.job.owner.clone()), row.charged));
        account.settle(&users.chain(owners).collect::<Vec<_>>());
        rows.into_iter().for_each(|row| self.shared.index.put(row));
        if !jobs.is_empty() {
            self.shared.index.put_jobs(&jobs);
        }
        let ids = self.places.iter().map(|place| place.id).collect();
        (ids, jobs.into_iter().map(|row| row.id).collect())
    }

    /// Removes the names in the queue: the jobs, durably, before their items. Where that cannot be, a job that is
    /// whole is there at the next start, or an item without a job, which is swept.
    fn leave_queue(&self) {
        let queue = &self.shared.queue;
        let gone = |name: &String| self.shared.disk.unlink(queue.items(), name);
        let left = self.jobs.iter().rev().try_for_each(gone);
        let left = left.and_then(|()| match self.jobs.is_empty() {
            true => Ok(()),
            false => queue.sync(&self.shared.disk, Shelf::Queue),
        });
        if left.is_ok() {
            for name in self.queued.iter().rev() {
                let _ = gone(name);
            }
        }
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Backwards: the item goes before its siblings. What cannot be removed is an orphan, or becomes an item
            // at the next start; it is whole either way.
            for (dir, name) in self.made.iter().rev() {
                let _ = self.shared.disk.unlink(dir, name);
            }
            self.leave_queue();
        }
        for place in &self.places {
            place.inbox.numbers.publish(place.id);
        }
        for slot in &self.slots {
            self.shared.queue.numbers.publish(slot.id);
        }
    }
}
