//! Commands: what one line of a client says.
//!
//! What this file does *not* do: know whether a command is allowed now (`session.rs`), or what an attribute means
//! (`draft.rs`). Verbs may be abbreviated down to their published minimum; the first match in the published order
//! wins, which is why the verbs are a list and not a map.
//! Source: the verb table of the POSIX implementation, as documented and as recorded in `tests/transcripts/uft`.

use std::fmt;

use uft_spool::{Carriage, FileType, TypeSpec};

use super::attribute;
use super::line::{is_blank, text, word};
use super::proof::{Nonce, Tag};
use super::query::{BadQuery, Query};

/// A line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The verb as it was typed, in upper case; replies show it.
    pub verb: String,
    /// What it asks for.
    pub request: Request,
    /// The line was not UTF-8 and was read as Latin-1.
    pub latin1: bool,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `FILE size from auth key`.
    File(FileLine),
    /// `USER name`: the first word, lower case; empty when there was none.
    User(String),
    /// `TYPE t cc`; `None` without an argument.
    Type(Option<TypeSpec>),
    /// An attribute, bare or as `META key value`.
    Attribute {
        /// `NAME`, a key to keep it under, or why it is none.
        key: Result<String, attribute::BadKey>,
        /// The rest of the line.
        value: String,
    },
    /// `DATA count` or `AUXDATA count`.
    Burst(Fork, Result<u64, BadCount>),
    /// `EOF`.
    Eof,
    /// `ABORT`.
    Abort,
    /// `QUIT` or `EXIT`.
    Quit,
    /// `HELP`.
    Help,
    /// `NOOP` or `NOP`.
    Noop,
    /// `AGENT key`.
    Agent(Option<AgentKey>),
    /// `CPQ query operand`.
    Query(Result<Query, BadQuery>),
    /// `MSG user text`, with a text.
    Message {
        /// The first word, lower case.
        to: String,
        /// The rest of the line, without blanks at its end: `tell` adds one.
        text: String,
    },
    /// `MSG`, or `MSG user` without a text.
    EmptyMessage,
    /// `PEER name nonce proof`; `None` when that is not what stands there.
    Peer(Option<PeerLine>),
    /// No verb of ours.
    Unknown,
}

/// The operands of `FILE`. Every one is optional in the field, and anything may stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLine {
    /// Bytes, an estimate; `None` when nothing usable was said (0, `*`, `-`, negative, junk, beyond `u64`).
    pub size: Option<u64>,
    /// Login name of the sender: a claim. `None` for `-`.
    pub from: Option<String>,
    /// How the sender offers to prove it.
    pub auth: Auth,
}

/// The operands of `PEER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLine {
    /// The name by which the server is to know the client: a claim.
    pub name: String,
    /// The client's nonce.
    pub nonce: Nonce,
    /// The client's proof.
    pub proof: Tag,
}

/// The third operand of `FILE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// `-`, nothing, or a word that means nothing to us.
    #[default]
    None,
    /// The sender's host answers RFC 1413 queries.
    Ident,
    /// The sender's UFT server answers `AGENT key`.
    Agent(Option<AgentKey>),
}

/// A key that came in clear text and that nobody may see again: it has no serial form and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentKey(String);

impl AgentKey {
    /// A key, for the asking side.
    pub fn new(key: &str) -> AgentKey {
        AgentKey(key.to_owned())
    }

    /// The key itself, to compare it or to ask back with it; for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey(..)")
    }
}

/// The two byte strings of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fork {
    /// The file's bytes (`DATA`).
    Data,
    /// The second fork, in no defined form (`AUXDATA`).
    Aux,
}

/// A burst count that is none: signed, suffixed, hexadecimal, or too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCount(pub String);

#[derive(Clone, Copy)]
enum Verb {
    Meta,
    File,
    Quit,
    Help,
    Noop,
    User,
    Burst(Fork),
    Eof,
    Abort,
    Agent,
    Query,
    Message,
    Type,
    Name,
    Peer,
}

/// Full spelling, shortest abbreviation, meaning; in the published order. (`CPQUERY` is the CMS spelling; `PEER` is ours,
/// after all that is published and in full only, so that it changes the meaning of nothing.)
const VERBS: &[(&str, usize, Verb)] = &[
    ("META", 4, Verb::Meta),
    ("FILE", 4, Verb::File),
    ("EXIT", 2, Verb::Quit),
    ("QUIT", 3, Verb::Quit),
    ("HELP", 1, Verb::Help),
    ("NOOP", 2, Verb::Noop),
    ("NOP", 3, Verb::Noop),
    ("USER", 1, Verb::User),
    ("DATA", 3, Verb::Burst(Fork::Data)),
    ("AUXDATA", 4, Verb::Burst(Fork::Aux)),
    ("EOF", 1, Verb::Eof),
    ("ABORT", 1, Verb::Abort),
    ("AGENT", 4, Verb::Agent),
    ("CPQ", 3, Verb::Query),
    ("CPQUERY", 3, Verb::Query),
    ("MSG", 1, Verb::Message),
    ("TYPE", 1, Verb::Type),
    ("NAME", 2, Verb::Name),
    ("PEER", 4, Verb::Peer),
];

impl Command {
    /// The command in a line (without its line end); `None` for blank lines and comments, which get no reply.
    pub fn parse(line: &[u8]) -> Option<Command> {
        let (line, latin1) = text(line);
        let (typed, rest) = word(&line);
        if typed.is_empty() || typed.starts_with(['#', '*']) {
            return None;
        }
        let verb = typed.to_ascii_uppercase();
        let known = VERBS
            .iter()
            .find(|(full, least, _)| verb.len() >= *least && full.starts_with(verb.as_str()));
        let request = match known {
            Some((_, _, known)) => request(*known, rest),
            None => match attribute::bare(&verb) {
                Some(key) => Request::Attribute {
                    key: Ok(key.to_owned()),
                    value: rest.to_owned(),
                },
                None => Request::Unknown,
            },
        };
        Some(Command {
            verb,
            request,
            latin1,
        })
    }

    /// Whether a line that was too long, of which this is the head, may have announced bytes.
    pub(super) fn may_be_burst(head: &[u8]) -> bool {
        let (head, _) = text(head);
        let said = head.trim_start_matches(is_blank);
        // Behind so many blanks a verb may be cut off, or not be in sight at all.
        let cut_off = !said.contains(is_blank) && said.len() < "AUXDATA".len();
        match Command::parse(head.as_bytes()) {
            Some(Command {
                request: Request::Burst(..),
                ..
            }) => true,
            Some(_) => cut_off,
            None => said.is_empty(),
        }
    }
}

fn request(verb: Verb, rest: &str) -> Request {
    match verb {
        Verb::File => Request::File(file(rest)),
        Verb::User => Request::User(word(rest).0.to_ascii_lowercase()),
        Verb::Type => Request::Type(type_spec(rest)),
        Verb::Name => Request::Attribute {
            key: Ok("NAME".to_owned()),
            value: rest.to_owned(),
        },
        Verb::Meta => meta(rest),
        Verb::Burst(fork) => Request::Burst(fork, count(rest)),
        Verb::Eof => Request::Eof,
        Verb::Abort => Request::Abort,
        Verb::Quit => Request::Quit,
        Verb::Help => Request::Help,
        Verb::Noop => Request::Noop,
        Verb::Agent => {
            let key = word(rest).0;
            Request::Agent((!key.is_empty()).then(|| AgentKey::new(key)))
        }
        Verb::Query => Request::Query(Query::parse(rest)),
        Verb::Message => message(rest),
        Verb::Peer => Request::Peer(peer(rest)),
    }
}

fn file(rest: &str) -> FileLine {
    let (size, rest) = word(rest);
    let (from, rest) = word(rest);
    let (auth, rest) = word(rest);
    let (key, _) = word(rest);
    let auth = match auth.to_ascii_uppercase().as_str() {
        "IDENT" => Auth::Ident,
        "AGENT" => Auth::Agent((!key.is_empty()).then(|| AgentKey::new(key))),
        _ => Auth::None,
    };
    FileLine {
        size: estimate(size),
        from: (!matches!(from, "" | "-")).then(|| from.to_owned()),
        auth,
    }
}

/// Exactly three operands, of the right form.
fn peer(rest: &str) -> Option<PeerLine> {
    let (name, rest) = word(rest);
    let (nonce, rest) = word(rest);
    let (proof, rest) = word(rest);
    rest.is_empty().then_some(())?;
    Some(PeerLine {
        name: name.to_owned(),
        nonce: nonce.parse().ok()?,
        proof: proof.parse().ok()?,
    })
}

/// A size with an optional K, M or G (of 1024).
fn estimate(size: &str) -> Option<u64> {
    let (digits, unit) = match size.char_indices().last()? {
        (at, 'k' | 'K') => (size.get(..at)?, 1 << 10),
        (at, 'm' | 'M') => (size.get(..at)?, 1 << 20),
        (at, 'g' | 'G') => (size.get(..at)?, 1 << 30),
        _ => (size, 1),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let size = plain
        .then(|| digits.parse::<u64>().ok())
        .flatten()?
        .checked_mul(unit)?;
    (size > 0).then_some(size)
}

/// The count of a burst. What starts with neither digit nor sign is 0, as in the field; what could be read as two
/// different numbers by two programs is refused, because the bytes that follow would be taken for commands.
fn count(rest: &str) -> Result<u64, BadCount> {
    let (token, _) = word(rest);
    if !token.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return Ok(0);
    }
    let plain = token.bytes().all(|b| b.is_ascii_digit());
    let count = token
        .parse()
        .ok()
        .filter(|&n: &u64| plain && n <= i64::MAX as u64);
    count.ok_or_else(|| BadCount(token.to_owned()))
}

/// `META key value`: exactly one blank separates the two, so that a value may begin with blanks.
fn meta(rest: &str) -> Request {
    let (key, value) = rest.split_once(is_blank).unwrap_or((rest, ""));
    Request::Attribute {
        key: attribute::key(key),
        value: value.to_owned(),
    }
}

/// One word that means yes or no is the attribute `MSG` of the documents. Anything else without a text is a message
/// that cannot be delivered, and is not acknowledged as one.
fn message(rest: &str) -> Request {
    let (to, text) = word(rest);
    let text = text.trim_end_matches(is_blank);
    if !text.is_empty() {
        return Request::Message {
            to: to.to_ascii_lowercase(),
            text: text.to_owned(),
        };
    }
    match to.to_ascii_uppercase().as_str() {
        "ON" | "OFF" | "YES" | "NO" | "Y" | "N" => Request::Attribute {
            key: Ok("MSG".to_owned()),
            value: to.to_owned(),
        },
        _ => Request::EmptyMessage,
    }
}

/// How much of an odd `TYPE` argument is kept, in bytes.
const DECLARED_MAX: usize = 64;

/// The argument of `TYPE`: the first letter decides; then a carriage control, or the record length of F.
fn type_spec(rest: &str) -> Option<TypeSpec> {
    let said = rest.trim_end_matches(is_blank);
    let (name, mut more) = word(said);
    let (file_type, mut carriage) = match name.chars().next()?.to_ascii_uppercase() {
        'A' | 'T' => (FileType::A, None),
        'C' => (FileType::A, Some(Carriage::Asa)),
        'I' | 'B' | 'U' => (FileType::I, None),
        'F' => (FileType::F, None),
        'N' => (FileType::N, None),
        'V' => (FileType::V, None),
        'W' => (FileType::W, None),
        'X' => (FileType::X, None),
        'E' => (FileType::E, None),
        'M' => (FileType::M, None),
        _ => (FileType::I, None),
    };
    let mut record_length = None;
    while !more.is_empty() {
        let (operand, rest) = word(more);
        match operand.to_ascii_uppercase().as_str() {
            "C" => carriage = Some(Carriage::Asa),
            "M" => carriage = Some(Carriage::Machine),
            digits if file_type == FileType::F && digits.bytes().all(|b| b.is_ascii_digit()) => {
                record_length = digits.parse().ok().filter(|&n: &u32| n > 0);
            }
            _ => {}
        }
        more = rest;
    }
    let mut spec = TypeSpec {
        file_type,
        carriage,
        record_length,
        declared: None,
    };
    if !type_text(&spec).eq_ignore_ascii_case(said) {
        let cut = (0..=DECLARED_MAX.min(said.len()))
            .rev()
            .find_map(|at| said.get(..at));
        spec.declared = cut.map(str::to_owned);
    }
    Some(spec)
}

/// The argument of `TYPE` for a type: as it was declared, else its shortest form.
pub fn type_text(spec: &TypeSpec) -> String {
    if let Some(declared) = &spec.declared {
        return declared.clone();
    }
    let mut text = spec.file_type.letter().to_string();
    if let Some(length) = spec.record_length {
        text.push_str(&format!(" {length}"));
    }
    match spec.carriage {
        Some(Carriage::Asa) => text.push_str(" C"),
        Some(Carriage::Machine) => text.push_str(" M"),
        None => {}
    }
    text
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
