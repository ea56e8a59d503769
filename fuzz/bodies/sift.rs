//! What must hold for any bytes given as a job. The first byte of the data chooses the chunks, the rest is the job.
//!
//! Included by the fuzz targets and by a test. Whoever includes it has a `proto`, a `sift` and the `rig` of proto's bodies
//! beside it.

use bytes::BytesMut;

use super::proto::LINE_MAX;
use super::rig::{Faults, Server, Stored};
use super::sift::{BadJob, Feed};

/// What became of a job that is said to have `total` bytes.
pub(crate) type Fed = (Result<(), BadJob>, Vec<Stored>, usize);

/// Feeds a job to a session in pieces of `size` bytes. After an error the session is ended as its driver has to.
pub(crate) fn fed(job: &[u8], total: u64, size: usize) -> Fed {
    let (mut feed, mut server) = (Feed::new(total), Server::new("uftd/0", Faults::default()));
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    server.feed(b"");
    let mut pushed = feed.push(&mut input, &mut out);
    for piece in job.chunks(size.max(1)) {
        input.extend_from_slice(piece);
        pushed = feed.push(&mut input, &mut out);
        assert!(input.len() <= LINE_MAX + 1 || pushed.is_err());
        assert!(
            out.len() <= piece.len() + 2 * LINE_MAX + 64,
            "it makes no more of it"
        );
        if pushed.is_err() {
            break;
        }
        server.feed(&out);
        out.clear();
    }
    server.close();
    let ended = pushed.and_then(|()| feed.finish());
    (ended, server.stored, server.messages.len())
}

/// Any bytes are a job or an error, at every chunking the same; a job is one file at most, an error is none, and no byte
/// of a file is taken for a command.
pub(crate) fn job(data: &[u8]) {
    let Some((&first, job)) = data.split_first() else {
        return;
    };
    let total = job.len() as u64;
    let whole = fed(job, total, usize::MAX);
    let (ended, stored, messages) = &whole;
    assert_eq!(*messages, 0);
    assert!(stored.len() <= usize::from(ended.is_ok()));
    if let Some(file) = stored.first() {
        assert!(job.ends_with(&file.data));
    }
    assert_eq!(whole, fed(job, total, usize::from(first) + 1));
    for wrong in [total + 1, total.saturating_sub(1)] {
        let (ended, stored, _) = fed(job, wrong, usize::MAX);
        assert!(wrong == total || ended.is_err() && stored.is_empty());
    }
}
