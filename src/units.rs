//! Sizes and durations as people write them: `16GiB`, `500B`, `64K`, `30s`, `5d`.
//!
//! Sizes count in powers of 1024 (`K` is `KiB`), a plain number is bytes. Durations always name their unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A length of time, in whole seconds or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A text that is not a size or not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUnit {
    /// Not a size.
    #[error("{0:?} is not a size: write bytes, or a number with K, M, G, KiB, MiB, GiB or B")]
    Size(String),
    /// Not a duration.
    #[error("{0:?} is not a duration: write a number with s, m, h or d")]
    Span(String),
}

const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const SPANS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// `number * factor` of a text such as `16GiB`; `None` when a part is unknown or the product overflows.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start();
    let &(_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl FromStr for Size {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        scaled(text, &SIZES)
            .map(Size)
            .ok_or_else(|| BadUnit::Size(text.to_owned()))
    }
}

impl FromStr for Span {
    type Err = BadUnit;
    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let millis = scaled(text, &SPANS).ok_or_else(|| BadUnit::Span(text.to_owned()))?;
        Ok(Span(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Size {
    /// The largest unit that loses nothing, so that the text reads back as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: u64| self.0 != 0 && self.0.is_multiple_of(unit);
        match self.0 {
            n if whole(1 << 30) => write!(f, "{}GiB", n >> 30),
            n if whole(1 << 20) => write!(f, "{}MiB", n >> 20),
            n if whole(1 << 10) => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = |unit: u128| millis != 0 && millis.is_multiple_of(unit);
        match millis {
            n if whole(86_400_000) => write!(f, "{}d", n / 86_400_000),
            n if whole(3_600_000) => write!(f, "{}h", n / 3_600_000),
            n if whole(60_000) => write!(f, "{}m", n / 60_000),
            n if n.is_multiple_of(1_000) => write!(f, "{}s", n / 1_000),
            n => write!(f, "{n}ms"),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(d)? {
            Written::Number(n) => Ok(Size(n)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_back_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("500B", 500),
            ("64K", 65_536),
            ("16 GiB", 1 << 34),
            ("1mib", 1 << 20),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for (text, seconds) in [("0s", 0), ("120s", 120), ("2m", 120), ("30d", 2_592_000)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_secs(), seconds, "{text}");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }

    #[test]
    fn what_has_no_unit_or_overflows_is_refused() {
        for bad in [
            "",
            "K",
            "-1",
            "1.5G",
            "1X",
            "99999999999999999999",
            "18446744073709551615K",
        ] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?}");
        }
        for bad in ["", "30", "s", "-1s", "1w"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }
}
