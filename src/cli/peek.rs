//! `uft peek`: the beginning of an item, harmless on any terminal.
//!
//! Text is shown line by line through the display filter; what is not text is said to be binary and shown as a dump.
//! Of NETDATA the files inside are shown, of a library the names of its members.
//! What it does *not* do: read the whole item, or check its digest (`uft receive` does both).

use uft_spool::SpoolId;

use super::console::Console;
use super::contents::{is_netdata, opening, page_of};
use super::daemon::Daemon;
use super::exit::Failure;
use super::form::{Source, View};
use super::{item, units};
use crate::canon::{Handling, handling};
use crate::display::{shown, shown_bytes};

/// Bytes that are looked at, at most.
const LOOK: usize = 64 * 1024;
/// Characters of a line that are shown.
const WIDTH: usize = 200;
/// Bytes of a dump.
const DUMP: usize = 256;

/// Shows the first `lines` lines of an item.
pub(crate) fn peek(console: Console, daemon: &Daemon, id: SpoolId, lines: usize) -> Result<(), Failure> {
    let item = daemon.item(id)?;
    if let Some(receipt) = &item.envelope.facts.receipt {
        return console.line(&item::receipt(receipt));
    }
    let view = match handling(item.envelope.facts.stored_as) {
        Handling::Records(_) => View::Text(None),
        _ => View::Local,
    };
    let mut head = Vec::new();
    let total = item.envelope.local.bytes;
    let source = Source::open(daemon, id, view)?;
    match source.head(LOOK, &mut head) {
        Ok(()) => {}
        // Records that are not: the bytes themselves then.
        Err(_) if view != View::Local => {
            head.clear();
            Source::open(daemon, id, View::Local)?.head(LOOK, &mut head)?;
        }
        Err(failure) => return Err(failure),
    }
    if let Some(files) = is_netdata(&item)
        .then(|| opening(&head, page_of(&item)))
        .flatten()
    {
        sections(console, &files, lines)?;
        let cut = head.len() == LOOK && total > LOOK as u64;
        if cut || files.iter().any(|(_, head)| more(head, lines, 0)) {
            console.note(&format!("item {id}: there is more of its {}", units::size(total)));
        }
        return Ok(());
    }
    for line in body(&head, lines) {
        console.line(&line)?;
    }
    if !binary(&head) && more(&head, lines, total) {
        console.note(&format!("item {id}: there is more of its {}", units::size(total)));
    }
    Ok(())
}

/// The beginning of each file of a transmission, as far as it is in what was read.
fn sections(console: Console, files: &[(String, Vec<u8>)], lines: usize) -> Result<(), Failure> {
    for (title, head) in files {
        if files.len() > 1 {
            console.line(&format!("{}:", shown(title)))?;
        }
        for line in body(head, lines) {
            console.line(&line)?;
        }
    }
    Ok(())
}

fn body(head: &[u8], lines: usize) -> Vec<String> {
    if binary(head) {
        let mut out = vec![format!("binary; the first {} bytes:", head.len().min(DUMP))];
        out.extend(
            head.chunks(16)
                .take(DUMP / 16)
                .enumerate()
                .map(|(row, bytes)| dump(row * 16, bytes)),
        );
        return out;
    }
    head.split_inclusive(|&b| b == b'\n')
        .take(lines)
        .map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let mut text = shown_bytes(line);
            if let Some((end, _)) = text.char_indices().nth(WIDTH) {
                text.truncate(end);
                text.push_str("...");
            }
            text
        })
        .collect()
}

/// Whether the item goes on after the lines that are shown.
fn more(head: &[u8], lines: usize, total: u64) -> bool {
    head.split_inclusive(|&b| b == b'\n').nth(lines).is_some() || head.len() == LOOK && total > LOOK as u64
}

/// Not text: a NUL, or more than a tenth of it control characters or not UTF-8 (the cut end apart).
fn binary(head: &[u8]) -> bool {
    let mut odd = 0;
    for chunk in head.utf8_chunks() {
        let controls = chunk
            .valid()
            .chars()
            .filter(|c| c.is_control() && !c.is_whitespace() && *c != '\u{1b}');
        odd += controls.count() + chunk.invalid().len();
    }
    head.contains(&0) || odd > 3 + head.len() / 10
}

/// `00000010  48 65 6c 6c 6f ...  |Hello|`
fn dump(offset: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let text: String = bytes
        .iter()
        .map(|&b| {
            if matches!(b, 0x20..=0x7e) {
                char::from(b)
            } else {
                '.'
            }
        })
        .collect();
    format!("{offset:08x}  {:<47}  |{text}|", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_by_lines_and_cannot_move_the_cursor() {
        let shown = body(b"one\ntwo \x1b[2J\nthree\n", 2);
        assert_eq!(shown, ["one", "two \\x1b[2J"]);
        assert!(more(b"one\ntwo\nthree\n", 2, 14) && !more(b"one\ntwo\n", 2, 8));
        assert_eq!(body(b"one\ntwo", 2), ["one", "two"]);
        assert_eq!(body(b"", 2), [""; 0]);
        assert!(body("ä".repeat(300).as_bytes(), 1)[0].ends_with("ä..."));
    }

    #[test]
    fn what_is_not_text_is_dumped() {
        let shown = body(b"\x7fELF\0\x01 binary file", 10);
        assert_eq!(shown[0], "binary; the first 18 bytes:");
        assert_eq!(
            shown[1],
            "00000000  7f 45 4c 46 00 01 20 62 69 6e 61 72 79 20 66 69  |.ELF.. binary fi|"
        );
        assert_eq!(shown[2], format!("00000010  6c 65{}  |le|", " ".repeat(42)));
    }
}
