//! The draft: what a session has been told of the file that is being sent.
//!
//! What this file does *not* do: bytes, recipients, time. It lives from one `EOF` or `ABORT` to the next; nothing
//! but the sender outlives it.
//!
//! Two rules for attributes that cannot be kept. *Dropped*: a key that is none (the field answers 200 to any, and
//! so do we), noted in the draft. *Refused*: one whose loss would change what the file is (a name over the limit, a
//! malformed digest, too many); that spoils the draft, so that a client which sent everything at once and looks
//! later does not find half of what it meant delivered.

use uft_spool::{Attribute, TypeSpec};

use super::attribute::BadKey;
use super::command::{Auth, FileLine};
use super::line::is_blank;
use super::refusal::Refusal;
use super::reply::clean;

/// Most attributes of one file.
pub const ATTRIBUTES_MAX: usize = 256;
/// Most bytes in the keys and values of one file.
pub const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;
/// Longest file name, in bytes.
pub const NAME_MAX: usize = 1024;
/// Longest transfer id, in bytes.
pub const XID_MAX: usize = 64;
/// Most notes of one file.
const NOTES_MAX: usize = 32;
/// Longest sender's login name that is kept, in bytes.
const FROM_MAX: usize = 128;

/// Everything that was said of a file so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Estimate of its size in bytes.
    pub size: Option<u64>,
    /// Login name of the sender, a claim.
    pub from: Option<String>,
    /// How the sender offers to prove it.
    pub auth: Auth,
    /// The recipient as asked for: one word, lower case.
    pub recipient: String,
    /// The name of the file as sent: hostile text, at most [`NAME_MAX`] bytes.
    pub name: Option<String>,
    /// The type; `None` when no `TYPE` was sent, which means I.
    pub spec: Option<TypeSpec>,
    /// The attributes in order of arrival, `NAME`, `XID`, `OFFSET` and `DIGEST` not among them.
    pub attributes: Vec<Attribute>,
    /// The charset of the wire form, from `CHARSET` or a synonym; also among the attributes.
    pub charset: Option<String>,
    /// The sender's transfer id: 1 to [`XID_MAX`] printable ASCII characters without blanks.
    pub xid: Option<String>,
    /// The client goes on from this byte of what was offered (`META OFFSET`): `1 <= offset`.
    pub offset: Option<u64>,
    /// The digest that the bytes must have.
    pub digest: Option<Expected>,
    /// What the recipient should know.
    pub notes: Vec<String>,
}

/// A digest of the wire form that the sender announced (`META DIGEST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// BLAKE3, 32 bytes.
    Blake3([u8; 32]),
    /// SHA-256.
    Sha256([u8; 32]),
}

impl Expected {
    /// `blake3:<64 hex digits>` or `sha256:<64 hex digits>`.
    pub fn parse(text: &str) -> Option<Expected> {
        let (name, hex) = text.split_once(':')?;
        let mut digest = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        match name.to_ascii_lowercase().as_str() {
            "blake3" => Some(Expected::Blake3(digest)),
            "sha256" => Some(Expected::Sha256(digest)),
            _ => None,
        }
    }
}

impl Draft {
    /// The draft of the next file of the same sender.
    pub(super) fn next(&self) -> Draft {
        Draft {
            from: self.from.clone(),
            auth: self.auth.clone(),
            ..Draft::default()
        }
    }

    /// `FILE` was accepted.
    pub(super) fn file(&mut self, file: FileLine) {
        self.size = file.size;
        self.from = file.from.map(|from| clean(&from, FROM_MAX));
        self.auth = file.auth;
    }

    /// Takes an attribute.
    ///
    /// # Errors
    /// When it must not be lost and cannot be kept.
    pub(super) fn attribute(
        &mut self,
        key: Result<String, BadKey>,
        value: &str,
        latin1: bool,
    ) -> Result<(), Refusal> {
        let key = match key {
            Ok(key) => key,
            // A `META` with nothing at all is said by nobody for a reason.
            Err(BadKey::Empty) => return Ok(()),
            Err(bad) => {
                self.note(&format!("an attribute was dropped, {bad}"));
                return Ok(());
            }
        };
        if latin1 {
            self.note(&format!("{key} was not UTF-8, and was read as ISO-8859-1"));
        }
        let trimmed = value.trim_matches(is_blank);
        match key.as_str() {
            "NAME" if trimmed.is_empty() => Ok(()),
            "NAME" if value.len() > NAME_MAX => Err(Refusal::NameTooLong {
                bytes: value.len(),
                most: NAME_MAX,
            }),
            "NAME" => {
                self.name = Some(value.to_owned());
                Ok(())
            }
            "XID" => {
                let fits =
                    (1..=XID_MAX).contains(&trimmed.len()) && trimmed.bytes().all(|b| b.is_ascii_graphic());
                self.xid = Some(trimmed.to_owned()).filter(|_| fits);
                self.xid
                    .is_some()
                    .then_some(())
                    .ok_or(Refusal::BadAttribute { key })
            }
            "DIGEST" => {
                self.digest = Expected::parse(trimmed);
                self.digest
                    .is_some()
                    .then_some(())
                    .ok_or(Refusal::BadAttribute { key })
            }
            "CHARSET" if trimmed.is_empty() => Ok(()),
            "CHARSET" => {
                self.charset = Some(trimmed.to_owned());
                self.keep(key, value)
            }
            _ => self.keep(key, value),
        }
    }

    fn keep(&mut self, key: String, value: &str) -> Result<(), Refusal> {
        let held: usize = self.attributes.iter().map(|a| a.key.len() + a.value.len()).sum();
        if self.attributes.len() >= ATTRIBUTES_MAX {
            return Err(Refusal::TooMany {
                what: "attributes",
                most: ATTRIBUTES_MAX as u64,
            });
        }
        if held + key.len() + value.len() > ATTRIBUTE_BYTES_MAX {
            return Err(Refusal::TooMany {
                what: "bytes of attributes",
                most: ATTRIBUTE_BYTES_MAX as u64,
            });
        }
        self.attributes.push(Attribute {
            key,
            value: value.to_owned(),
        });
        Ok(())
    }

    fn note(&mut self, note: &str) {
        if self.notes.len() < NOTES_MAX && !self.notes.iter().any(|n| n == note) {
            self.notes.push(note.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(draft: &mut Draft, key: &str, value: &str) -> Result<(), Refusal> {
        draft.attribute(super::super::attribute::key(key), value, false)
    }

    #[test]
    fn digests_are_blake3_or_sha256_in_hex() {
        let hex = "0123456789abcdefABCDEF0000000000000000000000000000000000000000ff";
        assert!(matches!(
            Expected::parse(&format!("blake3:{hex}")),
            Some(Expected::Blake3([1, 0x23, .., 0xff]))
        ));
        assert!(matches!(
            Expected::parse(&format!("SHA256:{hex}")),
            Some(Expected::Sha256(_))
        ));
        for bad in [
            "",
            "blake3",
            "blake3:",
            "md5:00",
            &format!("blake3:{hex}0"),
            &format!("x:{hex}"),
            &"ä".repeat(64),
        ] {
            assert_eq!(Expected::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_xids_and_digests_are_not_among_the_attributes() {
        let mut draft = Draft::default();
        for (key, value) in [
            ("NAME", "a b"),
            ("XID", " abc "),
            ("DIGEST", &format!("blake3:{}", "0".repeat(64))),
            ("charset", "ibm-037"),
            ("UCS", "TN"),
            ("CLASS", "A PRT"),
        ] {
            meta(&mut draft, key, value).unwrap();
        }
        assert_eq!(
            (draft.name.as_deref(), draft.xid.as_deref()),
            (Some("a b"), Some("abc"))
        );
        assert!(draft.digest.is_some());
        assert_eq!(draft.charset.as_deref(), Some("TN"));
        let keys: Vec<&str> = draft.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["CHARSET", "CHARSET", "CLASS"]);
    }

    #[test]
    fn what_must_not_be_lost_is_refused() {
        let mut draft = Draft::default();
        assert!(meta(&mut draft, "NAME", &"x".repeat(NAME_MAX)).is_ok());
        assert!(meta(&mut draft, "NAME", &"x".repeat(NAME_MAX + 1)).is_err());
        for bad in ["", "a b", "ä", "a\u{7}", &"x".repeat(65)] {
            assert!(meta(&mut draft, "XID", bad).is_err(), "{bad:?}");
        }
        assert!(meta(&mut draft, "DIGEST", "crc32:1").is_err());
    }

    #[test]
    fn bad_keys_are_dropped_with_a_note() {
        let mut draft = Draft::default();
        for key in ["USER", "SIZE", "BAD;KEY", "TYPE"] {
            assert_eq!(meta(&mut draft, key, "x"), Ok(()));
        }
        assert_eq!((draft.attributes.len(), draft.notes.len()), (0, 2));
    }

    #[test]
    fn endless_attributes_take_bounded_memory() {
        let mut draft = Draft::default();
        let kept = (0..1_000_000u32)
            .filter(|_| meta(&mut draft, "TITLE", "x").is_ok())
            .count();
        assert_eq!(kept, ATTRIBUTES_MAX);
        let mut draft = Draft::default();
        let kept = (0..1000)
            .filter(|_| meta(&mut draft, "TITLE", &"x".repeat(4000)).is_ok())
            .count();
        assert_eq!(kept, ATTRIBUTE_BYTES_MAX / 4005);
        for n in 0..1000 {
            draft.note(&n.to_string());
        }
        assert_eq!(draft.notes.len(), NOTES_MAX);
    }
}
