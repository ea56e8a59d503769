//! The tables of the queue: its jobs, what was tried of each, and their stories.
//!
//! A job is known by its files, and its row is a copy; what was tried and the stories are in here only, and are lost
//! with the index. Each change is written at once (without fsync): jobs are few compared with deliveries, and a
//! progress that waited in memory would be lost by every crash. When a write fails the jobs are *stale*: the next
//! question compares the index with the directories.
//!
//! What this file does *not* do: read files, or decide what is tried next.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{INDEX, Index, number, signed, unsigned};
use crate::disk::lock;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::job::{Chapter, Job, JobFile, JobSummary, Progress, Shelf};
use crate::ledger::Usage;
use crate::seen::{Key, REMEMBERED};

/// Jobs read at a time: whoever goes through a long queue holds so many and no more.
const PAGE: i64 = 512;
/// Chapters of one story: beyond that the second one goes, so that the first and the latest are kept.
const CHAPTERS: i64 = 50;
/// Characters of a chapter.
const CHAPTER_MAX: usize = 1000;
/// The name under which `high` has the highest number of the queue: no user is called so.
const QUEUE: &str = "";

pub(super) const JOB_TABLES: &str = "
    CREATE TABLE job (
        id INTEGER PRIMARY KEY NOT NULL, shelf INTEGER NOT NULL, job TEXT NOT NULL, owner TEXT, size INTEGER NOT NULL,
        sender TEXT NOT NULL, name TEXT, charged INTEGER NOT NULL, key BLOB, forms INTEGER NOT NULL,
        attempts INTEGER NOT NULL, due INTEGER NOT NULL, said TEXT NOT NULL);
    CREATE INDEX job_key ON job (key) WHERE key IS NOT NULL;
    CREATE TABLE chapter (
        job INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (job, n)) WITHOUT ROWID;
    CREATE TABLE ended (job INTEGER PRIMARY KEY NOT NULL, at INTEGER NOT NULL, summary TEXT);
    CREATE INDEX ended_at ON ended (at);";
const COLUMNS: &str = "id, shelf, job, size, sender, name, charged, key, forms, attempts, due, said";

/// What the index holds of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) id: SpoolId,
    pub(crate) shelf: Shelf,
    pub(crate) job: Job,
    /// Bytes of the wire form.
    pub(crate) size: u64,
    pub(crate) from: String,
    pub(crate) name: Option<String>,
    pub(crate) charged: u64,
    pub(crate) key: Option<Key>,
    pub(crate) wire: bool,
    pub(crate) aux: bool,
    pub(crate) progress: Progress,
}

/// One job as the index knows it when the spool opens: its number, where it lies, and which siblings it should have.
pub(crate) type KnownJob = (SpoolId, Shelf, bool, bool);

impl JobRow {
    /// The row of a job: a function of its files and its place.
    pub(crate) fn of(id: SpoolId, shelf: Shelf, file: JobFile, envelope: &Envelope) -> JobRow {
        let facts = &envelope.facts;
        JobRow {
            id,
            shelf,
            job: file.job,
            size: envelope.wire.bytes,
            from: facts.origin.sender(),
            name: facts.name.clone(),
            charged: envelope.charge(),
            key: file.key,
            wire: envelope.wire_kept,
            aux: envelope.aux.is_some(),
            progress: Progress::default(),
        }
    }

    pub(crate) fn summary(self) -> JobSummary {
        JobSummary {
            id: self.id,
            state: self.shelf.state(&self.progress),
            job: self.job,
            size: self.size,
            from: self.from,
            name: self.name,
            progress: self.progress,
        }
    }
}

impl Index {
    /// New jobs, or new words on old ones. Never fails: at worst the jobs are stale.
    pub(crate) fn put_jobs(&self, rows: &[JobRow]) {
        self.or_stale(self.in_one(|transaction| rows.iter().try_for_each(|row| put(transaction, row))));
    }

    /// A job was changed or lies elsewhere; `afresh`: nothing of it was tried yet. Never fails either.
    pub(crate) fn change_job(&self, id: SpoolId, shelf: Shelf, job: &Job, afresh: bool) {
        let changed = self.in_one(|transaction| {
            let sql = "UPDATE job SET shelf = ?2, job = ?3, owner = ?4 WHERE id = ?1";
            let owner = job.owner.as_ref().map(UserName::as_str);
            let n = transaction.prepare_cached(sql)?.execute(params![
                signed(id.get()),
                code(shelf),
                text(job)?,
                owner
            ])?;
            if afresh {
                progress(transaction, id, &Progress::default())?;
            }
            if n == 1 {
                Ok(())
            } else {
                Err(rusqlite::Error::QueryReturnedNoRows)
            }
        });
        self.or_stale(changed);
    }

    /// A job that is gone at this time. Never fails either. Stories that ended long ago are forgotten.
    pub(crate) fn end_job(&self, id: SpoolId, now: i64) {
        let ended = self.in_one(|transaction| {
            let id = signed(id.get());
            let last = transaction
                .prepare_cached(&format!("SELECT {COLUMNS} FROM job WHERE id = ?1"))?
                .query_row(params![id], row)
                .optional()?;
            let last = last.and_then(|row| serde_json::to_string(&row.summary()).ok());
            transaction
                .prepare_cached("DELETE FROM job WHERE id = ?1")?
                .execute(params![id])?;
            let sql = "INSERT OR IGNORE INTO ended SELECT ?1, ?2, ?3
                WHERE EXISTS (SELECT 1 FROM chapter WHERE job = ?1)";
            transaction.prepare_cached(sql)?.execute(params![id, now, last])?;
            high(transaction, id)?;
            forget_stories(transaction, now)
        });
        self.or_stale(ended);
    }

    fn or_stale(&self, result: Result<(), Error>) {
        if result.is_err() {
            lock(&self.pending).jobs_stale = true;
        }
    }

    fn in_one(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>) -> Result<(), Error> {
        self.disk.index().map_err(|e| Error::io("write", INDEX, e))?;
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        work(&transaction)?;
        Ok(transaction.commit()?)
    }

    /// Whether the index may be wrong about the jobs.
    pub(crate) fn jobs_are_stale(&self) -> bool {
        lock(&self.pending).jobs_stale
    }

    /// Every job, by number; `None` when the index cannot tell.
    pub(crate) fn jobs(&self) -> Option<Vec<JobSummary>> {
        let mut found: Vec<JobSummary> = Vec::new();
        loop {
            if self.jobs_are_stale() {
                return None;
            }
            let after = found.last().map_or(0, |last| signed(last.id.get()));
            let page = self
                .page(after)
                .inspect_err(|_| lock(&self.pending).jobs_stale = true);
            let page = page.ok()?;
            let more = page.len() == PAGE as usize;
            found.extend(page.into_iter().map(JobRow::summary));
            if !more {
                return Some(found);
            }
        }
    }

    /// Some jobs with numbers above `after`, by number: none when there are no more; `None` when the index cannot tell.
    pub(crate) fn jobs_after(&self, after: u64) -> Option<Vec<JobSummary>> {
        if self.jobs_are_stale() {
            return None;
        }
        let page = self
            .page(signed(after))
            .inspect_err(|_| lock(&self.pending).jobs_stale = true);
        Some(page.ok()?.into_iter().map(JobRow::summary).collect())
    }

    fn page(&self, after: i64) -> rusqlite::Result<Vec<JobRow>> {
        let db = lock(&self.db);
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id > ?1 ORDER BY id LIMIT ?2");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map(params![after, PAGE], row)?;
        rows.collect()
    }

    /// One job.
    pub(crate) fn job(&self, id: SpoolId) -> Option<JobRow> {
        let db = lock(&self.db);
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?1");
        let mut statement = db.prepare_cached(&sql).ok()?;
        let found = statement.query_row(params![signed(id.get())], row);
        found.optional().ok().flatten()
    }

    /// The jobs with this key.
    pub(crate) fn jobs_with_key(&self, key: &Key) -> Result<Vec<SpoolId>, Error> {
        let db = lock(&self.db);
        let mut statement = db.prepare_cached("SELECT id FROM job WHERE key = ?1")?;
        let rows = statement.query_map(params![key], |row| row.get(0))?;
        let mut found = Vec::new();
        for row in rows {
            found.extend(number(row?));
        }
        Ok(found)
    }

    /// Every job, ascending.
    pub(crate) fn known_jobs(&self) -> Result<Vec<KnownJob>, Error> {
        let db = lock(&self.db);
        let mut statement = db.prepare_cached("SELECT id, shelf, forms FROM job ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row| {
            let (id, shelf, forms): (i64, i64, i64) = row?;
            let known = number(id).zip(shelf_of(shelf));
            let (id, shelf) = known.ok_or_else(|| Error::damaged(INDEX, format!("job {id}")))?;
            Ok((id, shelf, forms & 1 != 0, forms & 2 != 0))
        })
        .collect()
    }

    /// Writes corrections at once.
    pub(crate) fn correct_jobs(&self, right: &[JobRow], gone: &[SpoolId]) -> Result<(), Error> {
        self.in_one(|transaction| correct(transaction, right, gone))
    }

    /// Repairs stale jobs: as [`Index::repair`].
    pub(crate) fn repair_jobs(
        &self,
        compare: impl FnOnce(HashMap<SpoolId, JobRow>) -> Result<Vec<JobRow>, Error>,
    ) -> Result<Vec<JobRow>, Error> {
        let mut db = lock(&self.db);
        let held: HashMap<SpoolId, JobRow> = {
            let mut statement = db.prepare(&format!("SELECT {COLUMNS} FROM job"))?;
            let rows = statement.query_map([], row)?;
            rows.flatten().map(|row| (row.id, row)).collect()
        };
        let right = compare(held)?;
        let written = self
            .disk
            .index()
            .map_err(|e| Error::io("write", INDEX, e))
            .and_then(|()| {
                let transaction = db.transaction()?;
                transaction.execute("DELETE FROM job", [])?;
                correct(&transaction, &right, &[])?;
                Ok(transaction.commit()?)
            });
        // No room for it yet: the answer is right all the same, and the jobs stay stale.
        if written.is_ok() {
            lock(&self.pending).jobs_stale = false;
        }
        Ok(right)
    }

    /// Bytes and jobs of every owner: for the ledger.
    pub(crate) fn queue_tallies(&self) -> Result<Vec<(Option<UserName>, Usage)>, Error> {
        let db = lock(&self.db);
        let mut statement = db.prepare("SELECT owner, sum(charged), count(*) FROM job GROUP BY owner")?;
        let rows = statement.query_map([], |row| {
            let (bytes, items) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
            Ok((row.get::<_, Option<String>>(0)?, Usage { bytes, items }))
        })?;
        rows.map(|row| {
            let (owner, usage) = row?;
            let owner = owner.map(|owner| owner.parse()).transpose();
            Ok((owner.map_err(|e| Error::damaged(INDEX, e))?, usage))
        })
        .collect()
    }

    /// The highest number that a job ever had; 0 when there was none.
    pub(crate) fn highest_job(&self) -> Result<u64, Error> {
        let db = lock(&self.db);
        let sql =
            "SELECT max(id) FROM (SELECT id FROM high WHERE user = ?1 UNION ALL SELECT max(id) FROM job)";
        let high: Option<i64> = db.query_row(sql, params![QUEUE], |row| row.get(0))?;
        Ok(unsigned(high.unwrap_or_default()))
    }

    /// What was tried, all of it in one transaction.
    pub(crate) fn note_progress(&self, noted: &[(SpoolId, Progress)]) -> Result<(), Error> {
        self.in_one(|transaction| {
            noted
                .iter()
                .try_for_each(|(id, said)| progress(transaction, *id, said))
        })
    }

    /// Adds a chapter to the story of a job.
    pub(crate) fn tell_story(&self, id: SpoolId, chapter: &Chapter) -> Result<(), Error> {
        let text: String = chapter.text.chars().take(CHAPTER_MAX).collect();
        let id = signed(id.get());
        self.in_one(|transaction| {
            let sql = "SELECT count(*), max(n) FROM chapter WHERE job = ?1";
            let (count, last): (i64, Option<i64>) = transaction
                .prepare_cached(sql)?
                .query_row(params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if count >= CHAPTERS {
                let sql = "DELETE FROM chapter WHERE job = ?1 AND n =
                    (SELECT n FROM chapter WHERE job = ?1 ORDER BY n LIMIT 1 OFFSET 1)";
                transaction.prepare_cached(sql)?.execute(params![id])?;
            }
            let next = last.unwrap_or_default().saturating_add(1);
            transaction
                .prepare_cached("INSERT INTO chapter VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![id, next, chapter.at, text])?;
            let late = "INSERT OR IGNORE INTO ended SELECT ?1, ?2, NULL WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = ?1)";
            transaction.prepare_cached(late)?.execute(params![id, chapter.at])?;
            Ok(())
        })
    }

    /// The story of a job, from its beginning.
    pub(crate) fn story(&self, id: SpoolId) -> Result<Vec<Chapter>, Error> {
        let db = lock(&self.db);
        let mut statement = db.prepare_cached("SELECT at, text FROM chapter WHERE job = ?1 ORDER BY n")?;
        let rows = statement.query_map(params![signed(id.get())], |row| {
            let (at, text) = (row.get(0)?, row.get(1)?);
            Ok(Chapter { at, text })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A job that is gone and whose story is still known, as it was when it went.
    pub(crate) fn ended_job(&self, id: SpoolId) -> Result<Option<JobSummary>, Error> {
        let db = lock(&self.db);
        let summary: Option<Option<String>> = db
            .prepare_cached("SELECT summary FROM ended WHERE job = ?1")?
            .query_row(params![signed(id.get())], |row| row.get(0))
            .optional()?;
        Ok(summary
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// When the spool is opened: stories whose job is gone without a word end now, and old ones are forgotten.
    pub(crate) fn end_stories(&self, now: i64) -> Result<(), Error> {
        self.in_one(|transaction| {
            let sql = "INSERT OR IGNORE INTO ended
                SELECT DISTINCT job, ?1, NULL FROM chapter WHERE job NOT IN (SELECT id FROM job)";
            transaction.execute(sql, params![now])?;
            forget_stories(transaction, now)
        })
    }
}

fn forget_stories(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    let before = now.saturating_sub(REMEMBERED);
    let old = "DELETE FROM chapter WHERE job IN (SELECT job FROM ended WHERE at <= ?1)";
    transaction.prepare_cached(old)?.execute(params![before])?;
    let ends = "DELETE FROM ended WHERE at <= ?1";
    transaction.prepare_cached(ends)?.execute(params![before])?;
    Ok(())
}

fn correct(transaction: &Transaction<'_>, right: &[JobRow], gone: &[SpoolId]) -> rusqlite::Result<()> {
    for id in gone {
        let sql = "DELETE FROM job WHERE id = ?1";
        transaction
            .prepare_cached(sql)?
            .execute(params![signed(id.get())])?;
        high(transaction, signed(id.get()))?;
    }
    right.iter().try_for_each(|row| put(transaction, row))
}

fn put(transaction: &Transaction<'_>, row: &JobRow) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO job VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    transaction.prepare_cached(sql)?.execute(params![
        signed(row.id.get()),
        code(row.shelf),
        text(&row.job)?,
        row.job.owner.as_ref().map(UserName::as_str),
        signed(row.size),
        row.from,
        row.name,
        signed(row.charged),
        row.key,
        i64::from(row.wire) | i64::from(row.aux) << 1,
        row.progress.attempts,
        row.progress.due,
        row.progress.said,
    ])?;
    high(transaction, signed(row.id.get()))
}

fn progress(transaction: &Transaction<'_>, id: SpoolId, to: &Progress) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE job SET attempts = ?2, due = ?3, said = ?4 WHERE id = ?1")?
        .execute(params![signed(id.get()), to.attempts, to.due, to.said])?;
    Ok(())
}

fn high(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO high VALUES (?1, ?2) ON CONFLICT DO UPDATE SET id = max(id, excluded.id)";
    transaction.prepare_cached(sql)?.execute(params![QUEUE, id])?;
    Ok(())
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<JobRow> {
    let wrong =
        |column| rusqlite::Error::InvalidColumnType(column, "job".into(), rusqlite::types::Type::Null);
    let forms: i64 = row.get(8)?;
    Ok(JobRow {
        id: number(row.get(0)?).ok_or_else(|| wrong(0))?,
        shelf: shelf_of(row.get(1)?).ok_or_else(|| wrong(1))?,
        job: serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(|_| wrong(2))?,
        size: unsigned(row.get(3)?),
        from: row.get(4)?,
        name: row.get(5)?,
        charged: unsigned(row.get(6)?),
        key: row.get(7)?,
        wire: forms & 1 != 0,
        aux: forms & 2 != 0,
        progress: Progress {
            attempts: row.get(9)?,
            due: row.get(10)?,
            said: row.get(11)?,
        },
    })
}

fn text(job: &Job) -> rusqlite::Result<String> {
    serde_json::to_string(job).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn code(shelf: Shelf) -> i64 {
    match shelf {
        Shelf::Queue => 0,
        Shelf::Held => 1,
        Shelf::Failed => 2,
    }
}

fn shelf_of(code: i64) -> Option<Shelf> {
    Shelf::ALL.into_iter().find(|shelf| self::code(*shelf) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::index::BEFORE_JOBS;

    /// The tables of the first release.
    const OLD: &str = "
        CREATE TABLE item (
            user TEXT NOT NULL, id INTEGER NOT NULL, sender TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL,
            received INTEGER NOT NULL, name TEXT, title TEXT, charged INTEGER NOT NULL, stranger TEXT, key BLOB,
            forms INTEGER NOT NULL, PRIMARY KEY (user, id)) WITHOUT ROWID;
        CREATE INDEX item_received ON item (received);
        CREATE UNIQUE INDEX item_key ON item (key, user, id) WHERE key IS NOT NULL;
        CREATE TABLE high (user TEXT PRIMARY KEY NOT NULL, id INTEGER NOT NULL) WITHOUT ROWID;
        INSERT INTO item VALUES ('ann', 3, 'maint@h', 'I', 5, 0, NULL, NULL, 5, NULL, NULL, 0);
        INSERT INTO high VALUES ('ann', 7);";

    fn id(n: u64) -> SpoolId {
        SpoolId::new(n).unwrap()
    }

    fn row(n: u64) -> JobRow {
        JobRow {
            id: id(n),
            shelf: Shelf::Queue,
            job: Job::default(),
            size: 0,
            from: String::new(),
            name: None,
            charged: 0,
            key: None,
            wire: false,
            aux: false,
            progress: Progress::default(),
        }
    }

    fn tell(index: &Index, n: u64, at: i64) {
        let text = "told".into();
        index.tell_story(id(n), &Chapter { at, text }).unwrap();
    }

    #[test]
    fn a_story_is_forgotten_seven_days_after_its_end() {
        let index = Index::in_memory().unwrap();
        index.put_jobs(&[row(1), row(2), row(3)]);
        (1..=3).for_each(|n| tell(&index, n, 0));
        index.end_job(id(1), 100);
        // Told after its end, and never known as a job.
        tell(&index, 1, 200);
        tell(&index, 9, 300);
        let told = || [1, 2, 3, 9].map(|n| index.story(id(n)).unwrap().len());
        assert_eq!(told(), [2, 1, 1, 1]);
        index.end_job(id(3), 100 + REMEMBERED - 1);
        assert_eq!(told(), [2, 1, 1, 1]);
        index.end_stories(100 + REMEMBERED).unwrap();
        assert_eq!(told(), [0, 1, 1, 1]);
        index.end_stories(99 + 2 * REMEMBERED).unwrap();
        assert_eq!(told(), [0, 1, 0, 0]);
    }

    #[test]
    fn an_index_of_the_first_release_is_given_the_tables_of_the_queue() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(INDEX);
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(&format!("{OLD} PRAGMA user_version = {BEFORE_JOBS};"))
            .unwrap();
        drop(old);
        for check in [true, false] {
            let (index, fresh) = Index::open(&Disk::new(), &path, check).unwrap();
            let ann = "ann".parse().unwrap();
            assert!(!fresh && index.high(&ann).unwrap() == 7);
            assert_eq!(index.list(&ann).unwrap().len(), 1);
            index.put_jobs(&[row(1)]);
            assert_eq!(index.jobs().unwrap().len(), 1);
        }
    }
}
