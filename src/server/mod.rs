//! The doors: listeners, the caps on them, and what all sessions share.
//!
//! | file | for |
//! |---|---|
//! | `conn` | one UFT session: socket, protocol and spool; `conn/sender`: who is at its other end; `conn/transfer`: what broke off before |
//! | `intake` | one file on its way in: staging and conversion |
//! | `recipient` | for whom a file is: inboxes here, or the queue |
//! | `home` | a job of the queue that ends here after all |
//! | `wire_form` | its bytes as sent, written down only when they must be |
//! | `local` | the Unix socket of this host's own programs; `local/queue`: what they ask of the queue |
//! | `notice` | telling people of arrivals and messages |
//! | `dropped` | jobs that are put into a directory |
//! | `onward` | messages and questions for other nodes |
//! | `programs` | handing files to programs |
//! | `process` | running a program that the administrator named |
//! | `removal` | an item leaves an inbox |
//! | `receipts` | receipts of NETDATA: those that come, and those that are owed |
//! | `query` | answers to `CPQ` |
//! | `users` | who has an inbox |
//! | `callback` | asking a gateway whether a sender's key is its own |
//! | `caps` | how many sessions at once |
//! | `budget` | how often in a minute |
//! | `verdict` | what a spool error means to a peer |
//!
//! What it does not do: start or stop the process (`daemon` does), send files to other hosts.

mod budget;
pub(crate) mod callback;
mod caps;
mod conn;
pub(crate) mod dropped;
pub(crate) mod home;
mod intake;
pub(crate) mod local;
pub(crate) mod notice;
mod onward;
mod process;
pub(crate) mod programs;
mod query;
mod receipts;
mod recipient;
mod removal;
pub(crate) mod users;
mod verdict;
mod wire_form;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{debug, error, warn};
use uft_spool::{Spool, SpoolId, Stranger, UserName};

use self::budget::Budget;
use self::callback::CallBacks;
use self::caps::Caps;
use self::conn::Peer;
use self::notice::Notices;
use self::users::Directory;
use crate::config::Config;
use crate::local::Message;
use crate::peers::Peers;
use crate::post::Office;
use crate::proto::proof::Nonce;
use crate::proto::{Greeting, Refusal, Reply};
use crate::route::{Plan, Rule, Table};
use crate::tls::{Link, Own, OwnError};

/// The largest burst that our herald announces: what old clients take for a hard limit.
const ANNOUNCED_BURST: u32 = 32_256;
/// Refusals being written at once to peers for whom there is no place; more than that are just closed.
const TURNED_AWAY_AT_ONCE: usize = 64;

/// Longest handshake of TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Bytes that are read of whoever does not speak TLS on its port.
const DISCARDED: u64 = 64 * 1024;

/// Jobs that users want tried now and that were not heard of yet.
const RETRIES_AT_ONCE: usize = 1024;
/// Lists of the queue that are made at once: each begins with all jobs that there are.
const LISTINGS_AT_ONCE: usize = 2;
/// Account look-ups at once.
const LOOK_UPS_AT_ONCE: usize = 16;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) spool: Arc<Spool>,
    pub(crate) notices: Notices,
    live: RwLock<Arc<Live>>,
    caps: Arc<Caps<Stranger>>,
    local_caps: Arc<Caps<u32>>,
    callbacks: CallBacks,
    /// Places for questions to the account database.
    look_ups: Semaphore,
    /// Places for lists of the queue.
    listings: Semaphore,
    /// Receipts that may be sent.
    receipts: Budget,
    /// Jobs of the queue that somebody wants tried now.
    pub(crate) retry: mpsc::Sender<SpoolId>,
    /// The other end, until it is taken.
    retries: Mutex<Option<mpsc::Receiver<SpoolId>>>,
    sessions: AtomicU64,
    transfers: AtomicU64,
    stopping: watch::Sender<bool>,
    started: Instant,
    listeners: Mutex<Vec<String>>,
}

/// The part that SIGHUP replaces.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) config: Config,
    pub(crate) users: Directory,
    pub(crate) agent_key: Option<Vec<u8>>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) table: Arc<Table>,
    /// Our certificate, if we have one.
    pub(crate) own: Option<Arc<Own>>,
}

impl Live {
    /// Reads what the configuration points at: accounts, the agent key, our certificate, and the secrets of other gateways.
    ///
    /// # Errors
    /// When the certificate cannot be used: everything else can be done without.
    pub(crate) fn new(config: Config) -> Result<Live, OwnError> {
        let own = own_certificate(&config)?;
        Ok(Live::with(config, own))
    }

    /// The same with a new configuration. A new certificate that cannot be used is named in the log, and the old one stays.
    pub(crate) fn renew(&self, config: Config) -> Live {
        let own = own_certificate(&config).unwrap_or_else(|err| {
            error!(%err, "certificate not read again; the old one stays");
            self.own.clone()
        });
        Live::with(config, own)
    }

    fn with(config: Config, own: Option<Arc<Own>>) -> Live {
        let users = Directory::new(&config.users);
        let agent_key = agent_key(&config);
        let peers = Arc::new(Peers::new(&config));
        let table = Arc::new(table(&config));
        Live {
            config,
            users,
            agent_key,
            peers,
            table,
            own,
        }
    }
}

fn own_certificate(config: &Config) -> Result<Option<Arc<Own>>, OwnError> {
    if !config.has_certificate() {
        return Ok(None);
    }
    Own::load(&config.uft.tls_cert, &config.uft.tls_key).map(|own| Some(Arc::new(own)))
}

/// The routes of a configuration.
fn table(config: &Config) -> Table {
    Table::new(Plan {
        node: config.node.clone(),
        hosts: vec![config.hostname.clone()],
        peers: config.peers.iter().map(|peer| peer.name.clone()).collect(),
        rules: config
            .routes
            .iter()
            .map(|route| Rule {
                to: route.to.clone(),
                via: route.via.clone(),
            })
            .collect(),
        max_hops: config.queue.max_hops,
        percent: config.queue.percent,
    })
}

/// The first word of the key file, if one is configured and has one.
fn agent_key(config: &Config) -> Option<Vec<u8>> {
    let path = &config.agent.key_file;
    if path.as_os_str().is_empty() {
        return None;
    }
    match std::fs::read(path) {
        Ok(text) => text
            .split(u8::is_ascii_whitespace)
            .find(|word| !word.is_empty())
            .map(<[u8]>::to_vec),
        Err(err) => {
            warn!(path = %path.display(), %err, "agent.key_file cannot be read; AGENT is answered with 500");
            None
        }
    }
}

impl Gateway {
    pub(crate) fn new(spool: Arc<Spool>, notices: Notices, live: Live) -> Gateway {
        let (retry, retries) = mpsc::channel(RETRIES_AT_ONCE);
        Gateway {
            spool,
            notices,
            live: RwLock::new(Arc::new(live)),
            caps: Arc::default(),
            local_caps: Arc::default(),
            callbacks: CallBacks::default(),
            look_ups: Semaphore::new(LOOK_UPS_AT_ONCE),
            listings: Semaphore::new(LISTINGS_AT_ONCE),
            receipts: Budget::new(receipts::A_MINUTE),
            retry,
            retries: Mutex::new(Some(retries)),
            sessions: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            started: Instant::now(),
            listeners: Mutex::default(),
        }
    }

    /// The configuration of this moment.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it; sessions under way see the new one at their next command.
    pub(crate) fn reload(&self, live: Live) {
        self.spool.set_limits(live.config.spool_limits());
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        self.notices.programs.again();
    }

    /// Tells idle sessions to go, and everybody to come to an end.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The jobs that users want tried now, for whoever sends them: the first who asks.
    pub(crate) fn retries(&self) -> Option<mpsc::Receiver<SpoolId>> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// UFT sessions open now.
    pub(crate) fn sessions(&self) -> usize {
        self.caps.open()
    }

    /// Connections that a stop has to wait for: UFT sessions, and local programs being answered.
    pub(crate) fn busy(&self) -> usize {
        self.caps.open() + self.local_caps.open()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Remembers a listener for `uft status`.
    pub(crate) fn listens_on(&self, what: String) {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
    }

    pub(crate) fn listeners(&self) -> Vec<String> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where the gateway's own letters are handed in.
    pub(crate) fn office<'a>(&'a self, live: &'a Live) -> Office<'a> {
        Office {
            spool: &self.spool,
            table: &live.table,
            node: &live.config.node,
            hostname: &live.config.hostname,
        }
    }

    /// A transfer id for a file whose sender gave it none: so that the next gateway knows it when it comes twice.
    pub(crate) fn transfer_id(&self) -> String {
        let mut random = [0; 16];
        // Without random bits the id is still one of this process: what was queued before has another number.
        let _ = getrandom::fill(&mut random);
        let (node, number) = (
            self.live().config.node.clone(),
            self.transfers.fetch_add(1, Ordering::Relaxed),
        );
        format!("{node}.{number:x}.{:032x}", u128::from_ne_bytes(random))
    }

    fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn greeting(&self) -> Greeting {
        let live = self.live();
        Greeting {
            host: live.config.hostname.clone(),
            product: format!("uftd/{}", env!("CARGO_PKG_VERSION")),
            max_burst: ANNOUNCED_BURST,
            nonce: live.peers.any_secret().then(fresh_nonce).flatten(),
        }
    }

    /// Shows a message to everybody that its recipient's name stands for; `Ok` when at least one saw it.
    pub(crate) async fn tell(self: &Arc<Gateway>, message: Message, budget: String) -> Result<(), Refusal> {
        if !self.notices.may_tell(&budget) {
            return Err(Refusal::Busy);
        }
        let name = message.to.to_string();
        let gateway = Arc::clone(self);
        let seen = tokio::task::spawn_blocking(move || {
            let live = gateway.live();
            // As for a user who is not there: one answer for all that keeps a message from being seen.
            let to = live.users.resolve(&message.to).unwrap_or_default();
            let show = |to: UserName| {
                gateway.notices.tell(
                    &Message {
                        to,
                        ..message.clone()
                    },
                    live.config.notice.tty,
                )
            };
            to.into_iter().map(show).fold(false, |seen, here| seen | here)
        });
        match seen.await {
            Ok(true) => Ok(()),
            _ => Err(Refusal::NotLoggedOn { name }),
        }
    }
}

/// Random bits for one connection. Without them nobody can prove anything on it, which is all.
fn fresh_nonce() -> Option<Nonce> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .inspect_err(|err| warn!(%err, "no random bits: gateways cannot prove themselves"))
        .ok()?;
    Some(Nonce(bits))
}

/// Runs something that blocks, on the threads meant for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
    }
}

/// Those for whom there is no place.
struct Crowd {
    /// Places for those who are told so.
    answering: Arc<Semaphore>,
    /// When the log last heard of it, and how many came since: a flood of connections is not to flood the log.
    logged: Option<Instant>,
    since: u64,
}

impl Crowd {
    fn new() -> Crowd {
        Crowd {
            answering: Arc::new(Semaphore::new(TURNED_AWAY_AT_ONCE)),
            logged: None,
            since: 0,
        }
    }

    fn note(&mut self, address: SocketAddr) {
        self.since += 1;
        if self
            .logged
            .is_none_or(|when| when.elapsed() >= Duration::from_secs(1))
        {
            warn!(peer = %address.ip(), connections = self.since, "turned away: too many sessions");
            self.logged = Some(Instant::now());
            self.since = 0;
        }
    }
}

/// What is behind a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Sessions in clear.
    Clear,
    /// Sessions in TLS.
    Tls,
}

/// Accepts UFT sessions until the gateway stops.
pub(crate) async fn listen(listener: TcpListener, door: Door, gateway: Arc<Gateway>) {
    let mut stopping = gateway.stopping();
    let mut crowd = Crowd::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|&stop| stop) => return,
        };
        match accepted {
            Ok((stream, address)) => admit(stream, address, door, &gateway, &mut crowd),
            Err(err) => {
                // Out of descriptors, mostly: waiting lets sessions end; the listener must not die of it.
                warn!(%err, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(stream: TcpStream, address: SocketAddr, door: Door, gateway: &Arc<Gateway>, crowd: &mut Crowd) {
    let uft = &gateway.live().config.uft;
    // A reply that waits for the peer's delayed acknowledgement costs 40 ms a command.
    if let Err(err) = stream.set_nodelay(true) {
        debug!(%err, "connection gone before it began");
        return;
    }
    let stranger = Stranger::of(address.ip());
    match gateway
        .caps
        .take(stranger, uft.max_sessions, uft.max_sessions_per_address)
    {
        Some(permit) => {
            let gateway = Arc::clone(gateway);
            tokio::spawn(async move {
                match door {
                    Door::Clear => conn::serve(stream, Peer::Remote(address), Link::default(), gateway).await,
                    Door::Tls => serve_in_tls(stream, address, gateway).await,
                }
                drop(permit);
            });
        }
        None => {
            crowd.note(address);
            // In TLS nothing can be said before a handshake, which is more than there is room for.
            if door == Door::Tls {
                return;
            }
            if let Ok(place) = Arc::clone(&crowd.answering).try_acquire_owned() {
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(Duration::from_secs(5), turn_away(stream)).await;
                    drop(place);
                });
            }
        }
    }
}

/// A session in TLS, once there is one.
async fn serve_in_tls(stream: TcpStream, address: SocketAddr, gateway: Arc<Gateway>) {
    let live = gateway.live();
    let Some(own) = live.own.clone() else { return };
    let patience = live.config.uft.idle_timeout.0.min(HANDSHAKE_TIME);
    drop(live);
    let mut stopping = gateway.stopping();
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(patience, own.accept(stream)) => handshake,
        _ = stopping.wait_for(|&stop| stop) => return,
    };
    match handshake {
        Ok(Ok((secure, link))) => conn::serve(secure, Peer::Remote(address), link, gateway).await,
        Ok(Err((err, stream))) => {
            debug!(peer = %address.ip(), %err, "no TLS session");
            // What is unread would make a reset of the close, and take our alert away.
            let _ = tokio::time::timeout(patience, discard(stream)).await;
        }
        Err(_) => debug!(peer = %address.ip(), "no TLS session in time"),
    }
}

/// Shuts our side down, and reads what little still comes.
async fn discard(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(DISCARDED);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.map(drop)
}

/// A refusal in place of the herald.
async fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    let mut line = BytesMut::new();
    Reply::from(&Refusal::Busy).write(&mut line);
    stream.write_all(&line).await?;
    stream.shutdown().await
}
