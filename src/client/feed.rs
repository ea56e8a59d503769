//! The bytes of the file at hand, cut into the slices that the dialogue asks for.
//!
//! What it does not do: read files (whoever fills the channel does), send.

use bytes::{Bytes, BytesMut};

use super::{Body, BodyError};
use crate::proto::Fork;

/// The bytes of the file at hand.
pub(super) struct Feed {
    body: Option<Body>,
    rest: Bytes,
    aux: Bytes,
    pub(super) hasher: blake3::Hasher,
    pub(super) sent: u64,
}

impl Feed {
    pub(super) fn new(body: Option<Body>, aux: Option<Bytes>) -> Feed {
        Feed {
            body,
            rest: Bytes::new(),
            aux: aux.unwrap_or_default(),
            hasher: blake3::Hasher::new(),
            sent: 0,
        }
    }

    /// The next slice of a fork, at most `most` bytes, and whether it is the last. A slice is as large as can be, so
    /// that a small file is known to be one.
    pub(super) async fn next(&mut self, fork: Fork, most: usize) -> Result<(Bytes, bool), BodyError> {
        if fork == Fork::Aux {
            let slice = self.aux.split_to(most.min(self.aux.len()));
            return Ok((slice, self.aux.is_empty()));
        }
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
            let more = match &mut self.body {
                Some(body) => body.recv().await,
                None => None,
            };
            match more {
                Some(slice) => self.rest = slice?,
                None => {
                    self.body = None;
                    return Ok((gathered.freeze(), true));
                }
            }
        }
    }
}
