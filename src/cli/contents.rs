//! What is inside NETDATA, for people and for programs: `uft stat` and `uft peek`.
//!
//! What it does *not* do: write files (`receive`), or show a stranger's text unfiltered.

use jiff::Timestamp;
use serde::Serialize;

use super::daemon::Daemon;
use super::exit::Failure;
use super::form::{Source, View};
use super::item::rfc3339;
use crate::canon::netdata::{
    Event, FileInfo, FileKind, FileSummary, Limits, Member, Newline, Reader, RecordText, Sniffer, Stamp,
    Summary, Survey, Unload, UnloadEvent,
};
use crate::canon::{Handling, Page, handling};
use crate::display::shown;
use crate::local::ItemInfo;

/// Bytes of a message that are shown.
const MESSAGE: usize = 4096;
/// Members of a library that are listed for people.
const LISTED: usize = 200;

/// NETDATA that the inbox keeps as such.
pub(crate) fn is_netdata(item: &ItemInfo) -> bool {
    let facts = &item.envelope.facts;
    facts.stored_as == facts.spec.file_type && handling(facts.stored_as) == Handling::Netdata
}

/// How its text is read: the page that the sender named, if it is known.
pub(crate) fn page_of(item: &ItemInfo) -> Page {
    let label = item.envelope.facts.attribute("CHARSET");
    label.and_then(Page::parse).unwrap_or_default()
}

/// What is inside an item. Field names are part of the interface.
#[derive(Debug, Serialize)]
pub(crate) struct Contents {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<String>,
    receipt: bool,
    files: Vec<FileJson>,
}

#[derive(Debug, Serialize)]
struct FileJson {
    kind: &'static str,
    name: Option<String>,
    recfm: String,
    lrecl: Option<u64>,
    records: u64,
    bytes: u64,
    text: bool,
    changed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<MemberJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct MemberJson {
    name: Option<String>,
    aliases: Vec<String>,
    lines: Option<u32>,
    /// In the time of its own system, which nothing names.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

/// Reads an item of type N for its contents; `None` of another type.
pub(crate) fn contents(daemon: &Daemon, item: &ItemInfo) -> Result<Option<Contents>, Failure> {
    if !is_netdata(item) {
        return Ok(None);
    }
    let mut survey = Survey::new(Limits::default());
    let mut messages = Messages::new(page_of(item));
    let mut damage = None;
    Source::open(daemon, item.id, View::Local)?.copy(|piece| {
        if damage.is_none() {
            damage = survey.feed(piece).err();
            messages.feed(piece);
        }
        Ok(())
    })?;
    let summary = match damage {
        None => survey.finish(),
        Some(error) => Err(error),
    };
    Ok(Some(match summary {
        Ok(summary) => Contents::of(&summary, messages.texts),
        Err(error) => Contents {
            error: Some(error.to_string()),
            from: None,
            to: None,
            sent: None,
            receipt: false,
            files: Vec::new(),
        },
    }))
}

impl Contents {
    fn of(summary: &Summary, messages: Vec<Vec<u8>>) -> Contents {
        let party = |user: &str, node: &str| (!user.is_empty()).then(|| format!("{user}@{node}"));
        let mut messages = messages.into_iter();
        Contents {
            error: None,
            from: party(&summary.header.from.user, &summary.header.from.node),
            to: party(&summary.header.to.user, &summary.header.to.node),
            sent: summary.header.sent.as_ref().and_then(date),
            receipt: summary.receipt.is_some(),
            files: summary
                .files
                .iter()
                .map(|file| {
                    let message = match file.info.kind {
                        FileKind::Note => messages.next(),
                        _ => None,
                    };
                    FileJson::of(file, message)
                })
                .collect(),
        }
    }

    /// One fact a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut fact = |text: String| out.push(format!("{:<13}{}", "inside", shown(&text)));
        if let Some(error) = &self.error {
            fact(format!("not to be taken apart: {error}"));
        }
        if self.receipt {
            fact("a receipt".into());
        }
        for file in &self.files {
            let name = file.name.as_deref().unwrap_or("(no name)");
            let length = file.lrecl.map_or_else(String::new, |length| format!(" {length}"));
            let what = match file.kind {
                "file" if file.text => "text",
                "file" => "octets",
                other => other,
            };
            fact(format!(
                "{name}: {what}, {}{length}, {} records, {} bytes",
                file.recfm, file.records, file.bytes
            ));
            for line in file.message.iter().flat_map(|text| text.lines()) {
                fact(format!("  > {line}"));
            }
            if let Some(error) = &file.error {
                fact(format!("  its members cannot be told apart: {error}"));
            }
            let members = file.members.as_deref().unwrap_or_default();
            for member in members.iter().take(LISTED) {
                fact(format!("  {}", member.line()));
            }
            if members.len() > LISTED {
                fact(format!("  and {} more members", members.len() - LISTED));
            }
        }
        out
    }
}

impl FileJson {
    fn of(file: &FileSummary, message: Option<Vec<u8>>) -> FileJson {
        let (members, error) = match &file.library {
            Some(Ok(library)) => (Some(library.members.iter().map(MemberJson::of).collect()), None),
            Some(Err(fault)) => (None, Some(fault.to_string())),
            None => (None, None),
        };
        FileJson {
            kind: match (&file.info.kind, file.info.pdse) {
                (FileKind::Sequential, _) => "file",
                (FileKind::Note, _) => "message",
                (FileKind::Library, false) => "PDS",
                (FileKind::Library, true) => "PDSE",
                (FileKind::Encrypted, _) => "encrypted",
                (FileKind::Foreign(_), _) => "unknown",
            },
            name: file.info.name.as_ref().map(ToString::to_string),
            recfm: file.info.recfm.to_string(),
            lrecl: file.info.lrecl,
            records: file.tally.records,
            bytes: file.tally.bytes,
            text: file.is_text,
            changed: file.info.dates.changed.as_ref().and_then(date),
            members,
            error,
            message: message.map(|text| String::from_utf8_lossy(&text).into_owned()),
        }
    }
}

impl MemberJson {
    fn of(member: &Member) -> MemberJson {
        let known = member.statistics.as_ref();
        MemberJson {
            name: member.name.clone(),
            aliases: member.aliases.clone(),
            lines: known.map(|known| known.lines),
            changed: known.and_then(|known| known.changed).map(|time| time.to_string()),
            created: known.and_then(|known| known.created).map(|day| day.to_string()),
            version: known.map(|known| format!("{:02}.{:02}", known.version.0, known.version.1)),
            user: known.map(|known| known.user.clone()),
        }
    }

    fn line(&self) -> String {
        let mut line = self.name.clone().unwrap_or_else(|| "(no name)".into());
        if !self.aliases.is_empty() {
            line += &format!(", also {}", self.aliases.join(", "));
        }
        if let Some(lines) = self.lines {
            line += &format!(", {lines} lines");
        }
        if let (Some(changed), Some(user)) = (&self.changed, &self.user) {
            line += &format!(", changed {} by {user}", changed.replace('T', " "));
        }
        line
    }
}

fn date(stamp: &Stamp) -> Option<String> {
    stamp.moment().map(Timestamp::as_second).map(rfc3339)
}

/// The beginning of every message.
struct Messages {
    reader: Reader,
    page: Page,
    open: Option<RecordText>,
    texts: Vec<Vec<u8>>,
}

impl Messages {
    fn new(page: Page) -> Messages {
        Messages {
            reader: Reader::new(Limits::default()),
            page,
            open: None,
            texts: Vec::new(),
        }
    }

    fn feed(&mut self, wire: &[u8]) {
        let mut rest = wire;
        // A fault is the survey's to tell.
        while let Ok(Some(event)) = self.reader.next(&mut rest) {
            match event {
                Event::FileStart(info) if info.kind == FileKind::Note => {
                    self.open = Some(RecordText::new(info, self.page, Newline::Lf));
                    self.texts.push(Vec::new());
                }
                Event::Record(record) => {
                    if let (Some(text), Some(out)) = (&mut self.open, self.texts.last_mut())
                        && out.len() < MESSAGE
                    {
                        text.record(record.get(..MESSAGE).unwrap_or(record), out);
                    }
                }
                Event::FileEnd(_) => {
                    if let (Some(text), Some(out)) = (self.open.take(), self.texts.last_mut()) {
                        text.finish(out);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The beginning of what a transmission holds, file after file: a heading if there are several, and bytes.
/// `None` when it does not begin with a file.
pub(crate) fn opening(head: &[u8], page: Page) -> Option<Vec<(String, Vec<u8>)>> {
    let mut reader = Reader::new(Limits::default());
    let mut rest = head;
    let mut sections: Vec<Section> = Vec::new();
    while let Ok(Some(event)) = reader.next(&mut rest) {
        match (event, sections.last_mut()) {
            (Event::FileStart(info), _) => sections.push(Section::new(info, page)?),
            (Event::Record(record), Some(section)) => section.record(record),
            _ => {}
        }
    }
    (!sections.is_empty()).then(|| sections.into_iter().map(Section::end).collect())
}

/// A file of an [`opening`].
struct Section {
    title: String,
    sniffer: Sniffer,
    text: RecordText,
    lines: Vec<u8>,
    octets: Vec<u8>,
    library: Option<Unload>,
}

impl Section {
    fn new(info: &FileInfo, page: Page) -> Option<Section> {
        let library = match info.kind {
            FileKind::Sequential | FileKind::Note => None,
            FileKind::Library => Some(Unload::new(Limits::default())),
            FileKind::Encrypted | FileKind::Foreign(_) => return None,
        };
        let name = info.name.as_ref().map(ToString::to_string);
        Some(Section {
            title: match info.kind {
                FileKind::Note => "message".into(),
                _ => name.unwrap_or_else(|| "(no name)".into()),
            },
            sniffer: Sniffer::new(info),
            text: RecordText::new(info, page, Newline::Lf),
            lines: Vec::new(),
            octets: Vec::new(),
            library,
        })
    }

    fn record(&mut self, record: &[u8]) {
        let Some(unload) = &mut self.library else {
            self.sniffer.record(record);
            self.octets.extend_from_slice(record);
            return self.text.record(record, &mut self.lines);
        };
        let mut rest = record;
        while let Ok(Some(event)) = unload.next(&mut rest) {
            if let UnloadEvent::Directory(members) = event {
                for member in members {
                    self.lines
                        .extend_from_slice(MemberJson::of(member).line().as_bytes());
                    self.lines.push(b'\n');
                }
            }
        }
    }

    fn end(mut self) -> (String, Vec<u8>) {
        self.text.finish(&mut self.lines);
        match self.library.is_some() || self.sniffer.is_text() {
            true => (self.title, self.lines),
            false => (self.title, self.octets),
        }
    }
}
