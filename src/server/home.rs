//! A job whose way ends here after all: rerouted to a user of this host, or by a change of the routes.
//!
//! It becomes what it would have been had it been sent here at once: converted, in the inbox of everybody whom its name
//! stands for. The job goes last; after a crash in between it comes here again, and its transfer id makes one of the two.
//! What it does *not* do: decide where a job goes.

use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;
use uft_spool::{Committed, Content, Error, Form, QueuedItem, Spool, SpoolId, UserName};

use super::intake::{Intake, IntakeError};
use super::users::Unanswered;
use super::{Gateway, receipts};
use crate::canon::Decoder;
use crate::proto::{Draft, Fork};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;

/// Why a job did not reach an inbox of this host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotHome {
    /// Nobody has this name.
    #[error("there is no user {0} here")]
    NoUser(UserName),
    /// Whether there is such a user cannot be said.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The spool says no.
    #[error(transparent)]
    Spool(#[from] Error),
    /// The bytes cannot be taken over.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The bytes cannot be read.
    #[error("the queued item cannot be read")]
    Unreadable(#[from] std::io::Error),
}

impl NotHome {
    /// Whether it is of no use to try again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, NotHome::NoUser(_))
    }
}

/// Puts a job into the inboxes that `user` stands for, and ends it. Blocks.
pub(crate) fn deliver(gateway: &Arc<Gateway>, id: SpoolId, user: &UserName) -> Result<(), NotHome> {
    let to = gateway.live().users.resolve(user)?;
    if to.is_empty() {
        return Err(NotHome::NoUser(user.clone()));
    }
    let spool = &gateway.spool;
    let item = spool.job(id)?;
    let stored = match is_as_sent(&item) {
        true => take_over(spool, &item, to)?,
        false => spool.deliver_job(id, &to)?,
    };
    for (user, new) in stored {
        info!(job = %id, %user, spoolid = %new, "delivered from the queue");
        gateway.notices.arrived(&user, new);
        tokio::spawn(receipts::delivered(Arc::clone(gateway), user, new));
    }
    Ok(())
}

/// Whether the item is what was sent, and would be something else in an inbox. What was forwarded from an inbox is
/// converted already.
fn is_as_sent(item: &QueuedItem) -> bool {
    let envelope = &item.envelope;
    let facts = &envelope.facts;
    let converts = Decoder::new(&facts.spec, facts.attribute("CHARSET")).converts();
    let same = !envelope.wire_kept && envelope.wire == envelope.local;
    converts && same && facts.stored_as == facts.spec.file_type
}

/// Takes the bytes as they were sent for a file that comes now.
fn take_over(
    spool: &Arc<Spool>,
    item: &QueuedItem,
    to: Vec<UserName>,
) -> Result<Vec<(UserName, SpoolId)>, NotHome> {
    let facts = &item.envelope.facts;
    let draft = Draft {
        name: facts.name.clone(),
        spec: Some(facts.spec.clone()),
        attributes: facts.attributes.clone(),
        charset: facts.attribute("CHARSET").map(str::to_owned),
        xid: item.xid().map(str::to_owned),
        notes: facts.notes.clone(),
        ..Draft::default()
    };
    let mut intake = Intake::open(spool, to, None, Some(item.envelope.wire.bytes))?;
    intake.begin(Fork::Data, &draft);
    pour(spool.open_job(item.id, Form::Wire)?, |bytes| {
        intake.take(Fork::Data, bytes)
    })?;
    if item.envelope.aux.is_some() {
        intake.begin(Fork::Aux, &draft);
        pour(spool.open_job(item.id, Form::Aux)?, |bytes| {
            intake.take(Fork::Aux, bytes)
        })?;
    }
    let now = Timestamp::now().as_second();
    let committed = intake.commit(draft, facts.origin.clone(), now)?;
    spool.finish(item.id)?;
    Ok(match committed {
        Committed::Stored(placed) => placed.inbox,
        Committed::Repeat(_) => Vec::new(),
    })
}

fn pour(content: Content, mut take: impl FnMut(&[u8]) -> Result<(), IntakeError>) -> Result<(), NotHome> {
    let mut file = content.file.take(content.bytes);
    let mut piece = vec![0; PIECE];
    loop {
        let n = file.read(&mut piece)?;
        match piece.get(..n) {
            None | Some([]) => return Ok(()),
            Some(bytes) => take(bytes)?,
        }
    }
}
