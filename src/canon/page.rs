//! The EBCDIC code pages: their names, and the lookups both ways that the converter runs on.
//!
//! Every page is a bijection between 256 bytes and 256 characters (a test says so), hence every byte string is text
//! and comes back byte for byte. Line ends are those of z/OS UNIX: 15 is U+000A and 25 is U+0085; glibc and Python
//! have the two the other way round and agree otherwise, except for the few bytes listed in `tests/tables.rs`.
//!
//! What it does *not* hold: the converters (`ebcdic.rs`), and the mixed single and double byte pages (930, 939 ...).

use std::fmt;

use super::pages;

/// An EBCDIC code page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Page {
    /// Latin 1, open systems: what z/OS UNIX and the UFT servers on VM and POSIX use.
    #[default]
    Ibm1047,
    /// USA, Canada.
    Ibm037,
    /// Germany, Austria.
    Ibm273,
    /// Denmark, Norway.
    Ibm277,
    /// Finland, Sweden.
    Ibm278,
    /// Italy.
    Ibm280,
    /// Spain, Latin America.
    Ibm284,
    /// United Kingdom.
    Ibm285,
    /// France.
    Ibm297,
    /// International.
    Ibm500,
    /// Latin 2.
    Ibm870,
    /// Iceland.
    Ibm871,
    /// Turkey.
    Ibm1026,
    /// 037 with the euro sign.
    Ibm1140,
    /// 273 with the euro sign.
    Ibm1141,
    /// 277 with the euro sign.
    Ibm1142,
    /// 278 with the euro sign.
    Ibm1143,
    /// 280 with the euro sign.
    Ibm1144,
    /// 284 with the euro sign.
    Ibm1145,
    /// 285 with the euro sign.
    Ibm1146,
    /// 297 with the euro sign.
    Ibm1147,
    /// 500 with the euro sign.
    Ibm1148,
    /// 871 with the euro sign.
    Ibm1149,
}

impl Page {
    /// The page of an item that names none.
    pub const DEFAULT: Page = Page::Ibm1047;

    /// Every page once.
    pub const ALL: [Page; 23] = [
        Page::Ibm1047,
        Page::Ibm037,
        Page::Ibm273,
        Page::Ibm277,
        Page::Ibm278,
        Page::Ibm280,
        Page::Ibm284,
        Page::Ibm285,
        Page::Ibm297,
        Page::Ibm500,
        Page::Ibm870,
        Page::Ibm871,
        Page::Ibm1026,
        Page::Ibm1140,
        Page::Ibm1141,
        Page::Ibm1142,
        Page::Ibm1143,
        Page::Ibm1144,
        Page::Ibm1145,
        Page::Ibm1146,
        Page::Ibm1147,
        Page::Ibm1148,
        Page::Ibm1149,
    ];

    /// The page that a label names: `IBM-1047`, `ibm1047`, `cp037`, `CCSID01140`, `x-IBM500` or the bare number.
    pub fn parse(label: &str) -> Option<Page> {
        let label = label.trim();
        if label.len() > 32 {
            return None;
        }
        let plain: String = label
            .chars()
            .filter(|c| !matches!(c, '-' | '_' | ' '))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        let number = ["xibm", "csibm", "ibm", "cp", "ccsid"]
            .into_iter()
            .find_map(|prefix| plain.strip_prefix(prefix))
            .unwrap_or(&plain);
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number: u16 = number.parse().ok()?;
        Page::ALL.into_iter().find(|page| page.number() == number)
    }

    /// The number of the page in IBM's registry (CCSID).
    pub const fn number(self) -> u16 {
        match self {
            Page::Ibm1047 => 1047,
            Page::Ibm037 => 37,
            Page::Ibm273 => 273,
            Page::Ibm277 => 277,
            Page::Ibm278 => 278,
            Page::Ibm280 => 280,
            Page::Ibm284 => 284,
            Page::Ibm285 => 285,
            Page::Ibm297 => 297,
            Page::Ibm500 => 500,
            Page::Ibm870 => 870,
            Page::Ibm871 => 871,
            Page::Ibm1026 => 1026,
            Page::Ibm1140 => 1140,
            Page::Ibm1141 => 1141,
            Page::Ibm1142 => 1142,
            Page::Ibm1143 => 1143,
            Page::Ibm1144 => 1144,
            Page::Ibm1145 => 1145,
            Page::Ibm1146 => 1146,
            Page::Ibm1147 => 1147,
            Page::Ibm1148 => 1148,
            Page::Ibm1149 => 1149,
        }
    }

    /// The character of a byte. 15 is the line end U+000A, 25 is U+0085.
    pub fn char(self, byte: u8) -> char {
        let code = at(self.table(), byte);
        char::from_u32(u32::from(code)).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// The code point of every byte.
    pub(super) fn table(self) -> &'static [u16; 256] {
        match self {
            Page::Ibm1047 => &pages::IBM_1047,
            Page::Ibm037 => &pages::IBM_037,
            Page::Ibm273 => &pages::IBM_273,
            Page::Ibm277 => &pages::IBM_277,
            Page::Ibm278 => &pages::IBM_278,
            Page::Ibm280 => &pages::IBM_280,
            Page::Ibm284 => &pages::IBM_284,
            Page::Ibm285 => &pages::IBM_285,
            Page::Ibm297 => &pages::IBM_297,
            Page::Ibm500 => &pages::IBM_500,
            Page::Ibm870 => &pages::IBM_870,
            Page::Ibm871 => &pages::IBM_871,
            Page::Ibm1026 => &pages::IBM_1026,
            Page::Ibm1140 => &pages::IBM_1140,
            Page::Ibm1141 => &pages::IBM_1141,
            Page::Ibm1142 => &pages::IBM_1142,
            Page::Ibm1143 => &pages::IBM_1143,
            Page::Ibm1144 => &pages::IBM_1144,
            Page::Ibm1145 => &pages::IBM_1145,
            Page::Ibm1146 => &pages::IBM_1146,
            Page::Ibm1147 => &pages::IBM_1147,
            Page::Ibm1148 => &pages::IBM_1148,
            Page::Ibm1149 => &pages::IBM_1149,
        }
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IBM-{:03}", self.number())
    }
}

/// An entry of a table that has one for every byte: no bound is checked, and none is needed.
#[inline(always)]
pub(super) fn at<T: Copy + Default>(table: &[T; 256], byte: u8) -> T {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The bytes of the characters of a page.
#[derive(Debug)]
pub(super) struct Inverse {
    table: &'static [u16; 256],
    /// The bytes of U+0000 to U+00FF; the entry of a character that the page lacks is any byte.
    low: [u8; 256],
    /// The characters above U+00FF, ascending.
    wide: Vec<(u16, u8)>,
}

impl Inverse {
    pub(super) fn new(page: Page) -> Inverse {
        let table = page.table();
        let mut low = [0; 256];
        let mut wide = Vec::new();
        for (byte, &code) in (0..=u8::MAX).zip(table) {
            match low.get_mut(usize::from(code)) {
                Some(slot) => *slot = byte,
                None => wide.push((code, byte)),
            }
        }
        wide.sort_unstable();
        Inverse { table, low, wide }
    }

    /// The byte of an ASCII character, which every page has.
    #[inline(always)]
    pub(super) fn ascii(&self, byte: u8) -> u8 {
        at(&self.low, byte)
    }

    /// The byte of a character below U+0100, if the page has it.
    #[inline(always)]
    pub(super) fn latin(&self, code: u8) -> Option<u8> {
        let byte = at(&self.low, code);
        (at(self.table, byte) == u16::from(code)).then_some(byte)
    }

    /// The byte of a character, if the page has it.
    pub(super) fn byte(&self, c: char) -> Option<u8> {
        let code = u16::try_from(u32::from(c)).ok()?;
        let byte = match u8::try_from(code) {
            Ok(low) => at(&self.low, low),
            Err(_) => {
                let slot = self.wide.binary_search_by_key(&code, |entry| entry.0).ok()?;
                self.wide.get(slot)?.1
            }
        };
        (at(self.table, byte) == code).then_some(byte)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_page_is_a_bijection_with_all_of_ascii() {
        for page in Page::ALL {
            let chars: BTreeSet<u16> = page.table().iter().copied().collect();
            assert_eq!(chars.len(), 256, "{page}");
            assert!((0..128).all(|ascii| chars.contains(&ascii)), "{page}");
        }
    }

    #[test]
    fn line_ends_are_those_of_zos_unix_in_every_page() {
        for page in Page::ALL {
            assert_eq!(
                (page.char(0x15), page.char(0x25), page.char(0x0d)),
                ('\n', '\u{85}', '\r'),
                "{page}"
            );
            assert_eq!(page.char(0x3f), '\u{1a}', "{page}");
        }
    }

    #[test]
    fn the_inverse_gives_back_every_byte_and_nothing_else() {
        for page in Page::ALL {
            let inverse = Inverse::new(page);
            for byte in 0..=u8::MAX {
                assert_eq!(inverse.byte(page.char(byte)), Some(byte), "{page}");
            }
            assert_eq!(
                (0..=u32::from(char::MAX))
                    .filter_map(char::from_u32)
                    .filter_map(|c| inverse.byte(c))
                    .count(),
                256
            );
        }
    }

    #[test]
    fn labels_name_pages_as_the_field_writes_them() {
        for page in Page::ALL {
            assert_eq!(Page::parse(&page.to_string()), Some(page));
        }
        for label in [
            "IBM-1047",
            "ibm1047",
            "cp1047",
            "1047",
            "CCSID01047",
            " x-IBM1047 ",
            "IBM_1047",
            "csIBM1047",
        ] {
            assert_eq!(Page::parse(label), Some(Page::DEFAULT), "{label}");
        }
        assert_eq!(Page::parse("037"), Some(Page::Ibm037));
        assert_eq!(Page::parse("IBM01140"), Some(Page::Ibm1140));
        for label in [
            "",
            "ibm",
            "IBM-850",
            "cp1252",
            "utf-8",
            "iso-8859-1",
            "99999999",
            "-1047.",
            "１０４７",
        ] {
            assert_eq!(Page::parse(label), None, "{label}");
        }
    }

    #[test]
    fn the_six_bytes_in_which_037_and_1047_differ() {
        let differing: Vec<u8> = (0..=u8::MAX)
            .filter(|&b| Page::Ibm037.char(b) != Page::Ibm1047.char(b))
            .collect();
        assert_eq!(differing, [0x5f, 0xad, 0xb0, 0xba, 0xbb, 0xbd]);
        assert_eq!(
            (
                Page::Ibm1047.char(0xad),
                Page::Ibm1047.char(0xbd),
                Page::Ibm1047.char(0x5f)
            ),
            ('[', ']', '^')
        );
    }
}
