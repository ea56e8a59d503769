//! `uft queue`: the user's files that wait to be sent to other hosts.
//!
//! Everything that a job says of itself (names, addresses, answers of other hosts) is a stranger's text and shown as such.
//! What it does *not* do: decide who may see or change a job, or where it goes (the daemon does).

mod story;

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde::Serialize;
use uft_spool::{SpoolId, State};
use unicode_width::UnicodeWidthStr;

use super::console::Console;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::item::{Clock, rfc3339};
use super::units;
use crate::display::{self, shown};
use crate::local::{Change, JobInfo, Way};

/// The arguments of `uft queue`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// One JSON object for each job
    #[arg(long, global = true)]
    json: bool,
    /// Everybody's jobs, and those that came from other gateways; for root and the daemon's own user
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the jobs: the same as uft queue alone
    Ls {
        /// Everybody's jobs, and those that came from other gateways; for root and the daemon's own user
        #[arg(long)]
        all: bool,
    },
    /// Show what happened to a job so far, and how it stands
    Show {
        /// Its number
        id: SpoolId,
    },
    /// Set jobs aside until they are freed
    Hold(Jobs),
    /// Send jobs that were held, or try once more those that were given up
    Free(Jobs),
    /// Try jobs now instead of when they are due
    Retry(Jobs),
    /// Remove jobs; one that is being sent at this moment may still arrive
    Purge(Jobs),
    /// Send a job to somebody else
    Reroute {
        /// Its number
        id: SpoolId,
        /// user@NODE, user@host, user@host:port, or a local user
        to: String,
    },
}

/// Jobs by number.
#[derive(Debug, Args)]
struct Jobs {
    /// Numbers of jobs
    #[arg(value_name = "ID", required = true)]
    ids: Vec<SpoolId>,
}

const EXAMPLES: &str = "\
A job is ready (sent as soon as it is its turn), deferred (tried again when it is due), held (until it is freed) or
failed (given up, and kept until it is freed or purged).

Examples:
  uft queue                           your jobs
  uft queue show 3                    what happened to one
  uft queue retry 3
  uft queue reroute 3 alice@GAMMA
  uft queue ls --all --json           everybody's, for programs";

/// Runs `uft queue`.
pub(crate) fn queue(console: Console, daemon: &Daemon, args: QueueArgs) -> Result<Exit, Failure> {
    let QueueArgs { what, json, all } = args;
    let (jobs, change) = match what {
        None => return list(console, daemon, all, json),
        Some(What::Ls { all: too }) => return list(console, daemon, all || too, json),
        Some(_) if all => {
            return Err(Failure::usage("--all is for the list").hint("name the jobs by their numbers"));
        }
        Some(What::Show { id }) => return story::show(console, daemon, id, json).map(|()| Exit::Done),
        Some(What::Hold(jobs)) => (jobs, Change::Hold),
        Some(What::Free(jobs)) => (jobs, Change::Free),
        Some(What::Retry(jobs)) => (jobs, Change::Retry),
        Some(What::Purge(jobs)) => (jobs, Change::Purge),
        Some(What::Reroute { id, to }) => (Jobs { ids: vec![id] }, Change::Reroute { to }),
    };
    let mut exit = Exit::Done;
    for id in jobs.ids {
        let done = daemon.change(id, change.clone()).and_then(|job| match json {
            true => console.line(&display::json(&JobJson::of(&job))),
            false => console.line(&told(&change, &job)),
        });
        if let Err(failure) = done {
            exit = exit.then(console.complain(&failure));
        }
    }
    Ok(exit)
}

fn list(console: Console, daemon: &Daemon, all: bool, json: bool) -> Result<Exit, Failure> {
    if json {
        console.stream(|print| daemon.jobs(all, |job| print(&display::json(&JobJson::of(&job)))))?;
        return Ok(Exit::Done);
    }
    let mut jobs = Vec::new();
    daemon.jobs(all, |job| {
        jobs.push(job);
        Ok(())
    })?;
    match jobs.is_empty() {
        true if all => console.note("the queue is empty"),
        true => console.note("no job waits in the queue"),
        false => console.lines(|out| std::io::Write::write_all(out, table(&jobs).as_bytes()))?,
    }
    Ok(Exit::Done)
}

/// What became of a job that was changed.
fn told(change: &Change, job: &JobInfo) -> String {
    let JobInfo { summary, .. } = job;
    let what = match &summary.name {
        Some(name) => shown(name),
        None => "a file without a name".to_owned(),
    };
    let file = format!("{what} ({}) for {}", units::size(summary.size), to(job));
    let id = summary.id;
    let still = match summary.state {
        State::Held => format!("; it is held until uft queue free {id}"),
        State::Failed => format!("; it was given up before: uft queue free {id} tries it again"),
        State::Ready | State::Deferred => String::new(),
    };
    match change {
        Change::Hold => format!("{id} held: {file}"),
        Change::Free => format!("{id} freed: {file}"),
        Change::Retry => format!("{id} is tried now: {file}"),
        Change::Purge => format!("{id} purged: {file}"),
        Change::Reroute { .. } => format!("{id} rerouted: {file}{still}"),
    }
}

/// The JSON form of a job. Field names are part of the interface.
#[derive(Serialize)]
struct JobJson<'a> {
    id: u64,
    state: State,
    from: &'a str,
    to: String,
    name: Option<&'a str>,
    size: u64,
    priority: u8,
    queued: String,
    due: Option<String>,
    attempts: u32,
    said: Option<&'a str>,
    route: Vec<&'a str>,
    owner: Option<&'a str>,
    why: Option<&'a str>,
}

impl JobJson<'_> {
    fn of(info: &JobInfo) -> JobJson<'_> {
        let summary = &info.summary;
        let (job, progress) = (&summary.job, &summary.progress);
        JobJson {
            id: summary.id.get(),
            state: summary.state,
            from: &summary.from,
            to: address(&job.to, &job.place),
            name: summary.name.as_deref(),
            size: summary.size,
            priority: job.priority,
            queued: rfc3339(job.queued),
            due: (summary.state == State::Deferred).then(|| rfc3339(progress.due)),
            attempts: progress.attempts,
            said: Some(progress.said.as_str()).filter(|said| !said.is_empty()),
            route: match &info.way {
                Way::Here => vec!["local"],
                Way::Peers(peers) => peers.iter().map(String::as_str).collect(),
                Way::Direct => vec![&job.place],
                Way::Mail => vec!["mail"],
                Way::Hold => vec!["hold"],
                Way::Nowhere(_) => Vec::new(),
            },
            owner: job.owner.as_ref().map(|owner| owner.as_str()),
            why: job.why.as_deref(),
        }
    }
}

/// `user@place`; blanks keep a node apart whose name has an `@`.
fn address(user: &str, place: &str) -> String {
    match place.contains('@') {
        true => format!("{user} at {place}"),
        false => format!("{user}@{place}"),
    }
}

fn to(info: &JobInfo) -> String {
    shown(&address(&info.summary.job.to, &info.summary.job.place))
}

fn word(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Deferred => "deferred",
        State::Held => "held",
        State::Failed => "failed",
    }
}

/// Why a job waits, for people: what holds it, or what was said to it last.
fn reason(info: &JobInfo) -> Option<String> {
    let summary = &info.summary;
    let said = Some(summary.progress.said.as_str()).filter(|said| !said.is_empty());
    let reason = match (summary.state, &info.way) {
        (State::Held | State::Failed, _) => summary.job.why.as_deref().or(said),
        (_, Way::Nowhere(why)) => Some(why.as_str()),
        (State::Ready | State::Deferred, _) => said,
    };
    reason.map(shown)
}

/// The list, one line a job and another one that says why it waits.
fn table(jobs: &[JobInfo]) -> String {
    let mut clock = Clock::new();
    let rows: Vec<[String; 8]> = jobs
        .iter()
        .map(|info| {
            let summary = &info.summary;
            [
                summary.id.to_string(),
                word(summary.state).to_owned(),
                shown(&summary.from),
                to(info),
                summary.size.to_string(),
                clock.at(summary.job.queued).to_owned(),
                next(info, &mut clock),
                summary.name.as_deref().map(shown).unwrap_or_default(),
            ]
        })
        .collect();
    let heads = ["ID", "STATE", "FROM", "TO", "SIZE", "QUEUED", "NEXT", "NAME"].map(str::to_owned);
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or_default()
        })
        .collect();
    let reasons = std::iter::once(None).chain(jobs.iter().map(reason));
    let mut out = String::new();
    for (row, reason) in std::iter::once(&heads).chain(&rows).zip(reasons) {
        let begin = out.len();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            // Numbers end where their column ends.
            let number = matches!(column, 0 | 4);
            let (before, after) = if number {
                (pad.as_str(), "")
            } else {
                ("", pad.as_str())
            };
            let gap = if column == 0 { "" } else { " " };
            // Writing into a String cannot fail.
            let _ = write!(out, "{gap}{before}{cell}{after}");
        }
        out.truncate(begin + out.get(begin..).unwrap_or_default().trim_end().len());
        out.push('\n');
        if let Some(reason) = reason {
            let indent = widths.first().copied().unwrap_or_default() + 1;
            let _ = writeln!(out, "{:indent$}{reason}", "");
        }
    }
    out
}

/// When a job is tried next. One that is ready and has a word from an attempt waits for its next hop to be there again.
fn next(info: &JobInfo, clock: &mut Clock) -> String {
    match info.summary.state {
        State::Ready if info.summary.progress.said.is_empty() => "now".to_owned(),
        State::Ready => "hop is down".to_owned(),
        State::Deferred => clock.at(info.summary.progress.due).to_owned(),
        State::Held | State::Failed => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use uft_spool::{Job, JobSummary, Progress};

    use super::*;

    fn info(id: u64, state: State, name: &str) -> JobInfo {
        JobInfo {
            summary: JobSummary {
                id: SpoolId::new(id).unwrap(),
                state,
                job: Job {
                    to: "bob".into(),
                    place: "BETA".into(),
                    owner: Some("alice".parse().unwrap()),
                    queued: 1_795_218_990,
                    ..Job::default()
                },
                size: 18,
                from: "alice@ALPHA".into(),
                name: Some(name.into()),
                progress: Progress {
                    attempts: 2,
                    due: 1_795_219_050,
                    said: "451 busy\u{1b}[2J".into(),
                },
            },
            way: Way::Peers(vec!["beta".into()]),
        }
    }

    #[test]
    fn a_list_is_aligned_says_why_and_shows_no_control_character() {
        let mut held = info(12, State::Held, "x\u{202e}fdp.exe");
        held.summary.job.why = Some("held by root\r\n".into());
        let text = table(&[info(3, State::Deferred, "a.txt"), held]);
        let lines: Vec<&str> = text.lines().collect();
        let [head, first, said, second, why] = lines.as_slice() else {
            panic!("{text}")
        };
        let column = |name: &str| head.find(name).unwrap();
        assert!(
            head.starts_with("ID STATE    FROM        TO       SIZE QUEUED"),
            "{head}"
        );
        assert!(
            first.starts_with(" 3 deferred alice@ALPHA bob@BETA   18 "),
            "{first}"
        );
        assert_eq!(first.find("a.txt"), Some(column("NAME")));
        assert_eq!(*said, "   451 busy\\x1b[2J");
        assert!(
            second.starts_with("12 held     alice@ALPHA bob@BETA   18 "),
            "{second}"
        );
        assert!(second.ends_with("x\\u{202e}fdp.exe"), "{second}");
        assert_eq!(*why, "   held by root\\r\\n");
    }

    #[test]
    fn programs_get_every_field_under_its_name() {
        let json: serde_json::Value =
            serde_json::from_str(&display::json(&JobJson::of(&info(3, State::Deferred, "a.txt")))).unwrap();
        let want = serde_json::json!({
            "id": 3, "state": "deferred", "from": "alice@ALPHA", "to": "bob@BETA", "name": "a.txt", "size": 18,
            "priority": 50, "queued": "2026-11-20T23:56:30Z", "due": "2026-11-20T23:57:30Z", "attempts": 2,
            "said": "451 busy\u{1b}[2J", "route": ["beta"], "owner": "alice", "why": null,
        });
        assert_eq!(json, want);
    }

    #[test]
    fn a_job_that_is_not_waiting_for_a_time_is_not_due() {
        for (state, due) in [
            (State::Ready, "hop is down"),
            (State::Held, "-"),
            (State::Failed, "-"),
        ] {
            let info = info(1, state, "a");
            assert_eq!(next(&info, &mut Clock::new()), due);
            assert!(JobJson::of(&info).due.is_none());
        }
        let mut new = info(1, State::Ready, "a");
        new.summary.progress = Progress::default();
        assert_eq!(next(&new, &mut Clock::new()), "now");
    }

    #[test]
    fn a_change_says_what_it_was_done_to() {
        let job = info(3, State::Failed, "a\n.txt");
        assert_eq!(
            told(&Change::Purge, &job),
            "3 purged: a\\n.txt (18 bytes) for bob@BETA"
        );
        let to = "bob@BETA".to_owned();
        assert!(told(&Change::Reroute { to }, &job).ends_with("uft queue free 3 tries it again"));
    }
}
