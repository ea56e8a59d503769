//! The one way by which text from elsewhere reaches a terminal.
//!
//! Names, titles, messages, replies of servers and the first lines of a file are written by strangers. Whatever could
//! move the cursor, change the colour, reverse the reading order or hide is turned into a visible escape. It is done
//! off a terminal too, since output is often looked at later; programs that want the exact text read `--json`, where
//! the same characters are JSON escapes.
//!
//! What it does *not* do: make file names (that is `safe_name`), or cut lines.
//! Source: Unicode TR 36 (security considerations), TR 9 (bidirectional controls), ECMA-48 (C0 and C1).

use std::fmt::Write;

use serde::Serialize;
use uft_spool::{Fate, Receipt};

/// A text on one line, with everything that is not plainly visible as an escape (`\n`, `\x1b`, `\u{202e}`).
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    out
}

/// The same for bytes that ought to be UTF-8: those that are not become `\xff`.
pub fn shown_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c);
        }
        for byte in chunk.invalid() {
            escape(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out
}

/// An error and what caused it, in one line; a cause whose text the error has in it already is not said twice.
pub fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// What a receipt says, in one line: `receipt for NOTES.TEXT (sent 2026-01-02 03:04): received`. `time` writes seconds since
/// 1970.
pub fn receipt(receipt: &Receipt, time: impl Fn(i64) -> String) -> String {
    let of = receipt.name.as_deref().map_or("a message".to_owned(), shown);
    let sent = receipt
        .sent
        .map_or_else(String::new, |sent| format!(" (sent {})", time(sent)));
    let fate = match &receipt.fate {
        Fate::Received => "received".to_owned(),
        Fate::Deleted => "deleted".to_owned(),
        // Their words stay apart from ours.
        Fate::Other(words) => format!("\"{}\"", shown(words)),
    };
    format!("receipt for {of}{sent}: {fate}")
}

/// One line of JSON; hidden characters are `\u` escapes, which mean the same to every reader.
pub fn json(value: &impl Serialize) -> String {
    let plain = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    if !plain.chars().any(hidden) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escape(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character is a control, changes the reading order, or cannot be seen.
pub fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn push(out: &mut String, c: char) {
    match c {
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        c if c.is_ascii_control() => escape(out, format_args!("\\x{:02x}", u32::from(c))),
        c if hidden(c) => escape(out, format_args!("\\u{{{:x}}}", u32::from(c))),
        c => out.push(c),
    }
}

fn escape(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, want) in [
            ("plain text, äöü 漢字 \u{1f600}", "plain text, äöü 漢字 \u{1f600}"),
            ("\u{1b}[31mred", "\\x1b[31mred"),
            ("\u{1b}]0;title\u{7}", "\\x1b]0;title\\x07"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("exe\u{202e}txt.", "exe\\u{202e}txt."),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("\u{7f}\0", "\\x7f\\x00"),
            ("\u{2066}\u{2028}\u{e0041}", "\\u{2066}\\u{2028}\\u{e0041}"),
        ] {
            assert_eq!(shown(text), want);
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_in_hexadecimal() {
        assert_eq!(shown_bytes(b"ab\xff\xfec\xc3"), "ab\\xff\\xfec\\xc3");
        assert_eq!(shown_bytes("ä".as_bytes()), "ä");
    }

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        enum Outer {
            #[error("spool")]
            Bare(#[source] Box<Outer>),
            #[error("open /x: {0}")]
            Telling(#[source] std::io::Error),
        }
        let telling = || Outer::Telling(std::io::Error::other("no such file"));
        assert_eq!(chain(&telling()), "open /x: no such file");
        assert_eq!(
            chain(&Outer::Bare(Box::new(telling()))),
            "spool: open /x: no such file"
        );
    }

    #[test]
    fn json_keeps_the_text_and_hides_nothing() {
        let text = "a\u{1b}[0m\u{9b}\u{202e}\u{e0041}\"\\";
        let line = json(&text);
        assert!(!line.chars().any(hidden), "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
