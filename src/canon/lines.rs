//! Any text or record file as lines of UTF-8, on demand (`uft receive --as A`).
//!
//! | type | lines |
//! |---|---|
//! | A, M | as stored: CR LF is LF |
//! | E | by the page |
//! | V, W, X, F | a line a record; blanks at the end of a fixed record stay |
//! | I | as A, unless an EBCDIC page is named: then as E |
//! | N | none here: it needs its own decoder |
//!
//! The text of records is read by the first of these that says something: the page asked for; the charset of the item;
//! the records within the first 64 KiB as sent. If those are UTF-8 without control characters other than TAB, the
//! bytes are taken as they are; else they are IBM-1047. Either way a note says so. A line end inside a record becomes
//! U+0085, with a note: the lines of the result are the records.
//!
//! What it does *not* do: carriage control; the first column is a character like the others.

use memchr::memchr;
use uft_spool::TypeSpec;

use super::charset::{self, Transcoder};
use super::decode::{Decoder, Outcome};
use super::ebcdic::{FromPage, Newlines};
use super::page::Page;
use super::records::{Frames, Piece};
use super::utf8::{Span, Utf8};
use super::{Failure, Framing, Handling, handling, quoted};

/// Bytes of the wire form that decide how records are read.
const SNIFF: usize = 64 * 1024;
const NEL: &[u8] = "\u{85}".as_bytes();

/// Wire form to lines of text, in pieces of any size and constant memory; at most four times as long. After an error it
/// is of no further use.
pub struct Lines {
    engine: Engine,
}

enum Engine {
    Text(Decoder),
    Records(Box<Records>),
    Refused(Failure),
}

impl Lines {
    /// A converter for an item. `charset` is the value of `META CHARSET`, `page` what the reader asks for; it wins.
    /// What cannot be read as lines at all is refused by the first call of the others.
    pub fn new(spec: &TypeSpec, charset: Option<&str>, page: Option<Page>) -> Lines {
        let engine = match (handling(spec.file_type), page) {
            (Handling::Netdata, _) => Engine::Refused(Failure::NoLines {
                file_type: spec.file_type,
            }),
            (Handling::Records(framing), _) => match Records::new(framing, spec.record_length, charset, page)
            {
                Ok(records) => Engine::Records(Box::new(records)),
                Err(failure) => Engine::Refused(failure),
            },
            (Handling::Text | Handling::Mail | Handling::Ebcdic | Handling::Octets, Some(page)) => {
                Engine::Text(Decoder::ebcdic(page))
            }
            (Handling::Text | Handling::Mail | Handling::Ebcdic, None) => {
                Engine::Text(Decoder::new(spec, charset))
            }
            (Handling::Octets, None) => Engine::Text(match charset.and_then(Page::parse) {
                Some(page) => Decoder::ebcdic(page),
                None => Decoder::text(charset),
            }),
        };
        Lines { engine }
    }

    /// Converts the next bytes of the wire form, appending to `lines`.
    ///
    /// # Errors
    /// A record longer than any, or an item that has no lines.
    pub fn feed(&mut self, wire: &[u8], lines: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.engine {
            Engine::Text(decoder) => decoder.feed(wire, lines),
            Engine::Records(records) => records.feed(wire, lines),
            Engine::Refused(failure) => Err(failure.clone()),
        }
    }

    /// The end of the wire form. For records the outcome is never exact.
    ///
    /// # Errors
    /// The last record is cut short, or as for [`Lines::feed`].
    pub fn finish(self, lines: &mut Vec<u8>) -> Result<Outcome, Failure> {
        match self.engine {
            Engine::Text(decoder) => decoder.finish(lines),
            Engine::Records(records) => records.finish(lines),
            Engine::Refused(failure) => Err(failure),
        }
    }
}

struct Records {
    framing: Framing,
    record_length: Option<u32>,
    frames: Frames,
    /// `None` until the beginning of the file has decided; it waits in `head`, at most [`SNIFF`] bytes.
    text: Option<Text>,
    head: Vec<u8>,
    notes: Vec<String>,
}

/// How the bytes of a record become text.
enum Text {
    Bytes {
        disarmed: bool,
    },
    Charset {
        transcoder: Box<Transcoder>,
        decoded: Vec<u8>,
        disarmed: bool,
    },
    Page(Box<FromPage>),
}

impl Records {
    fn new(
        framing: Framing,
        record_length: Option<u32>,
        charset: Option<&str>,
        page: Option<Page>,
    ) -> Result<Records, Failure> {
        let mut notes = Vec::new();
        let text = match (page.or_else(|| charset.and_then(Page::parse)), charset) {
            (Some(page), _) => Some(Text::page(page)),
            (None, None) => None,
            (None, Some(label)) => match charset::named(label) {
                Some(encoding) => Some(Text::Charset {
                    transcoder: Box::new(Transcoder::new(encoding)),
                    decoded: Vec::new(),
                    disarmed: false,
                }),
                None => {
                    notes.push(format!("charset {} is not known", quoted(label)));
                    None
                }
            },
        };
        let frames = Frames::new(framing, record_length)?;
        Ok(Records {
            framing,
            record_length,
            frames,
            text,
            head: Vec::new(),
            notes,
        })
    }

    fn feed(&mut self, wire: &[u8], lines: &mut Vec<u8>) -> Result<(), Failure> {
        if self.text.is_some() {
            return self.convert(wire, lines);
        }
        let (head, rest) = wire
            .split_at_checked(SNIFF - self.head.len())
            .unwrap_or((wire, &[]));
        self.head.extend_from_slice(head);
        if self.head.len() < SNIFF {
            return Ok(());
        }
        self.decide(lines)?;
        self.convert(rest, lines)
    }

    fn finish(mut self, lines: &mut Vec<u8>) -> Result<Outcome, Failure> {
        if self.text.is_none() {
            self.decide(lines)?;
        }
        self.frames.finish()?;
        if let Some(text) = &self.text {
            self.notes.extend(text.notes());
        }
        Ok(Outcome {
            exact: false,
            notes: self.notes,
        })
    }

    /// The beginning of the file says what the text of its records is, and is then converted.
    fn decide(&mut self, lines: &mut Vec<u8>) -> Result<(), Failure> {
        let head = std::mem::take(&mut self.head);
        let text = match looks_like(&head, Frames::new(self.framing, self.record_length)?) {
            Looks::Empty => Text::Bytes { disarmed: false },
            Looks::Utf8 => {
                self.notes.push(
                    "no code page is named: the records look like UTF-8 and are taken as they are".into(),
                );
                Text::Bytes { disarmed: false }
            }
            Looks::Other => {
                self.notes.push(format!(
                    "no code page is named: the records are read as {}",
                    Page::DEFAULT
                ));
                Text::page(Page::DEFAULT)
            }
        };
        self.text = Some(text);
        self.convert(&head, lines)
    }

    fn convert(&mut self, wire: &[u8], lines: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(text) = &mut self.text else { return Ok(()) };
        let mut rest = wire;
        while let Some(piece) = self.frames.next(&mut rest)? {
            match piece {
                Piece::Part(part) => text.part(part, lines),
                Piece::End => {
                    text.end(lines);
                    lines.push(b'\n');
                }
            }
        }
        Ok(())
    }
}

impl Text {
    fn page(page: Page) -> Text {
        Text::Page(Box::new(FromPage::new(page, Newlines::Disarmed)))
    }

    fn part(&mut self, part: &[u8], lines: &mut Vec<u8>) {
        match self {
            Text::Bytes { disarmed } => *disarmed |= disarm(part, lines),
            Text::Charset {
                transcoder,
                decoded,
                disarmed,
            } => {
                for part in part.chunks(SNIFF) {
                    decoded.clear();
                    transcoder.feed(part, decoded);
                    *disarmed |= disarm(decoded, lines);
                }
            }
            Text::Page(page) => page.feed(part, lines),
        }
    }

    fn end(&mut self, lines: &mut Vec<u8>) {
        if let Text::Charset {
            transcoder,
            decoded,
            disarmed,
        } = self
        {
            decoded.clear();
            transcoder.end(decoded);
            *disarmed |= disarm(decoded, lines);
        }
    }

    fn notes(&self) -> Vec<String> {
        let (mut notes, disarmed) = match self {
            Text::Bytes { disarmed } => (vec![], *disarmed),
            Text::Charset {
                transcoder, disarmed, ..
            } => (transcoder.note().into_iter().collect(), *disarmed),
            Text::Page(page) => (page.notes(), false),
        };
        if disarmed {
            notes.push(super::ebcdic::DISARMED.into());
        }
        notes
    }
}

/// Copies text, with U+0085 for every LF; whether there was one.
fn disarm(text: &[u8], lines: &mut Vec<u8>) -> bool {
    let mut rest = text;
    let mut found = false;
    while let Some((before, after)) = memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
        lines.extend_from_slice(before);
        lines.extend_from_slice(NEL);
        rest = after.get(1..).unwrap_or_default();
        found = true;
    }
    lines.extend_from_slice(rest);
    found
}

#[derive(Debug, PartialEq, Eq)]
enum Looks {
    Empty,
    Utf8,
    Other,
}

/// What the records at the beginning of a file look like.
fn looks_like(head: &[u8], mut frames: Frames) -> Looks {
    let mut utf8 = Utf8::default();
    let mut looks = Looks::Empty;
    let mut rest = head;
    // An error of the framing is met again, and reported, when the bytes are converted.
    while let Ok(Some(piece)) = frames.next(&mut rest) {
        match piece {
            Piece::Part(mut part) => {
                looks = Looks::Utf8;
                if part.iter().any(|&byte| byte < b' ' && byte != b'\t') {
                    return Looks::Other;
                }
                while let Some(span) = utf8.next(&mut part) {
                    if matches!(span, Span::Malformed(_)) {
                        return Looks::Other;
                    }
                }
            }
            Piece::End if utf8.end().is_some() => return Looks::Other,
            Piece::End => {}
        }
    }
    looks
}
