//! Relay over UFT: an item goes to the next gateway as it came, with its sender, its transfer id and its trail.
//!
//! The bytes are those that were sent to us, never converted; the attributes are the sender's, and the relay headers are
//! ours. One connection carries one item after another for as long as both sides like. Servers that refuse our headers
//! get the item without them: then only the transfer id and the rule never to send over the arrival link are left
//! against loops.
//! What it does not do: choose the hop, wait, try again, or remove what was delivered.
//!
//! Source: `docs/protocol.md`, "Relay".

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use uft_spool::{Attribute, Content, Error, Form, Measure, Proof, QueuedItem, Spool, SpoolId, State};

use super::Outcome;
use crate::canon::Restorer;
use crate::client::{Body, BodyError, ClientError, Connection, Endpoint, Notice, Options, Parcel};
use crate::display::chain;
use crate::proto::At;
use crate::route::{Trail, Why};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Pieces read ahead of the connection.
const AHEAD: usize = 4;

/// The next hop of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// Where it takes files.
    pub(crate) endpoint: Endpoint,
    /// How to talk to it.
    pub(crate) options: Options,
    /// The places (canonical) that it is itself: for them a recipient is said without a place.
    pub(crate) is: Vec<String>,
}

/// An attempt at one item: what came of it, the connection if it can be used again, and what people should know.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) outcome: Outcome,
    pub(crate) connection: Option<Connection>,
    pub(crate) remarks: Vec<String>,
}

/// Why an item cannot be sent.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Spool(#[from] Error),
    #[error("it says nothing sensible of its way: {0}")]
    Trail(#[from] Why),
    #[error("it was held or given another address")]
    Moved,
}

/// What an item is to the next hop.
struct Loaded {
    parcel: Parcel,
    body: Body,
    aux: Option<Body>,
}

/// Delivers the item of this number over `connection`, or over a new one, if it is still to be sent, to this address. A connection
/// that was used before may have been closed meanwhile: that says nothing of the hop, and a new one is tried.
pub(crate) async fn deliver(
    spool: &Arc<Spool>,
    job: (SpoolId, &str),
    hop: &Hop,
    node: &str,
    mut connection: Option<Connection>,
) -> Attempt {
    loop {
        let used = connection.is_some();
        let (attempt, stale) = attempt(spool, job, hop, node, connection.take()).await;
        if !(used && stale) {
            return attempt;
        }
    }
}

/// One attempt, and whether the connection was at its end before the item began.
async fn attempt(
    spool: &Arc<Spool>,
    job: (SpoolId, &str),
    hop: &Hop,
    node: &str,
    connection: Option<Connection>,
) -> (Attempt, bool) {
    let mut remarks = Vec::new();
    let mut watch = |notice: Notice| {
        if let Notice::Warning(text) = notice {
            remarks.push(text);
        }
    };
    let opened = match connection {
        Some(connection) => Ok(connection),
        None => Connection::open(&hop.endpoint, &hop.options, &mut watch).await,
    };
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(err) => return (Attempt::ended(Outcome::Down(chain(&err)), remarks), false),
    };
    let mut stale = false;
    let outcome = match load(spool, job, hop, node).await {
        Err(Unreadable::Moved) => Outcome::Moved,
        Err(err) => Outcome::Broken(chain(&err)),
        Ok(Loaded { parcel, body, aux }) => {
            match connection.deliver_forks(parcel, body, aux, &mut watch).await {
                Ok(receipt) => {
                    if let Some(at) = receipt.resumed_at {
                        remarks.push(format!(
                            "went on from byte {at}, where an earlier attempt had broken off"
                        ));
                    }
                    Outcome::Done(format!("{} {}", receipt.code, receipt.text))
                }
                Err(err) => {
                    stale = is_stale(&err);
                    outcome(&err)
                }
            }
        }
    };
    let attempt = Attempt {
        outcome,
        connection: connection.usable().then_some(connection),
        remarks,
    };
    (attempt, stale)
}

/// Whether an error is the end of a session in which nothing was said of the item yet.
fn is_stale(error: &ClientError) -> bool {
    match error {
        ClientError::Lost { step } => *step == At::File.to_string(),
        ClientError::Refused { step, code, .. } => *step == At::File.to_string() && *code == 521,
        _ => false,
    }
}

impl Attempt {
    /// Without a connection.
    pub(crate) fn ended(outcome: Outcome, remarks: Vec<String>) -> Attempt {
        Attempt {
            outcome,
            connection: None,
            remarks,
        }
    }
}

/// What a failure means for the item and for the hop.
fn outcome(error: &ClientError) -> Outcome {
    let said = chain(error);
    match error {
        ClientError::Resolve { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Protocol { .. }
        | ClientError::NotProven { .. }
        | ClientError::Tls { .. }
        | ClientError::NoRandomBits(_)
        | ClientError::Local(_)
        | ClientError::NotAdmitted { .. } => Outcome::Down(said),
        ClientError::Lost { .. } | ClientError::TimedOut { .. } | ClientError::Changed => {
            Outcome::Later(said)
        }
        ClientError::Body(_) => Outcome::Broken(said),
        ClientError::Unfit(_) => Outcome::Never(said),
        ClientError::Refused { code, .. } => refused(*code, said),
    }
}

/// What a reply code means for an item in the queue. 4xx may pass; of 5xx only what a server says of itself, or of the
/// room it has, not what it says of the file.
fn refused(code: u16, said: String) -> Outcome {
    match code {
        // The session ends, or this server is out of order: nothing was said of the file.
        521..=528 | 568 | 599 => Outcome::Down(said),
        // The bytes went wrong on the way; over quota, nobody there, not receiving, no space.
        513 | 541 | 545 | 557 | 559 => Outcome::Later(said),
        // Said on our side, before anything went out.
        0 => Outcome::Never(said),
        500.. => Outcome::Never(said),
        _ => Outcome::Later(said),
    }
}

/// Reads the head of an item, and begins with its bytes.
async fn load(
    spool: &Arc<Spool>,
    (id, address): (SpoolId, &str),
    hop: &Hop,
    node: &str,
) -> Result<Loaded, Unreadable> {
    let (spool, hop, node) = (Arc::clone(spool), hop.clone(), node.to_owned());
    let address = address.to_owned();
    let loading = tokio::task::spawn_blocking(move || {
        let item = spool.job(id)?;
        // Events come late, and in any order: what the disk says now is right.
        let waits = matches!(item.state, State::Ready | State::Deferred);
        if !waits || format!("{}@{}", item.job.to, item.job.place) != address {
            return Err(Unreadable::Moved);
        }
        let source = Source::open(&spool, &item)?;
        let aux = match item.envelope.aux {
            Some(measure) => Some(Source::new(spool.open_job(id, Form::Aux)?, None, measure)),
            None => None,
        };
        Ok::<_, Unreadable>((parcel(&item, &hop, &node)?, source, aux))
    });
    let (parcel, source, aux) = match loading.await {
        Ok(loaded) => loaded?,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    };
    Ok(Loaded {
        parcel,
        body: pouring(source),
        aux: aux.map(pouring),
    })
}

/// What a source gives, as far as somebody takes it: ends when the connection takes no more, or with the fork.
fn pouring(source: Source) -> Body {
    let (to, body) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || source.pour(&to));
    body
}

/// The item as the next hop is told of it.
fn parcel(item: &QueuedItem, hop: &Hop, node: &str) -> Result<Parcel, Why> {
    let facts = &item.envelope.facts;
    let job = &item.job;
    let direct = hop.is.contains(&job.place);
    let to = match direct {
        true => job.to.clone(),
        false => format!("{}@{}", job.to, job.place),
    };
    let (from, attributes) = sender(item, node)?;
    Ok(Parcel {
        to,
        from,
        size: Some(item.envelope.wire.bytes),
        spec: facts.spec.clone(),
        name: facts.name.clone(),
        attributes,
        aux: None,
        xid: item.xid().map(str::to_owned),
    })
}

/// Who the next hop is told that the item is from, and the attributes: the sender's, with our headers in place of those
/// that came.
///
/// A gateway vouches for its own users and passes on what another proven gateway vouched for. Whoever forwards an item
/// is its sender from then on; who sent it before is a remark. A letter of the gateway has no sender, so that nobody
/// ever answers it.
fn sender(item: &QueuedItem, node: &str) -> Result<(String, Vec<(String, String)>), Why> {
    let facts = &item.envelope.facts;
    let origin = &facts.origin;
    let mut trail = Trail::read(&facts.attributes)?;
    let left_out = |key: &str| ["XID", "DIGEST"].contains(&key);
    let theirs = facts.attributes.iter().filter(|a| !left_out(&a.key));
    let mut theirs: Vec<Attribute> = theirs.cloned().collect();
    let own = origin.proof == Proof::Local;
    let forwarder = item
        .job
        .owner
        .as_ref()
        .filter(|owner| !own || owner.as_str() != origin.user);
    let from = match forwarder {
        _ if item.job.notice => {
            trail.origin = None;
            String::new()
        }
        Some(owner) => {
            theirs.retain(|a| a.key != "NOTIFY");
            theirs.push(Attribute {
                key: "SENDER".into(),
                value: format!("{}@{}", origin.user, origin.place()),
            });
            trail = Trail {
                origin: Some(format!("{owner}@{node}")),
                ..Trail::default()
            };
            owner.to_string()
        }
        None => {
            let vouched = !origin.user.is_empty() && (own || origin.proof.is_gateway());
            trail.origin =
                vouched.then(|| format!("{}@{}", origin.user, origin.node.as_deref().unwrap_or(node)));
            origin.user.clone()
        }
    };
    let all = trail.onward(&theirs, node).into_iter();
    Ok((from, all.map(|Attribute { key, value }| (key, value)).collect()))
}

/// A fork of an item as it was sent: as it is kept, or made again from the local form.
struct Source {
    /// As it is kept.
    kept: Content,
    restorer: Option<Restorer>,
    /// What it is to be, and of what was made of it so far.
    digest: blake3::Hash,
    hasher: blake3::Hasher,
}

impl Source {
    fn open(spool: &Spool, item: &QueuedItem) -> Result<Source, Error> {
        let facts = &item.envelope.facts;
        let (kept, restorer) = match spool.open_job(item.id, Form::Wire) {
            Err(Error::NotKept { .. }) if facts.exact => {
                let restorer = Restorer::new(&facts.spec, facts.attribute("CHARSET"));
                (spool.open_job(item.id, Form::Local)?, Some(restorer))
            }
            other => (other?, None),
        };
        Ok(Source::new(kept, restorer, item.envelope.wire))
    }

    fn new(kept: Content, restorer: Option<Restorer>, measure: Measure) -> Source {
        Source {
            kept,
            restorer,
            digest: measure.blake3,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Reads to the end, or until nobody wants more. The last piece goes out only if all of it is what was once received:
    /// a disk that has lost bits is not to be believed by the next hop.
    fn pour(mut self, to: &mpsc::Sender<Result<Bytes, BodyError>>) {
        let mut before = Bytes::new();
        loop {
            let (piece, last) = match self.next() {
                Ok(next) => next,
                Err(message) => {
                    let misfit = false;
                    let _ = to.blocking_send(Err(BodyError { message, misfit }));
                    return;
                }
            };
            let piece = std::mem::replace(&mut before, piece);
            if !piece.is_empty() && to.blocking_send(Ok(piece)).is_err() {
                return;
            }
            if last {
                let _ = to.blocking_send(Ok(before));
                return;
            }
        }
    }

    /// The next piece of the wire form, and whether it is the last.
    fn next(&mut self) -> Result<(Bytes, bool), String> {
        let mut wire = Vec::new();
        if self.kept.bytes > 0 {
            let most = usize::try_from(self.kept.bytes).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; most];
            let read = self.kept.file.read_exact(&mut piece);
            read.map_err(|err| format!("item cannot be read: {err}"))?;
            self.kept.bytes -= most as u64;
            match &mut self.restorer {
                None => wire = piece,
                Some(restorer) => restorer.feed(&piece, &mut wire).map_err(|err| err.to_string())?,
            }
        }
        let last = self.kept.bytes == 0;
        if let Some(restorer) = self.restorer.take_if(|_| last) {
            restorer.finish(&mut wire).map_err(|err| err.to_string())?;
        }
        self.hasher.update(&wire);
        match last && self.hasher.finalize() != self.digest {
            true => Err("item is damaged: its bytes are not those that were received".into()),
            false => Ok((wire.into(), last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_whether_there_is_hope() {
        let of = |code| refused(code, String::new());
        for (code, wanted) in [
            (403, Outcome::Later(String::new())),
            (513, Outcome::Later(String::new())),
            (541, Outcome::Later(String::new())),
            (559, Outcome::Later(String::new())),
            (521, Outcome::Down(String::new())),
            (568, Outcome::Down(String::new())),
            (500, Outcome::Never(String::new())),
            (531, Outcome::Never(String::new())),
            (532, Outcome::Never(String::new())),
            (567, Outcome::Never(String::new())),
        ] {
            assert_eq!(of(code), wanted, "{code}");
        }
    }
}
