//! One job, fed to a session as its owner would say it, and what the session made of it.
//!
//! Every rule of sessions holds, since it is one: who may send what where, limits, quotas, digests. `EOF` is said only
//! when the file is, after the last byte, what it was before the first. What this file does *not* do: touch the
//! directory.

use std::io::Read;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use uft_spool::UserName;

use super::super::conn::{self, Peer};
use super::super::{Gateway, blocking};
use super::dir::{Identity, Job};
use crate::sift::Feed;
use crate::tls::Link;

/// Bytes under way between the job and its session.
const PIPE: usize = 256 * 1024;
/// Bytes of a job by which it is known again.
const HEAD: u64 = 64 * 1024;
/// Longest reply that is read, in bytes.
const REPLY_MAX: u64 = 4096;

/// What becomes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The gateway has it.
    Taken,
    /// Not now, and why.
    Later(String),
    /// Never, and why.
    Rejected(String),
}

/// What a session said.
#[derive(Debug, Default)]
struct Heard {
    /// The first refusal.
    refusal: Option<(u16, String)>,
    /// The goodbye: all that was asked for is done.
    goodbye: bool,
}

/// Feeds a job to a session of `user`.
pub(super) async fn submit(gateway: &Arc<Gateway>, job: Job, user: UserName) -> Verdict {
    let identity = job.identity;
    let file = Arc::new(job.file);
    let source = Arc::clone(&file);
    let head = blocking(move || {
        use std::os::unix::fs::FileExt;
        let mut head = vec![0; usize::try_from(identity.size.min(HEAD)).unwrap_or_default()];
        source.read_exact_at(&mut head, 0).map(|()| head)
    });
    let head = match head.await {
        Ok(head) => head,
        Err(err) => return Verdict::Later(format!("it cannot be read: {err}")),
    };
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let session = tokio::spawn(conn::serve(
        theirs,
        Peer::Local(user),
        Link::default(),
        Arc::clone(gateway),
    ));
    let (replies, to) = tokio::io::split(ours);
    let hello = format!("META XID {}\r\n", identity.xid(&head));
    let (said, heard) = tokio::join!(say(to, &hello, file, identity), hear(replies));
    let _ = session.await;
    match (said, heard.refusal) {
        (_, Some((code, text))) => refused(code, &text),
        (Err(verdict), None) => verdict,
        (Ok(()), None) if heard.goodbye => Verdict::Taken,
        (Ok(()), None) => Verdict::Later("the session broke off".into()),
    }
}

/// What a refusal means for the job. Those that speak of the room here, of the disk, or of the daemon may pass; that of a
/// wrong digest has the same number and is tried again for nothing, until the job is too old.
fn refused(code: u16, text: &str) -> Verdict {
    let why = format!("{code} {text}");
    match code {
        513 | 521 | 522 | 541 | 559 => Verdict::Later(why),
        _ => Verdict::Rejected(why),
    }
}

/// Says the job. An error means that `EOF` was not said.
async fn say<W: AsyncWrite + Unpin>(
    mut to: W,
    hello: &str,
    file: Arc<std::fs::File>,
    identity: Identity,
) -> Result<(), Verdict> {
    let said = pour(&mut to, hello, file, identity).await;
    // Without an EOF before it this is the end of a file that comes to nothing.
    let _ = to.shutdown().await;
    said
}

async fn pour<W: AsyncWrite + Unpin>(
    to: &mut W,
    hello: &str,
    file: Arc<std::fs::File>,
    identity: Identity,
) -> Result<(), Verdict> {
    // Nobody listens any more: what was heard says why.
    let deaf = |_| Verdict::Later("the session broke off".into());
    let unreadable = |err: std::io::Error| Verdict::Later(format!("it cannot be read: {err}"));
    to.write_all(hello.as_bytes()).await.map_err(deaf)?;
    let mut feed = Feed::new(identity.size);
    let (mut input, mut left) = (BytesMut::new(), identity.size);
    // The last piece is held back: EOF is in it.
    let mut held = BytesMut::new();
    while left > 0 {
        let source = Arc::clone(&file);
        let most = left.min(PIPE as u64);
        let piece = blocking(move || {
            let mut piece = Vec::new();
            (&*source).take(most).read_to_end(&mut piece).map(|_| piece)
        });
        let piece = piece.await.map_err(unreadable)?;
        if piece.is_empty() {
            break;
        }
        left -= piece.len() as u64;
        input.extend_from_slice(&piece);
        to.write_all(&held).await.map_err(deaf)?;
        held.clear();
        feed.push(&mut input, &mut held)
            .map_err(|bad| Verdict::Rejected(bad.to_string()))?;
    }
    let after = blocking(move || Identity::now(&file)).await.map_err(unreadable)?;
    if after != identity {
        return Err(Verdict::Later("it is still being written".into()));
    }
    feed.finish().map_err(|bad| match identity.is_young() {
        // Somebody may be writing it under this name, although that is not how it is done.
        true => Verdict::Later(bad.to_string()),
        false => Verdict::Rejected(bad.to_string()),
    })?;
    to.write_all(&held).await.map_err(deaf)
}

/// Listens to the end.
async fn hear<R: tokio::io::AsyncRead + Unpin>(replies: R) -> Heard {
    let mut replies = BufReader::new(replies);
    let mut heard = Heard::default();
    loop {
        let mut line = Vec::new();
        let read = (&mut replies).take(REPLY_MAX).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            return heard;
        }
        let line = String::from_utf8_lossy(&line);
        let (code, text) = line.trim_end().split_at_checked(3).unwrap_or_default();
        match code.parse::<u16>() {
            Ok(code @ 400..=599) if heard.refusal.is_none() => {
                heard.refusal = Some((code, text.trim().to_owned()));
            }
            Ok(221) => heard.goodbye = true,
            _ => {}
        }
    }
}
