//! Which recipients the local daemon takes on, and which server is told of the others.
//!
//! A short name after the `@` may be a node of the network or a host of the local domain. It is a node when the local
//! daemon has a route for it: then the daemon's queue takes the file there, over as many hops as it needs. In every other
//! case, also when no daemon runs, it is a host, as it always was.
//! What it does *not* do: look hosts up.

use std::path::{Path, PathBuf};

use super::address::Recipient;
use super::daemon::{answered, unexpected};
use super::exit::Failure;
use crate::local::client::{AskError, ask};
use crate::local::{Answer, Request, Way, Why};
use crate::route::NodeName;

/// The longest wait for the daemon.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How recipients at other places are reached.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    /// The local daemon's socket.
    pub(crate) socket: PathBuf,
    /// The port of hosts that name none, if the command line says one. A name that is given a port is a host.
    pub(crate) port: Option<u16>,
    /// Everything goes to the local daemon's queue.
    pub(crate) queue: bool,
}

impl Ways {
    /// Leaves it to somebody else to decide, who has to know all that the command line says.
    pub(crate) fn keep(&self, to: &mut [Recipient]) {
        for host in to.iter_mut().filter_map(|recipient| recipient.host.as_mut()) {
            host.port = host.port.or(self.port);
        }
    }

    /// Decides for each recipient.
    pub(crate) fn decide(&self, to: &mut Vec<Recipient>) -> Result<(), Failure> {
        let mut asked: Vec<(NodeName, Option<Way>)> = Vec::new();
        for recipient in to.iter_mut() {
            let Some(host) = &mut recipient.host else {
                continue;
            };
            if let Some(node) = host.node().filter(|_| self.port.is_none()) {
                let way = match asked.iter().find(|(known, _)| *known == node) {
                    Some((_, way)) => way.clone(),
                    None => {
                        let way = way(&self.socket, &node)?;
                        asked.push((node.clone(), way.clone()));
                        way
                    }
                };
                match way {
                    Some(Way::Here) => {
                        recipient.host = None;
                        continue;
                    }
                    Some(Way::Peers(_) | Way::Hold | Way::Mail) => {
                        host.name = node.to_string();
                        recipient.queued = true;
                        continue;
                    }
                    Some(Way::Direct | Way::Nowhere(_)) | None => {}
                }
            }
            if self.queue {
                host.port = host.port.or(self.port);
                recipient.queued = true;
            }
        }
        // Two names of one recipient have become the same.
        let mut known = std::collections::HashSet::new();
        to.retain(|recipient| known.insert(recipient.clone()));
        Ok(())
    }
}

/// The way to a node; `None` when there is no daemon to ask.
fn way(socket: &Path, node: &NodeName) -> Result<Option<Way>, Failure> {
    let place = node.to_string();
    let asked = ask(socket, &Request::Route { place }).and_then(|mut asked| {
        asked.patience(Some(PATIENCE)).map_err(AskError::Lost)?;
        asked.only()
    });
    match asked {
        Err(AskError::NotRunning { .. }) => Ok(None),
        // A daemon of an earlier release, which knows no routes.
        Ok(Answer::Refused {
            why: Why::Malformed, ..
        }) => Ok(None),
        answer => match answered(answer?)? {
            Answer::Way(way) => Ok(Some(way)),
            other => Err(unexpected(&other)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(ways: &Ways, words: &[&str]) -> Vec<(String, bool)> {
        let mut to = words.iter().map(|word| Recipient::parse(word).unwrap()).collect();
        ways.decide(&mut to).unwrap();
        to.iter().map(|to| (to.told(), to.queued)).collect()
    }

    fn nobody() -> Ways {
        Ways {
            socket: "/nonexistent/uftd.sock".into(),
            port: None,
            queue: false,
        }
    }

    #[test]
    fn without_a_daemon_a_short_name_is_a_host() {
        let to = decided(&nobody(), &["bob@beta", "bob", "bob@beta.example"]);
        let user = ("bob".to_owned(), false);
        assert_eq!(to, [user.clone(), user.clone(), user]);
    }

    #[test]
    fn what_is_queued_is_told_with_its_place() {
        let ways = Ways {
            port: Some(6608),
            queue: true,
            ..nobody()
        };
        let to = decided(
            &ways,
            &[
                "bob@beta.example",
                "bob@[::1]:608",
                "bob",
                "bob@beta.example:6608",
            ],
        );
        let told: Vec<(&str, bool)> = to.iter().map(|(told, queued)| (told.as_str(), *queued)).collect();
        assert_eq!(
            told,
            [
                ("bob@beta.example:6608", true),
                ("bob@[::1]:608", true),
                ("bob", false)
            ]
        );
    }
}
