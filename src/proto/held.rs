//! What a server has of a transfer already: the end of its reply to `META XID`, written and read.
//!
//! ```text
//! 200 META; META okay                                    nothing: the file is sent from its start
//! 200 META; META okay; offset=N digest=blake3:<64 hex>   its first N bytes, with this digest: go on there if it fits
//! 200 META; META okay; stored                            all of it, with the digest of META DIGEST: say EOF
//! ```
//!
//! What this file does *not* do: compare, or decide. Source: `docs/protocol.md`, *Repeats and resumes*.

use std::fmt;

use uft_spool::Measure;

/// What a server has of a transfer already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing that it would tell this sender of.
    Nothing,
    /// Its first bytes: `1 <= bytes`.
    Part(Measure),
    /// It was delivered: the bytes are those of the digest that was announced before.
    All,
}

impl Held {
    /// Out of the text of a reply; what is not understood is nothing.
    pub(super) fn parse(text: &str) -> Held {
        let word = |key: &str| text.split([' ', ';']).find_map(|word| word.strip_prefix(key));
        if word("stored") == Some("") {
            return Held::All;
        }
        let bytes = word("offset=").and_then(|bytes| bytes.parse().ok());
        let digest = word("digest=blake3:").and_then(|hex| blake3::Hash::from_hex(hex).ok());
        match (bytes, digest) {
            (Some(bytes @ 1..), Some(blake3)) => Held::Part(Measure { bytes, blake3 }),
            _ => Held::Nothing,
        }
    }
}

/// What stands behind `200 META; META okay`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Held::Nothing => Ok(()),
            Held::Part(measure) => write!(f, "; offset={} digest=blake3:{}", measure.bytes, measure.blake3),
            Held::All => f.write_str("; stored"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for bytes in [1, 1 << 20, u64::MAX] {
            let part = Held::Part(Measure {
                bytes,
                blake3: blake3::hash(b"x"),
            });
            for held in [Held::Nothing, part, Held::All] {
                let text = format!("META; META okay{held}");
                assert_eq!(Held::parse(&text), held);
                assert!(text.len() < 160);
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let hex = blake3::hash(b"x").to_hex();
        for text in [
            "",
            "META; META okay",
            "offset=5",
            &format!("digest=blake3:{hex}"),
            &format!("offset=0 digest=blake3:{hex}"),
            &format!("offset=-1 digest=blake3:{hex}"),
            &format!("offset=99999999999999999999 digest=blake3:{hex}"),
            &format!("offset=5 digest=sha256:{hex}"),
            &format!("offset=5 digest=blake3:{hex}0"),
            "storedx",
            "stored=1",
        ] {
            assert_eq!(Held::parse(text), Held::Nothing, "{text}");
        }
    }
}
