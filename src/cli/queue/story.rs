//! `uft queue show`: what happened to a job, and everything that is known of it.
//!
//! What it does *not* do: list (`queue`).

use serde::Serialize;
use uft_spool::{Chapter, Envelope, JobSummary, SpoolId, UserName};

use super::{JobJson, address, next, reason, to, word};
use crate::cli::console::Console;
use crate::cli::daemon::{Daemon, Story};
use crate::cli::exit::Failure;
use crate::cli::item::{self, Clock, rfc3339};
use crate::display::{self, shown};
use crate::local::{JobInfo, Way};
use crate::route::Trail;

/// What `uft queue show --json` adds.
#[derive(Serialize)]
struct StoryJson<'a> {
    #[serde(flatten)]
    job: JobJson<'a>,
    #[serde(rename = "type")]
    file_type: char,
    digest: String,
    proof: uft_spool::Proof,
    origin: Option<&'a str>,
    hops: u32,
    via: &'a [String],
    link: Option<&'a str>,
    xid: Option<&'a str>,
    story: Vec<ChapterJson<'a>>,
}

#[derive(Serialize)]
struct ChapterJson<'a> {
    at: String,
    text: &'a str,
}

impl ChapterJson<'_> {
    fn of(chapter: &Chapter) -> ChapterJson<'_> {
        ChapterJson {
            at: rfc3339(chapter.at),
            text: &chapter.text,
        }
    }
}

#[derive(Serialize)]
struct EndedJson<'a> {
    id: u64,
    state: &'static str,
    from: &'a str,
    to: String,
    name: Option<&'a str>,
    size: u64,
    queued: String,
    owner: Option<&'a str>,
    story: Vec<ChapterJson<'a>>,
}

/// Shows one job.
pub(super) fn show(console: Console, daemon: &Daemon, id: SpoolId, json: bool) -> Result<(), Failure> {
    let (info, envelope, story) = match daemon.story(id)? {
        Story::Queued(info, envelope, story) => (info, envelope, story),
        Story::Ended(summary, story) => return show_ended(console, &summary, &story, json),
    };
    // A trail that makes no sense was refused when the file came; the attributes are shown all the same.
    let trail = Trail::read(&envelope.facts.attributes).unwrap_or_default();
    if !json {
        let lines = page(&info, &envelope, &trail, &story);
        return console.lines(|out| {
            use std::io::Write;
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))
        });
    }
    let job = &info.summary.job;
    console.line(&display::json(&StoryJson {
        job: JobJson::of(&info),
        file_type: envelope.facts.spec.file_type.letter(),
        digest: item::digest(&envelope.wire),
        proof: envelope.facts.origin.proof,
        origin: trail.origin.as_deref(),
        hops: trail.hops,
        via: &trail.via,
        link: job.link.as_deref(),
        xid: job.xid.as_deref().or(envelope.facts.xid.as_deref()),
        story: story.iter().map(ChapterJson::of).collect(),
    }))
}

/// A job that has left the queue.
fn show_ended(console: Console, summary: &JobSummary, story: &[Chapter], json: bool) -> Result<(), Failure> {
    let job = &summary.job;
    if json {
        return console.line(&display::json(&EndedJson {
            id: summary.id.get(),
            state: "gone",
            from: &summary.from,
            to: address(&job.to, &job.place),
            name: summary.name.as_deref(),
            size: summary.size,
            queued: rfc3339(job.queued),
            owner: job.owner.as_ref().map(UserName::as_str),
            story: story.iter().map(ChapterJson::of).collect(),
        }));
    }
    let mut lines = chapters(story, &mut Clock::new());
    let mut fact = |key: &str, value: String| lines.push(format!("{key:<13}{value}"));
    fact("job", format!("{}, gone", summary.id));
    fact("to", shown(&address(&job.to, &job.place)));
    fact("from", shown(&summary.from));
    if let Some(name) = &summary.name {
        fact("name", shown(name));
    }
    fact("size", format!("{} bytes", summary.size));
    console.lines(|out| {
        use std::io::Write;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    })
}

/// What happened, a line each, and a blank line.
fn chapters(story: &[Chapter], clock: &mut Clock) -> Vec<String> {
    let mut lines: Vec<String> = story
        .iter()
        .map(|chapter| format!("{}  {}", clock.at(chapter.at), shown(&chapter.text)))
        .collect();
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// A job for people: what happened to it, then how it stands.
fn page(info: &JobInfo, envelope: &Envelope, trail: &Trail, story: &[Chapter]) -> Vec<String> {
    let (summary, facts) = (&info.summary, &envelope.facts);
    let (job, progress) = (&summary.job, &summary.progress);
    let mut clock = Clock::new();
    let mut out = chapters(story, &mut clock);
    let mut fact = |key: &str, value: String| out.push(format!("{key:<13}{value}"));
    fact("job", format!("{}, {}", summary.id, word(summary.state)));
    if let Some(reason) = reason(info) {
        fact("why", reason);
    }
    let route = match &info.way {
        Way::Here => "to a user of this host".to_owned(),
        Way::Peers(peers) => shown(&peers.join(", ")),
        Way::Direct => "straight to the host".to_owned(),
        Way::Mail => "by mail".to_owned(),
        Way::Hold => "held until it is freed".to_owned(),
        Way::Nowhere(why) => format!("none: {}", shown(why)),
    };
    fact("next attempt", next(info, &mut clock));
    fact("attempts", progress.attempts.to_string());
    if !progress.said.is_empty() {
        fact("last answer", shown(&progress.said));
    }
    fact("to", to(info));
    fact("route", route);
    fact("from", item::proven_sender(&facts.origin));
    if let Some(owner) = &job.owner {
        fact("owner", owner.to_string());
    }
    if let Some(link) = &job.link {
        fact("came from", shown(link));
    }
    if let Some(origin) = &trail.origin {
        fact("origin", shown(origin));
    }
    if trail.hops > 0 {
        fact("hops", trail.hops.to_string());
        fact("via", shown(&trail.via.join(", ")));
    }
    if let Some(name) = &facts.name {
        fact("name", shown(name));
    }
    fact("type", facts.spec.file_type.letter().to_string());
    fact("size", format!("{} bytes", summary.size));
    fact("priority", job.priority.to_string());
    fact("queued", clock.at(job.queued).to_owned());
    fact("digest", item::digest(&envelope.wire));
    if let Some(xid) = job.xid.as_ref().or(facts.xid.as_ref()) {
        fact("transfer id", shown(xid));
    }
    out
}
