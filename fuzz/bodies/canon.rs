//! What must hold for any bytes given to `canon`. The first bytes of the data choose type, page and borders.
//!
//! Included by the fuzz targets and by the tests of `canon`, which run the same bodies on a few seeds. Whoever includes
//! it has a `canon` beside it.

use uft_spool::{FileType, TypeSpec};

use super::canon::{Decoder, Encoder, Lines, Misfit, Outcome, Page, Policy, Restorer, TextSniffer};

const CHARSETS: [Option<&str>; 12] = [
    None,
    Some("utf-8"),
    Some("iso-8859-1"),
    Some("utf-16"),
    Some("utf-16be"),
    Some("shift_jis"),
    Some("gb18030"),
    Some("iso-2022-jp"),
    Some("ibm-037"),
    Some("IBM-1026"),
    Some("870"),
    Some("nobody knows"),
];

/// The choices at the beginning of the data.
struct Choices {
    file_type: FileType,
    charset: Option<&'static str>,
    page: Option<Page>,
    policy: Policy,
    record_length: Option<u32>,
    /// Lengths of the pieces, over and over.
    pieces: [usize; 3],
}

impl Choices {
    fn take(data: &[u8]) -> Option<(Choices, &[u8])> {
        let (head, rest) = data.split_first_chunk::<6>()?;
        let [kind, charset, page, options, first, second] = head.map(usize::from);
        let choices = Choices {
            file_type: FileType::ALL[kind % FileType::ALL.len()],
            charset: CHARSETS[charset % CHARSETS.len()],
            page: (page % 2 == 1).then(|| Page::ALL[page / 2 % Page::ALL.len()]),
            policy: Policy::of(options & 1 != 0, options & 2 != 0),
            record_length: (options & 12 != 12).then_some((options / 16) as u32),
            pieces: [1 + first % 16, 1 + second, 1 + first / 16],
        };
        Some((choices, rest))
    }

    fn spec(&self) -> TypeSpec {
        TypeSpec {
            record_length: self.record_length,
            ..TypeSpec::plain(self.file_type)
        }
    }

    fn pieces<'a>(&self, mut rest: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for length in self.pieces.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*length));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        pieces
    }
}

/// Wire form to local form and back.
pub(super) fn decode(data: &[u8]) {
    let Some((choices, wire)) = Choices::take(data) else {
        return;
    };
    let spec = choices.spec();
    let run = |pieces: &[&[u8]]| {
        let (mut decoder, mut local) = (Decoder::new(&spec, choices.charset), Vec::new());
        pieces
            .iter()
            .for_each(|piece| decoder.feed(piece, &mut local).unwrap());
        let outcome = decoder.finish(&mut local).unwrap();
        (local, outcome)
    };
    let whole = run(&[wire]);
    assert_eq!(run(&choices.pieces(wire)), whole, "the borders matter");

    let (local, outcome) = whole;
    assert!(local.len() <= 3 * wire.len() + 3, "the local form grows");
    if !Decoder::new(&spec, choices.charset).converts() {
        assert_eq!(local, wire);
        assert!(outcome.exact);
    }
    if outcome.exact {
        let (mut restorer, mut restored) = (Restorer::new(&spec, choices.charset), Vec::new());
        for piece in choices.pieces(&local) {
            restorer.feed(piece, &mut restored).unwrap();
        }
        restorer.finish(&mut restored).unwrap();
        assert_eq!(restored, wire, "it is not exact");
    } else {
        assert!(
            matches!(choices.file_type, FileType::A | FileType::M),
            "only text may be inexact"
        );
    }
}

/// Local file to wire form, and what the receiver makes of it.
pub(super) fn encode(data: &[u8]) {
    let Some((choices, local)) = Choices::take(data) else {
        return;
    };
    let run = |pieces: &[&[u8]]| -> Result<_, Misfit> {
        let mut encoder = Encoder::new(
            choices.file_type,
            choices.page,
            choices.policy,
            choices.record_length,
        );
        let mut wire = Vec::new();
        for piece in pieces {
            encoder.feed(piece, &mut wire)?;
        }
        let report = encoder.finish(&mut wire)?;
        Ok((wire, report))
    };
    let whole = run(&[local]);
    assert_eq!(run(&choices.pieces(local)), whole, "the borders matter");
    let Ok((wire, report)) = whole else { return };

    let lines = 1 + local.iter().filter(|&&byte| byte == b'\n').count();
    let record = choices.record_length.map_or(8, |length| 8.max(length as usize));
    assert!(
        wire.len() <= 2 * local.len() + lines * record,
        "the wire form grows"
    );
    if report.substituted + report.transliterated > 0 {
        assert!(choices.policy != Policy::Refuse, "changed without being asked");
        return;
    }

    let spec = choices.spec();
    let mut sniffer = TextSniffer::new();
    choices
        .pieces(local)
        .into_iter()
        .for_each(|piece| _ = sniffer.feed(piece));
    let is_text = sniffer.finish();
    assert_eq!(
        is_text,
        std::str::from_utf8(local).is_ok() && !local.contains(&0) && !local.contains(&b'\r'),
        "the sniffer is wrong"
    );
    match choices.file_type {
        FileType::A | FileType::M | FileType::E | FileType::I | FileType::N => {
            let label = choices
                .page
                .filter(|_| choices.file_type == FileType::E)
                .map(|page| page.to_string());
            let (mut decoder, mut back) = (Decoder::new(&spec, label.as_deref()), Vec::new());
            decoder.feed(&wire, &mut back).unwrap();
            let outcome = decoder.finish(&mut back).unwrap();
            assert!(outcome.exact, "what we send can be made again");
            if is_text || !matches!(choices.file_type, FileType::A | FileType::M) {
                assert_eq!(back, local, "the receiver gets another file");
            }
        }
        FileType::V | FileType::W | FileType::X => {
            let Some(page) = choices.page else { return };
            let (mut reader, mut back) = (Lines::new(&spec, None, Some(page)), Vec::new());
            reader.feed(&wire, &mut back).unwrap();
            reader.finish(&mut back).unwrap();
            let mut want = local.to_vec();
            if !local.is_empty() && !local.ends_with(b"\n") {
                want.push(b'\n');
            }
            assert_eq!(back, want, "the receiver gets other lines");
        }
        FileType::F => assert_eq!(wire.len() % choices.record_length.unwrap() as usize, 0),
    }
}

/// Records to lines.
pub(super) fn lines(data: &[u8]) {
    let Some((choices, wire)) = Choices::take(data) else {
        return;
    };
    let spec = choices.spec();
    let run = |pieces: &[&[u8]]| -> Result<(Vec<u8>, Outcome), _> {
        let (mut reader, mut lines) = (Lines::new(&spec, choices.charset, choices.page), Vec::new());
        for piece in pieces {
            reader.feed(piece, &mut lines)?;
            // A record of one byte may be a character of three, and a line end.
            assert!(lines.len() <= 4 * wire.len() + 3, "the lines grow");
        }
        let outcome = reader.finish(&mut lines)?;
        Ok::<_, super::canon::Failure>((lines, outcome))
    };
    let whole = run(&[wire]);
    assert_eq!(run(&choices.pieces(wire)), whole, "the borders matter");
    let (Ok((lines, _)), FileType::V) = (whole, choices.file_type) else {
        return;
    };

    let mut records = 0;
    let mut rest = wire;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        rest = &after[usize::from(u16::from_be_bytes(*length))..];
        records += 1;
    }
    assert_eq!(
        lines.iter().filter(|&&byte| byte == b'\n').count(),
        records,
        "a line a record"
    );
}
