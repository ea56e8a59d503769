//! Receipts (INMR07): those that arrive are recognised, and those that are owed are written and handed over.
//!
//! | when | what |
//! |---|---|
//! | an item of type N is committed | [`recognised`]: is it a receipt, and not a file? |
//! | its recipient takes or discards it | [`owed`]: did its sender ask to hear of that, and can the sender be reached? |
//! | it is gone | [`hand_over`]: the receipt becomes an item of the sender's |
//!
//! A receipt goes to whom the item's *proven* origin names and to nobody else: user and node in the stream are a stranger's
//! word, and answering them would let anybody have mail sent to anybody. A receipt is a courtesy: it is never answered, too
//! many are dropped, and what comes of it changes nothing for who received the file. What this file does *not* do: remove
//! items, or reach senders on other hosts.
//!
//! Source: z/OS TSO/E Customization, INMR07 and INMFACK.

use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};
use uft_spool::{Committed, Error, FileType, Form, Item, Origin, Proof, Spool, SpoolId, TypeSpec, UserName};

use super::Gateway;
use super::intake::{Intake, IntakeError};
use super::users::Unanswered;
use super::wire_form::each_slice;
use crate::canon::netdata::{Fate, Party, Receipt, Stamp};
use crate::canon::{Handling, handling};
use crate::display::chain;
use crate::local::Removal;
use crate::proto::{Draft, Fork};

/// Bytes of a stream that may be a receipt: one has some hundred. Longer ones are not looked at.
const RECEIPT_MAX: u64 = 8 * 1024;
/// Bytes of a transmission in which its wish for a receipt and the names of its files are looked for.
const HEAD: u64 = 64 * 1024;
/// Receipts a minute from one user to one other: whoever receives files one by one does not get there.
pub(super) const A_MINUTE: u32 = 240;

/// A receipt that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// To whom: the proven origin of the item.
    pub(super) to: Origin,
    /// From whom: the user who took or discarded it.
    pub(super) from: UserName,
    /// The stream.
    pub(super) wire: Vec<u8>,
}

/// Why a receipt was not delivered.
#[derive(Debug, thiserror::Error)]
enum NotDelivered {
    #[error("the sender has no inbox here")]
    NoInbox,
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Spool(#[from] Error),
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// What an item is a receipt for, by all of its bytes; `None` if it is a file.
pub(super) fn recognised(
    spec: &TypeSpec,
    wire: &mut uft_spool::Staged,
) -> Result<Option<uft_spool::Receipt>, IntakeError> {
    if handling(spec.file_type) != Handling::Netdata || wire.len() > RECEIPT_MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    each_slice(wire, &mut |slice| {
        bytes.extend_from_slice(slice);
        Ok(())
    })?;
    Ok(Receipt::of_stream(&bytes).map(|receipt| said(&receipt)))
}

/// A receipt as the envelope has it.
fn said(receipt: &Receipt) -> uft_spool::Receipt {
    let name = receipt.name.as_ref().map(ToString::to_string);
    uft_spool::Receipt {
        name: name.filter(|name| !name.is_empty()),
        sent: receipt
            .sent
            .as_ref()
            .and_then(Stamp::moment)
            .map(Timestamp::as_second),
        fate: match &receipt.fate {
            Fate::Received => uft_spool::Fate::Received,
            Fate::Deleted => uft_spool::Fate::Deleted,
            Fate::Other(words) => uft_spool::Fate::Other(words.clone()),
        },
    }
}

/// The receipt that is owed when a user removes an item: looks at the item, which must still be there. What cannot be read
/// owes nothing.
pub(super) fn owed(
    spool: &Spool,
    user: &UserName,
    id: SpoolId,
    removal: Removal,
    node: &str,
) -> Option<Owed> {
    let item = spool.item(user, id).ok().filter(asks_at_all)?;
    let content = spool.open_form(user, id, Form::Local).ok()?;
    let mut head = Vec::new();
    let read = content.file.take(content.bytes.min(HEAD)).read_to_end(&mut head);
    read.ok()
        .and_then(|_| decide(&item, &head, removal, node, Timestamp::now()))
}

/// Whether a receipt could be owed, by the envelope alone.
fn asks_at_all(item: &Item) -> bool {
    let facts = &item.envelope.facts;
    let netdata = facts.stored_as == facts.spec.file_type && handling(facts.stored_as) == Handling::Netdata;
    netdata && facts.receipt.is_none() && is_proven(&facts.origin)
}

/// Whether the origin is one that a receipt may go to: proven, and of this host.
fn is_proven(origin: &Origin) -> bool {
    match origin.proof {
        Proof::Local => true,
        // A sender elsewhere, by the word of a gateway: a receipt is not sent over the network yet.
        Proof::Peer | Proof::Certificate | Proof::Agent => false,
        // Anybody can send from an address and say any name.
        Proof::Address => false,
    }
}

/// The decision: an item, the first bytes of its transmission, what becomes of it, and when.
fn decide(item: &Item, head: &[u8], removal: Removal, node: &str, now: Timestamp) -> Option<Owed> {
    if !asks_at_all(item) {
        return None;
    }
    let fate = match removal {
        Removal::Received => Fate::Received,
        Removal::Discarded => Fate::Deleted,
    };
    let receipt = Receipt::wanted(head, fate)?;
    let to = item.envelope.facts.origin.clone();
    let from = Party::folded(item.user.as_str(), node);
    let sender = Party::folded(&to.user, to.node.as_deref().unwrap_or(&to.host));
    let mut wire = Vec::new();
    receipt.write(&from, &sender, &Stamp::of(now), &mut wire);
    Some(Owed {
        to,
        from: item.user.clone(),
        wire,
    })
}

/// Delivers a receipt, and tells the log how that went.
pub(super) async fn hand_over(gateway: Arc<Gateway>, owed: Owed) {
    let (from, to) = (owed.from.clone(), owed.to.user.clone());
    if !gateway.receipts.take(&format!("{from} {to}")) {
        info!(%from, ?to, "receipt not delivered: too many in a minute");
        return;
    }
    let _place = gateway.look_ups.acquire().await;
    let delivering = Arc::clone(&gateway);
    let delivered = tokio::task::spawn_blocking(move || deliver(&delivering, owed)).await;
    match delivered {
        Ok(Ok(stored)) => {
            for (user, spoolid) in stored {
                info!(%user, %spoolid, %from, "receipt delivered");
                gateway.notices.arrived(&user, spoolid);
            }
        }
        Ok(Err(err)) => warn!(%from, ?to, err = chain(&err), "receipt not delivered"),
        Err(err) => warn!(%from, ?to, %err, "receipt not delivered"),
    }
}

/// Puts a receipt into the inbox of its sender, as an item of the user who owed it.
fn deliver(gateway: &Gateway, owed: Owed) -> Result<Vec<(UserName, SpoolId)>, NotDelivered> {
    let live = gateway.live();
    let name: UserName = owed.to.user.parse().map_err(|_| NotDelivered::NoInbox)?;
    let to = live.users.resolve(&name)?;
    if to.is_empty() {
        return Err(NotDelivered::NoInbox);
    }
    let origin = Origin {
        user: owed.from.to_string(),
        node: Some(live.config.node.clone()),
        host: live.config.hostname.clone(),
        proof: Proof::Local,
    };
    let draft = Draft {
        spec: Some(TypeSpec::plain(FileType::N)),
        ..Draft::default()
    };
    let mut intake = Intake::open(&gateway.spool, to, None, Some(owed.wire.len() as u64))?;
    intake.begin(Fork::Data, &draft);
    intake.take(Fork::Data, &owed.wire)?;
    let (Committed::Stored(stored) | Committed::Repeat(stored)) =
        intake.commit(draft, origin, Timestamp::now().as_second())?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use uft_spool::{Envelope, Facts, Measure};

    use super::*;
    use crate::canon::netdata::{AckRequest, FileSpec, Format, Name, Plan, Style, Writer};

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    /// A transmission that asks for a receipt, from MALLORY at EVIL by its own word.
    fn asking() -> Vec<u8> {
        let (from, to) = (Party::folded("mallory", "evil"), Party::folded("bob", "alpha"));
        let mut plan = Plan::new(from, to, Stamp::of(now()), Style::Cms);
        plan.ack = Some(AckRequest::default());
        let name = Name::cms("NOTES", "TEXT").unwrap();
        plan.files.push(FileSpec::new(Some(name), Format::variable(80)));
        let (mut wire, mut writer) = (Vec::new(), Writer::new(&plan).unwrap());
        writer.start(&mut wire).unwrap();
        writer.record(&[0xc1], &mut wire).unwrap();
        writer.finish(&mut wire).unwrap();
        wire
    }

    fn item(proof: Proof) -> Item {
        let measure = Measure {
            bytes: 0,
            blake3: blake3::hash(b""),
        };
        let facts = Facts {
            name: None,
            spec: TypeSpec::plain(FileType::N),
            stored_as: FileType::N,
            origin: Origin {
                user: "alice".into(),
                node: Some("ALPHA".into()),
                host: "alpha.example".into(),
                proof,
            },
            received: 0,
            attributes: Vec::new(),
            xid: None,
            exact: true,
            notes: Vec::new(),
            receipt: None,
        };
        Item {
            user: "bob".parse().unwrap(),
            id: SpoolId::new(1).unwrap(),
            envelope: Envelope {
                version: 1,
                facts,
                local: measure,
                wire: measure,
                wire_kept: false,
                aux: None,
            },
        }
    }

    #[test]
    fn a_receipt_goes_to_the_proven_sender_whatever_the_stream_says() {
        for (removal, fate) in [
            (Removal::Received, Fate::Received),
            (Removal::Discarded, Fate::Deleted),
        ] {
            let owed = decide(&item(Proof::Local), &asking(), removal, "ALPHA", now()).unwrap();
            assert_eq!((owed.to.user.as_str(), owed.from.as_str()), ("alice", "bob"));
            let contents = crate::canon::netdata::decode(&owed.wire, Default::default()).unwrap();
            assert_eq!(contents.header.to.to_string(), "ALICE@ALPHA");
            assert_eq!(contents.header.from.to_string(), "BOB@ALPHA");
            assert_eq!(contents.header.ack, None);
            let receipt = contents.receipt.unwrap();
            assert_eq!(receipt.name.unwrap().to_string(), "NOTES.TEXT");
            assert_eq!((receipt.sent, receipt.fate), (Some(Stamp::of(now())), fate));
        }
    }

    #[test]
    fn nothing_is_owed_to_strangers_for_receipts_or_for_what_did_not_ask() {
        let owed = |item: &Item, head: &[u8]| decide(item, head, Removal::Received, "ALPHA", now());
        assert!(owed(&item(Proof::Local), &asking()).is_some());
        assert_eq!(owed(&item(Proof::Address), &asking()), None);
        assert_eq!(owed(&item(Proof::Local), b"no NETDATA"), None);
        assert_eq!(owed(&item(Proof::Local), &asking()[..60]), None);
        let mut other = item(Proof::Local);
        (other.envelope.facts.spec, other.envelope.facts.stored_as) =
            (TypeSpec::plain(FileType::I), FileType::I);
        assert_eq!(owed(&other, &asking()), None);
        let mut receipt = item(Proof::Local);
        receipt.envelope.facts.receipt = Some(uft_spool::Receipt {
            name: None,
            sent: None,
            fate: uft_spool::Fate::Received,
        });
        assert_eq!(owed(&receipt, &asking()), None);
        // One that came before receipts were recorded as such.
        let first = owed(&item(Proof::Local), &asking()).unwrap();
        assert_eq!(owed(&item(Proof::Local), &first.wire), None);
    }
}
