//! Receipts (INMR07): those that arrive are recognised, and those that are owed are written and handed over.
//!
//! | when | what |
//! |---|---|
//! | an item of type N is committed | [`recognised`]: is it a receipt, and not a file? |
//! | an item from another node is committed | [`delivered`]: did its sender ask to hear of that? |
//! | its recipient takes or discards it | [`owed`]: did its sender ask to hear of that, and can the sender be reached? |
//! | it is gone | [`hand_over`]: the receipt becomes an item of the sender's, here or by way of the queue |
//!
//! A receipt goes to whom the item's *proven* origin names and to nobody else: user and node in the stream are a stranger's
//! word, and answering them would let anybody have mail sent to anybody. A receipt is a courtesy: it is never answered, too
//! many are dropped, and what comes of it changes nothing for who received the file. What this file does *not* do: remove
//! items, or go to other hosts (the queue does).
//!
//! Source: z/OS TSO/E Customization, INMR07 and INMFACK.

use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};
use uft_spool::{Error, Facts, Form, Item, Origin, Proof, Spool, SpoolId, TypeSpec, UserName};

use super::Gateway;
use super::intake::IntakeError;
use super::users::Unanswered;
use super::wire_form::each_slice;
use crate::canon::netdata::{Fate, Party, Receipt, Stamp};
use crate::canon::{Handling, handling};
use crate::display::chain;
use crate::local::Removal;
use crate::post::{Content, Letter, News, Office};

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
    /// The receipt.
    pub(super) letter: Letter,
}

/// Why a receipt was not sent.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error("the sender has no inbox here")]
    NoInbox,
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Spool(#[from] Error),
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
    let item = spool.item(user, id).ok().filter(could_be_owed)?;
    let mut head = Vec::new();
    if is_netdata(&item.envelope.facts) {
        let content = spool.open_form(user, id, Form::Local).ok()?;
        content
            .file
            .take(content.bytes.min(HEAD))
            .read_to_end(&mut head)
            .ok()?;
    }
    decide(&item, &head, removal, node, Timestamp::now())
}

/// Whether a receipt could be owed, by the envelope alone: never for a receipt, and only to who can be reached.
fn could_be_owed(item: &Item) -> bool {
    let facts = &item.envelope.facts;
    facts.receipt.is_none() && Office::reaches(&facts.origin)
}

fn is_netdata(facts: &Facts) -> bool {
    facts.stored_as == facts.spec.file_type && handling(facts.stored_as) == Handling::Netdata
}

/// The decision: an item, the first bytes of its transmission, what becomes of it, and when. Who asked in the
/// transmission itself is answered in kind, who asked with `NOTIFY` by a letter.
fn decide(item: &Item, head: &[u8], removal: Removal, node: &str, now: Timestamp) -> Option<Owed> {
    if !could_be_owed(item) {
        return None;
    }
    let facts = &item.envelope.facts;
    let news = match removal {
        Removal::Received => News::Received,
        Removal::Discarded => News::Discarded,
    };
    let by_letter = || Letter::news(facts, &item.user, item.id, news, node);
    let letter = in_kind(item, head, removal, node, now).or_else(|| news.wanted(facts).then(by_letter))?;
    Some(Owed {
        to: facts.origin.clone(),
        from: item.user.clone(),
        letter,
    })
}

/// The answer to a transmission that asks for one.
fn in_kind(item: &Item, head: &[u8], removal: Removal, node: &str, now: Timestamp) -> Option<Letter> {
    if !is_netdata(&item.envelope.facts) {
        return None;
    }
    let fate = match removal {
        Removal::Received => Fate::Received,
        Removal::Discarded => Fate::Deleted,
    };
    let receipt = Receipt::wanted(head, fate)?;
    let to = &item.envelope.facts.origin;
    let from = Party::folded(item.user.as_str(), node);
    let sender = Party::folded(&to.user, to.node.as_deref().unwrap_or(&to.host));
    let mut wire = Vec::new();
    receipt.write(&from, &sender, &Stamp::of(now), &mut wire);
    Some(Letter {
        from: Some(item.user.clone()),
        content: Content::Netdata(wire, Some(said(&receipt))),
        xid: format!("{node}.receipt.{}.{}", item.user, item.id),
    })
}

/// Sends a receipt, and tells the log how that went.
pub(super) async fn hand_over(gateway: Arc<Gateway>, owed: Owed) {
    let (from, to) = (owed.from.clone(), owed.to.user.clone());
    if !gateway.receipts.take(&format!("{from} {to}")) {
        info!(%from, ?to, "receipt not sent: too many in a minute");
        return;
    }
    let _place = gateway.look_ups.acquire().await;
    let sending = Arc::clone(&gateway);
    let sent = tokio::task::spawn_blocking(move || send(&sending, owed)).await;
    match sent {
        Ok(Ok(stored)) => {
            info!(%from, ?to, "receipt sent");
            for (user, spoolid) in stored {
                gateway.notices.arrived(&user, spoolid);
            }
        }
        Ok(Err(err)) => warn!(%from, ?to, err = chain(&err), "receipt not sent"),
        Err(err) => warn!(%from, ?to, %err, "receipt not sent"),
    }
}

/// Puts a receipt into the inbox of its sender, or into the queue when that is elsewhere.
fn send(gateway: &Gateway, owed: Owed) -> Result<Vec<(UserName, SpoolId)>, NotSent> {
    let live = gateway.live();
    if owed.to.proof == Proof::Local {
        let name: UserName = owed.to.user.parse().map_err(|_| NotSent::NoInbox)?;
        if live.users.resolve(&name)?.is_empty() {
            return Err(NotSent::NoInbox);
        }
    }
    let now = Timestamp::now().as_second();
    Ok(gateway.office(&live).send(&owed.to, owed.letter, now)?)
}

/// Tells the sender of a file on another node that it is in an inbox here, if it wanted to know. (A sender of this host
/// was told in the session.)
pub(super) async fn delivered(gateway: Arc<Gateway>, user: UserName, id: SpoolId) {
    let spool = Arc::clone(&gateway.spool);
    let owner = user.clone();
    let found = tokio::task::spawn_blocking(move || spool.item(&owner, id)).await;
    let Ok(Ok(item)) = found else { return };
    let facts = &item.envelope.facts;
    if !facts.origin.proof.is_gateway() || !could_be_owed(&item) || !News::Delivered.wanted(facts) {
        return;
    }
    let node = gateway.live().config.node.clone();
    let owed = Owed {
        to: facts.origin.clone(),
        from: user.clone(),
        letter: Letter::news(facts, &user, id, News::Delivered, &node),
    };
    hand_over(gateway, owed).await;
}

#[cfg(test)]
mod tests {
    use uft_spool::{Envelope, FileType, Measure};

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

    fn wire(owed: &Owed) -> &[u8] {
        match &owed.letter.content {
            Content::Netdata(wire, _) => wire,
            Content::Text { .. } => panic!("{owed:?}"),
        }
    }

    #[test]
    fn who_asked_with_notify_gets_a_letter_and_only_for_what_was_asked() {
        let mut item = item(Proof::Peer);
        let facts = &mut item.envelope.facts;
        (facts.spec, facts.stored_as) = (TypeSpec::plain(FileType::A), FileType::A);
        facts.name = Some("re\u{1b}port".into());
        assert_eq!(decide(&item, b"", Removal::Received, "ALPHA", now()), None);
        let notify = |item: &mut Item, value: &str| {
            item.envelope.facts.attributes = vec![uft_spool::Attribute {
                key: "NOTIFY".into(),
                value: value.into(),
            }];
        };
        notify(&mut item, "alice@ALPHA");
        assert_eq!(decide(&item, b"", Removal::Received, "ALPHA", now()), None);
        notify(&mut item, "victim@elsewhere received");
        let owed = decide(&item, b"", Removal::Discarded, "ALPHA", now()).unwrap();
        assert_eq!(owed.to.user, "alice");
        let Content::Text { title, text, .. } = owed.letter.content else {
            panic!("a text")
        };
        assert_eq!(title, "discarded: re\\x1bport to bob@ALPHA");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        item.envelope.facts.origin.proof = Proof::Address;
        assert_eq!(decide(&item, b"", Removal::Received, "ALPHA", now()), None);
    }

    #[test]
    fn a_receipt_goes_to_the_proven_sender_whatever_the_stream_says() {
        for (removal, fate) in [
            (Removal::Received, Fate::Received),
            (Removal::Discarded, Fate::Deleted),
        ] {
            let owed = decide(&item(Proof::Local), &asking(), removal, "ALPHA", now()).unwrap();
            assert_eq!((owed.to.user.as_str(), owed.from.as_str()), ("alice", "bob"));
            let contents = crate::canon::netdata::decode(wire(&owed), Default::default()).unwrap();
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
        assert_eq!(owed(&item(Proof::Local), wire(&first)), None);
    }
}
