//! From the wire form to the local form, and back for items whose conversion was exact.
//!
//! What it does *not* do: turn records into lines (`lines.rs`); V, W, X, F, I and N stay as they were sent.

use uft_spool::TypeSpec;

use super::charset::{self, Transcoder};
use super::ebcdic::{FromPage, Newlines, ToPage};
use super::encode::{Misfit, Policy};
use super::page::Page;
use super::text::{FromCrlf, ToCrlf};
use super::{Failure, Handling, handling, quoted};

/// What came of a conversion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// [`Restorer`] makes the wire form again from the local form, byte for byte.
    pub exact: bool,
    /// What the recipient should know.
    pub notes: Vec<String>,
}

/// Wire form to local form, in pieces of any size, in constant memory. The local form is at most three times as long.
pub struct Decoder {
    engine: Engine,
    notes: Vec<String>,
}

enum Engine {
    Same,
    Text(FromCrlf),
    Charset {
        transcoder: Box<Transcoder>,
        decoded: Vec<u8>,
        crlf: FromCrlf,
    },
    Page(Box<FromPage>),
}

impl std::fmt::Debug for Decoder {
    /// The state of a conversion is bytes of somebody's file: not for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder of a type. `charset` is the value of `META CHARSET`: for A a label of the WHATWG Encoding Standard, for
    /// E one that [`Page::parse`] knows; other types have no use for it. An unknown label is a note.
    pub fn new(spec: &TypeSpec, charset: Option<&str>) -> Decoder {
        match handling(spec.file_type) {
            Handling::Text => Decoder::text(charset),
            Handling::Mail => Decoder {
                engine: Engine::Text(FromCrlf::default()),
                notes: vec![],
            },
            Handling::Ebcdic => {
                let (page, note) = page_of(charset);
                let mut decoder = Decoder::ebcdic(page);
                decoder.notes.extend(note);
                decoder
            }
            Handling::Netdata | Handling::Records(_) | Handling::Octets => Decoder {
                engine: Engine::Same,
                notes: vec![],
            },
        }
    }

    /// Text of a known page, whatever the type.
    pub(super) fn ebcdic(page: Page) -> Decoder {
        Decoder {
            engine: Engine::Page(Box::new(FromPage::new(page, Newlines::Kept))),
            notes: vec![],
        }
    }

    /// Text with CR LF, in a character set if one is named.
    pub(super) fn text(charset: Option<&str>) -> Decoder {
        let (known, note) = match charset {
            None => (None, None),
            Some(label) => match (charset::named(label), Page::parse(label)) {
                (Some(encoding), _) => (Some(encoding), None),
                (None, Some(page)) => (
                    None,
                    Some(format!("charset {page} is EBCDIC, the type is not: bytes kept")),
                ),
                (None, None) => (
                    None,
                    Some(format!("charset {} is not known: bytes kept", quoted(label))),
                ),
            },
        };
        let crlf = FromCrlf::default();
        let engine = match known {
            Some(encoding) => {
                let transcoder = Box::new(Transcoder::new(encoding));
                Engine::Charset {
                    transcoder,
                    decoded: Vec::new(),
                    crlf,
                }
            }
            None => Engine::Text(crlf),
        };
        Decoder {
            engine,
            notes: note.into_iter().collect(),
        }
    }

    /// Whether the local form may differ from the wire form.
    pub fn converts(&self) -> bool {
        !matches!(self.engine, Engine::Same)
    }

    /// Whether the bytes taken so far can be made again: [`Restorer`] turns the local form so far into them, but for the
    /// last few, which the decoder may still hold back. Once false it stays false.
    pub fn exact_so_far(&self) -> bool {
        match &self.engine {
            Engine::Same | Engine::Page(_) => true,
            Engine::Text(crlf) => crlf.exact_so_far(),
            Engine::Charset { transcoder, crlf, .. } => transcoder.same_so_far() && crlf.exact_so_far(),
        }
    }

    /// Converts the next bytes of the wire form, appending to `local`.
    ///
    /// # Errors
    /// None for the types of today: any bytes are text of some kind.
    pub fn feed(&mut self, wire: &[u8], local: &mut Vec<u8>) -> Result<(), Failure> {
        match &mut self.engine {
            Engine::Same => local.extend_from_slice(wire),
            Engine::Text(crlf) => crlf.feed(wire, local),
            Engine::Charset {
                transcoder,
                decoded,
                crlf,
            } => {
                for piece in wire.chunks(64 * 1024) {
                    decoded.clear();
                    transcoder.feed(piece, decoded);
                    crlf.feed(decoded, local);
                }
            }
            Engine::Page(page) => page.feed(wire, local),
        }
        Ok(())
    }

    /// The end of the wire form.
    ///
    /// # Errors
    /// As for [`Decoder::feed`].
    pub fn finish(self, local: &mut Vec<u8>) -> Result<Outcome, Failure> {
        let mut notes = self.notes;
        let exact = match self.engine {
            Engine::Same => true,
            Engine::Text(crlf) => crlf.finish(local),
            Engine::Charset {
                mut transcoder,
                mut decoded,
                mut crlf,
            } => {
                decoded.clear();
                transcoder.end(&mut decoded);
                crlf.feed(&decoded, local);
                notes.extend(transcoder.note());
                crlf.finish(local) && transcoder.same()
            }
            Engine::Page(page) => {
                notes.extend(page.notes());
                true
            }
        };
        Ok(Outcome { exact, notes })
    }
}

/// Local form to the exact wire form, for items whose [`Outcome`] was exact.
pub struct Restorer {
    engine: Inverse,
}

enum Inverse {
    Same,
    Text(ToCrlf),
    Page(Box<ToPage>),
}

impl Restorer {
    /// The inverse of [`Decoder::new`] with the same arguments.
    pub fn new(spec: &TypeSpec, charset: Option<&str>) -> Restorer {
        let engine = match handling(spec.file_type) {
            Handling::Text | Handling::Mail => Inverse::Text(ToCrlf::every()),
            Handling::Ebcdic => Inverse::Page(Box::new(ToPage::new(page_of(charset).0, Policy::Refuse))),
            Handling::Netdata | Handling::Records(_) | Handling::Octets => Inverse::Same,
        };
        Restorer { engine }
    }

    /// Converts the next bytes of the local form, appending to `wire`.
    ///
    /// # Errors
    /// The bytes are not what the decoder made: the local form was changed since.
    pub fn feed(&mut self, local: &[u8], wire: &mut Vec<u8>) -> Result<(), Misfit> {
        match &mut self.engine {
            Inverse::Same => wire.extend_from_slice(local),
            Inverse::Text(crlf) => crlf.feed(local, wire),
            Inverse::Page(page) => page.feed(local, wire)?,
        }
        Ok(())
    }

    /// The end of the local form.
    ///
    /// # Errors
    /// As for [`Restorer::feed`].
    pub fn finish(self, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        match self.engine {
            Inverse::Same | Inverse::Text(_) => Ok(()),
            Inverse::Page(mut page) => page.end(wire),
        }
    }
}

/// The page of an EBCDIC item, and a note if its label is unknown.
fn page_of(charset: Option<&str>) -> (Page, Option<String>) {
    let page = charset.and_then(Page::parse);
    let note = match (charset, page) {
        (Some(label), None) => Some(format!(
            "charset {} is not known: read as {}",
            quoted(label),
            Page::DEFAULT
        )),
        _ => None,
    };
    (page.unwrap_or_default(), note)
}
