//! Files that are not items yet: in `tmp/`, and in `partial/` once a sender may go on with them.
//!
//! What this file does *not* do: count bytes or digest them (`stage.rs` does), or know which partials there are
//! (`partial.rs` does).

use std::sync::Arc;

use crate::dir::Dir;
use crate::disk::{Handle, lock};
use crate::error::Error;
use crate::partial::{Lease, PARTIAL_MIN, Transfer};
use crate::spool::Shared;

/// A file that is not an item yet. Dropping it removes it, unless it is to be kept for its sender to go on.
#[derive(Debug)]
pub(crate) struct Temporary {
    shared: Arc<Shared>,
    pub(crate) handle: Handle,
    pub(crate) name: String,
    /// The name is gone: the file was renamed to its place.
    pub(crate) placed: bool,
    /// It is in `partial/`, else in `tmp/`.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    transfer: Transfer,
    lease: Lease,
    /// All that was written is part of the form.
    sound: bool,
}

impl Temporary {
    pub(crate) fn create(shared: &Arc<Shared>) -> Result<Temporary, Error> {
        let name = shared.temporary_name();
        let handle = loop {
            match shared.disk.create(&shared.tmp, &name) {
                Err(e) if e.is_room() && shared.partials.evict() => {}
                other => break other?,
            }
        };
        Ok(Temporary {
            shared: shared.clone(),
            handle,
            name,
            placed: false,
            partial: None,
        })
    }

    /// A file in `partial/` that was taken.
    pub(crate) fn partial(
        shared: &Arc<Shared>,
        handle: Handle,
        name: String,
        transfer: Transfer,
        lease: Lease,
    ) -> Temporary {
        Temporary {
            shared: shared.clone(),
            handle,
            name,
            placed: false,
            partial: Some(Partial {
                transfer,
                lease,
                sound: true,
            }),
        }
    }

    /// Whether it is in `partial/`.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Dir {
        let partial = self.partial.as_ref().and_then(|_| self.shared.partials.dir());
        partial.unwrap_or(&self.shared.tmp)
    }

    /// Moves it to `partial/`, if that can be.
    pub(crate) fn adopt(&mut self, transfer: Transfer) {
        let max_file = lock(&self.shared.ledger).limits.max_file;
        let from = (&self.shared.tmp, self.name.as_str());
        if let Some((lease, name)) = self.shared.partials.adopt(from, &transfer, max_file) {
            if let Some(dir) = self.shared.partials.dir() {
                self.handle.path = dir.path.join(&name);
            }
            self.name = name;
            self.partial = Some(Partial {
                transfer,
                lease,
                sound: true,
            });
        }
    }

    /// Writes, at the cost of partials that only wait.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let _mine = self.partial.as_ref().map(|own| own.lease.hold()).transpose()?;
        loop {
            match self.shared.disk.write_at(&self.handle, bytes, offset) {
                Err(e) if e.is_room() && self.shared.partials.evict() => {}
                other => return other,
            }
        }
    }

    /// It is not to be gone on with.
    pub(crate) fn spoil(&mut self) {
        if let Some(own) = &mut self.partial {
            own.sound = false;
        }
    }

    /// It gets its last bytes: nobody may take it any more, and it is not to be gone on with.
    pub(crate) fn complete(&mut self) -> Result<(), Error> {
        if let Some(own) = &mut self.partial {
            own.sound = false;
            let _mine = own.lease.hold()?;
            self.shared.partials.complete(&own.transfer, &own.lease)?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let partials = &self.shared.partials;
        match &self.partial {
            Some(own) if self.placed => partials.placed(&own.transfer, &own.lease),
            Some(own) => match self.handle.file.metadata() {
                Ok(found) if own.sound && found.len() >= PARTIAL_MIN => {
                    let max_file = lock(&self.shared.ledger).limits.max_file;
                    partials.give_back(&own.transfer, &own.lease, found.len(), max_file);
                }
                _ => partials.discard(&own.transfer, &own.lease),
            },
            None if self.placed => {}
            None => {
                // What cannot be removed now is swept when the spool is opened.
                let _ = self.shared.disk.unlink(&self.shared.tmp, &self.name);
            }
        }
    }
}
