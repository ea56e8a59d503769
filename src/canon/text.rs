//! Text with CR LF line ends, both ways (types A and M), and the test behind `--type auto`.
//!
//! A CR that is not followed by LF is a character like any other. A bare LF on the wire stays, but then the wire form
//! cannot be made again, since the inverse puts a CR before every LF.
//!
//! What it does *not* do: character sets (`charset.rs`), or anything about the length of lines.

use memchr::memchr2;

use super::utf8::{Span, Utf8};

/// Bytes looked at together, as one number. Where lines end cannot be guessed by a processor: a word with one line end
/// takes the same instructions as a word with none, and only two in one word take the long way.
const WORD: usize = 8;
/// Bytes converted into the buffer on the stack before they are copied out.
const BATCH: usize = 128 * WORD;
/// 1 in every byte of a word.
const ONES: u64 = u64::MAX / 0xff;

/// CR LF to LF.
#[derive(Debug, Default)]
pub(super) struct FromCrlf {
    /// The last byte was a CR, and what follows it is not known yet: it has not been handed out.
    held: bool,
    bare: bool,
}

impl FromCrlf {
    pub(super) fn feed(&mut self, wire: &[u8], local: &mut Vec<u8>) {
        let (Some(&first), Some(&last)) = (wire.first(), wire.last()) else {
            return;
        };
        local.reserve(wire.len() + 1);
        match (self.held, first == b'\n') {
            (true, false) => local.push(b'\r'),
            (false, true) => self.bare = true,
            (true, true) | (false, false) => {}
        }
        self.held = last == b'\r';
        let mut rest = wire
            .get(..wire.len() - usize::from(self.held))
            .unwrap_or_default();
        let mut buffer = [0; BATCH];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at_checked(BATCH).unwrap_or((rest, &[]));
            let used = self.batch(batch, after.first().copied(), &mut buffer);
            local.extend_from_slice(buffer.get(..used).unwrap_or_default());
            rest = after;
        }
    }

    /// Whether no line has ended in a bare LF yet.
    pub(super) fn exact_so_far(&self) -> bool {
        !self.bare
    }

    /// The end of the text: whether [`ToCrlf::every`] gives the same bytes back.
    pub(super) fn finish(self, local: &mut Vec<u8>) -> bool {
        if self.held {
            local.push(b'\r');
        }
        !self.bare
    }

    /// Bytes written; at most one for one. `following` is the byte after the batch.
    fn batch(&mut self, batch: &[u8], following: Option<u8>, buffer: &mut [u8; BATCH]) -> usize {
        let mut used = 0;
        let followers = batch.get(1..).unwrap_or_default();
        let ((words, _), (nexts, _)) = (batch.as_chunks::<WORD>(), followers.as_chunks::<WORD>());
        let mut bare = 0;
        for (word, next) in words.iter().zip(nexts) {
            let bytes = u64::from_le_bytes(*word);
            let (cr, lf) = (equal(bytes, b'\r'), equal(u64::from_le_bytes(*next), b'\n'));
            bare |= lf & !cr;
            let drop = cr & lf;
            if drop & drop.wrapping_sub(1) == 0 {
                // The bytes below the CR stay, those above it move down over it.
                let below = drop.wrapping_sub(1) & !drop;
                put(buffer, used, (bytes & below) | ((bytes >> 8) & !below));
                used += WORD - usize::from(drop != 0);
            } else {
                used = self.one_by_one(word, next.iter().copied(), buffer, used);
            }
        }
        self.bare |= bare != 0;
        let done = WORD * words.len().min(nexts.len());
        let (tail, nexts) = (batch.get(done..), followers.get(done..));
        let nexts = nexts
            .unwrap_or_default()
            .iter()
            .copied()
            .chain([following.unwrap_or(0)]);
        self.one_by_one(tail.unwrap_or_default(), nexts, buffer, used)
    }

    fn one_by_one(
        &mut self,
        bytes: &[u8],
        nexts: impl Iterator<Item = u8>,
        buffer: &mut [u8; BATCH],
        mut used: usize,
    ) -> usize {
        for (&byte, next) in bytes.iter().zip(nexts) {
            if let Some(slot) = buffer.get_mut(used) {
                *slot = byte;
            }
            let (cr, lf) = (byte == b'\r', next == b'\n');
            used += usize::from(!(cr & lf));
            self.bare |= lf & !cr;
        }
        used
    }
}

/// LF to CR LF.
#[derive(Debug)]
pub(super) struct ToCrlf {
    every: bool,
    after_cr: bool,
}

impl ToCrlf {
    /// A CR before every LF: the inverse of [`FromCrlf`].
    pub(super) fn every() -> ToCrlf {
        ToCrlf {
            every: true,
            after_cr: false,
        }
    }

    /// A CR before every LF that has none: the sender's direction.
    pub(super) fn bare() -> ToCrlf {
        ToCrlf {
            every: false,
            after_cr: false,
        }
    }

    pub(super) fn feed(&mut self, local: &[u8], wire: &mut Vec<u8>) {
        wire.reserve(local.len() + local.len() / 16);
        let mut buffer = [0; 2 * BATCH + WORD];
        for batch in local.chunks(BATCH) {
            let mut used = 0;
            let (words, tail) = batch.as_chunks::<WORD>();
            for word in words {
                let bytes = u64::from_le_bytes(*word);
                let previous = (bytes << 8) | if self.after_cr { u64::from(b'\r') } else { 0 };
                let add = equal(bytes, b'\n') & if self.every { ONES } else { !equal(previous, b'\r') };
                if add & add.wrapping_sub(1) == 0 {
                    // The bytes below the LF stay, a CR takes its place, it and those above move up.
                    let below = add.wrapping_sub(1) & !add;
                    let cr = add * u64::from(b'\r');
                    put(&mut buffer, used, (bytes & below) | cr | ((bytes & !below) << 8));
                    put(&mut buffer, used + WORD, bytes >> 56);
                    used += WORD + usize::from(add != 0);
                    self.after_cr = bytes >> 56 == u64::from(b'\r');
                } else {
                    used = self.one_by_one(word, &mut buffer, used);
                }
            }
            used = self.one_by_one(tail, &mut buffer, used);
            wire.extend_from_slice(buffer.get(..used).unwrap_or_default());
        }
    }

    fn one_by_one(&mut self, bytes: &[u8], buffer: &mut [u8; 2 * BATCH + WORD], mut used: usize) -> usize {
        for &byte in bytes {
            let added = (byte == b'\n') & (self.every | !self.after_cr);
            if let Some(slot) = buffer.get_mut(used..).and_then(|free| free.first_chunk_mut()) {
                *slot = if added { *b"\r\n" } else { [byte, 0] };
            }
            used += 1 + usize::from(added);
            self.after_cr = byte == b'\r';
        }
        used
    }
}

/// 1 in each byte of the word that is `byte`, 0 in the others.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = ONES * 0x7f;
    let differs = word ^ (ONES * u64::from(byte));
    // The high bit of a byte is set when any of its bits is: no carry leaves its byte.
    let nonzero = ((differs & LOW) + LOW) | differs;
    (!nonzero >> 7) & ONES
}

#[inline(always)]
fn put<const N: usize>(buffer: &mut [u8; N], at: usize, word: u64) {
    if let Some(slot) = buffer.get_mut(at..).and_then(|free| free.first_chunk_mut()) {
        *slot = word.to_le_bytes();
    }
}

/// Whether a file may be sent as text and arrive as it was: UTF-8, no NUL, no CR. An empty file is text.
#[derive(Debug, Default)]
pub struct TextSniffer {
    utf8: Utf8,
    failed: bool,
}

impl TextSniffer {
    /// Nothing seen yet.
    pub fn new() -> TextSniffer {
        TextSniffer::default()
    }

    /// Looks at the next bytes of the file; `false` once it is certain that the file is not text.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        self.failed = self.failed || memchr2(0, b'\r', bytes).is_some();
        while !self.failed
            && let Some(span) = self.utf8.next(&mut rest)
        {
            self.failed = matches!(span, Span::Malformed(_));
        }
        !self.failed
    }

    /// The end of the file: whether all of it is text.
    pub fn finish(mut self) -> bool {
        !self.failed && self.utf8.end().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_crlf(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut engine, mut out) = (FromCrlf::default(), Vec::new());
        pieces.iter().for_each(|piece| engine.feed(piece, &mut out));
        let exact = engine.finish(&mut out);
        (out, exact)
    }

    fn to_crlf(mut engine: ToCrlf, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| engine.feed(piece, &mut out));
        out
    }

    /// Every string of at most `length` bytes over CR, LF and one other.
    fn strings(length: usize) -> Vec<Vec<u8>> {
        let mut all = vec![vec![]];
        let mut last = all.clone();
        for _ in 0..length {
            last = last
                .iter()
                .flat_map(|s| b"\r\nx".iter().map(|b| [s.as_slice(), &[*b]].concat()))
                .collect();
            all.extend(last.clone());
        }
        all
    }

    /// The same in the words of the definition.
    fn model(wire: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let mut exact = true;
        for (at, &byte) in wire.iter().enumerate() {
            exact &= byte != b'\n' || (at > 0 && wire[at - 1] == b'\r');
            if !(byte == b'\r' && wire.get(at + 1) == Some(&b'\n')) {
                out.push(byte);
            }
        }
        (out, exact)
    }

    #[test]
    fn every_short_text_at_every_two_cuts_is_the_definition() {
        for wire in strings(7) {
            let want = model(&wire);
            for cut in 0..=wire.len() {
                for second in cut..=wire.len() {
                    let pieces = [&wire[..cut], &wire[cut..second], &wire[second..]];
                    assert_eq!(from_crlf(&pieces), want, "{wire:?} {cut} {second}");
                }
            }
            if want.1 {
                assert_eq!(to_crlf(ToCrlf::every(), &[&want.0]), wire);
            }
        }
    }

    #[test]
    fn sending_puts_a_cr_before_bare_line_ends_only() {
        for text in strings(7) {
            let want: Vec<u8> = text
                .iter()
                .enumerate()
                .flat_map(|(at, &b)| match b {
                    b'\n' if at == 0 || text[at - 1] != b'\r' => vec![b'\r', b'\n'],
                    _ => vec![b],
                })
                .collect();
            for cut in 0..=text.len() {
                assert_eq!(
                    to_crlf(ToCrlf::bare(), &[&text[..cut], &text[cut..]]),
                    want,
                    "{text:?} {cut}"
                );
            }
        }
    }

    #[test]
    fn a_text_is_utf8_without_nul_and_cr() {
        let text = |pieces: &[&[u8]]| {
            let mut sniffer = TextSniffer::new();
            pieces.iter().for_each(|piece| _ = sniffer.feed(piece));
            sniffer.finish()
        };
        assert!(text(&[]) && text(&[b"a\xe2", b"\x82", b"\xacb\n"]));
        assert!(
            !text(&[b"a\0"]) && !text(&[b"a\r\n"]) && !text(&[b"a\xe2", b"\x82"]) && !text(&[b"\xe2", b"x"])
        );
        assert!(!text(&[b"\xff", b"x"]));
    }
}
