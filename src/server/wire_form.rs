//! The bytes of a file as they were sent, while it arrives.
//!
//! They are counted and digested as they come, but written to the disk only when they must be: as long as a conversion
//! is exactly reversible, the local form says it all, and a large text is written once, not twice. At the first byte
//! that the local form cannot give back, what came before is made again from it, checked against the digest, and from
//! then on both forms are kept.
//!
//! What it does not do: convert towards the local form, or decide what is kept in the end (`intake` does).

use std::io::Read;

use uft_spool::{Measure, Staged, TypeSpec};

use super::intake::IntakeError;
use crate::canon::Restorer;

/// Bytes read back at a time.
const SLICE: usize = 256 * 1024;
/// The last bytes that came: more than any decoder holds back.
const TAIL: usize = 256;

/// The wire form of the file being received.
#[derive(Debug)]
pub(super) enum WireForm {
    /// Written down.
    Kept(Staged),
    /// In the local form, all but the last few bytes.
    Implied(Implied),
}

/// What is known of a wire form that is not written down.
#[derive(Debug)]
pub(super) struct Implied {
    hasher: blake3::Hasher,
    bytes: u64,
    /// The last `min(bytes, TAIL)` bytes or more.
    tail: Vec<u8>,
    spec: TypeSpec,
    charset: Option<String>,
}

impl Implied {
    /// Nothing so far, of a type whose local form is being made.
    pub(super) fn new(spec: &TypeSpec, charset: Option<&str>) -> Implied {
        Implied {
            hasher: blake3::Hasher::new(),
            bytes: 0,
            tail: Vec::new(),
            spec: spec.clone(),
            charset: charset.map(str::to_owned),
        }
    }

    /// Counts bytes that the local form can give back.
    pub(super) fn count(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.tail
            .extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// Every byte so far, made from the local form of all but the last few of them.
    ///
    /// # Errors
    /// When the local form cannot be read or does not give the bytes back, and those of `sink`.
    pub(super) fn read_back(
        &self,
        local: &mut Staged,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), IntakeError>,
    ) -> Result<(), IntakeError> {
        let mut restorer = Restorer::new(&self.spec, self.charset.as_deref());
        let mut check = blake3::Hasher::new();
        let mut wire = Vec::new();
        let mut made = 0;
        let mut give = |bytes: &[u8]| {
            check.update(bytes);
            made += bytes.len() as u64;
            sink(bytes)
        };
        each_slice(local, &mut |slice| {
            wire.clear();
            restorer
                .feed(slice, &mut wire)
                .map_err(|_| IntakeError::NotReversible)?;
            give(&wire)
        })?;
        wire.clear();
        restorer
            .finish(&mut wire)
            .map_err(|_| IntakeError::NotReversible)?;
        give(&wire)?;
        let owed = self
            .bytes
            .checked_sub(made)
            .and_then(|owed| usize::try_from(owed).ok());
        let tail = owed.and_then(|owed| self.tail.get(self.tail.len().checked_sub(owed)?..));
        let tail = tail.ok_or(IntakeError::NotReversible)?;
        check.update(tail);
        sink(tail)?;
        if check.finalize() == self.hasher.finalize() {
            Ok(())
        } else {
            Err(IntakeError::NotReversible)
        }
    }
}

impl WireForm {
    /// Length so far, in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            WireForm::Kept(staged) => staged.len(),
            WireForm::Implied(implied) => implied.bytes,
        }
    }

    /// Length and digest so far.
    pub(super) fn measure(&self) -> Measure {
        match self {
            WireForm::Kept(staged) => staged.measure(),
            WireForm::Implied(implied) => Measure {
                bytes: implied.bytes,
                blake3: implied.hasher.finalize(),
            },
        }
    }

    /// Writes down what was implied so far; `to` is an empty form.
    pub(super) fn keep(&mut self, local: &mut Staged, mut to: Staged) -> Result<&mut Staged, IntakeError> {
        if let WireForm::Implied(implied) = self {
            implied.read_back(local, &mut |bytes| Ok(to.write(bytes)?))?;
            *self = WireForm::Kept(to);
        }
        match self {
            WireForm::Kept(staged) => Ok(staged),
            WireForm::Implied(_) => Err(IntakeError::NotReversible),
        }
    }
}

/// Reads a form from its start.
pub(super) fn each_slice(
    form: &mut Staged,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), IntakeError>,
) -> Result<(), IntakeError> {
    let mut slice = vec![0; usize::try_from(form.len()).unwrap_or(SLICE).clamp(1, SLICE)];
    let mut reader = form.reader()?;
    loop {
        let n = reader.read(&mut slice).map_err(IntakeError::ReadBack)?;
        match slice.get(..n) {
            None | Some([]) => return Ok(()),
            Some(bytes) => sink(bytes)?,
        }
    }
}
