//! Telling people: arrivals and messages go to `uft watch`, to terminals that permit it, and to the hook program.
//!
//! A notice is a courtesy, never a ledger: it may be lost or joined with others, the file it speaks of is not. All
//! remote text passes [`crate::display`] before a terminal sees it; the hook gets it in its environment, without a
//! shell. What it does not do: keep messages for users who are away.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, broadcast, mpsc};
use tracing::{debug, warn};
use uft_spool::{Item, Spool, SpoolId, Stranger, UserName};

use super::budget::Budget;
use super::process::{self, minute};
use super::programs::Bell;
use super::users;
use crate::config;
use crate::display::{self, chain, shown};
use crate::local::Message;

/// Signals a slow watcher may be behind before it misses some.
const WATCH_BACKLOG: usize = 256;
/// Arrivals waiting for a terminal or the hook; more than that are not announced there.
const ARRIVALS_MAX: usize = 1024;
/// Terminals hear of a user's arrivals at most this often.
const TTY_PAUSE: Duration = Duration::from_secs(1);
const HOOK_TIME: Duration = Duration::from_secs(30);
const HOOKS_AT_ONCE: usize = 4;
/// Messages a minute from one address, or from one local user.
const MESSAGES_A_MINUTE: u32 = 60;

/// What a watcher hears.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// A file arrived under this number.
    Arrived(SpoolId),
    /// A message came.
    Message(Message),
}

/// Where notices are handed in.
#[derive(Debug)]
pub(crate) struct Notices {
    watchers: Mutex<HashMap<UserName, broadcast::Sender<Signal>>>,
    arrivals: mpsc::Sender<(UserName, SpoolId)>,
    senders: Budget,
    /// Programs hear of what came for them here, and so do not miss any.
    pub(crate) programs: Bell,
}

/// The other end of the arrivals, for [`run`].
pub(crate) type Arrivals = mpsc::Receiver<(UserName, SpoolId)>;

impl Notices {
    pub(crate) fn new() -> (Notices, Arrivals) {
        let (arrivals, waiting) = mpsc::channel(ARRIVALS_MAX);
        (
            Notices {
                watchers: Mutex::default(),
                arrivals,
                senders: Budget::new(MESSAGES_A_MINUTE),
                programs: Bell::default(),
            },
            waiting,
        )
    }

    /// From now on, what happens to a user.
    pub(crate) fn watch(&self, user: &UserName) -> broadcast::Receiver<Signal> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, sender| sender.receiver_count() > 0);
        watchers
            .entry(user.clone())
            .or_insert_with(|| broadcast::channel(WATCH_BACKLOG).0)
            .subscribe()
    }

    /// Users who watch now.
    pub(crate) fn watching(&self) -> Vec<UserName> {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers
            .iter()
            .filter(|(_, s)| s.receiver_count() > 0)
            .map(|(user, _)| user.clone())
            .collect()
    }

    /// Says that a file arrived. What is for a program is announced to the program alone: nobody reads it.
    pub(crate) fn arrived(&self, user: &UserName, id: SpoolId) {
        self.signal(user, Signal::Arrived(id));
        if self.programs.came(user) {
            return;
        }
        if self.arrivals.try_send((user.clone(), id)).is_err() {
            debug!(%user, spoolid = %id, "arrival not announced: too many at once");
        }
    }

    /// Whether `from` may send one more message now.
    pub(crate) fn may_tell(&self, from: &str) -> bool {
        self.senders.take(from)
    }

    /// Shows a message to its recipient; whether anybody saw it. Blocks on terminals for no longer than a write that
    /// does not wait.
    pub(crate) fn tell(&self, message: &Message, tty: bool) -> bool {
        let line = message_line(message);
        let watched = self.signal(&message.to, Signal::Message(message.clone()));
        watched | (tty && write_to_terminals(&message.to, &line))
    }

    fn signal(&self, user: &UserName, signal: Signal) -> bool {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers
            .get(user)
            .is_some_and(|sender| sender.send(signal).is_ok())
    }
}

/// The sender as people see it: the claim, and the host that it came from.
pub(crate) fn shown_sender(user: &str, host: &str) -> String {
    if user.is_empty() {
        shown(host)
    } else {
        format!("{}@{}", shown(user), shown(host))
    }
}

fn message_line(message: &Message) -> String {
    format!(
        "message from {}: {}",
        shown_sender(&message.from, &message.host),
        shown(&message.text)
    )
}

fn arrival_line(item: &Item, more: usize) -> String {
    let facts = &item.envelope.facts;
    if let Some(receipt) = &facts.receipt {
        let from = shown_sender(&facts.origin.user, &facts.origin.host);
        let (id, receipt) = (item.id, display::receipt(receipt, minute));
        return format!("item {id} from {from}: {receipt}{}", others(more));
    }
    let name = facts
        .name
        .as_deref()
        .map_or_else(String::new, |name| format!(" {}", shown(name)));
    format!(
        "file {} from {}:{name} ({} bytes){}; uft receive {}",
        item.id,
        shown_sender(&facts.origin.user, facts.origin.place()),
        item.envelope.local.bytes,
        others(more),
        item.id,
    )
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// Announces arrivals until the daemon ends.
pub(crate) async fn run(mut arrivals: Arrivals, spool: Arc<Spool>, notice: impl Fn() -> config::Notice) {
    let hooks = Arc::new(Semaphore::new(HOOKS_AT_ONCE));
    let mut last_shown: HashMap<UserName, Instant> = HashMap::new();
    while let Some((user, id)) = arrivals.recv().await {
        let config::Notice { tty, hook } = notice();
        last_shown.retain(|_, when| when.elapsed() < TTY_PAUSE);
        let show = tty && !last_shown.contains_key(&user);
        if !show && hook.is_empty() {
            continue;
        }
        let more = arrivals.len();
        let (spool, reader) = (Arc::clone(&spool), user.clone());
        let found = tokio::task::spawn_blocking(move || {
            let item = spool.item(&reader, id).ok()?;
            if show {
                write_to_terminals(&reader, &arrival_line(&item, more));
            }
            Some(item)
        });
        let Ok(Some(item)) = found.await else { continue };
        if show {
            last_shown.insert(user, Instant::now());
        }
        if !hook.is_empty()
            && let Ok(permit) = Arc::clone(&hooks).acquire_owned().await
        {
            tokio::spawn(async move {
                run_hook(&hook, &item).await;
                drop(permit);
            });
        }
    }
}

/// Writes a line to every terminal of a user who permits it (`mesg y`: the group may write).
fn write_to_terminals(user: &UserName, line: &str) -> bool {
    let Some(uid) = users::uid_of(user) else {
        return false;
    };
    let mut shown = false;
    for path in terminals() {
        let permits = |meta: fs::Metadata| meta.uid() == uid && meta.mode() & 0o020 != 0;
        if !fs::symlink_metadata(&path).is_ok_and(permits) {
            continue;
        }
        let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let Ok(mut terminal) = OpenOptions::new().write(true).custom_flags(flags).open(&path) else {
            continue;
        };
        // Checked again on the open file: the terminal may have changed hands in between.
        if terminal.metadata().is_ok_and(permits) {
            shown |= terminal
                .write_all(format!("\r\n\u{7}uftd: {line}\r\n").as_bytes())
                .is_ok();
        }
    }
    shown
}

/// Terminal devices, pseudo or real.
fn terminals() -> Vec<PathBuf> {
    let numbered = |dir: &str, prefix: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let is_terminal = |name: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        entries
            .filter(|e| e.file_name().to_str().is_some_and(is_terminal))
            .map(|e| e.path())
            .collect()
    };
    [numbered("/dev/pts", ""), numbered("/dev", "tty")].concat()
}

/// Runs the hook program for one item. Its exit status is logged and changes nothing.
async fn run_hook(argv: &[String], item: &Item) {
    if let Err(err) = process::run(argv, item, None, HOOK_TIME).await {
        let program = argv.first().map_or("", String::as_str);
        warn!(user = %item.user, spoolid = %item.id, hook = program, err = chain(&err), "arrival hook failed");
    }
}

/// The key under which an address's messages are counted.
pub(crate) fn message_budget(address: std::net::IpAddr) -> String {
    Stranger::of(address).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_messages_is_stopped_for_its_sender_only() {
        let (notices, _arrivals) = Notices::new();
        for _ in 0..MESSAGES_A_MINUTE {
            assert!(notices.may_tell("192.0.2.1"));
        }
        assert!(!notices.may_tell("192.0.2.1"));
        assert!(notices.may_tell("192.0.2.2"));
    }

    #[test]
    fn a_message_that_nobody_sees_is_not_delivered() {
        let (notices, _arrivals) = Notices::new();
        let message = Message {
            from: "maint".into(),
            host: "192.0.2.1".into(),
            proof: uft_spool::Proof::Address,
            to: "nobody-here".parse().unwrap(),
            text: "\u{1b}[2Jhello".into(),
            at: 0,
        };
        assert!(!notices.tell(&message, true));
        let watcher = notices.watch(&message.to);
        assert!(notices.tell(&message, false));
        drop(watcher);
        assert!(!notices.tell(&message, false));
        assert!(!message_line(&message).contains('\u{1b}'));
    }
}
