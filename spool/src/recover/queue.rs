//! Putting the queue right when a spool is opened.
//!
//! A job is a file in one of three directories and an item in `queue/`. An item without a job was never promised to
//! anybody, or has gone on, and is deleted; unless the index knows of a job that has not gone on. Of two files of one job, which a crash in the middle of a change has left,
//! the newer one is right. What is damaged is moved to `corrupt/` with all that belongs to it.
//!
//! After an orderly stop the index knows what the files of jobs say and only their places are compared; else each of
//! them is read. What this file does *not* do: read the bytes of items, or try anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Opening;
use crate::dir::Kind;
use crate::error::Error;
use crate::id::SpoolId;
use crate::index::{Index, JobRow};
use crate::job::{JobFile, Shelf};
use crate::numbers::{Next, SEQ};
use crate::queue::{Queue, job_name, read_job};
use crate::seen::Seen;
use crate::spool::{item_name, now, read_item};

/// The directory of a shelf, in the names of `corrupt/`.
fn place(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Queue => "queue",
        Shelf::Held => "held",
        Shelf::Failed => "failed",
    }
}

/// What the directories of the queue hold.
#[derive(Default)]
struct Found {
    jobs: BTreeMap<SpoolId, Vec<Shelf>>,
    items: HashSet<SpoolId>,
    siblings: HashSet<(SpoolId, bool)>,
    high: u64,
}

/// What became of one job.
enum Verdict {
    /// It is served, and should have these siblings (wire, second fork); the row is to be written if there is one.
    Served(Option<Box<JobRow>>, bool, bool),
    /// What is left of it is to be moved away.
    Damaged(String),
    /// It cannot be read now; it stays where it is.
    Unreadable,
}

impl Opening<'_> {
    /// What a killed process has renamed is not durable yet; what is decided from it now must not outlive it. A
    /// failure poisons, and what is there can still be read.
    pub(super) fn settle_queue(&self, queue: &Queue) {
        if !self.recovery.clean {
            let _ = Shelf::ALL
                .into_iter()
                .try_for_each(|shelf| self.disk.sync_dir(queue.dir(shelf)));
        }
    }

    /// Makes the index agree with the directories of the queue; where its numbers go on.
    pub(super) fn queue(&mut self, index: &Index, queue: &Queue, seen: &Seen) -> Result<Next, Error> {
        let mut found = self.queue_names(queue)?;
        let known = index.known_jobs()?.into_iter();
        let mut known: HashMap<SpoolId, (Shelf, bool, bool)> = known
            .map(|(id, shelf, wire, aux)| (id, (shelf, wire, aux)))
            .collect();
        let high = known.keys().map(|id| id.get()).max().unwrap_or_default();
        let high = found.high.max(high);
        let (mut rows, mut served) = (Vec::new(), 0);
        for (id, shelves) in std::mem::take(&mut found.jobs) {
            let held = known.get(&id).copied();
            match self.one_job(index, queue, &found, (id, &shelves), held) {
                Verdict::Served(row, wire, aux) => {
                    known.remove(&id);
                    served += 1;
                    self.recovery.learnt += u64::from(held.is_none());
                    rows.extend(row.map(|row| *row));
                    found.items.remove(&id);
                    self.queue_siblings(queue, &mut found, id, wire, aux);
                }
                Verdict::Damaged(reason) => self.quarantine_job(queue, &mut found, id, &shelves, &reason),
                Verdict::Unreadable => {
                    found.items.remove(&id);
                    found.siblings.retain(|(other, _)| *other != id);
                }
            }
        }
        let gone: Vec<SpoolId> = known.into_keys().collect();
        self.quarantine_lost(index, queue, &mut found, &gone, seen);
        self.sweep_queue(queue, found);
        self.recovery.jobs = served;
        self.recovery.forgotten += gone.len() as u64;
        if !(rows.is_empty() && gone.is_empty()) {
            index.correct_jobs(&rows, &gone)?;
        }
        // Without room for it the stories stay for longer.
        let _ = index.end_stories(now());
        self.queue_numbers(index, queue, seen, high)
    }

    fn one_job(
        &mut self,
        index: &Index,
        queue: &Queue,
        found: &Found,
        (id, shelves): (SpoolId, &[Shelf]),
        held: Option<(Shelf, bool, bool)>,
    ) -> Verdict {
        if !found.items.contains(&id) {
            return Verdict::Damaged("its item is missing".into());
        }
        if let (Some((shelf, wire, aux)), [one], true) = (held, shelves, self.recovery.clean)
            && shelf == *one
        {
            return Verdict::Served(None, wire, aux);
        }
        let (shelf, file) = match self.newest(queue, id, shelves) {
            Ok(newest) => newest,
            Err(verdict) => return verdict,
        };
        let old = held.and_then(|_| index.job(id));
        let row = match old {
            Some(row) if (row.shelf, &row.job, row.key) == (shelf, &file.job, file.key) => {
                return Verdict::Served(None, row.wire, row.aux);
            }
            Some(row) => JobRow {
                shelf,
                job: file.job,
                key: file.key,
                ..row
            },
            None => match read_item(queue.items(), &id.to_string()) {
                Ok((_, envelope)) => JobRow::of(id, shelf, file, &envelope),
                Err(Error::Damaged { reason, .. }) => return Verdict::Damaged(reason),
                Err(e) => {
                    self.problem(queue.items(), id.to_string().as_bytes(), &e);
                    return Verdict::Unreadable;
                }
            },
        };
        let (wire, aux) = (row.wire, row.aux);
        Verdict::Served(Some(Box::new(row)), wire, aux)
    }

    /// The file of a job that is right; others are removed.
    fn newest(&mut self, queue: &Queue, id: SpoolId, shelves: &[Shelf]) -> Result<(Shelf, JobFile), Verdict> {
        let name = job_name(id);
        let mut read: Vec<(Shelf, JobFile)> = Vec::new();
        let mut damage = None;
        for shelf in shelves {
            match read_job(queue.dir(*shelf), id) {
                Ok(file) => read.push((*shelf, file)),
                Err(Error::Damaged { reason, .. }) => damage = Some((*shelf, reason)),
                Err(e) => {
                    self.problem(queue.dir(*shelf), name.as_bytes(), &e);
                    return Err(Verdict::Unreadable);
                }
            }
        }
        read.sort_by_key(|(_, file)| file.change);
        match (read.pop(), damage) {
            (Some(newest), damage) => {
                if let Some((shelf, reason)) = damage {
                    self.quarantine(queue.dir(shelf), place(shelf), name.as_bytes(), reason);
                }
                for (shelf, _) in read {
                    match self.disk.unlink(queue.dir(shelf), &name) {
                        Ok(()) => {
                            self.recovery.orphans += 1;
                            // It must not come back when the job has ended elsewhere. A failure poisons.
                            let _ = self.disk.sync_dir(queue.dir(shelf));
                        }
                        Err(e) => self.problem(queue.dir(shelf), name.as_bytes(), &e),
                    }
                }
                Ok(newest)
            }
            (None, Some((_, reason))) => Err(Verdict::Damaged(reason)),
            (None, None) => Err(Verdict::Unreadable),
        }
    }

    fn queue_siblings(&mut self, queue: &Queue, found: &mut Found, id: SpoolId, wire: bool, aux: bool) {
        for (due, is_wire, suffix) in [(wire, true, ".wire"), (aux, false, ".aux")] {
            if !found.siblings.remove(&(id, is_wire)) && due {
                self.problem(
                    queue.items(),
                    format!("{id}{suffix}").as_bytes(),
                    &"it is missing",
                );
            }
        }
    }

    /// Moves away what there is of a job.
    fn quarantine_job(
        &mut self,
        queue: &Queue,
        found: &mut Found,
        id: SpoolId,
        shelves: &[Shelf],
        reason: &str,
    ) {
        for shelf in shelves {
            let name = job_name(id);
            self.quarantine(queue.dir(*shelf), place(*shelf), name.as_bytes(), reason);
        }
        let whole = format!("job {id}: {reason}");
        for (there, suffix) in [
            (found.items.remove(&id), ""),
            (found.siblings.remove(&(id, true)), ".wire"),
            (found.siblings.remove(&(id, false)), ".aux"),
        ] {
            if there {
                let name = format!("{id}{suffix}");
                self.quarantine(queue.items(), place(Shelf::Queue), name.as_bytes(), &whole);
            }
        }
    }

    /// Moves away items whose job has vanished without a trace in the log of what is done: no crash does that.
    fn quarantine_lost(
        &mut self,
        index: &Index,
        queue: &Queue,
        found: &mut Found,
        gone: &[SpoolId],
        seen: &Seen,
    ) {
        for id in gone {
            let key = index.job(*id).and_then(|row| row.key);
            if found.items.contains(id) && key.is_some_and(|key| seen.find(&key).is_none()) {
                self.quarantine_job(queue, found, *id, &[], "its file is missing");
            }
        }
    }

    /// Removes what has no job.
    fn sweep_queue(&mut self, queue: &Queue, found: Found) {
        let items = found.items.into_iter().map(|id| id.to_string());
        let siblings = found.siblings.into_iter();
        let siblings =
            siblings.map(|(id, is_wire)| format!("{id}{}", if is_wire { ".wire" } else { ".aux" }));
        for name in items.chain(siblings) {
            match self.disk.unlink(queue.items(), &name) {
                Ok(()) => self.recovery.orphans += 1,
                Err(e) => self.problem(queue.items(), name.as_bytes(), &e),
            }
        }
    }

    /// Sorts the names in the three directories; what is not ours is moved away.
    fn queue_names(&mut self, queue: &Queue) -> Result<Found, Error> {
        let mut found = Found::default();
        for shelf in Shelf::ALL {
            let dir = queue.dir(shelf);
            for (name, kind) in dir.entries()? {
                let text = std::str::from_utf8(&name).unwrap_or_default();
                let ours = matches!((text, kind), (SEQ, _) | ("held", Kind::Directory));
                if ours && shelf == Shelf::Queue {
                    continue;
                }
                let (stem, suffix) = text.split_once('.').unwrap_or((text, ""));
                let Some(id) = item_name(stem) else {
                    self.quarantine(dir, place(shelf), &name, "not the name of a job");
                    continue;
                };
                found.high = found.high.max(id.get());
                match (suffix, shelf) {
                    _ if kind != Kind::File => {
                        self.quarantine(dir, place(shelf), &name, "not a regular file");
                    }
                    ("job", _) => found.jobs.entry(id).or_default().push(shelf),
                    ("", Shelf::Queue) if !text.contains('.') => {
                        found.items.insert(id);
                    }
                    ("wire" | "aux", Shelf::Queue) => {
                        found.siblings.insert((id, suffix == "wire"));
                    }
                    _ => self.quarantine(dir, place(shelf), &name, "not the name of a job"),
                }
            }
        }
        Ok(found)
    }

    fn queue_numbers(&mut self, index: &Index, queue: &Queue, seen: &Seen, high: u64) -> Result<Next, Error> {
        if let Some(next) = self.next(queue.items())? {
            let next_free = next.next.max(high.saturating_add(1));
            return Ok(Next {
                next: next_free,
                ..next
            });
        }
        let corrupt = self.highest_corrupt()?;
        let names = Shelf::ALL
            .into_iter()
            .filter_map(|shelf| place(shelf).parse().ok());
        let moved = names.filter_map(|name| corrupt.get(&name)).max().copied();
        let high = high.max(index.highest_job()?).max(moved.unwrap_or_default());
        // A queue that was never used has no file of numbers; the log may know of others' only.
        let used = self.recovery.jobs > 0 || high > 0;
        let high = if used { high.max(seen.highest()) } else { high };
        self.recovery.queue_renumbered = used;
        Ok(Next {
            generation: 0,
            next: high.saturating_add(1),
        })
    }
}
