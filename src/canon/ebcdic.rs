//! EBCDIC to UTF-8 and back (type E, and the records of V, W, X and F), one table each way.
//!
//! A text keeps every line end: 15 is U+000A, 25 is U+0085. In a record neither is a line end: both become U+0085,
//! so that the content of a record cannot forge a line.
//!
//! What it does *not* do: mixed pages (SO and SI set a note), or choose the page (`page.rs`, `lines.rs`).

use memchr::{memchr_iter, memrchr};

use super::encode::{Misfit, Policy};
use super::page::{Inverse, Page, at};
use super::translit::translit;
use super::utf8::{Span, Utf8};

/// Bytes looked at together: all ASCII, or one by one.
const BLOCK: usize = 32;
/// Bytes converted into the buffer on the stack before they are copied out.
const BATCH: usize = 32 * BLOCK;
/// Input bytes a step of the way back: validated and converted while they are in the first level cache.
const STEP: usize = 8 * 1024;
/// The page's SUB, for a character that it lacks.
const SUB: u8 = 0x3f;

/// A byte whose meaning the recipient should know about: bits in the tag of a table entry, above its length.
const C1: u8 = 0x10;
const SHIFT: u8 = 0x20;
const NEWLINE: u8 = 0x40;
const LENGTH: u8 = 0x0f;
/// In `plain`: not an ASCII character, or one with a tag.
const SPECIAL: u8 = 0x80;

/// The note on a line end inside a record.
pub(super) const DISARMED: &str = "records with line ends inside: shown as U+0085";

/// Whether 15 ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newlines {
    /// A text: 15 is U+000A.
    Kept,
    /// The inside of a record: 15 and 25 are U+0085.
    Disarmed,
}

/// EBCDIC to UTF-8.
pub(super) struct FromPage {
    /// The ASCII character of a byte, or [`SPECIAL`].
    plain: [u8; 256],
    /// Up to three bytes of UTF-8, then tags and length.
    coded: [[u8; 4]; 256],
    seen: u8,
}

impl FromPage {
    pub(super) fn new(page: Page, newlines: Newlines) -> FromPage {
        let mut plain = [SPECIAL; 256];
        let mut coded = [[0; 4]; 256];
        for ((byte, plain), coded) in (0..=u8::MAX).zip(&mut plain).zip(&mut coded) {
            let (c, mut tag) = match (page.char(byte), newlines) {
                ('\n' | '\u{85}', Newlines::Disarmed) => ('\u{85}', NEWLINE),
                (c, _) => (c, 0),
            };
            if matches!(c, '\u{80}'..='\u{9f}') && c != '\u{85}' {
                tag |= C1;
            }
            if matches!(c, '\u{0e}' | '\u{0f}') {
                tag |= SHIFT;
            }
            let mut text = [0; 4];
            let length = c.encode_utf8(&mut text).len();
            if let (1, 0, [ascii, ..]) = (length, tag, text) {
                *plain = ascii;
            }
            let [first, second, third, _] = text;
            *coded = [first, second, third, tag | u8::try_from(length).unwrap_or(LENGTH)];
        }
        FromPage {
            plain,
            coded,
            seen: 0,
        }
    }

    pub(super) fn feed(&mut self, wire: &[u8], local: &mut Vec<u8>) {
        local.reserve(wire.len() + wire.len() / 16);
        let mut buffer = [0; 3 * BATCH];
        for batch in wire.chunks(BATCH) {
            let used = self.batch(batch, &mut buffer);
            local.extend_from_slice(buffer.get(..used).unwrap_or_default());
        }
    }

    /// What the recipient should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let notes = [
            (
                C1,
                "probably not text: it has control characters U+0080 to U+009F",
            ),
            (
                SHIFT,
                "it has shift bytes (0E, 0F): double byte characters are not converted",
            ),
            (NEWLINE, DISARMED),
        ];
        notes
            .into_iter()
            .filter(|(tag, _)| self.seen & tag != 0)
            .map(|(_, note)| note.into())
            .collect()
    }

    /// Bytes written; at most three for one.
    fn batch(&mut self, batch: &[u8], buffer: &mut [u8; 3 * BATCH]) -> usize {
        let mut used = 0;
        let (blocks, rest) = batch.as_chunks::<BLOCK>();
        for block in blocks {
            let mut ascii = [0; BLOCK];
            let mut special = 0;
            for (to, &byte) in ascii.iter_mut().zip(block) {
                *to = at(&self.plain, byte);
                special |= *to;
            }
            if special < SPECIAL {
                if let Some(slot) = buffer.get_mut(used..).and_then(|free| free.first_chunk_mut()) {
                    *slot = ascii;
                }
                used += BLOCK;
            } else {
                used = self.one_by_one(block, buffer, used);
            }
        }
        self.one_by_one(rest, buffer, used)
    }

    fn one_by_one(&mut self, bytes: &[u8], buffer: &mut [u8; 3 * BATCH], mut used: usize) -> usize {
        for &byte in bytes {
            let [first, second, third, tag] = at(&self.coded, byte);
            if let Some(slot) = buffer.get_mut(used..).and_then(|free| free.first_chunk_mut()) {
                *slot = [first, second, third];
            }
            used += usize::from(tag & LENGTH);
            self.seen |= tag;
        }
        used
    }
}

/// Where in the text the next character is; both from 1, columns in characters.
#[derive(Clone, Copy, Debug)]
struct Position {
    line: u64,
    column: u64,
}

impl Position {
    /// `bytes` are UTF-8.
    fn advance(&mut self, bytes: &[u8]) {
        let tail = match memrchr(b'\n', bytes) {
            Some(last) => {
                self.line += memchr_iter(b'\n', bytes).count() as u64;
                self.column = 1;
                bytes.get(last + 1..).unwrap_or_default()
            }
            None => bytes,
        };
        self.column += tail.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64;
    }
}

/// UTF-8 to EBCDIC.
pub(super) struct ToPage {
    page: Page,
    inverse: Inverse,
    policy: Policy,
    utf8: Utf8,
    position: Position,
    substituted: u64,
    transliterated: u64,
}

impl ToPage {
    pub(super) fn new(page: Page, policy: Policy) -> ToPage {
        ToPage {
            page,
            inverse: Inverse::new(page),
            policy,
            utf8: Utf8::default(),
            position: Position { line: 1, column: 1 },
            substituted: 0,
            transliterated: 0,
        }
    }

    pub(super) fn feed(&mut self, local: &[u8], wire: &mut Vec<u8>) -> Result<(), Misfit> {
        wire.reserve(local.len());
        for piece in local.chunks(STEP) {
            let mut rest = if self.utf8.is_between() {
                self.latin(piece, wire)
            } else {
                piece
            };
            while let Some(span) = self.utf8.next(&mut rest) {
                match span {
                    Span::Text(text) => self.text(text, wire)?,
                    Span::Char(c) => self.text(c.encode_utf8(&mut [0; 4]), wire)?,
                    Span::Malformed(byte) => self.malformed(byte, wire)?,
                }
            }
        }
        Ok(())
    }

    /// The end of the text or of a line: no character is left half.
    pub(super) fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        match self.utf8.end() {
            Some(byte) => self.malformed(byte, wire),
            None => Ok(()),
        }
    }

    /// A line end that is not part of what is converted.
    pub(super) fn next_line(&mut self) {
        self.position = Position {
            line: self.position.line + 1,
            column: 1,
        };
    }

    /// Characters replaced by SUB, and characters written as others.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.substituted, self.transliterated)
    }

    /// Converts the beginning of a piece, as long as it is UTF-8 of characters below U+0100 that the page has: most
    /// text, in one pass. Returns the rest.
    fn latin<'a>(&mut self, piece: &'a [u8], wire: &mut Vec<u8>) -> &'a [u8] {
        const WORD: usize = 8;
        const HIGH: u64 = u64::MAX / 0xff * 0x80;
        let mut buffer = [0; STEP];
        let mut used = 0;
        let mut rest = piece;
        loop {
            if let Some((word, after)) = rest.split_first_chunk::<WORD>() {
                let high = u64::from_le_bytes(*word) & HIGH;
                if let Some(slot) = buffer
                    .get_mut(used..)
                    .and_then(|free| free.first_chunk_mut::<WORD>())
                {
                    *slot = word.map(|byte| self.inverse.ascii(byte));
                }
                if high == 0 {
                    used += WORD;
                    rest = after;
                    continue;
                }
                let ascii = high.trailing_zeros() as usize / 8;
                used += ascii;
                rest = rest.get(ascii..).unwrap_or_default();
            }
            let (byte, after) = match rest {
                [ascii @ 0..=0x7f, after @ ..] => (Some(self.inverse.ascii(*ascii)), after),
                [0xc2, low @ 0x80..=0xbf, after @ ..] => (self.inverse.latin(*low), after),
                [0xc3, low @ 0x80..=0xbf, after @ ..] => (self.inverse.latin(*low | 0x40), after),
                _ => (None, rest),
            };
            let (Some(byte), Some(slot)) = (byte, buffer.get_mut(used)) else {
                break;
            };
            *slot = byte;
            used += 1;
            rest = after;
        }
        wire.extend_from_slice(buffer.get(..used).unwrap_or_default());
        self.position
            .advance(piece.get(..piece.len() - rest.len()).unwrap_or_default());
        rest
    }

    fn text(&mut self, text: &str, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        let mut chars = text.chars();
        while let Some(character) = chars.next() {
            if character.is_ascii() {
                wire.push(self.inverse.ascii(character as u8));
            } else if !self.char(character, wire) {
                let before = text.len() - chars.as_str().len() - character.len_utf8();
                let mut position = self.position;
                position.advance(text.as_bytes().get(..before).unwrap_or_default());
                let Position { line, column } = position;
                return Err(Misfit::Character {
                    line,
                    column,
                    character,
                    page: self.page,
                });
            }
        }
        self.position.advance(text.as_bytes());
        Ok(())
    }

    /// Whether the character could be written, in whatever way the policy allows.
    fn char(&mut self, c: char, wire: &mut Vec<u8>) -> bool {
        if let Some(byte) = self.inverse.byte(c) {
            wire.push(byte);
        } else if let Some(bytes) = self.transliterated(c) {
            wire.extend(bytes);
            self.transliterated += 1;
        } else if self.policy.substitutes() {
            wire.push(SUB);
            self.substituted += 1;
        } else {
            return false;
        }
        true
    }

    fn transliterated(&self, c: char) -> Option<Vec<u8>> {
        let text = translit(c).filter(|_| self.policy.transliterates())?;
        text.chars().map(|c| self.inverse.byte(c)).collect()
    }

    fn malformed(&mut self, byte: u8, wire: &mut Vec<u8>) -> Result<(), Misfit> {
        let Position { line, column } = self.position;
        if !self.policy.substitutes() {
            return Err(Misfit::Byte { line, column, byte });
        }
        wire.push(SUB);
        self.substituted += 1;
        self.position.column += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(page: Page, newlines: Newlines, wire: &[u8]) -> (String, Vec<String>) {
        let mut from = FromPage::new(page, newlines);
        let mut out = Vec::new();
        from.feed(wire, &mut out);
        (String::from_utf8(out).unwrap(), from.notes())
    }

    fn encode(page: Page, policy: Policy, pieces: &[&[u8]]) -> Result<(Vec<u8>, (u64, u64)), Misfit> {
        let (mut to, mut out) = (ToPage::new(page, policy), Vec::new());
        for piece in pieces {
            to.feed(piece, &mut out)?;
        }
        to.end(&mut out)?;
        Ok((out, to.counts()))
    }

    #[test]
    fn every_byte_of_every_page_comes_back() {
        let all: Vec<u8> = (0..=u8::MAX).chain((0..=u8::MAX).rev()).collect();
        for page in Page::ALL {
            let (text, notes) = decode(page, Newlines::Kept, &all);
            assert!(text.chars().eq(all.iter().map(|&b| page.char(b))), "{page}");
            assert_eq!(notes.len(), 2, "{page}");
            assert_eq!(
                encode(page, Policy::Refuse, &[text.as_bytes()]).unwrap().0,
                all,
                "{page}"
            );
        }
    }

    #[test]
    fn long_text_is_converted_like_short_text() {
        let wire: Vec<u8> = (0..40_000_u32)
            .map(|n| {
                if n % 97 < 90 {
                    0xc1 + (n % 9) as u8
                } else {
                    n as u8
                }
            })
            .collect();
        let (text, _) = decode(Page::Ibm1140, Newlines::Kept, &wire);
        assert!(text.chars().eq(wire.iter().map(|&b| Page::Ibm1140.char(b))));
        assert_eq!(
            encode(Page::Ibm1140, Policy::Refuse, &[text.as_bytes()])
                .unwrap()
                .0,
            wire
        );
    }

    #[test]
    fn line_ends_in_a_record_are_not_line_ends() {
        let (text, notes) = decode(Page::DEFAULT, Newlines::Disarmed, b"\xc1\x15\xc2\x25\xc3");
        assert_eq!(text, "A\u{85}B\u{85}C");
        assert_eq!(notes, ["records with line ends inside: shown as U+0085"]);
        assert_eq!(
            decode(Page::DEFAULT, Newlines::Kept, b"\xc1\x15\xc2\x25"),
            ("A\nB\u{85}".into(), vec![])
        );
    }

    #[test]
    fn controls_and_shifts_are_noted() {
        let notes = |wire: &[u8]| decode(Page::DEFAULT, Newlines::Kept, wire).1;
        assert!(notes(b"\x04")[0].starts_with("probably not text"));
        assert!(notes(b"\x0e")[0].contains("shift") && notes(b"\x0f")[0].contains("shift"));
        assert!(notes(b"\x00\x05\x0d\x15\x25\x3f\x40\xc1").is_empty());
    }

    #[test]
    fn a_misfit_is_named_with_line_and_column() {
        let misfit = |text: &str| encode(Page::DEFAULT, Policy::Refuse, &[text.as_bytes()]).unwrap_err();
        let euro = |line, column| Misfit::Character {
            line,
            column,
            character: '€',
            page: Page::DEFAULT,
        };
        assert_eq!(misfit("€"), euro(1, 1));
        assert_eq!(misfit("a\nbé€"), euro(2, 3));
        assert_eq!(misfit(&format!("{}é\nx€", "line\n".repeat(5000))), euro(5002, 2));
        assert_eq!(
            misfit("€").to_string(),
            "line 1, column 1: '€' (U+20AC) is not in IBM-1047"
        );
        let bad = encode(Page::DEFAULT, Policy::Translit, &[b"ok\n\xc3\xa9\xff"]).unwrap_err();
        assert_eq!(
            bad,
            Misfit::Byte {
                line: 2,
                column: 2,
                byte: 0xff
            }
        );
        assert_eq!(bad.to_string(), "line 2, column 2: byte FF is not UTF-8");
    }

    #[test]
    fn a_policy_replaces_what_does_not_fit_and_counts_it() {
        let text = ["a—€😀".as_bytes(), b"\xc3"].concat();
        let run = |policy| encode(Page::DEFAULT, policy, &[&text]);
        assert_eq!(
            run(Policy::Substitute).unwrap(),
            (vec![0x81, 0x3f, 0x3f, 0x3f, 0x3f], (4, 0))
        );
        assert!(matches!(
            run(Policy::Translit),
            Err(Misfit::Character {
                column: 4,
                character: '😀',
                ..
            })
        ));
        let (wire, counts) = run(Policy::TranslitThenSubstitute).unwrap();
        assert_eq!(
            (wire.as_slice(), counts),
            (b"\x81\x60\xc5\xe4\xd9\x3f\x3f".as_slice(), (2, 2))
        );
        assert_eq!(
            encode(Page::Ibm1140, Policy::Translit, &["€".as_bytes()]).unwrap(),
            (vec![0x9f], (0, 0))
        );
    }

    #[test]
    fn every_cut_of_a_text_gives_the_same_bytes_or_the_same_misfit() {
        for text in [
            "aé\n€x".as_bytes(),
            b"a\xe2\x82\n\xc3",
            "é".as_bytes(),
            b"\xf0\x9f\x98z",
        ] {
            for policy in [Policy::Refuse, Policy::Substitute, Policy::Translit] {
                let want = encode(Page::DEFAULT, policy, &[text]);
                for cut in 0..=text.len() {
                    for second in cut..=text.len() {
                        let pieces = [&text[..cut], &text[cut..second], &text[second..]];
                        assert_eq!(encode(Page::DEFAULT, policy, &pieces), want);
                    }
                }
            }
        }
    }
}
