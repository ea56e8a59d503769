//! What is said of a file besides its bytes: name, date, permissions, and what the command line adds.
//!
//! What it does *not* do: decide how a line is written for which server (that is the dialogue's).
//! Source: the attributes of the POSIX implementation (DATE in GMT, XDATE, PROT, XPERM), RFC 1440 (TITLE, CLASS, FORM,
//! DIST, COPIES, HOLD).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;

use crate::cli::address::quoted;
use crate::cli::exit::Failure;
use crate::display::hidden;

/// Longest `META key value` line that servers in the field take, in bytes.
const LINE_MAX: usize = 253;

/// Keys that `--meta` may not set: verbs of the protocol, names that the record itself uses, and what the programs set
/// on their own.
const RESERVED: [&str; 29] = [
    "META", "FILE", "EXIT", "QUIT", "HELP", "NOOP", "NOP", "USER", "DATA", "AUXDATA", "EOF", "ABORT",
    "AGENT", "CPQ", "CPQUERY", "MSG", "TYPE", "NAME", "PIPE", "AUTH", "FROM", "REMOTE", "SIZE", "XID",
    "DIGEST", "OFFSET", "ORIGIN", "HOPS", "VIA",
];

/// What the command line says of every file of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// In the order in which they are sent; keys are upper case.
    pub(crate) attributes: Vec<(String, String)>,
}

impl Said {
    /// Adds an attribute; control characters of the value become `_`, which `warn` is told.
    pub(crate) fn add(
        &mut self,
        key: &str,
        value: &str,
        warn: &mut dyn FnMut(String),
    ) -> Result<(), Failure> {
        let value = plain(&key.to_ascii_lowercase(), value, warn);
        let length = "META ".len() + key.len() + 1 + value.len();
        if length > LINE_MAX {
            let room = LINE_MAX.saturating_sub("META ".len() + key.len() + 1);
            return Err(Failure::usage(format!(
                "{} has {} bytes, at most {room} can be sent",
                key.to_ascii_lowercase(),
                value.len()
            )));
        }
        self.attributes.push((key.to_owned(), value));
        Ok(())
    }

    /// Adds `KEY=VALUE`.
    pub(crate) fn add_pair(&mut self, pair: &str, warn: &mut dyn FnMut(String)) -> Result<(), Failure> {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--meta {}: there is no =", quoted(pair))).hint("write --meta KEY=VALUE")
        })?;
        self.add(&meta_key(key)?, value, warn)
    }
}

/// A key of `--meta`, in upper case.
fn meta_key(key: &str) -> Result<String, Failure> {
    let upper = key.to_ascii_uppercase();
    let bad = |what: &str| Failure::usage(format!("--meta key {}: {what}", quoted(key)));
    if upper.is_empty() || upper.len() > 32 {
        return Err(bad("a key has 1 to 32 characters"));
    }
    if !upper
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    {
        return Err(bad("a key is made of A-Z, 0-9, _ and -"));
    }
    if RESERVED.contains(&upper.as_str()) {
        return Err(bad("the protocol uses it itself"));
    }
    Ok(upper)
}

/// A text without control characters or anything else that hides: each becomes `_`, and `warn` hears of it.
pub(crate) fn plain(what: &str, text: &str, warn: &mut dyn FnMut(String)) -> String {
    if !text.chars().any(hidden) {
        return text.to_owned();
    }
    let plain: String = text.chars().map(|c| if hidden(c) { '_' } else { c }).collect();
    warn(format!("{what} {}: sent as {}", quoted(text), quoted(&plain)));
    plain
}

/// Date and permissions of a file, or of a stream that begins now and that nobody but its sender can read.
pub(crate) fn of_file(found: Option<&Metadata>, now: i64) -> Vec<(String, String)> {
    let (modified, mode) = match found {
        Some(found) => (found.mtime(), found.mode()),
        None => (now, 0o010_600),
    };
    let mut attributes = Vec::new();
    if let Some(date) = date(modified) {
        attributes.push(("DATE".to_owned(), date));
        attributes.push(("XDATE".to_owned(), modified.to_string()));
    }
    attributes.push(("PROT".to_owned(), prot(mode)));
    attributes.push(("XPERM".to_owned(), format!("0{mode:o}")));
    attributes.retain(|(_, value)| !value.is_empty());
    attributes
}

/// `yyyy-mm-dd hh:mm:ss GMT`; none for a time before 1970, which has no XDATE.
fn date(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok().filter(|_| seconds >= 0)?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S GMT").to_string())
}

/// `U:RWX,G:RX,W:R`, without the groups that have no bits.
fn prot(mode: u32) -> String {
    let group = |name: &str, shift: u32| {
        let bits = mode >> shift;
        let letters: String = [(4, 'R'), (2, 'W'), (1, 'X')]
            .into_iter()
            .filter(|(bit, _)| bits & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        (!letters.is_empty()).then(|| format!("{name}:{letters}"))
    };
    let groups: Vec<String> = [group("U", 6), group("G", 3), group("W", 0)]
        .into_iter()
        .flatten()
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_and_permissions_are_written_as_the_field_writes_them() {
        assert_eq!(date(1_795_218_990).unwrap(), "2026-11-20 23:56:30 GMT");
        for (mode, want) in [
            (0o100_644, "U:RW,G:R,W:R"),
            (0o010_600, "U:RW"),
            (0o100_754, "U:RWX,G:RX,W:R"),
            (0, ""),
        ] {
            assert_eq!(prot(mode), want);
        }
        let stream = of_file(None, 1_795_219_129);
        let want = [
            ("DATE", "2026-11-20 23:58:49 GMT"),
            ("XDATE", "1795219129"),
            ("PROT", "U:RW"),
            ("XPERM", "010600"),
        ];
        assert_eq!(
            stream,
            want.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn keys_of_the_protocol_itself_are_refused() {
        for bad in [
            "", "file=x", "FILE=x", "from=x", "a b=x", "clé=x", "digest=x", "novalue", "=x",
        ] {
            let mut said = Said::default();
            assert!(said.add_pair(bad, &mut |_| ()).is_err(), "{bad}");
        }
        let mut said = Said::default();
        said.add_pair("project-id=a=b", &mut |_| ()).unwrap();
        assert_eq!(said.attributes, [("PROJECT-ID".to_owned(), "a=b".to_owned())]);
    }

    #[test]
    fn a_value_cannot_begin_another_line() {
        let mut said = Said::default();
        let mut warned = Vec::new();
        said.add("TITLE", "-a\r\nQUIT\u{202e}", &mut |text| warned.push(text))
            .unwrap();
        assert_eq!(said.attributes[0].1, "-a__QUIT_");
        assert_eq!(warned, ["title \"-a\\r\\nQUIT\\u{202e}\": sent as \"-a__QUIT_\""]);
        assert!(said.add("TITLE", &"x".repeat(243), &mut |_| ()).is_err());
    }
}
