//! What a client's dialogue and its driver say to each other: errands in, actions and events out.
//!
//! What this file does *not* do: anything; these are the nouns of `dialogue.rs`.

use std::fmt;

use bytes::Bytes;
use uft_spool::{Attribute, SpoolId, TypeSpec};

use super::command::Fork;
use super::held::Held;
use super::proof::{Credentials, Nonce};
use super::reply::Code;

/// How to talk.
#[derive(Clone, Debug)]
pub struct DialogueOptions {
    /// Who we say we are (`sendfile/0.1.0`), in a comment that servers do not answer; nothing by default.
    pub client: Option<String>,
    /// Towards our own server: say what can be said without waiting for each reply.
    pub pipeline: bool,
    /// Report every line, both ways, as [`Event::Sent`] and [`Event::Heard`].
    pub transcript: bool,
    /// Which gateway we are, to a server that is to be another one: nothing is said to it before both have proven it.
    pub identity: Option<Identity>,
}

/// Which gateway we are, and which one the other end is to be.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Both names, and what both gateways have.
    pub credentials: Credentials,
    /// Fresh random bits for each connection.
    pub nonce: Nonce,
    /// What the TLS session exports; empty in clear.
    pub exporter: Vec<u8>,
}

/// Why the other end is not taken for the gateway that it is to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// Its herald has no nonce.
    #[error("it asks for no proof, so it has no secret in common with anybody")]
    NoNonce,
    /// It does not take ours.
    #[error("it does not accept our proof: {0} {1}")]
    Refused(Code, String),
    /// It does not have the secret.
    #[error("its own proof is wrong: it does not have the secret")]
    Wrong,
}

impl Default for DialogueOptions {
    fn default() -> DialogueOptions {
        DialogueOptions {
            client: None,
            pipeline: true,
            transcript: false,
            identity: None,
        }
    }
}

/// Something to be done in one connection.
#[derive(Clone, Debug)]
pub enum Errand {
    /// A file for one recipient. The bytes are asked for with [`Action::WantBody`].
    Deliver(Box<Delivery>),
    /// A line of text.
    Message {
        /// User at the other end.
        to: String,
        /// The text: one line.
        text: String,
        /// Our user's login name.
        from: Option<String>,
    },
    /// The operands of `CPQ`: `TIME`, `USER name`.
    Query(String),
}

/// What is said of a file; its bytes come later.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// User at the other end: 1 to 63 bytes, no blanks.
    pub to: String,
    /// Estimate of the size in bytes.
    pub size: Option<u64>,
    /// Our user's login name.
    pub from: Option<String>,
    /// Name of the file.
    pub name: Option<String>,
    /// Its type; the bytes are in that wire form already.
    pub spec: TypeSpec,
    /// Attributes, in this order; keys in upper case, `NAME` not among them. `XID` and `DIGEST` may be.
    pub attributes: Vec<Attribute>,
    /// Whether there is a second fork; it is asked for after the first.
    pub aux: bool,
}

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read more bytes; or, when the server has closed, call [`Dialogue::peer_closed`](super::Dialogue::peer_closed).
    NeedBytes,
    /// Write these bytes. When that fails, read what the server still said, then report it as closed.
    Send(Bytes),
    /// Call [`Dialogue::body`](super::Dialogue::body) with the next slice of the file.
    WantBody {
        /// Of which of the two byte strings.
        fork: Fork,
        /// Its largest length, in bytes.
        most: usize,
    },
    /// The server has this of the file already. Call [`Dialogue::prefix`](super::Dialogue::prefix): does the file begin
    /// with [`Held::Part`], is it as a whole what `DIGEST` among its attributes says ([`Held::All`])? If so, the next
    /// slice is the one behind.
    WantPrefix(Held),
    /// Something happened.
    Event(Event),
    /// Close the connection; nothing more will happen.
    Closed,
}

/// Something that happened. Texts of the server are hostile, and are as they came. Every errand ends with exactly one
/// of `Delivered`, `Done`, `Refused`, `Changed`, `Unfit`, `Lost`, `NotTried`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server said who it is.
    Herald {
        /// The whole line.
        line: String,
        /// It is our own product.
        ours: bool,
        /// 1 or 2 (UFT/1, UFT/2).
        level: u8,
    },
    /// Both ends have proven who they are.
    Proven,
    /// The other end has not proven who it is; the conversation is over, and nothing but our proof was said.
    NotProven(NotProven),
    /// A line that we sent, or the length of a payload.
    Sent(String),
    /// A line that the server sent.
    Heard(String),
    /// An information line (1xx) or a remark of the server.
    Info(String),
    /// Work on this errand begins; the next bodies are for it.
    Started {
        /// Its number: 0 is the first that was submitted.
        errand: usize,
    },
    /// Something is not sent as it was given.
    Altered {
        /// Of this errand.
        errand: usize,
        /// What, and why.
        note: String,
    },
    /// The server does not take something that a file can do without.
    Ignored {
        /// Of this errand.
        errand: usize,
        /// What was said.
        at: At,
        /// The reply.
        code: Code,
        /// Its text.
        text: String,
    },
    /// The file goes on where an earlier attempt at it ended.
    Resumed {
        /// This errand.
        errand: usize,
        /// At this byte; `None` when the server has all of it.
        offset: Option<u64>,
    },
    /// A line of bulk output (6xx), without its number.
    Bulk(String),
    /// The server has the file: 2xx to `EOF`.
    Delivered {
        /// This errand.
        errand: usize,
        /// The reply.
        code: Code,
        /// Its text.
        text: String,
        /// The number of the item there, if the server said so.
        id: Option<SpoolId>,
        /// The number in the queue of a server that sends it on, if it said so.
        job: Option<SpoolId>,
    },
    /// A message was taken, a query was answered.
    Done {
        /// This errand.
        errand: usize,
        /// The reply.
        code: Code,
        /// Its text.
        text: String,
    },
    /// The server says no.
    Refused {
        /// To this errand.
        errand: usize,
        /// In reply to this.
        at: At,
        /// The reply.
        code: Code,
        /// Its text.
        text: String,
    },
    /// What the server has of this transfer is not of this file. It was told to throw that away: the next attempt begins
    /// at the start.
    Changed {
        /// This errand.
        errand: usize,
    },
    /// Not even tried: it cannot be said to any server.
    Unfit {
        /// This errand.
        errand: usize,
        /// Why.
        why: String,
    },
    /// The conversation broke off. Whether the server has the file is unknown; it has not acknowledged it.
    Lost {
        /// This errand.
        errand: usize,
        /// Where.
        at: At,
        /// How.
        what: String,
    },
    /// The connection ended before this errand began: it may be tried in another one.
    NotTried {
        /// This errand.
        errand: usize,
    },
}

/// A place in the conversation: what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first line.
    Herald,
    /// The reply to `PEER`.
    Peer,
    /// The reply to `FILE`.
    File,
    /// The reply to `USER`.
    User,
    /// The reply to `TYPE`.
    Type,
    /// The reply to an attribute.
    Attribute,
    /// The reply to `META XID`.
    Transfer,
    /// The reply to `DATA` or `AUXDATA`.
    Data,
    /// The reply to the bytes of a burst.
    Burst,
    /// The reply to `EOF`.
    Eof,
    /// The reply to `MSG`.
    Message,
    /// The reply to `CPQ`.
    Query,
    /// The reply to `ABORT`.
    Abort,
    /// The reply to `QUIT`.
    Quit,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            At::Herald => "herald",
            At::Peer => "PEER",
            At::File => "FILE",
            At::User => "USER",
            At::Type => "TYPE",
            At::Attribute => "META",
            At::Transfer => "META XID",
            At::Data => "DATA",
            At::Burst => "data",
            At::Eof => "EOF",
            At::Message => "MSG",
            At::Query => "CPQ",
            At::Abort => "ABORT",
            At::Quit => "QUIT",
        })
    }
}
