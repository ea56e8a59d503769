//! The gateway's own letters: what it has to say to the sender of a file.
//!
//! A letter goes only where a sender is *proven* to be: a user of this host, or somebody whom a known gateway vouches
//! for. Everybody else was told in the session, or not at all: a letter to a claimed sender would be mail to a victim.
//! Letters cause no letters: one that fails is dropped. Each has a transfer id of its own: written twice, it is stored
//! once.
//! What it does *not* do: decide that something is worth a letter, or send one to another host (the queue does).

use uft_spool::{
    Attribute, Committed, Delivery, Error, Facts, FileType, Item, Job, Measure, Origin, Proof, QueuedItem,
    Spool, SpoolId, Staged, TypeSpec, UserName,
};

use crate::display::shown;
use crate::route::{Address, Party, Place, Route, Table};

/// Priority of letters: before files.
const PRIORITY: u8 = 10;

/// What is said to the sender of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// The user whom it is from; none: the gateway itself, and nobody can answer.
    pub(crate) from: Option<UserName>,
    /// What it says.
    pub(crate) content: Content,
    /// The same for the same event: a transfer id.
    pub(crate) xid: String,
}

/// What a letter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Lines for people, type A.
    Text {
        /// Name of the letter as a file.
        name: String,
        /// What lists show.
        title: String,
        /// Lines end with LF.
        text: String,
    },
    /// A receipt in NETDATA, and what it says.
    Netdata(Vec<u8>, Option<uft_spool::Receipt>),
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

/// What became of a file, as its sender is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is in the inbox of its recipient.
    Delivered,
    /// Its recipient took it.
    Received,
    /// Its recipient discarded it.
    Discarded,
}

impl News {
    fn word(self) -> &'static str {
        match self {
            News::Delivered => "delivered",
            News::Received => "received",
            News::Discarded => "discarded",
        }
    }

    /// Whether the sender of a file asked to hear of this: `META NOTIFY address`, or `META NOTIFY address received`.
    pub(crate) fn wanted(self, facts: &Facts) -> bool {
        let Some(notify) = facts.attribute("NOTIFY") else {
            return false;
        };
        let more = notify.split_ascii_whitespace().nth(1).unwrap_or_default();
        self == News::Delivered || more.eq_ignore_ascii_case("received")
    }
}

impl Letter {
    /// A file was not delivered, and will not be.
    pub(crate) fn failure(item: &QueuedItem, why: &str, node: &str) -> Letter {
        let name = named(&item.envelope.facts);
        let to = shown(&format!("{}@{}", item.job.to, item.job.place));
        let (id, bytes) = (item.id, item.envelope.wire.bytes);
        // One that is freed and fails again is told again: it was queued anew.
        let queued = item.job.queued;
        let why = shown(why);
        Letter {
            from: None,
            content: Content::Text {
                name: "not-delivered.txt".into(),
                title: format!("not delivered: {name} to {to}"),
                text: format!(
                    "{name} ({bytes} bytes) for {to} was not delivered:\n\n    {why}\n\n\
                     It was given up at {node}, which keeps it as job {id}.\n"
                ),
            },
            xid: format!("{node}.failed.{id}.{queued}"),
        }
    }

    /// The program that a file is for did not take it; `last`: and it will not be asked again.
    pub(crate) fn unhandled(item: &Item, why: &str, last: bool, node: &str) -> Letter {
        let name = named(&item.envelope.facts);
        let to = format!("{}@{node}", item.user);
        let (id, why) = (item.id, shown(why));
        let then = match last {
            true => "It is not tried again by itself; the administrator there has the file.",
            false => "It is tried again.",
        };
        Letter {
            from: None,
            content: Content::Text {
                name: "not-handled.txt".into(),
                title: format!("not handled: {name} for {to}"),
                text: format!(
                    "{name} arrived for {to}, whose program did not take it:\n\n    {why}\n\n{then}\n"
                ),
            },
            xid: format!("{node}.unhandled.{}.{id}.{last}", item.user),
        }
    }

    /// What became of a file in an inbox.
    pub(crate) fn news(facts: &Facts, user: &UserName, id: SpoolId, news: News, node: &str) -> Letter {
        let (name, word) = (named(facts), news.word());
        Letter {
            from: None,
            content: Content::Text {
                name: format!("{word}.txt"),
                title: format!("{word}: {name} to {user}@{node}"),
                text: match news {
                    News::Delivered => format!("{name} is in the inbox of {user}@{node}.\n"),
                    News::Received | News::Discarded => format!("{name} was {word} by {user}@{node}.\n"),
                },
            },
            xid: format!("{node}.{word}.{user}.{id}"),
        }
    }
}

/// The name of a file for people.
fn named(facts: &Facts) -> String {
    facts.name.as_deref().map_or_else(|| "a file".to_owned(), shown)
}

impl Office<'_> {
    /// Whether a sender can be written to.
    pub(crate) fn reaches(to: &Origin) -> bool {
        !to.user.is_empty() && (to.proof == Proof::Local || to.proof.is_gateway())
    }

    /// Hands in a letter to the sender of a file; the inboxes of this host that have it now. A sender who cannot be
    /// reached gets none.
    ///
    /// # Errors
    /// What the spool says.
    pub(crate) fn send(
        &self,
        to: &Origin,
        letter: Letter,
        now: i64,
    ) -> Result<Vec<(UserName, SpoolId)>, Error> {
        let (users, jobs) = match self.address(to, now) {
            Some(Ok(user)) => (vec![user], Vec::new()),
            Some(Err(job)) => (Vec::new(), vec![job]),
            None => return Ok(Vec::new()),
        };
        let owners: Vec<Option<UserName>> = jobs.iter().map(|job| job.owner.clone()).collect();
        let reservation = self.spool.reserve(&users, &owners, None, None)?;
        let mut local = self.spool.stage(&reservation);
        let wire_measure = letter.content.write(&mut local, jobs.is_empty())?;
        let delivery = Delivery {
            facts: self.facts(letter, jobs.is_empty(), now),
            to: users,
            jobs,
            reservation,
            local,
            wire: None,
            wire_measure,
            aux: None,
        };
        match self.spool.commit(delivery)? {
            Committed::Stored(placed) => Ok(placed.inbox),
            Committed::Repeat(_) => Ok(Vec::new()),
        }
    }

    /// The inbox or the job that leads to a sender; `None` when nothing does.
    fn address(&self, to: &Origin, now: i64) -> Option<Result<UserName, Job>> {
        if !Office::reaches(to) {
            return None;
        }
        if to.proof == Proof::Local {
            return Some(Ok(to.user.parse().ok()?));
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
            Route::Inbox(user) => Some(Ok(user.parse().ok()?)),
            Route::Peers(_) | Route::Hold => {
                let place = address.place?.to_string();
                Some(Err(Job {
                    to: address.user,
                    place,
                    queued: now,
                    priority: PRIORITY,
                    notice: true,
                    ..Job::default()
                }))
            }
            // A claim of a gateway is no reason to talk to a host that no rule names.
            Route::Direct { .. } | Route::Mail | Route::Refuse(_) => None,
        }
    }

    fn facts(&self, letter: Letter, stays: bool, now: i64) -> Facts {
        let user = match letter.from {
            Some(user) => user.to_string(),
            // Without a name on the way, so that nobody sends anything back.
            None if stays => "uftd".to_owned(),
            None => String::new(),
        };
        let (file_type, name, title, receipt) = match letter.content {
            Content::Text { name, title, .. } => (FileType::A, Some(name), Some(title), None),
            Content::Netdata(_, receipt) => (FileType::N, None, None, receipt),
        };
        let title = title.map(|value| Attribute {
            key: "TITLE".into(),
            value,
        });
        Facts {
            name,
            spec: TypeSpec::plain(file_type),
            stored_as: file_type,
            origin: Origin {
                user,
                node: Some(self.node.to_owned()),
                host: self.hostname.to_owned(),
                proof: Proof::Local,
            },
            received: now,
            attributes: title.into_iter().collect(),
            xid: Some(letter.xid),
            exact: true,
            notes: Vec::new(),
            receipt,
        }
    }
}

impl Content {
    /// Writes the form that stays: lines end with LF in an inbox, and with CR LF on the way. The measure of the bytes as
    /// they are sent.
    fn write(&self, to: &mut Staged, stays: bool) -> Result<Measure, Error> {
        let text = match self {
            Content::Netdata(wire, _) => {
                to.write(wire)?;
                return Ok(to.measure());
            }
            Content::Text { text, .. } => text,
        };
        let wire = text.replace('\n', "\r\n");
        to.write(if stays { text.as_bytes() } else { wire.as_bytes() })?;
        Ok(Measure {
            bytes: wire.len() as u64,
            blake3: blake3::hash(wire.as_bytes()),
        })
    }
}
