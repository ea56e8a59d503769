//! One attempt at one job: what came of it is on the disk before the schedule hears of it.
//!
//! What it does *not* do: choose the job or the moment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error, info, warn};
use uft_spool::{Error, Job, Origin, Progress, Proof, QueuedItem, Spool, SpoolId, State};

use super::schedule::{self, HopKey};
use super::way::user_here;
use super::{Done, Hooks, LINGER, PATIENCE, Settings, Tried, now, random, retry};
use crate::client::Connection;
use crate::deliver::uft::{Attempt, Hop};
use crate::deliver::{self, Outcome};
use crate::display::chain;
use crate::post::{self, Letter};

/// One attempt at one job, from its bytes to what the disk says of it after.
pub(super) struct Errand {
    pub(super) spool: Arc<Spool>,
    pub(super) settings: Arc<Settings>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) id: SpoolId,
    pub(super) key: HopKey,
    /// Where it is to go, as [`address`] says it.
    pub(super) address: Arc<str>,
    /// The configuration by which its hop was chosen.
    pub(super) era: u64,
    pub(super) attempts: u32,
    pub(super) expires: i64,
}

impl Errand {
    /// Over a hop, or into an inbox of this host.
    pub(super) async fn run(self, hop: Option<Hop>, connection: Option<Connection>) -> Done {
        let (id, key, era) = (self.id, self.key.clone(), self.era);
        let attempt = match hop {
            Some(hop) => {
                let (address, node) = (&*self.address, &*self.settings.node);
                deliver::uft::deliver(&self.spool, (id, address), &hop, node, connection).await
            }
            None => self.home().await,
        };
        let Attempt {
            outcome,
            connection,
            remarks,
        } = attempt;
        let attempts = self.attempts
            + u32::from(!matches!(
                outcome,
                Outcome::Done(_) | Outcome::Down(_) | Outcome::Moved
            ));
        let noted = tokio::task::spawn_blocking(move || {
            let verdict = self.note(outcome, attempts, &remarks);
            let moved = matches!(verdict, schedule::Outcome::Untried(_)) && !self.is_as_known();
            (verdict, moved)
        });
        let (verdict, moved) = noted.await.unwrap_or_else(|err| {
            error!(%err, "a task of the queue ended abnormally");
            (schedule::Outcome::Untried(retry::after(now(), LINGER)), false)
        });
        Done::Tried(Box::new(Tried {
            id,
            hop: key,
            era,
            connection,
            verdict,
            moved,
            attempts,
        }))
    }

    /// Its recipient is here.
    async fn home(&self) -> Attempt {
        let (spool, settings) = (Arc::clone(&self.spool), Arc::clone(&self.settings));
        let (hooks, id) = (Arc::clone(&self.hooks), self.id);
        let putting = tokio::task::spawn_blocking(move || {
            let job = match spool.job(id) {
                Ok(item) if !matches!(item.state, State::Ready | State::Deferred) => return Outcome::Moved,
                Ok(item) => item.job,
                Err(err) => return Outcome::Broken(chain(&err)),
            };
            let Some(user) = user_here(&settings.table, &job) else {
                return Outcome::Moved;
            };
            match (hooks.home)(id, &user) {
                Ok(()) => Outcome::Done(format!("the inbox of {user}")),
                Err((why, true)) => Outcome::Never(why),
                Err((why, false)) => Outcome::Later(why),
            }
        });
        let outcome = putting
            .await
            .unwrap_or_else(|err| Outcome::Later(err.to_string()));
        Attempt::ended(outcome, Vec::new())
    }

    /// Whether it was given another address while it was being sent.
    fn has_moved(&self) -> bool {
        let job = self.spool.job(self.id).map(|item| item.job);
        job.is_ok_and(|job| address(&job) != *self.address)
    }

    /// Whether it still is to be sent, to the same address.
    fn is_as_known(&self) -> bool {
        let item = self.spool.job(self.id);
        item.is_ok_and(|item| {
            matches!(item.state, State::Ready | State::Deferred) && address(&item.job) == *self.address
        })
    }

    /// Writes down what came of it, and says what that means for the schedule.
    fn note(&self, outcome: Outcome, attempts: u32, remarks: &[String]) -> schedule::Outcome {
        let (id, route) = (self.id, &*self.key);
        for remark in remarks {
            self.tell(format!("{route}: {remark}"));
        }
        match outcome {
            Outcome::Moved => schedule::Outcome::Untried(retry::after(now(), LINGER)),
            // What is said of the old address is not said of the new one.
            Outcome::Done(said) | Outcome::Never(said) if self.has_moved() => {
                self.tell(format!("{route}, before it was rerouted: {said}"));
                schedule::Outcome::Untried(retry::after(now(), LINGER))
            }
            Outcome::Done(said) => {
                info!(spoolid = %id, route, said, "relayed");
                self.tell(format!("{route} has it: {said}"));
                self.settled(self.spool.finish(id))
            }
            Outcome::Never(said) => {
                self.tell(format!("{route} does not take it: {said}"));
                fail(
                    &self.spool,
                    &self.settings,
                    &self.hooks,
                    id,
                    &format!("{route}: {said}"),
                );
                schedule::Outcome::Gone
            }
            Outcome::Broken(said) => {
                error!(spoolid = %id, route, said, "queued item cannot be sent; it is held");
                self.tell(format!("held: {said}"));
                // Its file in another place brings it back to the schedule.
                self.settled(self.spool.hold(id, &said))
            }
            Outcome::Later(said) => {
                let table: Vec<Duration> = self.settings.queue.retry.iter().map(|span| span.0).collect();
                let due = retry::after(now(), retry::pause(attempts, &table, random()));
                info!(spoolid = %id, route, attempt = attempts, said, "deferred");
                self.tell(format!("{route}, attempt {attempts}: {said}"));
                self.progress(attempts, due, said);
                // What has expired by then is sent back by whoever looks at the time.
                schedule::Outcome::Later(due.min(self.expires.max(now())))
            }
            Outcome::Down(said) => {
                info!(spoolid = %id, route, said, "next hop not reached");
                self.progress(attempts, 0, format!("{route}: {said}"));
                schedule::Outcome::Unreachable
            }
        }
    }

    fn settled(&self, result: Result<(), Error>) -> schedule::Outcome {
        match result {
            // It was purged meanwhile: gone all the same.
            Ok(()) | Err(Error::NoSuchJob(_)) => schedule::Outcome::Gone,
            Err(err) => {
                error!(spoolid = %self.id, err = chain(&err), "queued item not put away");
                schedule::Outcome::Untried(retry::after(now(), PATIENCE))
            }
        }
    }

    fn tell(&self, text: String) {
        tell(&self.spool, self.id, &text);
    }

    /// `due`: milliseconds.
    fn progress(&self, attempts: u32, due: i64, said: String) {
        let due = due.saturating_add(999) / 1000;
        let progress = Progress { attempts, due, said };
        if let Err(err) = self.spool.note_progress(&[(self.id, progress)]) {
            debug!(spoolid = %self.id, err = chain(&err), "attempt not noted");
        }
    }
}

/// Tells the sender, then keeps the job among the failed ones. In this order: after a crash in between the sender is
/// told again, and the letter's transfer id makes one of the two.
pub(super) fn fail(spool: &Spool, settings: &Settings, hooks: &Hooks, id: SpoolId, why: &str) {
    let item = match spool.job(id) {
        Ok(item) => item,
        Err(err) => return warn!(spoolid = %id, err = chain(&err), "failed item cannot be read"),
    };
    warn!(spoolid = %id, to = %item.job.to, at = %item.job.place, why, "not delivered");
    tell(spool, id, &format!("given up: {why}"));
    if !item.job.notice {
        let office = post::Office {
            spool,
            table: &settings.table,
            node: &settings.node,
            hostname: &settings.hostname,
        };
        match office.send(
            &sender(&item, settings),
            Letter::failure(&item, why, &settings.node),
            now() / 1000,
        ) {
            Ok(stored) => stored.iter().for_each(|(user, id)| (hooks.arrived)(user, *id)),
            Err(err) => {
                warn!(spoolid = %id, err = chain(&err), "its sender could not be told");
                tell(
                    spool,
                    id,
                    &format!("its sender could not be told: {}", chain(&err)),
                );
            }
        }
    }
    if let Err(err) = spool.fail(id, why) {
        error!(spoolid = %id, err = chain(&err), "failed item not put away");
    }
}

/// Who is to hear of a failure: the user whose job it is, who may have forwarded what somebody else sent; else whoever
/// sent the file to us.
fn sender(item: &QueuedItem, settings: &Settings) -> Origin {
    match &item.job.owner {
        Some(owner) => Origin {
            user: owner.to_string(),
            node: Some(settings.node.clone()),
            host: settings.hostname.clone(),
            proof: Proof::Local,
        },
        None => item.envelope.facts.origin.clone(),
    }
}

/// The address of a job, in one piece.
pub(super) fn address(job: &Job) -> String {
    format!("{}@{}", job.to, job.place)
}

/// Adds to the story of a job, which may be lost.
fn tell(spool: &Spool, id: SpoolId, text: &str) {
    if let Err(err) = spool.tell_story(id, Timestamp::now().as_second(), text) {
        debug!(spoolid = %id, err = chain(&err), "story not told");
    }
}
