//! Wording: the command lines of an errand, in the manner that the server at the other end can take.
//!
//! Nothing that a caller gives can become a second line or a second operand: control characters turn into `_`, and
//! a recipient that has any is not said at all. What this file does *not* do: wait, or read replies.
//!
//! Servers of the field keep values where a shell script evaluates them, cut bare names, and are not prepared for
//! lines of more than 253 bytes; towards them values lose the characters of [`EVALUATED`], and every change is noted.

use uft_spool::{TypeSpec, USER_NAME_MAX};

use super::attribute;
use super::command::type_text;
use super::errand::{At, Delivery};
use super::herald::Herald;
use super::line::is_blank;

/// Longest line towards servers that are not ours, without its line end.
const FIELD_LINE_MAX: usize = 253;
/// Longest line towards our own: well below its limit.
const OUR_LINE_MAX: usize = 4000;
/// Longest bare name that field servers list whole.
const BARE_NAME_MAX: usize = 19;
/// What a shell would evaluate in a value.
const EVALUATED: &str = "'\"\\$;&|()<>{}[]!^=?`";

/// How a server wants to be talked to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// It is our own product.
    pub ours: bool,
    /// 1 or 2.
    pub level: u8,
}

impl Manner {
    pub(super) fn of(herald: &Herald) -> Manner {
        Manner {
            ours: herald.is_ours(),
            level: herald.level,
        }
    }

    fn line_max(self) -> usize {
        if self.ours { OUR_LINE_MAX } else { FIELD_LINE_MAX }
    }
}

/// A line to say, and where that is.
pub(super) type Line = (At, String);

/// Lines, and what in them is not as it was given.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub lines: Vec<Line>,
    pub notes: Vec<String>,
}

/// Everything that is said of a file before its bytes.
///
/// # Errors
/// When there is no way to say for whom it is.
pub(super) fn head(delivery: &Delivery, manner: Manner) -> Result<Words, String> {
    let mut words = Words::default();
    let user = recipient(&delivery.to)?;
    words.lines.push((
        At::File,
        file_line(delivery.size, delivery.from.as_deref(), manner, &mut words.notes),
    ));
    words.lines.push((At::User, format!("USER {user}")));
    words
        .lines
        .push((At::Type, type_line(&delivery.spec, manner, &mut words.notes)));
    if let Some(name) = &delivery.name {
        words.name(name, manner);
    }
    // The field's order: DATE, which needs no META, stands before those that do.
    let (dates, others): (Vec<_>, Vec<_>) = delivery
        .attributes
        .iter()
        .partition(|a| !manner.ours && a.key == "DATE");
    for attribute in dates.into_iter().chain(others) {
        words.attribute(&attribute.key, &attribute.value, manner);
    }
    if delivery.aux && manner.level == 1 {
        words
            .notes
            .push("the second fork is not sent: the server speaks UFT/1".to_owned());
    }
    Ok(words)
}

/// The lines of a message.
///
/// # Errors
/// When the recipient is none, or the text does not fit in a line.
pub(super) fn message(to: &str, text: &str, from: Option<&str>, manner: Manner) -> Result<Words, String> {
    let mut words = Words::default();
    let user = recipient(to)?;
    let text = printable(text, "the text", &mut words.notes);
    let line = format!("MSG {user} {text}");
    let most = manner.line_max();
    if text.trim_matches(is_blank).is_empty() {
        return Err("the message has no text".to_owned());
    }
    if line.len() > most {
        let room = text.len().saturating_sub(line.len() - most);
        return Err(format!(
            "the message has {} bytes, this server takes {room}",
            text.len()
        ));
    }
    words
        .lines
        .push((At::File, file_line(None, from, manner, &mut words.notes)));
    words.lines.push((At::Message, line));
    Ok(words)
}

/// The line of a query.
///
/// # Errors
/// When it does not fit.
pub(super) fn query(operands: &str, manner: Manner) -> Result<Words, String> {
    let mut words = Words::default();
    let line = format!("CPQ {}", printable(operands, "the query", &mut words.notes));
    if line.len() > manner.line_max() {
        return Err(format!("a query of {} bytes", operands.len()));
    }
    words.lines.push((At::Query, line));
    Ok(words)
}

impl Words {
    fn name(&mut self, name: &str, manner: Manner) {
        let mut name = printable(name, "the name", &mut self.notes);
        if !manner.ours {
            let last = name.rsplit('/').next().unwrap_or_default().to_owned();
            name = inert(&last, "the name", manner, &mut self.notes);
            let fits = cut(&name, FIELD_LINE_MAX - "META NAME ".len());
            if fits.len() < name.len() {
                self.notes
                    .push(format!("the name was cut to {} bytes", fits.len()));
            }
            name = fits.to_owned();
        }
        if name.is_empty() {
            self.notes.push("nothing is left of the name".to_owned());
        } else if !manner.ours && name.len() <= BARE_NAME_MAX && name.bytes().all(|b| b.is_ascii_graphic()) {
            self.lines.push((At::Attribute, format!("NAME {name}")));
        } else if manner.level == 1 {
            self.notes
                .push("the name is not sent: the server speaks UFT/1".to_owned());
        } else {
            self.lines.push((At::Attribute, format!("META NAME {name}")));
        }
    }

    /// Adds an attribute, or a note why not.
    pub(super) fn attribute(&mut self, key: &str, value: &str, manner: Manner) {
        let spoken = key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if key.is_empty() || key.len() > attribute::KEY_MAX || !spoken {
            self.notes
                .push("an attribute is not sent: its key is none".to_owned());
            return;
        }
        let value = printable(value, key, &mut self.notes);
        let value = inert(&value, key, manner, &mut self.notes);
        let line = match (manner.level, attribute::is_bare(key)) {
            (1, false) => {
                self.notes
                    .push(format!("{key} is not sent: the server speaks UFT/1"));
                return;
            }
            (1, true) => format!("{key} {value}"),
            _ if key == "DATE" && !manner.ours => format!("{key} {value}"),
            _ => format!("META {key} {value}"),
        };
        if line.len() > manner.line_max() {
            self.notes
                .push(format!("{key} is not sent: it is longer than the server takes"));
            return;
        }
        // What our own server has of the transfer stands in its reply.
        let at = if manner.ours && key == "XID" {
            At::Transfer
        } else {
            At::Attribute
        };
        self.lines.push((at, line));
    }
}

fn recipient(user: &str) -> Result<&str, String> {
    if user.is_empty() || user.len() > USER_NAME_MAX {
        return Err(format!(
            "a user name of {} bytes: 1 to {USER_NAME_MAX} are possible",
            user.len()
        ));
    }
    if user.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("a user name with blanks or control characters".to_owned());
    }
    Ok(user)
}

fn file_line(size: Option<u64>, from: Option<&str>, manner: Manner, notes: &mut Vec<String>) -> String {
    let given = from.unwrap_or_default();
    let from = inert(
        &printable(given, "the sender", notes),
        "the sender",
        manner,
        notes,
    );
    let from = cut(&from, USER_NAME_MAX).replace(char::is_whitespace, "_");
    let from = if from.is_empty() { "-" } else { &from };
    format!("FILE {} {from} -", size.unwrap_or(0))
}

fn type_line(spec: &TypeSpec, manner: Manner, notes: &mut Vec<String>) -> String {
    let text = inert(
        &printable(&type_text(spec), "the type", notes),
        "the type",
        manner,
        notes,
    );
    let text = cut(&text, 100);
    // A type of which nothing is left is what it was understood as.
    let text = if text.trim_matches(is_blank).is_empty() {
        spec.file_type.letter().to_string()
    } else {
        text.to_owned()
    };
    format!("TYPE {text}")
}

/// The text without control characters.
fn printable(text: &str, what: &str, notes: &mut Vec<String>) -> String {
    if text.contains(char::is_control) {
        notes.push(format!("control characters in {what} are sent as _"));
    }
    text.replace(char::is_control, "_")
}

/// The text without what a shell would evaluate, for servers that are not ours.
fn inert(text: &str, what: &str, manner: Manner, notes: &mut Vec<String>) -> String {
    if manner.ours || !text.contains(|c| EVALUATED.contains(c)) {
        return text.to_owned();
    }
    notes.push(format!("{what} is sent without the characters {EVALUATED}"));
    text.chars().filter(|&c| !EVALUATED.contains(c)).collect()
}

/// The first bytes of a text, cut between characters.
fn cut(text: &str, most: usize) -> &str {
    (0..=most.min(text.len()))
        .rev()
        .find_map(|at| text.get(..at))
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "wording_tests.rs"]
mod tests;
