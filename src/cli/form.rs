//! The bytes of an item in the form that was asked for, checked against its record.
//!
//! Every copy is measured while it runs: what was read must have the length and the digest that the daemon recorded when
//! it acknowledged the file, and a wire form that is made again must be the very one that was sent. So a copy that
//! ended well is the file; one that did not is never published and the item stays.
//! What it does *not* do: write files (`receive::place`), or convert (`canon`).

use std::fs::File;
use std::io::Read;

use uft_spool::{FileType, Measure, SpoolId};

use super::daemon::{Daemon, answered, unexpected};
use super::exit::{Exit, Failure, reason};
use crate::canon::{Decoder, Handling, Lines, Page, Restorer, handling};
use crate::display::shown;
use crate::local::client::ask;
use crate::local::{Answer, Form, ItemInfo, Request};

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// What somebody wants of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    /// As the inbox hands it out.
    #[default]
    Local,
    /// The sender's bytes.
    Wire,
    /// As text lines, whatever the type; EBCDIC read by this page.
    Text(Option<Page>),
    /// The second fork.
    Aux,
}

/// An item, open for reading.
#[derive(Debug)]
pub(crate) struct Source {
    /// The item.
    pub(crate) item: ItemInfo,
    id: SpoolId,
    file: File,
    bytes: u64,
    /// The file holds the local form, and the exact wire form is wanted.
    restore: bool,
    expected: Measure,
    through: Through,
}

/// What the bytes of a form pass on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    Nothing,
    Decoder(Page),
    Lines(Option<Page>),
}

impl Source {
    /// Opens a form of an item.
    pub(crate) fn open(daemon: &Daemon, id: SpoolId, view: View) -> Result<Source, Failure> {
        match view {
            View::Local => Source::fetch(daemon, id, Form::Local, Through::Nothing),
            View::Wire => Source::fetch(daemon, id, Form::Wire, Through::Nothing),
            View::Aux => Source::fetch(daemon, id, Form::Aux, Through::Nothing),
            View::Text(page) => {
                let item = daemon.item(id)?;
                let facts = &item.envelope.facts;
                let failed = facts.stored_as != facts.spec.file_type;
                match handling(facts.spec.file_type) {
                    Handling::Ebcdic if page.is_some() || failed => {
                        let page = page.unwrap_or_default();
                        Source::fetch(daemon, id, Form::Wire, Through::Decoder(page))
                    }
                    Handling::Records(_) | Handling::Octets => {
                        Source::fetch(daemon, id, Form::Wire, Through::Lines(page))
                    }
                    Handling::Text | Handling::Mail if failed => {
                        Source::fetch(daemon, id, Form::Wire, Through::Lines(page))
                    }
                    Handling::Netdata if !Decoder::new(&facts.spec, None).converts() => Err(Failure::new(
                        Exit::DataError,
                        format!("item {id}: NETDATA that is kept as sent has no lines"),
                    )
                    .hint("take the bytes: uft receive --as I")),
                    Handling::Netdata if page.is_some() || failed => {
                        let page = page.unwrap_or_default();
                        Source::fetch(daemon, id, Form::Wire, Through::Decoder(page))
                    }
                    Handling::Text | Handling::Mail | Handling::Ebcdic | Handling::Netdata => {
                        Source::fetch(daemon, id, Form::Local, Through::Nothing)
                    }
                }
            }
        }
    }

    fn fetch(daemon: &Daemon, id: SpoolId, form: Form, through: Through) -> Result<Source, Failure> {
        let user = daemon.user.clone();
        let mut asked = ask(&daemon.socket, &Request::Open { user, id, form })?;
        let (item, bytes, restore) = match answered(asked.only()?)? {
            Answer::Content { item, bytes, restore } => (*item, bytes, restore),
            other => return Err(unexpected(&other)),
        };
        let file = asked
            .file()
            .ok_or_else(|| Failure::new(Exit::Protocol, format!("item {id}: uftd passed no open file")))?;
        let missing = || Failure::new(Exit::NoInput, format!("item {id} has no second fork"));
        let expected = match form {
            Form::Local => item.envelope.local,
            Form::Wire => item.envelope.wire,
            Form::Aux => item.envelope.aux.ok_or_else(missing)?,
        };
        Ok(Source {
            item,
            id,
            file,
            bytes,
            restore,
            expected,
            through,
        })
    }

    /// Hands every byte to `sink`, then says what came out; an error when it is not what the record says.
    pub(crate) fn copy(
        mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Measure, Failure> {
        let mut stages = Stages::new(&self);
        let mut buffer = vec![0; PIECE];
        let mut left = self.bytes;
        while left > 0 {
            let count = self.piece(&mut buffer, left)?;
            if count == 0 {
                break;
            }
            left -= count as u64;
            stages.feed(buffer.get(..count).unwrap_or_default(), &mut sink)?;
        }
        let (checked, given) = stages.finish(&mut sink)?;
        if checked != self.expected {
            return Err(Failure::new(
                Exit::Io,
                format!(
                    "item {} is damaged: {} bytes with digest {} came, {} bytes with digest {} were recorded",
                    self.id,
                    checked.bytes,
                    checked.blake3.to_hex(),
                    self.expected.bytes,
                    self.expected.blake3.to_hex()
                ),
            )
            .hint("the item stays in the inbox; tell the administrator, the disk may be failing"));
        }
        Ok(given)
    }

    /// The first bytes, at most `most`, of what [`Source::copy`] would hand out, unchecked.
    pub(crate) fn head(mut self, most: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut stages = Stages::new(&self);
        let mut collect = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok(())
        };
        let mut buffer = vec![0; PIECE];
        let mut left = self.bytes.min(most as u64 * 4);
        let whole = left == self.bytes;
        while left > 0 {
            let count = self.piece(&mut buffer, left)?;
            if count == 0 {
                break;
            }
            left -= count as u64;
            stages.feed(buffer.get(..count).unwrap_or_default(), &mut collect)?;
        }
        if whole {
            stages.finish(&mut collect)?;
        }
        out.truncate(most);
        Ok(())
    }

    /// Reads at most `left` bytes; 0 at the end of the file.
    fn piece(&mut self, buffer: &mut [u8], left: u64) -> Result<usize, Failure> {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let room = buffer.get_mut(..most).unwrap_or_default();
        loop {
            match self.file.read(room) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Failure::new(
                        Exit::Io,
                        format!("item {}: {}", self.id, reason(&e)),
                    ));
                }
                Ok(count) => return Ok(count),
            }
        }
    }
}

/// From the file to whoever takes the bytes: restored if need be, measured, converted if wanted.
struct Stages {
    id: SpoolId,
    restorer: Option<Restorer>,
    exact: Meter,
    filter: Filter,
    given: Meter,
    restored: Vec<u8>,
    converted: Vec<u8>,
}

/// The last stage.
enum Filter {
    Nothing,
    Decoder(Decoder),
    Lines(Box<Lines>),
}

impl Stages {
    fn new(source: &Source) -> Stages {
        let facts = &source.item.envelope.facts;
        let charset = facts.attribute("CHARSET");
        Stages {
            id: source.id,
            restorer: source.restore.then(|| Restorer::new(&facts.spec, charset)),
            exact: Meter::default(),
            filter: match source.through {
                Through::Nothing => Filter::Nothing,
                Through::Decoder(page) => Filter::Decoder(Decoder::new(&facts.spec, Some(&page.to_string()))),
                Through::Lines(page) => Filter::Lines(Box::new(Lines::new(&facts.spec, charset, page))),
            },
            given: Meter::default(),
            restored: Vec::new(),
            converted: Vec::new(),
        }
    }

    fn feed(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(restorer) = &mut self.restorer else {
            return self.convert(piece, sink);
        };
        let mut restored = std::mem::take(&mut self.restored);
        restored.clear();
        restorer
            .feed(piece, &mut restored)
            .map_err(|e| not_restored(self.id, &e))?;
        self.convert(&restored, sink)?;
        self.restored = restored;
        Ok(())
    }

    /// Measures a piece of the form itself, converts it and hands it on.
    fn convert(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.exact.add(piece);
        self.converted.clear();
        match &mut self.filter {
            Filter::Nothing => return sink(piece),
            Filter::Decoder(decoder) => decoder.feed(piece, &mut self.converted),
            Filter::Lines(lines) => lines.feed(piece, &mut self.converted),
        }
        .map_err(|e| no_text(self.id, &e))?;
        self.given.add(&self.converted);
        sink(&self.converted)
    }

    /// The end of the file: what the form itself measures, and what was handed out.
    fn finish(
        mut self,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(Measure, Measure), Failure> {
        let id = self.id;
        if let Some(restorer) = self.restorer.take() {
            let mut restored = Vec::new();
            restorer.finish(&mut restored).map_err(|e| not_restored(id, &e))?;
            self.convert(&restored, sink)?;
        }
        let exact = self.exact.end();
        let mut converted = Vec::new();
        match self.filter {
            Filter::Nothing => return Ok((exact, exact)),
            Filter::Decoder(decoder) => decoder.finish(&mut converted),
            Filter::Lines(lines) => lines.finish(&mut converted),
        }
        .map_err(|e| no_text(id, &e))?;
        self.given.add(&converted);
        sink(&converted)?;
        Ok((exact, self.given.end()))
    }
}

fn not_restored(id: SpoolId, error: &impl ToString) -> Failure {
    let text = shown(&error.to_string());
    Failure::new(
        Exit::Io,
        format!("item {id}: the bytes as sent cannot be made again: {text}"),
    )
    .hint("the item stays in the inbox; uft receive without --wire gives the local form")
}

fn no_text(id: SpoolId, error: &impl ToString) -> Failure {
    let text = shown(&error.to_string());
    Failure::new(
        Exit::DataError,
        format!("item {id} cannot be read as text: {text}"),
    )
    .hint("take the bytes: uft receive --as I")
}

/// Whether a code page means anything to a type.
pub(crate) fn has_page(file_type: FileType) -> bool {
    !matches!(
        handling(file_type),
        Handling::Text | Handling::Mail | Handling::Octets
    )
}

/// Length and digest of what passes.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Meter {
    /// The next bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// All of them together.
    pub(crate) fn end(self) -> Measure {
        Measure {
            bytes: self.bytes,
            blake3: self.hasher.finalize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use uft_spool::{Envelope, Facts, FileType, Origin, Proof, TypeSpec};

    use super::*;

    fn measure(bytes: &[u8]) -> Measure {
        let mut meter = Meter::default();
        meter.add(bytes);
        meter.end()
    }

    /// An item of type E whose wire form is not kept, open as the daemon hands it out.
    fn source(kept: &[u8], local: &[u8], wire: &[u8], view: View) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(kept).unwrap();
        file.rewind().unwrap();
        let facts = Facts {
            name: None,
            spec: TypeSpec::plain(FileType::E),
            stored_as: FileType::E,
            origin: Origin {
                user: "maint".into(),
                node: None,
                host: "192.0.2.1".into(),
                proof: Proof::Address,
            },
            received: 0,
            attributes: vec![],
            xid: None,
            exact: true,
            notes: vec![],
            receipt: None,
        };
        let envelope = Envelope {
            version: 1,
            facts,
            local: measure(local),
            wire: measure(wire),
            wire_kept: false,
            aux: None,
        };
        let id = SpoolId::new(3).unwrap();
        let (restore, expected, through) = match view {
            View::Wire => (true, envelope.wire, Through::Nothing),
            View::Text(Some(page)) => (true, envelope.wire, Through::Decoder(page)),
            _ => (false, envelope.local, Through::Nothing),
        };
        Source {
            item: ItemInfo {
                user: "alice".parse().unwrap(),
                id,
                envelope,
            },
            id,
            file,
            bytes: kept.len() as u64,
            restore,
            expected,
            through,
        }
    }

    fn copied(source: Source) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let given = source.copy(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(given, measure(&bytes));
        Ok(bytes)
    }

    #[test]
    fn the_bytes_as_sent_are_made_again_and_compared_with_their_digest() {
        let lines = "a[\n".repeat(200_000);
        let wire = [0x81, 0xad, 0x15].repeat(200_000);
        let view = |view| source(lines.as_bytes(), lines.as_bytes(), &wire, view);
        assert!(copied(view(View::Local)).unwrap() == lines.as_bytes());
        assert!(copied(view(View::Wire)).unwrap() == wire);
        // Another page: from the bytes as sent, not from what the first page made of them.
        let other = copied(view(View::Text(Page::parse("IBM-037")))).unwrap();
        assert!(other == "a\u{dd}\n".repeat(200_000).as_bytes());
    }

    #[test]
    fn an_item_that_is_not_what_was_recorded_is_an_error() {
        for (kept, view) in [
            (&b"a[\nX"[..], View::Local),
            (b"a]\n", View::Local),
            (b"a[", View::Local),
            (b"a]\n", View::Wire),
            (b"a]\n", View::Text(Some(Page::DEFAULT))),
        ] {
            let failure = copied(source(kept, b"a[\n", &[0x81, 0xad, 0x15], view)).unwrap_err();
            assert_eq!(failure.exit, Exit::Io, "{kept:?}");
            assert!(failure.text.starts_with("item 3 is damaged: "), "{failure}");
        }
    }

    #[test]
    fn the_beginning_is_cut_where_it_was_asked_to_be() {
        let lines = "line\n".repeat(100_000);
        let mut head = Vec::new();
        source(lines.as_bytes(), lines.as_bytes(), b"", View::Local)
            .head(1000, &mut head)
            .unwrap();
        assert_eq!(head, &lines.as_bytes()[..1000]);
    }
}
