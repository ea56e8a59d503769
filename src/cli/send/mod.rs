//! Sending: every file to every recipient, one connection a host.
//!
//! What it does *not* do: know the command line (`sendfile`, `names`), or give up early: a file that cannot be read or a
//! recipient that is refused does not stop the others.

mod archive;
pub(crate) mod carry;
pub(crate) mod input;
mod job;
pub(crate) mod metadata;
pub(crate) mod netdata;
pub(crate) mod transfer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use uft_spool::{Measure, SpoolId};

use self::carry::{Carrier, Manner, NotSent, Outgoing};
use self::input::{Coding, Input};
use self::metadata::Said;
use self::netdata::{Inside, Label, Transmission};
use self::transfer::TransferId;
use super::address::Recipient;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::units;
use crate::client::{Endpoint, Parcel, Receipt};
use crate::display::{self, shown};

/// Characters of a name in the title of several files: with it a line is short enough for every server.
const TITLE_MAX: usize = 48;

/// Everything that a command line asks for.
#[derive(Debug)]
pub(crate) struct Order {
    /// Who gets the files.
    pub(crate) to: Vec<Recipient>,
    /// The files; `-` is standard input.
    pub(crate) files: Vec<PathBuf>,
    /// How they are encoded.
    pub(crate) coding: Coding,
    /// Directories become archives.
    pub(crate) archive: bool,
    /// A name instead of the file's own.
    pub(crate) name: Option<String>,
    /// Further attributes.
    pub(crate) said: Said,
    /// A message that goes before the files of a transmission.
    pub(crate) note: Option<String>,
    /// All files are in one transmission.
    pub(crate) together: bool,
    /// A transmission asks for a receipt.
    pub(crate) receipt: bool,
    /// The second fork.
    pub(crate) aux: Option<Bytes>,
    /// Port of hosts that name none, if one was given.
    pub(crate) port: Option<u16>,
    /// Write a job to this file instead of sending; `-` is standard output.
    pub(crate) sift: Option<PathBuf>,
    /// The local daemon's socket.
    pub(crate) socket: PathBuf,
    /// Time-outs, retries, what is shown.
    pub(crate) manner: Manner,
    /// No line for what went well.
    pub(crate) quiet: bool,
    /// JSON objects instead of lines.
    pub(crate) json: bool,
}

/// One line of `--json`: what became of one file for one recipient. Field names are part of the interface.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome<'a> {
    /// The recipient, as it was named.
    pub(crate) to: String,
    /// The file, as it was named.
    pub(crate) file: &'a str,
    /// All files that went together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<Vec<String>>,
    /// `delivered`, `queued`, `written` or `failed`.
    pub(crate) status: &'static str,
    /// The server's code.
    pub(crate) code: Option<u16>,
    /// Its text, or why there is none.
    pub(crate) text: &'a str,
    /// Number in the recipient's inbox.
    pub(crate) id: Option<u64>,
    /// Length of the wire form.
    pub(crate) bytes: Option<u64>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Of the wire form.
    pub(crate) digest: Option<&'a str>,
    /// Byte of the wire form at which it went on.
    pub(crate) resumed_at: Option<u64>,
    /// Number in the local daemon's queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<u64>,
}

/// Carries out an order.
pub(crate) async fn send(console: Console, order: &Order) -> Exit {
    let mut run = Run {
        console,
        order,
        from: login_name(),
        exit: Exit::Done,
    };
    let mut inputs = run.open();
    if order.together && inputs.len() < order.files.len() {
        console.note("nothing was sent: --together sends all files or none");
        return run.exit;
    }
    let batch = match order.together {
        true => inputs.len().max(1),
        false => 1,
    };
    if let (Some(path), [recipient]) = (&order.sift, order.to.as_slice()) {
        run.write(path, recipient, &mut inputs).await;
        return run.exit;
    }
    let mut carrier = Carrier::new(console, order.manner);
    for (endpoint, recipients) in by_host(order) {
        for recipient in recipients {
            for batch in inputs.chunks_mut(batch) {
                run.one(&mut carrier, &endpoint, recipient, batch).await;
            }
        }
    }
    carrier.end().await;
    run.exit
}

/// The recipients of each host, hosts and recipients in the order of the command line.
fn by_host(order: &Order) -> Vec<(Endpoint, Vec<&Recipient>)> {
    let mut groups: Vec<(Endpoint, Vec<&Recipient>)> = Vec::new();
    for recipient in &order.to {
        let endpoint = endpoint(recipient, order);
        match groups.iter_mut().find(|(known, _)| *known == endpoint) {
            Some((_, group)) => group.push(recipient),
            None => groups.push((endpoint, vec![recipient])),
        }
    }
    groups
}

/// Where a recipient's server is.
fn endpoint(recipient: &Recipient, order: &Order) -> Endpoint {
    match &recipient.host {
        Some(host) if !recipient.queued => Endpoint::Tcp {
            host: host.name.clone(),
            port: host.port.or(order.port),
        },
        _ => Endpoint::Local(order.socket.clone()),
    }
}

struct Run<'a> {
    console: Console,
    order: &'a Order,
    from: String,
    exit: Exit,
}

impl Run<'_> {
    /// Opens the files; those that cannot be read are reported for every recipient and left out.
    fn open(&mut self) -> Vec<Input> {
        let order = self.order;
        let now = Timestamp::now().as_second();
        let mut inputs = Vec::new();
        for path in &order.files {
            let again = order.to.len() > 1;
            match Input::open(path, order.coding, order.archive, again, now) {
                Ok(input) => inputs.push(input),
                Err(failure) => {
                    let label = path.to_string_lossy();
                    if order.json {
                        for recipient in &order.to {
                            self.report_failure(recipient, &label, 0.0, &failure.clone().into());
                        }
                    } else {
                        self.exit = self.exit.then(self.console.complain(&failure));
                    }
                }
            }
        }
        inputs
    }

    /// Sends one file, or all that go together.
    async fn one(
        &mut self,
        carrier: &mut Carrier,
        endpoint: &Endpoint,
        recipient: &Recipient,
        batch: &mut [Input],
    ) {
        let begun = Instant::now();
        let label = label_of(batch);
        let source = match &*batch {
            [input] => input.source.as_ref(),
            _ => None,
        };
        let prepared = self
            .prepared(recipient, batch)
            .and_then(|(transmission, parcel)| {
                let transfer = TransferId::of(&parcel, endpoint, source)?;
                Ok((transmission, parcel, transfer))
            });
        let (transmission, mut parcel, transfer) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return self.report_failure(recipient, &label, 0.0, &failure.into()),
        };
        parcel.xid = Some(transfer.id());
        let mut attempts = 0;
        let sent = carrier
            .carry(endpoint, || {
                attempts += 1;
                if attempts > 1 && !batch.iter().all(Input::again) {
                    return Ok(None);
                }
                outgoing(&parcel, transmission.as_ref(), batch, &label)
            })
            .await;
        let seconds = begun.elapsed().as_secs_f64();
        match sent {
            Ok(receipt) => {
                transfer.end(Exit::Done);
                self.report(recipient, &label, seconds, &receipt);
            }
            Err(not_sent) => {
                transfer.end(not_sent.failure.exit);
                self.report_failure(recipient, &label, seconds, &not_sent);
            }
        }
    }

    /// Writes one file, or all that go together, as a job.
    async fn write(&mut self, path: &Path, recipient: &Recipient, batch: &mut [Input]) {
        let begun = Instant::now();
        let label = label_of(batch);
        let written = async {
            let (transmission, parcel) = self.prepared(recipient, batch)?;
            match outgoing(&parcel, transmission.as_ref(), batch, &label)? {
                Some(outgoing) => job::write(outgoing, path).await,
                None => Err(Failure::new(Exit::NoInput, "nothing to write")),
            }
        };
        let written = written.await;
        let seconds = begun.elapsed().as_secs_f64();
        match written {
            Ok(measure) => self.report_job(path, recipient, &label, seconds, &measure),
            Err(failure) => self.report_failure(recipient, &label, seconds, &failure.into()),
        }
    }

    /// What is said of one file, or of all that go together, and how they become one.
    fn prepared(
        &self,
        recipient: &Recipient,
        batch: &[Input],
    ) -> Result<(Option<Transmission>, Parcel), Failure> {
        let parcel = self.parcel(recipient, batch)?;
        let transmission = self.transmission(recipient, batch, &parcel)?;
        for name in transmission.iter().flat_map(Transmission::doubles) {
            let name = shown(&name);
            self.console.note(&format!(
                "more than one of the files is called {name} in the transmission"
            ));
        }
        Ok((transmission, parcel))
    }

    fn parcel(&self, recipient: &Recipient, batch: &[Input]) -> Result<Parcel, Failure> {
        let mut warn = |text: String| self.console.note(&text);
        let (first, others) = batch
            .split_first()
            .ok_or_else(|| Failure::new(Exit::NoInput, "nothing to send"))?;
        // Of several files none is the name of the item: they have theirs inside.
        let own = first.name.as_deref().filter(|_| others.is_empty());
        let name = self.order.name.as_deref().or(own);
        let mut attributes = first.attributes.clone();
        attributes.retain(|said| others.iter().all(|other| other.attributes.contains(said)));
        let titled = self.order.said.attributes.iter().any(|(key, _)| key == "TITLE");
        if let (Some(name), false, false) = (&first.name, others.is_empty(), titled) {
            let name: String = name.chars().take(TITLE_MAX).collect();
            let title = format!("{name} and {} more", others.len());
            attributes.push(("TITLE".to_owned(), metadata::plain("title", &title, &mut warn)));
        }
        attributes.extend(self.order.said.attributes.iter().cloned());
        let sizes = batch.iter().map(|input| input.size);
        Ok(Parcel {
            // A job may go to any daemon, and so says where it is for.
            to: match self.order.sift {
                Some(_) => recipient.to_string(),
                None => recipient.told(),
            },
            from: self.from.clone(),
            size: sizes.sum(),
            spec: uft_spool::TypeSpec::plain(first.file_type),
            name: name.map(|name| metadata::plain("name", name, &mut warn)),
            attributes,
            aux: self.order.aux.clone(),
            xid: Some(transfer::random()?),
        })
    }

    /// The transmission of files that become NETDATA.
    fn transmission(
        &self,
        recipient: &Recipient,
        batch: &[Input],
        parcel: &Parcel,
    ) -> Result<Option<Transmission>, Failure> {
        let Some((shape, _)) = batch.first().and_then(|input| input.netdata) else {
            return Ok(None);
        };
        let formed = batch.iter().filter_map(|input| Some((input, input.netdata?.1)));
        let files: Vec<Inside<'_>> = formed
            .map(|(input, format)| Inside {
                name: match batch {
                    [_] => parcel.name.as_deref().unwrap_or_default(),
                    _ => input.name.as_deref().unwrap_or_default(),
                },
                format,
                size: input.size,
                changed: changed(&input.attributes),
            })
            .collect();
        let here = rustix::system::uname();
        let here = here.nodename().to_string_lossy();
        let there = recipient.host.as_ref().map(|host| host.name.as_str());
        let label = Label {
            from: (&self.from, &here),
            to: (&recipient.user, there.unwrap_or(&here)),
            note: self.order.note.as_deref(),
            receipt: self.order.receipt,
        };
        Transmission::new(shape, &label, &files).map(Some)
    }

    /// The files that go together.
    fn files(&self) -> Option<Vec<String>> {
        let files = self.order.files.iter();
        let labels = || files.map(|path| path.to_string_lossy().into_owned()).collect();
        self.order.together.then(labels)
    }

    fn report(&mut self, recipient: &Recipient, file: &str, seconds: f64, receipt: &Receipt) {
        let order = self.order;
        let printed = if order.json {
            self.console.line(&display::json(&Outcome {
                to: recipient.to_string(),
                file,
                files: self.files(),
                status: match receipt.job {
                    Some(_) => "queued",
                    None => "delivered",
                },
                code: Some(receipt.code),
                text: &receipt.text,
                id: receipt.id.map(SpoolId::get),
                bytes: Some(receipt.bytes),
                seconds,
                digest: Some(&receipt.digest),
                resumed_at: receipt.resumed_at,
                job: receipt.job.map(SpoolId::get),
            }))
        } else if order.quiet {
            Ok(())
        } else {
            let fate = fate(&recipient.to_string(), receipt.id, receipt.job);
            let resumed = receipt
                .resumed_at
                .map_or_else(String::new, |at| format!(", resumed at {}", units::size(at)));
            let (file, size) = (shown(file), units::size(receipt.bytes));
            self.console
                .line(&format!("{file}: {fate} ({size}, {seconds:.2} s{resumed})"))
        };
        if let Err(failure) = printed {
            self.exit = self.exit.then(self.console.complain(&failure));
        }
    }

    fn report_job(
        &mut self,
        path: &Path,
        recipient: &Recipient,
        file: &str,
        seconds: f64,
        measure: &Measure,
    ) {
        // Standard output is the job itself then.
        let printed = match path == Path::new("-") {
            false if self.order.json => self.console.line(&display::json(&Outcome {
                to: recipient.to_string(),
                file,
                files: self.files(),
                status: "written",
                code: None,
                text: &path.to_string_lossy(),
                id: None,
                bytes: Some(measure.bytes),
                seconds,
                digest: Some(&super::item::digest(measure)),
                resumed_at: None,
                job: None,
            })),
            false if !self.order.quiet => {
                let path = shown(&path.to_string_lossy());
                let (file, size) = (shown(file), units::size(measure.bytes));
                self.console.line(&format!(
                    "{file}: written as a job for {recipient} to {path} ({size})"
                ))
            }
            _ => Ok(()),
        };
        if let Err(failure) = printed {
            self.exit = self.exit.then(self.console.complain(&failure));
        }
    }

    fn report_failure(&mut self, recipient: &Recipient, file: &str, seconds: f64, not_sent: &NotSent) {
        let NotSent { failure, reply } = not_sent;
        self.exit = self.exit.then(failure.exit);
        if !self.order.json {
            let mut failure = failure.clone();
            failure.text = format!("{} to {recipient}: {}", shown(file), failure.text);
            self.console.complain(&failure);
            return;
        }
        let printed = self.console.line(&display::json(&Outcome {
            to: recipient.to_string(),
            file,
            files: self.files(),
            status: "failed",
            code: reply.as_ref().map(|(code, _)| *code),
            text: reply.as_ref().map_or(&failure.text, |(_, text)| text),
            id: None,
            bytes: None,
            seconds,
            digest: None,
            resumed_at: None,
            job: None,
        }));
        if let Err(failure) = printed {
            self.console.complain(&failure);
        }
    }
}

/// What became of a file that was accepted.
pub(crate) fn fate(to: &str, id: Option<SpoolId>, job: Option<SpoolId>) -> String {
    match (job, id) {
        (Some(job), _) => format!("queued as job {job} for {to}"),
        (None, Some(id)) => format!("delivered to {to} as item {id}"),
        (None, None) => format!("delivered to {to}"),
    }
}

/// A file that is about to go; `None` when it cannot be read once more.
fn outgoing(
    parcel: &Parcel,
    transmission: Option<&Transmission>,
    batch: &mut [Input],
    label: &str,
) -> Result<Option<Outgoing>, Failure> {
    let (body, reader) = match (transmission, &mut *batch) {
        (Some(transmission), batch) => input::transmit(batch, transmission)?,
        (None, [input, ..]) => input.body()?,
        (None, []) => return Ok(None),
    };
    Ok(Some(Outgoing {
        parcel: parcel.clone(),
        body,
        reader,
        label: label.to_owned(),
    }))
}

/// What a file is called here, or several that go together: `a.txt and 2 more`.
fn label_of(batch: &[Input]) -> String {
    match batch {
        [] => String::new(),
        [input] => input.label.clone(),
        [first, others @ ..] => format!("{} and {} more", first.label, others.len()),
    }
}

/// When a file was changed, by its attributes.
fn changed(attributes: &[(String, String)]) -> Option<Timestamp> {
    let (_, seconds) = attributes.iter().find(|(key, _)| key == "XDATE")?;
    Timestamp::from_second(seconds.parse().ok()?).ok()
}

/// Who the user is, for `FILE`: a claim, but to the local daemon.
pub(crate) fn login_name() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid{uid}"),
    }
}
