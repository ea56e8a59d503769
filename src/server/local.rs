//! The local socket: answers this host's own programs, as whoever the kernel says they are.
//!
//! A user sees and touches the own inbox only; root and the daemon's own user are administrators and may name any.
//! What it does not do: read or write files for anybody: it passes the open file.

mod queue;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tracing::{debug, warn};
use uft_spool::{Error, Origin, Proof, SpoolId, UserName};

use super::conn::{self, Peer};
use super::notice::Signal;
use super::onward::{self, Speaker};
use super::{Gateway, removal, users, verdict};
use crate::display::chain;
use crate::local::{Answer, Event, Form, ItemInfo, Removal, Request, Row, Status, Why};
use crate::proto::{Query, Refusal};
use crate::route::{Address, Party};
use crate::tls::Link;

/// A local program has this long to say what it wants.
const ASK_TIME: Duration = Duration::from_secs(10);
/// Longest request, in bytes: a message of one line, each byte of it an escape.
const ASK_MAX: u64 = 16 * 1024;
/// Local programs served at once, in all and for one user.
const PROGRAMS: usize = 1024;
const PROGRAMS_EACH: usize = 128;
/// Rows gathered for one write.
const GATHERED: usize = 64 * 1024;

/// Who asks.
#[derive(Clone, Debug)]
struct Asker {
    name: Option<UserName>,
    administrator: bool,
}

/// A refusal for a local program.
struct No(Why, String);

impl From<Error> for No {
    fn from(err: Error) -> No {
        let why = match &err {
            Error::NoSuchItem { .. } | Error::NotKept { .. } => Why::NoItem,
            Error::NoSuchJob(_) => Why::NoJob,
            Error::OverQuota { .. }
            | Error::QueueQuota { .. }
            | Error::NoRoom { .. }
            | Error::TooLarge { .. } => Why::NoRoom,
            Error::Poisoned => Why::Unavailable,
            _ => Why::Failed,
        };
        if why == Why::Failed {
            verdict::log(&err);
        }
        No(why, chain(&err))
    }
}

/// Accepts local programs until the gateway stops.
pub(crate) async fn listen(listener: UnixListener, gateway: Arc<Gateway>) {
    let mut stopping = gateway.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|&stop| stop) => return,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &gateway),
            Err(err) => {
                warn!(%err, "cannot accept a local program");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn admit(stream: UnixStream, gateway: &Arc<Gateway>) {
    let Ok(credentials) = stream.peer_cred() else {
        return;
    };
    let uid = credentials.uid();
    let Some(permit) = gateway.local_caps.take(uid, PROGRAMS, PROGRAMS_EACH) else {
        warn!(uid, "local program turned away: too many at once");
        return;
    };
    let gateway = Arc::clone(gateway);
    tokio::spawn(async move {
        if let Err(err) = serve(stream, uid, gateway).await {
            debug!(%err, "local program went away");
        }
        drop(permit);
    });
}

async fn serve(stream: UnixStream, uid: u32, gateway: Arc<Gateway>) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let name = blocking(move || users::login_name(uid)).await?;
    let asker = Asker {
        name,
        administrator: uid == 0 || uid == own,
    };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut limited = (&mut stream).take(ASK_MAX);
    let mut stopping = gateway.stopping();
    tokio::select! {
        read = tokio::time::timeout(ASK_TIME, limited.read_until(b'\n', &mut line)) => read??,
        _ = stopping.wait_for(|&stop| stop) => return Ok(()),
    };
    if line.len() as u64 == ASK_MAX {
        let text = format!("a request has at most {ASK_MAX} bytes");
        return say(&mut stream, &refused(No(Why::Malformed, text))).await;
    }
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(err) => return say(&mut stream, &refused(No(Why::Malformed, err.to_string()))).await,
    };
    match request {
        Request::Session => session(stream, asker, gateway).await,
        // Those that wait for events end with the daemon.
        Request::Watch { .. } | Request::Wait { .. } => tokio::select! {
            done = watch(&mut stream, &asker, &gateway, &request) => done,
            _ = stopping.wait_for(|&stop| stop) => Ok(()),
        },
        Request::List { user, full } => list(&mut stream, &asker, &gateway, user, full).await,
        Request::QueueList { user, all } => queue::list(&mut stream, &asker, &gateway, user, all).await,
        Request::Open { user, id, form } => open(&mut stream, &asker, &gateway, user, id, form).await,
        request => {
            let answer = simple(&asker, &gateway, request).await.unwrap_or_else(refused);
            say(&mut stream, &answer).await
        }
    }
}

/// The requests that have one line for an answer.
async fn simple(asker: &Asker, gateway: &Arc<Gateway>, request: Request) -> Result<Answer, No> {
    let spool = Arc::clone(&gateway.spool);
    match request {
        Request::Stat { user, id } => {
            let user = asker.inbox(user)?;
            let item = work(move || spool.item(&user, id)).await?;
            Ok(Answer::Item(Box::new(ItemInfo {
                user: item.user,
                id: item.id,
                envelope: item.envelope,
            })))
        }
        Request::Discard { user, id, removal } => {
            let user = asker.inbox(user)?;
            discard(asker, gateway, user, id, removal).await
        }
        Request::Forward { user, id, to } => {
            let user = asker.inbox(user)?;
            let to = resolve(gateway, &to).await?;
            let sender = user.clone();
            let stored = work(move || forward(&spool, &sender, id, &to)).await?;
            for (to, new) in &stored {
                tracing::info!(%user, spoolid = %id, %to, as_id = %new, "forwarded");
                gateway.notices.arrived(to, *new);
            }
            Ok(Answer::Done { stored })
        }
        Request::Tell { to, text } => tell(asker, gateway, &to, text).await,
        Request::Query { place, query } => ask(asker, gateway, &place, &query).await,
        Request::Status => work(move || Ok(spool.totals())).await.map(|totals| {
            Answer::Status(Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime: gateway.uptime().as_secs(),
                listeners: gateway.listeners(),
                sessions: gateway.sessions() as u64,
                users: totals.users,
                items: totals.items,
                jobs: totals.jobs,
                bytes: totals.bytes,
                free: totals.free,
                poisoned: totals.poisoned,
            })
        }),
        Request::Route { .. }
        | Request::QueueShow { .. }
        | Request::QueueChange { .. }
        | Request::QueueItem { .. } => queue::answer(asker, gateway, request).await,
        Request::List { .. }
        | Request::QueueList { .. }
        | Request::Open { .. }
        | Request::Wait { .. }
        | Request::Watch { .. }
        | Request::Session => Err(No(Why::Malformed, "asked in the wrong place".into())),
    }
}

async fn discard(
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: UserName,
    id: SpoolId,
    removal: Removal,
) -> Result<Answer, No> {
    let own = asker.name.as_ref() == Some(&user);
    removal::remove(gateway, &user, id, removal, own).await?;
    Ok(Answer::Done { stored: Vec::new() })
}

/// Links an item into each inbox; what was done before a failure stays done and the failure is reported.
fn forward(
    spool: &uft_spool::Spool,
    from: &UserName,
    id: SpoolId,
    to: &[UserName],
) -> Result<Vec<(UserName, SpoolId)>, Error> {
    to.iter()
        .map(|user| Ok((user.clone(), spool.link(from, id, user)?)))
        .collect()
}

async fn tell(asker: &Asker, gateway: &Arc<Gateway>, to: &str, text: String) -> Result<Answer, No> {
    let speaker = asker.speaker(gateway)?;
    if let Err(err) = to.parse::<Address>() {
        return Err(No(Why::NoUser, err.to_string()));
    }
    let told = onward::message(gateway, &speaker, to, text, &[]).await;
    told.map(|()| Answer::Done { stored: Vec::new() })
        .map_err(|refusal| No::from(&refusal))
}

async fn ask(asker: &Asker, gateway: &Arc<Gateway>, place: &str, query: &str) -> Result<Answer, No> {
    let speaker = asker.speaker(gateway)?;
    let query = Query::parse(query).map_err(|_| No(Why::Malformed, format!("no such query: {query:?}")))?;
    let answer = onward::question(gateway, &speaker, Some(place), &query, &[]).await;
    answer.map(Answer::Lines).map_err(|refusal| No::from(&refusal))
}

/// Why a message or a question was not taken.
impl From<&Refusal> for No {
    fn from(refusal: &Refusal) -> No {
        match refusal {
            Refusal::Busy => No(Why::Unavailable, "too many messages in a minute".into()),
            Refusal::NoRoute { name } => No(Why::NoRoute, format!("no route to {name:?}")),
            Refusal::NoAnswer { name } => {
                No(Why::Unavailable, format!("nobody answers on the way to {name:?}"))
            }
            Refusal::NoSuchUser { name } => No(Why::NoUser, format!("no such user: {name:?}")),
            Refusal::NoRelay { .. } | Refusal::Loop | Refusal::InvalidQuery { .. } => {
                No(Why::NotAllowed, refusal.to_string())
            }
            _ => No(
                Why::NotReceiving,
                "not logged on, or not receiving messages".into(),
            ),
        }
    }
}

async fn list(
    stream: &mut BufReader<UnixStream>,
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: Option<UserName>,
    full: bool,
) -> io::Result<()> {
    let user = match asker.inbox(user) {
        Ok(user) => user,
        Err(no) => return say(stream, &refused(no)).await,
    };
    let spool = Arc::clone(&gateway.spool);
    let owner = user.clone();
    let rows = match work(move || spool.list(&owner)).await {
        Ok(rows) => rows,
        Err(no) => return say(stream, &refused(no)).await,
    };
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let (spool, owner) = (Arc::clone(&gateway.spool), user.clone());
        let (rest, lines) = blocking(move || {
            let mut lines = Vec::with_capacity(GATHERED + 1024);
            for row in rows.by_ref() {
                let answer = if full {
                    // Gone or damaged since the list was made: not in it.
                    let Ok(item) = spool.item(&owner, row.id) else {
                        continue;
                    };
                    Answer::Item(Box::new(ItemInfo {
                        user: item.user,
                        id: item.id,
                        envelope: item.envelope,
                    }))
                } else {
                    let (from, kind, size) = (row.from, row.file_type, row.size);
                    Answer::Row(Row(
                        row.id,
                        from,
                        kind,
                        size,
                        row.received,
                        row.name,
                        row.title,
                        row.receipt,
                    ))
                };
                push_line(&mut lines, &answer);
                if lines.len() >= GATHERED {
                    break;
                }
            }
            (rows, lines)
        })
        .await?;
        rows = rest;
        stream.write_all(&lines).await?;
    }
    say(stream, &Answer::Done { stored: Vec::new() }).await
}

async fn open(
    stream: &mut BufReader<UnixStream>,
    asker: &Asker,
    gateway: &Arc<Gateway>,
    user: Option<UserName>,
    id: SpoolId,
    form: Form,
) -> io::Result<()> {
    let found = match asker.inbox(user) {
        Ok(user) => {
            let spool = Arc::clone(&gateway.spool);
            work(move || content(&spool, &user, id, form)).await
        }
        Err(no) => Err(no),
    };
    match found {
        Ok((answer, file)) => {
            let mut line = Vec::new();
            push_line(&mut line, &answer);
            pass(stream.get_ref(), &line, &file).await
        }
        Err(no) => say(stream, &refused(no)).await,
    }
}

fn content(
    spool: &uft_spool::Spool,
    user: &UserName,
    id: SpoolId,
    form: Form,
) -> Result<(Answer, File), Error> {
    let item = spool.item(user, id)?;
    let opened = match form {
        Form::Local => spool.open_form(user, id, uft_spool::Form::Local),
        Form::Wire => spool.open_form(user, id, uft_spool::Form::Wire),
        Form::Aux => spool.open_form(user, id, uft_spool::Form::Aux),
    };
    let (content, restore) = match opened {
        Err(Error::NotKept { .. }) if form == Form::Wire && item.envelope.facts.exact => {
            (spool.open_form(user, id, uft_spool::Form::Local)?, true)
        }
        other => (other?, false),
    };
    let item = Box::new(ItemInfo {
        user: item.user,
        id: item.id,
        envelope: item.envelope,
    });
    Ok((
        Answer::Content {
            item,
            bytes: content.bytes,
            restore,
        },
        content.file,
    ))
}

/// Waits for what happens to a user, and tells.
async fn watch(
    stream: &mut BufReader<UnixStream>,
    asker: &Asker,
    gateway: &Arc<Gateway>,
    request: &Request,
) -> io::Result<()> {
    let (user, once) = match request {
        Request::Wait { user } => (user, true),
        Request::Watch { user } => (user, false),
        _ => return Ok(()),
    };
    let user = match asker.inbox(user.clone()) {
        Ok(user) => user,
        Err(no) => return say(stream, &refused(no)).await,
    };
    let mut signals: broadcast::Receiver<Signal> = gateway.notices.watch(&user);
    if !once {
        say(stream, &Answer::Done { stored: Vec::new() }).await?;
    }
    loop {
        let mut nothing = [0; 16];
        let signal = tokio::select! {
            signal = signals.recv() => signal,
            // The asker says nothing more: what can be read is its end.
            _ = stream.read(&mut nothing) => return Ok(()),
        };
        let event = match signal {
            Ok(Signal::Arrived(id)) => {
                let (spool, owner) = (Arc::clone(&gateway.spool), user.clone());
                // Received or discarded already: nothing to tell.
                let Ok(item) = work(move || spool.item(&owner, id)).await else {
                    continue;
                };
                let item = Box::new(ItemInfo {
                    user: item.user,
                    id: item.id,
                    envelope: item.envelope,
                });
                if once {
                    return say(stream, &Answer::Item(item)).await;
                }
                Event::Arrived(item)
            }
            Ok(Signal::Message(_)) if once => continue,
            Ok(Signal::Message(message)) => Event::Message(message),
            // Whoever waits asked for an item and for nothing else; the next one ends the wait.
            Err(RecvError::Lagged(_)) if once => continue,
            Err(RecvError::Lagged(missed)) => Event::Missed(missed),
            Err(RecvError::Closed) => return Ok(()),
        };
        say(stream, &Answer::Event(event)).await?;
    }
}

async fn session(mut stream: BufReader<UnixStream>, asker: Asker, gateway: Arc<Gateway>) -> io::Result<()> {
    let Some(user) = asker.name else {
        return say(&mut stream, &refused(nameless())).await;
    };
    say(&mut stream, &Answer::Done { stored: Vec::new() }).await?;
    conn::serve(stream, Peer::Local(user), Link::default(), gateway).await;
    Ok(())
}

impl Asker {
    /// The asker as somebody who has something to say.
    fn speaker(&self, gateway: &Gateway) -> Result<Speaker, No> {
        let user = self.name.as_ref().ok_or_else(nameless)?.to_string();
        let live = gateway.live();
        Ok(Speaker {
            party: Party {
                local: true,
                link: None,
            },
            origin: Origin {
                user: user.clone(),
                node: Some(live.config.node.clone()),
                host: live.config.hostname.clone(),
                proof: Proof::Local,
            },
            budget: user,
        })
    }

    /// The inbox that a request is about, if the asker may touch it.
    fn inbox(&self, named: Option<UserName>) -> Result<UserName, No> {
        match named {
            None => self.name.clone().ok_or_else(nameless),
            Some(user) if self.administrator || self.name.as_ref() == Some(&user) => Ok(user),
            Some(user) => Err(No(
                Why::NotAllowed,
                format!(
                    "the inbox of {user} is not yours: only root and the daemon's own user may name another"
                ),
            )),
        }
    }
}

fn nameless() -> No {
    No(Why::NotAllowed, "your user id has no login name here".into())
}

async fn resolve(gateway: &Arc<Gateway>, to: &str) -> Result<Vec<UserName>, No> {
    let unknown = || No(Why::NoUser, format!("no local user or alias {to:?}"));
    let name: UserName = to.parse().map_err(|_| unknown())?;
    let gateway = Arc::clone(gateway);
    let users = blocking(move || gateway.live().users.resolve(&name)).await;
    let users = users
        .map_err(|err| No(Why::Failed, err.to_string()))?
        .map_err(|err| No(Why::Unavailable, err.to_string()))?;
    if users.is_empty() {
        Err(unknown())
    } else {
        Ok(users)
    }
}

fn refused(No(why, text): No) -> Answer {
    Answer::Refused { why, text }
}

fn push_line(lines: &mut Vec<u8>, answer: &Answer) {
    // Writing to memory cannot fail, and every answer has a text form.
    if serde_json::to_writer(&mut *lines, answer).is_ok() {
        lines.push(b'\n');
    }
}

async fn say(stream: &mut BufReader<UnixStream>, answer: &Answer) -> io::Result<()> {
    let mut line = Vec::new();
    push_line(&mut line, answer);
    stream.write_all(&line).await
}

/// Writes a line with an open file attached to its first byte.
async fn pass(stream: &UnixStream, line: &[u8], file: &File) -> io::Result<()> {
    let mut rest = line;
    let mut attached = false;
    while !rest.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let files = [file.as_fd()];
                if !attached {
                    control.push(SendAncillaryMessage::ScmRights(&files));
                }
                Ok(sendmsg(
                    stream,
                    &[IoSlice::new(rest)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            })
            .await?;
        attached = true;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

async fn work<T, F>(job: F) -> Result<T, No>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match blocking(job).await {
        Ok(done) => done.map_err(No::from),
        Err(err) => Err(No(Why::Failed, err.to_string())),
    }
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use uft_spool::{Committed, Limits, Origin, Proof, Spool};

    use super::super::Live;
    use super::super::intake::Intake;
    use super::super::notice::Notices;
    use super::*;
    use crate::config::{Config, Source};
    use crate::local::Message;
    use crate::proto::Draft;

    fn stored(spool: &Arc<Spool>, user: &UserName) -> SpoolId {
        let origin = Origin {
            user: "bob".into(),
            node: None,
            host: "192.0.2.1".into(),
            proof: Proof::Address,
        };
        let intake = Intake::open(spool, vec![user.clone()], None, None).unwrap();
        match intake.commit(Draft::default(), origin, 0).unwrap() {
            Committed::Stored(placed) | Committed::Repeat(placed) => placed.inbox[0].1,
        }
    }

    #[tokio::test]
    async fn a_wait_that_fell_behind_still_ends_with_an_arrival() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits {
            min_free: 0,
            ..Limits::default()
        };
        let (spool, _) = Spool::open(&dir.path().join("spool"), limits).unwrap();
        let spool = Arc::new(spool);
        let mut config = Config::parse("", "alpha.example").unwrap();
        config.users.source = Source::List;
        let (notices, _arrivals) = Notices::new();
        let gateway = Arc::new(Gateway::new(
            Arc::clone(&spool),
            notices,
            Live::new(config).unwrap(),
        ));
        let user: UserName = "alice".parse().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let waiting = tokio::spawn({
            let (gateway, user) = (Arc::clone(&gateway), Some(user.clone()));
            async move {
                let asker = Asker {
                    name: user.clone(),
                    administrator: false,
                };
                watch(
                    &mut BufReader::new(theirs),
                    &asker,
                    &gateway,
                    &Request::Wait { user },
                )
                .await
            }
        });
        while gateway.notices.watching().is_empty() {
            tokio::task::yield_now().await;
        }
        let id = stored(&spool, &user);
        let message = Message {
            from: String::new(),
            host: "192.0.2.1".into(),
            proof: Proof::Address,
            to: user.clone(),
            text: "x".into(),
            at: 0,
        };
        // One thread: nothing of this is heard before all of it has happened.
        for _ in 0..1_000 {
            gateway.notices.tell(&message, false);
        }
        gateway.notices.arrived(&user, id);
        waiting.await.unwrap().unwrap();
        let mut answer = String::new();
        BufReader::new(ours).read_line(&mut answer).await.unwrap();
        assert!(answer.starts_with("{\"item\""), "{answer}");
    }
}
