//! NETDATA in the receiver's process: from one item to the files of its transmission.
//!
//! The item is read twice: once to know what is inside, and that all of it is sound, and once to write the files. What
//! cannot be taken apart (damaged, encrypted, a receipt, a library) stays one file, as it was sent, and a note says why:
//! nothing is lost. Files appear under their names after the last byte was read, and the item goes after them.
//! With `--members` a library becomes a file for each of its members.
//! What it does *not* do: hold a file in memory, or choose a path: names of a transmission are a stranger's text.

use std::collections::HashSet;
use std::io::{StdoutLock, Write};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use uft_spool::{Measure, SpoolId};

use super::place::{Place, Stamp, Unnamed};
use super::walk::{MemberTexts, Step, Walk, fault};
use super::{Received, Wanted, Went, durable, is_directory, parts_of, remove, say_stored, stamp, stdout};
use crate::canon::Page;
use crate::canon::netdata::{
    Carriage, FileInfo, FileKind, FileSummary, Form, Limits, Member, Newline, RecordText, Summary, Survey,
};
use crate::cli::console::Console;
use crate::cli::daemon::Daemon;
use crate::cli::exit::{Exit, Failure};
use crate::cli::form::{Meter, Source, View};
use crate::cli::item;
use crate::cli::safe_name::safe_name;
use crate::display::{self, shown};
use crate::local::ItemInfo;

/// Bytes of a file that are written at once.
const BATCH: usize = 256 << 10;
/// Files that are complete and wait for their names, at most.
const WAITING: usize = 64;

/// What can be done with an item.
pub(super) enum Found {
    /// It is taken apart.
    Parts(Parts),
    /// It stays one file, and why.
    AsSent(String),
}

/// What a transmission becomes.
pub(super) struct Parts {
    page: Page,
    /// In the order of the transmission.
    files: Vec<Part>,
    /// Libraries are expanded.
    members: bool,
    /// Which of their members look like text.
    texts: Vec<bool>,
    /// The recipient's wish: text, or octets.
    forced: Option<bool>,
    notes: Vec<String>,
}

/// A file that is to be written.
struct Part {
    /// Safe as the name of a file.
    name: String,
    text: bool,
    stamp: Stamp,
}

/// Reads an item to its end and says what becomes of it.
pub(super) fn examine(source: Source, wanted: &Wanted) -> Result<Found, Failure> {
    let item = source.item.clone();
    let mut survey = Survey::new(Limits::default());
    let mut walk = wanted.members.then(|| Walk::new(true));
    let mut members = MemberTexts::default();
    let mut damage = None;
    // To the end also when the stream is damaged: that the item itself is whole is worth knowing then.
    source.copy(|piece| {
        if damage.is_none() {
            damage = survey.feed(piece).err();
        }
        let mut look = |step: Step<'_>| -> Result<(), Failure> {
            members.step(&step);
            Ok(())
        };
        // A fault is the survey's to tell.
        walk = walk.take_if(|walk| walk.feed(piece, &mut look).is_ok());
        Ok(())
    })?;
    let summary = match damage {
        None => survey.finish(),
        Some(error) => Err(error),
    };
    let found = match summary {
        Err(error) => Found::AsSent(format!("kept as sent: {error}")),
        Ok(summary) => match whole(&summary, wanted.members) {
            Some(why) => Found::AsSent(why),
            None => Found::Parts(parts(&item, &summary, members.texts, wanted)?),
        },
    };
    match found {
        Found::AsSent(why) if matches!(wanted.view, View::Text(_)) || wanted.binary => Err(Failure::new(
            Exit::DataError,
            format!("item {}: {}", item.id, shown(&why)),
        )
        .hint("receive it without --as A and --binary; the item stays in the inbox")),
        found => Ok(found),
    }
}

/// Why a transmission is not taken apart.
fn whole(summary: &Summary, members: bool) -> Option<String> {
    if summary.receipt.is_some() {
        return Some("a receipt, not a file: kept as sent".into());
    }
    if summary.files.is_empty() {
        return Some("no files in it: kept as sent".into());
    }
    summary.files.iter().find_map(|file| match &file.info.kind {
        FileKind::Encrypted => Some("encrypted: kept as sent".to_owned()),
        FileKind::Foreign(program) => Some(format!(
            "made by {program}, which is not known here: kept as sent"
        )),
        FileKind::Library => match &file.library {
            Some(Ok(_)) if members => None,
            Some(Ok(library)) => Some(format!(
                "a library of {} members, kept as sent: --members stores each of them as a file",
                library.members.len()
            )),
            Some(Err(fault)) => Some(format!("kept as sent: a library, {fault}")),
            None => Some("a library: kept as sent".to_owned()),
        },
        FileKind::Sequential | FileKind::Note => None,
    })
}

fn parts(item: &ItemInfo, summary: &Summary, texts: Vec<bool>, wanted: &Wanted) -> Result<Parts, Failure> {
    let facts = &item.envelope.facts;
    let mut notes = Vec::new();
    let page = wanted.page.unwrap_or_else(|| match facts.attribute("CHARSET") {
        None => Page::default(),
        Some(label) => Page::parse(label).unwrap_or_else(|| {
            notes.push(format!(
                "charset {label:?} is not known: read as {}",
                Page::default()
            ));
            Page::default()
        }),
    });
    let several = summary.files.len() > 1;
    let is_note = |file: &FileSummary| file.info.kind == FileKind::Note;
    let data = summary.files.iter().filter(|file| !is_note(file)).count();
    let fallback = format!("uft-{}", item.id);
    // The item's own name is that of its file, if there is one file.
    let own = facts.name.as_deref().filter(|_| data <= 1);
    let name_of = |info: &FileInfo| {
        let sent = info.name.as_ref().map(ToString::to_string);
        safe_name(own.or(sent.as_deref()).unwrap_or_default(), &fallback)
    };
    let first = summary
        .files
        .iter()
        .find(|file| !is_note(file))
        .or(summary.files.first());
    let beside = first.map_or_else(|| fallback.clone(), |file| name_of(&file.info));
    let said = stamp::stamp(facts);
    let files = summary
        .files
        .iter()
        .map(|file| {
            let changed = file.info.dates.changed.as_ref().and_then(|date| date.moment());
            let changed = changed.map(|moment| moment.as_second());
            for note in file.tally.notes() {
                notes.push(format!("{}: {note}", name_of(&file.info)));
            }
            if let Some(Ok(library)) = &file.library {
                notes.extend(library.tally.notes());
                notes.extend(library.members.iter().filter_map(also));
            }
            if let Some(carriage) = file.info.carriage() {
                let kind = match carriage {
                    Carriage::Asa => "ASA",
                    Carriage::Machine => "machine",
                };
                notes.push(format!(
                    "{kind} carriage control is in the first column of each record"
                ));
            }
            Part {
                name: match (&file.info.kind, &file.info.name) {
                    (FileKind::Note, _) if several => safe_name(&format!("{beside}.note"), &fallback),
                    // Its members are named after the data set, whatever the item is called.
                    (FileKind::Library, Some(name)) => name.to_string(),
                    _ => name_of(&file.info),
                },
                text: match wanted.view {
                    View::Text(_) => true,
                    _ => file.is_text && !wanted.binary,
                },
                stamp: Stamp {
                    modified: said.modified.filter(|_| data <= 1).or(changed).or(said.modified),
                    mode: said.mode,
                },
            }
        })
        .collect();
    let members = summary
        .files
        .iter()
        .any(|file| file.info.kind == FileKind::Library);
    let parts = Parts {
        page,
        files,
        members,
        texts,
        forced: match wanted.view {
            View::Text(_) => Some(true),
            _ => wanted.binary.then_some(false),
        },
        notes,
    };
    parts.fit(item.id, data, wanted)?;
    Ok(parts)
}

/// When a member was changed, in seconds since 1970. Its system's clock is not known: it is taken for that of this host.
fn changed(member: &Member) -> Option<i64> {
    let changed = member.statistics.as_ref()?.changed?;
    let zoned = changed.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_second())
}

/// The other names of a member.
fn also(member: &Member) -> Option<String> {
    let name = member.name.as_deref().filter(|_| !member.aliases.is_empty())?;
    Some(format!("member {name} is also {}", member.aliases.join(", ")))
}

impl Parts {
    /// One file is named on the command line, and several come.
    fn fit(&self, id: SpoolId, data: usize, wanted: &Wanted) -> Result<(), Failure> {
        let count = match self.members {
            true => self.files.len() + self.texts.len(),
            false => self.files.len(),
        };
        let what = match &wanted.output {
            _ if wanted.stdout && count > 1 => "standard output would run them together",
            Some(path) if !is_directory(path) && (data > 1 || self.members) => "-o names one file",
            _ => return Ok(()),
        };
        Err(
            Failure::usage(format!("item {id} has {count} files inside, and {what}"))
                .hint("name a directory that exists with -o, or take the bytes as sent with --wire"),
        )
    }
}

/// Where the bytes of a file go.
enum Sink<'a> {
    File(Unnamed<'a>),
    Stdout(&'a mut StdoutLock<'static>),
}

/// A file that is being written.
struct Writing<'a> {
    sink: Sink<'a>,
    name: String,
    stamp: Stamp,
    text: Option<RecordText>,
    buffer: Vec<u8>,
    meter: Meter,
}

/// A file that is complete, and has no name yet unless it is standard output.
struct Written<'a> {
    file: Option<Unnamed<'a>>,
    name: String,
    stamp: Stamp,
    measure: Measure,
}

impl<'a> Writing<'a> {
    fn record(&mut self, record: &[u8]) -> Result<(), Failure> {
        match &mut self.text {
            Some(text) => text.record(record, &mut self.buffer),
            None => self.buffer.extend_from_slice(record),
        }
        match self.buffer.len() < BATCH {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.meter.add(&self.buffer);
        match &mut self.sink {
            Sink::File(file) => file.write(&self.buffer)?,
            Sink::Stdout(out) => out.write_all(&self.buffer).map_err(|e| Failure::output(&e))?,
        }
        self.buffer.clear();
        Ok(())
    }

    fn end(mut self) -> Result<(Written<'a>, Vec<String>), Failure> {
        let notes = match self.text.take() {
            Some(text) => text.finish(&mut self.buffer),
            None => Vec::new(),
        };
        self.flush()?;
        let written = Written {
            file: match self.sink {
                Sink::File(file) => Some(file),
                Sink::Stdout(_) => None,
            },
            name: self.name,
            stamp: self.stamp,
            measure: self.meter.end(),
        };
        Ok((written, notes))
    }
}

/// Writes the files of an item, then removes it.
pub(super) fn receive(
    console: Console,
    daemon: &Daemon,
    source: Source,
    parts: &Parts,
    wanted: &Wanted,
) -> Result<(), Failure> {
    let item = source.item.clone();
    let id = item.id;
    let mut out = match wanted.stdout {
        true => Some(stdout(wanted.force)?),
        false => None,
    };
    // A file that is named on the command line, and the messages beside it.
    let given = wanted.output.as_deref().filter(|path| !is_directory(path));
    let given = given.map(parts_of).transpose()?;
    let directory = match (given, &wanted.output) {
        (Some((directory, _)), _) => directory.to_owned(),
        (None, Some(directory)) => directory.clone(),
        (None, None) => PathBuf::new(),
    };
    let place = Place::open(&directory)?;
    let mut shelf = Shelf {
        force: wanted.force,
        names: HashSet::new(),
        went: Vec::new(),
    };
    let target = Target {
        place: &place,
        given: given.map(|(_, name)| name),
        out: out.as_mut(),
    };
    let (written, mut notes) = write(source, parts, target, &mut shelf)?;
    written.into_iter().try_for_each(|written| shelf.put(written))?;
    let durable = match &mut out {
        Some(out) => durable(out)?,
        None => true,
    };
    let removed = remove(console, daemon, id, durable, wanted)?;
    notes.splice(0..0, parts.notes.iter().cloned());
    for (number, (place, measure)) in shelf.went.iter().enumerate() {
        if !wanted.json {
            say_stored(console, id, place, *measure, wanted)?;
            continue;
        }
        let received = Received {
            id: id.get(),
            path: match place {
                Went::File(path) => Some(path.to_string_lossy().into_owned()),
                Went::Stdout => None,
            },
            bytes: measure.bytes,
            digest: item::digest(measure),
            removed,
            note: (number == 0 && !notes.is_empty()).then(|| notes.join("; ")),
            receipt: None,
        };
        console.line(&display::json(&received))?;
    }
    if !wanted.json && !wanted.stdout {
        let from = item::marked_sender(&item.envelope.facts.origin);
        for note in notes.iter().chain(&item.envelope.facts.notes) {
            console.note(&format!("item {id} from {from}: {}", shown(note)));
        }
    }
    Ok(())
}

/// The files that have their names.
struct Shelf {
    force: bool,
    names: HashSet<String>,
    went: Vec<(Went, Measure)>,
}

impl Shelf {
    fn put(&mut self, written: Written<'_>) -> Result<(), Failure> {
        let Written {
            file,
            name,
            stamp,
            measure,
        } = written;
        let went = match file {
            Some(file) => {
                // Two files of one transmission never replace each other.
                let force = self.force && !self.names.contains(&name);
                let path = file.publish(&name, stamp, force)?;
                let found = path.file_name().unwrap_or_default().to_string_lossy();
                self.names.insert(found.into_owned());
                Went::File(path)
            }
            None => Went::Stdout,
        };
        self.went.push((went, measure));
        Ok(())
    }
}

/// Where files are written.
struct Target<'a> {
    place: &'a Place,
    /// The name of the only file, from the command line.
    given: Option<&'a str>,
    out: Option<&'a mut StdoutLock<'static>>,
}

impl<'a> Target<'a> {
    fn begin(&mut self, name: &str, part: &Part, text: Option<RecordText>) -> Result<Writing<'a>, Failure> {
        Ok(Writing {
            sink: match self.out.take() {
                Some(out) => Sink::Stdout(out),
                None => Sink::File(self.place.create()?),
            },
            name: name.to_owned(),
            stamp: part.stamp,
            text,
            buffer: Vec::new(),
            meter: Meter::default(),
        })
    }
}

fn write<'a>(
    source: Source,
    parts: &Parts,
    mut target: Target<'a>,
    shelf: &mut Shelf,
) -> Result<(Vec<Written<'a>>, Vec<String>), Failure> {
    let mut walk = Walk::new(parts.members);
    let (mut files, mut texts) = (parts.files.iter(), parts.texts.iter());
    let (mut written, mut notes) = (Vec::new(), Vec::new());
    let mut part = None;
    let mut writing: Option<Writing<'a>> = None;
    source.copy(|piece| {
        walk.feed(piece, &mut |step| {
            match step {
                Step::File(info) => {
                    let this = files.next().ok_or_else(|| fault(&"a file more"))?;
                    part = Some(this);
                    if info.kind == FileKind::Library {
                        return Ok(());
                    }
                    let name = match (target.given, &info.kind) {
                        (None, _) => this.name.clone(),
                        (Some(given), FileKind::Note) if parts.files.len() > 1 => format!("{given}.note"),
                        (Some(given), _) => given.to_owned(),
                    };
                    let text = this.text.then(|| RecordText::new(info, parts.page, Newline::Lf));
                    writing = Some(target.begin(&name, this, text)?);
                }
                Step::Member(member, recfm) => {
                    let this = part.ok_or_else(|| fault(&"a member without a library"))?;
                    let looks = texts.next().copied().unwrap_or_default();
                    let text = match parts.forced {
                        Some(text) => text && recfm.form() != Form::Undefined,
                        None => looks,
                    };
                    let changed = changed(member);
                    let member = member.name.as_deref().unwrap_or("unlisted");
                    let name = safe_name(&format!("{}({member})", this.name), member);
                    let text = text.then(|| RecordText::of_recfm(recfm, parts.page, Newline::Lf));
                    let mut begun = target.begin(&name, this, text)?;
                    begun.stamp.modified = changed.or(begun.stamp.modified);
                    writing = Some(begun);
                }
                Step::Record(record) => {
                    if let Some(writing) = &mut writing {
                        writing.record(record)?;
                    }
                }
                Step::End => {
                    if let Some(writing) = writing.take() {
                        let (file, said) = writing.end()?;
                        notes.extend(said.into_iter().map(|note| format!("{}: {note}", file.name)));
                        written.push(file);
                    }
                    // Files wait for the end of the item, but not more than may be open.
                    if written.len() >= WAITING {
                        written.drain(..).try_for_each(|file| shelf.put(file))?;
                    }
                }
            }
            Ok(())
        })
    })?;
    walk.finish()?;
    Ok((written, notes))
}
