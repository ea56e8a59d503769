//! A rig for tests and fuzzers: a session with a spool in memory, and a dialogue against it, cut at any chunks.
//!
//! What this file does *not* do: check anything but the invariants that hold for every input; those are asserted.

use bytes::{Bytes, BytesMut};
use uft_spool::{Measure, SpoolId};

use super::super::proto::proof::{Credentials, Exchange, Nonce, Role, Secret};
use super::super::proto::{
    Action, Answer, Ask, Closing, Dialogue, DialogueOptions, Draft, Errand, Event, Expected, Fork, Greeting,
    Held, LINE_MAX, Phase, Refusal, Session, Step,
};

/// A file that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What was said of it.
    pub(crate) draft: Draft,
    /// Its bytes.
    pub(crate) data: Vec<u8>,
    /// Its second fork.
    pub(crate) aux: Vec<u8>,
}

/// What the spool in memory refuses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Refuse `FILE`.
    pub(crate) open: Option<Refusal>,
    /// Refuse every burst before its bytes.
    pub(crate) burst: Option<Refusal>,
    /// Fail the write that reaches this many bytes.
    pub(crate) write_at: Option<usize>,
    /// Refuse at the end of a burst.
    pub(crate) burst_end: Option<Refusal>,
    /// Refuse the commit.
    pub(crate) commit: Option<Refusal>,
    /// Of every transfer with an id these bytes are there already.
    pub(crate) held: Vec<u8>,
    /// There is a gateway that can prove itself: [`credentials`].
    pub(crate) gateway: bool,
}

/// A session, what it asked for, and what came of it.
#[derive(Debug)]
pub(crate) struct Server {
    session: Session,
    input: BytesMut,
    /// Everything it said.
    pub(crate) said: Vec<u8>,
    /// Every committed file.
    pub(crate) stored: Vec<Stored>,
    /// Every message: to, text, from.
    pub(crate) messages: Vec<(String, String, Option<String>)>,
    /// Files that came to nothing.
    pub(crate) discarded: usize,
    /// How it ended.
    pub(crate) closed: Option<Closing>,
    /// Gateways that have proven themselves.
    pub(crate) proven: usize,
    faults: Faults,
    open: bool,
    data: Vec<u8>,
    aux: Vec<u8>,
    burst: u64,
}

/// The nonce in the rig's herald.
pub(crate) const NONCE: Nonce = Nonce([7; 16]);

/// The gateway that the rig knows, as that gateway knows the rig.
pub(crate) fn credentials() -> Credentials {
    let secret = Secret::of_file(b"of the rig and its gateway").expect("long enough");
    Credentials {
        name: "alpha".into(),
        server: "beta".into(),
        secret,
    }
}

/// The users that the rig knows.
pub(crate) const USERS: [&str; 4] = ["alice", "bob", "root", "whoever"];

impl Server {
    /// A server that calls itself `product`.
    pub(crate) fn new(product: &str, faults: Faults) -> Server {
        let greeting = Greeting {
            host: "vm".into(),
            product: product.into(),
            max_burst: 32256,
            nonce: faults.gateway.then_some(NONCE),
        };
        Server {
            session: Session::new(greeting),
            input: BytesMut::new(),
            said: Vec::new(),
            stored: Vec::new(),
            messages: Vec::new(),
            discarded: 0,
            closed: None,
            proven: 0,
            faults,
            open: false,
            data: Vec::new(),
            aux: Vec::new(),
            burst: 0,
        }
    }

    /// Feeds bytes and does what the session says, until it wants more.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.closed.is_none() {
            let step = self.session.poll(&mut self.input);
            if step == Step::NeedBytes {
                assert!(
                    self.input.len() <= LINE_MAX + 1,
                    "the session leaves input behind"
                );
                assert!(self.session.phase() != Phase::Answer);
                return;
            }
            self.step(step);
        }
    }

    /// The peer closes its side.
    pub(crate) fn close(&mut self) {
        let mut next = (self.closed.is_none()).then(|| self.session.peer_closed());
        while let Some(step) = next.take() {
            assert!(step != Step::NeedBytes, "a session ends when its peer is gone");
            self.step(step);
            next = (self.closed.is_none()).then(|| self.session.poll(&mut BytesMut::new()));
        }
        assert!(!self.open, "every file ends");
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::NeedBytes => {}
            Step::Reply(reply) => {
                let mut out = BytesMut::new();
                reply.write(&mut out);
                for line in out.split_inclusive(|&b| b == b'\n') {
                    assert!(line.len() < 200 && line.len() > 5 && line.ends_with(b"\r\n"));
                    let text = line.strip_suffix(b"\r\n").unwrap_or_default();
                    assert!(
                        text.iter().all(|&b| b >= b' ' && b != 0x7f),
                        "no control characters"
                    );
                }
                self.said.extend_from_slice(&out);
            }
            Step::Ask(ask) => {
                let verdict = self.decide(ask);
                self.session.answer(verdict);
            }
            Step::Data(fork, bytes) => {
                assert!(self.open && !bytes.is_empty() && bytes.len() as u64 <= self.burst);
                self.burst -= bytes.len() as u64;
                let to = if fork == Fork::Data {
                    &mut self.data
                } else {
                    &mut self.aux
                };
                to.extend_from_slice(&bytes);
                if self.faults.write_at.is_some_and(|at| to.len() >= at) {
                    self.session.refuse_burst(Refusal::NoRoom);
                }
            }
            Step::Close(closing) => {
                assert!(!self.open, "every file ends before the session does");
                self.closed = Some(closing);
            }
        }
    }

    /// What is there of a transfer.
    fn held(&self, draft: &Draft) -> Held {
        let finished = self.stored.iter().any(|stored| {
            let digest = Expected::Blake3(*blake3::hash(&stored.data).as_bytes());
            draft.xid.is_some() && stored.draft.xid == draft.xid && draft.digest == Some(digest)
        });
        match self.faults.held.len() as u64 {
            _ if finished => Held::All,
            0 => Held::Nothing,
            bytes => Held::Part(Measure {
                bytes,
                blake3: blake3::hash(&self.faults.held),
            }),
        }
    }

    /// The file goes on from what is there, if its sender says so.
    fn take_up(&mut self, draft: &Draft) {
        if let (true, Some(offset)) = (self.data.is_empty(), draft.offset) {
            assert_eq!(offset, self.faults.held.len() as u64, "only what was offered");
            self.data.clone_from(&self.faults.held);
        }
    }

    fn decide(&mut self, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Open(_) => self.faults.open.clone().map_or(Ok(Answer::Done), Err),
            Ask::Recipient(name) if USERS.contains(&name.as_str()) => {
                assert!(!self.open);
                self.open = true;
                Ok(Answer::Recipient(name))
            }
            Ask::Recipient(name) => Err(Refusal::NoSuchUser { name }),
            Ask::Transfer(draft) => {
                assert!(self.open && self.burst == 0 && self.data.is_empty() && draft.xid.is_some());
                assert_eq!(draft.offset, None);
                Ok(Answer::Held(self.held(&draft)))
            }
            Ask::Burst { fork, count, draft } => {
                assert!(self.open && self.burst == 0);
                if fork == Fork::Data {
                    self.take_up(&draft);
                }
                if let Some(refusal) = self.faults.burst.clone() {
                    return Err(refusal);
                }
                self.burst = count;
                Ok(Answer::Done)
            }
            Ask::BurstEnd { .. } => {
                assert!(self.open && self.burst == 0);
                self.faults.burst_end.clone().map_or(Ok(Answer::Done), Err)
            }
            Ask::Commit(draft) => {
                assert!(self.open && self.burst == 0);
                self.open = false;
                self.take_up(&draft);
                let (data, aux) = (std::mem::take(&mut self.data), std::mem::take(&mut self.aux));
                if let Some(refusal) = self.faults.commit.clone() {
                    return Err(refusal);
                }
                if let (true, Held::All) = (data.is_empty(), self.held(&draft)) {
                    return Ok(Answer::Stored(SpoolId::new(1)));
                }
                self.stored.push(Stored {
                    draft: *draft,
                    data,
                    aux,
                });
                Ok(Answer::Stored(SpoolId::new(self.stored.len() as u64)))
            }
            Ask::Discard => {
                assert!(self.open);
                self.open = false;
                self.burst = 0;
                self.data.clear();
                self.aux.clear();
                self.discarded += 1;
                Ok(Answer::Done)
            }
            Ask::Message { to, text, from } if USERS.contains(&to.as_str()) => {
                self.messages.push((to, text, from));
                Ok(Answer::Done)
            }
            Ask::Message { to, .. } => Err(Refusal::NotLoggedOn { name: to }),
            Ask::Query(query) => Ok(Answer::Lines(vec![
                format!("{}: N/A", query.name()),
                String::new(),
            ])),
            Ask::Agent(key) if key.expose() == "feedfacecafebeef0123" => Ok(Answer::Done),
            Ask::Agent(_) => Err(Refusal::NoAgentMatch),
            Ask::Peer(claim) => {
                assert!(!self.open && self.proven == 0 && self.faults.gateway);
                let Credentials { name, server, secret } = credentials();
                let exchange = Exchange {
                    client: claim.name,
                    server,
                    server_nonce: claim.server_nonce,
                    client_nonce: claim.client_nonce,
                    exporter: Vec::new(),
                };
                let known = exchange.client.eq_ignore_ascii_case(&name);
                if !known || !exchange.verify(Role::Client, &secret, &claim.proof) {
                    return Err(Refusal::NotAPeer);
                }
                self.proven += 1;
                Ok(Answer::Proof(exchange.prove(Role::Server, &secret)))
            }
        }
    }
}

/// What a conversation came to.
pub(crate) type Outcome = (
    Vec<u8>,
    Vec<Stored>,
    Vec<(String, String, Option<String>)>,
    usize,
    Option<Closing>,
);

/// A whole client's side, fed in pieces of `size` bytes, then closed.
pub(crate) fn serve(bytes: &[u8], size: usize, faults: &Faults) -> Outcome {
    let mut server = Server::new("uftd/0", faults.clone());
    server.feed(b"");
    for piece in bytes.chunks(size.max(1)) {
        server.feed(piece);
    }
    server.close();
    (
        server.said,
        server.stored,
        server.messages,
        server.discarded,
        server.closed,
    )
}

/// A dialogue with one body for all its deliveries.
#[derive(Debug)]
pub(crate) struct Client {
    dialogue: Dialogue,
    input: BytesMut,
    body: Bytes,
    aux: Bytes,
    left: (Bytes, Bytes),
    /// What it reported.
    pub(crate) events: Vec<Event>,
    /// Everything it said.
    pub(crate) said: Vec<u8>,
    fresh: Vec<u8>,
    /// It is done.
    pub(crate) closed: bool,
}

impl Client {
    /// A client with these errands, and nothing after them.
    pub(crate) fn new(options: DialogueOptions, errands: Vec<Errand>, body: &[u8], aux: &[u8]) -> Client {
        let mut dialogue = Dialogue::new(options);
        for errand in errands {
            dialogue.submit(errand);
        }
        dialogue.finish();
        let (body, aux) = (Bytes::copy_from_slice(body), Bytes::copy_from_slice(aux));
        let (input, events, said, fresh, left) = Default::default();
        Client {
            dialogue,
            input,
            body,
            aux,
            left,
            events,
            said,
            fresh,
            closed: false,
        }
    }

    /// Feeds bytes and does what the dialogue says, until it wants more.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            match self.dialogue.poll(&mut self.input) {
                Action::NeedBytes => {
                    assert!(self.input.len() <= LINE_MAX + 1);
                    return;
                }
                Action::Closed => {
                    self.closed = true;
                    return;
                }
                action => self.act(action),
            }
        }
    }

    /// The server closes.
    pub(crate) fn close(&mut self) {
        let mut action = self.dialogue.peer_closed();
        while action != Action::Closed {
            assert!(
                action != Action::NeedBytes,
                "a dialogue ends when its peer is gone"
            );
            self.act(action);
            action = self.dialogue.poll(&mut BytesMut::new());
        }
        self.closed = true;
    }

    /// What it said since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.fresh)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(bytes) => {
                assert!(!bytes.is_empty());
                self.said.extend_from_slice(&bytes);
                self.fresh.extend_from_slice(&bytes);
            }
            Action::WantBody { fork, most } => {
                let left = if fork == Fork::Data {
                    &mut self.left.0
                } else {
                    &mut self.left.1
                };
                let slice = left.split_to(most.min(left.len()));
                let last = left.is_empty();
                self.dialogue.body(slice, last);
            }
            Action::WantPrefix(held) => {
                let fits = match held {
                    Held::Nothing => false,
                    Held::All => true,
                    Held::Part(part) => usize::try_from(part.bytes)
                        .ok()
                        .and_then(|bytes| self.body.get(..bytes))
                        .is_some_and(|prefix| blake3::hash(prefix) == part.blake3),
                };
                if let (true, Held::Part(part)) = (fits, held) {
                    self.left.0 = self.body.slice(usize::try_from(part.bytes).unwrap_or_default()..);
                }
                self.dialogue.prefix(fits);
            }
            Action::Event(event) => {
                if matches!(event, Event::Started { .. }) {
                    self.left = (self.body.clone(), self.aux.clone());
                }
                self.events.push(event);
            }
            Action::NeedBytes | Action::Closed => {}
        }
    }

    /// What it reported of its errands, without remarks of the server.
    pub(crate) fn results(&self) -> Vec<&Event> {
        self.events
            .iter()
            .filter(|event| !matches!(event, Event::Info(_)))
            .collect()
    }

    /// How each errand ended: its number, and whether well.
    pub(crate) fn ends(&self) -> Vec<(usize, bool)> {
        let ends = self.events.iter().filter_map(|event| match event {
            Event::Delivered { errand, .. } | Event::Done { errand, .. } => Some((*errand, true)),
            Event::Refused { errand, .. }
            | Event::Unfit { errand, .. }
            | Event::Lost { errand, .. }
            | Event::Changed { errand }
            | Event::NotTried { errand } => Some((*errand, false)),
            _ => None,
        });
        let mut ends: Vec<(usize, bool)> = ends.collect();
        ends.sort_unstable();
        ends
    }
}

/// Lets the two talk, `up` bytes at a time to the server and `down` bytes to the client.
pub(crate) fn talk(client: &mut Client, server: &mut Server, up: usize, down: usize) {
    server.feed(b"");
    client.feed(b"");
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut heard = 0;
    loop {
        to_client.extend_from_slice(server.said.get(heard..).unwrap_or_default());
        heard = server.said.len();
        to_server.extend_from_slice(&client.take());
        if client.closed {
            server.feed(&to_server);
            return server.close();
        }
        if !to_server.is_empty() && server.closed.is_none() {
            let piece = to_server.split_to(up.min(to_server.len()));
            server.feed(&piece);
        } else if !to_client.is_empty() {
            let piece = to_client.split_to(down.min(to_client.len()));
            client.feed(&piece);
        } else if server.closed.is_some() {
            client.close();
        } else {
            assert!(heard < server.said.len(), "both wait for each other");
        }
    }
}
