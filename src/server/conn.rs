//! One UFT connection: carries bytes between the socket, the [`Session`] and the spool, and keeps the deadlines.
//!
//! The session decides what is said; this file does what it asks. Small files stay in memory and go to the disk in
//! one step at `EOF`; larger ones are written a slice behind the reader, so that at most two slices are in memory.
//! What it does not do: parse, choose reply codes, convert.
//!
//! | deadline | for |
//! |---|---|
//! | `idle_timeout` | one command, from the last one's end to its own line end; and each write |
//! | `burst_timeout` | the next bytes of a burst |
//! | `min_rate` | the mean rate inside a burst, once it has lasted a `burst_timeout` |
//! | `session_timeout` | the next stored file; payload puts it off by the time that it takes at `min_rate` |

mod sender;
mod transfer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{Instrument, debug, info, warn};
use uft_spool::{Committed, SpoolId, UserName};

use super::intake::{Intake, IntakeError};
use super::onward;
use super::recipient;
use super::{Gateway, blocking, receipts, verdict};
use crate::config::{Strangers, Uft};
use crate::peers::ProvenPeer;
use crate::proto::{Answer, Ask, Closing, Draft, Fork, Opening, Phase, Refusal, Reply, Session, Step};
use crate::tls::Link;

/// Bytes read and written at a time inside a burst.
const SLICE: usize = 256 * 1024;
/// First size of the command buffer: what an idle session costs.
const COMMANDS: usize = 2 * 1024;
/// Replies held back while more commands are at hand.
const REPLIES_MAX: usize = 16 * 1024;
/// A commit that takes longer than this is announced with a 199 line, again and again.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a refusal that ends the session: what is still read and thrown away, so that the reply is not lost.
const LINGER_BYTES: u64 = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(10);
/// A peer that has been silent gets this long to take the reason.
const LAST_WORD_TIME: Duration = Duration::from_secs(1);

/// Who is at the other end, as far as that is known without asking.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// An address.
    Remote(SocketAddr),
    /// A process of this host, whose user the kernel named.
    Local(UserName),
}

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connection lost")]
    Lost(#[from] io::Error),
    #[error("no command within the idle time-out")]
    Idle,
    #[error("burst stalled or too slow")]
    Slow,
    #[error("no file within the session time-out")]
    Barren,
    #[error("peer does not read its replies")]
    Deaf,
    #[error("the gateway is stopping")]
    Stopping,
}

/// Serves one connection to its end.
pub(crate) async fn serve<S>(stream: S, peer: Peer, link: Link, gateway: Arc<Gateway>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = gateway.next_session();
    let shown = match &peer {
        Peer::Remote(address) => address.ip().to_canonical().to_string(),
        Peer::Local(user) => format!("local:{user}"),
    };
    let span = tracing::info_span!("uft", session, peer = shown);
    async {
        debug!("session opened");
        let mut conn = Conn::new(stream, peer, link, gateway);
        let ended = conn.run().await;
        conn.give_up(true).await;
        match ended {
            Ok(()) => debug!("session closed"),
            Err(err) => info!(%err, "session ended early"),
        }
    }
    .instrument(span)
    .await;
}

impl Ended {
    /// What the peer is told, if it can still be told anything.
    fn last_word(&self) -> Option<Refusal> {
        match self {
            Ended::Lost(_) | Ended::Deaf => None,
            Ended::Idle | Ended::Slow | Ended::Barren => Some(Refusal::Timeout),
            Ended::Stopping => Some(Refusal::ShuttingDown),
        }
    }
}

struct Conn<S> {
    stream: S,
    peer: Peer,
    /// What the session is known by.
    link: Link,
    /// The gateway at the other end, once it has proven which one it is.
    proven: Option<ProvenPeer>,
    gateway: Arc<Gateway>,
    session: Session,
    input: BytesMut,
    output: BytesMut,
    file: File,
    /// What `FILE` said of the size, for the file that comes next.
    declared: Option<u64>,
    /// The deadline of the command being waited for.
    command_by: Instant,
    burst: Option<BurstClock>,
    since_last_file: FileClock,
    /// The session was given an answer, and has not been polled since.
    answered: bool,
    /// The peer has closed its side: a file without an end broke off, rather than being given up.
    gone: bool,
}

/// The file being received.
enum File {
    None,
    Ready(Box<Intake>),
    /// Its bytes are being written.
    Busy(JoinHandle<(Box<Intake>, Result<(), IntakeError>)>),
    /// A write failed; the refusal has been given.
    Broken,
}

struct BurstClock {
    since: Instant,
    bytes: u64,
}

/// Time and payload since the last stored file, or since the session began.
struct FileClock {
    since: Instant,
    bytes: u64,
}

impl FileClock {
    fn start() -> FileClock {
        FileClock {
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// When the session has stored nothing for too long. Neither commands nor many small bursts put that off for ever.
    /// `held`: payload that was read and not handed on yet.
    fn deadline(&self, held: usize, uft: &Uft) -> Instant {
        let earned = Duration::from_secs((self.bytes + held as u64) / uft.min_rate.0.max(1));
        self.since + uft.session_timeout.0.saturating_add(earned)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    fn new(stream: S, peer: Peer, link: Link, gateway: Arc<Gateway>) -> Conn<S> {
        let session = Session::new(gateway.greeting());
        let live = gateway.live();
        let idle = live.config.uft.idle_timeout.0;
        let proven = link
            .certificate
            .and_then(|shown| live.peers.with_certificate(shown));
        if let Some(peer) = &proven {
            info!(gateway = peer.name, "has proven itself by its certificate");
        }
        Conn {
            stream,
            peer,
            link,
            proven,
            gateway,
            session,
            input: BytesMut::with_capacity(COMMANDS),
            output: BytesMut::new(),
            file: File::None,
            declared: None,
            command_by: Instant::now() + idle,
            burst: None,
            since_last_file: FileClock::start(),
            answered: false,
            gone: false,
        }
    }

    async fn run(&mut self) -> Result<(), Ended> {
        let mut step = self.session.poll(&mut self.input);
        loop {
            match step {
                Step::NeedBytes if self.gone => {
                    step = self.session.peer_closed();
                    continue;
                }
                Step::NeedBytes => {
                    self.flush().await?;
                    match self.read().await {
                        // What was gathered for a larger slice is handed on first.
                        Ok(0) => self.gone = true,
                        Ok(_) => {}
                        Err(ended) => return self.wind_up(ended).await,
                    }
                }
                Step::Reply(reply) => self.reply(&reply).await?,
                Step::Ask(ask) => {
                    self.ask(ask).await?;
                    self.answered = true;
                }
                Step::Data(fork, bytes) => self.data(fork, bytes).await,
                Step::Close(closing) => {
                    self.flush().await?;
                    return self.close(closing).await;
                }
            }
            step = self.next_step();
        }
    }

    fn next_step(&mut self) -> Step {
        // What an answer has earned is said before more is read: the peer waits for its 3xx with the burst.
        if !std::mem::take(&mut self.answered) && self.wants_larger_slice() {
            Step::NeedBytes
        } else {
            self.session.poll(&mut self.input)
        }
    }

    /// Says why the session ends, if the peer takes it at once.
    async fn wind_up(&mut self, ended: Ended) -> Result<(), Ended> {
        if let Some(refusal) = ended.last_word() {
            self.session.end(&refusal);
            while let Step::Reply(reply) = self.session.poll(&mut self.input) {
                reply.write(&mut self.output);
            }
            let _ = timeout(LAST_WORD_TIME, self.flush()).await;
            let _ = timeout(LAST_WORD_TIME, self.stream.shutdown()).await;
        }
        Err(ended)
    }

    /// Inside a burst, small reads are gathered: a slice is handed on when it is full or the burst's last.
    fn wants_larger_slice(&self) -> bool {
        if self.gone {
            return false;
        }
        match self.session.phase() {
            Phase::Burst { left } => {
                let slice = usize::try_from(left).unwrap_or(SLICE).min(SLICE);
                left > 0 && self.input.len() < slice
            }
            Phase::Line | Phase::Answer => false,
        }
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), Ended> {
        reply.write(&mut self.output);
        if reply.code().class() >= 4 {
            debug!(code = reply.code().0, "refused");
        }
        self.command_by = Instant::now() + self.gateway.live().config.uft.idle_timeout.0;
        if self.output.len() > REPLIES_MAX {
            self.flush().await
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        let patience = self.gateway.live().config.uft.idle_timeout.0;
        let written = timeout(patience, async {
            self.stream.write_all(&self.output).await?;
            // TLS holds back what the socket did not take at once.
            self.stream.flush().await
        })
        .await;
        self.output.clear();
        written.map_err(|_| Ended::Deaf)?.map_err(Ended::Lost)
    }

    /// Reads more input, within the deadline of the phase; 0 at the end of the stream.
    async fn read(&mut self) -> Result<usize, Ended> {
        let uft = self.gateway.live().config.uft.clone();
        let Phase::Burst { left } = self.session.phase() else {
            return self.read_command(self.since_last_file.deadline(0, &uft)).await;
        };
        let barren = self.since_last_file.deadline(self.input.len(), &uft);
        let clock = self.burst.get_or_insert_with(|| BurstClock {
            since: Instant::now(),
            bytes: 0,
        });
        let spent = clock.since.elapsed();
        let floor = uft.min_rate.0 as f64 * spent.as_secs_f64();
        if spent > uft.burst_timeout.0 && (clock.bytes as f64) < floor {
            return Err(Ended::Slow);
        }
        let slice = usize::try_from(left).unwrap_or(SLICE).min(SLICE);
        self.input
            .reserve(slice.saturating_sub(self.input.len()).max(COMMANDS));
        let stalled = Instant::now() + uft.burst_timeout.0;
        match timeout_at(stalled.min(barren), self.stream.read_buf(&mut self.input)).await {
            Err(_) if stalled < barren => Err(Ended::Slow),
            Err(_) => Err(Ended::Barren),
            Ok(read) => {
                let n = read?;
                if let Some(clock) = &mut self.burst {
                    clock.bytes += n as u64;
                }
                Ok(n)
            }
        }
    }

    async fn read_command(&mut self, barren: Instant) -> Result<usize, Ended> {
        if self.burst.take().is_some() {
            // An idle session gives the memory of its last burst back; all of it may still be behind an empty buffer.
            self.input = BytesMut::from(self.input.as_ref());
        }
        self.input.reserve(COMMANDS);
        let idle = matches!(self.file, File::None);
        let mut stopping = self.gateway.stopping();
        tokio::select! {
            biased;
            read = timeout_at(self.command_by.min(barren), self.stream.read_buf(&mut self.input)) => match read {
                Err(_) if self.command_by < barren => Err(Ended::Idle),
                Err(_) => Err(Ended::Barren),
                Ok(read) => Ok(read?),
            },
            _ = stopping.wait_for(|&stop| stop), if idle => Err(Ended::Stopping),
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), Ended> {
        let verdict = match ask {
            Ask::Open(opening) => self.open(&opening).await,
            Ask::Recipient(name) => self.recipient(&name).await,
            Ask::Transfer(draft) => Ok(Answer::Held(self.held(*draft).await?)),
            Ask::Burst { fork, draft, .. } => self.begin(fork, *draft).await?,
            Ask::BurstEnd { .. } => self.settle().await.map(|()| Answer::Done),
            Ask::Commit(draft) => return self.commit(*draft).await,
            Ask::Discard => {
                self.declared = None;
                self.give_up(self.gone).await;
                Ok(Answer::Done)
            }
            Ask::Message {
                to,
                text,
                from,
                attributes,
            } => {
                let speaker = self.speaker(from, &attributes);
                let told = onward::message(&self.gateway, &speaker, &to, text, &attributes).await;
                told.map(|()| Answer::Done)
            }
            Ask::Query { query, attributes } => {
                let speaker = self.speaker(None, &attributes);
                let at = onward::asked_of(&attributes);
                let answer = onward::question(&self.gateway, &speaker, at, &query, &attributes).await;
                answer.map(Answer::Lines)
            }
            Ask::Agent(key) => match self.gateway.live().agent_key.as_deref() {
                // Digests compare in constant time: how long the answer takes tells nothing of the key.
                Some(known) if blake3::hash(key.expose().as_bytes()) == blake3::hash(known) => {
                    Ok(Answer::Done)
                }
                _ => Err(Refusal::NoAgentMatch),
            },
            Ask::Peer(claim) => self.prove(&claim),
        };
        self.session.answer(verdict);
        Ok(())
    }

    async fn open(&mut self, opening: &Opening) -> Result<Answer, Refusal> {
        self.call_back(&opening.auth).await;
        let live = self.gateway.live();
        if self.stranger().is_some() && live.config.limits.strangers == Strangers::Refuse {
            return Err(Refusal::NotAPeer);
        }
        match opening.size {
            Some(size) if size > live.config.limits.max_file.0 => Err(Refusal::TooLarge),
            size => {
                self.declared = size;
                Ok(Answer::Done)
            }
        }
    }

    /// A recipient is accepted when it has an inbox, or the queue knows a way, and a file of the declared size would fit
    /// in now.
    async fn recipient(&mut self, name: &str) -> Result<Answer, Refusal> {
        let (to, shown) = recipient::find(&self.gateway, name, &self.sender()).await?;
        let spool = &self.gateway.spool;
        let intake = Intake::open(spool, to, self.stranger().as_ref(), self.declared)
            .map_err(|err| verdict::refusal(&err.into()))?;
        self.file = File::Ready(Box::new(intake));
        Ok(Answer::Recipient(shown))
    }

    /// Takes bytes of a burst. A failure is told to the session as soon as it is known, which then drains the rest.
    async fn data(&mut self, fork: Fork, bytes: Bytes) {
        if let Err(refusal) = self.settle().await {
            return self.session.refuse_burst(refusal);
        }
        let File::Ready(intake) = &mut self.file else {
            // Bytes that nobody keeps are never acknowledged.
            return self.session.refuse_burst(Refusal::DataError);
        };
        if intake.in_memory(bytes.len()) {
            if let Err(err) = intake.take(fork, &bytes) {
                self.file = File::Broken;
                self.session.refuse_burst(verdict::refusal(&err));
            }
            return;
        }
        let File::Ready(mut intake) = std::mem::replace(&mut self.file, File::None) else {
            return;
        };
        // A thread for the slice, not for the file: slow senders must not hold the threads that commits need.
        self.file = File::Busy(tokio::task::spawn_blocking(move || {
            let taken = intake.take(fork, &bytes);
            (intake, taken)
        }));
    }

    /// Waits for the write under way.
    async fn settle(&mut self) -> Result<(), Refusal> {
        let File::Busy(writing) = &mut self.file else {
            return Ok(());
        };
        let (file, result) = match writing.await {
            Ok((intake, Ok(()))) => (File::Ready(intake), Ok(())),
            Ok((_, Err(err))) => (File::Broken, Err(verdict::refusal(&err))),
            Err(err) => {
                warn!(%err, "a staging task ended abnormally");
                (File::Broken, Err(Refusal::DataError))
            }
        };
        self.file = file;
        result
    }

    async fn commit(&mut self, mut draft: Draft) -> Result<(), Ended> {
        self.declared = None;
        // A refusal of the last write was given at the end of its burst: a file that is not ready has been refused.
        let intake = match (self.settle().await, std::mem::replace(&mut self.file, File::None)) {
            (Ok(()), File::Ready(intake)) => intake,
            (settled, _) => {
                self.session
                    .answer(Err(settled.err().unwrap_or(Refusal::DataError)));
                return Ok(());
            }
        };
        // What was said after the bytes counts as well.
        if let Err(refusal) = recipient::passes(&self.gateway.live().table, &draft.attributes) {
            self.session.answer(Err(refusal));
            return Ok(());
        }
        if intake.goes_on() && draft.xid.is_none() {
            draft.xid = Some(self.gateway.transfer_id());
        }
        let origin = self.origin(&draft);
        let from = origin.user.clone();
        let file_type = draft.spec.as_ref().map_or('I', |spec| spec.file_type.letter());
        let now = Timestamp::now().as_second();
        let committing = tokio::task::spawn_blocking(move || intake.commit(draft, origin, now));
        let verdict = match self.wait_for(committing).await? {
            Ok(committed) => {
                self.since_last_file = FileClock::start();
                Ok(self.committed(&committed, &from, file_type))
            }
            Err(err) => Err(verdict::refusal(&err)),
        };
        self.session.answer(verdict);
        Ok(())
    }

    /// Waits for what may take long; a peer that waits along hears from us now and then.
    async fn wait_for<T: Send + 'static>(&mut self, mut working: JoinHandle<T>) -> Result<T, Ended> {
        loop {
            match timeout(PATIENCE, &mut working).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(err)) => return Err(Ended::Lost(io::Error::other(err))),
                Err(_) => {
                    Reply::working().write(&mut self.output);
                    // A deaf or lost peer must not undo a commit that is under way: wait for it all the same.
                    let _ = self.flush().await;
                }
            }
        }
    }

    fn committed(&self, committed: &Committed, from: &str, file_type: char) -> Answer {
        let (placed, repeat) = match committed {
            Committed::Stored(placed) => (placed, false),
            Committed::Repeat(placed) => (placed, true),
        };
        for (user, spoolid) in &placed.inbox {
            if repeat {
                info!(%user, %spoolid, ?from, "repeat of a delivered file: acknowledged, not stored again");
            } else {
                info!(%user, %spoolid, ?from, %file_type, "delivered");
                self.gateway.notices.arrived(user, *spoolid);
                if self.proven.is_some() {
                    tokio::spawn(receipts::delivered(
                        Arc::clone(&self.gateway),
                        user.clone(),
                        *spoolid,
                    ));
                }
            }
        }
        for spoolid in &placed.queue {
            info!(%spoolid, ?from, %file_type, repeat, "queued");
            if !repeat {
                self.begin_story(*spoolid, from);
            }
        }
        match (placed.inbox.as_slice(), placed.queue.as_slice()) {
            ([], [id]) => Answer::Queued(*id),
            ([(_, id)], []) => Answer::Stored(Some(*id)),
            _ => Answer::Stored(None),
        }
    }

    /// The first chapter of what happens to a job. Nobody waits for it.
    fn begin_story(&self, id: SpoolId, from: &str) {
        let came = match (&self.peer, &self.proven) {
            (_, Some(gateway)) => format!("came from {} with a file of {from}, and was queued", gateway.name),
            (Peer::Local(user), None) => format!("queued by {user}"),
            (Peer::Remote(_), None) => "queued".to_owned(),
        };
        let (spool, now) = (Arc::clone(&self.gateway.spool), Timestamp::now().as_second());
        // A story may be lost; the job is not.
        tokio::task::spawn_blocking(move || drop(spool.tell_story(id, now, &came)));
    }

    async fn close(&mut self, closing: Closing) -> Result<(), Ended> {
        self.stream.shutdown().await?;
        if matches!(closing, Closing::Linger) {
            let mut waste = (&mut self.stream).take(LINGER_BYTES);
            let _ = timeout(LINGER_TIME, tokio::io::copy(&mut waste, &mut tokio::io::sink())).await;
        }
        Ok(())
    }

    /// Forgets the file being received; what is staged is removed before this returns, or kept for its sender to go on
    /// with when it broke off.
    async fn give_up(&mut self, broke_off: bool) {
        let _ = self.settle().await;
        if let File::Ready(intake) = std::mem::replace(&mut self.file, File::None)
            && !intake.in_memory(0)
        {
            blocking(move || match broke_off {
                true => intake.keep(),
                false => intake.discard(),
            })
            .await;
        }
    }
}
