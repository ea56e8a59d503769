//! Feeding a job to a session: the bytes of a job go in, those of an ordinary conversation come out.
//!
//! `DATA` gets its number, since the length of the whole job is known; `EOF` and `QUIT` are added at the end. Lines of the
//! head are passed on as they are, if they are of those that say something of a file; comments are dropped. The file
//! itself is passed on without a look and without a copy.
//!
//! A job is as hostile as a connection: its lines and its head are bounded, what it must not say is an error that names
//! the line, and its bytes can never be taken for commands. What this file does *not* do: understand operands, or
//! know whether a session liked what it was told. After an error nothing of the job may be kept: end the session without
//! an `EOF` ([`Session::peer_closed`](crate::proto::Session::peer_closed)).

use bytes::BytesMut;

use crate::proto::{Command, Fork, Frame, Framer, LINE_MAX, Request, text};

/// Most bytes of the lines of a head.
pub const HEAD_MAX: u64 = 1 << 20;
/// Most lines of a head, comments included.
pub const LINES_MAX: u64 = 10_000;

/// A job on its way into a session.
#[derive(Debug)]
pub struct Feed {
    framer: Framer,
    state: State,
    /// Bytes of the job that have not come yet.
    left: u64,
    /// Lines of the head so far, and their bytes: `lines <= LINES_MAX`, `head <= HEAD_MAX`.
    lines: u64,
    head: u64,
    /// The recipient was said.
    addressed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the second fork are to come.
    Aux(u64),
    /// The file is to come: the rest of the job.
    Body,
    Done,
}

/// What cannot be a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the job: {fault}")]
pub struct BadJob {
    /// Which line, from 1 upwards; the last one when it is about what follows.
    pub line: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line of more than 4096 bytes.
    #[error("it is longer than {LINE_MAX} bytes")]
    LongLine,
    /// More lines, or more bytes of them, than a head may have.
    #[error("the lines before DATA are more than {LINES_MAX}, or more than {HEAD_MAX} bytes")]
    LongHead,
    /// A command that says nothing of a file, or none at all.
    #[error("a job has only FILE, USER, TYPE, NAME, META, attributes, AUXDATA and DATA")]
    Verb,
    /// A session refuses a second recipient, and delivers to the first.
    #[error("a job has one USER, and FILE before it")]
    SecondUser,
    /// `DATA n`: the file is the rest of the job, whatever n says.
    #[error("DATA has a number; in a job the file goes to the end")]
    CountedData,
    /// `AUXDATA` without a number, or with one that is larger than what is left.
    #[error("AUXDATA wants the number of bytes that follow it")]
    AuxCount,
    /// It ended before `DATA`, or within a fork.
    #[error("the job ends too early")]
    Truncated,
    /// More bytes came than it has.
    #[error("the job is longer than it was said to be")]
    Excess,
}

impl Feed {
    /// A job of `total` bytes, of which none has come.
    pub fn new(total: u64) -> Feed {
        Feed {
            framer: Framer::new(LINE_MAX),
            state: State::Head,
            left: total,
            lines: 0,
            head: 0,
            addressed: false,
        }
    }

    /// Takes the next bytes of the job out of `input` and puts what a client would say in their place at the end of `out`.
    /// At most a line stays in `input`; nobody else may touch it.
    ///
    /// # Errors
    /// When this is no job. Nothing more can be fed then.
    pub fn push(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<(), BadJob> {
        loop {
            match self.state {
                State::Head => {
                    if !self.line(input, out)? {
                        return Ok(());
                    }
                }
                State::Aux(0) => self.state = State::Head,
                State::Aux(wanted) => {
                    let passed = self.pass(wanted, input, out);
                    if passed == 0 {
                        return Ok(());
                    }
                    self.state = State::Aux(wanted - passed);
                }
                State::Body if self.left > 0 => {
                    if self.pass(self.left, input, out) == 0 {
                        return Ok(());
                    }
                }
                State::Body => {
                    out.extend_from_slice(b"EOF\r\nQUIT\r\n");
                    self.state = State::Done;
                }
                State::Done if input.is_empty() => return Ok(()),
                State::Done => return Err(self.bad(Fault::Excess)),
            }
        }
    }

    /// Whether the whole job went through; ask when its bytes have come to their end.
    ///
    /// # Errors
    /// [`Fault::Truncated`].
    pub fn finish(&self) -> Result<(), BadJob> {
        match self.state {
            State::Done => Ok(()),
            State::Head | State::Aux(_) | State::Body => Err(self.bad(Fault::Truncated)),
        }
    }

    /// Takes a line of the head; `false` when there is no whole one.
    fn line(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<bool, BadJob> {
        let before = input.len();
        let frame = self.framer.next(input);
        let taken = (before - input.len()) as u64;
        if frame != Frame::More {
            self.lines += 1;
        }
        let line = match frame {
            Frame::Line(line) => line,
            Frame::TooLong(_) => return Err(self.bad(Fault::LongLine)),
            Frame::More if self.framer.overflowing() => {
                self.lines += 1;
                return Err(self.bad(Fault::LongLine));
            }
            Frame::More if input.len() as u64 > self.left => return Err(self.bad(Fault::Excess)),
            Frame::More => return Ok(false),
        };
        self.head += taken;
        if self.lines > LINES_MAX || self.head > HEAD_MAX {
            return Err(self.bad(Fault::LongHead));
        }
        self.left = self
            .left
            .checked_sub(taken)
            .ok_or_else(|| self.bad(Fault::Excess))?;
        self.state = self.command(&line, out).map_err(|fault| self.bad(fault))?;
        Ok(true)
    }

    /// Passes on what one line says; the state after it.
    fn command(&mut self, line: &[u8], out: &mut BytesMut) -> Result<State, Fault> {
        let Some(command) = Command::parse(line) else {
            return Ok(State::Head);
        };
        match command.request {
            Request::File(_) | Request::User(_) if self.addressed => Err(Fault::SecondUser),
            Request::File(_) | Request::User(_) | Request::Type(_) | Request::Attribute { .. } => {
                self.addressed = matches!(command.request, Request::User(_)) || self.addressed;
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
                Ok(State::Head)
            }
            Request::Burst(Fork::Data, _) if operand(line).is_some() => Err(Fault::CountedData),
            Request::Burst(Fork::Data, _) => {
                announce(out, "DATA", self.left);
                Ok(State::Body)
            }
            Request::Burst(Fork::Aux, count) => {
                let digits = operand(line).is_some_and(|count| count.bytes().all(|b| b.is_ascii_digit()));
                let count = count.ok().filter(|&count| digits && count <= self.left);
                let count = count.ok_or(Fault::AuxCount)?;
                announce(out, "AUXDATA", count);
                Ok(State::Aux(count))
            }
            Request::Eof
            | Request::Abort
            | Request::Quit
            | Request::Help
            | Request::Noop
            | Request::Agent(_)
            | Request::Peer(_)
            | Request::Query(_)
            | Request::Message { .. }
            | Request::EmptyMessage
            | Request::Unknown => Err(Fault::Verb),
        }
    }

    /// Passes on at most `most` bytes as they are; how many.
    fn pass(&mut self, most: u64, input: &mut BytesMut, out: &mut BytesMut) -> u64 {
        let taken = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        // Into an empty buffer this moves, it does not copy.
        out.unsplit(input.split_to(taken));
        self.left = self.left.saturating_sub(taken as u64);
        taken as u64
    }

    fn bad(&self, fault: Fault) -> BadJob {
        BadJob {
            line: self.lines,
            fault,
        }
    }
}

/// The word after the verb of a line.
fn operand(line: &[u8]) -> Option<String> {
    let (line, _) = text(line);
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    words.nth(1).map(str::to_owned)
}

fn announce(out: &mut BytesMut, verb: &str, count: u64) {
    out.extend_from_slice(format!("{verb} {count}\r\n").as_bytes());
}
