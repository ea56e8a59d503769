//! Giving a file its place: the commit of a delivery, and a forward inside the spool.
//!
//! A delivery has three moments. Its forms are written to `tmp/` and synced; a crash leaves temporary files, which are
//! swept. Its siblings get their names, durably; a crash leaves orphans, which are swept. Its item is renamed to its
//! place and the directory is synced: from the rename on it may survive a crash, from the sync on it does, and only
//! then is it acknowledged. Nothing here can replace a file: a name that is taken costs a number.
//!
//! What this file does *not* do: count room (that is the account's), convert, or decide who a recipient is.

use std::io;
use std::sync::Arc;

use crate::dir::Dir;
use crate::envelope::{Envelope, Facts, Measure};
use crate::error::Error;
use crate::id::{SpoolId, UserName};
use crate::inbox::Inbox;
use crate::index::Row;
use crate::seen::{key, key_of};
use crate::spool::{Shared, Spool, unique};
use crate::stage::{Account, Charge, Reservation, Staged};
use crate::trailer;

/// Names that are found taken before the directory is given up on.
const TAKEN_MAX: u32 = 100_000;

/// A file that has arrived, and who it is for.
#[derive(Debug)]
pub struct Delivery {
    /// At least one; all of them have room reserved.
    pub to: Vec<UserName>,
    /// The room.
    pub reservation: Reservation,
    /// What the recipient gets.
    pub local: Staged,
    /// What was sent, if it is to be kept; `None` when it is the local form, or can be made from it.
    pub wire: Option<Staged>,
    /// Length and digest of what was sent.
    pub wire_measure: Measure,
    /// The second fork.
    pub aux: Option<Staged>,
    /// The rest of the envelope.
    pub facts: Facts,
}

/// What became of a delivery; one entry for each recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is stored, durably (some of the recipients may have had it before).
    Stored(Vec<(UserName, SpoolId)>),
    /// Every recipient has had it before: the same transfer id, sender and bytes.
    Repeat(Vec<(UserName, SpoolId)>),
}

/// Where the bytes of an item are before it has its place.
struct Source<'a> {
    item: (&'a Dir, &'a str),
    wire: Option<(&'a Dir, &'a str)>,
    aux: Option<(&'a Dir, &'a str)>,
    /// The item's present name is temporary: the first recipient's takes its place.
    moves: bool,
}

/// One recipient's place.
struct Place {
    inbox: Arc<Inbox>,
    dir: Arc<Dir>,
    id: SpoolId,
}

/// Places that are being filled. Dropped before it is `kept`, it removes every name that it made.
struct Placing<'a> {
    shared: &'a Shared,
    places: Vec<Place>,
    made: Vec<(Arc<Dir>, String)>,
    kept: bool,
}

impl Spool {
    /// Stores a delivery: durable, for every recipient, when this returns `Ok`. When it does not, nothing of it can be
    /// seen (after a crash: nothing, or a whole item).
    ///
    /// # Errors
    /// [`Error::Poisoned`], quotas and room as in [`Spool::reserve`], or what the disk says.
    pub fn commit(&self, delivery: Delivery) -> Result<Committed, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let Delivery {
            to,
            reservation,
            mut local,
            mut wire,
            wire_measure,
            aux,
            facts,
        } = delivery;
        // Stored, refused or a repeat: the sender has an answer, and nothing is left to go on with.
        local.forgo();
        wire.iter_mut().for_each(Staged::forgo);
        let to = unique(&to);
        let stranger = to.iter().find(|user| !reservation.users().contains(user));
        if to.is_empty() || stranger.is_some() {
            return Err(Error::NotReserved(stranger.cloned()));
        }
        let envelope = Envelope {
            version: trailer::ENVELOPE_VERSION,
            facts,
            local: local.measure(),
            wire: wire.as_ref().map_or(wire_measure, Staged::measure),
            wire_kept: wire.is_some(),
            aux: aux.as_ref().map(Staged::measure),
        };
        let keys: Vec<_> = to.iter().map(|user| key(&envelope, user)).collect();
        let _held = shared.keys.hold(keys.iter().flatten().copied().collect());
        let mut had = Vec::with_capacity(to.len());
        for (user, key) in to.iter().zip(&keys) {
            had.push(key.as_ref().map_or(Ok(None), |key| shared.delivered(user, key))?);
        }
        let missing = || {
            to.iter()
                .zip(&had)
                .filter(|(_, id)| id.is_none())
                .map(|(user, _)| user)
        };
        let missing: Vec<UserName> = missing().cloned().collect();
        let mut stored = Vec::new();
        if !missing.is_empty() {
            reservation.account.at_least(charge(&envelope))?;
            let mut end = Vec::with_capacity(1024);
            trailer::append(&envelope, &mut end).map_err(|bytes| Error::EnvelopeTooLong { bytes })?;
            let wire = wire.map(|wire| wire.finish(&[])).transpose()?;
            let aux = aux.map(|aux| aux.finish(&[])).transpose()?;
            let mut item = local.finish(&end)?;
            let source = Source {
                item: (item.dir(), &item.name),
                wire: wire.as_ref().map(|file| (file.dir(), file.name.as_str())),
                aux: aux.as_ref().map(|file| (file.dir(), file.name.as_str())),
                moves: true,
            };
            let placing = shared.place(&missing, &source)?;
            item.placed = true;
            stored = placing.keep(&reservation.account, &envelope);
        } else if let Some(all) = had.iter().cloned().collect::<Option<Vec<_>>>() {
            return Ok(Committed::Repeat(to.into_iter().zip(all).collect()));
        }
        let mut stored = stored.into_iter();
        let ids = to
            .into_iter()
            .zip(had)
            .filter_map(|(user, had)| Some((user, had.or_else(|| stored.next())?)));
        Ok(Committed::Stored(ids.collect()))
    }

    /// What a transfer became, when every one of `to` has had it: what a commit of the same transfer id, sender's name
    /// and bytes would be told. Waits for such a commit that is under way.
    ///
    /// # Errors
    /// What the disk says, when the index could not tell and the directory had to.
    pub fn delivered(
        &self,
        to: &[UserName],
        sender: &str,
        xid: &str,
        wire: &blake3::Hash,
    ) -> Result<Option<Vec<(UserName, SpoolId)>>, Error> {
        let shared = &self.shared;
        let to = unique(to);
        let keys: Vec<_> = to.iter().map(|user| key_of(xid, sender, user, wire)).collect();
        let _held = shared.keys.hold(keys.clone());
        let mut had = Vec::with_capacity(to.len());
        for (user, key) in to.into_iter().zip(&keys) {
            match shared.delivered(&user, key)? {
                Some(id) => had.push((user, id)),
                None => return Ok(None),
            }
        }
        Ok(Some(had).filter(|had| !had.is_empty()))
    }

    /// Puts an item into another inbox as well: the same bytes under a second name, durable when this returns.
    ///
    /// # Errors
    /// [`Error::NoSuchItem`], [`Error::Damaged`], [`Error::OverQuota`] of `to`, [`Error::Poisoned`], or what the
    /// disk says.
    pub fn link(&self, user: &UserName, id: SpoolId, to: &UserName) -> Result<SpoolId, Error> {
        let shared = &self.shared;
        shared.disk.healthy()?;
        let (dir, _) = shared.locate(user, id)?;
        let (_, envelope) = shared.read(&dir, user, id)?;
        // The sender's quota was asked when the file came; a forward is the recipient's doing.
        let account = Account::open(shared.clone(), vec![to.clone()], None)?;
        account.at_least(charge(&envelope))?;
        let (item, wire, aux) = (id.to_string(), format!("{id}.wire"), format!("{id}.aux"));
        let source = Source {
            item: (&dir, &item),
            wire: envelope.wire_kept.then_some((&*dir, wire.as_str())),
            aux: envelope.aux.map(|_| (&*dir, aux.as_str())),
            moves: false,
        };
        let placing = shared.place(std::slice::from_ref(to), &source).map_err(|e| {
            match e.is(io::ErrorKind::NotFound) && !dir.has(&item) {
                true => Error::NoSuchItem {
                    user: user.clone(),
                    id,
                },
                false => e,
            }
        })?;
        let stored = placing.keep(&account, &envelope);
        stored.first().copied().ok_or(Error::NotReserved(None))
    }
}

/// What an item counts for.
fn charge(envelope: &Envelope) -> u64 {
    let aux = envelope.aux.map_or(0, |aux| aux.bytes);
    envelope.local.bytes.max(envelope.wire.bytes).saturating_add(aux)
}

impl Shared {
    /// Gives the source a durable place in every inbox.
    fn place(&self, users: &[UserName], source: &Source<'_>) -> Result<Placing<'_>, Error> {
        let mut taken = 0;
        loop {
            match self.try_place(users, source) {
                Err(e) if e.is(io::ErrorKind::AlreadyExists) && taken < TAKEN_MAX => taken += 1,
                other => return other,
            }
        }
    }

    fn try_place(&self, users: &[UserName], source: &Source<'_>) -> Result<Placing<'_>, Error> {
        let mut placing = Placing {
            shared: self,
            places: Vec::with_capacity(users.len()),
            made: Vec::new(),
            kept: false,
        };
        for user in users {
            let inbox = self.inboxes.inbox(user)?;
            let dir = self.inboxes.dir(&inbox)?;
            let id = inbox.number(&self.disk, &dir)?;
            placing.places.push(Place { inbox, dir, id });
        }
        let siblings = [(source.wire, ".wire"), (source.aux, ".aux")];
        for (from, suffix) in siblings {
            if let Some(from) = from {
                placing.link_all(from, suffix, 0)?;
            }
        }
        if source.wire.is_some() || source.aux.is_some() {
            placing.sync()?;
        }
        placing.link_all(source.item, "", usize::from(source.moves))?;
        if let (true, Some(place)) = (source.moves, placing.places.first()) {
            let name = place.id.to_string();
            self.disk.rename(source.item, (&place.dir, &name))?;
            let dir = place.dir.clone();
            placing.made.push((dir, name));
        }
        placing.sync()?;
        Ok(placing)
    }
}

impl Placing<'_> {
    /// Gives every place but the first `skip` another name of the same file.
    fn link_all(&mut self, from: (&Dir, &str), suffix: &str, skip: usize) -> Result<(), Error> {
        for place in self.places.iter().skip(skip) {
            let name = format!("{}{suffix}", place.id);
            self.shared.disk.link(from, (&place.dir, &name))?;
            self.made.push((place.dir.clone(), name));
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        for Place { inbox, dir, .. } in &self.places {
            inbox.group.sync(|| self.shared.disk.sync_dir(dir))?;
        }
        Ok(())
    }

    /// The item is durable: it is counted, listed, and may be seen.
    fn keep(mut self, account: &Account, envelope: &Envelope) -> Vec<SpoolId> {
        self.kept = true;
        let places = self.places.iter();
        let rows: Vec<Row> = places
            .map(|place| Row::of(&place.inbox.user, place.id, envelope))
            .collect();
        let charges = rows.iter().map(|row| {
            (
                row.user.clone(),
                Charge {
                    bytes: row.facts.charged,
                    stranger: row.facts.stranger.clone(),
                },
            )
        });
        account.settle(&charges.collect::<Vec<_>>());
        rows.into_iter().for_each(|row| self.shared.index.put(row));
        self.places.iter().map(|place| place.id).collect()
    }
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Backwards: the item goes before its siblings. What cannot be removed is an orphan, or becomes an item
            // at the next start; it is whole either way.
            for (dir, name) in self.made.iter().rev() {
                let _ = self.shared.disk.unlink(dir, name);
            }
        }
        for place in &self.places {
            place.inbox.publish(place.id);
        }
    }
}
