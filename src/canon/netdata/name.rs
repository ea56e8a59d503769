//! Names of files, as INMDSNAM and INMMEMBR write them.
//!
//! A name comes from a stranger: what is shown of it is cut, and everything but printable characters becomes `_`. It is
//! text all the same, never a path: `..` is a name too, and whoever makes a file of it makes it safe first.
//!
//! What it does *not* do: say what is in the file. Sources: z/OS TSO/E Customization, INMDSNAM; what CMS and others send.

use std::fmt;

use super::stamp::WithoutBlanks;
use crate::canon::Page;
use crate::canon::page::Inverse;

/// Characters of a name that are shown.
const SHOWN: usize = 255;
/// What a party is called of which nothing is left that a name may have.
const UNKNOWN: &str = "UNKNOWN";
/// Letters of a qualifier, a member, a file name, a file type, a node or a user.
const PART: usize = 8;
/// Letters of a data set name, dots included.
const DATASET: usize = 44;

/// Whose way of writing a transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// CMS (SENDFILE, NETDATA SEND): file name and file type of up to 8 letters.
    Cms,
    /// TSO (TRANSMIT): data set names of qualifiers of up to 8 letters, 44 in all.
    Tso,
}

/// The name of a file.
///
/// ```
/// use uft::canon::netdata::{Name, Style};
///
/// let name = Name::cms("NOTES", "TEXT")?;
/// assert_eq!((name.style(), name.to_string().as_str()), (Style::Cms, "NOTES.TEXT"));
/// assert_eq!(Name::dataset("ALICE.TEST.TEXT")?.parts(), ["ALICE", "TEST", "TEXT"]);
/// assert_eq!(Name::of_file("a rather long name.txt").to_string(), "A$RATHER.TXT");
/// # Ok::<(), uft::canon::netdata::BadName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    style: Style,
    /// The values of INMDSNAM as sent.
    fields: Vec<Vec<u8>>,
    /// The value of INMFFM.
    mode_number: Option<Vec<u8>>,
    /// The first value of INMMEMBR.
    member: Option<Vec<u8>>,
}

/// A name that the style does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not {what}")]
pub struct BadName {
    name: String,
    what: &'static str,
}

impl Name {
    /// A CMS file, in mode A1.
    ///
    /// # Errors
    /// A part is empty, longer than 8, or has other characters than A-Z 0-9 $ # @ + - : _
    pub fn cms(name: &str, kind: &str) -> Result<Name, BadName> {
        for part in [name, kind] {
            if !is_cms_part(part) {
                return Err(bad(part, "a file name or file type of CMS"));
            }
        }
        Ok(Name {
            style: Style::Cms,
            fields: vec![to_ebcdic("A"), to_ebcdic(name), to_ebcdic(kind)],
            mode_number: Some(to_ebcdic("1")),
            member: None,
        })
    }

    /// A data set, or `DATA.SET(MEMBER)`: one member sent as a sequence of records.
    ///
    /// # Errors
    /// A qualifier is empty, longer than 8, begins with a digit, or has other characters than A-Z 0-9 $ # @ -; or the
    /// whole is longer than 44.
    pub fn dataset(name: &str) -> Result<Name, BadName> {
        let (dataset, member) = match name.strip_suffix(')').and_then(|name| name.split_once('(')) {
            Some((dataset, member)) => (dataset, Some(member)),
            None => (name, None),
        };
        let good = dataset.len() <= DATASET && dataset.split('.').chain(member).all(is_qualifier);
        if !good {
            return Err(bad(name, "the name of a data set"));
        }
        Ok(Name {
            style: Style::Tso,
            fields: dataset.split('.').map(to_ebcdic).collect(),
            mode_number: None,
            member: member.map(to_ebcdic),
        })
    }

    /// The name under which a file of this system is sent: CMS style if it is `name.type` and fits, else a data set
    /// whose qualifiers are what is left of its parts.
    pub fn of_file(file: &str) -> Name {
        let upper = file.to_ascii_uppercase();
        if let Some(name) = upper
            .split_once('.')
            .and_then(|(name, kind)| Name::cms(name, kind).ok())
        {
            return name;
        }
        Name::dataset_of_file(file)
    }

    /// As [`Name::of_file`], but always a data set.
    pub fn dataset_of_file(file: &str) -> Name {
        let qualifiers: Vec<String> = file.split('.').filter_map(qualifier).collect();
        let mut kept: Vec<String> = Vec::new();
        // The last one says what the file is: it stays, and of the others as many as fit.
        if let Some((last, others)) = qualifiers.split_last() {
            let mut room = DATASET - last.len();
            for qualifier in others {
                let Some(left) = room.checked_sub(qualifier.len() + 1) else {
                    break;
                };
                room = left;
                kept.push(qualifier.clone());
            }
            kept.push(last.clone());
        } else {
            kept.push("FILE".into());
        }
        Name {
            style: Style::Tso,
            fields: kept.iter().map(|part| to_ebcdic(part)).collect(),
            mode_number: None,
            member: None,
        }
    }

    /// What came in INMDSNAM, INMFFM and INMMEMBR. `blocks`: the step has a block size, as no CMS file has.
    pub(super) fn received(
        fields: Vec<Vec<u8>>,
        mode_number: Option<Vec<u8>>,
        member: Option<Vec<u8>>,
        blocks: bool,
    ) -> Name {
        let letter_first = fields.len() == 3
            && fields
                .first()
                .is_some_and(|mode| mode.without_blanks().len() == 1);
        let style = match mode_number.is_some() || (letter_first && !blocks) {
            true => Style::Cms,
            false => Style::Tso,
        };
        Name {
            style,
            fields,
            mode_number,
            member,
        }
    }

    /// Whose kind of name it is.
    pub fn style(&self) -> Style {
        self.style
    }

    /// File name and file type, or the qualifiers, as they may be shown; those that are empty left out.
    pub fn parts(&self) -> Vec<String> {
        let skip = usize::from(self.style == Style::Cms);
        let parts = self.fields.iter().skip(skip).map(|field| text(field));
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// File mode of a CMS file: `A1`.
    pub fn mode(&self) -> Option<String> {
        let letter = self.fields.first().filter(|_| self.style == Style::Cms)?;
        let number = self.mode_number.as_deref().unwrap_or_default();
        Some(text(letter) + &text(number))
    }

    /// The member, if the file was one.
    pub fn member(&self) -> Option<String> {
        self.member.as_deref().map(text)
    }

    pub(super) fn fields(&self) -> Vec<&[u8]> {
        self.fields.iter().map(Vec::as_slice).collect()
    }

    pub(super) fn mode_number(&self) -> Option<&[u8]> {
        self.mode_number.as_deref()
    }

    pub(super) fn member_value(&self) -> Option<&[u8]> {
        self.member.as_deref()
    }
}

impl fmt::Display for Name {
    /// `NOTES.TEXT`, `ALICE.LIB.CNTL(RUNIT)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.parts().join(".");
        if let Some(member) = self.member() {
            shown += &format!("({member})");
        }
        shown
            .chars()
            .take(SHOWN)
            .try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.style)
    }
}

/// A user at a node, as far as the sender's word goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Party {
    /// The node, 1 to 8 letters.
    pub node: String,
    /// The user, 1 to 8 letters.
    pub user: String,
}

impl Party {
    /// A party that a transmission can name.
    ///
    /// # Errors
    /// A name is empty, longer than 8, or has other characters than A-Z 0-9 $ # @ - _
    pub fn new(user: &str, node: &str) -> Result<Party, BadName> {
        for name in [user, node] {
            let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "$#@-_".contains(c);
            if name.is_empty() || name.len() > PART || !name.chars().all(good) {
                return Err(bad(name, "a user or node name of 1 to 8 of A-Z 0-9 $ # @ - _"));
            }
        }
        Ok(Party {
            node: node.into(),
            user: user.into(),
        })
    }

    /// The party that stands for a user of a host, in the letters that a transmission has for them: the first label of a
    /// host name is the node, as sites name them; of an address there are only its digits.
    pub fn folded(user: &str, host: &str) -> Party {
        let node = match host.parse::<std::net::IpAddr>() {
            Ok(_) => fold(host.chars().filter(char::is_ascii_alphanumeric)),
            Err(_) => fold(host.split('.').next().unwrap_or_default().chars()),
        };
        Party {
            node,
            user: fold(user.chars()),
        }
    }
}

fn fold(name: impl Iterator<Item = char>) -> String {
    let folded = name.take(PART).map(|c| match c.to_ascii_uppercase() {
        c if c.is_ascii_uppercase() || c.is_ascii_digit() || "$#@-_".contains(c) => c,
        _ => '_',
    });
    match folded.collect::<String>() {
        none if none.is_empty() => UNKNOWN.to_owned(),
        folded => folded,
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.node)
    }
}

fn bad(name: &str, what: &'static str) -> BadName {
    BadName {
        name: name.chars().take(SHOWN).collect(),
        what,
    }
}

fn is_cms_part(part: &str) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "$#@+-:_".contains(c);
    (1..=PART).contains(&part.len()) && part.chars().all(good)
}

fn is_qualifier(part: &str) -> bool {
    let national = |c: char| c.is_ascii_uppercase() || "$#@".contains(c);
    (1..=PART).contains(&part.len())
        && part.starts_with(national)
        && part
            .chars()
            .all(|c| national(c) || c.is_ascii_digit() || c == '-')
}

/// What is left of a part of a file name as a qualifier.
fn qualifier(part: &str) -> Option<String> {
    let mut letters: String = part
        .chars()
        .map(|c| match c.to_ascii_uppercase() {
            c if c.is_ascii_uppercase() || c.is_ascii_digit() || "$#@-".contains(c) => c,
            _ => '$',
        })
        .collect();
    if letters.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        letters.insert(0, '@');
    }
    letters.truncate(PART);
    (!letters.is_empty()).then_some(letters)
}

/// The text of a value that may be shown: blanks around it are padding, what is not printable is `_`.
pub(super) fn text(value: &[u8]) -> String {
    let text: String = value
        .iter()
        .take(SHOWN)
        .map(|&byte| match Page::DEFAULT.char(byte) {
            '/' | '\\' => '_',
            c if c.is_control() || c == '\u{ad}' || c == '\u{a0}' => '_',
            c => c,
        })
        .collect();
    text.trim_matches(' ').into()
}

/// The value of a name, whose characters every page has at the same place.
pub(super) fn to_ebcdic(name: &str) -> Vec<u8> {
    let inverse = Inverse::new(Page::DEFAULT);
    name.chars().filter_map(|c| inverse.byte(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(parts: &[&str]) -> Vec<Vec<u8>> {
        parts.iter().map(|part| to_ebcdic(part)).collect()
    }

    #[test]
    fn cms_puts_the_file_mode_first_and_others_do_not() {
        let cms = Name::received(
            fields(&["A", "NOTES   ", "TEXT"]),
            Some(to_ebcdic("1")),
            None,
            false,
        );
        assert_eq!(
            (cms.to_string().as_str(), cms.mode().as_deref()),
            ("NOTES.TEXT", Some("A1"))
        );
        let huji = Name::received(fields(&["A", "X", ""]), None, None, false);
        assert_eq!((huji.style(), huji.to_string().as_str()), (Style::Cms, "X"));
        let tso = Name::received(fields(&["A", "B", "C"]), None, Some(to_ebcdic("MEM")), true);
        assert_eq!(
            (tso.style(), tso.to_string().as_str()),
            (Style::Tso, "A.B.C(MEM)")
        );
    }

    #[test]
    fn a_hostile_name_is_shown_as_harmless_text() {
        let value = [to_ebcdic("../../etc"), vec![0x00, 0x15, 0x27, 0x61]].concat();
        let name = Name::received(vec![value, vec![0xc1; 9000]], None, None, true);
        let shown = name.to_string();
        assert!(
            shown.starts_with(".._.._etc____.AAA") && shown.chars().count() == 255,
            "{shown}"
        );
    }

    #[test]
    fn a_file_of_this_system_gets_a_name_that_fits() {
        for (file, name, style) in [
            ("notes.txt", "NOTES.TXT", Style::Cms),
            ("README", "README", Style::Tso),
            ("Cargo.lock.bak", "CARGO.LOCK.BAK", Style::Tso),
            ("2026-report.final.pdf", "@2026-RE.FINAL.PDF", Style::Tso),
            ("größe.csv", "GR$$E.CSV", Style::Tso),
            ("..", "FILE", Style::Tso),
            ("", "FILE", Style::Tso),
            (
                "aaaaaaaa.bbbbbbbb.cccccccc.dddddddd.eeeeeeee.ffffffff.txt",
                "AAAAAAAA.BBBBBBBB.CCCCCCCC.DDDDDDDD.TXT",
                Style::Tso,
            ),
        ] {
            let made = Name::of_file(file);
            assert_eq!((made.to_string().as_str(), made.style()), (name, style), "{file}");
            if style == Style::Tso {
                assert_eq!(Name::dataset(name), Ok(made));
            }
        }
    }

    #[test]
    fn parties_are_folded_to_eight_capital_letters() {
        for (user, host, want) in [
            ("alice", "beta.example", "ALICE@BETA"),
            ("postmaster", "a-very-long-host", "POSTMAST@A-VERY-L"),
            ("jürgen.x", "127.0.0.1", "J_RGEN_X@127001"),
            ("", "2001:db8::1", "UNKNOWN@2001DB81"),
            ("", "", "UNKNOWN@UNKNOWN"),
        ] {
            let folded = Party::folded(user, host);
            assert_eq!(folded.to_string(), want);
            assert_eq!(Party::new(&folded.user, &folded.node), Ok(folded));
        }
    }

    #[test]
    fn names_that_the_style_lacks_are_refused() {
        for name in [
            "",
            "A..B",
            "toolong",
            "1A",
            "A.TOOLONGXX",
            "A(B",
            "A(1)",
            "A()",
            "A(B)C",
        ] {
            assert!(Name::dataset(name).is_err(), "{name}");
        }
        assert!(Name::dataset(&["ABCDEFG"; 6].join(".")).is_err());
        assert!(Name::cms("NOTES", "").is_err() && Name::cms("NOTES", "TEXTTEXTX").is_err());
        assert!(Party::new("ALICE", "").is_err() && Party::new("alice", "NODE").is_err());
        assert_eq!(Party::new("ALICE", "NODEA").unwrap().to_string(), "ALICE@NODEA");
    }
}
