//! Sending: every file to every recipient, one connection a host.
//!
//! What it does *not* do: know the command line (`sendfile`, `names`), or give up early: a file that cannot be read or a
//! recipient that is refused does not stop the others.

mod archive;
pub(crate) mod carry;
pub(crate) mod input;
pub(crate) mod metadata;
pub(crate) mod netdata;
pub(crate) mod transfer;

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use self::carry::{Carrier, Manner, NotSent, Outgoing};
use self::input::{Coding, Input};
use self::metadata::Said;
use self::netdata::{Label, Transmission};
use self::transfer::TransferId;
use super::address::Recipient;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::units;
use crate::client::{Endpoint, Parcel, Receipt};
use crate::display::{self, shown};

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
    /// A message that goes before each file of a transmission.
    pub(crate) note: Option<String>,
    /// The second fork.
    pub(crate) aux: Option<Bytes>,
    /// Port of hosts that name none.
    pub(crate) port: u16,
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
struct Outcome<'a> {
    to: String,
    file: &'a str,
    status: &'static str,
    code: Option<u16>,
    text: &'a str,
    id: Option<u64>,
    bytes: Option<u64>,
    seconds: f64,
    digest: Option<&'a str>,
    resumed_at: Option<u64>,
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
    let mut carrier = Carrier::new(console, order.manner);
    for (endpoint, recipients) in by_host(order) {
        for recipient in recipients {
            for input in &mut inputs {
                run.one(&mut carrier, &endpoint, recipient, input).await;
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
        Some(host) => Endpoint::Tcp {
            host: host.name.clone(),
            port: host.port.unwrap_or(order.port),
        },
        None => Endpoint::Local(order.socket.clone()),
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

    async fn one(
        &mut self,
        carrier: &mut Carrier,
        endpoint: &Endpoint,
        recipient: &Recipient,
        input: &mut Input,
    ) {
        let begun = Instant::now();
        let label = input.label.clone();
        let prepared = self.parcel(recipient, input).and_then(|parcel| {
            let transfer = TransferId::of(&parcel, endpoint, input.source.as_ref())?;
            Ok((self.transmission(recipient, input, &parcel)?, parcel, transfer))
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
                if attempts > 1 && !input.again() {
                    return Ok(None);
                }
                let (body, reader) = input.body(transmission.as_ref())?;
                Ok(Some(Outgoing {
                    parcel: parcel.clone(),
                    body,
                    reader,
                    label: input.label.clone(),
                }))
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

    fn parcel(&self, recipient: &Recipient, input: &Input) -> Result<Parcel, Failure> {
        let mut warn = |text: String| self.console.note(&text);
        let name = self.order.name.as_deref().or(input.name.as_deref());
        let mut attributes = input.attributes.clone();
        attributes.extend(self.order.said.attributes.iter().cloned());
        Ok(Parcel {
            to: recipient.user.clone(),
            from: self.from.clone(),
            size: input.size,
            spec: uft_spool::TypeSpec::plain(input.file_type),
            name: name.map(|name| metadata::plain("name", name, &mut warn)),
            attributes,
            aux: self.order.aux.clone(),
            xid: None,
        })
    }

    /// The transmission of a file that becomes NETDATA.
    fn transmission(
        &self,
        recipient: &Recipient,
        input: &Input,
        parcel: &Parcel,
    ) -> Result<Option<Transmission>, Failure> {
        let Some((shape, format)) = input.netdata else {
            return Ok(None);
        };
        let here = rustix::system::uname();
        let here = here.nodename().to_string_lossy();
        let there = recipient.host.as_ref().map(|host| host.name.as_str());
        let changed = parcel.attributes.iter().find(|(key, _)| key == "XDATE");
        let label = Label {
            from: (&self.from, &here),
            to: (&recipient.user, there.unwrap_or(&here)),
            name: parcel.name.as_deref().unwrap_or_default(),
            size: input.size,
            changed: changed.and_then(|(_, seconds)| Timestamp::from_second(seconds.parse().ok()?).ok()),
            note: self.order.note.as_deref(),
        };
        Transmission::new(shape, format, &label).map(Some)
    }

    fn report(&mut self, recipient: &Recipient, file: &str, seconds: f64, receipt: &Receipt) {
        let order = self.order;
        let printed = if order.json {
            self.console.line(&display::json(&Outcome {
                to: recipient.to_string(),
                file,
                status: "delivered",
                code: Some(receipt.code),
                text: &receipt.text,
                id: receipt.id.map(uft_spool::SpoolId::get),
                bytes: Some(receipt.bytes),
                seconds,
                digest: Some(&receipt.digest),
                resumed_at: receipt.resumed_at,
            }))
        } else if order.quiet {
            Ok(())
        } else {
            let id = receipt.id.map_or_else(String::new, |id| format!(" as item {id}"));
            let resumed = receipt
                .resumed_at
                .map_or_else(String::new, |at| format!(", resumed at {}", units::size(at)));
            self.console.line(&format!(
                "{}: delivered to {recipient}{id} ({}, {seconds:.2} s{resumed})",
                shown(file),
                units::size(receipt.bytes)
            ))
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
            status: "failed",
            code: reply.as_ref().map(|(code, _)| *code),
            text: reply.as_ref().map_or(&failure.text, |(_, text)| text),
            id: None,
            bytes: None,
            seconds,
            digest: None,
            resumed_at: None,
        }));
        if let Err(failure) = printed {
            self.console.complain(&failure);
        }
    }
}

/// Who the user is, for `FILE`: a claim, but to the local daemon.
pub(crate) fn login_name() -> String {
    let uid = nix::unistd::getuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid{uid}"),
    }
}
