//! The gateway's own letters: what it has to say to the sender of a file.
//!
//! A letter goes only where a sender is *proven* to be: a user of this host, or somebody whom a known peer vouches for.
//! Everybody else was told in the session, or not at all: a letter to a claimed sender would be mail to a victim. A
//! letter has no return, so that nothing is ever sent because of one. Each has a transfer id of its own: written twice,
//! it is stored once.
//! What it does *not* do: decide that something is worth a letter, or send one to another host (the queue does).

use uft_spool::{
    Attribute, Committed, Delivery, Error, Facts, FileType, Job, Origin, Proof, QueuedItem, Spool, SpoolId,
    TypeSpec, UserName,
};

use crate::display::shown;
use crate::route::{Address, Party, Place, Route, Table};

/// Priority of letters: before files.
const PRIORITY: u8 = 10;

/// What is said to the sender of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Name of the letter as a file.
    pub(crate) name: String,
    /// What lists show.
    pub(crate) title: String,
    /// The text, lines end with LF.
    pub(crate) text: String,
    /// The same for the same event: a transfer id.
    pub(crate) xid: String,
}

/// Where letters are handed in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Office<'a> {
    /// The spool.
    pub(crate) spool: &'a Spool,
    /// Where files go.
    pub(crate) table: &'a Table,
    /// Our node name.
    pub(crate) node: &'a str,
    /// Our host name.
    pub(crate) hostname: &'a str,
}

impl Letter {
    /// A file was not delivered, and will not be.
    pub(crate) fn failure(item: &QueuedItem, why: &str, node: &str) -> Letter {
        let facts = &item.envelope.facts;
        let name = facts.name.as_deref().map_or_else(|| "a file".to_owned(), shown);
        let to = shown(&format!("{}@{}", item.job.to, item.job.place));
        let bytes = item.envelope.wire.bytes;
        Letter {
            name: "not-delivered.txt".into(),
            title: format!("not delivered: {name} to {to}"),
            text: format!(
                "{name} ({bytes} bytes) for {to} was not delivered.\n\n    {}\n\nIt was given up at {node}, where it is \
                 kept as item {} of the queue for the administrator.\n",
                shown(why),
                item.id
            ),
            xid: format!("{node}.failed.{}", item.id),
        }
    }

    /// What became of a file that its sender wanted to hear of.
    pub(crate) fn news(facts: &Facts, who: &UserName, id: SpoolId, what: &str, node: &str) -> Letter {
        let name = facts.name.as_deref().map_or_else(|| "a file".to_owned(), shown);
        Letter {
            name: format!("{what}.txt"),
            title: format!("{what}: {name} by {who}@{node}"),
            text: format!("{name} was {what} by {who}@{node}.\n"),
            xid: format!("{node}.{what}.{who}.{id}"),
        }
    }
}

impl Office<'_> {
    /// Whether a sender can be written to.
    pub(crate) fn reaches(to: &Origin) -> bool {
        !to.user.is_empty() && (to.proof == Proof::Local || to.proof.is_gateway())
    }

    /// Hands in a letter to the sender of a file; the inboxes of this host that have it now.
    ///
    /// # Errors
    /// What the spool says.
    pub(crate) fn send(
        &self,
        to: &Origin,
        letter: Letter,
        now: i64,
    ) -> Result<Vec<(UserName, SpoolId)>, Error> {
        let Some((users, jobs)) = self.address(to, now) else {
            return Ok(Vec::new());
        };
        let owners: Vec<Option<UserName>> = jobs.iter().map(|job| job.owner.clone()).collect();
        let bytes = letter.text.len() as u64;
        let reservation = self.spool.reserve(&users, &owners, None, Some(bytes))?;
        let mut local = self.spool.stage(&reservation);
        local.write(letter.text.as_bytes())?;
        let measure = local.measure();
        let delivery = Delivery {
            to: users,
            jobs,
            reservation,
            local,
            wire: None,
            wire_measure: measure,
            aux: None,
            facts: self.facts(letter, now),
        };
        match self.spool.commit(delivery)? {
            Committed::Stored(placed) => Ok(placed.inbox),
            Committed::Repeat(_) => Ok(Vec::new()),
        }
    }

    /// The inbox or the job that leads to a sender; `None` when nothing does.
    fn address(&self, to: &Origin, now: i64) -> Option<(Vec<UserName>, Vec<Job>)> {
        if !Office::reaches(to) {
            return None;
        }
        if to.proof == Proof::Local {
            return Some((vec![to.user.parse().ok()?], Vec::new()));
        }
        let address = Address {
            user: to.user.clone(),
            place: Some(to.node.as_deref()?.parse::<Place>().ok()?),
        };
        let ours = Party {
            local: true,
            link: None,
        };
        match self.table.decide(&address, &ours) {
            Route::Inbox(user) => Some((vec![user.parse().ok()?], Vec::new())),
            Route::Peers(_) | Route::Hold => {
                let place = address.place?.to_string();
                let job = Job {
                    to: address.user,
                    place,
                    queued: now,
                    priority: PRIORITY,
                    notice: true,
                    ..Job::default()
                };
                Some((Vec::new(), vec![job]))
            }
            // A claim of a peer is no reason to talk to a host that no rule names.
            Route::Direct { .. } | Route::Mail | Route::Refuse(_) => None,
        }
    }

    fn facts(&self, letter: Letter, now: i64) -> Facts {
        Facts {
            name: Some(letter.name),
            spec: TypeSpec::plain(FileType::I),
            stored_as: FileType::I,
            origin: Origin {
                user: "uftd".into(),
                node: Some(self.node.to_owned()),
                host: self.hostname.to_owned(),
                proof: Proof::Local,
            },
            received: now,
            attributes: vec![Attribute {
                key: "TITLE".into(),
                value: letter.title,
            }],
            xid: Some(letter.xid),
            exact: true,
            notes: Vec::new(),
            receipt: None,
        }
    }
}
