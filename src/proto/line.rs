//! The framer: one line at a time out of a byte buffer, in step after whatever a peer sends.
//!
//! A line ends with LF; one CR before it is dropped. A line of more than `limit` bytes is thrown away whole, up to its
//! LF, and reported once: its tail is never taken for another line, and it never takes more memory than the limit.
//! What this file does *not* do: look at bursts (the session takes those out of the same buffer by count) or at
//! what a line says. NUL, lone CR and bytes that are not UTF-8 are data of the line.
//!
//! The result does not depend on how the bytes were cut into reads.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

/// Longest line that is read, in bytes, without its line end.
pub const LINE_MAX: usize = 4096;

/// How much of a line that is too long is still shown to the session, in bytes.
pub(super) const HEAD_MAX: usize = 64;

/// What the framer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// No whole line yet.
    More,
    /// A line, without its line end: at most `limit` bytes.
    Line(Bytes),
    /// A line that was too long, and is gone; these were its first bytes, no more than a reply can show.
    TooLong(Bytes),
}

/// Cuts lines out of a buffer that it shares with the taker of bursts.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// Bytes at the front of the buffer that are known to hold no LF: `0 <= scanned <= limit + 1`.
    scanned: usize,
    /// The head of a line that is being thrown away.
    skipped: Option<Bytes>,
}

impl Framer {
    /// A framer for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Framer {
        Framer {
            limit,
            scanned: 0,
            skipped: None,
        }
    }

    /// Takes the next line out of `input`. After [`Frame::More`] at most `limit + 1` bytes are left in it.
    pub fn next(&mut self, input: &mut BytesMut) -> Frame {
        let fresh = input.get(self.scanned..).unwrap_or_default();
        let found = fresh.iter().position(|&b| b == b'\n').map(|at| self.scanned + at);
        self.scanned = 0;
        match (found, self.skipped.take()) {
            (Some(end), Some(head)) => {
                input.advance(end + 1);
                Frame::TooLong(head)
            }
            (Some(end), None) => {
                let mut line = input.split_to(end);
                input.advance(1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                if line.len() > self.limit {
                    Frame::TooLong(head(&line))
                } else {
                    Frame::Line(line.freeze())
                }
            }
            (None, Some(head)) => {
                input.clear();
                self.skipped = Some(head);
                Frame::More
            }
            // The one byte over the limit may be the CR of a line that fits.
            (None, None) if input.len() > self.limit + 1 => {
                self.skipped = Some(head(input));
                input.clear();
                Frame::More
            }
            (None, None) => {
                self.scanned = input.len();
                Frame::More
            }
        }
    }

    /// Whether a line that is too long is being thrown away and its end has not come yet.
    pub fn overflowing(&self) -> bool {
        self.skipped.is_some()
    }
}

fn head(line: &[u8]) -> Bytes {
    Bytes::copy_from_slice(line.get(..HEAD_MAX).unwrap_or(line))
}

/// A line as text: UTF-8, or else Latin-1, which loses nothing; the flag says that it was Latin-1.
pub fn text(line: &[u8]) -> (Cow<'_, str>, bool) {
    match std::str::from_utf8(line) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (Cow::Owned(line.iter().map(|&b| char::from(b)).collect()), true),
    }
}

/// Blanks and tabs separate the words of a line; nothing else does.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// The first word of a text, and what follows it without the blanks between.
pub(super) fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(is_blank);
    let (word, rest) = text.split_once(is_blank).unwrap_or((text, ""));
    (word, rest.trim_start_matches(is_blank))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a framer makes of `bytes`, fed in pieces of `size`.
    fn frames(bytes: &[u8], size: usize) -> Vec<Frame> {
        let (mut framer, mut input, mut all) = (Framer::new(8), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            input.extend_from_slice(piece);
            loop {
                match framer.next(&mut input) {
                    Frame::More => break,
                    frame => all.push(frame),
                }
            }
            assert!(input.len() <= 9);
        }
        all
    }

    fn line(text: &'static str) -> Frame {
        Frame::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_end_with_lf_and_lose_one_cr() {
        assert_eq!(
            frames(b"a\r\nb\n\r\n\n c\r\r\nd\re\n\0\nrest", 100),
            [
                line("a"),
                line("b"),
                line(""),
                line(""),
                line(" c\r"),
                line("d\re"),
                line("\0")
            ]
        );
    }

    #[test]
    fn a_line_over_the_limit_is_reported_once_and_its_tail_is_no_line() {
        let long = Frame::TooLong(Bytes::from_static(b"123456789"));
        assert_eq!(frames(b"12345678\r\n", 100), [line("12345678")]);
        assert_eq!(frames(b"123456789\r\nQUIT\n", 100), [long.clone(), line("QUIT")]);
        assert_eq!(frames(b"123456789", 1), []);
        let mut bytes = vec![b'x'; 100_000];
        bytes.extend(b"EOF\nQUIT\n");
        let Some((Frame::TooLong(head), [quit])) = frames(&bytes, 4096)
            .split_first()
            .map(|(a, b)| (a.clone(), b.to_vec()))
            .map(|(a, b)| (a, <[Frame; 1]>::try_from(b).unwrap()))
        else {
            panic!("one overlong line")
        };
        assert_eq!((head.len(), quit), (HEAD_MAX, line("QUIT")));
    }

    #[test]
    fn the_frames_do_not_depend_on_the_chunks() {
        for length in 0..24 {
            for end in ["\n", "\r\n", "\r\r\n"] {
                let mut bytes = vec![b'x'; length];
                bytes.extend_from_slice(end.as_bytes());
                bytes.extend_from_slice(b"NOOP\n\n");
                let whole = frames(&bytes, 1000);
                for size in 1..bytes.len() {
                    let heads = |all: Vec<Frame>| -> Vec<Frame> {
                        all.into_iter()
                            .map(|f| match f {
                                Frame::TooLong(head) => Frame::TooLong(head.slice(..9)),
                                f => f,
                            })
                            .collect()
                    };
                    assert_eq!(
                        heads(frames(&bytes, size)),
                        heads(whole.clone()),
                        "{length} {end:?} {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_latin_1() {
        assert_eq!(text("grün".as_bytes()), (Cow::Borrowed("grün"), false));
        assert_eq!(text(b"gr\xfcn"), (Cow::<str>::Owned("grün".into()), true));
    }
}
