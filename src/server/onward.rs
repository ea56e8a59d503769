//! Messages and questions for other nodes: passed on at once or refused at once, and never kept.
//!
//! Who may have one passed on, and where it goes, is the table's word, as for files: users of this host and gateways that
//! proved themselves, along the routes. The first gateway of a route that can be reached takes it; what that one says is
//! the answer. `META ORIGIN`, `HOPS` and `VIA` are said before it, so that it cannot go round in circles, and before a
//! question for a node further on `META AT node`.
//!
//! What this file does *not* do: wait for a node that is away, talk to hosts that no route names, show messages.
//! Source: `docs/protocol.md`, "Messages and questions for other nodes".

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tracing::info;
use uft_spool::{Attribute, Origin, UserName};

use super::{Gateway, Live, blocking};
use crate::client::{ClientError, Connection, Endpoint, Notice, Options};
use crate::display::chain;
use crate::local::Message;
use crate::proto::{Query, Refusal};
use crate::route::{Address, Party, Route, Trail, Why};

/// How long somebody waits for an answer from another node, over all gateways that are tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one gateway may take to be reached, and to prove itself, before the next one is tried.
const REACH: Duration = Duration::from_secs(3);
/// Lines of an answer that are passed on, and characters of one.
const LINES_MAX: usize = 500;
const LINE_MAX: usize = 180;
/// Where a question is for.
const AT: &str = "AT";

/// Who has something to say.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    /// What may be done for it.
    pub(super) party: Party,
    /// Who it is, and what of that is proven.
    pub(super) origin: Origin,
    /// Under this name its messages are counted.
    pub(super) budget: String,
}

/// Where something goes.
enum Way {
    /// It is for this host; the user as typed.
    Here(String),
    /// To the first of these that can be reached, with these attributes.
    On(Vec<Hop>, Vec<Attribute>),
}

/// A gateway that is next on the way.
struct Hop {
    endpoint: Endpoint,
    options: Options,
    /// The node that it is itself.
    node: String,
}

/// Something on its way to another node.
struct Journey {
    /// For whom it is, in refusals and in the log.
    name: String,
    /// Where that is.
    place: String,
    /// Login name of the sender.
    from: String,
    hops: Vec<Hop>,
    attributes: Vec<Attribute>,
    what: What,
}

enum What {
    Message { user: String, text: String },
    Question(String),
}

/// Takes a message to its user, here or on another node; `Ok` when somebody saw it.
pub(super) async fn message(
    gateway: &Arc<Gateway>,
    speaker: &Speaker,
    to: &str,
    text: String,
    said: &[Attribute],
) -> Result<(), Refusal> {
    // One answer for "no such user" and "not there": a message does not tell who exists.
    let not_there = || Refusal::NotLoggedOn { name: to.to_owned() };
    let address: Address = to.parse().map_err(|_| not_there())?;
    match way(&gateway.live(), &address, speaker, said)? {
        Way::Here(user) => {
            let message = Message {
                from: speaker.origin.user.clone(),
                host: speaker.origin.place().to_owned(),
                proof: speaker.origin.proof,
                to: user.parse::<UserName>().map_err(|_| not_there())?,
                text,
                at: Timestamp::now().as_second(),
            };
            gateway.tell(message, speaker.budget.clone()).await
        }
        Way::On(hops, attributes) => {
            let journey = Journey {
                name: address.to_string(),
                place: place_of(&address),
                from: speaker.origin.user.clone(),
                hops,
                attributes,
                what: What::Message {
                    user: address.user,
                    text,
                },
            };
            pass_on(gateway, &speaker.budget, journey).await.map(drop)
        }
    }
}

/// Has a question answered by this host, or by `at`; the lines of the answer.
pub(super) async fn question(
    gateway: &Arc<Gateway>,
    speaker: &Speaker,
    at: Option<&str>,
    query: &Query,
    said: &[Attribute],
) -> Result<Vec<String>, Refusal> {
    if let Some(place) = at {
        let nowhere = |_| Refusal::NoRoute {
            name: place.to_owned(),
        };
        // A question is for a place and not for a user; the table wants an address.
        let address: Address = format!("CPQ@{place}").parse().map_err(nowhere)?;
        if let Way::On(hops, attributes) = way(&gateway.live(), &address, speaker, said)? {
            let journey = Journey {
                name: place.to_owned(),
                place: place_of(&address),
                from: speaker.origin.user.clone(),
                hops,
                attributes,
                what: What::Question(query.operands()),
            };
            return pass_on(gateway, &speaker.budget, journey).await;
        }
    }
    let (gateway, query) = (Arc::clone(gateway), query.clone());
    Ok(blocking(move || super::query::answer(&gateway, &query, Timestamp::now())).await)
}

/// The place for which the next question is, among what was said before it.
pub(super) fn asked_of(said: &[Attribute]) -> Option<&str> {
    let at = said.iter().rfind(|attribute| attribute.key == AT)?;
    Some(at.value.trim()).filter(|place| !place.is_empty())
}

fn way(live: &Live, address: &Address, speaker: &Speaker, said: &[Attribute]) -> Result<Way, Refusal> {
    let name = || address.to_string();
    let peers = match live.table.decide(address, &speaker.party) {
        Route::Inbox(user) => return Ok(Way::Here(user)),
        Route::Peers(names) => names,
        // Whoever speaks for a user of this host can talk to another host without our help.
        Route::Direct { .. } => return Err(Refusal::NoRoute { name: name() }),
        // What waits is a file.
        Route::Mail | Route::Hold => return Err(Refusal::NotReceiving { name: name() }),
        Route::Refuse(why) => return Err(refusal(&why, name())),
    };
    let trail = Trail::read(said).and_then(|trail| trail.passes(&live.table).map(|()| trail));
    let mut trail = trail.map_err(|why| refusal(&why, name()))?;
    trail.origin = origin(&speaker.origin);
    let hops = peers.iter().filter_map(|peer| hop(live, peer)).collect();
    Ok(Way::On(hops, trail.next(live.table.node())))
}

/// The speaker as the next gateway is told of it.
fn origin(origin: &Origin) -> Option<String> {
    let node = origin.node.as_deref().unwrap_or(&origin.host);
    (!origin.user.is_empty()).then(|| format!("{}@{node}", origin.user))
}

/// How a gateway is reached, and what we prove ourselves to it by.
fn hop(live: &Live, name: &str) -> Option<Hop> {
    let peer = live.config.peers.iter().find(|peer| peer.name == name)?;
    let (endpoint, options) = live.peers.dial(peer, PATIENCE, live.own.clone());
    Some(Hop {
        endpoint,
        options,
        node: peer.name.to_ascii_uppercase(),
    })
}

async fn pass_on(gateway: &Gateway, budget: &str, journey: Journey) -> Result<Vec<String>, Refusal> {
    if !gateway.notices.may_tell(budget) {
        return Err(Refusal::Busy);
    }
    let travel = async {
        for hop in &journey.hops {
            if let Some(connection) = reach(hop).await {
                return journey.say(connection, hop).await;
            }
        }
        Err(journey.no_answer())
    };
    timeout(PATIENCE, travel).await.unwrap_or_else(|_| {
        info!(to = ?journey.name, "not passed on: no answer in time");
        Err(journey.no_answer())
    })
}

/// A connection to a gateway that is there and is the one it should be.
async fn reach(hop: &Hop) -> Option<Connection> {
    let mut watch = |_: Notice| {};
    let opened = timeout(REACH, Connection::open(&hop.endpoint, &hop.options, &mut watch)).await;
    match opened {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(err)) => {
            info!(gateway = hop.node, err = chain(&err), "not reached");
            None
        }
        Err(_) => {
            info!(gateway = hop.node, err = "no answer in time", "not reached");
            None
        }
    }
}

impl Journey {
    /// Says it to the next gateway; its answer.
    async fn say(&self, mut connection: Connection, hop: &Hop) -> Result<Vec<String>, Refusal> {
        let last = self.place == hop.node;
        let mut watch = |_: Notice| {};
        let mut attributes = self.attributes.clone();
        let said = match &self.what {
            What::Message { user, text } => {
                let to = match last {
                    true => user.clone(),
                    false => format!("{user}@{}", self.place),
                };
                let told = connection
                    .tell(&self.from, &to, text, attributes, &mut watch)
                    .await;
                told.map(|_| Vec::new())
            }
            // Another product would answer for itself.
            What::Question(_) if !last && !connection.is_ours() => return Err(self.no_answer()),
            What::Question(operands) => {
                if !last {
                    attributes.push(Attribute {
                        key: AT.into(),
                        value: self.place.clone(),
                    });
                }
                connection.query(operands, attributes, &mut watch).await
            }
        };
        // What was answered is answered, however the goodbye goes.
        tokio::spawn(async move { connection.quit(&mut |_| {}).await });
        match said {
            Ok(lines) => {
                info!(to = ?self.name, gateway = hop.node, "passed on");
                Ok(lines.iter().take(LINES_MAX).map(|line| cut(line)).collect())
            }
            Err(err) => {
                info!(to = ?self.name, gateway = hop.node, err = chain(&err), "not passed on");
                Err(self.answered(&err))
            }
        }
    }

    fn no_answer(&self) -> Refusal {
        Refusal::NoAnswer {
            name: self.name.clone(),
        }
    }

    /// What the far end says, in our words.
    fn answered(&self, err: &ClientError) -> Refusal {
        let name = self.name.clone();
        let code = match err {
            ClientError::Refused { code, .. } => *code,
            _ => 0,
        };
        match code {
            532 => Refusal::NoSuchUser { name },
            533 => Refusal::NoRoute { name },
            545 => Refusal::NotLoggedOn { name },
            557 => Refusal::NotReceiving { name },
            567 => Refusal::NoRelay { name },
            500 => Refusal::Loop,
            433 => Refusal::InvalidQuery { option: name },
            _ => Refusal::NoAnswer { name },
        }
    }
}

fn refusal(why: &Why, name: String) -> Refusal {
    info!(?name, %why, "not passed on");
    match why {
        Why::NotAllowed(_) => Refusal::NoRelay { name },
        Why::NoRoute(_) | Why::Rejected(_) | Why::NoPeer(_) => Refusal::NoRoute { name },
        Why::Loop(_) | Why::TooManyHops { .. } | Why::Back { .. } => Refusal::Loop,
        Why::BadTrail { key, .. } => Refusal::BadAttribute {
            key: (*key).to_owned(),
        },
    }
}

fn place_of(address: &Address) -> String {
    let place = address.place.as_ref();
    place.map(ToString::to_string).unwrap_or_default()
}

fn cut(line: &str) -> String {
    line.chars().take(LINE_MAX).collect()
}
