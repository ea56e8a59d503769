//! Requests of local programs about routes and the queue.
//!
//! A user sees and changes the own jobs only. Whatever is somebody else's, or came from another gateway, is not there for
//! others; administrators name any job by its number. What is changed is changed in the spool; whoever sends the jobs
//! sees their files change.
//! What it does *not* do: send, or put new files into the queue (sessions do), but for forwards of items.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use uft_spool::{Job, JobSummary, QueuedItem, SpoolId, State, UserName};

use super::{Asker, GATHERED, No, nameless, push_line, refused, resolve, say, work};
use crate::local::{Answer, Change, JobInfo, Request, Way, Why};
use crate::route::{Address, Party, Route, Table};
use crate::server::Gateway;

/// Requests that have one line for an answer.
pub(super) async fn answer(asker: &Asker, gateway: &Arc<Gateway>, request: Request) -> Result<Answer, No> {
    match request {
        Request::Route { place } => way_to(&gateway.live().table, &place).map(Answer::Way),
        Request::QueueShow { user, id } => {
            let item = match job(asker, gateway, user.clone(), id).await {
                Err(none @ No(Why::NoJob, _)) => {
                    return ended(asker, gateway, user, id).await.map_err(|_| none);
                }
                found => found?,
            };
            let spool = Arc::clone(&gateway.spool);
            // A story may be lost; the job is not.
            let story = work(move || Ok(spool.story(id).unwrap_or_default())).await?;
            Ok(Answer::Story {
                job: Box::new(info(&gateway.live().table, summary(&item))),
                envelope: Box::new(item.envelope),
                story,
            })
        }
        Request::QueueChange { user, id, change } => {
            let item = job(asker, gateway, user, id).await?;
            self::change(asker, gateway, item, change).await
        }
        Request::QueueItem { user, id, to } => {
            let user = asker.inbox(user)?;
            enqueue(asker, gateway, user, id, &to).await
        }
        _ => Err(No(Why::Malformed, "asked in the wrong place".into())),
    }
}

/// The jobs of a user, or of everybody.
pub(super) async fn list(
    stream: &mut BufReader<UnixStream>,
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: Option<UserName>,
    all: bool,
) -> io::Result<()> {
    let owner = match asker.jobs_of(user, all) {
        Ok(owner) => owner,
        Err(no) => return say(stream, &refused(no)).await,
    };
    let live = gateway.live();
    let mut after = None;
    loop {
        let spool = Arc::clone(&gateway.spool);
        // Somebody who asks again and again waits in line; who reads slowly keeps nobody waiting.
        let place = gateway.listings.acquire().await;
        let page = work(move || spool.jobs_after(after)).await;
        drop(place);
        let jobs = match page {
            Ok(jobs) => jobs,
            Err(no) => return say(stream, &refused(no)).await,
        };
        let Some(last) = jobs.last() else {
            return say(stream, &Answer::Done { stored: Vec::new() }).await;
        };
        after = Some(last.id);
        let mut lines = Vec::with_capacity(GATHERED + 1024);
        for summary in jobs {
            if owner.is_none() || summary.job.owner == owner {
                push_line(&mut lines, &Answer::Job(Box::new(info(&live.table, summary))));
            }
            if lines.len() >= GATHERED {
                stream.write_all(&lines).await?;
                lines.clear();
            }
        }
        stream.write_all(&lines).await?;
    }
}

impl Asker {
    /// Whose jobs are listed; `None`: everybody's.
    fn jobs_of(&self, user: Option<UserName>, all: bool) -> Result<Option<UserName>, No> {
        match (user, all) {
            (None, true) if self.administrator => Ok(None),
            (None, true) => Err(No(
                Why::NotAllowed,
                "the jobs of others are not yours to see".into(),
            )),
            (user, _) => self.owner(user).map(Some),
        }
    }

    /// A user whose jobs the asker may touch; the own ones when none is named.
    fn owner(&self, named: Option<UserName>) -> Result<UserName, No> {
        match named {
            None => self.name.clone().ok_or_else(nameless),
            Some(user) if self.administrator || self.name.as_ref() == Some(&user) => Ok(user),
            Some(user) => Err(No(Why::NotAllowed, format!("the jobs of {user} are not yours"))),
        }
    }

    /// For people, in the story of a job.
    fn shown(&self) -> &str {
        self.name.as_ref().map_or("the administrator", UserName::as_str)
    }
}

/// A job that the asker may touch. Whether there is another one of this number is nobody's business.
async fn job(
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: Option<UserName>,
    id: SpoolId,
) -> Result<QueuedItem, No> {
    let owner = match (user, asker.administrator) {
        (None, true) => None,
        (user, _) => Some(asker.owner(user)?),
    };
    let none = || No(Why::NoJob, format!("no job {id} of yours is in the queue"));
    let spool = Arc::clone(&gateway.spool);
    let item = work(move || spool.job(id)).await;
    match (item, owner) {
        (Ok(item), None) => Ok(item),
        (Ok(item), Some(owner)) if item.job.owner.as_ref() == Some(&owner) => Ok(item),
        (Ok(_), Some(_)) | (Err(No(Why::NoJob, _)), Some(_)) => Err(none()),
        (Err(no), _) => Err(no),
    }
}

/// A job that has left the queue, if it was one that the asker could touch.
async fn ended(
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: Option<UserName>,
    id: SpoolId,
) -> Result<Answer, No> {
    let owner = match (user, asker.administrator) {
        (None, true) => None,
        (user, _) => Some(asker.owner(user)?),
    };
    let spool = Arc::clone(&gateway.spool);
    let (job, story) = work(move || Ok((spool.ended_job(id)?, spool.story(id)?))).await?;
    if owner.is_some() && job.job.owner != owner {
        return Err(No(Why::NoJob, "it was somebody else's".into()));
    }
    Ok(Answer::Ended {
        job: Box::new(job),
        story,
    })
}

/// Changes a job; the answer is how it is then, or how it was when it is gone.
async fn change(
    asker: &Asker,
    gateway: &Arc<Gateway>,
    item: QueuedItem,
    change: Change,
) -> Result<Answer, No> {
    let (id, by) = (item.id, asker.shown().to_owned());
    let purged = (change == Change::Purge).then(|| summary(&item));
    let spool = Arc::clone(&gateway.spool);
    let done = match change {
        Change::Hold => {
            let done = format!("held by {by}");
            let why = done.clone();
            work(move || spool.hold(id, &why)).await?;
            done
        }
        Change::Free => {
            work(move || spool.release(id)).await?;
            format!("freed by {by}")
        }
        Change::Retry => {
            retry(gateway, item).await?;
            format!("tried again for {by}")
        }
        Change::Purge => {
            work(move || spool.finish(id)).await?;
            format!("purged by {by}")
        }
        Change::Reroute { to } => {
            let party = party(&item.job);
            let (user, place) = destination(gateway, &to, &party).await?;
            let done = format!("rerouted to {user}@{place} by {by}");
            work(move || spool.reroute(id, &user, &place)).await?;
            done
        }
    };
    tracing::info!(job = %id, done, "queue");
    let spool = Arc::clone(&gateway.spool);
    let after = work(move || {
        // A story may be lost; what it tells of has happened.
        let _ = spool.tell_story(id, Timestamp::now().as_second(), &done);
        match purged {
            Some(purged) => Ok(purged),
            None => Ok(summary(&spool.job(id)?)),
        }
    })
    .await?;
    Ok(Answer::Job(Box::new(info(&gateway.live().table, after))))
}

/// Makes a job due, and tells those who send.
async fn retry(gateway: &Arc<Gateway>, item: QueuedItem) -> Result<(), No> {
    let id = item.id;
    let state = match item.state {
        State::Ready | State::Deferred => None,
        State::Held => Some("held"),
        State::Failed => Some("given up"),
    };
    if let Some(state) = state {
        return Err(No(
            Why::Malformed,
            format!("job {id} is {state}: free it, then it is tried"),
        ));
    }
    let spool = Arc::clone(&gateway.spool);
    let mut progress = item.progress;
    progress.due = 0;
    work(move || spool.note_progress(&[(id, progress)])).await?;
    gateway
        .retry
        .try_send(id)
        .map_err(|_| No(Why::Unavailable, "too many jobs are to be tried at once".into()))
}

/// Puts an item of an inbox into the queue as a job of its user.
async fn enqueue(
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: UserName,
    id: SpoolId,
    to: &str,
) -> Result<Answer, No> {
    let ours = Party {
        local: true,
        link: None,
    };
    let (name, place) = destination(gateway, to, &ours).await?;
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|err| No(Why::Failed, format!("no random bits for a transfer id: {err}")))?;
    let now = Timestamp::now().as_second();
    let node = gateway.live().config.node.clone();
    let job = Job {
        to: name,
        place,
        owner: Some(user.clone()),
        queued: now,
        xid: Some(format!("{node}.{:032x}", u128::from_ne_bytes(random))),
        ..Job::default()
    };
    let spool = Arc::clone(&gateway.spool);
    let by = asker.shown().to_owned();
    let queued = work(move || {
        let to = format!("{}@{}", job.to, job.place);
        let new = spool.link_job(&user, id, job)?;
        tracing::info!(%user, spoolid = %id, to, job = %new, "forwarded into the queue");
        let _ = spool.tell_story(new, now, &format!("forwarded by {by} from item {id} of {user}"));
        Ok(summary(&spool.job(new)?))
    })
    .await?;
    Ok(Answer::Job(Box::new(info(&gateway.live().table, queued))))
}

/// The user and the place of an address that files can be sent to.
async fn destination(gateway: &Arc<Gateway>, to: &str, party: &Party) -> Result<(String, String), No> {
    let address: Address = to
        .parse()
        .map_err(|err: crate::route::BadAddress| No(Why::Malformed, err.to_string()))?;
    let live = gateway.live();
    let address = live.table.meant(address, party);
    match (live.table.decide(&address, party), address.place) {
        (Route::Inbox(user), _) => {
            resolve(gateway, &user).await?;
            Ok((user, live.config.node.clone()))
        }
        (Route::Peers(_) | Route::Direct { .. } | Route::Hold, Some(place)) => {
            Ok((address.user, place.to_string()))
        }
        (Route::Refuse(why), _) => Err(No(Why::NoRoute, why.to_string())),
        (Route::Mail, _) => Err(No(Why::NoRoute, "files cannot be sent as mail yet".into())),
        (_, None) => Err(No(Why::Malformed, format!("{to:?} names no place"))),
    }
}

/// As whose a job is sent.
fn party(job: &Job) -> Party {
    Party {
        local: job.owner.is_some() || job.notice,
        link: job.link.clone(),
    }
}

/// A job with where it would go now.
fn info(table: &Table, summary: JobSummary) -> JobInfo {
    let job = &summary.job;
    let way = match format!("{} at {}", job.to, job.place).parse() {
        Ok(address) => Way::from(table.decide(&address, &party(job))),
        Err(_) => Way::Nowhere("its destination makes no sense".into()),
    };
    JobInfo { summary, way }
}

fn summary(item: &QueuedItem) -> JobSummary {
    let facts = &item.envelope.facts;
    JobSummary {
        id: item.id,
        state: item.state,
        job: item.job.clone(),
        size: item.envelope.wire.bytes,
        from: facts.origin.sender(),
        name: facts.name.clone(),
        progress: item.progress.clone(),
    }
}

/// Where files of a local user for this place go.
fn way_to(table: &Table, place: &str) -> Result<Way, No> {
    let address: Address = format!("x at {place}")
        .parse()
        .map_err(|_| No(Why::Malformed, format!("{place:?} is no place")))?;
    let party = Party {
        local: true,
        link: None,
    };
    Ok(Way::from(table.decide(&address, &party)))
}

impl From<Route> for Way {
    fn from(route: Route) -> Way {
        match route {
            Route::Inbox(_) => Way::Here,
            Route::Peers(peers) => Way::Peers(peers),
            Route::Direct { .. } => Way::Direct,
            Route::Mail => Way::Mail,
            Route::Hold => Way::Hold,
            Route::Refuse(why) => Way::Nowhere(why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uft_spool::Progress;

    use super::*;
    use crate::route::{Plan, Rule};

    fn table() -> Table {
        let rule = |to: &str, via: &str| Rule {
            to: to.into(),
            via: vec![via.into()],
        };
        Table::new(Plan {
            node: "ALPHA".into(),
            hosts: vec!["alpha.example".into()],
            peers: vec!["beta".into()],
            rules: vec![
                rule("BETA", "beta"),
                rule("GAMMA", "hold"),
                rule("DELTA", "reject"),
            ],
            max_hops: 16,
            percent: false,
        })
    }

    #[test]
    fn the_way_to_a_place_is_that_of_the_table_for_a_user_of_this_host() {
        let table = table();
        for (place, way) in [
            ("beta", Way::Peers(vec!["beta".into()])),
            ("GAMMA", Way::Hold),
            ("alpha", Way::Here),
            ("ALPHA.example", Way::Here),
            ("[::1]", Way::Here),
            ("[::1]:608", Way::Direct),
            ("other.example", Way::Direct),
        ] {
            assert_eq!(way_to(&table, place).ok(), Some(way), "{place}");
        }
        for nowhere in ["NOWHERE", "DELTA"] {
            assert!(
                matches!(way_to(&table, nowhere), Ok(Way::Nowhere(_))),
                "{nowhere}"
            );
        }
        for no in ["", "a b", "host:0", "a\r\nb", "[x]", "\u{202e}"] {
            assert!(matches!(way_to(&table, no), Err(No(Why::Malformed, _))), "{no:?}");
        }
    }

    #[test]
    fn a_job_of_another_gateway_never_goes_back_to_it() {
        let summary = JobSummary {
            id: SpoolId::new(1).unwrap(),
            state: State::Ready,
            job: Job {
                to: "bob".into(),
                place: "BETA".into(),
                link: Some("beta".into()),
                ..Job::default()
            },
            size: 0,
            from: String::new(),
            name: None,
            progress: Progress::default(),
        };
        assert!(matches!(info(&table(), summary.clone()).way, Way::Nowhere(_)));
        let damaged = JobSummary {
            job: Job {
                place: "a b c".into(),
                ..Job::default()
            },
            ..summary
        };
        assert!(matches!(info(&table(), damaged).way, Way::Nowhere(_)));
    }
}
