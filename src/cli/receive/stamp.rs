//! Dates and permission bits as senders declare them: `XDATE`, `DATE`, `XPERM`, `PERM`, `PROT`.
//!
//! Every form in the field is read, none is trusted: what cannot be read is no date and no bits, and setuid, setgid and
//! sticky bits are not part of what comes out. Where several attributes speak, the exact one wins.
//! Source: RFC 1440 (DATE, PROT), the POSIX implementation (XDATE, XPERM), VM/CMS (`yy.mm.dd`).

use jiff::civil::DateTime;
use jiff::tz::Offset;
use uft_spool::Facts;

use super::place::Stamp;

/// Last second of the year 9999, the end of what dates are written with.
const LAST: i64 = 253_402_300_799;

/// What the attributes of a file say of its date and its bits.
pub(crate) fn stamp(facts: &Facts) -> Stamp {
    let said = |key: &str| facts.attribute(key);
    Stamp {
        modified: said("XDATE")
            .and_then(xdate)
            .or_else(|| said("DATE").and_then(date)),
        mode: said("XPERM")
            .and_then(octal)
            .or_else(|| said("PERM").and_then(octal))
            .or_else(|| said("PROT").and_then(prot)),
    }
}

/// Seconds since 1970.
fn xdate(text: &str) -> Option<i64> {
    let seconds = text.trim().parse().ok()?;
    (0..=LAST).contains(&seconds).then_some(seconds)
}

/// `yyyy-mm-dd hh:mm:ss zone`, `/` or `.` for `-`, two digits of a year (70 is 1970, 69 is 2069); the time and the zone
/// may be missing: midnight, GMT.
fn date(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace();
    let (year, month, day) = {
        let mut parts = words.next()?.split(['-', '/', '.']);
        let year = parts.next()?;
        let number: i16 = digits(year)?;
        let year = match (year.len(), number) {
            (2, 70..) => 1900 + number,
            (2, _) => 2000 + number,
            (4, _) => number,
            _ => return None,
        };
        let day = (year, digits(parts.next()?)?, digits(parts.next()?)?);
        if parts.next().is_some() {
            return None;
        }
        day
    };
    let (hour, minute, second) = match words.next() {
        None => (0, 0, 0),
        Some(time) => {
            let mut parts = time.split(':');
            let time = (
                digits(parts.next()?)?,
                digits(parts.next()?)?,
                parts.next().map_or(Some(0), digits)?,
            );
            if parts.next().is_some() {
                return None;
            }
            time
        }
    };
    let east = words.next().map_or(Some(0), zone)?;
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let seconds = Offset::UTC.to_timestamp(civil).ok()?.as_second() - i64::from(east);
    (0..=LAST).contains(&seconds).then_some(seconds)
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Seconds east of Greenwich. A zone that is not known is no date: a wrong one would look right.
fn zone(text: &str) -> Option<i32> {
    let hours = match text.to_ascii_uppercase().as_str() {
        "GMT" | "UTC" | "UT" | "Z" => 0,
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        "WET" => 0,
        "CET" | "BST" | "WEST" => 1,
        "CEST" | "EET" => 2,
        "EEST" => 3,
        "JST" => 9,
        other => {
            let (sign, rest) = match other.split_at_checked(1)? {
                ("+", rest) => (1, rest),
                ("-", rest) => (-1, rest),
                _ => return None,
            };
            let plain = rest.replace(':', "");
            let number: i32 = digits(&plain).filter(|_| plain.len() == 4)?;
            let (hours, minutes) = (number / 100, number % 100);
            return (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60));
        }
    };
    Some(hours * 3600)
}

/// `0100644` or `644`: octal, the bits of the file's kind and of setuid, setgid and sticky dropped.
fn octal(text: &str) -> Option<u32> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let bits = plain.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
    Some(bits & 0o777)
}

/// `U:RWX,G:RX,W:R`; a group that is not named has no bits. `O` is the owner (VMS), `S` the system: neither here nor there.
fn prot(text: &str) -> Option<u32> {
    let mut bits = 0;
    let mut named = false;
    for group in text.trim().trim_matches(['(', ')']).split(',') {
        let (who, what) = group.trim().split_once([':', '=']).unwrap_or((group.trim(), ""));
        let shift = match who.trim().to_ascii_uppercase().as_str() {
            "U" | "O" | "USER" | "OWNER" => 6,
            "G" | "GROUP" => 3,
            "W" | "WORLD" => 0,
            "S" | "SYSTEM" => continue,
            _ => return None,
        };
        for c in what.trim().chars() {
            bits |= match c.to_ascii_uppercase() {
                'R' => 4 << shift,
                'W' => 2 << shift,
                'X' | 'E' => 1 << shift,
                // Delete: a matter of the directory here.
                'D' => 0,
                _ => return None,
            };
        }
        named = true;
    }
    named.then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_date_of_the_field_is_read() {
        for (text, want) in [
            ("2026-11-20 23:56:30 GMT", Some(1_795_218_990)),
            ("2026-11-20 23:56:30", Some(1_795_218_990)),
            ("2026/11/20 23:56", Some(1_795_218_960)),
            ("26.11.20", Some(1_795_132_800)),
            ("70.01.01", Some(0)),
            ("2026-11-20 18:56:30 EST", Some(1_795_218_990)),
            ("2026-11-21 00:56:30 +0100", Some(1_795_218_990)),
            ("2026-11-21 05:26:30 +05:30", Some(1_795_218_990)),
            ("2026-11-20 23:56:30 XYZ", None),
            ("2026-02-30", None),
            ("2026-11-20 25:00:00", None),
            ("1969-12-31", None),
            ("yesterday", None),
            ("2026-11-20-1", None),
            ("-1-1-1", None),
            ("", None),
        ] {
            assert_eq!(date(text), want, "{text:?}");
        }
        assert_eq!(xdate("1795218990"), Some(1_795_218_990));
        for bad in ["-1", "99999999999999", "1e9", "$(id)"] {
            assert_eq!(xdate(bad), None, "{bad}");
        }
    }

    #[test]
    fn special_bits_never_come_out() {
        for (text, want) in [
            ("0100644", Some(0o644)),
            ("644", Some(0o644)),
            ("0104755", Some(0o755)),
            ("07777", Some(0o777)),
            ("010600", Some(0o600)),
            ("0x1ff", None),
            ("888", None),
            ("", None),
        ] {
            assert_eq!(octal(text), want, "{text:?}");
        }
    }

    #[test]
    fn protection_in_the_vms_style() {
        for (text, want) in [
            ("U:RWX,G:RX,W:R", Some(0o754)),
            ("U:RW", Some(0o600)),
            ("U:RW,G:R,W:R", Some(0o644)),
            ("(S:RWED,O:RWED,G:RE,W)", Some(0o750)),
            ("Q:R", None),
            ("U:$(id)", None),
        ] {
            assert_eq!(prot(text), want, "{text:?}");
        }
    }
}
