//! An item leaves an inbox: because its user has it or does not want it, or because its program took it.
//!
//! What it does *not* do: ask who may remove what.

use std::sync::Arc;

use tracing::info;
use uft_spool::{Error, SpoolId, UserName};

use super::{Gateway, blocking, receipts};
use crate::local::Removal;

/// Removes an item. Its sender is sent a receipt, if one is owed, when that is done. `own`: its recipient has it
/// removed; what an administrator clears away, its recipient has neither received nor discarded.
///
/// # Errors
/// As [`uft_spool::Spool::remove`].
pub(super) async fn remove(
    gateway: &Arc<Gateway>,
    user: &UserName,
    id: SpoolId,
    removal: Removal,
    own: bool,
) -> Result<(), Error> {
    let node = gateway.live().config.node.clone();
    let (spool, owner) = (Arc::clone(&gateway.spool), user.clone());
    let owed = blocking(move || {
        let owed = own
            .then(|| receipts::owed(&spool, &owner, id, removal, &node))
            .flatten();
        // Of two who remove it at once, one is told that it was gone: no receipt is sent twice.
        spool.remove(&owner, id)?;
        Ok::<_, Error>(owed)
    });
    let owed = owed.await?;
    match removal {
        Removal::Received => info!(%user, spoolid = %id, "received"),
        Removal::Discarded => info!(%user, spoolid = %id, "discarded"),
    }
    if let Some(owed) = owed {
        tokio::spawn(receipts::hand_over(Arc::clone(gateway), owed));
    }
    Ok(())
}
