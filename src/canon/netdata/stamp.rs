//! Dates as text units write them: EBCDIC digits `YYYYMMDDHHMMSS[uuuuuu]`, GMT, perhaps cut short from the right.
//!
//! What it does *not* do: read a clock. Source: z/OS TSO/E Customization, INMFTIME; 14 and 20 digits were seen.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Digits of a full stamp.
const DIGITS: usize = 20;

/// A date and time as sent, so that a receipt can repeat it digit by digit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// ASCII digits, `4 <= digits.len() <= 20`.
    digits: String,
}

impl Stamp {
    /// The stamp of a moment, with seconds: 14 digits.
    pub fn of(moment: Timestamp) -> Stamp {
        let zoned: Zoned = moment.to_zoned(TimeZone::UTC);
        Stamp {
            digits: zoned.strftime("%Y%m%d%H%M%S").to_string(),
        }
    }

    /// The value of a text unit, blanks around it aside; anything but digits is no stamp.
    pub fn from_ebcdic(value: &[u8]) -> Option<Stamp> {
        let value = value.without_blanks();
        if !(4..=DIGITS).contains(&value.len()) {
            return None;
        }
        let digits = value.iter().map(|&byte| match byte {
            0xf0..=0xf9 => Some(char::from(byte - 0xf0 + b'0')),
            _ => None,
        });
        Some(Stamp {
            digits: digits.collect::<Option<String>>()?,
        })
    }

    /// The value of a text unit.
    pub fn to_ebcdic(&self) -> Vec<u8> {
        self.digits.bytes().map(|digit| digit - b'0' + 0xf0).collect()
    }

    /// The digits as sent.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The moment; what was cut off is its least value. `None` for a day that no calendar has, and for 1970-01-01, which
    /// is how senders say that they do not know.
    pub fn moment(&self) -> Option<Timestamp> {
        let full: String = self
            .digits
            .chars()
            .chain("00000101000000000000".chars().skip(self.digits.len()))
            .collect();
        let part = |from: usize, to: usize| full.get(from..to)?.parse::<i32>().ok();
        let small = |from, to| i8::try_from(part(from, to)?).ok();
        let date = DateTime::new(
            i16::try_from(part(0, 4)?).ok()?,
            small(4, 6)?,
            small(6, 8)?,
            small(8, 10)?,
            small(10, 12)?,
            small(12, 14)?,
            part(14, 20)? * 1000,
        );
        let moment = date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        (moment != Timestamp::UNIX_EPOCH).then_some(moment)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moment() {
            Some(moment) => moment.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)
    }
}

/// Blanks at the end of an EBCDIC value are padding.
pub(super) trait WithoutBlanks {
    fn without_blanks(&self) -> &[u8];
}

impl WithoutBlanks for [u8] {
    fn without_blanks(&self) -> &[u8] {
        let kept = self
            .iter()
            .rposition(|&byte| byte != 0x40)
            .map_or(0, |last| last + 1);
        self.get(..kept).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(digits: &str) -> Stamp {
        let value: Vec<u8> = digits.bytes().map(|b| b - b'0' + 0xf0).collect();
        Stamp::from_ebcdic(&value).unwrap()
    }

    #[test]
    fn a_stamp_may_be_cut_short_from_the_right() {
        for (digits, text) in [
            ("20260102030405", "2026-01-02T03:04:05Z"),
            ("20260102030405250000", "2026-01-02T03:04:05.25Z"),
            ("20260102", "2026-01-02T00:00:00Z"),
            ("202603", "2026-03-01T00:00:00Z"),
            ("2026", "2026-01-01T00:00:00Z"),
            ("19700101000000", "unknown"),
            ("20261302", "unknown"),
            ("00000000000000", "unknown"),
        ] {
            assert_eq!(stamp(digits).to_string(), text, "{digits}");
        }
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for value in [
            b"".as_slice(),
            b"\xf2\xf0",
            b"2026",
            b"\xf2\xf0\xf2\xc1",
            &[0xf1; 21],
        ] {
            assert_eq!(Stamp::from_ebcdic(value), None, "{value:?}");
        }
        assert_eq!(
            Stamp::from_ebcdic(b"\xf2\xf0\xf2\xf6\x40\x40"),
            Some(stamp("2026"))
        );
        let moment: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(Stamp::of(moment), stamp("20260102030405"));
    }
}
