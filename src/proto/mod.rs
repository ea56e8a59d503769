//! The UFT protocol, both sides, without any input or output.
//!
//! | file | holds |
//! |---|---|
//! | `session` | the server side of a connection: start here |
//! | `ask` | what a session and its driver say to each other |
//! | `line` | the framer: lines of bounded length |
//! | `command`, `attribute`, `query` | what a line says |
//! | `draft` | what was said of a file so far |
//! | `reply`, `refusal` | what the server says, and the one table of refusals |
//! | `herald` | the first line of a server |
//! | `held` | what a server has of a transfer already |
//! | `proof` | how two gateways prove to each other who they are |
//! | `dialogue` | the client side of a connection |
//! | `errand` | what a dialogue and its driver say to each other |
//! | `wording` | the lines that a client says |
//!
//! Nothing here opens a socket or a file, looks at a clock or waits. A driver moves bytes and answers questions; the
//! same machines run in tests against each other, in memory. The numbers, quirks and extensions of the dialect are in
//! `docs/protocol.md`.

mod ask;
mod attribute;
mod command;
mod dialogue;
mod draft;
mod errand;
mod held;
mod herald;
mod line;
#[cfg(test)]
mod peer_tests;
pub mod proof;
mod query;
mod refusal;
mod reply;
mod session;
#[cfg(test)]
mod transcript_tests;
#[cfg(test)]
mod transfer_tests;
mod wording;

pub use ask::{Answer, Ask, Closing, Opening, PeerClaim, Phase, Step};
pub use attribute::{BadKey, key as attribute_key};
pub use command::{AgentKey, Auth, BadCount, Command, FileLine, Fork, PeerLine, Request, type_text};
pub use dialogue::{Dialogue, FIELD_BURST_MAX, ONE_PIECE_MAX, OUR_BURST_MAX};
pub use draft::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, Draft, Expected, NAME_MAX, XID_MAX};
pub use errand::{Action, At, Delivery, DialogueOptions, Errand, Event, Identity, NotProven};
pub use held::Held;
pub use herald::{Greeting, Herald, NotWelcome};
pub use line::{Frame, Framer, LINE_MAX, text};
pub use query::{BadQuery, Query};
pub use refusal::Refusal;
pub use reply::{Code, REPLY_MAX, Reply};
pub use session::{REFUSALS_MAX, Session};

/// The bodies of the fuzz targets, and the rig that the tests share with them; they want a `proto` beside them.
#[cfg(test)]
#[path = "../../fuzz/bodies/proto.rs"]
pub(crate) mod bodies;
#[cfg(test)]
use crate::proto;
