//! Questions of the command-line programs to the local daemon, with its refusals as failures.
//!
//! What it does *not* do: print, or know the shapes on the socket (`local` does).

use std::path::PathBuf;
use std::time::Duration;

use uft_spool::{Chapter, Envelope, JobSummary, SpoolId, UserName};

use super::exit::{Exit, Failure};
use crate::display::shown;
use crate::local::client::{Asked, ask};
use crate::local::{Answer, Change, ItemInfo, JobInfo, Removal, Request, Row, Status, Why};

/// The daemon at the other end of a socket, and whose inbox is meant.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// Another user's inbox: administrators only.
    pub(crate) user: Option<UserName>,
}

/// What is known of a job, and what happened to it.
#[derive(Debug)]
pub(crate) enum Story {
    /// It is in the queue.
    Queued(Box<JobInfo>, Box<Envelope>, Vec<Chapter>),
    /// It has left it.
    Ended(Box<JobSummary>, Vec<Chapter>),
}

impl Daemon {
    /// All items in short, oldest first.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let mut asked = self.asked(false)?;
        loop {
            match answered(asked.only()?)? {
                Answer::Row(row) => rows.push(row),
                Answer::Done { .. } => return Ok(rows),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// All items in full, oldest first, each handed to `each`.
    pub(crate) fn items(
        &self,
        mut each: impl FnMut(&ItemInfo) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut asked = self.asked(true)?;
        loop {
            match answered(asked.only()?)? {
                Answer::Item(item) => each(&item)?,
                Answer::Done { .. } => return Ok(()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn asked(&self, full: bool) -> Result<Asked, Failure> {
        let user = self.user.clone();
        Ok(ask(&self.socket, &Request::List { user, full })?)
    }

    /// Everything about one item.
    pub(crate) fn item(&self, id: SpoolId) -> Result<ItemInfo, Failure> {
        let user = self.user.clone();
        match self.only(&Request::Stat { user, id })? {
            Answer::Item(item) => Ok(*item),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes an item, for this reason.
    pub(crate) fn remove(&self, id: SpoolId, removal: Removal) -> Result<(), Failure> {
        let user = self.user.clone();
        self.done(&Request::Discard { user, id, removal }).map(drop)
    }

    /// Puts an item into a local user's inbox too.
    pub(crate) fn forward(&self, id: SpoolId, to: &str) -> Result<Vec<(UserName, SpoolId)>, Failure> {
        self.done(&Request::Forward {
            user: self.user.clone(),
            id,
            to: to.to_owned(),
        })
    }

    /// The next item that arrives; `None` when `patience` ran out first.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Result<Option<ItemInfo>, Failure> {
        let user = self.user.clone();
        let mut asked = ask(&self.socket, &Request::Wait { user })?;
        asked
            .patience(patience)
            .map_err(|e| Failure::usage(format!("time-out: {e}")))?;
        match asked.only() {
            Ok(answer) => match answered(answer)? {
                Answer::Item(item) => Ok(Some(*item)),
                other => Err(unexpected(&other)),
            },
            Err(crate::local::client::AskError::Lost(e))
                if patience.is_some()
                    && matches!(
                        e.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
            {
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// A message to a local user.
    pub(crate) fn tell(&self, to: &str, text: &str) -> Result<(), Failure> {
        self.done(&Request::Tell {
            to: to.to_owned(),
            text: text.to_owned(),
        })
        .map(drop)
    }

    /// How the daemon is.
    pub(crate) fn status(&self) -> Result<Status, Failure> {
        match self.only(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Jobs of the queue by number, each handed to `each`; `all`: everybody's.
    pub(crate) fn jobs(
        &self,
        all: bool,
        mut each: impl FnMut(JobInfo) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let user = self.user.clone();
        let mut asked = ask(&self.socket, &Request::QueueList { user, all })?;
        loop {
            match answered(asked.only()?)? {
                Answer::Job(job) => each(*job)?,
                Answer::Done { .. } => return Ok(()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// One job of the queue, the record of its item, and what happened to it.
    pub(crate) fn story(&self, id: SpoolId) -> Result<Story, Failure> {
        let user = self.user.clone();
        match self.only(&Request::QueueShow { user, id })? {
            Answer::Story { job, envelope, story } => Ok(Story::Queued(job, envelope, story)),
            Answer::Ended { job, story } => Ok(Story::Ended(job, story)),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes a job of the queue; how it is now, or was when it is gone.
    pub(crate) fn change(&self, id: SpoolId, change: Change) -> Result<JobInfo, Failure> {
        let user = self.user.clone();
        self.job(&Request::QueueChange { user, id, change })
    }

    /// Queues an item of an inbox for another host.
    pub(crate) fn queue(&self, id: SpoolId, to: String) -> Result<JobInfo, Failure> {
        let user = self.user.clone();
        self.job(&Request::QueueItem { user, id, to })
    }

    fn job(&self, request: &Request) -> Result<JobInfo, Failure> {
        match self.only(request)? {
            Answer::Job(job) => Ok(*job),
            other => Err(unexpected(&other)),
        }
    }

    fn done(&self, request: &Request) -> Result<Vec<(UserName, SpoolId)>, Failure> {
        match self.only(request)? {
            Answer::Done { stored } => Ok(stored),
            other => Err(unexpected(&other)),
        }
    }

    fn only(&self, request: &Request) -> Result<Answer, Failure> {
        answered(ask(&self.socket, request)?.only()?)
    }
}

/// An answer that is not a refusal.
pub(crate) fn answered(answer: Answer) -> Result<Answer, Failure> {
    let Answer::Refused { why, text } = answer else {
        return Ok(answer);
    };
    let failure = Failure::new(Exit::from(why), shown(&text));
    Err(match why {
        Why::NoItem => failure.hint("uft ls shows what there is"),
        Why::NoJob => failure.hint("uft queue ls shows what there is"),
        Why::NotAllowed => {
            failure.hint("only root and the daemon's own user may use another user's inbox and jobs")
        }
        Why::NoRoute => failure.hint("the administrator names routes in uftd.toml"),
        Why::NotReceiving => failure.hint("the user gets messages while uft watch runs"),
        Why::NoRoom => {
            failure.hint("make room: receive or discard what is in the inbox, purge what waits in the queue")
        }
        Why::NoUser | Why::Unavailable | Why::Failed | Why::Malformed => failure,
    })
}

/// An answer of the wrong kind: the two ends are not of one release.
pub(crate) fn unexpected(answer: &Answer) -> Failure {
    let kind = match answer {
        Answer::Row(_) => "a row",
        Answer::Item(_) => "an item",
        Answer::Content { .. } => "a file",
        Answer::Event(_) => "an event",
        Answer::Status(_) => "its status",
        Answer::Way(_) => "a route",
        Answer::Job(_) | Answer::Story { .. } | Answer::Ended { .. } => "a job of the queue",
        Answer::Done { .. } => "that it is done",
        Answer::Refused { .. } => "a refusal",
    };
    Failure::new(
        Exit::Protocol,
        format!("the local uftd answered {kind}, which was not the question"),
    )
    .hint("uft and uftd must come from the same release")
}
