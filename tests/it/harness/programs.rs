//! The command-line programs: started with a clean environment, watched by a deadline, and what came of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use super::{Place, lines_of, until};

/// The file of a program under test.
pub(crate) fn binary(name: &str) -> PathBuf {
    PathBuf::from(match name {
        "uftd" => env!("CARGO_BIN_EXE_uftd"),
        "sendfile" => env!("CARGO_BIN_EXE_sendfile"),
        "uft" => env!("CARGO_BIN_EXE_uft"),
        other => panic!("no program {other}"),
    })
}

/// A program about to run.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A program that runs beside the test; it is killed with the value.
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Program {
    pub(crate) fn new(file: PathBuf, dir: &Path) -> Program {
        let mut command = Command::new(file);
        command
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC");
        Program {
            command,
            input: Vec::new(),
        }
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Program {
        self.command.env(key, value);
        self
    }

    pub(crate) fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.command.args(arguments);
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Program {
        self.command.current_dir(dir);
        self
    }

    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.input = bytes.into();
        self
    }

    /// The same program, run by `nobody`, from a copy that everybody may run.
    pub(crate) fn by_nobody(self, place: &Place) -> Program {
        super::needs_root("it runs programs as another user");
        let original = PathBuf::from(self.command.get_program());
        let public = place.path(&format!(
            "public-{}",
            original.file_name().unwrap().to_str().unwrap()
        ));
        if !public.exists() {
            fs::copy(&original, &public).unwrap();
            fs::set_permissions(&public, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"])
            .arg(public);
        command.args(self.command.get_args()).env_clear();
        for (key, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        command.current_dir(self.command.get_current_dir().unwrap());
        Program {
            command,
            input: self.input,
        }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    pub(crate) fn run(mut self) -> Ran {
        let shown = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("{shown}: {err}"));
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read its input is none of our business.
        let writer = thread::spawn(move || drop(stdin.write_all(&self.input)));
        let (out, err) = (
            collect(child.stdout.take().unwrap()),
            collect(child.stderr.take().unwrap()),
        );
        let mut late = KillOnDrop(child);
        let status = until(&shown, || late.0.try_wait().unwrap());
        writer.join().unwrap();
        let (bytes, err) = (out.join().unwrap(), err.join().unwrap());
        Ran {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&bytes).into_owned(),
            err: String::from_utf8_lossy(&err).into_owned(),
        }
    }

    /// Runs it, and it must do what it is asked.
    pub(crate) fn ok(self) -> Ran {
        self.exits(0)
    }

    /// Runs it, and it must end with this code.
    pub(crate) fn exits(self, code: i32) -> Ran {
        let shown = format!("{:?}", self.command);
        let ran = self.run();
        assert_eq!(
            ran.code, code,
            "{shown}\n--- stdout\n{}\n--- stderr\n{}",
            ran.out, ran.err
        );
        ran
    }

    /// Starts it; the test goes on.
    pub(crate) fn beside(mut self) -> Beside {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Beside { child, lines }
    }
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

impl Ran {
    /// Each line of standard output as JSON.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|err| panic!("{line}: {err}")))
            .collect()
    }

    /// Nothing that a terminal would obey: no control characters but line ends, no bidi or zero-width characters.
    pub(crate) fn assert_inert(&self) {
        for (what, text) in [("stdout", &self.out), ("stderr", &self.err)] {
            assert_inert(what, text);
        }
    }
}

/// No character that a terminal obeys or hides, line ends excepted.
pub(crate) fn assert_inert(what: &str, text: &str) {
    let hostile = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let found = text.char_indices().find(|&(_, c)| hostile(c));
    assert!(found.is_none(), "{what} has {:?}: {text:?}", found.unwrap());
}

impl Beside {
    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> i32 {
        until("a program's end", || self.child.try_wait().unwrap())
            .code()
            .unwrap_or(-1)
    }

    /// The next line of its output.
    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(super::PATIENCE)
            .expect("a line of output")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
