//! The bytes of the file at hand, cut into the slices that the dialogue asks for.
//!
//! What it does not do: read files (whoever fills the channel does), send.

use bytes::{Bytes, BytesMut};
use uft_spool::Measure;

use super::{Body, BodyError};
use crate::proto::{Fork, Held};

/// Bytes passed over at a time.
const SKIP: usize = 1 << 20;

/// The bytes of the file at hand.
pub(super) struct Feed {
    body: Source,
    aux: Source,
    hasher: blake3::Hasher,
    /// The digest that was said to be the file's, before its bytes.
    announced: Option<String>,
    /// Bytes up to here were sent, or need not be.
    pub(super) sent: u64,
    /// Where the file went on, if an earlier attempt had begun it.
    pub(super) resumed_at: Option<u64>,
}

/// One fork: what is at hand of it, and where the rest comes from.
#[derive(Default)]
pub(super) struct Source {
    more: Option<Body>,
    rest: Bytes,
}

impl From<Body> for Source {
    fn from(body: Body) -> Source {
        Source {
            more: Some(body),
            rest: Bytes::new(),
        }
    }
}

impl From<Bytes> for Source {
    fn from(rest: Bytes) -> Source {
        Source { more: None, rest }
    }
}

impl Feed {
    /// Without a file: there are errands that have none.
    pub(super) fn empty() -> Feed {
        Feed::new(Source::default(), Source::default())
    }

    pub(super) fn new(body: Source, aux: Source) -> Feed {
        Feed {
            body,
            aux,
            hasher: blake3::Hasher::new(),
            announced: None,
            sent: 0,
            resumed_at: None,
        }
    }

    /// With the digest that was said to be the file's.
    pub(super) fn announced(mut self, digest: Option<String>) -> Feed {
        self.announced = digest;
        self
    }

    /// Whether the file is what the server has of it; it is read up to there.
    pub(super) async fn fits(&mut self, held: &Held) -> Result<bool, BodyError> {
        match held {
            Held::Nothing => Ok(false),
            Held::Part(part) => self.begins_with(part).await,
            Held::All => self.is_as_announced().await,
        }
    }

    async fn begins_with(&mut self, part: &Measure) -> Result<bool, BodyError> {
        while self.sent < part.bytes {
            let most = usize::try_from(part.bytes - self.sent).unwrap_or(SKIP).min(SKIP);
            if self.pass(most).await? {
                break;
            }
        }
        Ok(self.sent == part.bytes && self.hasher.finalize() == part.blake3)
    }

    async fn is_as_announced(&mut self) -> Result<bool, BodyError> {
        while !self.pass(SKIP).await? {}
        Ok(self.announced.as_ref() == Some(&self.digest()))
    }

    /// `blake3:<hex>` of what was read so far.
    pub(super) fn digest(&self) -> String {
        format!("blake3:{}", self.hasher.finalize().to_hex())
    }

    /// Passes over bytes that need not be sent; whether they were the last.
    async fn pass(&mut self, most: usize) -> Result<bool, BodyError> {
        let (slice, last) = self.next(Fork::Data, most).await?;
        self.count(&slice);
        Ok(last)
    }

    /// Bytes that are sent, or need not be.
    pub(super) fn count(&mut self, slice: &[u8]) {
        self.hasher.update(slice);
        self.sent += slice.len() as u64;
    }

    /// The next slice of a fork, at most `most` bytes, and whether it is the last.
    pub(super) async fn next(&mut self, fork: Fork, most: usize) -> Result<(Bytes, bool), BodyError> {
        match fork {
            Fork::Data => self.body.next(most).await,
            Fork::Aux => self.aux.next(most).await,
        }
    }
}

impl Source {
    /// The next slice, at most `most` bytes, and whether it is the last. A slice is as large as can be, so that a small
    /// file is known to be one.
    async fn next(&mut self, most: usize) -> Result<(Bytes, bool), BodyError> {
        let mut gathered = BytesMut::new();
        loop {
            let slice = self.rest.split_to((most - gathered.len()).min(self.rest.len()));
            if gathered.is_empty() && slice.len() == most {
                return Ok((slice, false));
            }
            gathered.extend_from_slice(&slice);
            if gathered.len() == most {
                return Ok((gathered.freeze(), false));
            }
            let more = match &mut self.more {
                Some(body) => body.recv().await,
                None => None,
            };
            match more {
                Some(slice) => self.rest = slice?,
                None => {
                    self.more = None;
                    return Ok((gathered.freeze(), true));
                }
            }
        }
    }
}
