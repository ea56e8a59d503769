//! Character sets of ASCII-like text (type A, records): to UTF-8, in pieces.
//!
//! The labels and tables are those of the WHATWG Encoding Standard (encoding_rs): `iso-8859-1` and `us-ascii` are
//! read as windows-1252 there. EBCDIC pages are not among them (`page.rs`). What it does *not* do: guess.

use encoding_rs::{Decoder, DecoderResult, Encoding, REPLACEMENT, UTF_16BE, UTF_16LE};

/// Input bytes a step: what is decoded stays in the first level cache.
const STEP: usize = 8 * 1024;
const REPLACED: &[u8] = "\u{fffd}".as_bytes();

/// The encoding of a label, if it is one that text can be decoded from.
pub(super) fn named(label: &str) -> Option<&'static Encoding> {
    // The standard's "replacement" turns a whole text into one character: such labels count as unknown.
    Encoding::for_label(label.as_bytes()).filter(|encoding| *encoding != REPLACEMENT)
}

/// A decoder, and whether it has changed anything so far.
pub(super) struct Transcoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    malformed: u64,
    /// Everything decoded so far is byte for byte the input.
    same: bool,
    /// While `same`: input whose decoded form is not out yet.
    owed: Vec<u8>,
    scratch: Vec<u8>,
}

impl Transcoder {
    pub(super) fn new(encoding: &'static Encoding) -> Transcoder {
        Transcoder {
            encoding,
            decoder: fresh(encoding),
            malformed: 0,
            same: true,
            owed: Vec::new(),
            // The longest step, one byte to three, with room for what a decoder may hold back.
            scratch: vec![0; 3 * STEP + 64],
        }
    }

    pub(super) fn feed(&mut self, wire: &[u8], out: &mut Vec<u8>) {
        for step in wire.chunks(STEP) {
            self.step(step, out, false);
        }
    }

    /// The end of the text, or of a record: the next byte starts anew.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.step(&[], out, true);
        self.decoder = fresh(self.encoding);
    }

    /// Whether the output was the input, byte for byte; known after [`Transcoder::end`].
    pub(super) fn same(&self) -> bool {
        self.same && self.owed.is_empty()
    }

    /// Whether the output so far is the input, but for what is held back.
    pub(super) fn same_so_far(&self) -> bool {
        self.same
    }

    /// What the recipient should know.
    pub(super) fn note(&self) -> Option<String> {
        let name = self.encoding.name();
        match self.malformed {
            0 => None,
            1 => Some(format!("1 malformed sequence replaced (declared as {name})")),
            n => Some(format!("{n} malformed sequences replaced (declared as {name})")),
        }
    }

    fn step(&mut self, mut wire: &[u8], out: &mut Vec<u8>, last: bool) {
        if self.same {
            self.owed.extend_from_slice(wire);
        }
        loop {
            let (result, read, written) =
                self.decoder
                    .decode_to_utf8_without_replacement(wire, &mut self.scratch, last);
            let decoded = self.scratch.get(..written).unwrap_or_default();
            if self.same {
                self.same = self.owed.starts_with(decoded);
                self.owed.drain(..written.min(self.owed.len()));
            }
            out.extend_from_slice(decoded);
            wire = wire.get(read..).unwrap_or_default();
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    self.malformed += 1;
                    self.same = false;
                    out.extend_from_slice(REPLACED);
                }
            }
        }
        if !self.same {
            self.owed = Vec::new();
        }
    }
}

fn fresh(encoding: &'static Encoding) -> Decoder {
    // A byte order mark belongs to UTF-16 and is taken off there; anywhere else the bytes are what the label says.
    if encoding == UTF_16LE || encoding == UTF_16BE {
        encoding.new_decoder()
    } else {
        encoding.new_decoder_without_bom_handling()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(label: &str, pieces: &[&[u8]]) -> (String, bool, Option<String>) {
        let mut transcoder = Transcoder::new(named(label).unwrap());
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| transcoder.feed(piece, &mut out));
        transcoder.end(&mut out);
        (
            String::from_utf8(out).unwrap(),
            transcoder.same(),
            transcoder.note(),
        )
    }

    #[test]
    fn the_same_at_every_cut() {
        let cases: [(&str, &[u8]); 7] = [
            ("utf-8", "\u{feff}aé€😀".as_bytes()),
            ("utf-8", b"a\xe2\x82z\xff"),
            ("latin1", b"caf\xe9 \x80"),
            ("shift_jis", b"\x93\xfa\x96\x7b!\x93"),
            ("iso-2022-jp", b"\x1b$B4A\x1b(Bx"),
            ("utf-16", b"\xfe\xff\0a\0\xe9\0"),
            ("gb18030", b"\x81\x30\x81\x30\x81\x30"),
        ];
        for (label, wire) in cases {
            let want = run(label, &[wire]);
            for cut in 0..=wire.len() {
                for second in cut..=wire.len() {
                    let pieces = [&wire[..cut], &wire[cut..second], &wire[second..]];
                    assert_eq!(run(label, &pieces), want, "{label} {cut} {second}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_already_utf8_is_the_same() {
        assert_eq!(
            run("utf-8", &["\u{feff}é\n".as_bytes()]),
            ("\u{feff}é\n".into(), true, None)
        );
        assert_eq!(run("iso-8859-1", &[b"plain"]), ("plain".into(), true, None));
        assert_eq!(run("iso-8859-1", &[b"\xe9"]), ("é".into(), false, None));
        let note = "1 malformed sequence replaced (declared as UTF-8)";
        assert_eq!(
            run("utf-8", &[b"a\xff"]),
            ("a\u{fffd}".into(), false, Some(note.into()))
        );
        assert_eq!(
            run("utf-8", &["\u{fffd}".as_bytes()]),
            ("\u{fffd}".into(), true, None)
        );
    }

    #[test]
    fn a_label_that_stands_for_no_decoder_is_unknown() {
        assert!(named("iso-2022-kr").is_none() && named("ibm1047").is_none() && named("").is_none());
    }
}
