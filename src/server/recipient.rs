//! For whom a file is: inboxes of this host, or a place that the queue takes it to.
//!
//! What it does *not* do: make room, or decide whether the sender is who it says.

use std::sync::Arc;

use jiff::Timestamp;
use uft_spool::{Attribute, Job, UserName};

use super::Gateway;
use crate::proto::Refusal;
use crate::route::{Address, Party, Place, Route, Table, Trail, Why};

/// A recipient, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// Inboxes here: at least one.
    Inboxes(Vec<UserName>),
    /// The queue.
    Elsewhere(Box<Job>),
}

impl From<Vec<UserName>> for Recipient {
    fn from(users: Vec<UserName>) -> Recipient {
        Recipient::Inboxes(users)
    }
}

/// Who a session is with, as far as routes depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// What may be done for it.
    pub(crate) party: Party,
    /// The local user, whose job it becomes.
    pub(crate) owner: Option<UserName>,
}

/// Finds a recipient by the word after `USER`; what reply 208 shows, too.
pub(crate) async fn find(
    gateway: &Arc<Gateway>,
    name: &str,
    sender: &Sender,
) -> Result<(Recipient, String), Refusal> {
    let unknown = || Refusal::NoSuchUser {
        name: name.to_owned(),
    };
    let address: Address = name.parse().map_err(|_| unknown())?;
    let live = gateway.live();
    let address = live.table.meant(address, &sender.party);
    match live.table.decide(&address, &sender.party) {
        Route::Inbox(user) => {
            let user: UserName = user.parse().map_err(|_| unknown())?;
            let to = inboxes(gateway, &user).await?;
            if to.is_empty() {
                return Err(unknown());
            }
            Ok((Recipient::Inboxes(to), user.to_string()))
        }
        Route::Peers(_) | Route::Direct { .. } | Route::Hold => {
            let Address {
                user,
                place: Some(place),
            } = address
            else {
                return Err(unknown());
            };
            let shown = format!("{user}@{place}");
            let job = job(user, &place, sender);
            Ok((Recipient::Elsewhere(Box::new(job)), shown))
        }
        Route::Mail => Err(Refusal::NoRoute {
            name: name.to_owned(),
        }),
        Route::Refuse(why) => Err(refusal(&why, name)),
    }
}

fn job(user: String, place: &Place, sender: &Sender) -> Job {
    Job {
        to: user,
        place: place.to_string(),
        owner: sender.owner.clone(),
        link: sender.party.link.clone(),
        queued: Timestamp::now().as_second(),
        ..Job::default()
    }
}

/// The inboxes that a name stands for.
async fn inboxes(gateway: &Arc<Gateway>, name: &UserName) -> Result<Vec<UserName>, Refusal> {
    let live = gateway.live();
    let found = if live.users.blocks(name) {
        // A directory that hangs must not take the threads that commits need.
        let _place = gateway.look_ups.acquire().await;
        let name = name.clone();
        super::blocking(move || live.users.resolve(&name)).await
    } else {
        live.users.resolve(name)
    };
    found.map_err(|_| Refusal::UsersUnavailable)
}

/// Whether a file may go on, by what it says of its way so far.
pub(crate) fn passes(table: &Table, attributes: &[Attribute]) -> Result<(), Refusal> {
    let passed = Trail::read(attributes).and_then(|trail| trail.passes(table));
    passed.map_err(|why| refusal(&why, ""))
}

/// The priority that a sender gives: `META PRI`, 0 to 99, low first. What is no such number says nothing.
pub(crate) fn priority(attributes: &[Attribute]) -> u8 {
    let given = attributes.iter().rfind(|a| a.key == "PRI");
    let given = given.and_then(|a| a.value.trim().parse().ok());
    given
        .filter(|&priority| priority < 100)
        .unwrap_or(Job::default().priority)
}

/// What the peer hears; the log has the rest.
fn refusal(why: &Why, name: &str) -> Refusal {
    tracing::info!(name, %why, "not relayed");
    let name = name.to_owned();
    match why {
        Why::NotAllowed(_) => Refusal::NoRelay { name },
        Why::NoRoute(_) | Why::Rejected(_) | Why::NoPeer(_) => Refusal::NoRoute { name },
        Why::Loop(_) | Why::TooManyHops { .. } | Why::Back { .. } => Refusal::Loop,
        Why::BadTrail { key, .. } => Refusal::BadAttribute {
            key: (*key).to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_below_100_is_a_priority() {
        let of = |values: &[&str]| {
            let attributes = values.iter().map(|value| Attribute {
                key: "PRI".into(),
                value: (*value).into(),
            });
            priority(&attributes.collect::<Vec<_>>())
        };
        assert_eq!((of(&[]), of(&["0"]), of(&["99"]), of(&["100"])), (50, 0, 99, 50));
        assert_eq!(
            (of(&["-1"]), of(&["x"]), of(&["10", "20"]), of(&[" 7 "])),
            (50, 50, 20, 7)
        );
    }
}
