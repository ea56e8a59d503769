//! The drop directory: takes complete SIFT jobs that are renamed into it, as their owners would send them.
//!
//! | a job | then |
//! |---|---|
//! | is taken by the gateway | its name is removed |
//! | cannot be taken now | it stays, and is tried again after the pauses of `queue.retry` |
//! | cannot be taken at all, or not for `queue.expire` | it goes to `rejected/`, with the reason beside it |
//!
//! Names that begin with `.` or end in `.tmp` or `.part` are not looked at. A crash between the two steps of the first
//! line has the job read again: it has the same transfer id then, and is acknowledged without being stored twice.
//!
//! | file | for |
//! |---|---|
//! | `dir` | the directory: what is in it, and what is taken away |
//! | `submit` | one job and its session |
//!
//! What it does *not* do: watch the directory (somebody rings), or decide who may send what where (sessions do).

mod dir;
mod submit;

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use self::dir::{DropDir, Identity, NotTaken};
use self::submit::{Verdict, submit};
use super::{Gateway, blocking, users};
use crate::display::chain;
use crate::sift::HEAD_MAX;

/// Jobs side by side.
const AT_ONCE: usize = 4;
/// Jobs that may wait for another attempt; one more is rejected.
const WAITING_MAX: usize = 100_000;

/// A job that was not taken.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Which file; another one under the same name is a new job.
    identity: Option<Identity>,
    since: Instant,
    failures: usize,
    due: Instant,
    /// It was taken, but its name cannot be removed: never again while we run.
    taken: bool,
}

/// Takes jobs until the gateway stops: at the start, when somebody rings, and now and then.
pub(crate) async fn run(gateway: Arc<Gateway>, rung: Arc<Notify>) {
    let mut stopping = gateway.stopping();
    let mut waiting: HashMap<CString, Waiting> = HashMap::new();
    let mut complained = None;
    loop {
        let live = gateway.live();
        let (path, spool) = (live.config.queue.drop.clone(), live.config.spool.clone());
        if !path.as_os_str().is_empty() {
            let shown = path.clone();
            match blocking(move || DropDir::open(&path, &spool)).await {
                Ok(dir) => {
                    complained = None;
                    tokio::select! {
                        () = look(&gateway, Arc::new(dir), &mut waiting) => {}
                        _ = stopping.wait_for(|&stop| stop) => return,
                    }
                }
                Err(err) => complain(&mut complained, &shown, &chain(&err)),
            }
        }
        let next = waiting.values().filter(|job| !job.taken).map(|job| job.due).min();
        let rescan = Instant::now() + live.config.queue.rescan.0;
        let until = next.map_or(rescan, |next| next.min(rescan));
        tokio::select! {
            () = rung.notified() => {}
            () = tokio::time::sleep_until(until.into()) => {}
            _ = stopping.wait_for(|&stop| stop) => return,
        }
    }
}

/// Says once why the directory is not used.
fn complain(before: &mut Option<String>, path: &Path, why: &str) {
    if before.as_deref() != Some(why) {
        error!(path = %path.display(), err = why, "queue.drop is not used");
        *before = Some(why.to_owned());
    }
}

/// Goes once through what is there.
async fn look(gateway: &Arc<Gateway>, dir: Arc<DropDir>, waiting: &mut HashMap<CString, Waiting>) {
    let (listing, wait) = (Arc::clone(&dir), waiting.keys().cloned().collect());
    let names = match blocking(move || listing.names(&wait)).await {
        Ok(names) => names,
        Err(err) => return error!(%err, "queue.drop cannot be listed"),
    };
    let there: HashSet<&CString> = names.iter().collect();
    waiting.retain(|name, _| there.contains(name));
    let now = Instant::now();
    let is_due = |name: &CString| match waiting.get(name) {
        None => true,
        Some(job) if job.taken || job.due > now => {
            // Another file has the name now.
            job.identity.is_some_and(|identity| !dir.is(name, &identity))
        }
        Some(_) => true,
    };
    let mut due = names
        .iter()
        .filter(|name| is_due(name))
        .cloned()
        .collect::<Vec<_>>()
        .into_iter();
    let mut work = JoinSet::new();
    loop {
        while work.len() < AT_ONCE
            && let Some(name) = due.next()
        {
            let (gateway, dir) = (Arc::clone(gateway), Arc::clone(&dir));
            work.spawn(async move {
                let (verdict, identity) = take(&gateway, &dir, &name).await;
                (name, verdict, identity)
            });
        }
        match work.join_next().await {
            Some(Ok((name, verdict, identity))) => {
                settle(gateway, &dir, name, verdict, identity, waiting).await;
            }
            Some(Err(err)) => error!(%err, "a dropped job ended abnormally"),
            None => return,
        }
    }
}

/// Tries one job.
async fn take(gateway: &Arc<Gateway>, dir: &Arc<DropDir>, name: &CStr) -> (Verdict, Option<Identity>) {
    let (opening, wanted) = (Arc::clone(dir), name.to_owned());
    let job = match blocking(move || opening.job(&wanted)).await {
        Ok(job) => job,
        Err(err @ NotTaken::Unreadable(_)) => return (Verdict::Later(chain(&err)), None),
        Err(err) => return (Verdict::Rejected(chain(&err)), None),
    };
    let identity = Some(job.identity);
    let most = gateway.live().config.limits.max_file.0;
    if job.identity.size > most.saturating_add(HEAD_MAX) {
        let why = format!("it has {} bytes, and a file may have {most}", job.identity.size);
        return (Verdict::Rejected(why), identity);
    }
    let owner = job.owner;
    let Some(user) = blocking(move || users::login_name(owner)).await else {
        let why = format!("user id {owner}, who owns it, has no login name here");
        return (Verdict::Rejected(why), identity);
    };
    (submit(gateway, job, user).await, identity)
}

/// Does what a verdict says.
async fn settle(
    gateway: &Gateway,
    dir: &Arc<DropDir>,
    name: CString,
    verdict: Verdict,
    identity: Option<Identity>,
    waiting: &mut HashMap<CString, Waiting>,
) {
    let (removing, job) = (Arc::clone(dir), name.clone());
    let queue = &gateway.live().config.queue;
    let before = waiting.remove(&name).filter(|before| before.identity == identity);
    let now = Instant::now();
    let since = before.map_or(now, |before| before.since);
    let verdict = match verdict {
        Verdict::Later(why) if since.elapsed() >= queue.expire.0 => Verdict::Rejected(why),
        Verdict::Later(why) if waiting.len() >= WAITING_MAX => {
            Verdict::Rejected(format!("{why}; and too many jobs wait already"))
        }
        verdict => verdict,
    };
    let failed = match (verdict, identity) {
        (Verdict::Taken, Some(identity)) => {
            info!(job = ?name, "dropped job taken");
            let removed = blocking(move || removing.remove(&job, &identity)).await;
            removed.map_err(|err| (format!("it was taken, but cannot be removed: {err}"), true))
        }
        (Verdict::Taken, None) => Ok(()),
        (Verdict::Later(why), _) => Err((why, false)),
        (Verdict::Rejected(why), _) => {
            let reason = why.clone();
            match blocking(move || removing.reject(&job, &reason)).await {
                Ok(new) => {
                    warn!(job = ?name, rejected = ?new, err = why, "dropped job rejected");
                    Ok(())
                }
                Err(err) => Err((
                    format!("{why}; and it cannot be moved to rejected/: {err}"),
                    false,
                )),
            }
        }
    };
    let Err((why, taken)) = failed else { return };
    let failures = before.map_or(0, |before| before.failures);
    let pause = queue.retry.get(failures).or(queue.retry.last());
    let pause = pause.map_or(Duration::from_secs(60), |pause| pause.0);
    warn!(job = ?name, err = why, "dropped job not taken");
    waiting.insert(
        name,
        Waiting {
            identity,
            since,
            failures: failures + 1,
            due: now + pause,
            taken,
        },
    );
}
