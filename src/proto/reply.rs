//! Replies: what the server says, line by line.
//!
//! A reply is any number of information lines (1xx, 6xx) and at most one final line (2xx to 5xx), written at once: a
//! peer that gets them in two packets waits for its own delayed ACK. Every line is made safe here, whatever a
//! caller puts into it: no control characters, below 200 bytes with its line end, cut between characters.
//! What this file does *not* do: decide what to say; the texts of refusals are in `refusal.rs`.

use std::fmt;

use bytes::{BufMut, BytesMut};
use uft_spool::SpoolId;

use super::held::Held;

/// Longest line that we send, in bytes, with CR LF. Field clients read into buffers of about 200 bytes.
pub const REPLY_MAX: usize = 199;

/// A reply number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl Code {
    /// The first digit, the only one that peers decide on.
    pub fn class(self) -> u16 {
        self.0 / 100
    }

    /// The number of a line (`208 alice; ...`), if it starts with three digits and then ends or has a blank.
    pub fn of(line: &str) -> Option<Code> {
        let (digits, rest) = line.split_at_checked(3)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit())
            && (rest.is_empty() || rest.starts_with([' ', '\t', ';']));
        if plain {
            digits.parse().ok().map(Code)
        } else {
            None
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// What the server says at one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// `1 <= lines.len()`; texts are clean and short already.
    lines: Vec<(Code, String)>,
}

impl Reply {
    /// A reply of one line.
    pub fn new(code: u16, text: &str) -> Reply {
        Reply {
            lines: vec![(Code(code), clean(text, REPLY_MAX - "NNN \r\n".len()))],
        }
    }

    /// Adds a line. The result is one write still.
    #[must_use]
    pub fn and(mut self, code: u16, text: &str) -> Reply {
        self.lines.extend(Reply::new(code, text).lines);
        self
    }

    /// The information line that keeps a client waiting while a commit takes long.
    pub fn working() -> Reply {
        Reply::new(199, "still working on it.")
    }

    /// `118 SEQ=nnnn (server)`; the number counts within the session.
    pub(super) fn server_sequence(self, number: u32) -> Reply {
        self.and(118, &format!("SEQ={:04} (server)", number % 10_000))
    }

    /// The reply to `USER`: 119 and 208.
    pub(super) fn recipient(number: u32, user: &str) -> Reply {
        let user = clean(user, 64);
        Reply::new(119, &format!("SEQ={:04} (user)", number % 10_000))
            .and(208, &format!("{user}; user {user} okay"))
    }

    /// The acknowledgement of a file. `id=` stands there when exactly one item was stored, for our own client.
    pub(super) fn stored(id: Option<SpoolId>) -> Reply {
        match id {
            Some(id) => Reply::new(200, &format!("ACK EOF; id={id}")),
            None => Reply::new(200, "ACK EOF"),
        }
    }

    /// The acknowledgement of a file that goes on to another node: it is in the queue, under this number.
    pub(super) fn queued(id: SpoolId) -> Reply {
        Reply::new(200, &format!("ACK EOF; job={id}"))
    }

    /// `200 VERB; VERB okay`, for verbs that cannot fail.
    pub(super) fn okay(verb: &str) -> Reply {
        let verb = clean(verb, VERB_SHOWN);
        Reply::new(200, &format!("{verb}; {verb} okay"))
    }

    /// The reply to `META XID`.
    pub(super) fn held(verb: &str, held: Held) -> Reply {
        let verb = clean(verb, VERB_SHOWN);
        Reply::new(200, &format!("{verb}; {verb} okay{held}"))
    }

    /// The result of a query: 699 lines, then 200. A client of the field misprints a 699 without text, so an empty
    /// line is sent as one blank.
    pub(super) fn bulk(code: u16, lines: &[String], last: u16, end: &str) -> Reply {
        let mut all: Vec<(Code, String)> = Vec::with_capacity(lines.len() + 1);
        for line in lines {
            let line = if line.is_empty() { " " } else { line };
            all.extend(Reply::new(code, line).lines);
        }
        all.extend(Reply::new(last, end).lines);
        Reply { lines: all }
    }

    /// The number of the final line, or of the last one when none is final.
    pub fn code(&self) -> Code {
        let last_final = self
            .lines
            .iter()
            .rev()
            .find(|(code, _)| matches!(code.class(), 2..=5));
        last_final
            .or(self.lines.last())
            .map_or(Code(200), |(code, _)| *code)
    }

    /// The lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = (Code, &str)> {
        self.lines.iter().map(|(code, text)| (*code, text.as_str()))
    }

    /// Appends the bytes of all lines.
    pub fn write(&self, out: &mut BytesMut) {
        for (code, text) in &self.lines {
            out.put_slice(format!("{code} ").as_bytes());
            out.put_slice(text.as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}

/// How much of a verb is shown back, in bytes.
pub(super) const VERB_SHOWN: usize = 40;

/// The text with control characters (and those that reorder or hide text) escaped, at most `most` bytes, cut
/// between two characters.
pub(super) fn clean(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        let before = out.len();
        if hidden {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        if out.len() > most {
            out.truncate(before);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(reply: &Reply) -> Vec<u8> {
        let mut out = BytesMut::new();
        reply.write(&mut out);
        out.to_vec()
    }

    #[test]
    fn information_and_final_line_are_one_write() {
        assert_eq!(
            bytes(&Reply::recipient(1, "alice")),
            b"119 SEQ=0001 (user)\r\n208 alice; user alice okay\r\n"
        );
        let reply = Reply::stored(SpoolId::new(17)).server_sequence(2);
        assert_eq!(bytes(&reply), b"200 ACK EOF; id=17\r\n118 SEQ=0002 (server)\r\n");
        assert_eq!(reply.code(), Code(200));
    }

    #[test]
    fn every_line_is_below_200_bytes_and_cut_between_characters() {
        for text in [
            "x".repeat(5000),
            "ä".repeat(5000),
            "\u{1b}".repeat(5000),
            "\u{10ffff}".repeat(300),
        ] {
            let out = bytes(&Reply::new(532, &text));
            assert!(out.len() < 200 && out.len() > 180, "{}", out.len());
            assert!(out.ends_with(b"\r\n") && std::str::from_utf8(&out).is_ok());
        }
    }

    #[test]
    fn no_text_can_forge_a_second_line() {
        let out = bytes(&Reply::okay("X\r\n221 goodbye\u{1b}[2J\u{85}\u{202e}"));
        assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
        assert!(!out.contains(&0x1b) && !String::from_utf8(out).unwrap().contains(['\u{85}', '\u{202e}']));
    }

    #[test]
    fn a_bulk_line_is_never_empty() {
        let lines = ["".to_owned(), "a".to_owned()];
        assert_eq!(
            bytes(&Reply::bulk(699, &lines, 200, "ACK")),
            b"699  \r\n699 a\r\n200 ACK\r\n"
        );
    }

    #[test]
    fn codes_are_three_digits() {
        assert_eq!(Code::of("208 alice"), Some(Code(208)));
        assert_eq!(
            (Code::of("200"), Code::of("050 x")),
            (Some(Code(200)), Some(Code(50)))
        );
        for no in ["", "20", "2000 x", "2xx", " 200", "+20 x", "ä00", "20ä"] {
            assert_eq!(Code::of(no), None, "{no}");
        }
    }
}
