//! The client side of one connection, as a state machine: any number of files, messages and queries.
//!
//! Errands are submitted, bytes go in through [`Dialogue::poll`], and it says what to do next: send, read on, hand over
//! the next slice of the file, close. What this file does *not* do: sockets, files, time-outs, what to try again.
//!
//! Three manners, chosen by the herald:
//!
//! | server | manner |
//! |---|---|
//! | ours | no waiting: a small file goes out in one piece, from `FILE` to its bytes to `EOF`; of a large one the head is answered first, and may be answered with where to go on, then bursts of 1 MiB follow one another |
//! | UFT/2 of the field | every line waits for its reply; a burst is no larger than the herald says, and waits for 3xx |
//! | UFT/1 (herald 1xx) | the same, but no `META`, no `AUXDATA`, and a burst follows its `DATA` at once |
//!
//! Only the first digit of a reply decides. Information (1xx), bulk output (6xx) and remarks (`#`, `*`) may come at any
//! time. After a refusal comes `ABORT`, then the next errand or `QUIT`. 2xx to `EOF` is a delivery, whatever happens to
//! the connection after it; nothing else is.
//!
//! With an identity the server has to prove that it is the gateway that it is to be before anything else is said.
//!
//! Source: `docs/protocol.md`.

mod saying;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::command::Fork;
use super::errand::{Action, At, DialogueOptions, Errand, Event, Identity, NotProven};
use super::held::Held;
use super::herald::{Herald, NotWelcome};
use super::line::{Frame, Framer, LINE_MAX, is_blank, text};
use super::proof::{Credentials, Exchange, Role, Secret};
use super::reply::Code;
use super::wording::{Line, Manner, Words};

/// The burst that every server takes, in bytes, and the largest that servers of the field get.
pub const FIELD_BURST_MAX: usize = 32256;
/// Bursts towards our own server.
pub const OUR_BURST_MAX: usize = 1 << 20;
/// A file of at most this many bytes goes to our own server in one piece.
pub const ONE_PIECE_MAX: usize = 64 << 10;
/// Replies that may be outstanding while bursts follow one another: four bursts.
const WINDOW: usize = 8;
/// Most lines of a server before the reply that is waited for.
const CHATTER_MAX: u32 = 10_000;

/// The client side of one connection.
#[derive(Debug)]
pub struct Dialogue {
    options: DialogueOptions,
    framer: Framer,
    /// Known when the herald was read.
    server: Option<Server>,
    queue: VecDeque<(usize, Errand)>,
    submitted: usize,
    finishing: bool,
    /// What the server's proof is checked against; until then nothing is said.
    proving: Option<(Exchange, Secret)>,
    /// What the driver is still to be told.
    out: VecDeque<Action>,
    /// Replies that are still to come, oldest first.
    awaited: VecDeque<At>,
    work: Option<Work>,
    quit_said: bool,
    closed: bool,
    /// Lines since the last reply.
    chatter: u32,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    manner: Manner,
    pipelined: bool,
    max_burst: usize,
}

/// The errand that is being done.
#[derive(Debug)]
struct Work {
    errand: usize,
    stage: Stage,
    /// Lines to say before anything else.
    todo: VecDeque<Line>,
    /// What is said between the bytes and `EOF`.
    late: Vec<Line>,
    /// The slice at hand, and whether it is the fork's last.
    slice: Option<(Bytes, bool)>,
    /// What the server has of it, to be compared.
    held: Held,
    /// Which bytes it has was said: the server can know that it has them all.
    digested: bool,
    /// A second fork follows.
    aux: bool,
    /// Its end was reported.
    settled: bool,
    /// Can the file do without its `TYPE`?
    type_matters: bool,
}

/// A piece of what goes out in one write.
enum Part {
    Line(String),
    Payload(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said yet: the first slice shows whether the file goes in one piece.
    Gather,
    /// The head is said.
    Head,
    /// Bursts.
    Body(Fork),
    /// `DATA` was said, the slice waits for 3xx.
    Go(Fork),
    /// The last lines are said.
    Tail,
    /// `ABORT` is said.
    Abort,
}

impl Dialogue {
    /// A dialogue that waits for the herald.
    pub fn new(options: DialogueOptions) -> Dialogue {
        Dialogue {
            options,
            framer: Framer::new(LINE_MAX),
            server: None,
            queue: VecDeque::new(),
            submitted: 0,
            finishing: false,
            proving: None,
            out: VecDeque::new(),
            awaited: VecDeque::new(),
            work: None,
            quit_said: false,
            closed: false,
            chatter: 0,
        }
    }

    /// Queues an errand; the first has number 0.
    pub fn submit(&mut self, errand: Errand) {
        let number = self.submitted;
        self.submitted += 1;
        if self.closed || self.quit_said {
            self.event(Event::NotTried { errand: number });
        } else {
            self.queue.push_back((number, errand));
        }
    }

    /// No more errands: after the last one the session is ended. Say it early, so that `QUIT` need not wait.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// The next slice of the file, after [`Action::WantBody`]; `last` with its last one, which may be empty.
    pub fn body(&mut self, wire: Bytes, last: bool) {
        if let Some(work) = &mut self.work {
            work.slice = Some((wire, last)).filter(|_| !work.settled);
        }
    }

    /// The answer to [`Action::WantPrefix`]: whether the file fits what the server has of it.
    pub fn prefix(&mut self, fits: bool) {
        let Some(work) = self.work.as_mut().filter(|work| !work.settled) else {
            return;
        };
        let errand = work.errand;
        match std::mem::replace(&mut work.held, Held::Nothing) {
            Held::Nothing => {}
            _ if !fits => {
                self.settle();
                self.event(Event::Changed { errand });
            }
            held => {
                let offset = work.resume(held);
                self.event(Event::Resumed { errand, offset });
            }
        }
    }

    /// Adds an attribute to the file that is being sent; before the last call of [`Dialogue::body`]. It is said
    /// between the bytes and `EOF`.
    pub fn attribute(&mut self, key: &str, value: &str) {
        let (Some(work), Some(server)) = (&mut self.work, &self.server) else {
            return;
        };
        let mut words = Words::default();
        words.attribute(key, value, server.manner);
        work.late.extend(words.lines);
        let errand = work.errand;
        for note in words.notes {
            self.event(Event::Altered { errand, note });
        }
    }

    /// The server sends nothing more. Poll until [`Action::NeedBytes`] before; go on with [`Dialogue::poll`] after.
    pub fn peer_closed(&mut self) -> Action {
        if !self.closed {
            self.lost("the connection was closed");
        }
        self.poll(&mut BytesMut::new())
    }

    /// The next thing to do. Takes what it needs out of `input`, to which the driver appends what it reads.
    pub fn poll(&mut self, input: &mut BytesMut) -> Action {
        loop {
            if let Some(action) = self.out.pop_front() {
                return action;
            }
            if self.closed {
                return Action::Closed;
            }
            match self.framer.next(input) {
                Frame::Line(line) => {
                    let (line, _) = text(&line);
                    self.heard(&line);
                    continue;
                }
                Frame::TooLong(_) => self.lost("the server sent a line without end"),
                Frame::More if self.framer.overflowing() => self.lost("the server sent a line without end"),
                Frame::More => {
                    if self.advance() {
                        continue;
                    }
                    return self.want_body().unwrap_or(Action::NeedBytes);
                }
            }
        }
    }

    // ---- what the server says

    fn heard(&mut self, line: &str) {
        if self.options.transcript {
            self.event(Event::Heard(line.to_owned()));
        }
        self.chatter += 1;
        if self.chatter > CHATTER_MAX {
            return self.lost("the server talks without end");
        }
        if line.is_empty() {
            return;
        }
        if line.starts_with(['#', '*']) {
            return self.event(Event::Info(line.to_owned()));
        }
        let Some(server) = self.server else {
            return self.herald(line);
        };
        let (code, text) = match Code::of(line) {
            Some(code) => (code, line.get(3..).unwrap_or_default().trim_start_matches(' ')),
            None => return self.event(Event::Info(line.to_owned())),
        };
        match code.class() {
            2..=5 => {
                self.chatter = 0;
                self.replied(server, code, text);
            }
            // One blank ends the number; the others are the text's.
            6 => self.event(Event::Bulk(line.get(4..).unwrap_or_default().to_owned())),
            _ => self.event(Event::Info(line.to_owned())),
        }
    }

    fn herald(&mut self, line: &str) {
        match Herald::parse(line) {
            Ok(herald) => {
                self.chatter = 0;
                let manner = Manner::of(&herald);
                let announced = herald
                    .max_burst
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(FIELD_BURST_MAX);
                let max_burst = if manner.ours {
                    OUR_BURST_MAX
                } else {
                    announced.min(FIELD_BURST_MAX)
                };
                self.server = Some(Server {
                    manner,
                    pipelined: manner.ours && self.options.pipeline,
                    max_burst,
                });
                self.event(Event::Herald {
                    line: line.to_owned(),
                    ours: manner.ours,
                    level: manner.level,
                });
                if let Some(client) = &self.options.client {
                    let client = client.replace(|c: char| c.is_control(), "_");
                    self.send([Part::Line(format!("#UFT/2 client {client}"))]);
                }
                if let Some(identity) = self.options.identity.take() {
                    self.prove(&herald, identity);
                }
            }
            Err(NotWelcome::Refused(code, text)) => {
                for (errand, _) in std::mem::take(&mut self.queue) {
                    self.event(Event::Refused {
                        errand,
                        at: At::Herald,
                        code,
                        text: text.clone(),
                    });
                }
                self.closed = true;
            }
            Err(NotWelcome::NotUft) => self.lost("this is not a UFT server"),
        }
    }

    /// Says who we are; what the server answers shows who it is.
    fn prove(&mut self, herald: &Herald, identity: Identity) {
        let Some(server_nonce) = herald.nonce else {
            return self.not_proven(NotProven::NoNonce);
        };
        let Credentials { name, server, secret } = identity.credentials;
        let exchange = Exchange {
            client: name,
            server,
            server_nonce,
            client_nonce: identity.nonce,
            exporter: identity.exporter,
        };
        let proof = exchange.prove(Role::Client, &secret);
        let line = format!("PEER {} {} {proof}", exchange.client, exchange.client_nonce);
        self.proving = Some((exchange, secret));
        self.say([(At::Peer, line)]);
    }

    fn proof(&mut self, code: Code, text: &str) {
        let Some((exchange, secret)) = self.proving.take() else {
            return;
        };
        let tag = text.split(is_blank).next().unwrap_or_default().parse();
        if code.class() >= 4 {
            self.not_proven(NotProven::Refused(code, text.to_owned()));
        } else if tag.is_ok_and(|tag| exchange.verify(Role::Server, &secret, &tag)) {
            self.event(Event::Proven);
        } else {
            self.not_proven(NotProven::Wrong);
        }
    }

    fn not_proven(&mut self, why: NotProven) {
        self.event(Event::NotProven(why));
        self.end();
    }

    fn replied(&mut self, server: Server, code: Code, text: &str) {
        let Some(at) = self.awaited.pop_front() else {
            return self.unasked(code, text);
        };
        match (at, code.class()) {
            (At::Quit, _) => self.end(),
            (At::Abort, _) => {}
            (At::Peer, _) => self.proof(code, text),
            (_, 4 | 5) => self.refused(server, at, code, text),
            (At::Data, 3) if server.pipelined => {}
            (At::Data, 2 | 3) if !server.pipelined => self.go(server),
            // UFT/1 has no such reply, but nothing depends on it either.
            (At::Burst, 3) if server.manner.level == 1 => self.awaited.push_front(at),
            (_, 3) | (At::Data, _) => self.lost("the server is out of step"),
            (At::Eof, _) => {
                if let Some(work) = self.work.take_if(|work| !work.settled) {
                    let number = |key: &str| {
                        let mut words = text.split([' ', ';']).filter(|_| server.manner.ours);
                        words.find_map(|word| word.strip_prefix(key)?.parse().ok())
                    };
                    let (id, job) = (number("id="), number("job="));
                    self.event(Event::Delivered {
                        errand: work.errand,
                        code,
                        text: text.to_owned(),
                        id,
                        job,
                    });
                }
            }
            (At::Message | At::Query, _) => {
                if let Some(errand) = self.settle() {
                    self.event(Event::Done {
                        errand,
                        code,
                        text: text.to_owned(),
                    });
                }
                self.work.take_if(|_| at == At::Query);
            }
            (At::Transfer, _) => {
                if let Some(work) = self.work.as_mut().filter(|work| !work.settled) {
                    work.heard_of(Held::parse(text));
                }
            }
            (At::Herald | At::File | At::User | At::Type | At::Attribute | At::Burst, _) => {}
        }
    }

    fn refused(&mut self, server: Server, at: At, code: Code, text: &str) {
        let text = text.to_owned();
        let Some(work) = &self.work else { return };
        let errand = work.errand;
        let needed = server.manner.ours || !(at == At::Attribute || at == At::Type && !work.type_matters);
        if !needed {
            return self.event(Event::Ignored {
                errand,
                at,
                code,
                text,
            });
        }
        if let Some(errand) = self.settle() {
            self.event(Event::Refused {
                errand,
                at,
                code,
                text,
            });
        }
        // Our own server ends the session when it refuses bytes.
        if server.manner.ours && matches!(at, At::Data | At::Burst | At::Eof) {
            self.end();
        }
        self.work.take_if(|_| at == At::Query);
    }

    /// A final reply while nothing is waited for: the server gives up, or it and we do not mean the same commands.
    fn unasked(&mut self, code: Code, text: &str) {
        if code.class() < 4 {
            return self.lost("the server is out of step");
        }
        let at = self.place();
        if let Some(errand) = self.settle() {
            self.event(Event::Refused {
                errand,
                at,
                code,
                text: text.to_owned(),
            });
        }
        self.end();
    }

    /// The go-ahead of a burst.
    fn go(&mut self, server: Server) {
        let Some(work) = &mut self.work else { return };
        let Stage::Go(fork) = work.stage else { return };
        let payload = work.take_burst(fork, server.max_burst);
        self.awaited.push_back(At::Burst);
        self.send([Part::Payload(payload)]);
    }

    // ---- ends

    /// The errand has its result: nothing more is said of it but `ABORT`.
    fn settle(&mut self) -> Option<usize> {
        let work = self.work.as_mut().filter(|work| !work.settled)?;
        work.settled = true;
        work.slice = None;
        work.todo.clear();
        Some(work.errand)
    }

    /// The conversation breaks off without a word of the server.
    fn lost(&mut self, what: &str) {
        let (at, what) = (self.place(), what.to_owned());
        if let Some(errand) = self.settle() {
            self.event(Event::Lost {
                errand,
                at,
                what: what.clone(),
            });
        }
        if self.server.is_none() {
            for (errand, _) in std::mem::take(&mut self.queue) {
                self.event(Event::Lost {
                    errand,
                    at,
                    what: what.clone(),
                });
            }
        }
        self.end();
    }

    fn end(&mut self) {
        for (errand, _) in std::mem::take(&mut self.queue) {
            self.event(Event::NotTried { errand });
        }
        self.closed = true;
    }

    /// What is waited for, or would be next.
    pub fn place(&self) -> At {
        if self.server.is_none() {
            return At::Herald;
        }
        let next = || match self.work.as_ref().map(|work| work.stage) {
            Some(Stage::Gather | Stage::Head) => At::File,
            Some(Stage::Body(_) | Stage::Go(_)) => At::Data,
            Some(Stage::Tail) => At::Eof,
            Some(Stage::Abort) => At::Abort,
            None => At::Quit,
        };
        self.awaited.front().copied().unwrap_or_else(next)
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Action::Event(event));
    }
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
