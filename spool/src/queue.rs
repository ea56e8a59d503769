//! The queue: what waits to go on to another node, and everything that is done with it but putting it there.
//!
//! A job lies where its state is: its file is in `queue/` (to be sent), `queue/held/` or `failed/`, its item always in
//! `queue/`. A change writes a new file of the job, synced, and renames it into its place. When that is another
//! directory, the old file goes only after the new one is durable there: a crash in between leaves both, never
//! neither, and the one with the higher number of changes is right.
//!
//! What this file does *not* do: choose what is sent when, talk to peers, or put items into the queue (`commit.rs`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::busy::Busy;
use crate::dir::Dir;
use crate::disk::{Disk, lock};
use crate::envelope::Envelope;
use crate::error::Error;
use crate::group::Group;
use crate::id::{SpoolId, UserName};
use crate::index::JobRow;
use crate::job::{Chapter, JOB_MAX, Job, JobFile, JobSummary, Progress, QueuedItem, Shelf, State};
use crate::ledger::Usage;
use crate::numbers::{Next, Numbers};
use crate::seen::{Entry, Key};
use crate::spool::{Content, Form, Shared, Spool, item_name, now, open_form, read_item};
use crate::temporary::Temporary;

/// The directories of the queue, its numbers, and who is changing which job.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) numbers: Numbers,
    pub(crate) busy: Busy<SpoolId>,
    queue: (Dir, Group),
    held: (Dir, Group),
    failed: (Dir, Group),
}

impl Queue {
    /// The queue of a spool whose directories are there.
    pub(crate) fn new(root: &Dir, start: Next) -> Result<Queue, Error> {
        let queue = root.sub("queue")?;
        let held = queue.sub("held")?;
        Ok(Queue {
            numbers: Numbers::new(start),
            busy: Busy::default(),
            queue: (queue, Group::default()),
            held: (held, Group::default()),
            failed: (root.sub("failed")?, Group::default()),
        })
    }

    fn shelf(&self, shelf: Shelf) -> &(Dir, Group) {
        match shelf {
            Shelf::Queue => &self.queue,
            Shelf::Held => &self.held,
            Shelf::Failed => &self.failed,
        }
    }

    /// Where the files of jobs in this state are.
    pub(crate) fn dir(&self, shelf: Shelf) -> &Dir {
        &self.shelf(shelf).0
    }

    /// Where the items are, whatever the state of their jobs.
    pub(crate) fn items(&self) -> &Dir {
        &self.queue.0
    }

    /// Makes the names in a directory of the queue durable, together with whoever else needs that.
    pub(crate) fn sync(&self, disk: &Disk, shelf: Shelf) -> Result<(), Error> {
        let (dir, group) = self.shelf(shelf);
        group.sync(|| disk.sync_dir(dir))
    }

    /// Writes the exact next number at an orderly stop.
    pub(crate) fn close(&self, disk: &Disk) -> Result<(), Error> {
        if self.numbers.in_use() {
            self.numbers.close(disk, self.items())?;
        }
        Ok(())
    }
}

/// The name of a job's file.
pub(crate) fn job_name(id: SpoolId) -> String {
    format!("{id}.job")
}

/// Reads the file of a job.
pub(crate) fn read_job(dir: &Dir, id: SpoolId) -> Result<JobFile, Error> {
    let name = job_name(id);
    let (file, len) = dir.read(&name)?;
    let path = || dir.path.join(&name);
    if len > JOB_MAX {
        return Err(Error::damaged(path(), format!("a job of {len} bytes")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    file.take(JOB_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", path(), e))?;
    JobFile::parse(&bytes).map_err(|reason| Error::damaged(path(), reason))
}

impl Spool {
    /// Every job, by number.
    ///
    /// # Errors
    /// What the disk says, when the index could not tell and the directories had to.
    pub fn jobs(&self) -> Result<Vec<JobSummary>, Error> {
        if let Some(jobs) = self.shared.index.jobs() {
            return Ok(jobs);
        }
        let mut rows = self.shared.repaired_jobs()?;
        rows.sort_unstable_by_key(|row| row.id);
        Ok(rows.into_iter().map(JobRow::summary).collect())
    }

    /// Some of the jobs, by number: those above `after`, none when there are no more. So a long queue can be gone through in
    /// little memory.
    ///
    /// # Errors
    /// As [`Spool::jobs`].
    pub fn jobs_after(&self, after: Option<SpoolId>) -> Result<Vec<JobSummary>, Error> {
        let after = after.map_or(0, SpoolId::get);
        if let Some(page) = self.shared.index.jobs_after(after) {
            return Ok(page);
        }
        let mut jobs = self.jobs()?;
        jobs.retain(|job| job.id.get() > after);
        Ok(jobs)
    }

    /// Where each job is by the names in the directories, which is all that is looked at: [`State::Deferred`] is not
    /// told from [`State::Ready`]. For whoever wants to know whether something was moved by hand.
    ///
    /// # Errors
    /// What the disk says.
    pub fn job_states(&self) -> Result<Vec<(SpoolId, State)>, Error> {
        let queue = &self.shared.queue;
        let mut states = Vec::new();
        for shelf in Shelf::ALL {
            for (name, _) in queue.dir(shelf).entries()? {
                let name = std::str::from_utf8(&name).unwrap_or_default();
                let id = name.strip_suffix(".job").and_then(item_name);
                if let Some(id) = id.filter(|id| !queue.numbers.is_hidden(*id)) {
                    states.push((id, shelf.state(&Progress::default())));
                }
            }
        }
        Ok(states)
    }

    /// Reads every job file and puts the index right, after something was moved by hand.
    ///
    /// # Errors
    /// What the disk says.
    pub fn relearn_jobs(&self) -> Result<(), Error> {
        self.shared.repaired_jobs().map(drop)
    }

    /// One job and the envelope of its item.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], [`Error::Damaged`], or what the disk says.
    pub fn job(&self, id: SpoolId) -> Result<QueuedItem, Error> {
        let shared = &self.shared;
        let (shelf, file) = shared.find_job(id)?;
        let (_, envelope) = shared.read_queued(id)?;
        let progress = shared.index.job(id).map(|row| row.progress).unwrap_or_default();
        Ok(QueuedItem {
            id,
            state: shelf.state(&progress),
            job: file.job,
            envelope,
            progress,
        })
    }

    /// The same for a job whose file was seen to appear: it can be seen a moment before it is durable, and until then it
    /// is not there for anybody. Waits for that.
    ///
    /// # Errors
    /// As [`Spool::job`].
    pub fn settled_job(&self, id: SpoolId) -> Result<QueuedItem, Error> {
        self.shared.queue.numbers.settle(id);
        self.job(id)
    }

    /// The bytes of a job's item.
    ///
    /// # Errors
    /// As [`Spool::job`], and [`Error::NotKept`] when the form is not there to be opened.
    pub fn open_job(&self, id: SpoolId, form: Form) -> Result<Content, Error> {
        let shared = &self.shared;
        shared.find_job(id)?;
        let (file, envelope) = shared.read_queued(id)?;
        open_form(shared.queue.items(), (None, id), file, &envelope, form).map_err(|e| {
            match e.is(io::ErrorKind::NotFound) {
                true => shared.lacking(id, "it lacks a sibling"),
                false => e,
            }
        })
    }

    /// Sets a job aside until it is released.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], [`Error::Damaged`], [`Error::Poisoned`], or what the disk says: then the job is as it
    /// was, and after a crash as it was or as it was to be.
    pub fn hold(&self, id: SpoolId, why: &str) -> Result<(), Error> {
        self.shared
            .change_job(id, Some(Shelf::Held), false, |job| job.why = Some(why.to_owned()))
    }

    /// Gives a job up; it is kept.
    ///
    /// # Errors
    /// As [`Spool::hold`].
    pub fn fail(&self, id: SpoolId, why: &str) -> Result<(), Error> {
        self.shared.change_job(id, Some(Shelf::Failed), false, |job| {
            job.why = Some(why.to_owned())
        })
    }

    /// Makes a held or failed job ready again, as if it had been queued now; what was tried of it is forgotten.
    ///
    /// # Errors
    /// As [`Spool::hold`].
    pub fn release(&self, id: SpoolId) -> Result<(), Error> {
        self.shared.change_job(id, Some(Shelf::Queue), true, |job| {
            job.why = None;
            job.queued = now();
        })
    }

    /// Gives a job another address; what was tried of it is forgotten. It stays held or failed if it is. A repeat of
    /// its transfer to the old address is still known as one.
    ///
    /// # Errors
    /// As [`Spool::hold`].
    pub fn reroute(&self, id: SpoolId, to: &str, place: &str) -> Result<(), Error> {
        self.shared.change_job(id, None, true, |job| {
            job.to = to.to_owned();
            job.place = place.to_owned();
        })
    }

    /// Ends a job: the next hop has it, or nobody wants it any more. It is gone for good when this returns, unless an
    /// fsync has failed before: then a crash may bring it back.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or what the disk says: then the job is as it was.
    pub fn finish(&self, id: SpoolId) -> Result<(), Error> {
        let _busy = self.shared.queue.busy.hold(vec![id]);
        self.shared.end_job(id)
    }

    /// Remembers what was tried, of all these jobs in one transaction. It may be lost by a crash.
    ///
    /// # Errors
    /// What the index says.
    pub fn note_progress(&self, noted: &[(SpoolId, Progress)]) -> Result<(), Error> {
        self.shared.index.note_progress(noted)
    }

    /// What happened to a job, from its beginning; known for seven days after its end.
    ///
    /// # Errors
    /// What the index says.
    pub fn story(&self, id: SpoolId) -> Result<Vec<Chapter>, Error> {
        self.shared.index.story(id)
    }

    /// A job that has left the queue, as it was then: known as long as its story.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], or what the index says.
    pub fn ended_job(&self, id: SpoolId) -> Result<JobSummary, Error> {
        self.shared.index.ended_job(id)?.ok_or(Error::NoSuchJob(id))
    }

    /// Adds a chapter to the story of a job: of more than 50 the first and the latest are kept, and of each its first
    /// 1000 characters. A story may be lost by a crash, and is lost with the index.
    ///
    /// # Errors
    /// What the index says.
    pub fn tell_story(&self, id: SpoolId, at: i64, text: &str) -> Result<(), Error> {
        let text = text.to_owned();
        self.shared.index.tell_story(id, &Chapter { at, text })
    }

    /// What a local user has in the queue.
    pub fn queue_usage(&self, owner: &UserName) -> Usage {
        lock(&self.shared.ledger).queued_by(owner)
    }
}

impl Shared {
    /// Where a job lies, and what its file says.
    pub(crate) fn find_job(&self, id: SpoolId) -> Result<(Shelf, JobFile), Error> {
        if self.queue.numbers.is_hidden(id) {
            return Err(Error::NoSuchJob(id));
        }
        // Twice: a job may move to a directory that was looked at already.
        for shelf in Shelf::ALL.into_iter().chain(Shelf::ALL) {
            match read_job(self.queue.dir(shelf), id) {
                Ok(file) => return Ok((shelf, file)),
                Err(e) if e.is(io::ErrorKind::NotFound) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::NoSuchJob(id))
    }

    fn is_job(&self, id: SpoolId) -> bool {
        let name = job_name(id);
        let mut shelves = Shelf::ALL.into_iter().chain(Shelf::ALL);
        !self.queue.numbers.is_hidden(id) && shelves.any(|shelf| self.queue.dir(shelf).has(&name))
    }

    /// Opens the item of a job and reads its trailer.
    pub(crate) fn read_queued(&self, id: SpoolId) -> Result<(File, Envelope), Error> {
        read_item(self.queue.items(), &id.to_string()).map_err(|e| match e.is(io::ErrorKind::NotFound) {
            true => self.lacking(id, "its item is missing"),
            false => e,
        })
    }

    /// A file of a job is not there: the job is gone, or it is damaged.
    pub(crate) fn lacking(&self, id: SpoolId, reason: &str) -> Error {
        if self.is_job(id) {
            Error::damaged(self.queue.items().path.join(job_name(id)), reason)
        } else {
            Error::NoSuchJob(id)
        }
    }

    /// The file of a job, written and synced, without its name.
    pub(crate) fn write_job(self: &Arc<Self>, file: &JobFile) -> Result<Temporary, Error> {
        let bytes = file.bytes().ok_or(Error::JobTooLong)?;
        let temporary = Temporary::create(self)?;
        self.disk.write_at(&temporary.handle, &bytes, 0)?;
        self.disk.sync(&temporary.handle)?;
        Ok(temporary)
    }

    /// Writes a job anew, in the directory where it is or in another one. `afresh`: nothing of it was tried.
    fn change_job(
        self: &Arc<Self>,
        id: SpoolId,
        to: Option<Shelf>,
        afresh: bool,
        change: impl FnOnce(&mut Job),
    ) -> Result<(), Error> {
        self.disk.healthy()?;
        let _busy = self.queue.busy.hold(vec![id]);
        let (from, mut file) = self.find_job(id)?;
        let to = to.unwrap_or(from);
        change(&mut file.job);
        file.change = file.change.saturating_add(1);
        let mut temporary = self.write_job(&file)?;
        let name = job_name(id);
        self.disk
            .replace((&self.tmp, &temporary.name), (self.queue.dir(to), &name))?;
        temporary.placed = true;
        if to != from {
            self.move_on(&name, from, to)?;
        }
        let synced = self.queue.sync(&self.disk, from);
        self.index.change_job(id, to, &file.job, afresh);
        synced
    }

    /// The new file of a job is in its directory: makes it durable there, and takes the old one away.
    fn move_on(&self, name: &str, from: Shelf, to: Shelf) -> Result<(), Error> {
        let synced = self.queue.sync(&self.disk, to);
        let moved = synced.and_then(|()| self.disk.unlink(self.queue.dir(from), name));
        moved.inspect_err(|_| {
            // What cannot be removed is told from the old file by its number of changes, at the next start.
            let undone = self.disk.unlink(self.queue.dir(to), name);
            let _ = undone.and_then(|()| self.queue.sync(&self.disk, to));
        })
    }

    /// Ends a job, which nobody else is changing.
    ///
    /// As with an item of an inbox, its key is durable before it goes, and it goes before the bytes. Whatever
    /// directory has a file of it loses that: a change that failed half-way may have left two.
    pub(crate) fn end_job(&self, id: SpoolId) -> Result<(), Error> {
        let file = match self.find_job(id) {
            Ok((_, file)) => Some(file),
            Err(Error::Damaged { .. }) => None,
            Err(e) => return Err(e),
        };
        let (owner, key, charged) = self.worth(id, file);
        let time = now();
        // This must work on a full disk: at worst a repeat is not known after a crash.
        let entry = key.map(|key| Entry {
            key,
            id: id.get(),
            time,
        });
        let _ = self.seen.append(&self.disk, &self.root, entry.as_slice());
        let name = job_name(id);
        let mut touched = Vec::new();
        for shelf in Shelf::ALL {
            let dir = self.queue.dir(shelf);
            if dir.has(&name) {
                self.disk.unlink(dir, &name)?;
                touched.push(shelf);
            }
        }
        self.index.end_job(id, time);
        lock(&self.ledger).unqueue(owner.as_ref(), charged);
        // As far as anybody can see the job is gone; a failure here poisons, and that is reported there. Then the
        // item stays, for a job that a crash may bring back.
        let synced = touched
            .into_iter()
            .try_for_each(|shelf| self.queue.sync(&self.disk, shelf));
        if synced.is_ok() {
            for suffix in ["", ".wire", ".aux"] {
                let name = format!("{id}{suffix}");
                if self.queue.items().has(&name) {
                    let _ = self.disk.unlink(self.queue.items(), &name);
                }
            }
        }
        Ok(())
    }

    /// Whose a job is, what its repeats are known by, and what it counts for; from the index, else from its files.
    fn worth(&self, id: SpoolId, file: Option<JobFile>) -> (Option<UserName>, Option<Key>, u64) {
        let row = self.index.job(id).filter(|_| !self.index.jobs_are_stale());
        let charged = match &row {
            Some(row) => row.charged,
            None => self.read_queued(id).map_or(0, |(_, envelope)| envelope.charge()),
        };
        match (file, row) {
            (Some(file), _) => (file.job.owner, file.key, charged),
            (None, Some(row)) => (row.job.owner, row.key, charged),
            (None, None) => (None, None, charged),
        }
    }

    /// The job that this transfer became, if it was queued before.
    pub(crate) fn queued_before(&self, key: &Key) -> Result<Option<SpoolId>, Error> {
        let known = match self.index.jobs_are_stale() {
            true => None,
            false => self.index.jobs_with_key(key).ok(),
        };
        let live = match known {
            Some(live) => live,
            // Not what the index says afterwards: there may have been no room to correct it.
            None => {
                let rows = self.repaired_jobs()?.into_iter();
                rows.filter(|row| row.key == Some(*key))
                    .map(|row| row.id)
                    .collect()
            }
        };
        if let Some(id) = live.into_iter().find(|id| self.is_job(*id)) {
            return Ok(Some(id));
        }
        Ok(self.seen.find(key).and_then(SpoolId::new))
    }

    /// Compares the index with the directories of the queue, and gives what is right.
    pub(crate) fn repaired_jobs(&self) -> Result<Vec<JobRow>, Error> {
        self.index.repair_jobs(|mut held| {
            let mut right = Vec::new();
            for (id, (shelf, file)) in self.job_files()? {
                match held.remove(&id) {
                    Some(row) => right.push(JobRow {
                        shelf,
                        job: file.job,
                        key: file.key,
                        ..row
                    }),
                    None => {
                        if let Ok((_, envelope)) = read_item(self.queue.items(), &id.to_string()) {
                            right.push(JobRow::of(id, shelf, file, &envelope));
                        }
                    }
                }
            }
            Ok(right)
        })
    }

    /// Every job that can be read; of two files the newer one.
    fn job_files(&self) -> Result<HashMap<SpoolId, (Shelf, JobFile)>, Error> {
        let mut found: HashMap<SpoolId, (Shelf, JobFile)> = HashMap::new();
        for shelf in Shelf::ALL {
            let dir = self.queue.dir(shelf);
            for (name, _) in dir.entries()? {
                let text = std::str::from_utf8(&name).ok();
                let id = text
                    .and_then(|text| text.strip_suffix(".job"))
                    .and_then(item_name)
                    .filter(|id| !self.queue.numbers.is_hidden(*id));
                let read = id.and_then(|id| Some((id, read_job(dir, id).ok()?)));
                if let Some((id, file)) = read {
                    let newer = found.get(&id).is_none_or(|(_, other)| other.change < file.change);
                    if newer {
                        found.insert(id, (shelf, file));
                    }
                }
            }
        }
        Ok(found)
    }
}
