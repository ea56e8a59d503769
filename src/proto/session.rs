//! The server side of one connection, as a state machine.
//!
//! Bytes go in through [`Session::poll`], which says what to do next: write a reply, ask somebody, store data, read
//! on, close. What this file does *not* do: sockets, files, time, users. It does not know what a spool is; it asks.
//!
//! ```text
//!              herald
//!                |
//!                v   FILE            USER             DATA n, AUXDATA n
//!   +--------> Line ------> opened ------> addressed -------------------> Burst{left}
//!   |           ^                             |  ^                          |     |
//!   |           |                             |  | all n bytes safe: 213    |     | a write failed
//!   |           |                             |  +--------------------------+     v
//!   |           |      EOF: Commit, 200       |                          Drain{left, refusal}
//!   |           |    ABORT: Discard, 226      |                                   | all n bytes read
//!   |           +-----------------------------+                                   v
//!   |                                         |                               the refusal
//!   +-- (a connection takes many files)       | DATA or EOF refused               |
//!                                             v                                   v
//!                                     refusal, then  ---------------------->  Ending -> Close
//! ```
//!
//! `opened` and `addressed` are two flags beside the state, because every other command is possible in any of the
//! three; while a question is with the driver, the state is `Answer`. The rules:
//!
//! 1. `USER` needs one accepted `FILE` in this connection and no recipient; `DATA` needs a recipient; `EOF` does too.
//!    `TYPE`, `NAME` and `META` are taken at any time and belong to the file that is open or comes next.
//! 2. Payload is never parsed as commands. A burst is taken out by its count. A burst whose write failed is read to
//!    its end before it is refused. A `DATA` that is refused *ends the session*, since a client that did not wait for
//!    3xx has its bytes on the way already.
//! 3. `EOF` is acknowledged after [`Ask::Commit`] was answered, never before. A refused `EOF` ends the session too: that
//!    is what clients in the field notice.
//! 4. Every addressed file ends in exactly one [`Ask::Commit`] or [`Ask::Discard`], at the latest before [`Step::Close`].
//! 5. What was said of one file never appears on the next: `EOF` and `ABORT` start a new draft, accepted or not.
//! 6. A transfer that broke off goes on where the driver says that it did, and nowhere else.
//! 7. Refusals in a row are counted; whoever speaks another protocol is shown out.
//! 8. `PEER` comes before every `FILE`, once. Whatever else is said with it ends the session: what follows was meant as
//!    a gateway's, and must not be taken from somebody who is none.
//!
//! Sources: RFC 1440; `docs/protocol.md` for the numbers, and for where and why this differs from older servers.

mod answers;
mod transfer;

use bytes::BytesMut;

use super::ask::{Answer, Ask, Closing, Opening, PeerClaim, Phase, Step};
use super::command::{Command, FileLine, Fork, PeerLine, Request};
use super::draft::Draft;
use super::held::Held;
use super::herald::Greeting;
use super::line::{Frame, Framer, LINE_MAX};
use super::query::BadQuery;
use super::refusal::Refusal;
use super::reply::Reply;

/// The first byte of every session in TLS (RFC 8446 5.1), and of no command.
const TLS_HELLO: u8 = 22;
/// So many refusals in a row, and the session ends.
pub const REFUSALS_MAX: u32 = 20;

/// The server side of one connection.
#[derive(Debug)]
pub struct Session {
    greeting: Greeting,
    /// Something was read as a line.
    heard: bool,
    /// The peer has proven which gateway it is.
    proven: bool,
    framer: Framer,
    state: State,
    /// A reply that an answer has earned; the next poll hands it out.
    reply: Option<Reply>,
    /// A `FILE` was accepted in this connection, and the last one was not refused.
    opened: bool,
    /// There is a recipient: a file is open. `addressed` implies that a `FILE` was accepted.
    addressed: bool,
    /// What was said of the file.
    draft: Draft,
    /// Why the file cannot be taken any more, although the session is in step.
    spoiled: Option<Refusal>,
    /// Bytes of `DATA` that the driver has confirmed for this file, those that it had already included:
    /// `received <= i64::MAX`.
    received: u64,
    /// The first burst of `DATA` was asked for.
    begun: bool,
    /// So many bytes were offered to go on from.
    offered: Option<u64>,
    /// Numbers in 118 and 119 lines. They count within the session: the real number of an item is not known before it
    /// is committed, and strangers need not learn how much a host receives.
    server_sequence: u32,
    user_sequence: u32,
    /// Refusals since the last acknowledgement.
    refusals: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing was said yet.
    Herald,
    /// Between commands.
    Line,
    /// Inside a burst: `left <= count` bytes are still to be handed out.
    Burst { fork: Fork, count: u64, left: u64 },
    /// Inside a burst that will be refused: `left` bytes are still to be thrown away.
    Drain { left: u64, refusal: Refusal },
    /// The driver was asked.
    Answer(Pending),
    /// Nothing more is read; an open file is to be discarded first.
    Ending(Closing),
    /// Over.
    Ended(Closing),
}

/// What is done with the answer.
#[derive(Debug)]
enum Pending {
    Open(FileLine),
    Recipient(String),
    Transfer { verb: String },
    Burst { fork: Fork, count: u64 },
    BurstEnd { fork: Fork, count: u64 },
    Commit { quit: bool },
    Discard(Then),
    Message { verb: String },
    Query,
    Agent,
    Peer,
}

/// What follows a discarded file.
#[derive(Debug)]
enum Then {
    AckAbort,
    Goodbye,
    End(Closing),
}

impl Session {
    /// A session that has said nothing yet: the first poll yields the herald.
    pub fn new(greeting: Greeting) -> Session {
        Session {
            greeting,
            heard: false,
            proven: false,
            framer: Framer::new(LINE_MAX),
            state: State::Herald,
            reply: None,
            opened: false,
            addressed: false,
            draft: Draft::default(),
            spoiled: None,
            received: 0,
            begun: false,
            offered: None,
            server_sequence: 0,
            user_sequence: 0,
            refusals: 0,
        }
    }

    /// The next thing to do. Takes what it needs out of `input`; the driver appends to it what it reads, and nobody
    /// else touches it. Call again after every step but [`Step::NeedBytes`] and [`Step::Close`].
    pub fn poll(&mut self, input: &mut BytesMut) -> Step {
        if let Some(reply) = self.reply.take() {
            return Step::Reply(reply);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Line) {
                State::Herald => {
                    let herald = self.greeting.reply();
                    return Step::Reply(self.with_sequence(herald));
                }
                State::Line if !self.heard && input.first() == Some(&TLS_HELLO) => {
                    return self.refuse_and_end(&Refusal::TlsHello);
                }
                State::Line => match self.next_frame(input) {
                    Frame::More => return Step::NeedBytes,
                    Frame::Line(line) => {
                        if let Some(command) = Command::parse(&line) {
                            return self.command(command);
                        }
                    }
                    Frame::TooLong(head) => {
                        if let Some(step) = self.line_too_long(&head) {
                            return step;
                        }
                    }
                },
                State::Burst { fork, count, left: 0 } => {
                    return self.ask(Pending::BurstEnd { fork, count }, Ask::BurstEnd { fork, count });
                }
                State::Burst { fork, count, left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    self.state = State::Burst {
                        fork,
                        count,
                        left: left - taken as u64,
                    };
                    if taken == 0 {
                        return Step::NeedBytes;
                    }
                    return Step::Data(fork, input.split_to(taken).freeze());
                }
                State::Drain { left: 0, refusal } => return self.refuse_and_end(&refusal),
                State::Drain { left, refusal } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    drop(input.split_to(taken));
                    self.state = State::Drain {
                        left: left - taken as u64,
                        refusal,
                    };
                    if taken == 0 {
                        return Step::NeedBytes;
                    }
                }
                State::Answer(pending) => {
                    debug_assert!(false, "polled before the answer to {pending:?}");
                    self.state = State::Answer(pending);
                    return Step::NeedBytes;
                }
                State::Ending(closing) if self.addressed => return self.discard(Then::End(closing)),
                State::Ending(closing) | State::Ended(closing) => {
                    self.state = State::Ended(closing);
                    return Step::Close(closing);
                }
            }
        }
    }

    /// A write of the running burst failed: what is left of it is read and thrown away, then refused, then the session
    /// ends. Outside a burst nothing happens. The first refusal counts.
    pub fn refuse_burst(&mut self, refusal: Refusal) {
        if let State::Burst { left, .. } = self.state {
            self.state = State::Drain { left, refusal };
        }
    }

    /// Ends the session from outside (time-outs, shutdown) with a last word to the peer; poll on. Not between an
    /// [`Ask`] and its answer.
    pub fn end(&mut self, refusal: &Refusal) {
        if !matches!(self.state, State::Ending(_) | State::Ended(_)) {
            self.reply = Some(self.refusal_and_end(refusal));
        }
    }

    /// The peer sends nothing more. Poll until [`Step::NeedBytes`] before; go on with [`Session::poll`] after.
    ///
    /// A peer that closes its side after its last command still reads our 221. One that goes away inside a burst or
    /// before `EOF` has sent nothing.
    pub fn peer_closed(&mut self) -> Step {
        let closing = match &self.state {
            State::Ending(closing) | State::Ended(closing) => *closing,
            State::Herald | State::Line => {
                self.reply = self.reply.take().or_else(|| Some(goodbye()));
                Closing::Now
            }
            State::Burst { .. } | State::Drain { .. } | State::Answer(_) => Closing::Now,
        };
        if self.addressed {
            return self.discard(Then::End(closing));
        }
        self.state = State::Ending(closing);
        self.poll(&mut BytesMut::new())
    }

    /// What the session waits for.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Burst { left, .. } | State::Drain { left, .. } => Phase::Burst { left: *left },
            State::Answer(_) => Phase::Answer,
            State::Herald | State::Line | State::Ending(_) | State::Ended(_) => Phase::Line,
        }
    }

    fn next_frame(&mut self, input: &mut BytesMut) -> Frame {
        let frame = self.framer.next(input);
        self.heard |= frame != Frame::More;
        frame
    }

    fn command(&mut self, command: Command) -> Step {
        let Command {
            verb,
            request,
            latin1,
        } = command;
        match request {
            Request::File(file) => {
                let opening = Opening {
                    size: file.size,
                    from: file.from.clone(),
                    auth: file.auth.clone(),
                };
                self.ask(Pending::Open(file), Ask::Open(opening))
            }
            Request::User(_) if !self.opened || self.addressed => self.refuse(&Refusal::Sequence),
            Request::User(name) if name.is_empty() => self.refuse(&Refusal::NoSuchUser { name }),
            Request::User(name) => self.ask(Pending::Recipient(name.clone()), Ask::Recipient(name)),
            Request::Type(spec) => {
                if spec.is_some() {
                    self.draft.spec = spec;
                }
                self.acknowledge(Reply::okay(&verb))
            }
            Request::Attribute { key, value } => self.attribute(verb, key, &value, latin1),
            Request::Burst(fork, count) => {
                self.burst(fork, count.map_err(|bad| Refusal::BadCount { count: bad.0 }))
            }
            Request::Eof => self.eof(),
            Request::Abort if self.addressed => self.discard(Then::AckAbort),
            Request::Abort => {
                let reply = self.aborted();
                self.acknowledge(reply)
            }
            Request::Quit => self.quit(),
            Request::Help => {
                let help = self.greeting.help();
                self.acknowledge(help)
            }
            Request::Noop => self.acknowledge(Reply::new(200, "ACK")),
            Request::Agent(None) => self.refuse(&Refusal::NoAgentKey),
            Request::Agent(Some(key)) => self.ask(Pending::Agent, Ask::Agent(key)),
            Request::Query(Ok(query)) => self.ask(Pending::Query, Ask::Query(query)),
            Request::Query(Err(BadQuery::MissingOperand)) => self.refuse(&Refusal::MissingOperand),
            Request::Query(Err(BadQuery::Unknown(option))) => self.refuse(&Refusal::InvalidQuery { option }),
            Request::Message { to, text } => {
                let from = self.draft.from.clone();
                self.ask(Pending::Message { verb }, Ask::Message { to, text, from })
            }
            Request::EmptyMessage => self.refuse(&Refusal::MissingOperand),
            Request::Peer(line) => self.peer(verb, line),
            Request::Unknown => self.refuse(&Refusal::UnknownVerb { verb }),
        }
    }

    /// A server that knows no gateway has never heard of `PEER`, as those of the field have not.
    fn peer(&mut self, verb: String, line: Option<PeerLine>) -> Step {
        let Some(server_nonce) = self.greeting.nonce else {
            return self.refuse(&Refusal::UnknownVerb { verb });
        };
        if self.proven || self.opened || self.addressed {
            return self.refuse_and_end(&Refusal::Sequence);
        }
        match line {
            None => self.refuse_and_end(&Refusal::NotAPeer),
            Some(PeerLine { name, nonce, proof }) => {
                let claim = PeerClaim {
                    name,
                    server_nonce,
                    client_nonce: nonce,
                    proof,
                };
                self.ask(Pending::Peer, Ask::Peer(claim))
            }
        }
    }

    /// Every refusal here ends the session: the bytes may be on their way.
    fn burst(&mut self, fork: Fork, count: Result<u64, Refusal>) -> Step {
        let allowed = if !self.addressed {
            Err(Refusal::Sequence)
        } else {
            self.spoiled.clone().map_or(Ok(()), Err)
        };
        let count = allowed.and(count).and_then(|count| {
            let fits = self
                .received
                .checked_add(count)
                .is_some_and(|sum| sum <= i64::MAX as u64);
            if fits { Ok(count) } else { Err(Refusal::TooLarge) }
        });
        match count {
            Err(refusal) => self.refuse_and_end(&refusal),
            Ok(count) => {
                let draft = Box::new(self.draft.clone());
                self.begun |= fork == Fork::Data;
                self.ask(Pending::Burst { fork, count }, Ask::Burst { fork, count, draft })
            }
        }
    }

    fn eof(&mut self) -> Step {
        if !self.addressed {
            self.new_draft();
            return self.refuse(&Refusal::Sequence);
        }
        match self.spoiled.clone() {
            Some(refusal) => self.refuse_and_end(&refusal),
            None => self.commit(false),
        }
    }

    /// The documents say that `QUIT` delivers an open file, older servers drop it. Only a file that is known to be
    /// whole is delivered; anything else would make a file out of a client's change of mind.
    fn quit(&mut self) -> Step {
        let whole = self.spoiled.is_none()
            && self
                .draft
                .size
                .is_some_and(|size| size > 0 && self.received >= size);
        match (self.addressed, whole) {
            (true, true) => self.commit(true),
            (true, false) => self.discard(Then::Goodbye),
            (false, _) => {
                self.state = State::Ending(Closing::Now);
                Step::Reply(goodbye())
            }
        }
    }

    fn commit(&mut self, quit: bool) -> Step {
        self.addressed = false;
        let draft = Box::new(self.new_draft());
        self.ask(Pending::Commit { quit }, Ask::Commit(draft))
    }

    fn discard(&mut self, then: Then) -> Step {
        self.addressed = false;
        self.ask(Pending::Discard(then), Ask::Discard)
    }

    fn aborted(&mut self) -> Reply {
        self.new_draft();
        self.with_sequence(Reply::new(226, "ACK ABORT"))
    }

    /// Starts the next file; returns what was said of the last one.
    fn new_draft(&mut self) -> Draft {
        self.spoiled = None;
        self.received = 0;
        self.begun = false;
        self.offered = None;
        let next = self.draft.next();
        std::mem::replace(&mut self.draft, next)
    }

    fn line_too_long(&mut self, head: &[u8]) -> Option<Step> {
        if Command::may_be_burst(head) {
            return Some(self.refuse_and_end(&Refusal::LineTooLong));
        }
        // A comment has no reply, however long it is.
        let Command { request, .. } = Command::parse(head)?;
        if matches!(request, Request::Attribute { .. }) {
            self.spoiled.get_or_insert(Refusal::LineTooLong);
        }
        Some(self.refuse(&Refusal::LineTooLong))
    }

    fn with_sequence(&mut self, reply: Reply) -> Reply {
        self.server_sequence += 1;
        reply.server_sequence(self.server_sequence)
    }

    fn ask(&mut self, pending: Pending, ask: Ask) -> Step {
        self.state = State::Answer(pending);
        Step::Ask(ask)
    }

    fn acknowledge(&mut self, reply: Reply) -> Step {
        self.refusals = 0;
        Step::Reply(reply)
    }

    fn refuse(&mut self, refusal: &Refusal) -> Step {
        Step::Reply(self.refusal(refusal))
    }

    fn refuse_and_end(&mut self, refusal: &Refusal) -> Step {
        Step::Reply(self.refusal_and_end(refusal))
    }

    fn refusal_and_end(&mut self, refusal: &Refusal) -> Reply {
        self.state = State::Ending(Closing::Linger);
        Reply::from(refusal)
    }

    fn refusal(&mut self, refusal: &Refusal) -> Reply {
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            return self.refusal_and_end(&Refusal::TooMany {
                what: "refused commands",
                most: REFUSALS_MAX.into(),
            });
        }
        if refusal.ends_session() {
            return self.refusal_and_end(refusal);
        }
        Reply::from(refusal)
    }
}

fn goodbye() -> Reply {
    Reply::new(221, "goodbye.")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
