//! The command line as data: each case of `tests/cli/*.toml` is a command, and what it must print and end with.
//!
//! The real programs are run, each case in an empty directory of its own and with an empty environment. After a wanted
//! change of a text, `UFT_BLESS=1 cargo test --test cli` writes what the programs print now into the files; read the
//! difference before it is committed. What is *not* here: anything that needs a daemon (`tests/it`).
//!
//! | key of a case | meaning |
//! |---|---|
//! | `name` | what must hold |
//! | `program` | `sendfile`, `uft`, `uftd`, or a name that `uft` is called by (`rls`, `rcv`, `sf` ...) |
//! | `args`, `stdin`, `env` | what the program gets |
//! | `files` | files in its directory: name = content |
//! | `exit` | its code (0 when not given) |
//! | `stdout`, `stderr` | all that it prints; `{dir}` is its directory, `{version}` the release |
//! | `says` | texts that must be in what it prints |

#![expect(
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test: a panic is its way to fail"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

#[derive(Deserialize)]
struct Book {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    program: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    exit: i32,
    stdout: Option<String>,
    stderr: Option<String>,
    #[serde(default)]
    says: Vec<String>,
}

struct Ran {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(case: &Case) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in &case.files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let program = match case.program.as_str() {
        "sendfile" => env!("CARGO_BIN_EXE_sendfile").into(),
        "uft" => env!("CARGO_BIN_EXE_uft").into(),
        "uftd" => env!("CARGO_BIN_EXE_uftd").into(),
        name => {
            let link = dir.path().join(name);
            symlink(env!("CARGO_BIN_EXE_uft"), &link).unwrap();
            link
        }
    };
    let mut child = Command::new(program)
        .args(&case.args)
        .current_dir(dir.path())
        .env_clear()
        .env("HOME", dir.path())
        .env("UFT_SOCKET", dir.path().join("no-daemon"))
        .envs(&case.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading leaves a broken pipe; that is no failure of the case.
    let _ = child.stdin.take().unwrap().write_all(case.stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes)
            .unwrap()
            .replace(dir.path().to_str().unwrap(), "{dir}")
            .replace(env!("CARGO_PKG_VERSION"), "{version}")
            // Help ends some lines with blanks, which editors take away.
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect::<String>()
    };
    Ran {
        exit: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn problems(case: &Case, ran: &Ran) -> Vec<String> {
    let mut found = Vec::new();
    if ran.exit != Some(case.exit) {
        found.push(format!("ended with {:?} instead of {}", ran.exit, case.exit));
    }
    for (what, want, got) in [
        ("stdout", &case.stdout, &ran.stdout),
        ("stderr", &case.stderr, &ran.stderr),
    ] {
        if want.as_ref().is_some_and(|want| want != got) {
            let want = want.as_deref().unwrap_or_default();
            found.push(format!("{what} is\n{got}---- instead of\n{want}----"));
        }
    }
    for text in &case.says {
        if !ran.stdout.contains(text) && !ran.stderr.contains(text) {
            found.push(format!(
                "does not say {text:?}, but\n{}{}----",
                ran.stdout, ran.stderr
            ));
        }
    }
    found
}

/// Puts what was printed into the text of a book, leaving everything else as it is.
fn bless(book: &str, case: &Case, ran: &Ran) -> String {
    let name = format!("name = {:?}", case.name);
    let start = book
        .find(&name)
        .unwrap_or_else(|| panic!("{name} is not written plainly"));
    let end = book[start..].find("[[case]]").map_or(book.len(), |at| start + at);
    let mut block = book[start..end].to_owned();
    for (key, wanted, got) in [
        ("stdout", &case.stdout, &ran.stdout),
        ("stderr", &case.stderr, &ran.stderr),
    ] {
        if wanted.is_none() {
            continue;
        }
        let key = format!("\n{key} = ");
        let value = block.find(&key).unwrap() + key.len();
        let rest = &block[value..];
        let length = match rest.strip_prefix("'''") {
            Some(text) => text.find("'''").unwrap() + 6,
            None => rest.find('\n').unwrap_or(rest.len()),
        };
        let new = match got.as_str() {
            "" => "\"\"".to_owned(),
            got => format!("'''\n{got}'''"),
        };
        block.replace_range(value..value + length, &new);
    }
    format!("{}{block}{}", &book[..start], &book[end..])
}

#[test]
fn every_case_of_the_books_holds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty());
    let blessing = std::env::var_os("UFT_BLESS").is_some();
    let mut failed = Vec::new();
    for path in paths {
        let mut text = fs::read_to_string(&path).unwrap();
        let book: Book = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for case in &book.case {
            let ran = run(case);
            if blessing {
                text = bless(&text, case, &ran);
                continue;
            }
            for problem in problems(case, &ran) {
                let file = path.file_name().unwrap().to_string_lossy();
                failed.push(format!("{file}: {}: {problem}", case.name));
            }
        }
        if blessing {
            fs::write(&path, text).unwrap();
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n\n"));
}
