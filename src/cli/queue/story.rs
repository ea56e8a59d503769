//! `uft queue show`: what happened to a job, and everything that is known of it.
//!
//! What it does *not* do: list (`queue`).

use serde::Serialize;
use uft_spool::{Chapter, Envelope, SpoolId};

use super::{JobJson, next, reason, to, word};
use crate::cli::console::Console;
use crate::cli::daemon::Daemon;
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

/// Shows one job.
pub(super) fn show(console: Console, daemon: &Daemon, id: SpoolId, json: bool) -> Result<(), Failure> {
    let (info, envelope, story) = daemon.story(id)?;
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
        story: story
            .iter()
            .map(|chapter| ChapterJson {
                at: rfc3339(chapter.at),
                text: &chapter.text,
            })
            .collect(),
    }))
}

/// A job for people: what happened to it, then how it stands.
fn page(info: &JobInfo, envelope: &Envelope, trail: &Trail, story: &[Chapter]) -> Vec<String> {
    let (summary, facts) = (&info.summary, &envelope.facts);
    let (job, progress) = (&summary.job, &summary.progress);
    let mut clock = Clock::new();
    let mut out: Vec<String> = story
        .iter()
        .map(|chapter| format!("{}  {}", clock.at(chapter.at), shown(&chapter.text)))
        .collect();
    if !out.is_empty() {
        out.push(String::new());
    }
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
