//! UTF-8 that arrives in pieces: text, characters cut by a border, and what is not UTF-8.
//!
//! What it does *not* do: decide what to do about malformed bytes. What is one malformed sequence is what the
//! standard library says: the longest prefix of a valid sequence, or one byte; it does not depend on the borders.

/// What comes next in the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Span<'a> {
    /// Text within one piece; not empty.
    Text(&'a str),
    /// A character that lay across a border.
    Char(char),
    /// A sequence that is no character; its first byte.
    Malformed(u8),
}

/// The state between two pieces: the beginning of a character.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// At most three bytes between calls, each so far a prefix of a valid sequence.
    held: Vec<u8>,
}

impl Utf8 {
    /// Takes the next span off the input; `None` when all of it is used up (or held).
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Span<'a>> {
        if !self.held.is_empty() {
            return self.join(input);
        }
        if input.is_empty() {
            return None;
        }
        let error = match std::str::from_utf8(input) {
            Ok(text) => {
                *input = &[];
                return Some(Span::Text(text));
            }
            Err(error) => error,
        };
        let (valid, rest) = input.split_at_checked(error.valid_up_to())?;
        if !valid.is_empty() {
            *input = rest;
            return std::str::from_utf8(valid).ok().map(Span::Text);
        }
        match error.error_len() {
            Some(length) => {
                *input = rest.get(length..)?;
                rest.first().map(|&byte| Span::Malformed(byte))
            }
            None => {
                self.held.extend_from_slice(rest);
                *input = &[];
                None
            }
        }
    }

    /// No character has begun: the next byte begins one.
    pub(super) fn is_between(&self) -> bool {
        self.held.is_empty()
    }

    /// The end of the text: the first byte of a character that never came to its end.
    pub(super) fn end(&mut self) -> Option<u8> {
        let first = self.held.first().copied();
        self.held.clear();
        first
    }

    fn join<'a>(&mut self, input: &mut &'a [u8]) -> Option<Span<'a>> {
        while let Some((&byte, rest)) = input.split_first() {
            self.held.push(byte);
            let span = match std::str::from_utf8(&self.held) {
                Ok(text) => {
                    *input = rest;
                    text.chars().next().map(Span::Char)
                }
                Err(error) if error.error_len().is_none() => {
                    *input = rest;
                    continue;
                }
                // The new byte does not belong to the sequence: it is looked at again, on its own.
                Err(_) => self.held.first().map(|&first| Span::Malformed(first)),
            };
            self.held.clear();
            return span;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Malformed sequences as U+FFFD, so that the standard library can be the judge.
    fn lossy(pieces: &[&[u8]]) -> String {
        let mut utf8 = Utf8::default();
        let mut out = String::new();
        for piece in pieces {
            let mut rest = *piece;
            while let Some(span) = utf8.next(&mut rest) {
                match span {
                    Span::Text(text) => out.push_str(text),
                    Span::Char(c) => out.push(c),
                    Span::Malformed(_) => out.push(char::REPLACEMENT_CHARACTER),
                }
            }
            assert!(rest.is_empty());
        }
        out.extend(utf8.end().map(|_| char::REPLACEMENT_CHARACTER));
        out
    }

    #[test]
    fn borders_change_nothing() {
        let cases: [&[u8]; 7] = [
            "aé€😀z".as_bytes(),
            b"\xf0\x9f\x98",
            b"\xf0\x9f\x98A",
            b"\xe2\x82\xe2\x82\xac",
            b"\xc3\xc3\xa9\x80\x80\xff",
            b"\xed\xa0\x80\xf4\x90\x80\x80",
            b"",
        ];
        for case in cases {
            let want = String::from_utf8_lossy(case);
            assert_eq!(
                lossy(&case.iter().map(std::slice::from_ref).collect::<Vec<_>>()),
                want
            );
            for cut in 0..=case.len() {
                for second in cut..=case.len() {
                    assert_eq!(lossy(&[&case[..cut], &case[cut..second], &case[second..]]), want);
                }
            }
        }
    }
}
