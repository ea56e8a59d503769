//! The directory of a partitioned data set: its members, their aliases and statistics.
//!
//! A directory block has a key of 8 bytes and 256 bytes of data:
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 2 | bytes used, these included |
//! | 2 | | entries; one named FF FF FF FF FF FF FF FF ends the directory |
//!
//! | offset in an entry | bytes | meaning |
//! |---|---|---|
//! | 0 | 8 | name, blanks behind |
//! | 8 | 3 | where its data begin: relative track (2), record (1) |
//! | 11 | 1 | 80 alias, 1F half words that follow |
//! | 12 | 0..62 | what the maker of the member keeps there: [`Statistics`] of ISPF, if they look like it |
//!
//! What it does *not* do: find the data (`unload.rs`). Sources: z/OS DFSMSdfp Utilities, "Unload data set format"; DFSMS
//! Using Data Sets, "PDS directory"; ISPF, "Member statistics".

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};

use super::Limits;
use super::error::{Fault, UnloadFault};
use super::name::text;

/// Bytes of an entry without what follows it.
const ENTRY: usize = 12;
/// The name behind the last member.
const LAST: [u8; 8] = [0xff; 8];

/// A member of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it may be shown; none: data that no entry of the directory claims.
    pub name: Option<String>,
    /// Other names of the same data.
    pub aliases: Vec<String>,
    /// What ISPF knows of it.
    pub statistics: Option<Statistics>,
}

/// What ISPF keeps of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Version and modification level: `01.07`.
    pub version: (u8, u8),
    /// When it was made.
    pub created: Option<Date>,
    /// When it was changed, in the time of its own system.
    pub changed: Option<DateTime>,
    /// Its lines.
    pub lines: u32,
    /// Who changed it.
    pub user: String,
}

/// A directory that is being read.
#[derive(Debug, Default)]
pub(super) struct Directory {
    members: BTreeMap<u32, Member>,
    count: usize,
    complete: bool,
}

impl Directory {
    /// The entry FF..FF has been met.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Reads the data of a block.
    ///
    /// # Errors
    /// An entry runs past the block, or there are too many.
    pub(super) fn block(&mut self, data: &[u8], limits: &Limits) -> Result<(), Fault> {
        if self.complete {
            return Ok(());
        }
        let overrun = Fault::Unload(UnloadFault::DirectoryOverrun);
        let used = data
            .first_chunk()
            .map(|used| usize::from(u16::from_be_bytes(*used)));
        let mut rest = used.and_then(|used| data.get(2..used)).ok_or(overrun.clone())?;
        while !rest.is_empty() {
            if rest.starts_with(&LAST) {
                self.complete = true;
                return Ok(());
            }
            let (entry, after) = rest.split_first_chunk::<ENTRY>().ok_or(overrun.clone())?;
            let [name @ .., high, middle, low, kind] = entry;
            let (user, after) = after
                .split_at_checked(2 * usize::from(kind & 0x1f))
                .ok_or(overrun.clone())?;
            self.count += 1;
            if self.count > limits.members {
                let (what, limit) = ("members", limits.members as u64);
                return Err(Fault::TooMany { what, limit });
            }
            let ttr = u32::from_be_bytes([0, *high, *middle, *low]);
            self.entry(text(name), ttr, kind & 0x80 != 0, Statistics::read(user));
            rest = after;
        }
        Ok(())
    }

    fn entry(&mut self, name: String, ttr: u32, alias: bool, statistics: Option<Statistics>) {
        let member = self.members.entry(ttr).or_insert_with(|| Member {
            name: None,
            aliases: Vec::new(),
            statistics: None,
        });
        match &member.name {
            None if !alias => {
                member.name = Some(name);
                member.statistics = statistics;
            }
            // A second entry for the same data is an alias, whatever it says.
            _ => member.aliases.push(name),
        }
    }

    /// The members with the place of their data, by place. An alias of nothing is a member.
    pub(super) fn into_members(self) -> (Vec<u32>, Vec<Member>) {
        let named = self.members.into_iter().map(|(ttr, mut member)| {
            if member.name.is_none() && !member.aliases.is_empty() {
                member.name = Some(member.aliases.remove(0));
            }
            (ttr, member)
        });
        named.unzip()
    }
}

impl Statistics {
    /// | offset | bytes | meaning |
    /// |---|---|---|
    /// | 0, 1 | 1, 1 | version, modification level |
    /// | 3 | 1 | second of the change, packed |
    /// | 4, 8 | 4, 4 | day of creation, of the change: century, year, day of the year, packed |
    /// | 12, 13 | 1, 1 | hour and minute of the change, packed |
    /// | 14 | 2 | lines |
    /// | 20 | 8 | user |
    /// | 28 | 4 | lines, if 20 is set in byte 2 and there are 40 bytes |
    fn read(user: &[u8]) -> Option<Statistics> {
        // 15 half words, or 20 with line counts of 4 bytes; anything else is another program's.
        if !matches!(user.len(), 30 | 40) {
            return None;
        }
        let byte = |at: usize| user.get(at).copied();
        let day = |at: usize| packed_day(user.get(at..at + 4)?.try_into().ok()?);
        let created = day(4);
        let time = |at: usize| packed(byte(at)?).and_then(|number| i8::try_from(number).ok());
        let changed = day(8).and_then(|day| {
            let second = time(3).unwrap_or_default();
            jiff::civil::Time::new(time(12)?, time(13)?, second, 0)
                .ok()
                .map(|time| day.to_datetime(time))
        });
        created.or(changed.map(DateTime::date))?;
        Some(Statistics {
            version: (byte(0)?, byte(1)?),
            created,
            changed,
            lines: Statistics::lines(user)?,
            user: text(user.get(20..28)?),
        })
    }

    fn lines(user: &[u8]) -> Option<u32> {
        let long = user.get(2)? & 0x20 != 0;
        match user.get(28..32).and_then(|lines| <[u8; 4]>::try_from(lines).ok()) {
            Some(lines) if long => Some(u32::from_be_bytes(lines)),
            _ => Some(u16::from_be_bytes([*user.get(14)?, *user.get(15)?]).into()),
        }
    }
}

/// Two decimal digits in a byte.
fn packed(byte: u8) -> Option<u8> {
    let (high, low) = (byte >> 4, byte & 0x0f);
    (high < 10 && low < 10).then_some(10 * high + low)
}

/// `0c yy dd dF`: century from 1900, year, day of the year.
fn packed_day([century, year, days, last]: [u8; 4]) -> Option<Date> {
    let days = i16::from(packed(days)?) * 10 + i16::from(last >> 4);
    let year = 1900 + 100 * i16::from(packed(century)?) + i16::from(packed(year)?);
    Date::new(year, 1, 1).ok()?.with().day_of_year(days).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1.7, made on 2026-02-01, changed on 2026-11-26 at 03:34:55, 42 lines, by ALICE.
    fn user_data() -> [u8; 40] {
        let mut data = [0; 40];
        data[..16].copy_from_slice(&[
            1, 7, 0, 0x55, 0x01, 0x26, 0x03, 0x2f, 0x01, 0x26, 0x33, 0x0f, 0x03, 0x34, 0, 42,
        ]);
        data[20..28].copy_from_slice(&[0xc1, 0xd3, 0xc9, 0xc3, 0xc5, 0x40, 0x40, 0x40]);
        data[28..32].copy_from_slice(&[0, 1, 0x86, 0xa0]);
        data
    }

    #[test]
    fn statistics_are_read_in_both_lengths() {
        let data = user_data();
        let short = Statistics::read(&data[..30]).unwrap();
        assert_eq!(
            (short.version, short.lines, short.user.as_str()),
            ((1, 7), 42, "ALICE")
        );
        assert_eq!(short.created, Date::new(2026, 2, 1).ok());
        let changed = short.changed.map(|changed| changed.to_string());
        assert_eq!(changed.as_deref(), Some("2026-11-26T03:34:55"));
        assert_eq!(Statistics::read(&data).unwrap().lines, 42);
        let mut long = data;
        long[2] = 0x20;
        assert_eq!(Statistics::read(&long).unwrap().lines, 100_000);
        assert_eq!(Statistics::read(&long[..30]).unwrap().lines, 42);
    }

    #[test]
    fn what_is_no_statistics_is_none() {
        let data = user_data();
        for length in (0..40).filter(|length| *length != 30) {
            assert_eq!(Statistics::read(&data[..length]), None, "{length}");
        }
        assert_eq!(Statistics::read(&[0xff; 30]), None);
        assert_eq!(Statistics::read(&[0; 40]), None);
        let mut odd = data;
        odd[12] = 0x99;
        assert_eq!(Statistics::read(&odd).unwrap().changed, None);
    }

    #[test]
    fn days_are_packed_with_their_century() {
        assert_eq!(packed_day([0x01, 0x26, 0x03, 0x2f]), Date::new(2026, 2, 1).ok());
        assert_eq!(packed_day([0x00, 0x99, 0x36, 0x5f]), Date::new(1999, 12, 31).ok());
        for none in [
            [0x01, 0x26, 0x00, 0x0f],
            [0x01, 0x26, 0x36, 0x6f],
            [0xff; 4],
            [0; 4],
        ] {
            assert_eq!(packed_day(none), None, "{none:?}");
        }
    }
}
