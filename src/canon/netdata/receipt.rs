//! Receipts (INMR07): what became of a file whose sender wanted to know.
//!
//! A receipt is a stream of its own: INMR01, INMR07, INMR06. Its INMR07 repeats what the transmission said of the file:
//!
//! | text unit | meaning |
//! |---|---|
//! | INMFTIME | when the file was sent |
//! | INMDSNAM, INMMEMBR, INMFFM, or INMTERM | its name, or that it was a note |
//! | INMFACK | the id of the request, if it had one |
//! | INMERRCD | what became of it; absent: received well |
//!
//! What it does *not* do: decide whether a receipt is sent at all. A receipt goes where a stranger says: who sends one checks
//! that the transmission came from there, limits the rate, and never answers a receipt. Source: z/OS TSO/E Customization,
//! INMR07.

use super::control::{AckRequest, Control, FileStep, Header};
use super::file::FileInfo;
use super::name::{Name, Party, text, to_ebcdic};
use super::read::{Event, Reader};
use super::stamp::Stamp;
use super::survey::Survey;
use super::unit::{ControlBuilder, Key};
use super::write::{CARD, pad};
use super::{ControlKind, Limits};

/// What fills up the last card: 00, or blanks.
const PADDING: [u8; 2] = [0x00, 0x40];
/// Letters of another fate, at most.
const WORDS: usize = 128;

/// What became of a file (INMERRCD).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The user took it.
    Received,
    /// The user discarded it.
    Deleted,
    /// Something else, in the words of the other side.
    Other(String),
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// When the file was sent.
    pub sent: Option<Stamp>,
    /// Its name; none: it was a note, or had none.
    pub name: Option<Name>,
    /// The id of the request, if it had one.
    pub ack: Option<AckRequest>,
    /// What became of it.
    pub fate: Fate,
}

impl Receipt {
    /// The receipt for a file of a transmission; `None` if nobody asked for one.
    ///
    /// ```
    /// use uft::canon::netdata::{Event, Fate, Limits, Party, Reader, Receipt, Stamp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use uft::canon::netdata::{AckRequest, FileSpec, Format, Name, Plan, Style, Writer};
    /// # let mut plan = Plan::new(Party::new("ALICE", "NODEA")?, Party::new("BOB", "NODEB")?, Stamp::of("2026-01-02T03:04:05Z".parse()?), Style::Cms);
    /// # plan.ack = Some(AckRequest::with_text("FRED"));
    /// # plan.files.push(FileSpec::new(Some(Name::cms("ACKME", "TEXT")?), Format::variable(80)));
    /// # let (mut wire, mut writer) = (Vec::new(), Writer::new(&plan)?);
    /// # writer.start(&mut wire)?;
    /// # writer.finish(&mut wire)?;
    /// // `wire` is a transmission that asks for a receipt.
    /// let mut reader = Reader::new(Limits::default());
    /// let (mut rest, mut receipt) = (wire.as_slice(), None);
    /// let mut header = None;
    /// while let Some(event) = reader.next(&mut rest)? {
    ///     match event {
    ///         Event::Header(h) => header = Some(h.clone()),
    ///         Event::FileStart(file) => receipt = Receipt::of(header.as_ref().unwrap(), file, Fate::Received),
    ///         _ => {}
    ///     }
    /// }
    /// let (header, receipt) = (header.unwrap(), receipt.unwrap());
    /// assert_eq!(receipt.ack.as_ref().unwrap().text(), "FRED");
    ///
    /// let mut answer = Vec::new();
    /// receipt.write(&header.to, &header.from, &Stamp::of("2026-01-02T04:00:00Z".parse()?), &mut answer);
    /// assert_eq!(answer.len() % 80, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(header: &Header, file: &FileInfo, fate: Fate) -> Option<Receipt> {
        let ack = header.ack.clone()?;
        Some(Receipt {
            sent: header.sent.clone(),
            name: file.name.clone(),
            ack: (!ack.id().is_empty()).then_some(ack),
            fate,
        })
    }

    /// The receipt that a transmission asks for, by its first bytes: all control records come before the first data. Of
    /// several files it names the first that has a name. `None` if nobody asked, or if this is no transmission of files:
    /// a receipt is never answered, whatever it asks for.
    pub fn wanted(head: &[u8], fate: Fate) -> Option<Receipt> {
        let mut reader = Reader::new(Limits::default());
        let (mut rest, mut header, mut name) = (head, None, None);
        while let Some(event) = reader.next(&mut rest).ok()? {
            match event {
                Event::Header(said) => header = Some(said.clone()),
                Event::Control(control) if control.kind == ControlKind::Inmr02 => {
                    name = name.or_else(|| FileStep::of(&control).name);
                }
                Event::FileStart(file) => {
                    let mut file = file.clone();
                    file.name = name.or(file.name);
                    return Receipt::of(&header?, &file, fate);
                }
                Event::Ack(_) => return None,
                _ => {}
            }
        }
        None
    }

    /// The receipt that a whole stream is; `None` of any other bytes, also of those that only begin like one.
    pub fn of_stream(wire: &[u8]) -> Option<Receipt> {
        // What may come behind the end: the rest of a card.
        let rest = wire
            .iter()
            .rev()
            .take_while(|byte| PADDING.contains(byte))
            .count();
        let mut survey = Survey::new(Limits::default());
        survey.feed(wire).ok()?;
        let summary = survey.finish().ok()?;
        summary.receipt.filter(|_| summary.ignored <= rest as u64)
    }

    pub(super) fn read(control: &Control<'_>) -> Receipt {
        let value = |key| {
            control
                .units
                .find(key)
                .map(|unit| unit.value().unwrap_or_default())
        };
        Receipt {
            sent: value(Key::INMFTIME).and_then(Stamp::from_ebcdic),
            name: control.name(),
            ack: value(Key::INMFACK)
                .filter(|id| !id.is_empty())
                .map(AckRequest::new),
            fate: match value(Key::INMERRCD).map(text).as_deref() {
                None | Some("RECEIVED" | "") => Fate::Received,
                Some("DELETED") => Fate::Deleted,
                Some(other) => Fate::Other(other.into()),
            },
        }
    }

    /// Appends the whole stream: from the recipient of the file to its sender, filled up to a card.
    pub fn write(&self, from: &Party, to: &Party, now: &Stamp, wire: &mut Vec<u8>) {
        let before = wire.len();
        ControlBuilder::new(ControlKind::Inmr01)
            .one(Key::INMLRECL, &[CARD])
            .one(Key::INMFNODE, &to_ebcdic(&from.node))
            .one(Key::INMFUID, &to_ebcdic(&from.user))
            .one(Key::INMTNODE, &to_ebcdic(&to.node))
            .one(Key::INMTUID, &to_ebcdic(&to.user))
            .one(Key::INMFTIME, &now.to_ebcdic())
            .write(wire);
        let sent = self.sent.as_ref().map(Stamp::to_ebcdic);
        let mut record = ControlBuilder::new(ControlKind::Inmr07).maybe(Key::INMFTIME, sent.as_deref());
        record = match &self.name {
            Some(name) => record
                .unit(Key::INMDSNAM, &name.fields())
                .maybe(Key::INMMEMBR, name.member_value())
                .maybe(Key::INMFFM, name.mode_number()),
            None => record.unit(Key::INMTERM, &[]),
        };
        let id = self.ack.as_ref().map(AckRequest::id);
        record = record.maybe(Key::INMFACK, id.filter(|id| !id.is_empty()));
        record = match &self.fate {
            Fate::Received => record,
            Fate::Deleted => record.one(Key::INMERRCD, &to_ebcdic("DELETED")),
            Fate::Other(words) => {
                let words: String = words.chars().take(WORDS).collect();
                record.one(Key::INMERRCD, &to_ebcdic(&words))
            }
        };
        record.write(wire);
        ControlBuilder::new(ControlKind::Inmr06).write(wire);
        pad((wire.len() - before) as u64, wire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::netdata::{FileSpec, Format, Plan, Style, Writer};

    fn stamp() -> Stamp {
        Stamp::of("2026-01-02T03:04:05Z".parse().unwrap())
    }

    /// A transmission of these files (`None`: a message).
    fn transmission(ack: Option<AckRequest>, files: &[Option<&str>]) -> Vec<u8> {
        let (from, to) = (Party::folded("alice", "nodea"), Party::folded("bob", "nodeb"));
        let mut plan = Plan::new(from, to, stamp(), Style::Cms);
        plan.ack = ack;
        for name in files {
            let name = name.map(|name| Name::cms(name, "TEXT").unwrap());
            plan.files.push(FileSpec::new(name, Format::variable(80)));
        }
        let (mut wire, mut writer) = (Vec::new(), Writer::new(&plan).unwrap());
        for _ in files {
            writer.start(&mut wire).unwrap();
            writer.record(&[0xc1; 80], &mut wire).unwrap();
        }
        writer.finish(&mut wire).unwrap();
        wire
    }

    fn written(receipt: &Receipt) -> Vec<u8> {
        let (from, to) = (Party::folded("bob", "nodeb"), Party::folded("alice", "nodea"));
        let mut wire = Vec::new();
        receipt.write(&from, &to, &stamp(), &mut wire);
        wire
    }

    #[test]
    fn the_first_bytes_tell_which_receipt_is_wanted() {
        let ack = || Some(AckRequest::with_text("FRED"));
        for (files, name) in [
            (&[Some("ONE")] as &[_], Some("ONE.TEXT")),
            (&[None, Some("TWO"), Some("THREE")], Some("TWO.TEXT")),
            (&[None], None),
        ] {
            let wire = transmission(ack(), files);
            let receipt = Receipt::wanted(&wire, Fate::Deleted).unwrap();
            assert_eq!(receipt.name.as_ref().map(ToString::to_string).as_deref(), name);
            assert_eq!(
                (receipt.sent.clone(), receipt.ack.clone()),
                (Some(stamp()), ack())
            );
            assert_eq!(Receipt::of_stream(&written(&receipt)), Some(receipt));
            let head = wire.iter().position(|&byte| byte == 0xc1).unwrap();
            for cut in 0..wire.len() {
                let found = Receipt::wanted(&wire[..cut], Fate::Received);
                assert!(found.is_none() || cut > head / 2, "{cut}");
            }
            assert_eq!(Receipt::wanted(&transmission(None, files), Fate::Received), None);
        }
    }

    #[test]
    fn a_receipt_is_never_answered() {
        let receipt = Receipt {
            sent: None,
            name: None,
            ack: Some(AckRequest::with_text("AGAIN")),
            fate: Fate::Received,
        };
        let mut wire = written(&receipt);
        assert_eq!(Receipt::wanted(&wire, Fate::Received), None);
        // INMFACK in INMR01 as well: behind the name of the record.
        let unit = [0x10, 0x26, 0x00, 0x00];
        let at = 2 + ControlKind::Inmr01.ebcdic().len();
        wire.splice(at..at, unit);
        wire[0] += 4;
        assert!(Receipt::of_stream(&wire).is_some());
        assert_eq!(Receipt::wanted(&wire, Fate::Received), None);
    }

    #[test]
    fn what_only_begins_like_a_receipt_is_none() {
        let receipt = Receipt {
            sent: Some(stamp()),
            name: Some(Name::cms("ACKME", "TEXT").unwrap()),
            ack: None,
            fate: Fate::Other("lost".into()),
        };
        let wire = written(&receipt);
        assert_eq!(Receipt::of_stream(&wire), Some(receipt));
        let end = wire.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for cut in 0..end {
            assert_eq!(Receipt::of_stream(&wire[..cut]), None, "{cut}");
        }
        let blanks = [&wire[..end], &[0x40; 160]].concat();
        assert!(Receipt::of_stream(&blanks).is_some());
        assert_eq!(
            Receipt::of_stream(&[&wire, b"and more".as_slice()].concat()),
            None
        );
        assert_eq!(Receipt::of_stream(&[&wire, wire.as_slice()].concat()), None);
        assert_eq!(Receipt::of_stream(&transmission(None, &[Some("ONE")])), None);
    }
}
