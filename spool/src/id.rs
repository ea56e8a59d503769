//! Names of things: who a file is for, and which number it has there.
//!
//! Each is parsed once at the edge and trusted afterwards: a [`UserName`] can be joined to a path, a [`SpoolId`]
//! can be a file name. What this file does *not* do: decide whether a user exists (that is the daemon's).

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest user name, in bytes (UFT clients send at most 63).
pub const USER_NAME_MAX: usize = 63;

/// The name of a recipient on this host: lower case, safe as one path component.
///
/// `1 <= len <= 63`; the first byte is one of `a-z 0-9 _ # $`, the others one of those or `. - +`. So `.`, `..`,
/// the empty name, a leading `-` and every `/` or control character cannot exist in this type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a user name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUserName {
    /// Nothing at all.
    #[error("empty user name")]
    Empty,
    /// Longer than [`USER_NAME_MAX`] bytes; the value is its length.
    #[error("user name of {0} bytes, at most 63 are allowed")]
    TooLong(usize),
    /// A character that no user name has (or not in this place).
    #[error("user name has {0:?} at byte {1}")]
    Character(char, usize),
}

impl FromStr for UserName {
    type Err = BadUserName;

    /// Folds ASCII upper case to lower, then checks every character.
    fn from_str(text: &str) -> Result<Self, BadUserName> {
        if text.is_empty() {
            return Err(BadUserName::Empty);
        }
        if text.len() > USER_NAME_MAX {
            return Err(BadUserName::TooLong(text.len()));
        }
        let text = text.to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '#' | '$');
        let bad = text
            .char_indices()
            .find(|&(at, c)| !(plain(c) || at > 0 && matches!(c, '.' | '-' | '+')));
        match bad {
            Some((at, c)) => Err(BadUserName::Character(c, at)),
            None => Ok(UserName(text)),
        }
    }
}

impl TryFrom<String> for UserName {
    type Error = BadUserName;
    fn try_from(text: String) -> Result<Self, BadUserName> {
        text.parse()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> String {
        name.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of an item in one user's inbox, or of a job in the queue: from 1 upwards, never used twice there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpoolId(NonZeroU64);

impl SpoolId {
    /// The id with this number; `None` for 0 and for numbers that the index cannot hold (above `i64::MAX`).
    pub fn new(number: u64) -> Option<SpoolId> {
        (number <= i64::MAX as u64).then_some(())?;
        NonZeroU64::new(number).map(SpoolId)
    }

    /// The number: `1 <= get() <= i64::MAX`.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// A text that is not a spool id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a spool id: a number from 1 upwards is")]
pub struct BadSpoolId(pub String);

impl FromStr for SpoolId {
    type Err = BadSpoolId;

    /// Decimal digits only; leading zeros are read (`0017` is 17, as the field's inbox tools write it).
    fn from_str(text: &str) -> Result<Self, BadSpoolId> {
        let bad = || BadSpoolId(text.to_owned());
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        text.parse().ok().and_then(SpoolId::new).ok_or_else(bad)
    }
}

impl fmt::Display for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_folded_to_lower_case() {
        assert_eq!("MAINT".parse::<UserName>().unwrap().as_str(), "maint");
        assert_eq!(
            "jane.doe-2+x".parse::<UserName>().unwrap().as_str(),
            "jane.doe-2+x"
        );
    }

    #[test]
    fn user_names_that_could_leave_their_directory_do_not_parse() {
        for bad in [
            "", ".", "..", ".rc", "-rf", "+x", "a/b", "/etc", "a\\b", "a b", "a\0", "a\n", "ä", "a@b",
        ] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
        assert_eq!("x".repeat(64).parse::<UserName>(), Err(BadUserName::TooLong(64)));
        assert!("x".repeat(63).parse::<UserName>().is_ok());
    }

    #[test]
    fn spool_ids_are_plain_numbers_from_one() {
        assert_eq!("0017".parse::<SpoolId>().unwrap().get(), 17);
        for bad in [
            "",
            "0",
            "-1",
            "+1",
            "1k",
            "0x1",
            " 1",
            "99999999999999999999",
            "9223372036854775808",
        ] {
            assert!(bad.parse::<SpoolId>().is_err(), "{bad:?}");
        }
    }
}
