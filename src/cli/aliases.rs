//! The user's own names for recipients: `~/.config/uft/aliases.toml`, one `name = "recipient"` or list of them a line.
//!
//! What it does *not* do: touch the daemon's aliases, which are the administrator's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::address::{Recipient, quoted};
use super::exit::{Exit, Failure, reason};

/// What an alias stands for.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Target {
    One(String),
    Many(Vec<String>),
}

/// The alias file, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aliases {
    names: BTreeMap<String, Target>,
    path: PathBuf,
}

impl Aliases {
    /// Reads the file; one that is not there has no aliases in it.
    pub(crate) fn load() -> Result<Aliases, Failure> {
        let Some(path) = path() else {
            return Ok(Aliases::default());
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Aliases::parse(&text, &path),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Aliases::default())
            }
            Err(e) => Err(Failure::new(
                Exit::NoInput,
                format!("cannot read {}: {}", path.display(), reason(&e)),
            )),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Aliases, Failure> {
        let names = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |span| {
                text.bytes().take(span.start).filter(|&b| b == b'\n').count()
            });
            Failure::usage(format!("{} line {}: {}", path.display(), line + 1, e.message()))
                .hint("each line is: name = \"user@host\", or name = [\"user@host\", \"other\"]")
        })?;
        Ok(Aliases {
            names,
            path: path.to_owned(),
        })
    }

    /// The recipients that the words of a command line stand for, each once, in order.
    pub(crate) fn recipients(&self, words: &[String]) -> Result<Vec<Recipient>, Failure> {
        let mut found = Vec::new();
        for word in words {
            self.expand(word, &mut Vec::new(), &mut found)?;
        }
        Ok(found)
    }

    fn expand(
        &self,
        word: &str,
        inside: &mut Vec<String>,
        found: &mut Vec<Recipient>,
    ) -> Result<(), Failure> {
        let Some(target) = self.names.get(word) else {
            let recipient = Recipient::parse(word)?;
            if !found.contains(&recipient) {
                found.push(recipient);
            }
            return Ok(());
        };
        if inside.iter().any(|name| name == word) {
            let chain = inside.join(" -> ");
            return Err(Failure::usage(format!(
                "alias {} leads back to itself: {} -> {}",
                quoted(word),
                crate::display::shown(&chain),
                crate::display::shown(word)
            ))
            .hint(format!("correct it in {}", self.path.display())));
        }
        inside.push(word.to_owned());
        let words = match target {
            Target::One(word) => std::slice::from_ref(word),
            Target::Many(words) => words,
        };
        for word in words {
            self.expand(word, inside, found)?;
        }
        inside.pop();
        Ok(())
    }
}

fn path() -> Option<PathBuf> {
    own_file("aliases.toml")
}

/// `$XDG_CONFIG_HOME/uft/NAME`, else `~/.config/uft/NAME`. A relative XDG path counts as none.
pub(crate) fn own_file(name: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(base.join("uft").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(file: &str, word: &str) -> Result<Vec<String>, String> {
        let aliases = Aliases::parse(file, Path::new("aliases.toml")).map_err(|e| e.text)?;
        aliases
            .recipients(&[word.to_owned()])
            .map(|all| all.iter().map(ToString::to_string).collect())
            .map_err(|e| e.text)
    }

    #[test]
    fn an_alias_stands_for_one_recipient_or_a_list_and_lists_nest() {
        let file = "bob = 'bob@beta.example'\nteam = ['bob', 'alice', 'bob@beta.example']\n";
        assert_eq!(expand(file, "bob").unwrap(), ["bob@beta.example"]);
        assert_eq!(expand(file, "team").unwrap(), ["bob@beta.example", "alice"]);
        assert_eq!(expand(file, "carol").unwrap(), ["carol"]);
    }

    #[test]
    fn an_alias_that_leads_back_to_itself_is_an_error_that_shows_the_way() {
        let error = expand("a = 'b'\nb = ['x@y', 'a']\n", "a").unwrap_err();
        assert_eq!(error, "alias \"a\" leads back to itself: a -> b -> a");
    }

    #[test]
    fn a_file_that_is_wrong_names_the_line() {
        let error = expand("a = 'b'\nb = 3\n", "a").unwrap_err();
        assert!(error.starts_with("aliases.toml line 2: "), "{error}");
    }
}
