//! Standard output and standard error of one program.
//!
//! What it does *not* do: filter. Who prints a text from elsewhere passes it through `display` first.

use std::io::{self, BufWriter, StdoutLock, Write};

use super::exit::{Exit, Failure};

/// Where a program called `program` prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// The name that its messages begin with.
    pub(crate) program: &'static str,
}

impl Console {
    /// One line on standard output.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        self.lines(|out| writeln!(out, "{text}"))
    }

    /// Many lines, written together.
    pub(crate) fn lines(
        self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        write(&mut out)
            .and_then(|()| out.flush())
            .map_err(|e| Failure::output(&e))
    }

    /// Lines that are made while they are printed: `write` gets what prints one.
    pub(crate) fn stream(
        self,
        write: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        write(&mut |line| writeln!(out, "{line}").map_err(|e| Failure::output(&e)))?;
        out.flush().map_err(|e| Failure::output(&e))
    }

    /// Something the user should know, on standard error.
    pub(crate) fn note(self, text: &str) {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(io::stderr().lock(), "{}: {text}", self.program);
    }

    /// A failure, on standard error; gives its code.
    pub(crate) fn complain(self, failure: &Failure) -> Exit {
        if !failure.text.is_empty() {
            self.note(&failure.to_string());
        }
        failure.exit
    }
}
