//! The head of a job: what is said of a file, from its envelope.
//!
//! The same envelope always gives the same bytes (no attempts, no time of day), so that an offset into a job stays right
//! from one attempt to the next. What this file does *not* do: choose attributes (a relay changes the trail before).

use uft_spool::{Facts, Measure};

use crate::proto::{LINE_MAX, attribute_key, type_text};

/// The line after which the file follows.
pub const DATA: &[u8] = b"DATA\n";

/// Everything before the file for the recipient `to`, one word. `wire` measures the bytes that follow.
///
/// With a second fork of `aux` bytes the head ends with its `AUXDATA` line: these bytes, then [`DATA`], are the caller's to
/// add. Without one it ends with [`DATA`].
///
/// Nothing in an envelope becomes a second line: control characters turn into `_`, as they do in a session. An attribute
/// that fits into no line is left out.
pub fn head(facts: &Facts, to: &str, wire: &Measure, aux: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let from = Some(word(&facts.origin.user)).filter(|from| !from.is_empty());
    say(
        &mut out,
        "FILE",
        &format!("{} {} -", wire.bytes, from.as_deref().unwrap_or("-")),
    );
    say(&mut out, "USER", &word(to));
    say(&mut out, "TYPE", &type_text(&facts.spec));
    if let Some(name) = &facts.name {
        say(&mut out, "META NAME", name);
    }
    for attribute in &facts.attributes {
        // A key that no session takes could be read as something else.
        if attribute_key(&attribute.key).is_ok_and(|key| key == attribute.key) {
            say(&mut out, &format!("META {}", attribute.key), &attribute.value);
        }
    }
    if let Some(xid) = &facts.xid {
        say(&mut out, "META XID", &word(xid));
    }
    say(
        &mut out,
        "META DIGEST",
        &format!("blake3:{}", wire.blake3.to_hex()),
    );
    match aux {
        Some(bytes) => say(&mut out, "AUXDATA", &bytes.to_string()),
        None => out.extend_from_slice(DATA),
    }
    out
}

/// Adds a line, unless it is longer than a line can be.
fn say(out: &mut Vec<u8>, verb: &str, operand: &str) {
    let operand = operand.replace(char::is_control, "_");
    if verb.len() + 1 + operand.len() <= LINE_MAX {
        out.extend_from_slice(verb.as_bytes());
        out.push(b' ');
        out.extend_from_slice(operand.as_bytes());
        out.push(b'\n');
    }
}

/// A text that is one operand.
fn word(text: &str) -> String {
    text.replace(|c: char| c.is_whitespace() || c.is_control(), "_")
}
