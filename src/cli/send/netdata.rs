//! NETDATA made of local files: what the command line says of it, and the bytes of the transmission.
//!
//! A text is read twice: once to find its longest line and whatever does not fit, before a connection is made, and once
//! to send it. Neither pass holds more than one piece of it.
//! What it does *not* do: write segments (`canon::netdata`), or open files (`input`).

use std::collections::HashSet;
use std::io::Read;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::input::{PIECE, Pieces, fill, misfit, unreadable};
use crate::canon::netdata::{
    AckRequest, FileSpec, Format, Name, OctetRecords, Party, Plan, Stamp, Style, TextRecords, WriteError,
    Writer,
};
use crate::canon::{Page, Policy};
use crate::cli::address::quoted;
use crate::cli::exit::{Exit, Failure};

/// The longest record that every reader takes.
const RECORD_MAX: u32 = 65_535;
/// The longest variable record of z/OS.
const VARIABLE: u32 = 32_756;
/// A card.
const CARD: u32 = 80;

/// How a file becomes NETDATA.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How NETDATA is made (-t N without --raw)")]
pub(crate) struct NetdataArgs {
    /// The octets of the file in records, instead of a record for each line of a text
    #[arg(long)]
    pub(crate) binary: bool,
    /// Fixed or variable records [default: V for text, F with --binary]
    #[arg(long, value_name = "F|V", value_enum, ignore_case = true)]
    pub(crate) recfm: Option<RecordForm>,
    /// Bytes of a record, or of the longest [default: F: 80; V: the longest line, 32756 with --binary]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(RECORD_MAX)))]
    pub(crate) lrecl: Option<u32>,
    /// As CMS or as TSO names files [default: cms for name.type with up to 8 letters each, else tso]
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) style: Option<Naming>,
    /// A message that goes before the file
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) note: Option<String>,
    /// All files in one transmission, which arrives as one item, instead of one for each
    #[arg(long)]
    pub(crate) together: bool,
}

/// The values of `--recfm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordForm {
    /// All of one length: lines are filled up with blanks, the last piece of octets stays short
    #[value(name = "F")]
    Fixed,
    /// Each as long as its line
    #[value(name = "V")]
    Variable,
}

/// The values of `--style`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Naming {
    /// SENDFILE: file name and file type
    Cms,
    /// TRANSMIT: a data set name
    Tso,
}

/// The same, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    binary: bool,
    form: RecordForm,
    length: Option<u32>,
    naming: Option<Naming>,
    page: Page,
    policy: Policy,
}

impl NetdataArgs {
    /// The first of these options that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.binary, "--binary"),
            (self.recfm.is_some(), "--recfm"),
            (self.lrecl.is_some(), "--lrecl"),
            (self.style.is_some(), "--style"),
            (self.note.is_some(), "--note"),
            (self.together, "--together"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, name)| name)
    }

    /// What they say together.
    pub(crate) fn shape(&self, page: Option<Page>, policy: Policy) -> Shape {
        let usual = match self.binary {
            true => RecordForm::Fixed,
            false => RecordForm::Variable,
        };
        Shape {
            binary: self.binary,
            form: self.recfm.unwrap_or(usual),
            length: self.lrecl,
            naming: self.style,
            page: page.unwrap_or_default(),
            policy,
        }
    }
}

impl Shape {
    /// The format of the records of a file, which is read to its end if need be.
    pub(crate) fn format(&self, reader: impl Read, label: &str) -> Result<Format, Failure> {
        match (self.binary, self.form) {
            (true, RecordForm::Fixed) => Ok(Format::fixed_octets(self.length.unwrap_or(CARD))),
            (true, RecordForm::Variable) => Ok(Format::variable(self.length.unwrap_or(VARIABLE))),
            (false, RecordForm::Fixed) => {
                let length = self.length.unwrap_or(CARD);
                self.longest(reader, length, label)?;
                Ok(Format::fixed_text(length))
            }
            (false, RecordForm::Variable) => {
                let longest = self.longest(reader, self.length.unwrap_or(RECORD_MAX), label)?;
                Ok(Format::variable(self.length.unwrap_or(longest)))
            }
        }
    }

    /// The longest record of a text, none longer than `limit`.
    fn longest(&self, mut reader: impl Read, limit: u32, label: &str) -> Result<u32, Failure> {
        let mut longest = 1;
        let mut sink = |record: &[u8]| {
            longest = longest.max(record.len());
            Ok(())
        };
        let mut records = self.records(limit);
        let mut buffer = vec![0; PIECE];
        loop {
            let count = fill(&mut reader, &mut buffer).map_err(|e| unreadable(label, &e))?;
            let piece = buffer.get(..count).unwrap_or_default();
            records.each(piece, &mut sink).map_err(refused)?;
            if count < PIECE {
                break;
            }
        }
        records.end(&mut sink).map_err(refused)?;
        Ok(u32::try_from(longest).unwrap_or(RECORD_MAX))
    }

    fn records(&self, limit: u32) -> TextRecords {
        TextRecords::new(self.page, self.policy, limit as usize)
    }

    /// The names of the files, all of one style.
    fn names(&self, files: &[Inside<'_>]) -> Result<Vec<Name>, Failure> {
        let all = |name: fn(&str) -> Name| files.iter().map(|file| name(file.name)).collect::<Vec<_>>();
        let names = match self.naming {
            Some(Naming::Tso) => return Ok(all(Name::dataset_of_file)),
            Some(Naming::Cms) | None => all(Name::of_file),
        };
        let other = names
            .iter()
            .zip(files)
            .find(|(name, _)| name.style() != Style::Cms);
        match (other, self.naming) {
            (None, _) => Ok(names),
            (Some(_), None | Some(Naming::Tso)) => Ok(all(Name::dataset_of_file)),
            (Some((_, file)), Some(Naming::Cms)) => Err(Failure::usage(format!(
                "{} is not a file name of CMS",
                quoted(file.name)
            ))
            .hint("give it one, as in --name notes.text, or send it with --style tso")),
        }
    }
}

/// One transmission: the same bytes for every attempt at it.
#[derive(Clone, Debug)]
pub(crate) struct Transmission {
    plan: Plan,
    note: Option<String>,
    shape: Shape,
}

/// What a transmission says of itself and of those between whom it goes.
pub(crate) struct Label<'a> {
    /// User and node of the sender.
    pub(crate) from: (&'a str, &'a str),
    /// User and node of the recipient.
    pub(crate) to: (&'a str, &'a str),
    /// A message before the files.
    pub(crate) note: Option<&'a str>,
    /// A receipt is wanted.
    pub(crate) receipt: bool,
}

/// What a transmission says of one of its files.
pub(crate) struct Inside<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its records.
    pub(crate) format: Format,
    /// Its length.
    pub(crate) size: Option<u64>,
    /// When it was changed.
    pub(crate) changed: Option<Timestamp>,
}

impl Transmission {
    /// A transmission of these files, at least one, that begins now.
    pub(crate) fn new(
        shape: Shape,
        label: &Label<'_>,
        files: &[Inside<'_>],
    ) -> Result<Transmission, Failure> {
        let names = shape.names(files)?;
        let style = names.first().map_or(Style::Cms, Name::style);
        let party = |(user, node)| Party::folded(user, node);
        let (from, to) = (party(label.from), party(label.to));
        let mut plan = Plan::new(from, to, Stamp::of(Timestamp::now()), style);
        plan.ack = label.receipt.then(AckRequest::default);
        if let Some(note) = label.note {
            let longest = shape
                .longest(note.as_bytes(), RECORD_MAX, "--note")
                .map_err(|mut failure| {
                    failure.text = format!("--note: {}", failure.text);
                    failure
                })?;
            plan.files.push(FileSpec::new(None, Format::variable(longest)));
        }
        plan.files
            .extend(names.into_iter().zip(files).map(|(name, file)| {
                let mut spec = FileSpec::new(Some(name), file.format);
                spec.size = file.size;
                spec.changed = file.changed.map(Stamp::of);
                spec
            }));
        // Too many files are better known before a connection is made.
        Writer::new(&plan).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Transmission {
            plan,
            note: label.note.map(str::to_owned),
            shape,
        })
    }

    /// The names of files that have the same name in the transmission as another one before them.
    pub(crate) fn doubles(&self) -> Vec<String> {
        let mut seen = HashSet::new();
        let names = self.plan.files.iter().filter_map(|file| file.name.as_ref());
        names
            .filter(|name| !seen.insert(*name))
            .map(ToString::to_string)
            .collect()
    }

    /// Reads the files to their ends, each with what it is called here, and gives their transmission away; then what the
    /// user should know.
    pub(crate) fn pump(
        &self,
        files: Vec<(String, Box<dyn Read + Send>)>,
        out: &mut Pieces,
    ) -> Result<Vec<String>, Failure> {
        let mut wire = Vec::new();
        let mut writer = Writer::new(&self.plan).map_err(|e| refused(e.into()))?;
        if let Some(note) = &self.note {
            writer.start(&mut wire).map_err(refused)?;
            let mut records = self.shape.records(RECORD_MAX);
            records
                .feed(note.as_bytes(), &mut writer, &mut wire)
                .map_err(refused)?;
            records.finish(&mut writer, &mut wire).map_err(refused)?;
        }
        let mut buffer = vec![0; PIECE];
        let mut notes = Vec::new();
        for (label, mut reader) in files {
            writer.start(&mut wire).map_err(refused)?;
            let mut records = Records::new(&self.shape);
            loop {
                let count = fill(&mut reader, &mut buffer).map_err(|e| unreadable(&label, &e))?;
                let piece = buffer.get(..count).unwrap_or_default();
                records.feed(piece, &mut writer, &mut wire).map_err(refused)?;
                // Nobody takes it any more: the transfer has ended, and says itself why.
                if wire.len() >= PIECE && !out.give(std::mem::take(&mut wire).into()) {
                    return Ok(Vec::new());
                }
                if count < PIECE {
                    break;
                }
            }
            let said = records.finish(&mut writer, &mut wire).map_err(refused)?;
            notes.extend(said.into_iter().map(|note| format!("{label}: {note}")));
        }
        writer.finish(&mut wire).map_err(refused)?;
        let _ = out.give(wire.into());
        Ok(notes)
    }
}

/// What makes the records of the file.
enum Records {
    Text(Box<TextRecords>),
    Octets(OctetRecords),
}

impl Records {
    fn new(shape: &Shape) -> Records {
        match shape.binary {
            true => Records::Octets(OctetRecords::new()),
            false => Records::Text(Box::new(shape.records(RECORD_MAX))),
        }
    }

    fn feed(&mut self, piece: &[u8], writer: &mut Writer, wire: &mut Vec<u8>) -> Result<(), WriteError> {
        match self {
            Records::Text(records) => records.feed(piece, writer, wire),
            Records::Octets(records) => records.feed(piece, writer, wire),
        }
    }

    fn finish(self, writer: &mut Writer, wire: &mut Vec<u8>) -> Result<Vec<String>, WriteError> {
        match self {
            Records::Text(records) => Ok(records.finish(writer, wire)?.notes),
            Records::Octets(records) => records.finish(writer, wire).map(|()| Vec::new()),
        }
    }
}

fn refused(error: WriteError) -> Failure {
    match error {
        WriteError::Misfit(e) => misfit(&e, "try a larger --lrecl, or send it with --binary or -t I"),
        e => Failure::new(Exit::DataError, e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_is_found_and_what_does_not_fit_is_named() {
        let shape = NetdataArgs::default().shape(None, Policy::Refuse);
        let longest = |text: &str| shape.format(text.as_bytes(), "x").map(Format::length);
        assert_eq!(longest("a\nlonger\n\n"), Ok(6));
        assert_eq!(longest(""), Ok(1));
        let failure = longest("a\nb\u{4e2d}\n").unwrap_err();
        assert!(
            failure.exit == Exit::DataError && failure.text.starts_with("line 2, column 2"),
            "{failure:?}"
        );
        let cards = NetdataArgs {
            recfm: Some(RecordForm::Fixed),
            ..NetdataArgs::default()
        };
        let failure = cards
            .shape(None, Policy::Refuse)
            .format("x".repeat(81).as_bytes(), "x")
            .unwrap_err();
        assert!(failure.text.contains("longer than 80"), "{failure:?}");
    }
}
