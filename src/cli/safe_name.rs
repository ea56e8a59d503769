//! The file name under which `uft receive` stores a file: a harmless form of the name that the sender gave.
//!
//! It is never a refusal: every text gives a name that is one path component, cannot be an option, a hidden file, or a
//! name that a shell, an editor or another system takes for something else, and fits a directory entry.
//! What it does *not* do: look at the directory (`receive::place` does, and never writes over what is there).

use crate::display::hidden;

/// Longest name of a directory entry, in bytes (NAME_MAX of every file system in use here).
const NAME_MAX: usize = 255;

/// The safe form of `sent`; `fallback` when nothing is left of it.
pub(crate) fn safe_name(sent: &str, fallback: &str) -> String {
    // Both separators count, whatever system the sender is on: `..\..\x` is a path to somebody.
    let last = sent.rsplit(['/', '\\']).find(|part| !part.trim().is_empty());
    let Some(last) = last else {
        return fallback.to_owned();
    };
    let visible: String = last.chars().map(|c| if hidden(c) { '_' } else { c }).collect();
    let body = visible.trim_start_matches(['-', '.']);
    let mut name = "_".repeat(visible.len() - body.len());
    name.push_str(body);
    if reserved_by_its_start(&name) {
        name.insert(0, '_');
    }
    // An editor's backup is known by its end.
    if name.ends_with('~') {
        name.push('_');
    }
    cut(&name, NAME_MAX).to_owned()
}

/// The `n`th name to try when `name` is taken: `name`, `name.1`, `name.2`, cut so that the number always fits.
pub(crate) fn numbered(name: &str, n: u32) -> String {
    if n == 0 {
        return name.to_owned();
    }
    let suffix = format!(".{n}");
    format!("{}{suffix}", cut(name, NAME_MAX - suffix.len()))
}

/// The longest prefix of at most `most` bytes that ends between two characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// `~user` of shells, `#auto#` of Emacs, the start-up files that editors read with `_` for `.`, and the devices
/// that other systems find in every directory, with any extension.
fn reserved_by_its_start(name: &str) -> bool {
    const START_UP: [&str; 5] = ["_vimrc", "_gvimrc", "_exrc", "_viminfo", "_netrc"];
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    if name.starts_with(['~', '#']) {
        return true;
    }
    let lower = name.to_lowercase();
    let stem = lower.split(['.', ':']).next().unwrap_or_default().trim_end();
    let numbered_device = ["com", "lpt"].iter().any(|kind| {
        stem.strip_prefix(kind).is_some_and(|n| {
            let mut digits = n.chars();
            matches!(
                (digits.next(), digits.next()),
                (Some('0'..='9' | '¹' | '²' | '³'), None)
            )
        })
    });
    START_UP.contains(&lower.as_str()) || DEVICES.contains(&stem) || numbered_device
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(sent: &str) -> String {
        safe_name(sent, "uft-7")
    }

    #[test]
    fn only_the_last_component_counts() {
        for (sent, want) in [
            ("report.txt", "report.txt"),
            ("/etc/passwd", "passwd"),
            ("../../etc/shadow", "shadow"),
            ("..\\..\\win.ini", "win.ini"),
            ("C:\\dir/x", "x"),
            ("dir/", "dir"),
            ("a/../", "__"),
            ("with blank and ä.txt", "with blank and ä.txt"),
        ] {
            assert_eq!(safe(sent), want, "{sent:?}");
        }
    }

    #[test]
    fn what_hides_or_misleads_becomes_an_underscore() {
        for (sent, want) in [
            ("-rf", "_rf"),
            ("--help", "__help"),
            (".bashrc", "_bashrc"),
            ("..", "__"),
            (".", "_"),
            ("-", "_"),
            ("a\u{1b}[2Jb", "a_[2Jb"),
            ("a\nb\0c", "a_b_c"),
            ("invoice\u{202e}txt.exe", "invoice_txt.exe"),
            ("\u{feff}-x", "_-x"),
            ("a\u{200b}b", "a_b"),
            ("\u{9b}x", "_x"),
        ] {
            assert_eq!(safe(sent), want, "{sent:?}");
        }
    }

    #[test]
    fn names_that_mean_something_to_a_program_get_an_underscore() {
        for (sent, want) in [
            ("~", "_~_"),
            ("~root", "_~root"),
            ("notes.txt~", "notes.txt~_"),
            ("#notes#", "_#notes#"),
            (".vimrc", "__vimrc"),
            ("_exrc", "__exrc"),
            ("CON", "_CON"),
            ("nul.txt", "_nul.txt"),
            ("aux .c", "_aux .c"),
            ("com1", "_com1"),
            ("LPT9.tar.gz", "_LPT9.tar.gz"),
            ("nul:x", "_nul:x"),
            ("com10", "com10"),
            ("console", "console"),
            ("auxiliary", "auxiliary"),
        ] {
            assert_eq!(safe(sent), want, "{sent:?}");
        }
    }

    #[test]
    fn a_file_without_a_usable_name_gets_its_number() {
        for sent in ["", "/", "///", "\\", "  ", "/ /"] {
            assert_eq!(safe(sent), "uft-7", "{sent:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_with_room_for_a_number() {
        assert_eq!(safe(&"x".repeat(300)).len(), 255);
        let name = safe(&"ä".repeat(200));
        assert_eq!(name.len(), 254);
        assert_eq!(numbered(&name, 0), name);
        let second = numbered(&name, 12);
        assert!(
            second.ends_with("ä.12") && second.len() <= 255,
            "{}",
            second.len()
        );
        assert_eq!(safe(&"漢".repeat(100)).len(), 255);
    }

    proptest! {
        #[test]
        fn every_text_gives_one_harmless_component(sent in any::<String>(), n in 0u32..1000) {
            for name in [safe(&sent), numbered(&safe(&sent), n)] {
                prop_assert!((1..=255).contains(&name.len()));
                prop_assert!(!name.starts_with(['.', '-', '~']));
                prop_assert!(!name.contains(['/', '\\', '\0']));
                prop_assert!(!name.chars().any(hidden));
            }
        }
    }
}
