//! `uft receive`: from the inbox to a file of one's own, then out of the inbox.
//!
//! Order matters and is the promise: copy under a temporary name, compare the digest with the record, fsync, link into
//! place, fsync the directory, and only then ask the daemon to remove the item. Whatever fails on the way leaves the
//! item where it is; a crash in between leaves the file twice, never not at all.
//! What it does *not* do: convert (`form`, `canon`), or choose a type: what the sender declared decides.

mod netdata;
mod place;
mod stamp;
mod walk;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use uft_spool::{Measure, SpoolId};

use self::place::{Place, Stamp};
use super::console::Console;
use super::contents::is_netdata;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::form::{Source, View, has_page};
use super::item::{self, ReceiptJson};
use super::safe_name::safe_name;
use super::units;
use crate::canon::Page;
use crate::display;
use crate::local::{ItemInfo, Removal};

/// What to do with the items that are received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Which bytes; [`View::Text`] without a page unless one is in `page`.
    pub(crate) view: View,
    /// How EBCDIC is read.
    pub(crate) page: Option<Page>,
    /// The octets of the records, of NETDATA.
    pub(crate) binary: bool,
    /// A file for each member of a library in NETDATA.
    pub(crate) members: bool,
    /// A file, or a directory.
    pub(crate) output: Option<PathBuf>,
    /// Standard output instead of a file.
    pub(crate) stdout: bool,
    /// The item stays.
    pub(crate) keep: bool,
    /// An existing file is replaced.
    pub(crate) force: bool,
    /// Where the second fork goes.
    pub(crate) aux: Option<PathBuf>,
    /// JSON instead of lines.
    pub(crate) json: bool,
}

impl Wanted {
    /// Nothing is said of how the bytes are wanted, or where.
    fn as_usual(&self) -> bool {
        self.view == View::Local && !self.binary && !self.stdout && self.output.is_none()
    }
}

/// What came of one item.
#[derive(Serialize)]
struct Received<'a> {
    id: u64,
    path: Option<String>,
    bytes: u64,
    digest: String,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptJson<'a>>,
}

/// Where the file of one item went.
enum Went {
    File(PathBuf),
    Stdout,
}

/// Receives items; the first failure's code counts, the others are tried all the same.
pub(crate) fn receive(console: Console, daemon: &Daemon, ids: &[SpoolId], wanted: &Wanted) -> Exit {
    let mut exit = Exit::Done;
    for &id in ids {
        if let Err(failure) = one(console, daemon, id, wanted) {
            exit = exit.then(console.complain(&failure));
        }
    }
    exit
}

/// Whether `-o` names a directory: one that exists, or a path that ends like one.
pub(crate) fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn one(console: Console, daemon: &Daemon, id: SpoolId, wanted: &Wanted) -> Result<(), Failure> {
    let view = match (wanted.view, wanted.page) {
        (View::Local, Some(page)) => {
            let facts = daemon.item(id)?.envelope.facts;
            let letter = facts.spec.file_type.letter();
            if has_page(facts.spec.file_type) {
                View::Text(Some(page))
            } else {
                console.note(&format!("item {id} is of type {letter}: --codepage is not used"));
                View::Local
            }
        }
        (View::Text(_), page) => View::Text(page),
        (view, _) => view,
    };
    // The second fork first: when there is none, nothing has been written yet.
    if let Some(path) = &wanted.aux {
        let source = Source::open(daemon, id, View::Aux)?;
        let (went, measure) = to_file(source, path, Stamp::default(), wanted.force)?;
        say_stored(console, id, &went, measure, wanted)?;
    }
    let mut source = match view {
        View::Text(_) if is_netdata(&daemon.item(id)?) => Source::open(daemon, id, View::Local)?,
        view => Source::open(daemon, id, view)?,
    };
    let arrived = source.item.clone();
    if wanted.as_usual() && arrived.envelope.facts.receipt.is_some() {
        return receipt(console, daemon, &arrived, wanted);
    }
    let mut note = None;
    if wanted.binary && !is_netdata(&arrived) {
        let letter = arrived.envelope.facts.stored_as.letter();
        note = Some(format!("of type {letter}: --binary is not used"));
    }
    if matches!(view, View::Local | View::Text(_)) && is_netdata(&arrived) {
        let examined = netdata::examine(source, wanted)?;
        source = Source::open(daemon, id, View::Local)?;
        match examined {
            netdata::Found::Parts(parts) => {
                return netdata::receive(console, daemon, source, &parts, wanted);
            }
            netdata::Found::AsSent(why) => note = Some(why),
        }
    }
    let (went, measure, durable) = if wanted.stdout {
        let (measure, durable) = to_stdout(source, wanted.force)?;
        (Went::Stdout, measure, durable)
    } else {
        let facts = &arrived.envelope.facts;
        let name = safe_name(facts.name.as_deref().unwrap_or_default(), &format!("uft-{id}"));
        let path = match &wanted.output {
            None => PathBuf::from(name),
            Some(path) if is_directory(path) => path.join(name),
            Some(path) => path.clone(),
        };
        let (went, measure) = to_file(source, &path, stamp::stamp(facts), wanted.force)?;
        (went, measure, true)
    };
    let removed = remove(console, daemon, id, durable, wanted)?;
    if wanted.json {
        let path = match &went {
            Went::File(path) => Some(path.to_string_lossy().into_owned()),
            Went::Stdout => None,
        };
        let received = Received {
            id: id.get(),
            path,
            bytes: measure.bytes,
            digest: item::digest(&measure),
            removed,
            note,
            receipt: None,
        };
        return console.line(&display::json(&received));
    }
    if let Went::File(_) = went {
        let from = item::marked_sender(&arrived.envelope.facts.origin);
        say_stored(console, id, &went, measure, wanted)?;
        for note in note.iter().chain(&arrived.envelope.facts.notes) {
            console.note(&format!("item {id} from {from}: {}", display::shown(note)));
        }
    }
    Ok(())
}

/// A receipt is read, not stored: it is printed, and then removed. When it cannot be printed, it stays.
fn receipt(console: Console, daemon: &Daemon, item: &ItemInfo, wanted: &Wanted) -> Result<(), Failure> {
    let facts = &item.envelope.facts;
    let measure = item.envelope.wire;
    let line = match wanted.json {
        true => display::json(&Received {
            id: item.id.get(),
            path: None,
            bytes: measure.bytes,
            digest: item::digest(&measure),
            removed: !wanted.keep,
            note: None,
            receipt: facts.receipt.as_ref().map(ReceiptJson::of),
        }),
        false => {
            let said = facts.receipt.as_ref().map(item::receipt).unwrap_or_default();
            format!("{} from {}: {said}", item.id, item::marked_sender(&facts.origin))
        }
    };
    console.line(&line)?;
    remove(console, daemon, item.id, true, wanted).map(drop)
}

/// Removes an item whose files are on the disk; says whether it did.
fn remove(
    console: Console,
    daemon: &Daemon,
    id: SpoolId,
    durable: bool,
    wanted: &Wanted,
) -> Result<bool, Failure> {
    let removed = durable && !wanted.keep;
    if removed {
        daemon.remove(id, Removal::Received)?;
    } else if !wanted.keep {
        console.note(&format!(
            "item {id} stays in the inbox: what a pipe or terminal took may be lost (uft discard {id} removes it)"
        ));
    }
    Ok(removed)
}

fn say_stored(
    console: Console,
    id: SpoolId,
    went: &Went,
    measure: Measure,
    wanted: &Wanted,
) -> Result<(), Failure> {
    match went {
        Went::File(path) if !wanted.json => console.line(&format!(
            "{id} {} ({})",
            display::shown(&path.to_string_lossy()),
            units::size(measure.bytes)
        )),
        Went::File(_) | Went::Stdout => Ok(()),
    }
}

/// The directory and the name of a path.
fn parts_of(path: &Path) -> Result<(&Path, &str), Failure> {
    let cannot = |what: &str| {
        Failure::new(
            Exit::CannotCreate,
            format!("cannot create {}: {what}", path.display()),
        )
        .hint("name a file or a directory with -o")
    };
    let name = path
        .file_name()
        .ok_or_else(|| cannot("it is not the name of a file"))?;
    let name = name.to_str().ok_or_else(|| cannot("the name is not UTF-8"))?;
    Ok((path.parent().unwrap_or(Path::new(".")), name))
}

fn to_file(source: Source, path: &Path, stamp: Stamp, force: bool) -> Result<(Went, Measure), Failure> {
    let (directory, name) = parts_of(path)?;
    let place = Place::open(directory)?;
    let mut file = place.create()?;
    let measure = source.copy(|piece| file.write(piece))?;
    let path = file.publish(name, stamp, force)?;
    Ok((Went::File(path), measure))
}

/// Copies to standard output; says whether that is a file which is on the disk now.
fn to_stdout(source: Source, force: bool) -> Result<(Measure, bool), Failure> {
    let mut out = stdout(force)?;
    let measure = source.copy(|piece| out.write_all(piece).map_err(|e| Failure::output(&e)))?;
    Ok((measure, durable(&mut out)?))
}

/// Standard output, unless it is a terminal.
fn stdout(force: bool) -> Result<io::StdoutLock<'static>, Failure> {
    let out = io::stdout().lock();
    if out.is_terminal() && !force {
        return Err(Failure::usage(
            "standard output is a terminal, and a stranger's bytes may do anything to it",
        )
        .hint("look at it with uft peek, send it to a file or a pipe, or insist with --force"));
    }
    Ok(out)
}

/// Whether everything is on a disk now.
fn durable(out: &mut io::StdoutLock<'static>) -> Result<bool, Failure> {
    out.flush().map_err(|e| Failure::output(&e))?;
    // A pipe, a terminal and a device cannot be fsynced; any other error than that is one of the disk.
    match rustix::fs::fsync(&*out) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::ROFS | rustix::io::Errno::NOTSUP) => Ok(false),
        Err(e) => Err(Failure::output(&e.into())),
    }
}
