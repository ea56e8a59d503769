//! The durable per-user spool of the UFT gateway: the promise, and nothing else.
//!
//! # The promise
//!
//! When [`Spool::commit`] has returned `Ok`, the file and its envelope are on stable storage in the inbox of every
//! recipient, and in the queue for every other node that it goes on to, exactly once. When it has not, nothing can be seen; after a crash in the middle there is nothing, or a
//! whole item, never a part of one. A number is given to one item of an inbox and to no other, ever. A repeat of a
//! transfer (the same sender, transfer id and bytes) is answered and not stored again, for seven days after its item
//! is gone. Whatever was stored can be read and removed on a full disk.
//!
//! After a failed fsync nothing is promised any more: [`Error::Poisoned`] until the spool is opened anew.
//!
//! # On the disk
//!
//! ```text
//! <spool>/  format         "uft-spool 1", written last when a spool is made
//!           lock           flocked while the spool is open; "clean" after an orderly stop
//!           index.sqlite   a copy of what the files say; may be deleted
//!           seen.log       transfers that were delivered and whose item is gone
//!           tmp/           what is not committed; emptied at every start
//!           partial/       large transfers that broke off, for a day
//!           users/<user>/  seq, and items: <id>, <id>.wire, <id>.aux
//!           queue/         seq, items that go on to other nodes, and their jobs: <id>.job
//!           queue/held/    jobs that wait for a word: <id>.job
//!           failed/        jobs that were given up: <id>.job
//!           corrupt/       what was found damaged, or not ours
//! ```
//!
//! Files are the truth. An item is one file: the local form from offset 0, then the envelope as a trailer, so that the
//! bytes can be handed out as they are and a torn file is recognised. Where an item is says who it is for: the trailer
//! holds facts of the bytes and of their sender, and never changes. So a second recipient, or a forward, is a hard
//! link. A queued item is addressed by its job, a small file beside it. [`trailer`] has the layout; every file is described in `docs/spool-format.md`.
//!
//! # The life of an item
//!
//! 1. [`Spool::reserve`] asks whether there is room, and promises one item to each recipient.
//! 2. [`Spool::stage`] takes its bytes: digested, counted against the quotas, in memory up to 64 KiB and then in
//!    `tmp/`.
//!    A large one whose sender named it ([`Staged::resumable`]) moves on to `partial/`, and what is there after a
//!    broken connection or a crash can be gone on with: [`Spool::resume`].
//! 3. [`Spool::commit`] writes data and trailer with one write, syncs the file, renames it into the inbox (never over
//!    an existing name), syncs that directory, tells the index, and returns. Commits into one inbox share its fsync.
//! 4. [`Spool::list`], [`Spool::item`] and [`Spool::open_form`] show it; [`Spool::link`] gives it to somebody else.
//! 5. [`Spool::remove`] or [`Spool::expire`] ends it: its key goes to `seen.log`, then its name, then its siblings.
//!
//! # The life of a job
//!
//! 1. [`Spool::commit`] puts it into the queue, or [`Spool::link_job`] does, from an inbox.
//! 2. [`Spool::jobs`], [`Spool::job`] and [`Spool::open_job`] show it; [`Spool::note_progress`] and
//!    [`Spool::tell_story`] remember what was tried.
//! 3. [`Spool::hold`], [`Spool::release`], [`Spool::fail`] and [`Spool::reroute`] change it.
//! 4. [`Spool::finish`] ends it when the next hop has it; [`Spool::deliver_job`] when its place turns out to be here.
//!
//! # Where things are
//!
//! | file | what |
//! |---|---|
//! | `id`, `envelope` | the nouns |
//! | `trailer` | the layout of an item; pure |
//! | `ledger` | quotas, with what is on its way; pure |
//! | `stage` | room that was promised, bytes that are not items yet |
//! | `temporary`, `partial` | files that are not items yet; those of interrupted transfers |
//! | `commit`, `place`, `remove` | an item comes, is given its names, and goes |
//! | `job` | what a queued item is addressed to; pure |
//! | `queue` | the rest of what is done with jobs |
//! | `spool` | the rest of what callers do |
//! | `inbox`, `numbers` | a user's directory; numbers that are never used twice |
//! | `index` | SQLite, and nothing else knows of it |
//! | `seen`, `busy` | repeats; what is being worked on at this moment |
//! | `make`, `recover` | opening: lock, format, sweep, compare, quarantine |
//! | `disk`, `dir`, `group` | every operation that changes the disk; looking at it; shared fsyncs |
//!
//! Everything blocks and may be called from any thread. What the crate does *not* do: sockets, protocols, conversion of
//! texts, deciding who has an inbox, or waking anybody up.

mod busy;
mod commit;
mod dir;
mod disk;
mod envelope;
mod error;
mod group;
mod id;
mod inbox;
mod index;
mod job;
mod ledger;
mod make;
mod numbers;
mod partial;
mod place;
mod queue;
mod recover;
mod remove;
mod seen;
mod spool;
mod stage;
mod temporary;
pub mod trailer;

pub use commit::{Committed, Delivery, Placed};
pub use disk::{Act, Disk, Fault, Step};
pub use envelope::{
    Attribute, Carriage, Envelope, Facts, Fate, FileType, Measure, Origin, Proof, Receipt, Stranger, TypeSpec,
};
pub use error::{Error, Shortage};
pub use id::{BadSpoolId, BadUserName, SpoolId, USER_NAME_MAX, UserName};
pub use job::{Chapter, Job, JobSummary, PRIORITY, Progress, QueuedItem, State};
pub use ledger::{Limits, Usage};
pub use partial::{PARTIAL_AGE, PARTIAL_MIN, Transfer};
pub use recover::Recovery;
pub use spool::{Content, Form, Item, Spool, Summary, Totals};
pub use stage::{Reservation, Staged, StagedReader};
