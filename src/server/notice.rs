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
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tracing::{debug, warn};
use uft_spool::{Item, Spool, SpoolId, Stranger, UserName};

use super::budget::Budget;
use super::users;
use crate::config;
use crate::display::{self, shown};
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

    /// Says that a file arrived.
    pub(crate) fn arrived(&self, user: &UserName, id: SpoolId) {
        self.signal(user, Signal::Arrived(id));
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

fn minute(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => seconds.to_string(),
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
                run_hook(&hook, &item, HOOK_TIME).await;
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

/// Runs the hook program for one item, for `most` at longest. Its exit status is logged and changes nothing.
async fn run_hook(argv: &[String], item: &Item, most: Duration) {
    let Some((program, arguments)) = argv.split_first() else {
        return;
    };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .envs(hook_environment(item))
        .stdin(Stdio::null())
        // Standard output is for the ready lines, and whoever started the daemon may have stopped reading it.
        .stdout(std::io::stderr())
        // With what it starts it is a group of its own, and is ended as one.
        .process_group(0)
        .kill_on_drop(true);
    let (user, spoolid) = (&item.user, item.id);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(err) => {
            warn!(%user, %spoolid, hook = program, %err, "arrival hook cannot be run");
            return;
        }
    };
    let group = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    let ended = tokio::time::timeout(most, child.wait()).await;
    match ended {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => warn!(%user, %spoolid, hook = program, %status, "arrival hook failed"),
        Ok(Err(err)) => warn!(%user, %spoolid, hook = program, %err, "arrival hook cannot be waited for"),
        Err(_) => {
            // The child was not waited for, so that its number, and its group's, is still its own.
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            warn!(%user, %spoolid, hook = program, "arrival hook took more than 30 s and was ended");
        }
    }
}

/// The envelope as the hook sees it. No value holds a NUL, which an environment cannot carry.
fn hook_environment(item: &Item) -> Vec<(&'static str, String)> {
    let facts = &item.envelope.facts;
    let values = [
        ("UFT_USER", item.user.to_string()),
        ("UFT_ID", item.id.to_string()),
        ("UFT_NAME", facts.name.clone().unwrap_or_default()),
        ("UFT_TYPE", facts.stored_as.letter().to_string()),
        ("UFT_SIZE", item.envelope.local.bytes.to_string()),
        ("UFT_FROM", facts.origin.user.clone()),
        ("UFT_HOST", facts.origin.host.clone()),
        ("UFT_NODE", facts.origin.node.clone().unwrap_or_default()),
        ("UFT_PROOF", facts.origin.proof.word().to_owned()),
        (
            "UFT_TITLE",
            facts.attribute("TITLE").unwrap_or_default().to_owned(),
        ),
        (
            "UFT_CLASS",
            facts.attribute("CLASS").unwrap_or_default().to_owned(),
        ),
        (
            "UFT_RECEIPT",
            facts
                .receipt
                .as_ref()
                .map(|receipt| display::receipt(receipt, minute))
                .unwrap_or_default(),
        ),
    ];
    values
        .map(|(key, value)| (key, value.replace('\0', "\u{fffd}")))
        .into()
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

    #[tokio::test]
    async fn a_hook_that_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let limits = uft_spool::Limits {
            min_free: 0,
            ..Default::default()
        };
        let (spool, _) = Spool::open(&dir.path().join("spool"), limits).unwrap();
        let spool = Arc::new(spool);
        let origin = uft_spool::Origin {
            user: String::new(),
            node: None,
            host: "192.0.2.1".into(),
            proof: uft_spool::Proof::Address,
        };
        let user: UserName = "alice".parse().unwrap();
        let intake = super::super::intake::Intake::open(&spool, vec![user.clone()], None, None).unwrap();
        intake.commit(crate::proto::Draft::default(), origin, 0).unwrap();
        let item = spool.item(&user, SpoolId::new(1).unwrap()).unwrap();
        // The pipe ends when nobody holds it any more.
        let fifo = dir.path().join("held");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let script = format!("sleep 60 > {0:?} & exec > {0:?}; wait", fifo.to_str().unwrap());
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script];
        let (told, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(fs::read(&fifo)));
        run_hook(&argv, &item, Duration::from_millis(500)).await;
        let read = ended.recv_timeout(Duration::from_secs(20));
        assert!(
            matches!(read, Ok(Ok(bytes)) if bytes.is_empty()),
            "something still runs"
        );
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
