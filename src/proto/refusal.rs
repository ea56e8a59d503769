//! Everything that the server refuses, and the one table that says with which number and words.
//!
//! The peer hears bland text; the reasons in full go to the log of whoever built the [`Refusal`].
//! What this file does *not* do: decide *when* to refuse.

use super::reply::{Reply, VERB_SHOWN, clean};

/// Why the server says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such user or queue here; also every recipient name that is no name at all.
    #[error("no such user: {name:?}")]
    NoSuchUser {
        /// The recipient as asked for.
        name: String,
    },
    /// The recipient is elsewhere, and this peer may not have items passed on.
    #[error("no relay for this peer to {name:?}")]
    NoRelay {
        /// The recipient as asked for.
        name: String,
    },
    /// The recipient is elsewhere, and nobody here knows the way.
    #[error("no route to {name:?}")]
    NoRoute {
        /// The recipient as asked for.
        name: String,
    },
    /// The way to the recipient of a message, or to whom a question is for, is cut.
    #[error("nobody answers on the way to {name:?}")]
    NoAnswer {
        /// Whom it was for.
        name: String,
    },
    /// The item has been here before, or has come too far.
    #[error("relay loop")]
    Loop,
    /// This host takes nothing from that address.
    #[error("client host is not a peer")]
    NotAPeer,
    /// Too many sessions.
    #[error("too many sessions")]
    Busy,
    /// The daemon is stopping.
    #[error("shutting down")]
    ShuttingDown,
    /// The peer was silent or slow for too long.
    #[error("time-out")]
    Timeout,
    /// No room on the disk.
    #[error("no room on the disk")]
    NoRoom,
    /// The recipient's (or the sender's) quota is used up.
    #[error("over quota")]
    OverQuota,
    /// The file is larger than any may be.
    #[error("file too large")]
    TooLarge,
    /// The bytes could not be written.
    #[error("data error")]
    DataError,
    /// The spool takes nothing at all at the moment.
    #[error("spool unavailable")]
    SpoolUnavailable,
    /// Whether there is such a user cannot be said at the moment.
    #[error("user directory unavailable")]
    UsersUnavailable,
    /// The bytes are not those that `META DIGEST` announced.
    #[error("digest mismatch")]
    DigestMismatch,
    /// Not now: `USER` before `FILE`, `DATA` before `USER`, `EOF` without a file.
    #[error("protocol sequence error")]
    Sequence,
    /// No such verb.
    #[error("unknown verb {verb:?}")]
    UnknownVerb {
        /// The verb as sent, upper case.
        verb: String,
    },
    /// The count of a burst is no plain number.
    #[error("bad burst count {count:?}")]
    BadCount {
        /// The count as sent.
        count: String,
    },
    /// The peer begins a session in TLS where there is none.
    #[error("TLS on a port for sessions in clear")]
    TlsHello,
    /// A line over the limit.
    #[error("line too long")]
    LineTooLong,
    /// A file name over the limit.
    #[error("file name of {bytes} bytes, at most {most} are allowed")]
    NameTooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        most: usize,
    },
    /// An attribute whose form matters (`DIGEST`, `XID`) has another one.
    #[error("malformed attribute {key}")]
    BadAttribute {
        /// Its key.
        key: String,
    },
    /// More of something than one file or session may have.
    #[error("too many {what}, at most {most} are allowed")]
    TooMany {
        /// Of what, in words.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The recipient of a message takes none.
    #[error("{name:?} is not receiving")]
    NotReceiving {
        /// The recipient as asked for.
        name: String,
    },
    /// The recipient of a message is not there.
    #[error("{name:?} is not logged on")]
    NotLoggedOn {
        /// The recipient as asked for.
        name: String,
    },
    /// A command without an operand that it needs.
    #[error("missing operand")]
    MissingOperand,
    /// No such query.
    #[error("invalid query {option:?}")]
    InvalidQuery {
        /// The query as sent.
        option: String,
    },
    /// `AGENT` without a key.
    #[error("AGENT without a key")]
    NoAgentKey,
    /// The key in `AGENT` is not ours.
    #[error("AGENT key does not match")]
    NoAgentMatch,
}

impl Refusal {
    /// Whether the session ends with this refusal, whatever was refused. (A refused `DATA` or `EOF` ends it too,
    /// with every refusal: that is the session's rule.)
    pub fn ends_session(&self) -> bool {
        match self {
            Refusal::NotAPeer
            | Refusal::Busy
            | Refusal::ShuttingDown
            | Refusal::Timeout
            | Refusal::TlsHello => true,
            Refusal::TooMany { .. }
            | Refusal::NoSuchUser { .. }
            | Refusal::NoRelay { .. }
            | Refusal::NoRoute { .. }
            | Refusal::NoAnswer { .. }
            | Refusal::Loop
            | Refusal::NoRoom
            | Refusal::OverQuota
            | Refusal::TooLarge
            | Refusal::DataError
            | Refusal::SpoolUnavailable
            | Refusal::UsersUnavailable
            | Refusal::DigestMismatch
            | Refusal::Sequence
            | Refusal::UnknownVerb { .. }
            | Refusal::BadCount { .. }
            | Refusal::LineTooLong
            | Refusal::NameTooLong { .. }
            | Refusal::BadAttribute { .. }
            | Refusal::NotReceiving { .. }
            | Refusal::NotLoggedOn { .. }
            | Refusal::MissingOperand
            | Refusal::InvalidQuery { .. }
            | Refusal::NoAgentKey
            | Refusal::NoAgentMatch => false,
        }
    }
}

/// The table. Field clients stop at 5xx to FILE and USER and ignore 4xx there, so what must stop them is 5xx.
impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Reply {
        let short = |text: &str| clean(text, VERB_SHOWN);
        match refusal {
            Refusal::NoSuchUser { name } => {
                let name = clean(name, 64);
                Reply::new(532, &format!("{name}; no such local user or queue {name}."))
            }
            Refusal::NoRelay { name } => {
                Reply::new(567, &format!("{}; not enrolled for relay.", short(name)))
            }
            Refusal::NoRoute { name } => {
                let name = clean(name, 64);
                Reply::new(533, &format!("{name}; no route to {name}."))
            }
            Refusal::NoAnswer { name } => {
                Reply::new(545, &format!("{}; nobody answers on the way there.", short(name)))
            }
            Refusal::Loop => Reply::new(500, "loop; this file has been here before."),
            Refusal::NotAPeer => Reply::new(568, "client host is not a peer."),
            Refusal::Busy => Reply::new(521, "too many sessions, try again later."),
            Refusal::ShuttingDown => Reply::new(521, "shutting down, try again later."),
            Refusal::Timeout => Reply::new(521, "time-out, closing."),
            Refusal::NoRoom => Reply::new(559, "insufficient space, try again later."),
            Refusal::OverQuota => Reply::new(541, "over quota."),
            Refusal::TooLarge => Reply::new(531, "file too large."),
            Refusal::DataError => Reply::new(513, "server data error."),
            Refusal::SpoolUnavailable => Reply::new(522, "spool unavailable, try again later."),
            Refusal::UsersUnavailable => Reply::new(522, "user directory unavailable, try again later."),
            Refusal::DigestMismatch => {
                Reply::new(513, "digest mismatch; the data is not what was announced.")
            }
            Refusal::Sequence => Reply::new(403, "protocol sequence error."),
            Refusal::UnknownVerb { verb } => {
                let verb = short(verb);
                Reply::new(402, &format!("{verb}; {verb} not implemented."))
            }
            Refusal::BadCount { count } => Reply::new(513, &format!("{}; not a burst count.", short(count))),
            Refusal::TlsHello => Reply::new(500, "no TLS on this port."),
            Refusal::LineTooLong => Reply::new(500, "line too long."),
            Refusal::NameTooLong { bytes, most } => Reply::new(
                500,
                &format!("NAME; a file name of {bytes} bytes, at most {most} are allowed."),
            ),
            Refusal::BadAttribute { key } => Reply::new(500, &format!("META; malformed {}.", short(key))),
            Refusal::TooMany { what, most } => {
                Reply::new(500, &format!("too many {what}, at most {most} are allowed."))
            }
            Refusal::NotReceiving { name } => Reply::new(557, &format!("{}; not receiving.", short(name))),
            Refusal::NotLoggedOn { name } => Reply::new(545, &format!("{}; not logged on.", short(name))),
            Refusal::MissingOperand => Reply::new(416, "Missing operand(s)"),
            Refusal::InvalidQuery { option } => Reply::new(433, &format!("invalid option {}", short(option))),
            Refusal::NoAgentKey => Reply::new(400, "NAK AGENT"),
            Refusal::NoAgentMatch => Reply::new(500, "NAK AGENT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_hosts_have_the_numbers_of_the_field() {
        let code = |refusal: Refusal| Reply::from(&refusal).code().0;
        assert_eq!(code(Refusal::TooLarge), 531);
        assert_eq!(code(Refusal::OverQuota), 541);
        assert_eq!(code(Refusal::NoRoom), 559);
        assert_eq!(code(Refusal::NotAPeer), 568);
        assert_eq!(code(Refusal::NoSuchUser { name: "x".into() }), 532);
    }

    #[test]
    fn an_echo_is_bounded() {
        let reply = Reply::from(&Refusal::UnknownVerb {
            verb: "X".repeat(4096),
        });
        assert!(reply.lines().all(|(_, text)| text.len() < 120));
    }
}
