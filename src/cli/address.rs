//! Who a file or a message is for: `user@host`, `user@host:port`, `user@[::1]:port`, `user@NODE`, or a local `user`.
//!
//! What it does *not* do: look names up. Whether a user exists is the server's business, whether a host does is the
//! resolver's, and whether a short name is a node only the local daemon knows (`way`). Aliases are `aliases`'.

use std::fmt;

use super::exit::Failure;
use crate::display::shown;
use crate::route::{self, Fault, NodeName};

/// A recipient, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recipient {
    /// As the server sees it: 1 to 63 bytes, no blank and no control character.
    pub(crate) user: String,
    /// Where; the local daemon when absent.
    pub(crate) host: Option<Host>,
    /// The local daemon takes it there, by way of its queue.
    pub(crate) queued: bool,
}

/// A host, with the port if one was given; or a node, which looks like one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    /// A name or an address, without brackets.
    pub(crate) name: String,
    /// `1 <= port`.
    pub(crate) port: Option<u16>,
}

impl Recipient {
    /// Reads one recipient, also as `user at host`.
    pub(crate) fn parse(text: &str) -> Result<Recipient, Failure> {
        let (user, host) = route::parts(text);
        let host = host.map(|host| Host::parse(host, text)).transpose()?;
        route::user(user).map_err(|fault| {
            Failure::usage(format!("recipient {}: {fault}", quoted(text))).hint(
                "write user@host, user@host:port, user@[::1]:port, user@NODE, or the name of a local user",
            )
        })?;
        Ok(Recipient {
            user: user.to_owned(),
            host,
            queued: false,
        })
    }

    /// The name by which the server is told of the recipient: the local daemon's queue needs the place, too.
    pub(crate) fn told(&self) -> String {
        match self.queued {
            true => self.to_string(),
            false => self.user.clone(),
        }
    }
}

impl Host {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; `whole` is what an error quotes.
    pub(crate) fn parse(text: &str, whole: &str) -> Result<Host, Failure> {
        let (name, port) = route::place(text).map_err(|fault| {
            let failure = Failure::usage(format!("{}: {fault}", quoted(whole)));
            match fault {
                Fault::Colons => failure.hint("an IPv6 address is written in brackets: user@[::1]"),
                _ => failure,
            }
        })?;
        Ok(Host {
            name: name.to_owned(),
            port,
        })
    }

    /// The node that is meant if there is a route to one of that name: no dot, no port. A node with an `@` in its name
    /// cannot be said in one word, and so to no server.
    pub(crate) fn node(&self) -> Option<NodeName> {
        let short = self.port.is_none() && !self.name.contains('@');
        self.name.parse().ok().filter(|_| short)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        match &self.host {
            Some(host) => write!(f, "@{host}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]", self.name)?;
        } else {
            f.write_str(&self.name)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// An argument as an error quotes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn every_documented_form_is_read_and_written_back() {
        for (text, user, host) in [
            ("alice", "alice", None),
            ("alice@beta.example", "alice", Some(("beta.example", None))),
            ("MAINT@BETA", "MAINT", Some(("BETA", None))),
            ("alice@127.0.0.1:6608", "alice", Some(("127.0.0.1", Some(6608)))),
            ("alice@[::1]", "alice", Some(("::1", None))),
            (
                "alice@[fe80::1%eth0]:608",
                "alice",
                Some(("fe80::1%eth0", Some(608))),
            ),
        ] {
            let to = Recipient::parse(text).unwrap();
            assert_eq!(to.user, user);
            assert_eq!(to.host.as_ref().map(|h| (h.name.as_str(), h.port)), host);
            assert_eq!(to.to_string(), text);
        }
    }

    #[test]
    fn the_blanks_of_the_older_form_are_read_and_a_short_name_may_be_a_node() {
        let node = |text: &str| Recipient::parse(text).unwrap().host.and_then(|host| host.node());
        assert_eq!(
            Recipient::parse("maint AT beta").unwrap().to_string(),
            "maint@beta"
        );
        assert_eq!(node("maint at beta").unwrap().as_str(), "BETA");
        for host in [
            "a@beta.example",
            "a@beta:608",
            "a@localhost",
            "a@[::1]",
            "a at b@c",
            "a",
        ] {
            assert_eq!(node(host), None, "{host}");
        }
    }

    #[test]
    fn what_cannot_be_a_recipient_is_a_usage_error_that_quotes_it() {
        let long = format!("{}@host", "u".repeat(64));
        for text in [
            "",
            "@host",
            "alice@",
            "al ice@host",
            "al\u{7}ice@host",
            "a\r\nEOF@host",
            "alice@host:0",
            "alice@host:",
            "alice@host:66000",
            "alice@host:+1",
            "alice@::1",
            "alice@[::1",
            "alice@[::1]x",
            "alice@[host]",
            "alice@ho st",
            "alice@:608",
            &long,
        ] {
            let failure = Recipient::parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text:?}");
            assert!(!failure.to_string().contains(['\r', '\u{7}']), "{failure}");
        }
    }
}
