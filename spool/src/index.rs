//! The index: what `list`, quotas, expiry and repeat detection ask, so that they need not open every item.
//!
//! It is a copy of what the files say and can be deleted at any time. So it is written without fsync, in batches (a
//! row waits in memory until somebody asks, or until there are enough), and when a write fails the users concerned are
//! *stale* from then on: the next question about them compares the index with their directory.
//!
//! The only part that knows SQLite; its tables for the queue are in `index/jobs.rs`. What it does *not* do: read items
//! or directories; whoever repairs an inbox hands the rows in.

mod jobs;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, TryLockError};

use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Statement, params};

use crate::disk::{Disk, lock};
use crate::envelope::{Envelope, FileType, Proof, Receipt, Stranger};
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::ledger::Usage;
use crate::seen::{Key, key};
use crate::spool::Summary;

use jobs::JOB_TABLES;
pub(crate) use jobs::JobRow;

/// Name of the database.
pub(crate) const INDEX: &str = "index.sqlite";
/// Number of the table layout below.
const LAYOUT: i64 = 2;
/// The layout of the first release, and what it lacks besides [`JOB_TABLES`].
const BEFORE_JOBS: i64 = 1;
const LACKING: &str = "ALTER TABLE item ADD COLUMN receipt TEXT;";
/// Changes that wait in memory.
const BATCH: usize = 64;
/// Rows read between two chances for others.
const PAGE: i64 = 8192;

const TABLES: &str = "
    CREATE TABLE item (
        user TEXT NOT NULL, id INTEGER NOT NULL, sender TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL,
        received INTEGER NOT NULL, name TEXT, title TEXT, charged INTEGER NOT NULL, stranger TEXT, key BLOB,
        forms INTEGER NOT NULL, receipt TEXT, PRIMARY KEY (user, id)) WITHOUT ROWID;
    CREATE INDEX item_received ON item (received);
    CREATE UNIQUE INDEX item_key ON item (key, user, id) WHERE key IS NOT NULL;
    CREATE TABLE high (user TEXT PRIMARY KEY NOT NULL, id INTEGER NOT NULL) WITHOUT ROWID;";
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
    PRAGMA temp_store = MEMORY; PRAGMA cache_size = -2048; PRAGMA trusted_schema = OFF;";

/// What the index holds of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) user: UserName,
    pub(crate) summary: Summary,
    pub(crate) facts: RowFacts,
}

/// The part of a row that removal and quotas need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowFacts {
    pub(crate) charged: u64,
    pub(crate) stranger: Option<Stranger>,
    pub(crate) key: Option<Key>,
    pub(crate) wire: bool,
    pub(crate) aux: bool,
}

impl Row {
    /// The row of an item: a function of its envelope and its place.
    pub(crate) fn of(user: &UserName, id: SpoolId, envelope: &Envelope) -> Row {
        let facts = &envelope.facts;
        let origin = &facts.origin;
        let stranger = (origin.proof == Proof::Address)
            .then(|| origin.host.parse().ok().map(Stranger::of))
            .flatten();
        let summary = Summary {
            id,
            from: origin.sender(),
            file_type: facts.stored_as,
            size: envelope.local.bytes,
            received: facts.received,
            name: facts.name.clone(),
            title: facts.attribute("TITLE").map(str::to_owned),
            receipt: facts.receipt.clone(),
        };
        let facts = RowFacts {
            charged: envelope.charge(),
            stranger,
            key: key(envelope, user),
            wire: envelope.wire_kept,
            aux: envelope.aux.is_some(),
        };
        Row {
            user: user.clone(),
            summary,
            facts,
        }
    }
}

#[derive(Debug, Default)]
struct Pending {
    /// The newest word on an item: its row, or that it is gone.
    rows: HashMap<(UserName, SpoolId), Option<Row>>,
    stale: HashSet<UserName>,
    /// The index may be wrong about the jobs.
    jobs_stale: bool,
}

/// The index, open.
#[derive(Debug)]
pub(crate) struct Index {
    disk: Disk,
    db: Mutex<Connection>,
    pending: Mutex<Pending>,
}

/// One item as the index knows it when the spool opens: its number, and which siblings it should have.
pub(crate) type Known = (SpoolId, bool, bool);

impl Index {
    /// Opens the database at `path`; one without tables is given them. `check` reads all of it.
    ///
    /// # Errors
    /// Whatever SQLite does not like: the caller moves the file aside and opens a new one.
    pub(crate) fn open(disk: &Disk, path: &Path, check: bool) -> Result<(Index, bool), Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        disk.index().map_err(|e| Error::io("open", path, e))?;
        Index::set_up(disk, Connection::open_with_flags(path, flags)?, check)
    }

    /// An index that lives as long as the process: when the disk has no room for one.
    pub(crate) fn in_memory() -> Result<Index, Error> {
        Ok(Index::set_up(&Disk::new(), Connection::open_in_memory()?, false)?.0)
    }

    fn set_up(disk: &Disk, db: Connection, check: bool) -> Result<(Index, bool), Error> {
        db.execute_batch(SETTINGS)?;
        let layout: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let fresh = layout == 0 && tables == 0;
        let missing = match layout {
            0 if fresh => format!("{TABLES} {JOB_TABLES}"),
            BEFORE_JOBS => format!("{LACKING} {JOB_TABLES}"),
            LAYOUT => String::new(),
            other => return Err(Error::damaged(INDEX, format!("layout {other}"))),
        };
        if check && !fresh {
            let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(Error::damaged(INDEX, found));
            }
        }
        if !missing.is_empty() {
            let made = format!("BEGIN; {missing} PRAGMA user_version = {LAYOUT}; COMMIT;");
            db.execute_batch(&made)?;
        }
        db.set_prepared_statement_cache_capacity(32);
        let index = Index {
            disk: disk.clone(),
            db: Mutex::new(db),
            pending: Mutex::default(),
        };
        Ok((index, fresh))
    }

    /// A new item. Never fails: at worst the user is stale.
    pub(crate) fn put(&self, row: Row) {
        self.change((row.user.clone(), row.summary.id), Some(row));
    }

    /// An item that is gone. Never fails either.
    pub(crate) fn delete(&self, user: &UserName, id: SpoolId) {
        self.change((user.clone(), id), None);
    }

    fn change(&self, at: (UserName, SpoolId), row: Option<Row>) {
        let mut pending = lock(&self.pending);
        pending.rows.insert(at, row);
        let waiting = pending.rows.len();
        drop(pending);
        if waiting < BATCH {
            return;
        }
        // While a long list is read, changes wait: a delivery does not.
        match self.db.try_lock() {
            Ok(mut db) => self.flush(&mut db),
            Err(TryLockError::Poisoned(db)) => self.flush(&mut db.into_inner()),
            Err(TryLockError::WouldBlock) if waiting < 64 * BATCH => {}
            Err(TryLockError::WouldBlock) => self.flush(&mut lock(&self.db)),
        }
    }

    /// Writes what waits. Whoever is concerned by a failure becomes stale.
    fn flush(&self, db: &mut Connection) {
        let rows = std::mem::take(&mut lock(&self.pending).rows);
        if rows.is_empty() {
            return;
        }
        let changes = rows.iter().map(|((user, id), row)| (user, *id, row.as_ref()));
        if self.write(db, changes).is_err() {
            lock(&self.pending)
                .stale
                .extend(rows.into_keys().map(|(user, _)| user));
        }
    }

    fn write<'a>(
        &self,
        db: &mut Connection,
        changes: impl Iterator<Item = (&'a UserName, SpoolId, Option<&'a Row>)>,
    ) -> Result<(), Error> {
        self.disk.index().map_err(|e| Error::io("write", INDEX, e))?;
        let transaction = db.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO item VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?;
            let mut delete = transaction.prepare_cached("DELETE FROM item WHERE user = ?1 AND id = ?2")?;
            let mut high = transaction.prepare_cached(
                "INSERT INTO high VALUES (?1, ?2) ON CONFLICT DO UPDATE SET id = max(id, excluded.id)",
            )?;
            let mut highest: HashMap<&UserName, u64> = HashMap::new();
            for (user, id, row) in changes {
                let top = highest.entry(user).or_default();
                *top = id.get().max(*top);
                match row {
                    Some(row) => insert(&mut put, row)?,
                    None => {
                        delete.execute(params![user.as_str(), signed(id.get())])?;
                    }
                }
            }
            for (user, id) in highest {
                high.execute(params![user.as_str(), signed(id)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The database with everything written to it, for a question about `user`.
    fn current(&self) -> MutexGuard<'_, Connection> {
        let mut db = lock(&self.db);
        self.flush(&mut db);
        db
    }

    /// Whether the index may be wrong about this user.
    pub(crate) fn is_stale(&self, user: &UserName) -> bool {
        lock(&self.pending).stale.contains(user)
    }

    /// Who may be wrong.
    pub(crate) fn stale(&self) -> Vec<UserName> {
        lock(&self.pending).stale.iter().cloned().collect()
    }

    /// From now on the index may be wrong about this user.
    pub(crate) fn mark_stale(&self, user: &UserName) {
        lock(&self.pending).stale.insert(user.clone());
    }

    /// Every item of a user, by number; `None` when the index cannot tell.
    pub(crate) fn list(&self, user: &UserName) -> Option<Vec<Summary>> {
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let db = self.current();
            if self.is_stale(user) {
                return None;
            }
            let before = found.len();
            if summaries(&db, user, after, &mut found).is_err() {
                self.mark_stale(user);
                return None;
            }
            drop(db);
            match found.last() {
                Some(last) if found.len() - before == PAGE as usize => after = signed(last.id.get()),
                _ => return Some(found),
            }
        }
    }

    /// What removal needs to know of an item.
    pub(crate) fn find(&self, user: &UserName, id: SpoolId) -> Option<RowFacts> {
        let db = lock(&self.db);
        let waiting = lock(&self.pending).rows.get(&(user.clone(), id)).cloned();
        if let Some(row) = waiting {
            return row.map(|row| row.facts);
        }
        let sql = "SELECT charged, stranger, key, forms FROM item WHERE user = ?1 AND id = ?2";
        let mut statement = db.prepare_cached(sql).ok()?;
        let row = statement.query_row(params![user.as_str(), signed(id.get())], |row| facts(row, 0));
        row.optional().ok().flatten()
    }

    /// The items of a user with this key.
    pub(crate) fn with_key(&self, user: &UserName, key: &Key) -> Vec<SpoolId> {
        let db = lock(&self.db);
        let pending = lock(&self.pending);
        let mut found: Vec<SpoolId> = ids_with_key(&db, user, key).unwrap_or_default();
        found.retain(|id| !matches!(pending.rows.get(&(user.clone(), *id)), Some(None)));
        let waiting = pending.rows.values().flatten();
        found.extend(
            waiting
                .filter(|row| row.user == *user && row.facts.key == Some(*key))
                .map(|row| row.summary.id),
        );
        found
    }

    /// The oldest items that were received before a time.
    pub(crate) fn received_before(
        &self,
        before: i64,
        most: usize,
    ) -> Result<Vec<(UserName, SpoolId)>, Error> {
        let db = self.current();
        let sql = "SELECT user, id FROM item WHERE received < ?1 ORDER BY received LIMIT ?2";
        let mut statement = db.prepare_cached(sql)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![before, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (user, id): (String, i64) = row?;
            found.extend(user.parse().ok().zip(number(id)));
        }
        Ok(found)
    }

    /// Every user that has rows.
    pub(crate) fn users(&self) -> Result<Vec<UserName>, Error> {
        let db = self.current();
        let mut statement = db.prepare_cached("SELECT DISTINCT user FROM item")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|user| user?.parse().map_err(|e| Error::damaged(INDEX, e)))
            .collect()
    }

    /// The numbers of a user's items, ascending.
    pub(crate) fn known(&self, user: &UserName) -> Result<Vec<Known>, Error> {
        let db = self.current();
        let sql = "SELECT id, forms FROM item WHERE user = ?1 ORDER BY id";
        let mut statement = db.prepare_cached(sql)?;
        let rows = statement.query_map(params![user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.map(|row| {
            let (id, forms): (i64, i64) = row?;
            let id = number(id).ok_or_else(|| Error::damaged(INDEX, format!("item number {id}")))?;
            Ok((id, forms & 1 != 0, forms & 2 != 0))
        })
        .collect()
    }

    /// The highest number that was ever seen for a user; 0 when there is none.
    pub(crate) fn high(&self, user: &UserName) -> Result<u64, Error> {
        let db = self.current();
        let sql = "SELECT max(id) FROM (SELECT id FROM high WHERE user = ?1 UNION ALL SELECT max(id) FROM item WHERE user = ?1)";
        let high: Option<i64> = db.query_row(sql, params![user.as_str()], |row| row.get(0))?;
        Ok(unsigned(high.unwrap_or_default()))
    }

    /// Writes corrections at once.
    pub(crate) fn correct(&self, put: &[Row], gone: &[(UserName, SpoolId)]) -> Result<(), Error> {
        let mut db = self.current();
        let put = put.iter().map(|row| (&row.user, row.summary.id, Some(row)));
        let gone = gone.iter().map(|(user, id)| (user, *id, None));
        self.write(&mut db, put.chain(gone))
    }

    /// Forgets a user that has no directory.
    pub(crate) fn forget(&self, user: &UserName) -> Result<(), Error> {
        let db = self.current();
        db.execute("DELETE FROM item WHERE user = ?1", params![user.as_str()])?;
        Ok(())
    }

    /// Repairs a stale user. `compare` is given the rows that the index holds and gives back those that are right;
    /// while it runs nothing is written, so that no later change can be undone by it. The right rows, by number.
    pub(crate) fn repair(
        &self,
        user: &UserName,
        compare: impl FnOnce(Vec<Row>) -> Result<Vec<Row>, Error>,
    ) -> Result<Vec<Row>, Error> {
        let mut db = self.current();
        let held = rows(&db, user).unwrap_or_default();
        let ids: Vec<SpoolId> = held.iter().map(|row| row.summary.id).collect();
        let right = compare(held)?;
        let good: HashSet<SpoolId> = right.iter().map(|row| row.summary.id).collect();
        let held: HashSet<SpoolId> = ids.iter().copied().collect();
        let put = right.iter().filter(|row| !held.contains(&row.summary.id));
        let put = put.map(|row| (&row.user, row.summary.id, Some(row)));
        let gone = ids
            .iter()
            .filter(|id| !good.contains(*id))
            .map(|id| (user, *id, None));
        // No room for it yet: the answer is right all the same, and the user stays stale.
        if self.write(&mut db, put.chain(gone)).is_ok() {
            lock(&self.pending).stale.remove(user);
        }
        Ok(right)
    }

    /// Bytes and items of every user and stranger: for the ledger.
    pub(crate) fn tallies(&self) -> Result<Vec<(UserName, Option<Stranger>, Usage)>, Error> {
        let db = self.current();
        let sql = "SELECT user, stranger, sum(charged), count(*) FROM item GROUP BY user, stranger";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let usage = Usage {
                bytes: unsigned(row.get(2)?),
                items: unsigned(row.get(3)?),
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, usage))
        })?;
        rows.map(|row| {
            let (user, stranger, usage) = row?;
            let user = user.parse().map_err(|e| Error::damaged(INDEX, e))?;
            Ok((user, stranger.map(Stranger::stored), usage))
        })
        .collect()
    }

    /// Writes what waits and makes the database durable; whether all of it is in there.
    pub(crate) fn close(&self) -> bool {
        let db = self.current();
        let durable = db.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE);");
        let pending = lock(&self.pending);
        durable.is_ok() && pending.stale.is_empty() && !pending.jobs_stale
    }
}

fn insert(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
    let (summary, facts) = (&row.summary, &row.facts);
    let letter = summary.file_type.letter();
    let mut bytes = [0; 4];
    let receipt = summary.receipt.as_ref().map(serde_json::to_string);
    statement.execute(params![
        row.user.as_str(),
        signed(summary.id.get()),
        summary.from,
        &*letter.encode_utf8(&mut bytes),
        signed(summary.size),
        summary.received,
        summary.name,
        summary.title,
        signed(facts.charged),
        facts.stranger.as_ref().map(Stranger::as_str),
        facts.key,
        i64::from(facts.wire) | i64::from(facts.aux) << 1,
        receipt
            .transpose()
            .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?,
    ])?;
    Ok(())
}

fn facts(row: &rusqlite::Row<'_>, from: usize) -> rusqlite::Result<RowFacts> {
    let forms: i64 = row.get(from + 3)?;
    Ok(RowFacts {
        charged: unsigned(row.get(from)?),
        stranger: row.get::<_, Option<String>>(from + 1)?.map(Stranger::stored),
        key: row.get(from + 2)?,
        wire: forms & 1 != 0,
        aux: forms & 2 != 0,
    })
}

fn summary(row: &rusqlite::Row<'_>) -> rusqlite::Result<Summary> {
    let wrong = |column| rusqlite::Error::InvalidColumnType(column, "item".into(), Type::Null);
    let letter = row.get_ref(2)?.as_str()?.chars().next();
    let file_type = FileType::ALL
        .into_iter()
        .find(|known| Some(known.letter()) == letter);
    Ok(Summary {
        id: number(row.get(0)?).ok_or_else(|| wrong(0))?,
        from: row.get(1)?,
        file_type: file_type.ok_or_else(|| wrong(2))?,
        size: unsigned(row.get(3)?),
        received: row.get(4)?,
        name: row.get(5)?,
        title: row.get(6)?,
        receipt: receipt(row, 7)?,
    })
}

/// The receipt that a row holds, in the form that it has in the envelope.
fn receipt(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Receipt>> {
    let text: Option<String> = row.get(column)?;
    let receipt = text.map(|text| serde_json::from_str(&text)).transpose();
    receipt.map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}

fn summaries(db: &Connection, user: &UserName, after: i64, into: &mut Vec<Summary>) -> rusqlite::Result<()> {
    let sql = "SELECT id, sender, type, size, received, name, title, receipt FROM item
        WHERE user = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![user.as_str(), after, PAGE])?;
    while let Some(row) = rows.next()? {
        into.push(summary(row)?);
    }
    Ok(())
}

fn rows(db: &Connection, user: &UserName) -> rusqlite::Result<Vec<Row>> {
    let sql = "SELECT id, sender, type, size, received, name, title, receipt, charged, stranger, key, forms FROM item
        WHERE user = ?1 ORDER BY id";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![user.as_str()], |row| {
        Ok(Row {
            user: user.clone(),
            summary: summary(row)?,
            facts: facts(row, 8)?,
        })
    })?;
    rows.collect()
}

fn ids_with_key(db: &Connection, user: &UserName, key: &Key) -> rusqlite::Result<Vec<SpoolId>> {
    let mut statement = db.prepare_cached("SELECT id FROM item WHERE key = ?1 AND user = ?2")?;
    let rows = statement.query_map(params![key, user.as_str()], |row| row.get(0))?;
    let mut found = Vec::new();
    for row in rows {
        found.extend(number(row?));
    }
    Ok(found)
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn number(id: i64) -> Option<SpoolId> {
    SpoolId::new(u64::try_from(id).ok()?)
}
