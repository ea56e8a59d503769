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
    Committed, Delivery, Error, Facts, FileType, Job, Origin, Reservation, Spool, Staged, Stranger, TypeSpec,
    UserName,
};

use super::receipts;
use super::recipient::{Recipient, priority};
use super::wire_form::{Implied, WireForm, each_slice};
use crate::canon::{Decoder, Outcome};
use crate::proto::{Draft, Expected, Fork};

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
            aux: None,
        })
    }

    /// Whether the file goes on to another node.
    pub(crate) fn goes_on(&self) -> bool {
        self.job.is_some()
    }

    /// Whether taking `more` bytes is certain not to touch the disk.
    pub(crate) fn in_memory(&self, more: usize) -> bool {
        let content = self.content.as_ref().map_or(0, |content| content.wire.len());
        let aux = self.aux.as_ref().map_or(0, Staged::len);
        // The local form can be three times as long as the wire form.
        (content.max(aux) + more as u64) * 3 <= IN_MEMORY
    }

    /// Called before the first byte of a fork, with what is known of the file by then.
    pub(crate) fn begin(&mut self, fork: Fork, draft: &Draft) {
        match fork {
            Fork::Data if self.content.is_none() => self.content = Some(self.content_of(Declared::of(draft))),
            Fork::Aux if self.aux.is_none() => self.aux = Some(self.stage()),
            Fork::Data | Fork::Aux => {}
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
            None => self.content_of(declared),
        };
        if !content.has_digest(draft.digest.as_ref())? {
            return Err(IntakeError::Digest);
        }
        let spool = Arc::clone(&self.spool);
        Ok(spool.commit(self.delivery(content, draft, origin, now)?)?)
    }

    fn stage(&self) -> Staged {
        self.spool.stage(&self.reservation)
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
            (WireForm::Kept(self.stage()), Local::Same)
        };
        Content {
            declared,
            wire,
            local,
        }
    }

    /// `TYPE` or `CHARSET` changed after the data had begun: the same bytes, taken for something else.
    fn again(&self, mut old: Content, declared: Declared) -> Result<Content, IntakeError> {
        let mut new = self.content_of(declared);
        let wire = old.keep_wire(|| self.stage())?;
        each_slice(wire, &mut |bytes| new.take(bytes, || self.stage()))?;
        Ok(new)
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

impl Content {
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
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use uft_spool::{Form, Limits, Proof};

    use super::*;
    use crate::canon::Restorer;
    use crate::proto::Fork;

    fn spool() -> (tempfile::TempDir, Arc<Spool>) {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            max_file: 1 << 30,
            user_bytes: 1 << 30,
            user_items: 1000,
            min_free: 0,
            stranger_bytes: 1 << 30,
            stranger_items: 1000,
        };
        let (spool, _) = Spool::open(&dir.path().join("spool"), limits).unwrap();
        (dir, Arc::new(spool))
    }

    fn draft(file_type: Option<FileType>, charset: Option<&str>) -> Draft {
        Draft {
            spec: file_type.map(TypeSpec::plain),
            charset: charset.map(str::to_owned),
            ..Draft::default()
        }
    }

    /// Takes `wire` in slices of `slice` bytes; the draft at the end may differ from that at the beginning.
    fn deliver(
        spool: &Arc<Spool>,
        wire: &[u8],
        slice: usize,
        begin: &Draft,
        end: Draft,
    ) -> Result<(), IntakeError> {
        let to = vec!["alice".parse().unwrap()];
        let mut intake = Intake::open(spool, to, None, None)?;
        intake.begin(Fork::Data, begin);
        for bytes in wire.chunks(slice) {
            intake.take(Fork::Data, bytes)?;
        }
        let origin = Origin {
            user: "bob".into(),
            node: None,
            host: "192.0.2.1".into(),
            proof: Proof::Address,
        };
        intake.commit(end, origin, 1_000).map(drop)
    }

    fn form(spool: &Spool, form: Form) -> Option<Vec<u8>> {
        let user = "alice".parse().unwrap();
        let id = spool.list(&user).unwrap().last()?.id;
        let content = spool.open_form(&user, id, form).ok()?;
        let mut bytes = Vec::new();
        content.file.take(content.bytes).read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    /// The wire form of the newest item as a receiver gets it: kept, or made again.
    fn wire(spool: &Spool) -> Vec<u8> {
        let user = "alice".parse().unwrap();
        let id = spool.list(&user).unwrap().last().unwrap().id;
        let envelope = spool.item(&user, id).unwrap().envelope;
        form(spool, Form::Wire).unwrap_or_else(|| {
            assert!(envelope.facts.exact);
            let charset = envelope.facts.attribute("CHARSET").map(str::to_owned);
            let mut restorer = Restorer::new(&envelope.facts.spec, charset.as_deref());
            let mut bytes = Vec::new();
            restorer
                .feed(&form(spool, Form::Local).unwrap(), &mut bytes)
                .unwrap();
            restorer.finish(&mut bytes).unwrap();
            bytes
        })
    }

    #[test]
    fn a_reversible_text_is_stored_once() {
        let (_dir, spool) = spool();
        let text = b"one\r\ntwo\r\n".repeat(30_000);
        let plain = draft(Some(FileType::A), None);
        deliver(&spool, &text, 100_000, &plain, plain.clone()).unwrap();
        assert_eq!(form(&spool, Form::Local).unwrap(), b"one\ntwo\n".repeat(30_000));
        let user = "alice".parse().unwrap();
        assert!(
            !spool
                .item(&user, spool.list(&user).unwrap()[0].id)
                .unwrap()
                .envelope
                .wire_kept
        );
        assert!(wire(&spool) == text);
    }

    #[test]
    fn the_first_byte_that_cannot_be_given_back_keeps_the_wire_form() {
        let (_dir, spool) = spool();
        for at in [0, 1, 4, 5, 99_999, 100_000, 100_001, 299_999] {
            let mut text = b"one\r\ntwo\r\n".repeat(30_000);
            text.insert(at, b'\n');
            text.push(b'\r');
            let plain = draft(Some(FileType::M), None);
            deliver(&spool, &text, 100_000, &plain, plain.clone()).unwrap();
            assert!(wire(&spool) == text, "{at}");
        }
    }

    #[test]
    fn a_type_that_comes_after_the_data_is_obeyed() {
        let (_dir, spool) = spool();
        let text = b"\xc8\xc5\xd3\xd3\xd6\x15".repeat(20_000);
        let (none, late) = (draft(None, None), draft(Some(FileType::E), None));
        deliver(&spool, &text, 4096, &none, late.clone()).unwrap();
        assert_eq!(form(&spool, Form::Local).unwrap(), b"HELLO\n".repeat(20_000));
        deliver(&spool, &text, 4096, &late, draft(Some(FileType::I), None)).unwrap();
        assert!(form(&spool, Form::Local).unwrap() == text);
    }

    #[test]
    fn a_digest_that_does_not_fit_stores_nothing() {
        let (_dir, spool) = spool();
        let text = b"one\r\n".repeat(50_000);
        let sha: [u8; 32] = Sha256::digest(&text).into();
        let right = [
            Expected::Sha256(sha),
            Expected::Blake3(*blake3::hash(&text).as_bytes()),
        ];
        let plain = draft(Some(FileType::A), None);
        for expected in right {
            let end = Draft {
                digest: Some(expected),
                ..plain.clone()
            };
            deliver(&spool, &text, 7_000, &plain, end).unwrap();
        }
        let user = "alice".parse().unwrap();
        assert_eq!(spool.list(&user).unwrap().len(), 2);
        for expected in [Expected::Sha256([0; 32]), Expected::Blake3([0; 32])] {
            let end = Draft {
                digest: Some(expected),
                ..plain.clone()
            };
            assert!(matches!(
                deliver(&spool, &text, 7_000, &plain, end),
                Err(IntakeError::Digest)
            ));
        }
        assert_eq!(spool.list(&user).unwrap().len(), 2);
        assert_eq!(spool.usage(&user).items, 2, "room is given back");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_senders_bytes_can_always_be_had(
            pieces in prop::collection::vec(prop::sample::select(vec![
                &b"\r\n"[..], b"\n", b"\r", b"text", b"\xe4", "\u{e4}".as_bytes(), b"\x15\x25", b"\0",
            ]), 0..60),
            times in prop::sample::select(vec![1usize, 3000]),
            slice in 1usize..70_000,
            kind in prop::sample::select(vec![
                (FileType::A, None), (FileType::A, Some("utf-8")), (FileType::A, Some("windows-1252")),
                (FileType::A, Some("shift_jis")), (FileType::M, None), (FileType::E, None), (FileType::E, Some("cp273")),
                (FileType::V, None), (FileType::I, None),
            ]),
        ) {
            let (_dir, spool) = spool();
            let bytes = pieces.concat().repeat(times);
            let mut plain = draft(Some(kind.0), kind.1);
            plain.attributes = kind.1.map(|value| uft_spool::Attribute { key: "CHARSET".into(), value: value.into() })
                .into_iter().collect();
            deliver(&spool, &bytes, slice, &plain, plain.clone()).unwrap();
            prop_assert!(wire(&spool) == bytes);
        }
    }
}
