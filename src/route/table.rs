//! The table of routes, and the decision over one address.
//!
//! What it does *not* do: find out who somebody is ([`Party`] says what was proven), whether a local user exists, or
//! whether a peer can be reached. A table is made of plain values and never changes; a new configuration makes a new one.
//!
//! Who may have a file sent on: users of this host and peers that proved themselves. Everybody else reaches the inboxes
//! of this host and nothing more, or anybody could use this host to hide behind.

use std::net::IpAddr;

use super::address::{Address, Place};

/// What a table is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Our own node name.
    pub node: String,
    /// Host names that mean this host, without a port.
    pub hosts: Vec<String>,
    /// The names of the peers.
    pub peers: Vec<String>,
    /// Where other places are; the first that matches counts.
    pub rules: Vec<Rule>,
    /// Gateways that a file may pass.
    pub max_hops: u32,
    /// Whether `user%node` of ours is read as `user@node`.
    pub percent: bool,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A node or host name, `*.suffix` (which does not match the bare suffix), or `*`.
    pub to: String,
    /// Peers in the order in which they are tried, or one of `local`, `mail`, `hold`, `reject`.
    pub via: Vec<String>,
}

/// Routes, ready for use.
#[derive(Clone, Debug)]
pub struct Table {
    node: String,
    hosts: Vec<String>,
    rules: Vec<(Pattern, Via)>,
    max_hops: u32,
    percent: bool,
}

/// What a rule matches; in lower case, as names are compared.
#[derive(Clone, Debug)]
enum Pattern {
    Name(String),
    /// With its leading dot.
    Suffix(String),
    Any,
}

#[derive(Clone, Debug)]
enum Via {
    Peers(Vec<String>),
    Local,
    Mail,
    Hold,
    Reject,
}

/// Who wants a file sent, as far as it was proven. The default is a stranger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// A user of this host, named by the kernel.
    pub local: bool,
    /// The peer that proved itself, by the name it has here: the link on which the file arrived.
    pub link: Option<String>,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this user of this host, as typed; whether there is one is the caller's to ask.
    Inbox(String),
    /// To one of these peers, the first that can be reached: at least one, never the arrival link.
    Peers(Vec<String>),
    /// To a host that no rule names.
    Direct {
        /// A name or an address without brackets.
        host: String,
        /// `1 <= port`; the port of the service when absent.
        port: Option<u16>,
    },
    /// To the mail system.
    Mail,
    /// Into the queue, until somebody releases it.
    Hold,
    /// Nowhere.
    Refuse(Why),
}

/// Why a file goes nowhere: one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A stranger wants something sent on, or a name that only means something on this host.
    #[error("only local users and known peers may have files sent on to {0}")]
    NotAllowed(String),
    /// Nothing in the table matches.
    #[error("there is no route to {0}")]
    NoRoute(String),
    /// The table says so.
    #[error("files for {0} are not taken here")]
    Rejected(String),
    /// The only way on is the one it came.
    #[error("the only route to {to} leads back to {link}, where the file came from")]
    Back {
        /// Where to.
        to: String,
        /// Where from.
        link: String,
    },
    /// The rule names none of the peers that there are: a configuration that is being changed.
    #[error("the peers on the route to {0} are not known any more")]
    NoPeer(String),
    /// It was here before.
    #[error("the file has been at {0} before: the routes go round in a circle")]
    Loop(String),
    /// It has come far enough.
    #[error("the file has passed {hops} gateways, at most {most} are allowed")]
    TooManyHops {
        /// Gateways passed.
        hops: u32,
        /// The limit.
        most: u32,
    },
    /// What it says about its way makes no sense.
    #[error("the {key} of the file {fault}")]
    BadTrail {
        /// `ORIGIN`, `HOPS` or `VIA`.
        key: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl Why {
    /// Whether trying again later may help, although nobody changed the file or its address.
    pub fn is_temporary(&self) -> bool {
        match self {
            Why::NoPeer(_) => true,
            Why::NotAllowed(_)
            | Why::NoRoute(_)
            | Why::Rejected(_)
            | Why::Back { .. }
            | Why::Loop(_)
            | Why::TooManyHops { .. }
            | Why::BadTrail { .. } => false,
        }
    }
}

impl Pattern {
    fn new(to: &str) -> Pattern {
        let to = to.to_ascii_lowercase();
        match to.strip_prefix('*') {
            Some("") => Pattern::Any,
            Some(suffix) if suffix.starts_with('.') => Pattern::Suffix(suffix.to_owned()),
            _ => Pattern::Name(to),
        }
    }

    /// `name` in lower case.
    fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Name(own) => own == name,
            Pattern::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Pattern::Any => true,
        }
    }
}

impl Via {
    /// Peers get the spelling that they have in their own table; those that it does not name are left out.
    fn new(via: &[String], peers: &[String]) -> Via {
        match via {
            [one] if one == "local" => Via::Local,
            [one] if one == "mail" => Via::Mail,
            [one] if one == "hold" => Via::Hold,
            [one] if one == "reject" => Via::Reject,
            names => {
                let known = |name: &String| peers.iter().find(|peer| peer.eq_ignore_ascii_case(name));
                Via::Peers(names.iter().filter_map(known).cloned().collect())
            }
        }
    }
}

impl Table {
    /// The table of a plan. What is wrong with a plan is the configuration's to say; here a peer that does not exist is
    /// one that cannot be used.
    pub fn new(plan: Plan) -> Table {
        let rules = plan.rules.iter();
        Table {
            rules: rules
                .map(|rule| (Pattern::new(&rule.to), Via::new(&rule.via, &plan.peers)))
                .collect(),
            node: plan.node.to_ascii_uppercase(),
            hosts: plan.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            max_hops: plan.max_hops,
            percent: plan.percent,
        }
    }

    /// Our own node name, in upper case.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Gateways that a file may pass.
    pub fn max_hops(&self) -> u32 {
        self.max_hops
    }

    /// Whether somebody at this place, as another gateway names it, would be a user of this host: it is ours, or a rule
    /// for this very name makes it so.
    pub fn is_this_host(&self, place: &Place) -> bool {
        let named = |pattern: &Pattern| match (pattern, place) {
            (Pattern::Name(own), Place::Node(node)) => own.eq_ignore_ascii_case(node.as_str()),
            (Pattern::Name(own), Place::Host { name, .. }) => own == name,
            (Pattern::Suffix(_) | Pattern::Any, _) => false,
        };
        let rule = self.rules.iter().find(|(pattern, _)| named(pattern));
        self.is_ours(place, &Party::default()) || rule.is_some_and(|(_, via)| matches!(via, Via::Local))
    }

    /// Where a file for `address` goes that `party` wants sent.
    pub fn decide(&self, address: &Address, party: &Party) -> Route {
        let Some(place) = address.place.as_ref().filter(|place| !self.is_ours(place, party)) else {
            return self.here(&address.user, party);
        };
        if !party.local && is_private_to_us(place) {
            return Route::Refuse(Why::NotAllowed(place.to_string()));
        }
        let name = match place {
            Place::Node(node) => node.as_str().to_ascii_lowercase(),
            Place::Host { name, .. } => name.clone(),
        };
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(&name));
        let allowed = party.local || party.link.is_some();
        match (rule.map(|(_, via)| via), place) {
            // The table makes the place one of ours.
            (Some(Via::Local), _) => Route::Inbox(address.user.clone()),
            _ if !allowed => Route::Refuse(Why::NotAllowed(place.to_string())),
            (Some(via), _) => along(via, address, place, party),
            (None, Place::Host { name, port }) if party.local => Route::Direct {
                host: name.clone(),
                port: *port,
            },
            (None, _) => Route::Refuse(Why::NoRoute(place.to_string())),
        }
    }

    /// The address that is meant by one for which this host is only a station on the way (`user%node`); every other is
    /// itself. What [`Table::decide`] says of an address is said of this one.
    pub fn meant(&self, address: Address, party: &Party) -> Address {
        let place = address.place.as_ref();
        let here = place.is_none_or(|place| self.is_ours(place, party));
        match self.onward(&address.user).filter(|_| here) {
            // Each turn takes one `%` away.
            Some(next) => self.meant(next, party),
            None => address,
        }
    }

    /// `user` is ours, unless the name says that this host is only a station on the way.
    fn here(&self, user: &str, party: &Party) -> Route {
        match self.onward(user) {
            Some(address) => self.decide(&address, party),
            None => Route::Inbox(user.to_owned()),
        }
    }

    fn onward(&self, user: &str) -> Option<Address> {
        let (user, node) = user.rsplit_once('%').filter(|_| self.percent)?;
        format!("{user}@{node}").parse().ok()
    }

    /// Whether a place is this host. With a port it is only for those who cannot mean another daemon on this host.
    fn is_ours(&self, place: &Place, party: &Party) -> bool {
        match place {
            Place::Node(node) => {
                let name = node.as_str();
                name == self.node || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
            }
            Place::Host { name, port: None } if party.local && is_loopback(name) => true,
            Place::Host { name, port } => (port.is_none() || !party.local) && self.hosts.contains(name),
        }
    }
}

fn along(via: &Via, address: &Address, place: &Place, party: &Party) -> Route {
    let to = place.to_string();
    match via {
        Via::Local => Route::Inbox(address.user.clone()),
        Via::Mail => Route::Mail,
        Via::Hold => Route::Hold,
        Via::Reject => Route::Refuse(Why::Rejected(to)),
        Via::Peers(peers) if peers.is_empty() => Route::Refuse(Why::NoPeer(to)),
        Via::Peers(peers) => {
            let arrived = |peer: &String| {
                party
                    .link
                    .as_ref()
                    .is_some_and(|link| link.eq_ignore_ascii_case(peer))
            };
            let left: Vec<String> = peers.iter().filter(|peer| !arrived(peer)).cloned().collect();
            match &party.link {
                Some(link) if left.is_empty() => Route::Refuse(Why::Back {
                    to,
                    link: link.clone(),
                }),
                _ => Route::Peers(left),
            }
        }
    }
}

fn literal(name: &str) -> Option<IpAddr> {
    let address = name.split('%').next().unwrap_or(name);
    address.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || literal(name).is_some_and(|ip| ip.is_loopback())
}

/// Whether a place is one that only this host, or its own wire, can mean.
fn is_private_to_us(place: &Place) -> bool {
    let Place::Host { name, .. } = place else {
        return false;
    };
    is_loopback(name)
        || literal(name).is_some_and(|ip| {
            ip.is_unspecified()
                || match ip {
                    IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.is_multicast(),
                    IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast(),
                }
        })
}
