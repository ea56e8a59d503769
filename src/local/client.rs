//! Asking the daemon: a blocking client of the local socket, for the command-line programs.
//!
//! What it does not do: decide what an answer means for the exit code (`cli` does).

use std::fs::File;
use std::io::{self, BufRead, BufReader, IoSliceMut, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Answer, LINE_MAX, Request};

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon there.
    #[error("no uftd answers at {}", path.display())]
    NotRunning {
        /// The socket that was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the local uftd went away in the middle of an answer")]
    Lost(#[source] io::Error),
    /// The answer is not one of ours.
    #[error("the local uftd answered {0:?}, which this release does not understand")]
    NotUnderstood(String),
}

/// A connection on which one question has been asked.
#[derive(Debug)]
pub struct Asked {
    stream: BufReader<Passing>,
    /// The line at hand; kept for its memory, since lists are long.
    line: Vec<u8>,
}

/// A stream whose reads also collect passed descriptors.
#[derive(Debug)]
struct Passing {
    stream: UnixStream,
    files: Vec<File>,
}

impl Read for Passing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let taken = loop {
            let mut into = [IoSliceMut::new(buf)];
            match recvmsg(&self.stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => continue,
                other => break other?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files.map(File::from));
            }
        }
        Ok(taken.bytes)
    }
}

/// Connects and asks.
///
/// # Errors
/// [`AskError::NotRunning`] when nobody listens, [`AskError::Lost`] when the question cannot be written.
pub fn ask(socket: &Path, request: &Request) -> Result<Asked, AskError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| AskError::NotRunning {
        path: socket.to_owned(),
        source,
    })?;
    let mut line = serde_json::to_vec(request).map_err(|e| AskError::Lost(e.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(AskError::Lost)?;
    Ok(Asked {
        stream: BufReader::with_capacity(
            64 * 1024,
            Passing {
                stream,
                files: Vec::new(),
            },
        ),
        line: Vec::new(),
    })
}

impl Asked {
    /// The next line of the answer; `None` when the daemon closed the connection.
    ///
    /// # Errors
    /// [`AskError::Lost`] on a broken connection or a time-out, [`AskError::NotUnderstood`] on a foreign line.
    pub fn answer(&mut self) -> Result<Option<Answer>, AskError> {
        self.line.clear();
        let limit = LINE_MAX as u64 + 1;
        (&mut self.stream)
            .take(limit)
            .read_until(b'\n', &mut self.line)
            .map_err(AskError::Lost)?;
        if self.line.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.line).map(Some).map_err(|_| {
            self.line.truncate(80);
            AskError::NotUnderstood(String::from_utf8_lossy(&self.line).into_owned())
        })
    }

    /// The one answer to a question that has just one.
    ///
    /// # Errors
    /// As [`Asked::answer`]; a connection that ends first is [`AskError::Lost`].
    pub fn only(&mut self) -> Result<Answer, AskError> {
        self.answer()?
            .ok_or_else(|| AskError::Lost(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The file that came with the last [`Answer::Content`].
    pub fn file(&mut self) -> Option<File> {
        self.stream.get_mut().files.pop()
    }

    /// How long [`Asked::answer`] waits; `None`: for ever.
    ///
    /// # Errors
    /// When the system refuses the time-out (a zero duration).
    pub fn patience(&self, most: Option<Duration>) -> io::Result<()> {
        self.stream.get_ref().stream.set_read_timeout(most)
    }

    /// The bare connection after a `session` request was answered, and the bytes of the session already read.
    pub fn into_session(self) -> (UnixStream, Vec<u8>) {
        let read_ahead = self.stream.buffer().to_vec();
        (self.stream.into_inner().stream, read_ahead)
    }
}
