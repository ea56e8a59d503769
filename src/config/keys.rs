//! Which keys there are: unknown ones are refused with the nearest known one, and every complaint names its line.
//!
//! What it does *not* do: check values.

use super::ConfigError;

/// Keys of this release by section; what is known but not supported yet is in [`LATER`]. `users.program` has a section
/// for each program, `peer` and `route` are lists of sections.
pub(super) const KEYS: [(&str, &[&str]); 11] = [
    ("", &["node", "hostname", "spool", "socket", "shutdown_grace"]),
    (
        "uft",
        &[
            "listen",
            "max_sessions",
            "max_sessions_per_address",
            "idle_timeout",
            "burst_timeout",
            "session_timeout",
            "min_rate",
        ],
    ),
    ("users", &["source", "list", "aliases", "program"]),
    (
        "limits",
        &[
            "max_file",
            "user_bytes",
            "user_items",
            "min_free",
            "stranger_bytes",
            "stranger_items",
            "strangers",
            "expire",
        ],
    ),
    ("query", &["allow", "logmsg_file"]),
    ("notice", &["tty", "hook"]),
    ("agent", &["key_file"]),
    ("users.program", &["command", "timeout"]),
    ("peer", &["name", "uft", "user", "secret_file", "max_parallel"]),
    ("route", &["to", "via"]),
    (
        "queue",
        &[
            "retry", "expire", "rescan", "timeout", "max_hops", "drop", "percent",
        ],
    ),
];

/// Keys and sections of later releases: setting one is an error that says so.
const LATER: [&str; 11] = [
    "uft.tls_listen",
    "uft.tls_cert",
    "uft.tls_key",
    "peer.tls",
    "peer.ftp",
    "peer.edt",
    "peer.edt_threshold",
    "peer.protect",
    "ftp",
    "mail",
    "metrics",
];

/// A parser's complaint with its line and the line's text.
pub(super) fn shape(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error
        .span()
        .map(|span| text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1);
    let said = error.message();
    ConfigError::Shape(match line.and_then(|n| Some((n, text.lines().nth(n - 1)?))) {
        Some((n, written)) => format!("line {n}: {}: {said}", written.trim()),
        None => said.to_owned(),
    })
}

/// Refuses keys that no release knows, and those that this one does not support yet.
pub(super) fn check_keys(text: &str, table: &toml::Table) -> Result<(), ConfigError> {
    for (key, value) in table {
        if keys_of(key).is_some() {
            check_section(text, key, value)?;
            continue;
        }
        let keys: Vec<&str> = KEYS
            .iter()
            .flat_map(|&(name, keys)| {
                if name.is_empty() {
                    keys.to_vec()
                } else {
                    vec![name]
                }
            })
            .collect();
        check_key(text, key, key, &keys, value)?;
    }
    Ok(())
}

fn keys_of(section: &str) -> Option<&'static [&'static str]> {
    let found = KEYS.iter().find(|(name, _)| !name.is_empty() && *name == section);
    found.map(|&(_, keys)| keys)
}

/// A section, a list of sections, or (`users.program`) sections by name; anything else is for the parser to refuse.
fn check_section(text: &str, path: &str, value: &toml::Value) -> Result<(), ConfigError> {
    let Some(keys) = keys_of(path) else {
        return Ok(());
    };
    match value {
        toml::Value::Array(list) => list.iter().try_for_each(|one| check_section(text, path, one)),
        toml::Value::Table(inner) => inner.iter().try_for_each(|(key, value)| {
            let full = format!("{path}.{key}");
            check_key(text, &full, key, keys, value)?;
            match (full.as_str(), value) {
                ("users.program", toml::Value::Table(programs)) => programs
                    .values()
                    .try_for_each(|program| check_section(text, &full, program)),
                _ => Ok(()),
            }
        }),
        _ => Ok(()),
    }
}

fn check_key(
    text: &str,
    path: &str,
    key: &str,
    known: &[&str],
    value: &toml::Value,
) -> Result<(), ConfigError> {
    if known.contains(&key) {
        return Ok(());
    }
    let line = line_of(text, path);
    if LATER.contains(&path) {
        if is_off(value) {
            return Ok(());
        }
        return Err(ConfigError::Value {
            line,
            key: path.to_owned(),
            value: value.to_string().chars().take(60).collect(),
            why: "not supported by this release; remove it".into(),
        });
    }
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, key), name))
        .filter(|&(distance, name)| distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| path.strip_suffix(key).unwrap_or_default().to_owned() + name);
    Err(ConfigError::UnknownKey {
        line,
        key: path.to_owned(),
        nearest,
    })
}

/// Whether a value of a later release switches nothing on: empty texts and lists, and tables of such.
fn is_off(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.is_empty(),
        toml::Value::Array(list) => list.is_empty(),
        toml::Value::Table(table) => table.values().all(is_off),
        _ => false,
    }
}

/// The line that sets a key, from 1; 0 when no line does it in the plain way (`[section]`, then `key = ...`).
pub(super) fn line_of(text: &str, path: &str) -> usize {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut here = "";
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            here = header.trim_matches(['[', ']', ' ']);
            if here == path || here.starts_with(&format!("{path}.")) {
                return n + 1;
            }
        } else if let Some((name, _)) = line.split_once('=')
            && here == section
            && name.trim() == key
        {
            return n + 1;
        }
    }
    0
}
