//! One file on its way in: staging, conversion behind the receiver, and the delivery at its end.
//!
//! The bytes are converted as they come. A type that is kept as sent has one form; of a converted one the local form
//! is staged, and the wire form beside it only from the moment on when the local form does not say it all
//! (`wire_form`). When a conversion fails, the wire form *is* the item, as type I, with a note that says why. Constant
//! memory. All of it blocks: callers run it where blocking is allowed, except while [`Intake::in_memory`] says that
//! nothing touches the disk.
//!
//! What it does not do: protocol, replies, choosing recipients.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uft_spool::{
    Committed, Delivery, Error, Facts, FileType, Job, Origin, PARTIAL_MIN, Placed, Reservation, Spool,
    Staged, Stranger, Transfer, TypeSpec, UserName,
};

use super::receipts;
use super::recipient::{Recipient, priority};
use super::wire_form::{Implied, WireForm, each_slice};
use crate::canon::{Decoder, Outcome};
use crate::proto::{Draft, Expected, Fork, Held};

/// Below this many bytes a form is held in memory until it is committed (the spool's staging buffer).
const IN_MEMORY: u64 = 64 * 1024;

/// A file being received.
#[derive(Debug)]
pub(crate) struct Intake {
    spool: Arc<Spool>,
    to: Vec<UserName>,
    /// The same file on its way to another node.
    job: Option<Box<Job>>,
    reservation: Reservation,
    /// `None` until the first byte or the end.
    content: Option<Content>,
    /// The first bytes of the file, of an earlier attempt: offered to the sender, and not gone on with yet.
    held: Option<Staged>,
    /// Under which its bytes are kept when the connection breaks.
    transfer: Option<Transfer>,
    aux: Option<Staged>,
}

/// The forms of the file.
#[derive(Debug)]
struct Content {
    declared: Declared,
    wire: WireForm,
    local: Local,
}

/// The local form.
#[derive(Debug)]
enum Local {
    /// It is the wire form.
    Same,
    /// It is being made. `WireForm::Implied` implies this.
    Converting(Box<Converting>),
    /// It cannot be made; why.
    Failed(String),
}

/// A local form in the making.
#[derive(Debug)]
struct Converting {
    decoder: Decoder,
    staged: Staged,
    scratch: Vec<u8>,
}

/// What a conversion depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Declared {
    spec: TypeSpec,
    charset: Option<String>,
}

impl Declared {
    fn of(draft: &Draft) -> Declared {
        let spec = draft.spec.clone().unwrap_or_else(|| TypeSpec::plain(FileType::I));
        Declared {
            spec,
            charset: draft.charset.clone(),
        }
    }
}

/// Why a file was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    /// The spool says no.
    #[error(transparent)]
    Spool(#[from] Error),
    /// The bytes are not the ones that the sender meant.
    #[error("the bytes received do not have the digest that was announced")]
    Digest,
    /// The bytes that the sender goes on from are not there.
    #[error("the bytes to go on from are not there")]
    NotHeld,
    /// The staged bytes cannot be read back.
    #[error("staged bytes cannot be read back")]
    ReadBack(#[source] std::io::Error),
    /// The wire form does not come out of the local form: the conversion has a fault, or the disk.
    #[error("the bytes as sent do not come out of the local form")]
    NotReversible,
}

impl Intake {
    /// Makes room for a file of about `declared` bytes.
    pub(crate) fn open(
        spool: &Arc<Spool>,
        to: impl Into<Recipient>,
        from: Option<&Stranger>,
        declared: Option<u64>,
    ) -> Result<Intake, Error> {
        let (to, job) = match to.into() {
            Recipient::Inboxes(users) => (users, None),
            Recipient::Elsewhere(job) => (Vec::new(), Some(job)),
        };
        let owner = job.as_ref().map(|job| job.owner.clone());
        let reservation = spool.reserve(&to, owner.as_slice(), from, declared)?;
        Ok(Intake {
            spool: Arc::clone(spool),
            to,
            job,
            reservation,
            content: None,
            held: None,
            transfer: None,
            aux: None,
        })
    }

    /// Whether something may be there of a transfer, so that [`Intake::have`] is worth the time.
    pub(crate) fn may_have(&self, transfer: &Transfer, draft: &Draft) -> bool {
        draft.digest.is_some() || self.held.is_some() || self.spool.has_partial(transfer)
    }

    /// What is there of a transfer, before its first byte has come.
    pub(crate) fn have(
        &mut self,
        transfer: &Transfer,
        origin: &Origin,
        draft: &Draft,
    ) -> Result<Held, IntakeError> {
        // What was offered before, under another id, waits on.
        self.held = None;
        if self.delivered(draft, origin)?.is_some() {
            return Ok(Held::All);
        }
        self.held = self.spool.resume(&self.reservation, transfer)?;
        Ok(self
            .held
            .as_ref()
            .map_or(Held::Nothing, |held| Held::Part(held.measure())))
    }

    /// Where a transfer that is finished has gone, by its id and the digest that was announced for it.
    fn delivered(&self, draft: &Draft, origin: &Origin) -> Result<Option<Placed>, IntakeError> {
        match (&draft.xid, draft.digest) {
            (Some(xid), Some(Expected::Blake3(digest))) => {
                let jobs = self.job.iter().map(|job| Job::clone(job)).collect();
                Ok(self
                    .spool
                    .delivered(&self.to, jobs, origin, xid, &digest.into())?)
            }
            _ => Ok(None),
        }
    }

    /// Whether bytes that are there already are to be read again before the first ones of the file.
    pub(crate) fn takes_up(&self) -> bool {
        self.held.is_some()
    }

    /// Whether the file goes on to another node.
    pub(crate) fn goes_on(&self) -> bool {
        self.job.is_some()
    }

    /// Whether taking `more` bytes is certain not to touch the disk.
    pub(crate) fn in_memory(&self, more: usize) -> bool {
        if self.held.is_some() {
            return false;
        }
        let content = self.content.as_ref().map_or(0, |content| content.wire.len());
        let aux = self.aux.as_ref().map_or(0, Staged::len);
        // The local form can be three times as long as the wire form.
        (content.max(aux) + more as u64) * 3 <= IN_MEMORY
    }

    /// Under which its bytes are kept when the connection breaks; before its first one.
    pub(crate) fn named(&mut self, transfer: Option<Transfer>) {
        if self.content.is_none() {
            self.transfer = transfer;
        }
    }

    /// Called before the first byte of the file: takes up what is there of it already if the draft says so, else throws
    /// it away. It may take long while [`Intake::takes_up`].
    pub(crate) fn go_on(&mut self, draft: &Draft) -> Result<(), IntakeError> {
        if self.content.is_none()
            && let Some(held) = self.taken_up(draft)?
        {
            self.content = Some(self.rebuilt(held, Declared::of(draft))?);
        }
        Ok(())
    }

    /// Called before the first byte of a fork, with what is known of the file by then.
    pub(crate) fn begin(&mut self, fork: Fork, draft: &Draft) {
        match fork {
            Fork::Data if self.content.is_none() => self.content = Some(self.content_of(Declared::of(draft))),
            Fork::Aux if self.aux.is_none() => self.aux = Some(self.stage()),
            Fork::Data | Fork::Aux => {}
        }
    }

    /// What the sender goes on with; what it does not go on with is thrown away.
    fn taken_up(&mut self, draft: &Draft) -> Result<Option<Staged>, IntakeError> {
        match (self.held.take(), draft.offset) {
            (Some(held), Some(offset)) if held.len() == offset => Ok(Some(held)),
            (_, Some(_)) => Err(IntakeError::NotHeld),
            (held, None) => {
                held.into_iter().for_each(Staged::discard);
                Ok(None)
            }
        }
    }

    /// Takes bytes of a fork.
    pub(crate) fn take(&mut self, fork: Fork, bytes: &[u8]) -> Result<(), IntakeError> {
        match (fork, &mut self.aux, &mut self.content) {
            (Fork::Aux, Some(aux), _) => Ok(aux.write(bytes)?),
            (Fork::Data, _, Some(content)) => content.take(bytes, || self.spool.stage(&self.reservation)),
            (Fork::Aux, None, _) | (Fork::Data, _, None) => Ok(()),
        }
    }

    /// The file is complete: finishes the conversion, checks the digest and commits.
    pub(crate) fn commit(mut self, draft: Draft, origin: Origin, now: i64) -> Result<Committed, IntakeError> {
        if let Some(job) = &mut self.job {
            job.priority = priority(&draft.attributes);
        }
        let declared = Declared::of(&draft);
        let mut content = match self.content.take() {
            Some(content) if content.declared == declared => content,
            Some(content) => self.again(content, declared)?,
            None => match self.taken_up(&draft)? {
                Some(held) => self.rebuilt(held, declared)?,
                None => {
                    if let (None, Some(had)) = (&self.aux, self.delivered(&draft, &origin)?) {
                        return Ok(Committed::Repeat(had));
                    }
                    self.content_of(declared)
                }
            },
        };
        content.forgo();
        if !content.has_digest(draft.digest.as_ref())? {
            return Err(IntakeError::Digest);
        }
        let spool = Arc::clone(&self.spool);
        Ok(spool.commit(self.delivery(content, draft, origin, now)?)?)
    }

    /// The connection broke: what came is kept for the sender to go on with, if the transfer has an id and it is worth
    /// while.
    pub(crate) fn keep(mut self) {
        let (Some(mut content), Some(transfer)) = (self.content.take(), self.transfer) else {
            return; // what was offered and not taken up waits on
        };
        if content.wire.len() < PARTIAL_MIN {
            return;
        }
        // What cannot be written down is not kept.
        if content.keep_wire(|| self.stage()).is_ok()
            && let WireForm::Kept(wire) = content.wire
        {
            wire.resumable(transfer).keep();
        }
    }

    /// The file is given up: nothing of it is kept.
    pub(crate) fn discard(self) {
        self.held.into_iter().for_each(Staged::discard);
        if let Some(mut content) = self.content {
            content.forgo();
        }
    }

    fn stage(&self) -> Staged {
        self.spool.stage(&self.reservation)
    }

    /// The form that the bytes as sent are written to.
    fn stage_wire(&self) -> Staged {
        match self.transfer {
            Some(transfer) => self.stage().resumable(transfer),
            None => self.stage(),
        }
    }

    fn content_of(&self, declared: Declared) -> Content {
        let Declared { spec, charset } = &declared;
        let decoder = Decoder::new(spec, charset.as_deref());
        // What goes on to another node is converted there.
        let (wire, local) = if decoder.converts() && self.job.is_none() {
            let (staged, scratch) = (self.stage(), Vec::new());
            let implied = Implied::new(spec, charset.as_deref());
            (
                WireForm::Implied(implied),
                Local::Converting(Box::new(Converting {
                    decoder,
                    staged,
                    scratch,
                })),
            )
        } else {
            (WireForm::Kept(self.stage_wire()), Local::Same)
        };
        Content {
            declared,
            wire,
            local,
        }
    }

    /// `TYPE` or `CHARSET` changed after the data had begun: the same bytes, taken for something else.
    fn again(&self, mut old: Content, declared: Declared) -> Result<Content, IntakeError> {
        old.forgo();
        let mut new = self.content_of(declared);
        let wire = old.keep_wire(|| self.stage())?;
        each_slice(wire, &mut |bytes| new.take(bytes, || self.stage()))?;
        Ok(new)
    }

    /// The file from what is there of it: its first bytes as they were sent, which are converted once more.
    fn rebuilt(&self, mut held: Staged, declared: Declared) -> Result<Content, IntakeError> {
        let Content {
            declared, mut local, ..
        } = self.content_of(declared);
        let wire = match local {
            Local::Same => held.metered()?,
            Local::Converting(_) | Local::Failed(_) => {
                each_slice(&mut held, &mut |bytes| local.convert(bytes))?;
                held
            }
        };
        Ok(Content {
            declared,
            wire: WireForm::Kept(wire),
            local,
        })
    }

    fn delivery(
        self,
        mut content: Content,
        draft: Draft,
        origin: Origin,
        now: i64,
    ) -> Result<Delivery, IntakeError> {
        let mut notes = draft.notes;
        let receipt = match &mut content.wire {
            WireForm::Kept(wire) => receipts::recognised(&content.declared.spec, wire)?,
            WireForm::Implied(_) => None,
        };
        let ended = content.finish(|| self.spool.stage(&self.reservation))?;
        let wire_measure = content.wire.measure();
        let mut stored_as = content.declared.spec.file_type;
        let (local, wire, exact) = match (content.local, content.wire, ended) {
            (Local::Converting(converting), wire, Some(outcome)) => {
                notes.extend(outcome.notes);
                let kept = match wire {
                    WireForm::Kept(wire) if !outcome.exact => Some(wire),
                    _ => None,
                };
                (converting.staged, kept, outcome.exact)
            }
            (Local::Same, WireForm::Kept(wire), _) => (wire, None, true),
            (Local::Failed(why), WireForm::Kept(wire), _) => {
                notes.push(format!("kept as sent: {why}"));
                stored_as = FileType::I;
                (wire, None, true)
            }
            _ => return Err(IntakeError::NotReversible),
        };
        let facts = Facts {
            name: draft.name,
            spec: content.declared.spec,
            stored_as,
            origin,
            received: now,
            attributes: draft.attributes,
            xid: draft.xid,
            exact,
            notes,
            receipt,
        };
        Ok(Delivery {
            to: self.to,
            jobs: self.job.map(|job| *job).into_iter().collect(),
            reservation: self.reservation,
            local,
            wire,
            wire_measure,
            aux: self.aux,
            facts,
        })
    }
}

impl Local {
    /// Takes bytes of a wire form that is kept.
    fn convert(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        if let Local::Converting(converting) = self {
            converting.scratch.clear();
            match converting.decoder.feed(bytes, &mut converting.scratch) {
                Ok(()) => converting.staged.write(&converting.scratch)?,
                Err(failure) => *self = Local::Failed(failure.to_string()),
            }
        }
        Ok(())
    }
}

impl Content {
    /// The sender will not go on with it.
    fn forgo(&mut self) {
        if let WireForm::Kept(wire) = &mut self.wire {
            wire.forgo();
        }
    }

    /// Takes bytes of the wire form; `stage` makes an empty form.
    fn take(&mut self, bytes: &[u8], stage: impl FnOnce() -> Staged) -> Result<(), IntakeError> {
        if let Local::Converting(converting) = &mut self.local {
            let Converting {
                decoder,
                staged,
                scratch,
            } = &mut **converting;
            scratch.clear();
            let converted = decoder.feed(bytes, scratch);
            if converted.is_err() || !decoder.exact_so_far() {
                self.wire.keep(staged, stage().unmetered())?;
            }
            match converted {
                Ok(()) => staged.write(scratch)?,
                Err(failure) => self.local = Local::Failed(failure.to_string()),
            }
        }
        match &mut self.wire {
            WireForm::Kept(wire) => Ok(wire.write(bytes)?),
            WireForm::Implied(implied) => {
                implied.count(bytes);
                Ok(())
            }
        }
    }

    /// The end of the file; the outcome of the conversion, if there was one.
    fn finish(&mut self, stage: impl FnOnce() -> Staged) -> Result<Option<Outcome>, IntakeError> {
        let Local::Converting(converting) = &mut self.local else {
            return Ok(None);
        };
        let Converting {
            decoder,
            staged,
            scratch,
        } = &mut **converting;
        scratch.clear();
        let decoder = std::mem::replace(decoder, Decoder::new(&TypeSpec::plain(FileType::I), None));
        let outcome = decoder.finish(scratch);
        if !matches!(&outcome, Ok(outcome) if outcome.exact) {
            self.wire.keep(staged, stage().unmetered())?;
        }
        match outcome {
            Ok(outcome) => {
                staged.write(scratch)?;
                Ok(Some(outcome))
            }
            Err(failure) => {
                self.local = Local::Failed(failure.to_string());
                Ok(None)
            }
        }
    }

    /// The wire form, written down.
    fn keep_wire(&mut self, stage: impl FnOnce() -> Staged) -> Result<&mut Staged, IntakeError> {
        match (&mut self.wire, &mut self.local) {
            (WireForm::Kept(wire), _) => Ok(wire),
            (wire, Local::Converting(converting)) => wire.keep(&mut converting.staged, stage().unmetered()),
            _ => Err(IntakeError::NotReversible),
        }
    }

    fn has_digest(&mut self, expected: Option<&Expected>) -> Result<bool, IntakeError> {
        let wanted = match expected {
            None => return Ok(true),
            Some(Expected::Blake3(digest)) => return Ok(self.wire.measure().blake3.as_bytes() == digest),
            Some(Expected::Sha256(digest)) => digest,
        };
        let mut hasher = Sha256::new();
        let mut hash = |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        match (&mut self.wire, &mut self.local) {
            (WireForm::Kept(wire), _) => each_slice(wire, &mut hash)?,
            (WireForm::Implied(implied), Local::Converting(converting)) => {
                implied.read_back(&mut converting.staged, &mut hash)?
            }
            (WireForm::Implied(_), _) => return Err(IntakeError::NotReversible),
        }
        Ok(hasher.finalize()[..] == wanted[..])
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
