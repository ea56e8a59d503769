//! Parcels over connections: one connection a host for as long as it lasts, a whole-file retry when it may help.
//!
//! A retry carries the same transfer id, so that a file whose acknowledgement was lost is answered and not stored twice,
//! and a large one goes on where it broke off.
//! What it does *not* do: read files (`input`), or speak the protocol (`client`).

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::cli::console::Console;
use crate::cli::exit::{Exit, Failure, reason};
use crate::cli::known_hosts::{self, Tls};
use crate::client::{Body, ClientError, Connection, Endpoint, Notice, Parcel, Receipt};
use crate::display::shown;
use crate::tls::TlsError;

/// The first pause before a retry; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How much is shown, how long is waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// For each step of the conversation.
    pub(crate) timeout: Duration,
    /// In TLS or in clear.
    pub(crate) tls: Tls,
    /// Further attempts at a file after a failure that may pass.
    pub(crate) retries: u32,
    /// The conversation on standard error.
    pub(crate) verbose: bool,
    /// A progress bar, if somebody watches.
    pub(crate) progress: bool,
}

/// A parcel that is about to go.
pub(crate) struct Outgoing {
    /// Its head.
    pub(crate) parcel: Parcel,
    /// Its bytes.
    pub(crate) body: Body,
    /// Reads and converts; ends with what the user should know, or with why the bytes ended early.
    pub(crate) reader: Reader,
    /// For the progress bar.
    pub(crate) label: String,
}

/// What reads the bytes of a parcel, on a thread of its own.
pub(crate) type Reader = JoinHandle<Result<Vec<String>, Failure>>;

/// Why a parcel did not arrive.
pub(crate) struct NotSent {
    /// What to say and to end with.
    pub(crate) failure: Failure,
    /// The server's code and text, when it was a server that refused.
    pub(crate) reply: Option<(u16, String)>,
}

/// Why one attempt failed.
struct Missed {
    not_sent: NotSent,
    /// The server was met at all.
    met: bool,
    /// Of the whole file, if it was read to its end.
    digest: Option<String>,
    /// What the server had was of another file, and is gone.
    anew: bool,
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> NotSent {
        NotSent { failure, reply: None }
    }
}

/// The connections of one run.
pub(crate) struct Carrier {
    console: Console,
    manner: Manner,
    open: Option<(Endpoint, Connection)>,
    /// Hosts that did not answer: not asked again for the next file.
    silent: HashMap<Endpoint, Failure>,
}

impl Carrier {
    /// A carrier without a connection.
    pub(crate) fn new(console: Console, manner: Manner) -> Carrier {
        Carrier {
            console,
            manner,
            open: None,
            silent: HashMap::new(),
        }
    }

    /// Sends one parcel; `prepare` is called once for each attempt and says `None` when there is no other.
    pub(crate) async fn carry(
        &mut self,
        to: &Endpoint,
        mut prepare: impl FnMut() -> Result<Option<Outgoing>, Failure>,
    ) -> Result<Receipt, NotSent> {
        if let Some(failure) = self.silent.get(to) {
            return Err(failure.clone().into());
        }
        let mut pause = PAUSE;
        let mut left = self.manner.retries;
        let mut last: Option<NotSent> = None;
        let (mut digest, mut changed) = (None, false);
        loop {
            let Some(mut outgoing) = prepare()? else {
                return Err(last.unwrap_or_else(|| Failure::new(Exit::NoInput, "nothing to send").into()));
            };
            if let Some(digest) = digest.take() {
                // All of it was read once: if the server has it all, it will know it by this.
                outgoing.parcel.attributes.push(("DIGEST".to_owned(), digest));
            }
            let Missed {
                not_sent,
                met,
                digest: of_whole,
                anew,
            } = match self.attempt(to, outgoing).await {
                Ok(receipt) => return Ok(receipt),
                Err(missed) => missed,
            };
            digest = of_whole;
            if anew && !changed {
                // The file is another one than at the last attempt: no failure, and it happens once.
                changed = true;
                last = Some(not_sent);
                continue;
            }
            let passing = matches!(not_sent.failure.exit, Exit::Temporary | Exit::Unreachable);
            if !passing || left == 0 {
                if !met {
                    self.silent.insert(to.clone(), not_sent.failure.clone());
                }
                return Err(not_sent);
            }
            self.console.note(&format!(
                "{}; trying again in {} s",
                not_sent.failure.text,
                pause.as_secs_f32()
            ));
            last = Some(not_sent);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            left -= 1;
        }
    }

    async fn attempt(&mut self, to: &Endpoint, outgoing: Outgoing) -> Result<Receipt, Missed> {
        let show = Show::new(self.console, self.manner, &outgoing);
        let mut digest = None;
        let mut watch = |notice: Notice| match notice {
            Notice::Digest(whole) => digest = Some(whole),
            notice => show.notice(notice),
        };
        let mut connection = match self.open.take() {
            Some((endpoint, connection)) if endpoint == *to && connection.usable() => connection,
            other => {
                if let Some((_, old)) = other {
                    old.quit(&mut watch).await;
                }
                known_hosts::open(to, self.manner.timeout, self.manner.tls, &mut watch)
                    .await
                    .map_err(|not_sent| Missed {
                        not_sent,
                        met: false,
                        digest: None,
                        anew: false,
                    })?
            }
        };
        let sent = connection
            .deliver(outgoing.parcel, outgoing.body, &mut watch)
            .await;
        if connection.usable() {
            self.open = Some((to.clone(), connection));
        }
        show.end();
        // The reader ends when nobody takes its bytes. Why they ended early it knows best.
        let unreadable = match outgoing.reader.await {
            Ok(Ok(notes)) => {
                notes.iter().for_each(|note| self.console.note(&shown(note)));
                None
            }
            Ok(Err(failure)) => Some(failure),
            Err(broken) => Some(Failure::new(Exit::Io, format!("reading broke off: {broken}"))),
        };
        sent.map_err(|error| Missed {
            anew: matches!(error, ClientError::Changed),
            not_sent: match (error, unreadable) {
                (ClientError::Body(_), Some(failure)) => failure.into(),
                (error, _) => explained(&error),
            },
            met: true,
            digest,
        })
    }

    /// Says good-bye.
    pub(crate) async fn end(mut self) {
        if let Some((_, connection)) = self.open.take() {
            let console = self.console;
            let verbose = self.manner.verbose;
            connection
                .quit(&mut |notice| conversation(console, verbose, &notice))
                .await;
        }
    }
}

/// A failure of the client in the words and with the advice of a program.
pub(crate) fn explained(error: &ClientError) -> NotSent {
    let exit = Exit::from(error);
    let reply = match error {
        ClientError::Refused { code, text, .. } => Some((*code, text.clone())),
        _ => None,
    };
    let code = reply.as_ref().map(|(code, _)| *code);
    if let ClientError::Local(error) = error {
        return Failure::from(error).into();
    }
    let mut text = error.to_string();
    if let ClientError::Unreachable { source, .. } = error {
        text = format!("{text}: {}", reason(source));
    }
    let failure = Failure::new(exit, shown(&text));
    if let ClientError::Tls { why, .. } = error {
        return failure.hint(advice(why)).into();
    }
    let failure = match exit {
        Exit::NoUser => failure.hint("check the user name; -v shows the conversation"),
        Exit::NoHost => failure.hint("check the host name"),
        Exit::Unreachable => failure.hint(
            "is a UFT server running there, and which port is it on (without --port 5608 for TLS, else 608)?",
        ),
        Exit::CannotCreate => {
            failure.hint("there is no room for the file there; try again later or send less")
        }
        Exit::Temporary => match code {
            Some(545 | 557) => failure.hint("nobody is there to read it; send a file instead"),
            _ => failure.hint("try again later"),
        },
        Exit::Usage if matches!(code, Some(416 | 433)) => {
            failure.hint("servers know TIME, CPLEVEL, LOGMSG, FILES, INDICATE, NAMES, USERS, USER name")
        }
        _ => failure,
    };
    NotSent { failure, reply }
}

/// What to do when there is no TLS session.
fn advice(error: &TlsError) -> String {
    match error {
        TlsError::Changed(_) => format!(
            "nothing was sent. Either the host has a new certificate: ask its administrator, and take its old line out of \
             {}. Or somebody is in between",
            known_hosts::SHOWN
        ),
        TlsError::Certificate(_) | TlsError::Name => {
            "nothing was sent; its administrator has to mend that, or this system has to be told of the authority".into()
        }
        TlsError::Handshake(_) => "nothing was sent; --tls off sends in clear, for everybody to read".into(),
    }
}

/// What is seen of one attempt.
struct Show {
    console: Console,
    verbose: bool,
    bar: Option<ProgressBar>,
}

impl Show {
    fn new(console: Console, manner: Manner, outgoing: &Outgoing) -> Show {
        let wanted = manner.progress && !manner.verbose && io::stderr().is_terminal();
        let bar = wanted.then(|| bar(outgoing.parcel.size, &outgoing.label));
        Show {
            console,
            verbose: manner.verbose,
            bar,
        }
    }

    fn notice(&self, notice: Notice) {
        match (&self.bar, &notice) {
            (Some(bar), Notice::Progress { sent }) => bar.set_position(*sent),
            (Some(bar), Notice::Resumed { at }) => {
                bar.set_position(*at);
                // The rate is that of what is sent now.
                bar.reset_elapsed();
                bar.reset_eta();
                bar.set_message(format!("{} (resumed)", bar.message()));
            }
            (Some(bar), _) => bar.suspend(|| conversation(self.console, self.verbose, &notice)),
            (None, _) => conversation(self.console, self.verbose, &notice),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The conversation as `-v` shows it, and warnings always.
pub(crate) fn conversation(console: Console, verbose: bool, notice: &Notice) {
    let line = match notice {
        Notice::Said(line) if verbose => format!("> {}", shown(line)),
        Notice::Heard(line) if verbose => format!("< {}", shown(line)),
        Notice::Warning(text) => return console.note(&shown(text)),
        Notice::Resumed { at } if verbose => format!("= resumed at byte {at}"),
        Notice::Said(_)
        | Notice::Heard(_)
        | Notice::Progress { .. }
        | Notice::Resumed { .. }
        | Notice::Digest(_) => return,
    };
    // As for every message: nobody is left to be told when standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn bar(size: Option<u64>, label: &str) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let (bar, template) = match size {
        Some(size) => (
            ProgressBar::with_draw_target(Some(size), target),
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::with_draw_target(None, target),
            "{msg} {spinner} {bytes} {bytes_per_sec}",
        ),
    };
    // No colour in the template, so none with NO_COLOR either.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_message(shown(label));
    bar
}
