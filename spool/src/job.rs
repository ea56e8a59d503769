//! Jobs: what an item in the queue is addressed to, how it stands, and the file that says so.
//!
//! Pure. A job file is two lines: the record as JSON, and the BLAKE3 of that line (its line feed included) as 64
//! hexadecimal digits. What it does *not* hold: the number of the job and whether it is held or failed (those are the
//! file's place), attempts and times of the next one (those are in the index only, and may be lost), or anything of
//! the item itself.

use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::id::{SpoolId, UserName};
use crate::seen::Key;

/// Priority of a job that says nothing else (`META PRI`).
pub const PRIORITY: u8 = 50;

/// The version of the job file that this program writes and reads.
const VERSION: u32 = 1;
/// Longest job file that is read, in bytes.
pub(crate) const JOB_MAX: u64 = 64 * 1024;

/// What a queued item is addressed to, and what its sender should hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The user, as addressed.
    pub to: String,
    /// The destination in its canonical form: a node (`BETA`) or a host and port (`beta.example:608`).
    pub place: String,
    /// The local user whose job it is and whose quota it counts against; `None`: it came from a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserName>,
    /// The peer that it arrived from: it is never sent back there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// When it was queued, seconds since 1970-01-01 00:00 UTC.
    pub queued: i64,
    /// 0 to 99, low first.
    pub priority: u8,
    /// It is a notice: when it fails, nobody is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notice: bool,
    /// Why it is held or has failed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its transfer id, where that is not the item's: a forward is a transfer of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<String>,
}

impl Default for Job {
    /// Nobody's job to nobody, with the usual priority: for the fields that a caller does not name.
    fn default() -> Job {
        Job {
            to: String::new(),
            place: String::new(),
            owner: None,
            link: None,
            queued: 0,
            priority: PRIORITY,
            notice: false,
            why: None,
            xid: None,
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It may be sent.
    Ready,
    /// It waits for its next attempt, at [`Progress::due`].
    Deferred,
    /// It waits until somebody releases it.
    Held,
    /// It was given up; it is kept until somebody releases or purges it.
    Failed,
}

/// What was tried. It is kept in the index only: a job whose progress was lost is tried at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Attempts so far.
    pub attempts: u32,
    /// When the next attempt is due, seconds since 1970-01-01 00:00 UTC; 0: at once.
    pub due: i64,
    /// The last answer, or why there was none: hostile text.
    pub said: String,
}

/// One job of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its number in the queue.
    pub id: SpoolId,
    /// How it stands.
    pub state: State,
    /// Where it goes.
    pub job: Job,
    /// Bytes of the wire form.
    pub size: u64,
    /// Who sent it, as claimed: `user@node` (or host), or the host alone.
    pub from: String,
    /// The name as sent: hostile text.
    pub name: Option<String>,
    /// What was tried.
    pub progress: Progress,
}

/// One job with the envelope of its item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedItem {
    /// Its number in the queue.
    pub id: SpoolId,
    /// How it stands.
    pub state: State,
    /// Where it goes.
    pub job: Job,
    /// What is known of the item.
    pub envelope: Envelope,
    /// What was tried.
    pub progress: Progress,
}

impl QueuedItem {
    /// The transfer id under which it is sent: the job's own, else the item's.
    pub fn xid(&self) -> Option<&str> {
        self.job.xid.as_deref().or(self.envelope.facts.xid.as_deref())
    }
}

/// One step in the story of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chapter {
    /// When, seconds since 1970-01-01 00:00 UTC.
    pub at: i64,
    /// What happened; parts of it may be hostile text.
    pub text: String,
}

/// Which directory a job file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shelf {
    /// `queue/`: to be sent.
    Queue,
    /// `queue/held/`.
    Held,
    /// `failed/`.
    Failed,
}

impl Shelf {
    /// Every one, in the order in which a job is looked for.
    pub(crate) const ALL: [Shelf; 3] = [Shelf::Queue, Shelf::Held, Shelf::Failed];

    /// The state of a job that lies here.
    pub(crate) fn state(self, progress: &Progress) -> State {
        match self {
            Shelf::Queue if progress.due > 0 => State::Deferred,
            Shelf::Queue => State::Ready,
            Shelf::Held => State::Held,
            Shelf::Failed => State::Failed,
        }
    }
}

/// The content of a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobFile {
    version: u32,
    /// How often the job was changed: of two copies that a crash has left, the higher one is right.
    pub(crate) change: u64,
    /// What a repeat of the transfer is known by: that of its first address, whatever the job is rerouted to.
    #[serde(default, with = "hex_key", skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
    #[serde(flatten)]
    pub(crate) job: Job,
}

impl JobFile {
    /// The file of a new job.
    pub(crate) fn new(job: Job, key: Option<Key>) -> JobFile {
        JobFile {
            version: VERSION,
            change: 0,
            key,
            job,
        }
    }

    /// The bytes of the file; `None` when they would be too many to be read again.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).ok()?;
        bytes.push(b'\n');
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.to_hex().as_bytes());
        bytes.push(b'\n');
        (bytes.len() as u64 <= JOB_MAX).then_some(bytes)
    }

    /// Reads a job file. Any input is safe.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<JobFile, String> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or("it has no line")?;
        let (line, rest) = bytes.split_at(end + 1);
        let digest = rest.strip_suffix(b"\n").unwrap_or_default();
        if digest != blake3::hash(line).to_hex().as_bytes() {
            return Err("it does not match its digest".into());
        }
        let file: JobFile = serde_json::from_slice(line).map_err(|e| format!("it cannot be read: {e}"))?;
        match file.version {
            VERSION => Ok(file),
            other => Err(format!("a job of version {other}, {VERSION} is known")),
        }
    }
}

mod hex_key {
    //! A key as 64 hexadecimal digits.

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Key;

    pub(super) fn serialize<S: Serializer>(key: &Option<Key>, to: S) -> Result<S::Ok, S::Error> {
        match key {
            Some(key) => to.serialize_str(blake3::Hash::from_bytes(*key).to_hex().as_str()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Key>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let hash = blake3::Hash::from_hex(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Some(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> JobFile {
        JobFile {
            change: 3,
            ..JobFile::new(
                Job {
                    to: "bob\n\u{1b}".into(),
                    place: "BETA".into(),
                    owner: Some("ann".parse().unwrap()),
                    queued: -1,
                    why: Some("two\nlines".into()),
                    ..Job::default()
                },
                Some([7; 32]),
            )
        }
    }

    #[test]
    fn a_job_file_is_read_as_it_was_written() {
        let bytes = file().bytes().unwrap();
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 2);
        assert_eq!(JobFile::parse(&bytes).unwrap(), file());
        let plain = JobFile::new(Job::default(), None);
        assert_eq!(JobFile::parse(&plain.bytes().unwrap()).unwrap(), plain);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_job_file_is_found() {
        let whole = file().bytes().unwrap();
        for len in 0..whole.len() {
            assert!(JobFile::parse(&whole[..len]).is_err(), "{len}");
        }
        let mut bytes = whole.clone();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(JobFile::parse(&bytes).is_err(), "{at} {bit}");
                bytes[at] ^= 1 << bit;
            }
        }
        bytes.push(b'\n');
        assert!(JobFile::parse(&bytes).is_err());
    }

    fn sealed(json: &str) -> Vec<u8> {
        let line = format!("{json}\n");
        let digest = blake3::hash(line.as_bytes()).to_hex();
        format!("{line}{digest}\n").into_bytes()
    }

    #[test]
    fn a_later_version_is_not_guessed_at_and_unknown_fields_are_passed_over() {
        let json =
            r#"{"version":1,"change":0,"to":"bob","place":"BETA","queued":5,"priority":50,"colour":"red"}"#;
        assert_eq!(JobFile::parse(&sealed(json)).unwrap().job.to, "bob");
        let later = json.replace("\"version\":1", "\"version\":2");
        assert!(JobFile::parse(&sealed(&later)).unwrap_err().contains("version 2"));
        let bare = json.replace("\"to\":\"bob\",", "");
        assert!(JobFile::parse(&sealed(&bare)).unwrap_err().contains("`to`"));
    }

    proptest! {
        #[test]
        fn any_job_file_may_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..200), json in ".{0,200}") {
            let _ = JobFile::parse(&bytes);
            let _ = JobFile::parse(&sealed(&json));
        }

        #[test]
        fn any_job_is_read_as_it_was_written(to in ".*", place in ".*", why in proptest::option::of(".*"), queued: i64) {
            let job = Job { to, place, why, queued, ..Job::default() };
            let file = JobFile::new(job, None);
            prop_assert_eq!(JobFile::parse(&file.bytes().unwrap()).unwrap(), file);
        }
    }

    #[test]
    fn a_job_that_could_not_be_read_again_is_not_written() {
        let long = Job {
            to: "x".repeat(JOB_MAX as usize),
            ..Job::default()
        };
        assert_eq!(JobFile::new(long, None).bytes(), None);
    }
}
