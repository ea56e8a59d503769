//! `uft forward`: an item goes on to somebody else, and stays.
//!
//! To a local user the daemon links it, and into its queue as well, for a node that it has a route to. To another host the
//! bytes travel as they were sent, under the same type, name and attributes; the sender of the new transfer is the user
//! who forwards. With `--queue` that is the daemon's affair, too.
//! What it does *not* do: remove the item (`uft discard` does).

use bytes::Bytes;
use tokio::sync::mpsc;
use uft_spool::SpoolId;

use super::address::Recipient;
use super::console::Console;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::form::{Source, View};
use super::send::carry::{Carrier, Manner, Outgoing};
use super::send::input::Pieces;
use super::send::{login_name, transfer};
use super::units;
use crate::client::{Endpoint, Parcel};
use crate::local::ItemInfo;

/// Attributes that belong to one transfer and not to the file.
const OF_THE_TRANSFER: [&str; 6] = ["XID", "DIGEST", "NOTIFY", "ORIGIN", "HOPS", "VIA"];

/// Forwards an item to each recipient; the first failure decides.
pub(crate) async fn forward(
    console: Console,
    daemon: &Daemon,
    id: SpoolId,
    to: &[Recipient],
    port: Option<u16>,
    manner: Manner,
) -> Exit {
    let mut exit = Exit::Done;
    let mut carrier = Carrier::new(console, manner);
    for recipient in to {
        let done = match &recipient.host {
            None => local(daemon, id, recipient),
            Some(_) if recipient.queued => queued(daemon, id, recipient),
            Some(host) => {
                let endpoint = Endpoint::Tcp {
                    host: host.name.clone(),
                    port: host.port.or(port),
                };
                remote(&mut carrier, daemon, id, recipient, &endpoint).await
            }
        };
        if let Err(failure) = done.and_then(|text| console.line(&text)) {
            exit = exit.then(console.complain(&failure));
        }
    }
    carrier.end().await;
    exit
}

fn local(daemon: &Daemon, id: SpoolId, to: &Recipient) -> Result<String, Failure> {
    let stored = daemon.forward(id, &to.user)?;
    let places: Vec<String> = stored
        .iter()
        .map(|(user, id)| format!("{user} as item {id}"))
        .collect();
    match places.is_empty() {
        true => Ok(format!("{id} forwarded to {to}")),
        false => Ok(format!("{id} forwarded to {}", places.join(", "))),
    }
}

fn queued(daemon: &Daemon, id: SpoolId, to: &Recipient) -> Result<String, Failure> {
    let job = daemon.queue(id, to.told())?;
    Ok(format!("{id} queued as job {} for {to}", job.summary.id))
}

async fn remote(
    carrier: &mut Carrier,
    daemon: &Daemon,
    id: SpoolId,
    to: &Recipient,
    endpoint: &Endpoint,
) -> Result<String, Failure> {
    let item = daemon.item(id)?;
    let parcel = parcel(daemon, id, &item, to)?;
    let receipt = carrier
        .carry(endpoint, || {
            let source = Source::open(daemon, id, View::Wire)?;
            let (sender, body) = mpsc::channel(2);
            let reader = tokio::task::spawn_blocking(move || {
                let mut out = Pieces { sender };
                let give = |piece: &[u8]| match out.give(Bytes::copy_from_slice(piece)) {
                    true => Ok(()),
                    // The transfer has ended and says itself why.
                    false => Err(Failure::new(Exit::Io, "")),
                };
                let copied = source.copy(give).map(|_| Vec::new());
                copied.inspect_err(|failure| out.fail(failure))
            });
            Ok(Some(Outgoing {
                parcel: parcel.clone(),
                body,
                reader,
                label: format!("item {id}"),
            }))
        })
        .await
        .map_err(|not_sent| not_sent.failure)?;
    let there = receipt.id.map_or_else(String::new, |id| format!(" as item {id}"));
    Ok(format!(
        "{id} forwarded to {to}{there} ({})",
        units::size(receipt.bytes)
    ))
}

fn parcel(daemon: &Daemon, id: SpoolId, item: &ItemInfo, to: &Recipient) -> Result<Parcel, Failure> {
    let facts = &item.envelope.facts;
    let aux = match item.envelope.aux {
        None => None,
        Some(_) => {
            let mut bytes = Vec::new();
            Source::open(daemon, id, View::Aux)?.copy(|piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Some(Bytes::from(bytes))
        }
    };
    Ok(Parcel {
        to: to.user.clone(),
        from: login_name(),
        size: Some(item.envelope.wire.bytes),
        spec: facts.spec.clone(),
        name: facts.name.clone(),
        attributes: facts
            .attributes
            .iter()
            .filter(|attribute| !OF_THE_TRANSFER.contains(&attribute.key.as_str()))
            .map(|attribute| (attribute.key.clone(), attribute.value.clone()))
            .collect(),
        aux,
        xid: Some(transfer::random()?),
    })
}
