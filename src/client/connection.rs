//! One connection to a server: does errands over it, one after the other, and keeps the deadlines.
//!
//! What it does not do: decide what is said (the [`Dialogue`] does), connect (`dial`), try again.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;
use uft_spool::{Attribute, SpoolId};

use super::dial::{Dialled, Duplex, dial, local_session};
use super::feed::{Feed, Source};
use super::{Body, ClientError, Endpoint, Notice, Options, Parcel, Receipt, Watch};
use crate::proto::proof::{Fingerprint, Nonce};
use crate::proto::{Action, At, Code, Delivery, Dialogue, DialogueOptions, Errand, Event, Fork, Identity};

use crate::tls::Link;

/// Bytes read at a time; what a server says is short.
const READ: usize = 4 * 1024;
/// What a server may say while we are still sending, before we stop listening and finish the burst.
const READ_AHEAD: usize = 256 * 1024;
/// After a failure: how long the last words of both sides may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection to a server whose herald has been read.
pub struct Connection {
    endpoint: Endpoint,
    reader: ReadHalf<Box<dyn Duplex>>,
    writer: WriteHalf<Box<dyn Duplex>>,
    dialogue: Dialogue,
    input: BytesMut,
    patience: Duration,
    /// The server sends nothing more.
    ended: bool,
    /// Something went wrong: the next parcel needs another connection.
    spent: bool,
    ours: bool,
    link: Link,
    /// Nobody has to prove anything any more.
    proven: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("endpoint", &self.endpoint)
            .field("spent", &self.spent)
            .finish()
    }
}

/// How an errand ended well.
struct Ended {
    yes: Yes,
    bulk: Vec<String>,
}

/// The server's yes.
struct Yes {
    code: u16,
    text: String,
    /// Number of the item there.
    id: Option<SpoolId>,
    /// Number in its queue.
    job: Option<SpoolId>,
}

impl Connection {
    /// Connects and reads the herald; with credentials both ends then prove who they are.
    ///
    /// # Errors
    /// Nobody there, nobody who speaks UFT, somebody who takes nothing from us, or not the gateway that it is to be.
    pub async fn open(
        endpoint: &Endpoint,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Connection, ClientError> {
        let (Dialled { stream, link }, read_ahead) = match endpoint {
            Endpoint::Tcp { host, port } => (dial(host, *port, options, watch).await?, Vec::new()),
            Endpoint::Local(path) => {
                let (stream, read_ahead) = local_session(path, options.timeout).await?;
                let link = Link::default();
                (Dialled { stream, link }, read_ahead)
            }
        };
        let (reader, writer) = tokio::io::split(stream);
        let mut connection = Connection {
            endpoint: endpoint.clone(),
            proven: options.credentials.is_none(),
            reader,
            writer,
            dialogue: Dialogue::new(DialogueOptions {
                transcript: true,
                identity: identity(options, &link)?,
                ..DialogueOptions::default()
            }),
            input: BytesMut::from(read_ahead.as_slice()),
            patience: options.timeout,
            ended: false,
            spent: false,
            ours: false,
            link,
        };
        connection.herald(watch).await?;
        Ok(connection)
    }

    /// Delivers a file to one recipient.
    ///
    /// # Errors
    /// Whatever kept the server from acknowledging it. The connection is then of no more use.
    pub async fn deliver(
        &mut self,
        mut parcel: Parcel,
        body: Body,
        watch: Watch<'_>,
    ) -> Result<Receipt, ClientError> {
        let aux = parcel.aux.take().map(Source::from);
        self.send_file(parcel, body.into(), aux, watch).await
    }

    /// The same with a second fork that is not in memory; that of the parcel does not count.
    ///
    /// # Errors
    /// As [`Connection::deliver`].
    pub(crate) async fn deliver_forks(
        &mut self,
        parcel: Parcel,
        body: Body,
        aux: Option<Body>,
        watch: Watch<'_>,
    ) -> Result<Receipt, ClientError> {
        self.send_file(parcel, body.into(), aux.map(Source::from), watch)
            .await
    }

    async fn send_file(
        &mut self,
        parcel: Parcel,
        body: Source,
        aux: Option<Source>,
        watch: Watch<'_>,
    ) -> Result<Receipt, ClientError> {
        let mut attributes: Vec<Attribute> = parcel
            .attributes
            .into_iter()
            .map(|(key, value)| Attribute { key, value })
            .collect();
        if let Some(xid) = parcel.xid.filter(|_| self.ours) {
            attributes.push(Attribute {
                key: "XID".into(),
                value: xid,
            });
        }
        let delivery = Delivery {
            to: parcel.to,
            size: parcel.size,
            from: Some(parcel.from),
            name: parcel.name,
            spec: parcel.spec,
            attributes,
            aux: aux.is_some(),
        };
        let digest = delivery.attributes.iter().find(|a| a.key == "DIGEST");
        let mut feed = Feed::new(body, aux.unwrap_or_default()).announced(digest.map(|a| a.value.clone()));
        let ended = self
            .errand(Errand::Deliver(Box::new(delivery)), &mut feed, watch)
            .await?;
        Ok(Receipt {
            code: ended.yes.code,
            text: ended.yes.text,
            id: ended.yes.id,
            job: ended.yes.job,
            bytes: feed.sent,
            digest: feed.digest(),
            resumed_at: feed.resumed_at,
        })
    }

    /// Sends a one-line message; `attributes` are said before it.
    ///
    /// # Errors
    /// As [`Connection::deliver`].
    pub async fn tell(
        &mut self,
        from: &str,
        to: &str,
        text: &str,
        attributes: Vec<Attribute>,
        watch: Watch<'_>,
    ) -> Result<String, ClientError> {
        let errand = Errand::Message {
            to: to.to_owned(),
            text: text.to_owned(),
            from: Some(from.to_owned()),
            attributes,
        };
        Ok(self.errand(errand, &mut Feed::empty(), watch).await?.yes.text)
    }

    /// Asks a `CPQ` query; the lines of the answer. `attributes` are said before it.
    ///
    /// # Errors
    /// As [`Connection::deliver`].
    pub async fn query(
        &mut self,
        query: &str,
        attributes: Vec<Attribute>,
        watch: Watch<'_>,
    ) -> Result<Vec<String>, ClientError> {
        let errand = Errand::Query {
            operands: query.to_owned(),
            attributes,
        };
        Ok(self.errand(errand, &mut Feed::empty(), watch).await?.bulk)
    }

    /// Whether another errand can be done over this connection.
    pub fn usable(&self) -> bool {
        !self.spent && !self.ended
    }

    /// Whether the server is of our own product.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// The server's certificate, if nobody vouches for it and it was taken because the host was not known before.
    pub fn first_use(&self) -> Option<Fingerprint> {
        self.link.certificate.filter(|_| self.link.first_use)
    }

    /// Says goodbye. What was acknowledged stays delivered, however this ends.
    pub async fn quit(mut self, watch: Watch<'_>) {
        self.farewell(watch).await;
    }

    async fn herald(&mut self, watch: Watch<'_>) -> Result<(), ClientError> {
        let mut last_heard = None;
        loop {
            match self.dialogue.poll(&mut self.input) {
                Action::Event(Event::Herald { ours, .. }) => {
                    self.ours = ours;
                    if self.proven {
                        return Ok(());
                    }
                }
                Action::Event(Event::Proven) => {
                    self.proven = true;
                    return Ok(());
                }
                Action::Event(Event::NotProven(why)) => {
                    return Err(ClientError::NotProven {
                        endpoint: self.endpoint.clone(),
                        why,
                    });
                }
                Action::Event(event) => {
                    tell_watcher(&event, watch);
                    if let Event::Heard(line) = event {
                        last_heard = Some(line);
                    }
                }
                Action::NeedBytes if !self.ended => self.read().await?,
                Action::Send(bytes) => self.send(bytes).await?,
                Action::NeedBytes if self.dialogue.place() == At::Peer => {
                    return Err(ClientError::Lost {
                        step: At::Peer.to_string(),
                    });
                }
                Action::NeedBytes | Action::WantBody { .. } | Action::WantPrefix(_) | Action::Closed => {
                    return Err(self.unwelcome(last_heard));
                }
            }
        }
    }

    /// Why there was no herald, from what was said instead.
    fn unwelcome(&self, said: Option<String>) -> ClientError {
        let Some(line) = said else {
            return ClientError::Lost {
                step: At::Herald.to_string(),
            };
        };
        match Code::of(&line).filter(|code| matches!(code.class(), 4 | 5)) {
            Some(code) => {
                let text = line.get(3..).unwrap_or_default().trim().to_owned();
                ClientError::Refused {
                    step: "connection".into(),
                    code: code.0,
                    text,
                }
            }
            None => ClientError::Protocol {
                endpoint: self.endpoint.clone(),
                text: line,
            },
        }
    }

    /// Does one errand to its end.
    async fn errand(
        &mut self,
        errand: Errand,
        feed: &mut Feed,
        watch: Watch<'_>,
    ) -> Result<Ended, ClientError> {
        self.dialogue.submit(errand);
        let done = self.drive(feed, watch).await;
        if done.is_err() {
            self.spent = true;
            if !matches!(done, Err(ClientError::Body(_) | ClientError::TimedOut { .. })) {
                // Not in the middle of a file that will not be completed: closing tells the server as much.
                self.farewell(watch).await;
            }
        }
        done
    }

    async fn drive(&mut self, feed: &mut Feed, watch: Watch<'_>) -> Result<Ended, ClientError> {
        let mut bulk = Vec::new();
        let mut action = self.dialogue.poll(&mut self.input);
        loop {
            match action {
                Action::Event(event) => {
                    tell_watcher(&event, watch);
                    match event {
                        Event::Bulk(line) => bulk.push(line),
                        Event::Resumed { offset, .. } => {
                            let at = offset.unwrap_or(feed.sent);
                            feed.resumed_at = Some(at);
                            watch(Notice::Resumed { at });
                        }
                        event => {
                            if let Some(end) = ending(event) {
                                return end.map(|yes| Ended { yes, bulk });
                            }
                        }
                    }
                }
                Action::NeedBytes if self.ended => {
                    action = self.dialogue.peer_closed();
                    continue;
                }
                Action::NeedBytes => self.read().await?,
                Action::Send(bytes) => {
                    self.send(bytes).await?;
                    watch(Notice::Progress { sent: feed.sent });
                }
                Action::WantBody { fork, most } => {
                    let (slice, last) = feed.next(fork, most).await?;
                    if fork == Fork::Data {
                        feed.count(&slice);
                        if last && self.ours {
                            let digest = feed.digest();
                            self.dialogue.attribute("DIGEST", &digest);
                            watch(Notice::Digest(digest));
                        }
                    }
                    self.dialogue.body(slice, last);
                }
                Action::WantPrefix(held) => {
                    let fits = feed.fits(&held).await?;
                    self.dialogue.prefix(fits);
                }
                Action::Closed => {
                    return Err(ClientError::Lost {
                        step: self.dialogue.place().to_string(),
                    });
                }
            }
            action = self.dialogue.poll(&mut self.input);
        }
    }

    async fn read(&mut self) -> Result<(), ClientError> {
        self.input.reserve(READ);
        match timeout(self.patience, self.reader.read_buf(&mut self.input)).await {
            Err(_) => Err(ClientError::TimedOut {
                step: self.dialogue.place().to_string(),
                after: self.patience,
            }),
            // A reset says no more than an end does: the dialogue knows what had been acknowledged.
            Ok(read) => {
                self.ended = !matches!(read, Ok(1..));
                Ok(())
            }
        }
    }

    /// Writes, and listens meanwhile.
    async fn send(&mut self, mut bytes: Bytes) -> Result<(), ClientError> {
        loop {
            // TLS holds back what the socket did not take at once.
            let writing = async {
                match bytes.is_empty() {
                    true => self.writer.flush().await.map(|()| 0),
                    false => self.writer.write(&bytes).await,
                }
            };
            let listen = !self.ended && self.input.len() < READ_AHEAD;
            self.input.reserve(READ);
            tokio::select! {
                written = writing => match written {
                    Ok(0) if bytes.is_empty() => return Ok(()),
                    Ok(n @ 1..) => bytes.advance(n),
                    _ => {
                        self.last_words().await;
                        return Ok(());
                    }
                },
                read = self.reader.read_buf(&mut self.input), if listen => {
                    self.ended = !matches!(read, Ok(1..));
                }
                () = tokio::time::sleep(self.patience) => {
                    return Err(ClientError::TimedOut { step: self.dialogue.place().to_string(), after: self.patience });
                }
            }
        }
    }

    /// The server takes nothing more; why is in what it has still said.
    async fn last_words(&mut self) {
        while !self.ended && self.input.len() < READ_AHEAD {
            self.input.reserve(READ);
            match timeout(FAREWELL, self.reader.read_buf(&mut self.input)).await {
                Ok(Ok(1..)) => {}
                _ => self.ended = true,
            }
        }
        self.ended = true;
    }

    async fn farewell(&mut self, watch: Watch<'_>) {
        self.dialogue.finish();
        let rest = async {
            let mut action = self.dialogue.poll(&mut self.input);
            loop {
                match action {
                    Action::Closed | Action::WantBody { .. } | Action::WantPrefix(_) => return,
                    Action::NeedBytes if self.ended => {
                        action = self.dialogue.peer_closed();
                        continue;
                    }
                    Action::NeedBytes => {
                        if self.read().await.is_err() {
                            return;
                        }
                    }
                    Action::Send(bytes) => {
                        if self.send(bytes).await.is_err() {
                            return;
                        }
                    }
                    Action::Event(event) => tell_watcher(&event, watch),
                }
                action = self.dialogue.poll(&mut self.input);
            }
        };
        let _ = timeout(FAREWELL, rest).await;
    }
}

/// Who we are in this connection, if that is to be proven.
fn identity(options: &Options, link: &Link) -> Result<Option<Identity>, ClientError> {
    let Some(credentials) = options.credentials.clone() else {
        return Ok(None);
    };
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|err| ClientError::NoRandomBits(err.to_string()))?;
    Ok(Some(Identity {
        credentials,
        nonce: Nonce(nonce),
        exporter: link.exporter.clone(),
    }))
}

/// What an event means for the errand at hand: `None` when it goes on.
fn ending(event: Event) -> Option<Result<Yes, ClientError>> {
    match event {
        Event::Delivered {
            code, text, id, job, ..
        } => Some(Ok(Yes {
            code: code.0,
            text,
            id,
            job,
        })),
        Event::Done { code, text, .. } => Some(Ok(Yes {
            code: code.0,
            text,
            id: None,
            job: None,
        })),
        Event::Refused { at, code, text, .. } => Some(Err(ClientError::Refused {
            step: at.to_string(),
            code: code.0,
            text,
        })),
        Event::Changed { .. } => Some(Err(ClientError::Changed)),
        Event::Unfit { why, .. } => Some(Err(ClientError::Unfit(why))),
        Event::Lost { at, .. } => Some(Err(ClientError::Lost { step: at.to_string() })),
        Event::NotTried { .. } => Some(Err(ClientError::Lost {
            step: At::File.to_string(),
        })),
        _ => None,
    }
}

fn tell_watcher(event: &Event, watch: Watch<'_>) {
    match event {
        Event::Sent(line) => watch(Notice::Said(line.clone())),
        Event::Heard(line) => watch(Notice::Heard(line.clone())),
        Event::Altered { note, .. } => watch(Notice::Warning(note.clone())),
        Event::Ignored { at, code, text, .. } => {
            watch(Notice::Warning(format!(
                "the server does not take {at}: {} {text}",
                code.0
            )));
        }
        _ => {}
    }
}
