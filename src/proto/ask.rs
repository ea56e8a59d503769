//! What a session and its driver say to each other: steps out, answers in.
//!
//! What this file does *not* do: anything; these are the nouns of `session.rs`.

use bytes::Bytes;
use uft_spool::SpoolId;

use super::command::{AgentKey, Auth, Fork};
use super::draft::Draft;
use super::held::Held;
use super::proof::{Nonce, Tag};
use super::query::Query;
use super::reply::Reply;

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more bytes; or, when the peer has closed its side, call [`Session::peer_closed`](super::Session::peer_closed).
    NeedBytes,
    /// Write this, in one write.
    Reply(Reply),
    /// Find out, and call [`Session::answer`](super::Session::answer) exactly once.
    Ask(Ask),
    /// Bytes of the burst that was asked for last.
    Data(Fork, Bytes),
    /// The session is over; every further poll says so again.
    Close(Closing),
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Close it, after what is left to write.
    Now,
    /// Input may still be on its way, and a close with unread input is a reset that would take the last reply with it:
    /// write what is left, shut down our side, read and discard for a bounded time and size, then close.
    Linger,
}

/// A decision that is not the protocol's. The name in brackets is the answer it wants; any [`Refusal`](super::Refusal)
/// may be given instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `FILE`: may this peer send, is there room? [`Answer::Done`]
    Open(Opening),
    /// `USER`: is there such a recipient? One word, lower case, otherwise as it came. [`Answer::Recipient`]
    Recipient(String),
    /// `META XID`, before the bytes: what is there of this transfer already? What is answered stays the driver's to
    /// go on with until the first burst of `DATA` or the end of the file: its draft says in `offset` whether the client
    /// goes on from there. [`Answer::Held`]
    Transfer(Box<Draft>),
    /// `DATA` or `AUXDATA`: may `count` bytes come? [`Answer::Done`]
    Burst {
        /// Which of the two.
        fork: Fork,
        /// Bytes to come: `0 <= count <= i64::MAX`. Not an amount to allocate.
        count: u64,
        /// What was said of the file so far. `TYPE` and attributes may still follow: the draft of the commit rules.
        draft: Box<Draft>,
    },
    /// All bytes of the burst were handed out; are they safe with the driver? [`Answer::Done`]
    BurstEnd {
        /// Which of the two.
        fork: Fork,
        /// Bytes of this burst.
        count: u64,
    },
    /// `EOF`, or `QUIT` after the whole declared size: make it durable. Either answer is the end of this file.
    /// [`Answer::Stored`] or [`Answer::Queued`]
    Commit(Box<Draft>),
    /// The file that was addressed comes to nothing. [`Answer::Done`]; a refusal changes nothing.
    Discard,
    /// `MSG`. [`Answer::Done`], only when it was delivered.
    Message {
        /// One word, lower case, otherwise as it came.
        to: String,
        /// The text: hostile, one line.
        text: String,
        /// Login name of the sender, a claim.
        from: Option<String>,
    },
    /// `CPQ`. [`Answer::Lines`]
    Query(Query),
    /// `AGENT`: is this our key? [`Answer::Done`]
    Agent(AgentKey),
    /// `PEER`: is it the gateway that it says it is? [`Answer::Proof`]; any refusal ends the session.
    Peer(PeerClaim),
}

/// What `PEER` said, and what it was said in answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerClaim {
    /// The name by which we are to know it: a claim until the proof is checked.
    pub name: String,
    /// The nonce of our herald.
    pub server_nonce: Nonce,
    /// Its own.
    pub client_nonce: Nonce,
    /// Its proof.
    pub proof: Tag,
}

/// What `FILE` said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Estimate of the size in bytes, if there was a usable one.
    pub size: Option<u64>,
    /// Login name of the sender, a claim.
    pub from: Option<String>,
    /// How the sender offers to prove it.
    pub auth: Auth,
}

/// Yes, with what the session needs to say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Done,
    /// Yes; the name that reply 208 shows.
    Recipient(String),
    /// Yes; the number of the item when exactly one was stored.
    Stored(Option<SpoolId>),
    /// Yes; the number in the queue of a file that goes on to another node.
    Queued(SpoolId),
    /// Yes; what there is.
    Held(Held),
    /// The lines of the result, at most 190 bytes each.
    Lines(Vec<String>),
    /// Yes; and our own proof.
    Proof(Tag),
}

/// What the session waits for; drivers choose their time-out by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A line from the peer.
    Line,
    /// Bytes of a burst.
    Burst {
        /// Bytes to come.
        left: u64,
    },
    /// The driver's answer.
    Answer,
}
