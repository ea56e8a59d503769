//! Drives a [`Dialogue`](crate::proto::Dialogue) over a socket: how `sendfile` and `uft` talk to a server.
//!
//! The dialogue decides what is said; this file connects, moves bytes both ways at once (a server that answers while
//! we still send must never block us both), keeps time, and digests what is sent. What it does not do: read files,
//! choose types, try again.
//!
//! | file | for |
//! |---|---|
//! | `connection` | one connection: errands, deadlines, last words |
//! | `dial` | how a connection is made |
//! | `feed` | the bytes of the file at hand |

mod connection;
mod dial;
mod feed;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use uft_spool::{SpoolId, TypeSpec};

pub use self::connection::Connection;
use crate::local::Why;
use crate::local::client::AskError;
use crate::proto::NotProven;
use crate::proto::proof::{Credentials, Fingerprint};
use crate::tls::{Own, TlsError, Trust};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host.
    Tcp {
        /// Name or address.
        host: String,
        /// Port, if one was named.
        port: Option<u16>,
    },
    /// The daemon of this host, which knows who we are.
    Local(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } => {
                if host.contains(':') {
                    write!(f, "[{host}]")?;
                } else {
                    f.write_str(host)?;
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Endpoint::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The port of UFT in clear.
pub const PORT: u16 = 608;
/// The port of UFT in TLS.
pub const TLS_PORT: u16 = 5608;

/// Whether a connection is to be in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Without a port: in TLS on [`TLS_PORT`], in clear on [`PORT`] only when the connection is refused there. With a port
    /// in clear. In TLS or not at all when the server's certificate is known already.
    Prefer,
    /// In TLS or not at all, on the port that was named or [`TLS_PORT`].
    Require,
    /// In clear.
    #[default]
    Off,
}

/// How a connection is to be protected.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// In TLS or in clear.
    pub mode: TlsMode,
    /// Certificates by which the server is known: it has to show one of them.
    pub known: Vec<Fingerprint>,
    /// A certificate that the server signed itself is taken, and told of by [`Connection::first_use`].
    pub first_use: bool,
    /// The certificate that we show.
    pub own: Option<Arc<Own>>,
}

impl Security {
    fn trust(&self) -> Trust {
        match (self.known.as_slice(), self.first_use) {
            ([], false) => Trust::System,
            ([], true) => Trust::FirstUse,
            (known, _) => Trust::Known(known.to_vec()),
        }
    }

    /// Whether the connection has to be in TLS.
    fn required(&self) -> bool {
        self.mode == TlsMode::Require || self.mode == TlsMode::Prefer && !self.known.is_empty()
    }
}

/// How patient to be, and as whom to speak.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest wait for the server at any one step.
    pub timeout: Duration,
    /// Which gateway we are, to another one that has to prove itself too; none for people.
    pub credentials: Option<Credentials>,
    /// TLS.
    pub security: Security,
}

impl Options {
    /// So patient, as nobody in particular, in clear.
    pub fn new(timeout: Duration) -> Options {
        Options {
            timeout,
            credentials: None,
            security: Security::default(),
        }
    }
}

/// A file to deliver: everything but its bytes.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Recipient's name there.
    pub to: String,
    /// Sender's login name.
    pub from: String,
    /// Size in bytes, if known: an estimate.
    pub size: Option<u64>,
    /// What the bytes are; they are in that wire form already.
    pub spec: TypeSpec,
    /// File name.
    pub name: Option<String>,
    /// Attributes: key and value. With `DIGEST` (`blake3:<hex>` of the wire form) among them, a file that the server has
    /// already is not sent again.
    pub attributes: Vec<(String, String)>,
    /// The second fork.
    pub aux: Option<Bytes>,
    /// Transfer id, so that a repeat is not stored twice, and a large file goes on where it broke off.
    pub xid: Option<String>,
}

/// The wire form of a file, in slices of at most 1 MiB; the channel's end is the file's end.
pub type Body = mpsc::Receiver<Result<Bytes, BodyError>>;

/// The file could not be read, or does not fit its type.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct BodyError {
    /// What went wrong.
    pub message: String,
    /// The content does not fit, rather than: it cannot be read.
    pub misfit: bool,
}

/// What happens on the way, for progress bars and `-v`.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A line that was sent, or the length of a burst.
    Said(String),
    /// A line that was received.
    Heard(String),
    /// Bytes of this file sent so far.
    Progress {
        /// Bytes of the wire form, those included that the server had already.
        sent: u64,
    },
    /// The file goes on where an earlier attempt at it ended.
    Resumed {
        /// At this byte of the wire form.
        at: u64,
    },
    /// `blake3:<hex>` of the file at hand, all of which was read.
    Digest(String),
    /// Something the user should know.
    Warning(String),
}

/// Who is told of notices.
pub type Watch<'a> = &'a mut (dyn FnMut(Notice) + Send);

/// A delivery that was acknowledged.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Reply code to `EOF`.
    pub code: u16,
    /// Text of that reply.
    pub text: String,
    /// The item's number in the recipient's inbox, when the server told.
    pub id: Option<SpoolId>,
    /// Its number in the queue of a server that sends it on, when the server told.
    pub job: Option<SpoolId>,
    /// Bytes of the wire form.
    pub bytes: u64,
    /// `blake3:<hex>` of the wire form.
    pub digest: String,
    /// The byte at which it went on, if an earlier attempt had begun it.
    pub resumed_at: Option<u64>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host name means nothing.
    #[error("host {host}: not found")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("{endpoint}: cannot connect")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// The server said no.
    #[error("{step}: {code} {text}")]
    Refused {
        /// The command that was refused.
        step: String,
        /// Its reply code; 0 when it was refused on this side.
        code: u16,
        /// The reply's text.
        text: String,
    },
    /// The other end does not speak UFT.
    #[error("{endpoint}: not a UFT server: {text}")]
    Protocol {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        text: String,
    },
    /// The connection broke.
    #[error("connection lost at {step}")]
    Lost {
        /// The last command.
        step: String,
    },
    /// The server did not answer in time.
    #[error("no answer to {step} within {} s", after.as_secs())]
    TimedOut {
        /// The last command.
        step: String,
        /// How long we waited.
        after: Duration,
    },
    /// What the server had of the transfer was not of this file, and is thrown away: the next attempt begins anew.
    #[error("the server has the beginning of another file")]
    Changed,
    /// Our own side could not go on.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The local daemon.
    #[error(transparent)]
    Local(#[from] AskError),
    /// The local daemon refused a session.
    #[error("{text}")]
    NotAdmitted {
        /// What kind of refusal.
        why: Why,
        /// Its text.
        text: String,
    },
    /// It cannot be said to any server.
    #[error("{0}")]
    Unfit(String),
    /// The other end is not the gateway that it is to be, or does not take us for the one that we are. Nothing was sent.
    #[error("{endpoint}: not taken for the peer gateway: {why}")]
    NotProven {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        why: NotProven,
    },
    /// There is no TLS session with the server, or none with one that is to be trusted. Nothing was sent.
    #[error("{endpoint}: {why}")]
    Tls {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        why: TlsError,
    },
    /// The system has no random bits, without which nobody can prove anything.
    #[error("no random bits from the system: {0}")]
    NoRandomBits(String),
}
