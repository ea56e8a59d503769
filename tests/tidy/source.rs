//! Rust sources as the rules see them: without comments and texts, with and without tests, and the names they use.
//!
//! This is not a parser: it knows comments, literals, `use` trees and `#[cfg(test)]` items, which is what the rules
//! need. What it does *not* see: names that a macro puts together, and modules declared inside other files.

use std::path::Path;

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// The file with comments and the insides of literals blanked; lines are where they were.
    pub(crate) code: String,
    /// `code` with test items blanked too.
    pub(crate) product: String,
    /// Files that are declared as modules of tests here: paths from the root.
    pub(crate) test_modules: Vec<String>,
}

/// A path in the code, such as `std::fs::File`, with its line. Groups are taken apart, `self` and `super` resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) line: usize,
    pub(crate) path: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let code = blank_comments_and_literals(text);
        let (product, declared) = blank_tests(&code);
        let test_modules = declared
            .iter()
            .map(|item| module_file(path, text, &code, *item))
            .collect();
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            product,
            test_modules,
        }
    }

    /// Whether the path begins with one of these (a file by its full path, a directory with `/` at its end).
    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            if place.ends_with('/') {
                self.path.starts_with(place)
            } else {
                self.path == *place
            }
        })
    }

    /// What is only test: the difference of `code` and `product`.
    pub(crate) fn tests(&self) -> String {
        let differs = |(code, product): (char, char)| {
            if code == product && code != '\n' {
                ' '
            } else {
                code
            }
        };
        self.code.chars().zip(self.product.chars()).map(differs).collect()
    }

    /// The names in a view of this file.
    pub(crate) fn names(&self, view: &str) -> Vec<Name> {
        let here = module_of(&self.path);
        let mut names = names(view);
        for name in &mut names {
            name.path = resolve(&here, &name.path);
        }
        names
    }

    /// The first module below the crate root that this file belongs to: `server` for `src/server/conn.rs`.
    pub(crate) fn module(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let first = inner.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(out: &mut [char], range: std::ops::Range<usize>) {
    let end = range.end.min(out.len());
    for c in &mut out[range.start.min(end)..end] {
        if *c != '\n' {
            *c = ' ';
        }
    }
}

/// Comments go whole, literals keep their quotes.
fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = chars.clone();
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        match (at(i), at(i + 1)) {
            ('/', '/') => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
                blank(&mut out, start..i);
            }
            ('/', '*') => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
                blank(&mut out, start..i);
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                blank(&mut out, start + 1..i);
                i += 1;
            }
            ('r', '"' | '#') if is_raw_text(&chars, i) => {
                let hashes = (i + 1..chars.len()).take_while(|&n| at(n) == '#').count();
                i += hashes + 2;
                while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#')) {
                    i += 1;
                }
                blank(&mut out, start + hashes + 2..i);
                i += hashes + 1;
            }
            ('\'', '\\') => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                blank(&mut out, start + 1..i);
                i += 1;
            }
            ('\'', _) if at(i + 2) == '\'' => {
                blank(&mut out, start + 1..start + 2);
                i += 3;
            }
            _ => i += 1,
        }
    }
    out.into_iter().collect()
}

/// Whether the `r` at `i` begins a raw text (and not a raw identifier, nor the end of a word).
fn is_raw_text(chars: &[char], i: usize) -> bool {
    let prefix = i.checked_sub(1).map(|n| chars[n]);
    let word = match prefix {
        Some('b' | 'c') => i.checked_sub(2).is_some_and(|n| is_word(chars[n])),
        Some(c) => is_word(c),
        None => false,
    };
    !word && chars.iter().skip(i + 1).find(|&&c| c != '#') == Some(&'"')
}

/// Blanks every `#[cfg(test)]` item; also the extents of those that are `mod name;`.
fn blank_tests(code: &str) -> (String, Vec<(usize, usize)>) {
    const MARK: &str = "#[cfg(test)]";
    let chars: Vec<char> = code.chars().collect();
    let mark: Vec<char> = MARK.chars().collect();
    let mut out = chars.clone();
    let mut declared = Vec::new();
    let mut i = 0;
    while i + mark.len() <= chars.len() {
        if !chars[i..].starts_with(&mark) {
            i += 1;
            continue;
        }
        let (mut end, mut depth, mut braces) = (i + mark.len(), 0_i32, false);
        while end < chars.len() {
            match chars[end] {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth -= 1,
                _ => {}
            }
            braces |= chars[end] == '{';
            end += 1;
            // An item ends with its block or its semicolon; an attribute of its own ends with neither.
            if depth == 0 && (chars[end - 1] == '}' || chars[end - 1] == ';') {
                break;
            }
        }
        if !braces && chars[i..end].iter().collect::<String>().contains("mod ") {
            declared.push((i, end));
        }
        blank(&mut out, i..end);
        i = end;
    }
    (out.into_iter().collect(), declared)
}

/// The file of a `#[cfg(test)] mod name;`, heeding a `#[path = ".."]` between the two.
fn module_file(path: &str, text: &str, code: &str, (start, end): (usize, usize)) -> String {
    let item: String = text.chars().skip(start).take(end - start).collect();
    let bare: String = code.chars().skip(start).take(end - start).collect();
    let dir = Path::new(path).parent().unwrap_or(Path::new(""));
    let file = if let Some(named) = item
        .split("#[path = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
    {
        dir.join(named)
    } else {
        let name: String = bare
            .split("mod ")
            .nth(1)
            .unwrap_or("")
            .chars()
            .take_while(|&c| is_word(c))
            .collect();
        let stem = Path::new(path)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        let dir = if ["mod", "lib", "main"].contains(&stem) {
            dir.to_owned()
        } else {
            dir.join(stem)
        };
        dir.join(format!("{name}.rs"))
    };
    file.to_string_lossy().into_owned()
}

/// Words that a path may follow and that are none of it.
const KEYWORDS: [&str; 12] = [
    "use", "pub", "as", "in", "return", "break", "dyn", "impl", "else", "mut", "move", "match",
];

fn names(code: &str) -> Vec<Name> {
    let tokens = tokens(code);
    let mut names = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let word = &tokens[i].1;
        let begins = word.starts_with(is_word) && !KEYWORDS.contains(&word.as_str());
        i = if begins {
            tree(&tokens, i, "", &mut names)
        } else {
            i + 1
        };
    }
    names
}

/// Words, `::`, and every other character by itself, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = code.chars().collect();
    let mut tokens = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        if is_word(chars[i]) {
            while i < chars.len() && is_word(chars[i]) {
                i += 1;
            }
        } else if chars[i] == ':' && chars.get(i + 1) == Some(&':') {
            i += 2;
        } else {
            i += 1;
        }
        if chars[start] == '\n' {
            line += 1;
        } else if !chars[start].is_whitespace() {
            tokens.push((line, chars[start..i].iter().collect()));
        }
    }
    tokens
}

/// Reads a path or a group at `i`, below `prefix`; the index after it.
fn tree(tokens: &[(usize, String)], mut i: usize, prefix: &str, names: &mut Vec<Name>) -> usize {
    let at = |i: usize| tokens.get(i).map_or("", |(_, token)| token.as_str());
    if at(i) == "{" {
        i += 1;
        while i < tokens.len() && at(i) != "}" {
            let word = at(i) == "*" || at(i).starts_with(is_word);
            i = if at(i) == "as" {
                i + 2
            } else if word {
                tree(tokens, i, prefix, names)
            } else {
                i + 1
            };
        }
        return i + 1;
    }
    let line = tokens.get(i).map_or(0, |(line, _)| *line);
    let path = match (prefix, at(i)) {
        ("", word) => word.to_owned(),
        (prefix, "self") => prefix.to_owned(),
        (prefix, word) => format!("{prefix}::{word}"),
    };
    if at(i + 1) == "::" && (at(i + 2) == "{" || at(i + 2) == "*" || at(i + 2).starts_with(is_word)) {
        return tree(tokens, i + 2, &path, names);
    }
    names.push(Name { line, path });
    i + 1
}

/// The module of a file: `crate::server::conn`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.split_once("src/").map_or(path, |(_, inner)| inner);
    let mut parts: Vec<String> = inner
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts.insert(0, "crate".to_owned());
    parts
}

fn resolve(here: &[String], path: &str) -> String {
    let mut words = path.split("::").peekable();
    let mut base = match words.peek() {
        Some(&("self" | "super")) => here.to_vec(),
        // The programs name the library by its name.
        Some(&"uft") => {
            words.next();
            vec!["crate".to_owned()]
        }
        _ => Vec::new(),
    };
    for word in words {
        match word {
            "self" => {}
            "super" => {
                base.pop();
            }
            word => base.push(word.to_owned()),
        }
    }
    base.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        let source = Source::new(path, text);
        source
            .names(&source.product)
            .into_iter()
            .map(|name| name.path)
            .filter(|path| path.contains("::"))
            .collect()
    }

    #[test]
    fn groups_aliases_and_relative_paths_are_taken_apart() {
        let text = "use std::{fs::{self, File}, io as other, net::*};\nuse super::{caps, users::Directory};";
        let want = [
            "std::fs",
            "std::fs::File",
            "std::io",
            "std::net::*",
            "crate::server::caps",
            "crate::server::users::Directory",
        ];
        assert_eq!(paths("src/server/conn.rs", text), want);
        assert_eq!(
            paths("src/bin/uft.rs", "use ::uft::cli; Vec::<u8>::new()"),
            ["crate::cli"]
        );
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = concat!(
            "// std::fs\n/* std::fs /* nested */ std::fs */ fn a<'a>() { let b = \"std::fs \\\" std::fs\";\n",
            "let c = br#\"std::fs \" std::fs\"#; let d = '\"'; let e = '\\''; real::name() }"
        );
        assert_eq!(paths("src/a.rs", text), ["real::name"]);
        assert_eq!(
            Source::new("src/a.rs", text).code.lines().count(),
            text.lines().count()
        );
    }

    #[test]
    fn test_items_are_not_product_and_their_files_are_known() {
        let text = "a::b();\n#[cfg(test)]\n#[path = \"conn_tests.rs\"]\nmod tests;\nc::d();\n#[cfg(test)]\nmod more { e::f(); }\ng::h();\n#[cfg(test)]\nmod own;";
        let source = Source::new("src/server/conn.rs", text);
        assert_eq!(paths("src/server/conn.rs", text), ["a::b", "c::d", "g::h"]);
        assert_eq!(
            source.test_modules,
            ["src/server/conn_tests.rs", "src/server/conn/own.rs"]
        );
        assert!(source.tests().contains("e::f") && !source.tests().contains("g::h"));
        let names = source.names(&source.product);
        assert!(
            names.contains(&Name {
                line: 8,
                path: "g::h".into()
            }),
            "{names:?}"
        );
    }
}
