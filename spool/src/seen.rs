//! Transfers that were delivered and whose item is gone: remembered for seven days, so that a repeat is known.
//!
//! `seen.log` is a sequence of records of 64 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 32 | key of the transfer, see [`key`] |
//! | 32 | 8 | number that the item had, little-endian |
//! | 40 | 8 | when it was removed, seconds since 1970, signed, little-endian |
//! | 48 | 16 | first half of BLAKE3 of the 48 bytes before |
//!
//! A record that does not add up is skipped. Old ones are dropped by writing the file anew when the spool is opened.
//! What this file does *not* know: transfers whose item is still there; the index finds those.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use crate::dir::Dir;
use crate::disk::{Disk, Handle, lock};
use crate::envelope::{Envelope, Origin, Proof};
use crate::error::Error;
use crate::group::Group;
use crate::id::UserName;
use crate::job::Job;

/// Name of the log.
pub(crate) const SEEN: &str = "seen.log";
/// Seconds that a finished transfer is remembered.
pub(crate) const REMEMBERED: i64 = 7 * 24 * 3600;

const RECORD: usize = 64;
/// Entries in memory before old ones are looked for.
const CROWD: usize = 65_536;

/// What makes two deliveries the same.
pub(crate) type Key = [u8; 32];

/// What of a delivery says which transfer it is, besides its recipient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) xid: Option<&'a str>,
    pub(crate) origin: &'a Origin,
    pub(crate) wire: &'a blake3::Hash,
}

impl<'a> From<&'a Envelope> for Sent<'a> {
    fn from(envelope: &'a Envelope) -> Sent<'a> {
        Sent {
            xid: envelope.facts.xid.as_deref(),
            origin: &envelope.facts.origin,
            wire: &envelope.wire.blake3,
        }
    }
}

/// The key of an item in `user`'s inbox, if its sender gave the transfer an id: BLAKE3 of transfer id, sender and
/// recipient, each after its length in bytes (32 bits, little-endian), and the digest of the wire form.
///
/// The sender is the user name, followed by the node for one of another host: two nodes may each have a `maint`, and
/// count their transfers from 1. A local user needs no node to be told from others.
pub(crate) fn key<'a>(sent: impl Into<Sent<'a>>, user: &UserName) -> Option<Key> {
    let sent = sent.into();
    let xid = sent.xid?;
    Some(digest(&sent, xid, user.as_str()))
}

/// The key of an item in the queue, made in the same way; the recipient is `to@place`, which no user is called.
pub(crate) fn job_key<'a>(sent: impl Into<Sent<'a>>, job: &Job) -> Option<Key> {
    let sent = sent.into();
    let xid = job.xid.as_deref().or(sent.xid)?;
    Some(digest(&sent, xid, &format!("{}@{}", job.to, job.place)))
}

fn digest(sent: &Sent<'_>, xid: &str, recipient: &str) -> Key {
    let origin = sent.origin;
    let node = origin.node.as_deref().filter(|_| origin.proof != Proof::Local);
    let mut hasher = blake3::Hasher::new();
    for part in [Some(xid), Some(&origin.user), node, Some(recipient)]
        .into_iter()
        .flatten()
    {
        hasher.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(sent.wire.as_bytes());
    *hasher.finalize().as_bytes()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) id: u64,
    pub(crate) time: i64,
}

impl Entry {
    fn append(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        let digest = blake3::hash(out.get(start..).unwrap_or_default());
        out.extend(digest.as_bytes().iter().take(16));
    }

    fn parse(record: &[u8]) -> Option<Entry> {
        let (key, rest) = record.split_first_chunk::<32>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (time, _) = rest.split_first_chunk::<8>()?;
        let entry = Entry {
            key: *key,
            id: u64::from_le_bytes(*id),
            time: i64::from_le_bytes(*time),
        };
        let mut again = Vec::with_capacity(RECORD);
        entry.append(&mut again);
        (again == record).then_some(entry)
    }

    fn is_fresh(&self, now: i64) -> bool {
        now.saturating_sub(self.time) < REMEMBERED
    }
}

#[derive(Debug)]
struct Log {
    known: HashMap<Key, (u64, i64)>,
    handle: Option<Arc<Handle>>,
    /// Where the next record goes: behind the last one that was written whole.
    end: u64,
    crowd: usize,
}

/// The log, open.
#[derive(Debug)]
pub(crate) struct Seen {
    log: Mutex<Log>,
    group: Group,
}

impl Seen {
    /// Reads the log, and writes it anew when something in it is old or spoiled.
    ///
    /// # Errors
    /// Only what is not about the disk being full: without room the log is read, and used as it is.
    pub(crate) fn open(disk: &Disk, root: &Dir, tmp: &Dir, now: i64) -> Result<Seen, Error> {
        let handle = match disk.open_own(root, SEEN) {
            Ok(handle) => Some(Arc::new(handle)),
            Err(e) if e.is(io::ErrorKind::NotFound) => None,
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        if let Some(handle) = &handle {
            (&handle.file)
                .read_to_end(&mut bytes)
                .map_err(|e| Error::io("read", &handle.path, e))?;
        }
        let read = bytes.chunks(RECORD).map(Entry::parse);
        let fresh: Vec<Entry> = read.flatten().filter(|entry| entry.is_fresh(now)).collect();
        let known = fresh
            .iter()
            .map(|entry| (entry.key, (entry.id, entry.time)))
            .collect();
        let mut log = Log {
            known,
            handle,
            end: (bytes.len() / RECORD * RECORD) as u64,
            crowd: CROWD,
        };
        if fresh.len() * RECORD != bytes.len() {
            match rewrite(disk, root, tmp, &fresh) {
                Ok(handle) => {
                    log.end = (fresh.len() * RECORD) as u64;
                    log.handle = Some(Arc::new(handle));
                }
                Err(e) if e.is_room() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Seen {
            log: Mutex::new(log),
            group: Group::default(),
        })
    }

    /// The number that the item of this key had.
    pub(crate) fn find(&self, key: &Key) -> Option<u64> {
        lock(&self.log).known.get(key).map(|(id, _)| *id)
    }

    /// The highest number of any item in the log, whoever it belonged to.
    pub(crate) fn highest(&self) -> u64 {
        lock(&self.log)
            .known
            .values()
            .map(|(id, _)| *id)
            .max()
            .unwrap_or_default()
    }

    /// Remembers, durably if it can be: the caller goes on in any case. In memory it is remembered even so.
    pub(crate) fn append(&self, disk: &Disk, root: &Dir, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let mut log = lock(&self.log);
        if log.known.len() > log.crowd {
            log.known
                .retain(|_, (_, time)| first.time.saturating_sub(*time) < REMEMBERED);
            log.crowd = CROWD.max(log.known.len() * 2);
        }
        log.known
            .extend(entries.iter().map(|entry| (entry.key, (entry.id, entry.time))));
        let handle = match log.handle.take() {
            Some(handle) => handle,
            None => {
                let handle = disk.create(root, SEEN)?;
                disk.sync_dir(root)?;
                Arc::new(handle)
            }
        };
        let mut bytes = Vec::with_capacity(entries.len() * RECORD);
        entries.iter().for_each(|entry| entry.append(&mut bytes));
        // What a failed write has left behind is overwritten by the next one.
        let written = disk.write_at(&handle, &bytes, log.end);
        log.handle = Some(handle.clone());
        written?;
        log.end += bytes.len() as u64;
        drop(log);
        self.group.sync(|| disk.sync(&handle))
    }
}

fn rewrite(disk: &Disk, root: &Dir, tmp: &Dir, entries: &[Entry]) -> Result<Handle, Error> {
    let mut bytes = Vec::with_capacity(entries.len() * RECORD);
    entries.iter().for_each(|entry| entry.append(&mut bytes));
    let handle = disk.create(tmp, SEEN)?;
    let placed = disk
        .write_at(&handle, &bytes, 0)
        .and_then(|()| disk.sync(&handle))
        .and_then(|()| disk.replace((tmp, SEEN), (root, SEEN)))
        .and_then(|()| disk.sync_dir(root));
    if let Err(e) = placed {
        let _ = disk.unlink(tmp, SEEN);
        return Err(e);
    }
    Ok(Handle {
        path: root.path.join(SEEN),
        ..handle
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: i64 = 1_795_218_990;

    fn entry(n: u8, time: i64) -> Entry {
        Entry {
            key: [n; 32],
            id: n.into(),
            time,
        }
    }

    fn dirs() -> (tempfile::TempDir, Dir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("tmp")).unwrap();
        let root = Dir::root(temp.path()).unwrap();
        let tmp = root.sub("tmp").unwrap();
        (temp, root, tmp)
    }

    #[test]
    fn a_transfer_is_forgotten_after_seven_days() {
        let (_temp, root, tmp) = dirs();
        let disk = Disk::new();
        let seen = Seen::open(&disk, &root, &tmp, NOW).unwrap();
        seen.append(&disk, &root, &[entry(1, NOW), entry(2, NOW + 100)])
            .unwrap();
        seen.append(&disk, &root, &[entry(3, NOW + 100)]).unwrap();
        let open = |now| Seen::open(&disk, &root, &tmp, now).unwrap();
        assert_eq!(open(NOW + REMEMBERED - 1).find(&[1; 32]), Some(1));
        let later = open(NOW + REMEMBERED);
        assert_eq!([1, 2, 3].map(|n| later.find(&[n; 32])), [None, Some(2), Some(3)]);
        assert_eq!(std::fs::read(root.path.join(SEEN)).unwrap().len(), 2 * RECORD);
        later.append(&disk, &root, &[entry(4, NOW)]).unwrap();
        assert_eq!(open(NOW).find(&[4; 32]), Some(4));
    }

    #[test]
    fn a_write_that_failed_half_way_spoils_nothing() {
        let (_temp, root, tmp) = dirs();
        let disk = Disk::planned();
        let seen = Seen::open(&disk, &root, &tmp, NOW).unwrap();
        seen.append(&disk, &root, &[entry(1, NOW)]).unwrap();
        disk.fail(crate::Fault {
            act: crate::Act::Write,
            nth: 1,
            errno: 28,
            lasting: false,
        });
        assert!(seen.append(&disk, &root, &[entry(2, NOW)]).is_err());
        assert_eq!(seen.find(&[2; 32]), Some(2));
        seen.append(&disk, &root, &[entry(3, NOW)]).unwrap();
        let again = Seen::open(&disk, &root, &tmp, NOW).unwrap();
        assert_eq!([1, 2, 3].map(|n| again.find(&[n; 32])), [Some(1), None, Some(3)]);
    }

    #[test]
    fn a_key_of_two_parts_is_not_the_key_of_others_that_join_to_the_same() {
        let (ann, nn) = ("ann".parse().unwrap(), "nn".parse().unwrap());
        let envelope = |xid: &str, user: &str| {
            let text = format!(
                r#"{{"version":1,"type":{{"file_type":"I"}},"stored_as":"I","received":0,"exact":true,"wire_kept":false,
                "origin":{{"user":"{user}","host":"h","proof":"local"}},"xid":"{xid}",
                "local":{{"bytes":0,"blake3":"{0}"}},"wire":{{"bytes":0,"blake3":"{0}"}}}}"#,
                blake3::hash(b"")
            );
            serde_json::from_str::<Envelope>(&text).unwrap()
        };
        let keys = [
            key(&envelope("x", "ua"), &nn),
            key(&envelope("x", "u"), &ann),
            key(&envelope("xu", ""), &ann),
            key(&envelope("", "xu"), &ann),
        ];
        assert_eq!(keys.iter().flatten().collect::<HashSet<_>>().len(), keys.len());
    }
}
