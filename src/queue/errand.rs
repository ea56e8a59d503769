//! One attempt at one job: what came of it is on the disk before the schedule hears of it.
//!
//! What it does *not* do: choose the job or the moment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error, info, warn};
use uft_spool::{Error, Progress, Spool, SpoolId};

use super::schedule::{self, HopKey};
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
    pub(super) attempts: u32,
    pub(super) expires: i64,
}

impl Errand {
    pub(super) async fn run(self, hop: Hop, connection: Option<Connection>) -> Done {
        let (id, key) = (self.id, self.key.clone());
        let attempt = deliver::uft::deliver(&self.spool, id, &hop, &self.settings.node, connection).await;
        let Attempt {
            outcome,
            connection,
            remarks,
        } = attempt;
        let attempts = self.attempts + u32::from(!matches!(outcome, Outcome::Done(_) | Outcome::Down(_)));
        let noted = tokio::task::spawn_blocking(move || self.note(outcome, attempts, &remarks));
        let verdict = noted.await.unwrap_or_else(|err| {
            error!(%err, "a task of the queue ended abnormally");
            schedule::Outcome::Untried(retry::after(now(), LINGER))
        });
        Done::Tried(Box::new(Tried {
            id,
            hop: key,
            connection,
            verdict,
            attempts,
        }))
    }

    /// Writes down what came of it, and says what that means for the schedule.
    fn note(self, outcome: Outcome, attempts: u32, remarks: &[String]) -> schedule::Outcome {
        let (id, route) = (self.id, &*self.key);
        for remark in remarks {
            self.tell(format!("{route}: {remark}"));
        }
        match outcome {
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
                self.settled(self.spool.hold(id, &said));
                schedule::Outcome::Untried(now())
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
            &item.envelope.facts.origin,
            Letter::failure(&item, why, &settings.node),
            now() / 1000,
        ) {
            Ok(stored) => stored.iter().for_each(|(user, id)| (hooks.arrived)(user, *id)),
            Err(err) => warn!(spoolid = %id, err = chain(&err), "its sender could not be told"),
        }
    }
    if let Err(err) = spool.fail(id, why) {
        error!(spoolid = %id, err = chain(&err), "failed item not put away");
    }
}

/// Adds to the story of a job, which may be lost.
fn tell(spool: &Spool, id: SpoolId, text: &str) {
    if let Err(err) = spool.tell_story(id, Timestamp::now().as_second(), text) {
        debug!(spoolid = %id, err = chain(&err), "story not told");
    }
}
