//! The queue: takes what waits in the spool to its next hop, one job after another, until it is there or cannot be.
//!
//! Jobs are files; what is here is which of them is due, and who is busy with it. The order and the pauses are
//! [`schedule`]'s and [`retry`]'s, which are pure; where a job goes is `route`'s; taking it there is `deliver`'s. It
//! hears of new jobs by `watch`, and looks at the directories again now and then, so that nothing waits for ever
//! because an event was lost.
//!
//! | a delivery said | then |
//! |---|---|
//! | done | the job is finished: its name goes from the disk |
//! | later | the job waits, longer each time, and expires in the end |
//! | never | its sender is told, and the job is kept in `failed/` |
//! | the hop is down | nothing goes there until its pause is over, then one job tries; the jobs lose nothing by it |
//! | it cannot be read here | the job is held, for the administrator to look at |
//!
//! What it does not do: take files from anybody (they come through sessions), or decide who may send what where.
//!
//! | file | holds |
//! |---|---|
//! | `retry` | pure: pauses between attempts, expiry |
//! | `hop` | pure: a hop that is busy, down, or being probed |
//! | `schedule` | pure: which job next, over which hop; hops that are down |
//! | `way` | where a job goes by the configuration of this moment |
//! | `errand` | one attempt, and what is written down of it |
//! | `watch` | the doorbell: events of the file system |

mod errand;
mod hop;
pub mod retry;
pub mod schedule;
pub(crate) mod watch;
mod way;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, error, warn};
use uft_spool::{Error, JobSummary, QueuedItem, Spool, SpoolId, State, UserName};

use self::errand::{Errand, address, fail};
use self::schedule::{HopKey, Job, Schedule};
use self::watch::{Doorbell, Ring};
use self::way::{HOME, Way, Ways, is_direct};
use crate::client::Connection;
use crate::config::{Peer, QueueSection};
use crate::display::chain;
use crate::peers::Peers;
use crate::route::Table;
use crate::tls::Own;

/// Deliveries at once, over all hops.
const AT_ONCE: usize = 64;
/// Of them to hosts that are no peers: any user may name as many hosts as there are, none of which answers, and peers are
/// not to wait for them.
const DIRECT_IN_ALL: usize = AT_ONCE / 2;
/// Deliveries at once to a host that is no peer.
const DIRECT_AT_ONCE: usize = 2;
/// Jobs that are looked at one by one; of more the whole list is read.
const LOOKS_AT_ONCE: usize = 256;
/// An idle connection is kept this long for the next job.
const LINGER: Duration = Duration::from_secs(2);
/// The pause after something failed on this host.
const PATIENCE: Duration = Duration::from_secs(60);

/// The part of the configuration that matters here.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Our node name.
    pub(crate) node: String,
    /// Our host name.
    pub(crate) hostname: String,
    /// Where files go.
    pub(crate) table: Arc<Table>,
    /// Who takes them.
    pub(crate) peers: Vec<Peer>,
    /// What we prove ourselves to them by.
    pub(crate) gateways: Arc<Peers>,
    /// The certificate that we show them.
    pub(crate) own: Option<Arc<Own>>,
    /// How patient to be.
    pub(crate) queue: QueueSection,
}

/// Puts a job into inboxes of this host; `Err`: why not, and whether for good.
type Home = Box<dyn Fn(SpoolId, &UserName) -> Result<(), (String, bool)> + Send + Sync>;
/// Hears of an arrival.
type Arrived = Box<dyn Fn(&UserName, SpoolId) + Send + Sync>;

/// What the rest of the daemon does for the queue.
pub(crate) struct Hooks {
    /// Puts a job into the inboxes that a name of this host stands for, and ends it; `Err`: why not, and whether for
    /// good. Blocks.
    pub(crate) home: Home,
    /// Tells people of an arrival.
    pub(crate) arrived: Arrived,
    /// Looks into the drop directory.
    pub(crate) dropped: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// The directories in which job files are, and come and go.
pub(crate) fn directories(spool: &std::path::Path) -> [PathBuf; 3] {
    ["queue", "queue/held", "failed"].map(|dir| spool.join(dir))
}

/// Runs the queue until it is told to stop; what is being delivered then is delivered first.
pub(crate) async fn run(
    spool: Arc<Spool>,
    mut settings: channel::Receiver<Arc<Settings>>,
    hooks: Hooks,
    mut doorbell: Doorbell,
    mut wanted: mpsc::Receiver<SpoolId>,
    mut stopping: channel::Receiver<bool>,
) {
    let now = settings.borrow_and_update().clone();
    let mut queue = Queue::new(spool, now, hooks);
    queue.look_at_everything();
    let mut rescan = every(queue.settings.queue.rescan.0);
    loop {
        queue.send_off();
        let wake = queue.wake();
        tokio::select! {
            ring = doorbell.ring() => queue.heard(ring),
            Some(id) = wanted.recv() => queue.retry_now(id),
            Some(done) = queue.work.join_next_with_id() => queue.settle(done),
            () = tokio::time::sleep_until(wake) => queue.expire(),
            _ = rescan.tick() => queue.look_at_everything(),
            changed = settings.changed() => {
                if changed.is_err() {
                    break;
                }
                queue.settings = settings.borrow_and_update().clone();
                rescan = every(queue.settings.queue.rescan.0);
                queue.route_again();
            }
            _ = stopping.wait_for(|&stop| stop) => break,
        }
    }
    queue.drain().await;
}

/// What came of a piece of work.
enum Done {
    /// A job was looked at; `None`: it is gone.
    Seen(SpoolId, Option<Box<JobSummary>>),
    /// The names of all jobs that there are, and whether each is to be sent.
    All(Vec<(SpoolId, State)>),
    /// Some of the jobs that there are; others follow, unless these are none.
    Jobs(Vec<JobSummary>),
    /// A delivery was tried.
    Tried(Box<Tried>),
    /// Something else was done, and the job's own file says what.
    Settled,
}

/// A delivery that was tried, and what that means.
struct Tried {
    id: SpoolId,
    hop: HopKey,
    /// The configuration by which the connection was made.
    era: u64,
    connection: Option<Connection>,
    verdict: schedule::Outcome,
    /// It is held, or has another address by now.
    moved: bool,
    attempts: u32,
}

/// What is remembered of a job besides its turn.
#[derive(Debug)]
struct Known {
    hops: Vec<HopKey>,
    /// To whom: one that is being sent may be given another address.
    address: Arc<str>,
    attempts: u32,
    expires: i64,
    held: bool,
}

struct Queue {
    spool: Arc<Spool>,
    settings: Arc<Settings>,
    hooks: Arc<Hooks>,
    schedule: Schedule,
    known: HashMap<SpoolId, Known>,
    expiries: BTreeSet<(i64, SpoolId)>,
    /// Jobs that were not where they were thought to be, at the last look at everything.
    suspects: BTreeSet<SpoolId>,
    /// Every job is being read, and has to be once more.
    reading: bool,
    read_again: bool,
    ways: Ways,
    idle: HashMap<HopKey, Vec<(Instant, Connection)>>,
    work: JoinSet<Done>,
    /// What is being sent, by the task that does it, and whether to a host that is no peer.
    sending: HashMap<tokio::task::Id, (SpoolId, bool)>,
    /// How often the configuration has changed.
    era: u64,
}

impl Queue {
    fn new(spool: Arc<Spool>, settings: Arc<Settings>, hooks: Hooks) -> Queue {
        let retry = settings.queue.retry.iter().map(|span| span.0).collect();
        let ways = Ways::new(Arc::clone(&settings));
        Queue {
            schedule: Schedule::new(retry, DIRECT_AT_ONCE, now()),
            spool,
            settings,
            hooks: Arc::new(hooks),
            known: HashMap::new(),
            expiries: BTreeSet::new(),
            suspects: BTreeSet::new(),
            reading: false,
            read_again: false,
            ways,
            idle: HashMap::new(),
            work: JoinSet::new(),
            sending: HashMap::new(),
            era: 0,
        }
    }

    // ---- what there is

    fn heard(&mut self, ring: Ring) {
        match ring {
            Ring::Job(id) => self.look(id),
            Ring::Everything => {
                self.look_at_everything();
                (self.hooks.dropped)();
            }
            Ring::Dropped => (self.hooks.dropped)(),
        }
    }

    fn look(&mut self, id: SpoolId) {
        let spool = Arc::clone(&self.spool);
        self.work.spawn_blocking(move || match spool.settled_job(id) {
            Ok(item) => Done::Seen(id, Some(Box::new(summary(item)))),
            Err(Error::NoSuchJob(_)) => Done::Seen(id, None),
            Err(err) => {
                warn!(spoolid = %id, err = chain(&err), "queued item cannot be read");
                Done::Settled
            }
        });
    }

    /// Somebody wants a job tried at once: it, and the first of its hops even if that is down.
    fn retry_now(&mut self, id: SpoolId) {
        if let Some(hop) = self.known.get(&id).and_then(|known| known.hops.first()) {
            self.schedule.reached(hop);
        }
        if !self.schedule.retry_now(id) {
            self.look(id);
        }
    }

    /// Compares the names in the directories with what is known. The first time, nothing is: then all are read.
    fn look_at_everything(&mut self) {
        self.close_idle();
        if self.reading {
            return;
        }
        if self.known.is_empty() {
            return self.read_all();
        }
        let spool = Arc::clone(&self.spool);
        self.work.spawn_blocking(move || {
            spool
                .job_states()
                .inspect_err(unlisted)
                .map_or(Done::Settled, Done::All)
        });
    }

    /// Reads every job; what is found while that is done is compared with the directories later.
    fn read_all(&mut self) {
        self.read_again = self.reading;
        if !self.reading {
            self.reading = true;
            self.read_from(None);
        }
    }

    /// Reads the jobs above a number, and then the next ones: a long queue is not in memory twice.
    fn read_from(&mut self, after: Option<SpoolId>) {
        let spool = Arc::clone(&self.spool);
        self.work.spawn_blocking(move || {
            // What cannot be listed is found when the directories are looked at again.
            Done::Jobs(spool.jobs_after(after).inspect_err(unlisted).unwrap_or_default())
        });
    }

    fn compare(&mut self, found: &[(SpoolId, State)]) {
        let there: HashMap<SpoolId, State> = found.iter().copied().collect();
        let gone = self.known.keys().filter(|id| !there.contains_key(id)).copied();
        let differs = found.iter().filter(|(id, state)| match self.known.get(id) {
            None => *state != State::Failed,
            Some(known) => (*state == State::Held) != known.held || *state == State::Failed,
        });
        let all: BTreeSet<SpoolId> = gone.chain(differs.map(|(id, _)| *id)).collect();
        let again = !self.suspects.is_disjoint(&all);
        self.suspects.clone_from(&all);
        if again {
            // Not something under way: somebody moved job files, and the list that people see is to say so too.
            let spool = Arc::clone(&self.spool);
            self.work.spawn_blocking(move || {
                if let Err(err) = spool.relearn_jobs() {
                    warn!(err = chain(&err), "the queue cannot be listed");
                }
                Done::Settled
            });
        }
        if all.len() > LOOKS_AT_ONCE {
            // Each look is a thread's work; the list is read in one go.
            let gone = all.iter().filter(|id| !there.contains_key(id));
            let gone: Vec<SpoolId> = gone.copied().collect();
            gone.into_iter().for_each(|id| self.forget(id));
            return self.read_all();
        }
        all.into_iter().for_each(|id| self.look(id));
    }

    /// A job as it is on the disk now.
    fn seen(&mut self, id: SpoolId, summary: Option<&JobSummary>) {
        let Some(summary) = summary.filter(|summary| summary.state != State::Failed) else {
            return self.forget(id);
        };
        let held = summary.state == State::Held;
        let hops = match self.ways.of(summary, &mut self.schedule) {
            Way::Hops(hops) => hops,
            _ if held => Vec::new(),
            Way::Hold(why) => return self.change(id, move |spool| spool.hold(id, why)),
            // Not while it may still arrive: then it is looked at again.
            Way::Never(_) if self.is_being_sent(id) => {
                self.schedule.remove(id);
                return;
            }
            Way::Never(why) => return self.give_up(id, why),
            Way::Later(why) => {
                debug!(spoolid = %id, why, "no way at the moment");
                Vec::new()
            }
        };
        self.place(summary, hops, held);
    }

    fn place(&mut self, summary: &JobSummary, hops: Vec<HopKey>, held: bool) {
        let id = summary.id;
        if let Some(known) = self.known.get(&id) {
            self.expiries.remove(&(known.expires, id));
            if known.hops != hops {
                self.schedule.remove(id);
            }
        }
        let queued = summary.job.queued.saturating_mul(1000);
        let attempts = self
            .known
            .get(&id)
            .map_or(summary.progress.attempts, |known| known.attempts);
        let expires = retry::after(queued, self.settings.queue.expire.0);
        let job = Job {
            id,
            hops: hops.clone(),
            queued,
            priority: summary.job.priority,
            size: summary.size,
        };
        let new = self.schedule.insert(job, held, now());
        match (new, held) {
            (true, false) if summary.progress.due.saturating_mul(1000) > now() => {
                self.schedule.defer(id, summary.progress.due.saturating_mul(1000));
            }
            (false, true) => drop(self.schedule.hold(id)),
            (false, false) if self.known.get(&id).is_some_and(|known| known.held) => {
                self.schedule.release(id);
            }
            _ => {}
        }
        if !held {
            self.expiries.insert((expires, id));
        }
        self.known.insert(
            id,
            Known {
                hops,
                address: address(&summary.job).into(),
                attempts,
                expires,
                held,
            },
        );
    }

    fn is_being_sent(&self, id: SpoolId) -> bool {
        matches!(self.schedule.state(id), Some(schedule::State::Running(_)))
    }

    fn forget(&mut self, id: SpoolId) {
        self.schedule.remove(id);
        if let Some(known) = self.known.remove(&id) {
            self.expiries.remove(&(known.expires, id));
        }
    }

    /// The configuration changed: every job may have another way, and every peer another address.
    fn route_again(&mut self) {
        self.ways = Ways::new(Arc::clone(&self.settings));
        self.idle.clear();
        self.era += 1;
        self.read_all();
    }

    // ---- what is done with it

    /// Begins with every delivery that is due.
    fn send_off(&mut self) {
        self.close_idle();
        while self.sending.len() < AT_ONCE {
            let Some(taken) = self.schedule.take(now()) else {
                return;
            };
            let (id, key) = (taken.id, taken.hop);
            let direct = is_direct(&key);
            let room = !direct || self.direct() < DIRECT_IN_ALL;
            let hop = self.ways.hop(&key).filter(|_| room).cloned();
            if hop.is_none() && &*key != HOME {
                let later = schedule::Outcome::Untried(retry::after(now(), LINGER));
                self.schedule.done(id, later, now(), random());
                continue;
            }
            let errand = Errand {
                spool: Arc::clone(&self.spool),
                settings: Arc::clone(&self.settings),
                hooks: Arc::clone(&self.hooks),
                id,
                key: key.clone(),
                address: self
                    .known
                    .get(&id)
                    .map_or_else(|| Arc::from(""), |known| Arc::clone(&known.address)),
                era: self.era,
                attempts: self.known.get(&id).map_or(0, |known| known.attempts),
                expires: self.known.get(&id).map_or(i64::MAX, |known| known.expires),
            };
            let connection = self
                .idle
                .get_mut(&key)
                .and_then(Vec::pop)
                .map(|(_, connection)| connection);
            let task = self.work.spawn(errand.run(hop, connection));
            self.sending.insert(task.id(), (id, direct));
        }
    }

    /// Deliveries to hosts that are no peers.
    fn direct(&self) -> usize {
        self.sending.values().filter(|(_, direct)| *direct).count()
    }

    fn settle(&mut self, done: Result<(tokio::task::Id, Done), tokio::task::JoinError>) {
        let task = match &done {
            Ok((task, _)) => *task,
            Err(err) => err.id(),
        };
        let sent = self.sending.remove(&task).map(|(id, _)| id);
        match done.map(|(_, done)| done) {
            Ok(Done::Seen(id, summary)) => self.seen(id, summary.as_deref()),
            Ok(Done::All(found)) => self.compare(&found),
            Ok(Done::Jobs(jobs)) => {
                for summary in &jobs {
                    self.seen(summary.id, Some(summary));
                }
                match jobs.last() {
                    Some(last) => self.read_from(Some(last.id)),
                    None => {
                        self.reading = false;
                        if std::mem::take(&mut self.read_again) {
                            self.read_all();
                        }
                    }
                }
            }
            Ok(Done::Tried(tried)) => self.tried(*tried),
            Ok(Done::Settled) => {}
            Err(err) => {
                error!(%err, "a task of the queue ended abnormally");
                if let Some(id) = sent {
                    let later = schedule::Outcome::Untried(retry::after(now(), PATIENCE));
                    self.schedule.done(id, later, now(), random());
                }
            }
        }
    }

    fn tried(&mut self, tried: Tried) {
        let Tried {
            id,
            hop,
            era,
            connection,
            verdict,
            moved,
            attempts,
        } = tried;
        // A peer may have another address since, or has to prove itself.
        if let Some(connection) = connection.filter(|_| era == self.era) {
            self.idle
                .entry(hop)
                .or_default()
                .push((Instant::now(), connection));
        }
        if let Some(known) = self.known.get_mut(&id) {
            known.attempts = attempts;
        }
        self.schedule.done(id, verdict, now(), random());
        if verdict == schedule::Outcome::Gone {
            self.forget(id);
        } else if moved {
            self.forget(id);
            self.look(id);
        } else if self.schedule.state(id).is_none() {
            // It was given another way while it was being sent.
            self.known.remove(&id);
            self.look(id);
        } else if self.known.get(&id).is_some_and(|known| known.expires <= now()) {
            self.expire_one(id);
        }
    }

    /// Sends back what has waited for too long.
    fn expire(&mut self) {
        self.close_idle();
        let now = now();
        while let Some(&(at, id)) = self.expiries.first().filter(|(at, _)| *at <= now) {
            self.expiries.remove(&(at, id));
            self.expire_one(id);
        }
    }

    /// Sends one back, unless it is being sent (then when it comes back) or held (what is held does not expire).
    fn expire_one(&mut self, id: SpoolId) {
        if let Some(schedule::State::Ready | schedule::State::Deferred(_)) = self.schedule.state(id) {
            let most = self.settings.queue.expire;
            self.give_up(id, format!("it could not be delivered within {most}"));
        }
    }

    fn give_up(&mut self, id: SpoolId, why: String) {
        self.forget(id);
        let (spool, settings) = (Arc::clone(&self.spool), Arc::clone(&self.settings));
        let hooks = Arc::clone(&self.hooks);
        self.work.spawn_blocking(move || {
            fail(&spool, &settings, &hooks, id, &why);
            Done::Settled
        });
    }

    fn change(&mut self, id: SpoolId, how: impl FnOnce(&Spool) -> Result<(), Error> + Send + 'static) {
        let spool = Arc::clone(&self.spool);
        self.work.spawn_blocking(move || {
            if let Err(err) = how(&spool) {
                warn!(spoolid = %id, err = chain(&err), "queued item not changed");
            }
            Done::Settled
        });
    }

    // ---- time

    /// When there is something to do even if nothing happens.
    fn wake(&self) -> Instant {
        let due = if self.sending.len() < AT_ONCE {
            self.schedule.wake_at()
        } else {
            None
        };
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let idle = (!self.idle.is_empty()).then(|| Instant::now() + LINGER);
        let next = [due, expiry].into_iter().flatten().min();
        let next =
            next.map(|at| Instant::now() + Duration::from_millis(u64::try_from(at - now()).unwrap_or(0)));
        let far = Instant::now() + Duration::from_secs(3600);
        [next, idle].into_iter().flatten().min().unwrap_or(far)
    }

    /// Says goodbye on connections that nobody used for a while.
    fn close_idle(&mut self) {
        let mut old = Vec::new();
        for connections in self.idle.values_mut() {
            while connections
                .first()
                .is_some_and(|(since, _)| since.elapsed() >= LINGER)
            {
                old.push(connections.remove(0).1);
            }
        }
        self.idle.retain(|_, connections| !connections.is_empty());
        for connection in old {
            tokio::spawn(async move { connection.quit(&mut |_| {}).await });
        }
    }

    /// Nothing new; what is under way comes to its end.
    async fn drain(mut self) {
        while !self.sending.is_empty() {
            let Some(done) = self.work.join_next_with_id().await else {
                return;
            };
            self.settle(done);
        }
        for (_, connection) in self.idle.into_values().flatten() {
            connection.quit(&mut |_| {}).await;
        }
    }
}

fn summary(item: QueuedItem) -> JobSummary {
    let QueuedItem {
        id,
        state,
        job,
        envelope,
        progress,
    } = item;
    JobSummary {
        id,
        state,
        job,
        size: envelope.wire.bytes,
        from: envelope.facts.origin.user,
        name: envelope.facts.name,
        progress,
    }
}

/// Ticks after each period, and not at once.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

fn unlisted(err: &Error) {
    error!(err = chain(err), "the queue cannot be listed");
}

/// Milliseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// For pauses that are not all the same: nothing depends on how good it is.
fn random() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
