//! Attributes: which words are attributes without `META`, under which key each is kept, and which keys are none.
//!
//! What this file does *not* do: understand values (`draft.rs` does, for the few that matter to the server).
//! Source: the attribute list of the POSIX implementation with its minimum lengths; the synonyms of RFC 1440.

/// Longest key, in bytes.
pub(super) const KEY_MAX: usize = 32;

/// A word that is an attribute without `META`: its full spelling, the shortest abbreviation, the key it is kept
/// under. In the published order: the first match wins (`COP` is `COPY`, `CO` is `COPIES`).
const BARE: &[(&str, usize, &str)] = &[
    ("DATE", 2, "DATE"),
    ("XDATE", 2, "XDATE"),
    ("PERM", 4, "PERM"),
    ("CHARSET", 5, "CHARSET"),
    ("UCS", 3, "CHARSET"),
    ("TRAIN", 2, "CHARSET"),
    ("RECFMT", 4, "RECFMT"),
    ("RECORD_FORMAT", 8, "RECFMT"),
    ("LRECLEN", 5, "RECLEN"),
    ("RECLEN", 4, "RECLEN"),
    ("RECORD_LENGTH", 8, "RECLEN"),
    ("CLASS", 2, "CLASS"),
    ("FORM", 2, "FORM"),
    ("FCB", 3, "FCB"),
    ("CTAPE", 2, "FCB"),
    ("DESTINATION", 4, "DEST"),
    ("DISTRIBUTION", 4, "DIST"),
    ("COPY", 3, "COPY"),
    ("COPIES", 2, "COPY"),
    ("HOLD", 4, "HOLD"),
    ("KEEP", 4, "KEEP"),
    ("TITLE", 2, "TITLE"),
];

/// Spellings that only `META` takes and that are kept under another key.
const META_ONLY: &[(&str, &str)] = &[
    ("BIN", "DIST"),
    ("BOX", "DIST"),
    ("RECFM", "RECFMT"),
    ("LRECL", "RECLEN"),
];

/// Words that are no attributes: the verbs, and what only the server may say of a file. `NAME` and `MSG` are verbs
/// and attributes both.
const RESERVED: &[&str] = &[
    "META", "FILE", "EXIT", "QUIT", "HELP", "NOOP", "NOP", "USER", "DATA", "AUXDATA", "EOF", "ABORT",
    "AGENT", "CPQ", "CPQUERY", "TYPE", "PIPE", "AUTH", "FROM", "REMOTE", "SIZE",
];

/// The key that a bare word (upper case, perhaps abbreviated) is kept under, if it is an attribute.
pub(super) fn bare(word: &str) -> Option<&'static str> {
    BARE.iter()
        .find(|(full, least, _)| word.len() >= *least && full.starts_with(word))
        .map(|(_, _, key)| *key)
}

/// The word that servers take without `META` for a key, if there is one (`DATE`, `CLASS`, ...).
pub(super) fn is_bare(key: &str) -> bool {
    BARE.iter().any(|(full, _, kept)| *full == key || *kept == key)
}

/// Why a key is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing at all.
    #[error("it has no key")]
    Empty,
    /// Longer than 32 bytes.
    #[error("its key is longer than 32 bytes")]
    TooLong,
    /// A character that keys do not have.
    #[error("its key has other characters than letters, digits, _ and -")]
    Character,
    /// A verb, or a word of the server's.
    #[error("its key is reserved")]
    Reserved,
}

/// The key that `META` keeps an attribute under: upper case, synonyms of RFC 1440 folded.
///
/// # Errors
/// When the key is none; the attribute is then dropped, with a note.
pub fn key(word: &str) -> Result<String, BadKey> {
    if word.is_empty() {
        return Err(BadKey::Empty);
    }
    if word.len() > KEY_MAX {
        return Err(BadKey::TooLong);
    }
    if !word
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    {
        return Err(BadKey::Character);
    }
    let word = word.to_ascii_uppercase();
    if RESERVED.contains(&word.as_str()) {
        return Err(BadKey::Reserved);
    }
    let spelled = BARE
        .iter()
        .find(|(full, _, _)| *full == word)
        .map(|(_, _, key)| *key);
    let folded = spelled.or_else(|| {
        META_ONLY
            .iter()
            .find(|(full, _)| *full == word)
            .map(|(_, key)| *key)
    });
    Ok(folded.map_or(word, str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_are_kept_under_the_full_key() {
        for (word, key) in [
            ("DA", "DATE"),
            ("XD", "XDATE"),
            ("CL", "CLASS"),
            ("TI", "TITLE"),
            ("TR", "CHARSET"),
            ("CO", "COPY"),
            ("COP", "COPY"),
            ("RECFM", "RECFMT"),
            ("LRECL", "RECLEN"),
            ("RECORD_L", "RECLEN"),
            ("DESTIN", "DEST"),
            ("CHARS", "CHARSET"),
        ] {
            assert_eq!(bare(word), Some(key), "{word}");
        }
    }

    #[test]
    fn some_attributes_need_meta() {
        for word in [
            "PROT", "XPERM", "OWNER", "GROUP", "VERSION", "SEQ", "NOTIFY", "TAG", "BIN", "BOX",
        ] {
            assert_eq!(bare(word), None, "{word}");
            assert!(key(word).is_ok(), "{word}");
        }
        for word in ["", "D", "C", "RECORD_", "CHAR", "HOL", "F", "KEEPS"] {
            assert_eq!(bare(word), None, "{word}");
        }
    }

    #[test]
    fn synonyms_are_one_key() {
        let folded = |word| key(word).unwrap();
        assert_eq!(
            (folded("bin"), folded("BOX"), folded("DIST")),
            ("DIST".into(), "DIST".into(), "DIST".into())
        );
        assert_eq!((folded("CTAPE"), folded("ucs")), ("FCB".into(), "CHARSET".into()));
        assert_eq!(folded("X-Own_key9"), "X-OWN_KEY9");
    }

    #[test]
    fn verbs_and_odd_characters_are_no_keys() {
        assert_eq!(key("user"), Err(BadKey::Reserved));
        assert_eq!(key("SIZE"), Err(BadKey::Reserved));
        assert_eq!(key(""), Err(BadKey::Empty));
        assert_eq!(key(&"K".repeat(33)), Err(BadKey::TooLong));
        for bad in ["BAD;KEY", "A=B", "Ä", "A\0", "a.b", "\u{1b}"] {
            assert_eq!(key(bad), Err(BadKey::Character), "{bad:?}");
        }
        assert_eq!((key("NAME"), key("MSG")), (Ok("NAME".into()), Ok("MSG".into())));
    }
}
