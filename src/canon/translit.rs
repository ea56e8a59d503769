//! What may stand for a character that a code page lacks, when the sender allows it (`--translit`).
//!
//! What it does *not* do: accents and scripts. It covers the typography that word processors put into plain text.

/// The characters to write instead; each of them may still be missing in the page.
pub(super) fn translit(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2039}' | '\u{203a}' => "'",
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{ad}' => "-",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => "",
        '\u{2022}' | '·' => "*",
        '\u{2026}' => "...",
        '\u{2044}' => "/",
        '€' => "EUR",
        '™' => "(TM)",
        '©' => "(C)",
        '®' => "(R)",
        '×' => "x",
        '¼' => "1/4",
        '½' => "1/2",
        '¾' => "3/4",
        'Œ' => "OE",
        'œ' => "oe",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        _ => return None,
    })
}
