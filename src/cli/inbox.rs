//! The short subcommands on the inbox: list, show, discard, wait, watch, status.
//!
//! What they do *not* do: read the files themselves, but for `uft stat`.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use uft_spool::{Proof, SpoolId};

use super::console::Console;
use super::contents::{Contents, contents};
use super::daemon::{Daemon, answered, unexpected};
use super::exit::{Exit, Failure};
use super::form::{Source, View};
use super::item::{self, ItemJson};
use super::units;
use crate::display::{self, shown};
use crate::local::client::ask;
use crate::local::{Answer, Event, Message, Removal, Request};

/// `uft ls`
pub(crate) fn list(console: Console, daemon: &Daemon, json: bool) -> Result<(), Failure> {
    if json {
        return console.stream(|print| daemon.items(|item| print(&display::json(&item::json(item)))));
    }
    let rows = daemon.rows()?;
    if rows.is_empty() {
        console.note("the inbox is empty");
        return Ok(());
    }
    let table = item::table(&rows);
    console.lines(|out| out.write_all(table.as_bytes()))
}

/// An item with the digests that were computed on demand, and what is inside NETDATA.
#[derive(Serialize)]
struct WithSha256<'a> {
    #[serde(flatten)]
    item: ItemJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<Contents>,
}

/// `uft stat`
pub(crate) fn stat(
    console: Console,
    daemon: &Daemon,
    id: SpoolId,
    json: bool,
    with_sha256: bool,
) -> Result<(), Failure> {
    let item = daemon.item(id)?;
    let (mut wire, mut local) = (None, None);
    if with_sha256 {
        wire = Some(sha256(Source::open(daemon, id, View::Wire)?)?);
        local = match item.envelope.local == item.envelope.wire {
            true => wire.clone(),
            false => Some(sha256(Source::open(daemon, id, View::Local)?)?),
        };
    }
    let contents = contents(daemon, &item)?;
    if json {
        return console.line(&display::json(&WithSha256 {
            item: item::json(&item),
            sha256: wire,
            local_sha256: local,
            contents,
        }));
    }
    let mut facts = item::facts(&item);
    facts.extend(wire.map(|digest| format!("{:<13}{digest}", "digest")));
    if item.envelope.local != item.envelope.wire {
        facts.extend(local.map(|digest| format!("{:<13}{digest}", "local digest")));
    }
    facts.extend(contents.iter().flat_map(Contents::lines));
    console.lines(|out| facts.iter().try_for_each(|line| writeln!(out, "{line}")))
}

fn sha256(source: Source) -> Result<String, Failure> {
    let mut hasher = Sha256::new();
    source.copy(|piece| {
        hasher.update(piece);
        Ok(())
    })?;
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("sha256:{hex}"))
}

/// `uft discard`
pub(crate) fn discard(console: Console, daemon: &Daemon, ids: &[SpoolId]) -> Exit {
    let mut exit = Exit::Done;
    for &id in ids {
        let done = daemon
            .remove(id, Removal::Discarded)
            .and_then(|()| console.line(&format!("{id} discarded")));
        if let Err(failure) = done {
            exit = exit.then(console.complain(&failure));
        }
    }
    exit
}

/// The numbers of everything in the inbox now.
pub(crate) fn all(daemon: &Daemon) -> Result<Vec<SpoolId>, Failure> {
    Ok(daemon.rows()?.into_iter().map(|row| row.0).collect())
}

/// `uft wait`
pub(crate) fn wait(
    console: Console,
    daemon: &Daemon,
    patience: Option<Duration>,
    json: bool,
) -> Result<(), Failure> {
    match daemon.wait(patience)? {
        Some(item) if json => console.line(&display::json(&item::json(&item))),
        Some(item) => console.line(&item::line(&item)),
        None => Err(Failure::new(Exit::Temporary, "nothing arrived in time")),
    }
}

/// One line of `uft watch --json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Happened<'a> {
    Arrived(Box<ItemJson<'a>>),
    Message {
        from: &'a str,
        host: &'a str,
        proof: Proof,
        to: &'a str,
        text: &'a str,
        at: String,
    },
    Missed {
        count: u64,
    },
}

/// `uft watch`: until the daemon goes away.
pub(crate) fn watch(console: Console, daemon: &Daemon, json: bool) -> Result<(), Failure> {
    let user = daemon.user.clone();
    let mut asked = ask(&daemon.socket, &Request::Watch { user })?;
    loop {
        let Some(answer) = asked.answer()? else {
            return Err(Failure::new(Exit::Temporary, "the local uftd went away")
                .hint("start uft watch again when uftd is back"));
        };
        let event = match answered(answer)? {
            Answer::Event(event) => event,
            Answer::Done { .. } => continue,
            other => return Err(unexpected(&other)),
        };
        match json {
            true => console.line(&display::json(&happened(&event)))?,
            false => console.line(&told(&event))?,
        }
    }
}

fn happened(event: &Event) -> Happened<'_> {
    match event {
        Event::Arrived(item) => Happened::Arrived(Box::new(item::json(item))),
        Event::Message(message) => Happened::Message {
            from: &message.from,
            host: &message.host,
            proof: message.proof,
            to: message.to.as_str(),
            text: &message.text,
            at: item::rfc3339(message.at),
        },
        Event::Missed(count) => Happened::Missed { count: *count },
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Arrived(item) => match item.envelope.facts.receipt {
            Some(_) => format!("receipt {}", item::line(item)),
            None => format!("file {}", item::line(item)),
        },
        Event::Message(message) => format!("message from {}: {}", writer(message), shown(&message.text)),
        Event::Missed(count) => format!("missed {count} events; uft ls shows all files"),
    }
}

/// Who wrote a message: as for files, a name that nobody proved has a `?` before it.
fn writer(message: &Message) -> String {
    item::marked_sender(&uft_spool::Origin {
        user: message.from.clone(),
        node: None,
        host: message.host.clone(),
        proof: message.proof,
    })
}

/// `uft status`
pub(crate) fn status(console: Console, daemon: &Daemon, json: bool) -> Result<(), Failure> {
    let status = daemon.status()?;
    if json {
        return console.line(&display::json(&status));
    }
    let mut lines = vec![format!(
        "uftd {} has run for {} (process {})",
        status.version,
        elapsed(status.uptime),
        status.pid
    )];
    lines.extend(
        status
            .listeners
            .iter()
            .map(|listener| format!("listens on {listener}")),
    );
    lines.push(format!("{} sessions open", status.sessions));
    lines.push(format!(
        "unread: {} items; in the queue: {}; {} in all; inboxes: {}; free: {}",
        status.items,
        status.jobs,
        units::size(status.bytes),
        status.users,
        units::size(status.free)
    ));
    if status.poisoned {
        lines.push("a disk write failed: nothing more is taken until uftd is restarted".to_owned());
    }
    lines.push(format!("socket {}", daemon.socket.display()));
    console.lines(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))
}

fn elapsed(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
