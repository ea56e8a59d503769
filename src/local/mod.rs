//! The talk on the local socket: JSON lines between `uft` or `sendfile` and the daemon on the same machine.
//!
//! One request a connection; the answer is one or more lines. Who asks is what the kernel says of the socket's other
//! end, never what a line says. An open file travels as a passed descriptor, so that a large receive costs the daemon
//! nothing. This file holds the shapes; [`client`] asks, `server::local` answers. It is *not* a public protocol: both
//! ends come from the same release.
//!
//! | request | answer |
//! |---|---|
//! | `list` | [`Answer::Row`] (or [`Answer::Item`] when `full`) for each item, then [`Answer::Done`] |
//! | `stat` | [`Answer::Item`] |
//! | `open` | [`Answer::Content`], with the descriptor attached to its first byte |
//! | `discard`, `forward`, `tell` | [`Answer::Done`] |
//! | `query` | [`Answer::Lines`] |
//! | `wait` | [`Answer::Item`] of the first arrival after the request |
//! | `watch` | [`Answer::Done`] once it listens, then [`Answer::Event`] lines until the client goes away |
//! | `status` | [`Answer::Status`] |
//! | `session` | [`Answer::Done`], then the connection is a UFT session of the proven user |
//! | `route` | [`Answer::Way`] |
//! | `queue_list` | [`Answer::Job`] for each job, then [`Answer::Done`] |
//! | `queue_show` | [`Answer::Story`] |
//! | `queue_change` | [`Answer::Job`]: as it is now, or as it was when it is gone |
//! | `queue_item` | [`Answer::Job`]: the new one |
//!
//! Any of them may be answered by [`Answer::Refused`].

pub mod client;

use serde::{Deserialize, Serialize};
use uft_spool::{Chapter, Envelope, FileType, JobSummary, Proof, Receipt, SpoolId, UserName};

/// Longest line of an answer, in bytes; a request has far fewer.
pub const LINE_MAX: usize = 1 << 20;

/// What a local program asks of the daemon. `user` names another user's inbox: administrators only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// All items of an inbox, oldest first.
    List {
        /// Whose inbox; the asker's own when absent.
        user: Option<UserName>,
        /// Whole [`ItemInfo`]s instead of rows.
        full: bool,
    },
    /// Everything about one item.
    Stat {
        /// Whose inbox.
        user: Option<UserName>,
        /// Which item.
        id: SpoolId,
    },
    /// One form of an item, as an open file.
    Open {
        /// Whose inbox.
        user: Option<UserName>,
        /// Which item.
        id: SpoolId,
        /// Which bytes of it.
        form: Form,
    },
    /// Remove an item.
    Discard {
        /// Whose inbox.
        user: Option<UserName>,
        /// Which item.
        id: SpoolId,
        /// What its user has done with it.
        #[serde(default)]
        removal: Removal,
    },
    /// Put an item into another local user's inbox too.
    Forward {
        /// Whose inbox it is in.
        user: Option<UserName>,
        /// Which item.
        id: SpoolId,
        /// The local user or alias that gets it.
        to: String,
    },
    /// Answer when the next item arrives.
    Wait {
        /// Whose inbox.
        user: Option<UserName>,
    },
    /// Report arrivals and messages as they come.
    Watch {
        /// Whose inbox.
        user: Option<UserName>,
    },
    /// A one-line message.
    Tell {
        /// Local user or alias, or `user@place` for a place to which a route leads.
        to: String,
        /// The message.
        text: String,
    },
    /// A question to another node.
    Query {
        /// A place to which a route leads, or this host.
        place: String,
        /// The operands of `CPQ`.
        query: String,
    },
    /// How the daemon is.
    Status,
    /// Turn this connection into a UFT session.
    Session,
    /// Where files for a place go.
    Route {
        /// A node, a host, or a host and port.
        place: String,
    },
    /// Jobs of the queue, by number.
    QueueList {
        /// Whose; the asker's own when absent.
        user: Option<UserName>,
        /// Everybody's, and those that came from other gateways: administrators only.
        all: bool,
    },
    /// Everything about one job of the queue.
    QueueShow {
        /// Whose; when absent the asker's own, and for administrators anybody's.
        user: Option<UserName>,
        /// Which job.
        id: SpoolId,
    },
    /// Do something to one job of the queue.
    QueueChange {
        /// As for `queue_show`.
        user: Option<UserName>,
        /// Which job.
        id: SpoolId,
        /// What.
        change: Change,
    },
    /// Put an item of an inbox into the queue, to be sent to another host. It stays in the inbox.
    QueueItem {
        /// Whose inbox; the job is that user's, too.
        user: Option<UserName>,
        /// Which item.
        id: SpoolId,
        /// `user@NODE`, `user@host` or `user@host:port`.
        to: String,
    },
}

/// What is done to a job of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Set it aside.
    Hold,
    /// Let it go: after a hold, or once more after it was given up.
    Free,
    /// Try it now instead of when it is due.
    Retry,
    /// Remove it.
    Purge,
    /// Send it to somebody else.
    Reroute {
        /// `user@NODE`, `user@host` or `user@host:port`.
        to: String,
    },
}

/// Why an item is removed; its sender may have asked to hear of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// A copy of it is safe.
    Received,
    /// It is not wanted.
    #[default]
    Discarded,
}

/// Which bytes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// What the inbox hands out.
    Local,
    /// What the sender sent. When it is not kept the answer is the local form with `restore` set.
    Wire,
    /// The second fork.
    Aux,
}

/// A line of the daemon's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One item of a list, in short.
    Row(Row),
    /// One item.
    Item(Box<ItemInfo>),
    /// An open file follows (is attached).
    Content {
        /// The item.
        item: Box<ItemInfo>,
        /// How many bytes of the file belong to the form, from offset 0.
        bytes: u64,
        /// The bytes are the local form, and the exact wire form is to be made from them.
        restore: bool,
    },
    /// Something happened.
    Event(Event),
    /// State of the daemon.
    Status(Status),
    /// What another node says to a question.
    Lines(Vec<String>),
    /// Where files go.
    Way(Way),
    /// One job of the queue.
    Job(Box<JobInfo>),
    /// One job of the queue, and what happened to it.
    Story {
        /// The job.
        job: Box<JobInfo>,
        /// The record of its item.
        envelope: Box<Envelope>,
        /// From its beginning; short when it was made before the daemon's index.
        story: Vec<Chapter>,
    },
    /// A job that has left the queue, as it was then, and what had happened to it.
    Ended {
        /// The job.
        job: Box<JobSummary>,
        /// From its beginning.
        story: Vec<Chapter>,
    },
    /// It is done.
    Done {
        /// The items that came of it, if any: recipient and number there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stored: Vec<(UserName, SpoolId)>,
    },
    /// It is not done.
    Refused {
        /// What kind of refusal.
        why: Why,
        /// For people; lower case, no full stop.
        text: String,
    },
}

/// Kinds of refusal; each has one exit code in the command-line programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// No item of that number, or it has no such form.
    NoItem,
    /// No job of that number in the queue, or it is somebody else's.
    NoJob,
    /// Nobody knows the way to that place, or files for it are not taken.
    NoRoute,
    /// No such local user.
    NoUser,
    /// The asker may not do that.
    NotAllowed,
    /// No room, or over quota.
    NoRoom,
    /// Nobody there to take a message.
    NotReceiving,
    /// The daemon cannot at the moment.
    Unavailable,
    /// Reading or writing failed, or an item is damaged.
    Failed,
    /// The request makes no sense.
    Malformed,
}

/// One item of a list: `[id, from, type, size, received, name, title, receipt]` on the wire, since lists are long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row(
    /// Number.
    pub SpoolId,
    /// Sender, as `user@host`.
    pub String,
    /// Type of what is stored.
    pub FileType,
    /// Bytes of the local form.
    pub u64,
    /// Seconds since 1970.
    pub i64,
    /// Name as sent.
    pub Option<String>,
    /// Title as sent.
    pub Option<String>,
    /// It is a receipt.
    pub Option<Receipt>,
);

/// Everything about one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemInfo {
    /// Whose inbox.
    pub user: UserName,
    /// Number there.
    pub id: SpoolId,
    /// The record of the item.
    pub envelope: Envelope,
}

/// Where files for a place go, by the daemon's table of routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It is this host.
    Here,
    /// To one of these peers, the first that can be reached.
    Peers(Vec<String>),
    /// To the host itself: no route names it.
    Direct,
    /// To the mail system.
    Mail,
    /// Into the queue, until somebody lets it go.
    Hold,
    /// Nowhere; why, for people.
    Nowhere(String),
}

/// One job of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// The job.
    pub summary: JobSummary,
    /// Where it would go now.
    pub way: Way,
}

/// What `uft watch` shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A file arrived.
    Arrived(Box<ItemInfo>),
    /// A message arrived.
    Message(Message),
    /// The watcher was too slow: this many events are missing.
    Missed(u64),
}

/// A one-line message between users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Claimed sender; empty when none was given.
    pub from: String,
    /// The host that it came from.
    pub host: String,
    /// What was verified of the sender.
    pub proof: Proof,
    /// Whom it is for.
    pub to: UserName,
    /// The text, as sent (hostile).
    pub text: String,
    /// Seconds since 1970.
    pub at: i64,
}

/// State of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// `kind address` of each listener.
    pub listeners: Vec<String>,
    /// UFT sessions open now.
    pub sessions: u64,
    /// Inboxes.
    pub users: u64,
    /// Unread items.
    pub items: u64,
    /// Files in the queue, whatever their state.
    #[serde(default)]
    pub jobs: u64,
    /// Bytes in unread items and in the queue.
    pub bytes: u64,
    /// Bytes free on the spool's file system.
    pub free: u64,
    /// The spool takes nothing more until the daemon is restarted: a disk write failed.
    pub poisoned: bool,
}

/// Where a user's own daemon keeps its state: `$XDG_STATE_HOME/uft`, else `~/.local/state/uft`.
pub fn state_dir() -> Option<std::path::PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(std::path::PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("uft"))
}

/// The login name of the user who runs this process.
pub fn own_name() -> Option<UserName> {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .and_then(|user| user.name.parse().ok())
}
