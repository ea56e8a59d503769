//! Delivery to programs: what is sent to a name of `[users.program]` is handed to the program behind it.
//!
//! A file for a program is committed to an inbox like any other, so it is safe before its sender hears 200; then it is
//! handed over, in order of arrival, one at a time for each program. Exit status 0 takes it out of the inbox. A failure
//! leaves it there: it is tried again after the pauses of `queue.retry`, and after the last of them it stays for the
//! administrator until the next start or SIGHUP. The inbox is all that is remembered, so a daemon that is killed hands
//! over again what it had begun: *at least once*.
//!
//! | file | for |
//! |---|---|
//! | `desk` | pure: which file next, and when again |
//! | `bell` | that something came |
//!
//! What it does not do: start processes (`process` does), write to senders.

mod bell;
mod desk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use uft_spool::{Error, Form, Item, SpoolId, UserName};

pub(crate) use self::bell::Bell;
use self::bell::Rings;
use self::desk::{Desk, Turn, Verdict};
use super::{Gateway, blocking, process, removal};
use crate::config::Program;
use crate::display::chain;
use crate::local::Removal;
use crate::post::Letter;

/// Programs that run at once.
const AT_ONCE: usize = 8;

/// All programs.
struct Programs {
    gateway: Arc<Gateway>,
    /// Whoever was served last stands last.
    counters: VecDeque<Counter>,
    running: JoinSet<(UserName, SpoolId, Outcome)>,
}

/// One program.
struct Counter {
    name: UserName,
    program: Program,
    desk: Desk,
    /// A file is being handed over.
    busy: bool,
    /// It is not in the configuration any more.
    closed: bool,
}

/// What came of handing a file over.
enum Outcome {
    /// It is out of the inbox.
    Gone,
    /// It is still there, and why; with the item if that could be read.
    Kept(Option<Box<Item>>, String),
}

/// Hands files to programs until the gateway stops, then waits for those that run.
pub(crate) async fn run(gateway: Arc<Gateway>) {
    let mut stopping = gateway.stopping();
    let mut programs = Programs {
        gateway: Arc::clone(&gateway),
        counters: VecDeque::new(),
        running: JoinSet::new(),
    };
    programs.configure();
    loop {
        programs.serve().await;
        let next = programs.next_due();
        tokio::select! {
            rings = gateway.notices.programs.answer() => programs.hear(&rings),
            Some(done) = programs.running.join_next() => programs.done(done),
            () = sleep_until(next) => {}
            _ = stopping.wait_for(|&stop| stop) => break,
        }
    }
    while let Some(done) = programs.running.join_next().await {
        programs.done(done);
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

impl Programs {
    /// Takes up the configuration of this moment; everything that waits gets a new chance.
    fn configure(&mut self) {
        let live = self.gateway.live();
        let configured = &live.config.users.program;
        self.gateway
            .notices
            .programs
            .serve(configured.keys().cloned().collect());
        self.counters
            .retain(|counter| counter.busy || configured.contains_key(&counter.name));
        for (name, program) in configured {
            match self.counter(name) {
                Some(counter) => {
                    counter.program = program.clone();
                    counter.desk.afresh();
                }
                None => self.counters.push_back(Counter {
                    name: name.clone(),
                    program: program.clone(),
                    desk: Desk::new(),
                    busy: false,
                    closed: false,
                }),
            }
        }
        for counter in &mut self.counters {
            counter.closed = !configured.contains_key(&counter.name);
        }
    }

    fn counter(&mut self, name: &UserName) -> Option<&mut Counter> {
        self.counters.iter_mut().find(|counter| counter.name == *name)
    }

    fn hear(&mut self, rings: &Rings) {
        if rings.again {
            self.configure();
        }
        for name in &rings.came {
            if let Some(counter) = self.counter(name) {
                counter.desk.ring();
            }
        }
    }

    /// Hands over what is due, as far as there are places.
    async fn serve(&mut self) {
        let mut asked = self.counters.len();
        while asked > 0 && self.running.len() < AT_ONCE {
            asked -= 1;
            let Some(mut counter) = self.counters.pop_front() else {
                return;
            };
            if let Some(id) = counter.next(&self.gateway).await {
                counter.busy = true;
                let (name, program) = (counter.name.clone(), counter.program.clone());
                let gateway = Arc::clone(&self.gateway);
                self.running.spawn(async move {
                    let outcome = hand_over(&gateway, &name, id, &program).await;
                    (name, id, outcome)
                });
            }
            self.counters.push_back(counter);
        }
    }

    /// When something is to be tried again.
    fn next_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let free = self.counters.iter().filter(|counter| counter.is_free());
        free.filter_map(|counter| match counter.desk.turn(now) {
            Turn::Wait(until) => Some(until),
            Turn::Take(_) | Turn::Look | Turn::Rest => None,
        })
        .min()
    }

    fn done(&mut self, done: Result<(UserName, SpoolId, Outcome), tokio::task::JoinError>) {
        let (name, id, outcome) = match done {
            Ok(done) => done,
            Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
            Err(_) => return,
        };
        let gateway = Arc::clone(&self.gateway);
        let pauses: Vec<Duration> = gateway
            .live()
            .config
            .queue
            .retry
            .iter()
            .map(|pause| pause.0)
            .collect();
        let Some(counter) = self.counter(&name) else {
            return;
        };
        counter.busy = false;
        match outcome {
            Outcome::Gone => counter.desk.taken(id),
            Outcome::Kept(item, why) => {
                let verdict = counter.desk.failed(id, Instant::now(), &pauses);
                counter.report(id, &why, verdict);
                if let Some(item) = item {
                    // It waits for the disk: not here.
                    tokio::task::spawn_blocking(move || tell_failure(&gateway, &item, &why, verdict));
                }
            }
        }
        self.counters.retain(|counter| counter.busy || !counter.closed);
    }
}

impl Counter {
    fn is_free(&self) -> bool {
        !self.busy && !self.closed
    }

    /// The file to hand over now; looks into the inbox for it if need be.
    async fn next(&mut self, gateway: &Arc<Gateway>) -> Option<SpoolId> {
        if !self.is_free() {
            return None;
        }
        if self.desk.turn(Instant::now()) == Turn::Look {
            let (spool, name) = (Arc::clone(&gateway.spool), self.name.clone());
            match blocking(move || spool.list(&name)).await {
                Ok(rows) => self.desk.looked(rows.iter().map(|row| row.id), Instant::now()),
                Err(err) => {
                    error!(user = %self.name, err = chain(&err), "files for a program cannot be listed");
                    self.desk.blind();
                }
            }
        }
        match self.desk.turn(Instant::now()) {
            Turn::Take(id) => Some(id),
            Turn::Look | Turn::Wait(_) | Turn::Rest => None,
        }
    }

    fn report(&self, id: SpoolId, why: &str, verdict: Verdict) {
        let program = self.program.command.first().map_or("", String::as_str);
        let (user, attempt) = (&self.name, verdict.failures);
        match verdict.again {
            Some(pause) => {
                let pause = crate::units::Span(pause);
                warn!(%user, spoolid = %id, program, attempt, err = why, %pause, "program failed; tried again after a pause");
            }
            None => {
                warn!(%user, spoolid = %id, program, attempt, err = why, "program failed; its file stays in the inbox");
            }
        }
    }
}

/// Runs the program for one file, and removes the file when the program took it.
async fn hand_over(gateway: &Arc<Gateway>, name: &UserName, id: SpoolId, program: &Program) -> Outcome {
    let (spool, user) = (Arc::clone(&gateway.spool), name.clone());
    let opened = blocking(move || {
        let item = spool.item(&user, id)?;
        let content = spool.open_form(&user, id, Form::Local)?;
        Ok((item, content))
    });
    let (item, content) = match opened.await {
        Ok(opened) => opened,
        Err(Error::NoSuchItem { .. }) => return Outcome::Gone,
        Err(err) => return Outcome::Kept(None, chain(&err)),
    };
    if let Err(failure) = process::run(&program.command, &item, Some(content), program.timeout.0).await {
        return Outcome::Kept(Some(Box::new(item)), chain(&failure));
    }
    info!(user = %name, spoolid = %id, "handed to its program");
    match removal::remove(gateway, name, id, Removal::Received, true).await {
        Ok(()) | Err(Error::NoSuchItem { .. }) => Outcome::Gone,
        Err(err) => Outcome::Kept(
            None,
            format!("it was taken, but cannot be removed: {}", chain(&err)),
        ),
    }
}

/// Tells the sender of a file that its program failed: after the first attempt, so that a mistake is heard of soon, and
/// after the last one. A sender who cannot be reached hears nothing; the log does.
fn tell_failure(gateway: &Gateway, item: &Item, why: &str, verdict: Verdict) {
    if verdict.failures > 1 && verdict.again.is_some() {
        return;
    }
    let live = gateway.live();
    let last = verdict.again.is_none();
    let letter = Letter::unhandled(item, why, last, &live.config.node);
    let now = Timestamp::now().as_second();
    match gateway
        .office(&live)
        .send(&item.envelope.facts.origin, letter, now)
    {
        Ok(stored) => stored
            .iter()
            .for_each(|(user, id)| gateway.notices.arrived(user, *id)),
        Err(err) => {
            warn!(user = %item.user, spoolid = %item.id, err = chain(&err), "its sender could not be told");
        }
    }
}
