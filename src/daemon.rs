//! The daemon: puts the parts together, runs them, and brings them to an end.
//!
//! Start: spool (lock, recovery), listeners, local socket, then the ready lines. Stop: no new connections, idle
//! sessions go, running ones get `shutdown_grace`, then the spool is closed. What it does not do: read the command
//! line or files of configuration (the binary does).

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tracing::{error, info, warn};
use uft_spool::{JobSummary, PARTIAL_AGE, Recovery, Spool, State};

use crate::config::Config;
use crate::display::chain;
use crate::queue;
use crate::queue::watch::Doorbell;
use crate::server::notice::Notices;
use crate::server::{self, Door, Gateway, Live};
use crate::tls::OwnError;

/// How often unread items are looked through for expired ones, and how many go in one step.
const EXPIRY_PAUSE: Duration = Duration::from_secs(3600);
const EXPIRY_STEP: usize = 500;

/// Why the daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The spool cannot be opened.
    #[error("spool {}", path.display())]
    Spool {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: uft_spool::Error,
    },
    /// A listener cannot be set up.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Another process listens on the local socket.
    #[error("local socket {}: another uftd answers there", .0.display())]
    SocketTaken(PathBuf),
    /// Our certificate.
    #[error("TLS certificate: {0}")]
    Certificate(#[from] OwnError),
    /// Signals or standard output.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Checks a configuration against the accounts of this host.
///
/// # Errors
/// What is wrong, for people.
pub fn check_accounts(config: &Config) -> Result<(), String> {
    match server::users::taken_by_an_account(&config.users) {
        None => Ok(()),
        Some(name) => Err(format!(
            "users.program = {name}: an account of this host has this name, and its owner would get the program's files"
        )),
    }
}

/// Runs the daemon until it is told to stop. `reload` reads the configuration again on SIGHUP; `ready` is told the
/// UFT addresses once everything listens.
///
/// # Errors
/// What kept it from starting. Once it runs it ends only by SIGTERM or SIGINT.
pub async fn run(
    config: Config,
    reload: impl Fn() -> Result<Config, String>,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), DaemonError> {
    let system = |what| move |source| DaemonError::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("watch for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("watch for SIGINT"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system("watch for SIGHUP"))?;
    raise_descriptor_limit();

    let spool = Arc::new(open_spool(&config).await?);
    let (notices, arrivals) = Notices::new();
    let gateway = Arc::new(Gateway::new(
        Arc::clone(&spool),
        notices,
        Live::new(config.clone())?,
    ));
    let mut doors = JoinSet::new();
    server::callback::look_up(&gateway);
    let addresses = open_uft(&config, &gateway, &mut doors).await?;
    open_local(&config, &gateway, &mut doors).await?;
    let announcer = {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(server::notice::run(arrivals, Arc::clone(&spool), move || {
            gateway.live().config.notice.clone()
        }))
    };
    let programs = tokio::spawn(server::programs::run(Arc::clone(&gateway)));
    let expirer = tokio::spawn(expire(Arc::clone(&gateway)));
    let rung = Arc::new(Notify::new());
    let (settings, relaying) = open_queue(&gateway, Arc::clone(&rung));
    doors.spawn(server::dropped::run(Arc::clone(&gateway), rung));

    print_ready(&gateway.listeners()).map_err(system("write to standard output"))?;
    ready(&addresses);
    if let Err(err) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%err, "systemd was not told that the daemon is ready");
    }

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match reload() {
                Ok(fresh) => {
                    warn_of_restart_keys(&gateway.live().config, &fresh);
                    let live = gateway.live().renew(fresh);
                    gateway.reload(live);
                    settings.send_replace(queue_settings(&gateway.live()));
                    server::callback::look_up(&gateway);
                    info!("configuration read again");
                }
                Err(err) => error!(err, "configuration not read again; the old one stays"),
            },
        }
    }
    info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    expirer.abort();
    announcer.abort();
    drain(&gateway, &mut doors, relaying, programs).await;
    let _ = std::fs::remove_file(&config.socket);
    // The last holder closes the spool: this one, unless sessions were cut off; they go with the runtime.
    drop(gateway);
    if tokio::task::spawn_blocking(move || drop(spool)).await.is_err() {
        error!("the spool did not close cleanly; the next start checks it");
    }
    Ok(())
}

async fn open_spool(config: &Config) -> Result<Spool, DaemonError> {
    let (path, limits) = (config.spool.clone(), config.spool_limits());
    let opened = tokio::task::spawn_blocking(move || {
        Spool::open(&path, limits).map_err(|source| DaemonError::Spool { path, source })
    });
    let (spool, recovery) = opened.await.map_err(|err| DaemonError::System {
        what: "open the spool",
        source: io::Error::other(err),
    })??;
    report(&config.spool, &recovery);
    Ok(spool)
}

fn report(path: &Path, recovery: &Recovery) {
    for (file, why) in &recovery.quarantined {
        warn!(file = %file.display(), why, "moved to corrupt/");
    }
    for (file, why) in &recovery.problems {
        warn!(file = %file.display(), why, "left as it is");
    }
    for user in &recovery.renumbered {
        warn!(%user, "file of numbers lost: new items are numbered above the highest ever seen");
    }
    if recovery.queue_renumbered {
        warn!("file of numbers of the queue lost: new jobs are numbered above the highest ever seen");
    }
    info!(
        spool = %path.display(),
        items = recovery.items,
        jobs = recovery.jobs,
        clean = recovery.clean,
        learnt = recovery.learnt,
        forgotten = recovery.forgotten,
        swept = recovery.swept,
        orphans = recovery.orphans,
        quarantined = recovery.quarantined.len(),
        index_rebuilt = recovery.rebuilt,
        "spool opened"
    );
}

async fn open_uft(
    config: &Config,
    gateway: &Arc<Gateway>,
    doors: &mut JoinSet<()>,
) -> Result<Vec<SocketAddr>, DaemonError> {
    let mut addresses = Vec::new();
    let clear = config.uft.listen.iter().map(|address| (address, Door::Clear));
    let secure = config.uft.tls_listen.iter().map(|address| (address, Door::Tls));
    for (address, door) in clear.chain(secure) {
        let failed = |source| DaemonError::Listen {
            address: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        match door {
            Door::Clear => {
                gateway.listens_on(format!("uft {bound}"));
                addresses.push(bound);
            }
            Door::Tls => gateway.listens_on(format!("uft-tls {bound}")),
        }
        doors.spawn(server::listen(listener, door, Arc::clone(gateway)));
    }
    Ok(addresses)
}

/// Opens the local socket; one left behind by a dead daemon is replaced, a live one is not.
async fn open_local(
    config: &Config,
    gateway: &Arc<Gateway>,
    doors: &mut JoinSet<()>,
) -> Result<(), DaemonError> {
    let path = &config.socket;
    let failed = |source| DaemonError::Listen {
        address: path.display().to_string(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(failed(err)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(failed(io::Error::other("what is there is not a socket")));
        }
        Ok(_) => match tokio::net::UnixStream::connect(path).await {
            // Only this says that nobody listens; a live daemon with a full queue says something else.
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(DaemonError::SocketTaken(path.clone())),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                return Err(DaemonError::SocketTaken(path.clone()));
            }
            Err(err) => return Err(failed(err)),
        },
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Everybody may connect: the kernel says who it is, and each sees the own inbox only.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    gateway.listens_on(format!("local {}", path.display()));
    doors.spawn(server::local::listen(listener, Arc::clone(gateway)));
    Ok(())
}

/// Programs wait for these lines.
fn print_ready(listeners: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for listener in listeners {
        writeln!(out, "uftd: listening on {listener}")?;
    }
    out.flush()
}

/// Begins to send on what waits in the queue. What changes in the configuration is sent after it.
fn open_queue(
    gateway: &Arc<Gateway>,
    rung: Arc<Notify>,
) -> (watch::Sender<Arc<queue::Settings>>, JoinHandle<()>) {
    let live = gateway.live();
    // What is no directory cannot be watched, and is not to keep the queue from being watched.
    let dropped = Some(live.config.queue.drop.as_path()).filter(|dir| dir.is_dir());
    let (doorbell, error) = Doorbell::new(&queue::directories(&live.config.spool), dropped);
    if let Some(err) = error {
        warn!(%err, rescan = %live.config.queue.rescan, "the queue cannot be watched; it is looked at now and then");
    }
    let (settings, current) = watch::channel(queue_settings(&live));
    let hooks = queue::Hooks {
        home: Box::new({
            let gateway = Arc::clone(gateway);
            move |id, user| {
                server::home::deliver(&gateway, id, user).map_err(|err| (chain(&err), err.is_final()))
            }
        }),
        arrived: Box::new({
            let gateway = Arc::clone(gateway);
            move |user, id| gateway.notices.arrived(user, id)
        }),
        dropped: Box::new(move || rung.notify_one()),
    };
    let spool = Arc::clone(&gateway.spool);
    let wanted = gateway.retries().unwrap_or_else(|| mpsc::channel(1).1);
    let running = queue::run(spool, current, hooks, doorbell, wanted, gateway.stopping());
    (settings, tokio::spawn(running))
}

fn queue_settings(live: &Live) -> Arc<queue::Settings> {
    Arc::new(queue::Settings {
        node: live.config.node.clone(),
        hostname: live.config.hostname.clone(),
        table: Arc::clone(&live.table),
        peers: live.config.peers.clone(),
        gateways: Arc::clone(&live.peers),
        own: live.own.clone(),
        queue: live.config.queue.clone(),
    })
}

/// Lets running sessions, deliveries and programs end, for `shutdown_grace` at most.
async fn drain(
    gateway: &Arc<Gateway>,
    doors: &mut JoinSet<()>,
    relaying: JoinHandle<()>,
    programs: JoinHandle<()>,
) {
    gateway.stop();
    while doors.join_next().await.is_some() {}
    let grace = gateway.live().config.shutdown_grace.0;
    let deadline = tokio::time::Instant::now() + grace;
    let cut_off = [relaying.abort_handle(), programs.abort_handle()];
    let work = async { (relaying.await, programs.await) };
    if tokio::time::timeout_at(deadline, work).await.is_err() {
        warn!("deliveries and programs still running after shutdown_grace are cut off; they are tried again");
        cut_off.iter().for_each(AbortHandle::abort);
    }
    while gateway.busy() > 0 {
        if tokio::time::Instant::now() >= deadline {
            warn!(
                sessions = gateway.busy(),
                "sessions still running after shutdown_grace are cut off"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes unread items that are older than the configuration allows, and what is kept of interrupted transfers that
/// nobody went on with, every hour.
async fn expire(gateway: Arc<Gateway>) {
    loop {
        let keep = gateway.live().config.limits.expire.0;
        let before = Timestamp::now()
            .as_second()
            .saturating_sub_unsigned(keep.as_secs());
        let spool = Arc::clone(&gateway.spool);
        let step = tokio::task::spawn_blocking(move || spool.expire(before, EXPIRY_STEP)).await;
        let more = match step {
            Ok(Ok(removed)) => {
                for (user, spoolid) in &removed {
                    info!(%user, %spoolid, "expired unread");
                }
                removed.len() == EXPIRY_STEP
            }
            Ok(Err(err)) => {
                error!(err = chain(&err), "unread items could not be expired");
                false
            }
            Err(_) => false,
        };
        if !more {
            clear_failed(&gateway, before).await;
            let (spool, now) = (Arc::clone(&gateway.spool), Timestamp::now().as_second());
            let sweep = move || spool.sweep_partials(now.saturating_sub_unsigned(PARTIAL_AGE));
            if let Ok(swept @ 1..) = tokio::task::spawn_blocking(sweep).await {
                info!(
                    swept,
                    "interrupted transfers that nobody went on with were thrown away"
                );
            }
            tokio::time::sleep(EXPIRY_PAUSE).await;
        }
    }
}

/// Removes jobs that were given up and that nobody has looked after: those that were queued before `before`, less the time
/// that they had in the queue.
async fn clear_failed(gateway: &Arc<Gateway>, before: i64) {
    let waited = gateway.live().config.queue.expire.0.as_secs();
    let spool = Arc::clone(&gateway.spool);
    let clear = move || -> Result<(), uft_spool::Error> {
        let old = |job: &JobSummary| job.job.queued < before.saturating_sub_unsigned(waited);
        let mut after = None;
        loop {
            let jobs = spool.jobs_after(after)?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = Some(last.id);
            for job in jobs.iter().filter(|job| job.state == State::Failed && old(job)) {
                spool.finish(job.id)?;
                info!(job = %job.id, "failed job removed: nobody freed or purged it");
            }
        }
    };
    match tokio::task::spawn_blocking(clear).await {
        Ok(Ok(())) => {}
        Ok(Err(err)) => error!(err = chain(&err), "failed jobs could not be removed"),
        Err(err) => error!(%err, "failed jobs could not be removed"),
    }
}

/// A thousand sessions need more than a thousand descriptors; the hard limit is the administrator's word.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(err) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        warn!(%err, "the limit of open files could not be raised");
    }
}

fn warn_of_restart_keys(old: &Config, new: &Config) {
    let fixed = [
        ("spool", old.spool != new.spool),
        ("socket", old.socket != new.socket),
        ("uft.listen", old.uft.listen != new.uft.listen),
        ("uft.tls_listen", old.uft.tls_listen != new.uft.tls_listen),
    ];
    for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
        warn!(
            key,
            "changed in the configuration; takes effect at the next start"
        );
    }
}
