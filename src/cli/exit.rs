//! Exit codes of the command-line programs, and the one error type that carries them.
//!
//! What it does *not* do: print anything, or decide whether to try again (`send::carry` does, by these codes).
//! Source: `sysexits.h` of 4BSD; the numbers are part of the interface that scripts rely on.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::client::ClientError;
use crate::local::Why;
use crate::local::client::AskError;
use crate::tls::TlsError;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// The command line makes no sense.
    Usage = 64,
    /// The data does not fit its code page or type, or is not what its record says.
    DataError = 65,
    /// A file cannot be read, or there is no such item.
    NoInput = 66,
    /// No such user there.
    NoUser = 67,
    /// No such host.
    NoHost = 68,
    /// The host does not answer.
    Unreachable = 69,
    /// Cannot create the output file, or no room at the other end.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// It may work later; also: the local daemon is not running.
    Temporary = 75,
    /// The other side does not keep to the protocol.
    Protocol = 76,
    /// The other side refuses.
    Refused = 77,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the program ends with when one more thing ended like `next`: the first failure counts.
    pub fn then(self, next: Exit) -> Exit {
        match self {
            Exit::Done => next,
            failed => failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl From<Why> for Exit {
    fn from(why: Why) -> Exit {
        match why {
            Why::NoItem | Why::NoJob => Exit::NoInput,
            Why::NoRoute => Exit::NoHost,
            Why::NoUser => Exit::NoUser,
            Why::NotAllowed => Exit::Refused,
            Why::NoRoom => Exit::CannotCreate,
            Why::NotReceiving | Why::Unavailable => Exit::Temporary,
            Why::Failed => Exit::Io,
            Why::Malformed => Exit::Usage,
        }
    }
}

impl From<&AskError> for Exit {
    fn from(error: &AskError) -> Exit {
        match error {
            AskError::NotRunning { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Refused
            }
            AskError::NotRunning { .. } | AskError::Lost(_) => Exit::Temporary,
            AskError::NotUnderstood(_) => Exit::Protocol,
        }
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Exit {
        match error {
            ClientError::Resolve { .. } => Exit::NoHost,
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Refused { code, .. } => refused(*code),
            ClientError::Protocol { .. } => Exit::Protocol,
            ClientError::Lost { .. } | ClientError::TimedOut { .. } | ClientError::Changed => Exit::Temporary,
            ClientError::Body(body) if body.misfit => Exit::DataError,
            ClientError::Body(_) => Exit::NoInput,
            ClientError::Local(error) => Exit::from(error),
            ClientError::NotAdmitted { why, .. } => Exit::from(*why),
            ClientError::Unfit(_) => Exit::Usage,
            ClientError::NotProven { .. } => Exit::Refused,
            ClientError::Tls { why, .. } => match why {
                TlsError::Handshake(_) => Exit::Protocol,
                TlsError::Changed(_) | TlsError::Certificate(_) | TlsError::Name => Exit::Refused,
            },
            ClientError::NoRandomBits(_) => Exit::Temporary,
        }
    }
}

/// What a reply code means. The numbers are those of the field; the first digit decides about those that are not listed.
fn refused(code: u16) -> Exit {
    match code {
        532 | 550 | 553 => Exit::NoUser,
        533 => Exit::NoHost,
        531 | 541 | 559 => Exit::CannotCreate,
        // Too many sessions, shutting down, no spool at the moment, nobody there to read a message.
        521 | 522 | 545 | 557 => Exit::Temporary,
        // The data went wrong on the way or at its end, digest mismatch included.
        513 => Exit::Protocol,
        // A query that there is not, or half of one.
        416 | 433 => Exit::Usage,
        400..500 => Exit::Temporary,
        _ => Exit::Refused,
    }
}

/// What the system said, without the number that `io::Error` adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// Why something was not done: the code, what is wrong, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// What the program ends with, if this is the first failure.
    pub exit: Exit,
    /// Which thing and which value; lower case, no full stop. Empty when there is nobody left to tell.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure {
            exit,
            text: text.into(),
            hint: None,
        }
    }

    /// A command line that makes no sense.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, text)
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Standard output refused a line; a reader that went away (`uft ls | head`) is no news to anybody.
    pub(crate) fn output(error: &io::Error) -> Failure {
        let text = match error.kind() {
            io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("standard output: {}", reason(error)),
        };
        Failure::new(Exit::Io, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Failure {
        Failure::from(&error)
    }
}

impl From<&AskError> for Failure {
    fn from(error: &AskError) -> Failure {
        let failure = Failure::new(Exit::from(error), crate::display::shown(&error.to_string()));
        match error {
            AskError::NotRunning { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                failure.hint("the socket is there, but this user may not use it")
            }
            AskError::NotRunning { .. } => {
                failure.hint("start uftd, or name its socket with --socket or UFT_SOCKET")
            }
            AskError::Lost(source) => Failure {
                text: format!("{}: {}", failure.text, reason(source)),
                ..failure
            },
            AskError::NotUnderstood(_) => failure.hint("uft and uftd must come from the same release"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_decides_the_code() {
        let run = [Exit::Done, Exit::NoInput, Exit::NoUser, Exit::Done];
        assert_eq!(run.into_iter().fold(Exit::Done, Exit::then), Exit::NoInput);
    }

    #[test]
    fn reply_codes_of_the_field_have_their_exit_codes() {
        for (code, exit) in [
            (532, Exit::NoUser),
            (553, Exit::NoUser),
            (531, Exit::CannotCreate),
            (541, Exit::CannotCreate),
            (559, Exit::CannotCreate),
            (521, Exit::Temporary),
            (402, Exit::Temporary),
            (513, Exit::Protocol),
            (568, Exit::Refused),
            (599, Exit::Refused),
        ] {
            assert_eq!(refused(code), exit, "{code}");
        }
    }

    #[test]
    fn a_daemon_that_is_not_there_is_a_temporary_failure_with_advice() {
        let failure = Failure::from(AskError::NotRunning {
            path: "/x/sock".into(),
            source: io::ErrorKind::NotFound.into(),
        });
        assert_eq!(failure.exit, Exit::Temporary);
        assert!(
            failure
                .to_string()
                .starts_with("no uftd answers at /x/sock\n  start uftd")
        );
    }
}
