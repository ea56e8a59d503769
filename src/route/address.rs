//! Addresses: `user`, `user@NODE`, `user@host:port`, `user@[::1]:port`, and `user at node` as the older commands have it.
//!
//! What it does *not* do: say whether such a user or host exists, or whether a node can be reached (`table.rs` knows
//! routes). What one host means by `user%node` is a matter of its table, too: here it is a user's name.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::display::{hidden, shown};

/// Longest user name that a `USER` line carries, in bytes.
pub const USER_MAX: usize = 63;
/// Longest node name, in bytes.
pub const NODE_MAX: usize = 8;
/// Longest host name, in bytes (RFC 1035 2.3.4).
const HOST_MAX: usize = 255;

/// The name of a node of the network: 1 to 8 of `A-Z 0-9 @ # $`. Lower case is folded when it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

/// Who a file is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// As it was typed: 1 to [`USER_MAX`] bytes, no blank, no control character, nothing invisible.
    pub user: String,
    /// Where; this host when absent.
    pub place: Option<Place>,
}

/// Where a user is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A node of the network; only a route says how to get there.
    Node(NodeName),
    /// A host of the internet.
    Host {
        /// A name or an address without brackets, in lower case: 1 to 255 bytes.
        name: String,
        /// `1 <= port`, if one was given.
        port: Option<u16>,
    },
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address \"{}\": {fault}; write user, user@NODE, user@host, user@host:port or user@[::1]:port", shown(.text))]
pub struct BadAddress {
    /// The whole text, cut to what a line can show.
    pub text: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing before the `@`.
    #[error("there is no user name")]
    NoUser,
    /// More than [`USER_MAX`] bytes; the value is their number.
    #[error("the user name has {0} bytes, at most {USER_MAX} can be sent")]
    LongUser(usize),
    /// A character that a user name cannot have.
    #[error("the user name has {0:?} in it")]
    UserCharacter(char),
    /// Nothing after the `@`.
    #[error("there is no host name")]
    NoHost,
    /// More than 255 bytes; the value is their number.
    #[error("the host name has {0} bytes, at most {HOST_MAX} are allowed")]
    LongHost(usize),
    /// A character that a host name cannot have.
    #[error("the host name has {0:?} in it")]
    HostCharacter(char),
    /// `[` without `]`.
    #[error("the bracket is not closed")]
    OpenBracket,
    /// Something else in the brackets.
    #[error("\"{}\" is not an IPv6 address", shown(.0))]
    NotV6(String),
    /// Something else than `:port` behind the brackets.
    #[error("\"{}\" after the bracket is not a port", shown(.0))]
    AfterBracket(String),
    /// An IPv6 address without brackets.
    #[error("more than one colon in the host")]
    Colons,
    /// Not a node name.
    #[error("\"{}\" is not a node name: 1 to 8 of A-Z 0-9 @ # $", shown(.0))]
    NotANode(String),
    /// Not a port.
    #[error("\"{}\" is not a port from 1 to 65535", shown(.0))]
    Port(String),
}

impl NodeName {
    /// The name, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = Fault;

    fn from_str(text: &str) -> Result<NodeName, Fault> {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '#' | '$');
        if (1..=NODE_MAX).contains(&text.len()) && text.chars().all(letter) {
            Ok(NodeName(text.to_ascii_uppercase()))
        } else {
            Err(Fault::NotANode(text.to_owned()))
        }
    }
}

impl FromStr for Place {
    type Err = Fault;

    /// A short word without a dot and without a port is a node, everything else a host.
    fn from_str(text: &str) -> Result<Place, Fault> {
        read_place(text)
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    /// Reads one address. The last `@` counts, so that a node whose name has one is written `user at NO@DE`.
    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let bad = |fault| BadAddress {
            text: text.chars().take(USER_MAX + HOST_MAX).collect(),
            fault,
        };
        let (name, at) = parts(text);
        let place = at.map(read_place).transpose().map_err(bad)?;
        user(name).map_err(bad)?;
        Ok(Address {
            user: name.to_owned(),
            place,
        })
    }
}

/// The user and the place of `user@place` or `user at place`, as they were typed and unchecked.
pub fn parts(text: &str) -> (&str, Option<&str>) {
    let words: Vec<&str> = text.split_ascii_whitespace().take(4).collect();
    match words.as_slice() {
        [name, at, place] if at.eq_ignore_ascii_case("at") => (*name, Some(*place)),
        _ => match text.rsplit_once('@') {
            Some((name, place)) => (name, Some(place)),
            None => (text, None),
        },
    }
}

/// Checks a user's name: 1 to [`USER_MAX`] bytes, no blank, no control character, nothing invisible.
///
/// # Errors
/// When it cannot be sent.
pub fn user(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::NoUser);
    }
    if name.len() > USER_MAX {
        return Err(Fault::LongUser(name.len()));
    }
    match name.chars().find(|&c| c.is_whitespace() || hidden(c)) {
        Some(c) => Err(Fault::UserCharacter(c)),
        None => Ok(()),
    }
}

/// Takes `host`, `host:port`, `[v6]` or `[v6]:port` apart, as it was typed and without the brackets.
///
/// # Errors
/// When it is none of these.
pub fn place(text: &str) -> Result<(&str, Option<u16>), Fault> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (v6, after) = rest.split_once(']').ok_or(Fault::OpenBracket)?;
        let address = v6.split('%').next().unwrap_or(v6);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(Fault::NotV6(v6.to_owned()));
        }
        match after.strip_prefix(':') {
            None if !after.is_empty() => return Err(Fault::AfterBracket(after.to_owned())),
            port => (v6, port),
        }
    } else if text.matches(':').count() > 1 {
        return Err(Fault::Colons);
    } else {
        text.split_once(':')
            .map_or((text, None), |(name, port)| (name, Some(port)))
    };
    if name.is_empty() {
        return Err(Fault::NoHost);
    }
    if let Some(c) = name.chars().find(|&c| c.is_whitespace() || hidden(c) || c == '/') {
        return Err(Fault::HostCharacter(c));
    }
    let Some(digits) = port else {
        return Ok((name, None));
    };
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok((name, Some(port))),
        _ => Err(Fault::Port(digits.to_owned())),
    }
}

fn read_place(text: &str) -> Result<Place, Fault> {
    if let Ok(node) = text.parse() {
        return Ok(Place::Node(node));
    }
    let (name, port) = place(text)?;
    if name.len() > HOST_MAX {
        return Err(Fault::LongHost(name.len()));
    }
    if let Some(c) = name.chars().find(|c| matches!(c, '@' | '[' | ']')) {
        return Err(Fault::HostCharacter(c));
    }
    // The zone of a link-local address is the name of an interface, and those know upper case.
    let (address, zone) = name.split_at(name.find('%').unwrap_or(name.len()));
    let name = match address.parse::<Ipv6Addr>() {
        Ok(v6) => format!("{v6}{zone}"),
        Err(_) => name.to_ascii_lowercase(),
    };
    Ok(Place::Host { name, port })
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = match self {
            Place::Node(node) => return node.fmt(f),
            Place::Host { name, port } => (name, port),
        };
        if name.contains(':') {
            write!(f, "[{name}]")?;
        } else {
            f.write_str(name)?;
        }
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The canonical text, which reads back as the same address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            None => f.write_str(&self.user),
            Some(Place::Node(node)) if node.as_str().contains('@') => write!(f, "{} at {node}", self.user),
            Some(place) => write!(f, "{}@{place}", self.user),
        }
    }
}
