//! Durations on command lines, and sizes as people read them.
//!
//! What it does *not* do: define the units (`crate::units` does, for the configuration too).

use std::time::Duration;

use crate::units::Span;

/// Reads `30s`, `5m`, `2h`, `1d`. Zero is refused: nothing can be done in no time.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let Span(span) = text.parse().map_err(|e: crate::units::BadUnit| e.to_string())?;
    if span.is_zero() {
        return Err(format!("{text:?} is no time at all: write at least 1ms"));
    }
    Ok(span)
}

/// `1 byte`, `18 bytes`, `1.2 KiB`, `16.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" });
    }
    let mut value = bytes as f64;
    let mut unit = "KiB";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        value /= 1024.0;
        unit = next;
        if value < 1023.95 {
            break;
        }
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "7", "-1s", "1w", "1.5s", "0s", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_short_and_exact_below_a_kibibyte() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
