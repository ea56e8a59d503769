//! `uft tell` and `uft query`: one line to a user, one question to a server.
//!
//! What is for a place to which the local daemon has a route goes through the daemon, which other gateways know; anything
//! else is said directly. What they do *not* do: speak the protocol (`client`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::{Host, Recipient};
use super::console::Console;
use super::daemon::{Daemon, answered, unexpected};
use super::exit::{Exit, Failure};
use super::known_hosts::{self, Tls};
use super::send::carry::{conversation, explained};
use super::send::login_name;
use crate::client::{Connection, Endpoint, Notice};
use crate::display::shown;
use crate::local::client::{AskError, ask};
use crate::local::{Answer, Request, Why};

/// Longest `MSG` or `CPQ` line that servers in the field take, in bytes.
const LINE_MAX: usize = 253;

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// For each step.
    pub(crate) timeout: Duration,
    /// The conversation on standard error.
    pub(crate) verbose: bool,
    /// Port of hosts that name none, if one was given.
    pub(crate) port: Option<u16>,
    /// In TLS or in clear.
    pub(crate) tls: Tls,
}

/// Sends a message to each recipient; the first failure decides.
pub(crate) async fn tell(
    console: Console,
    socket: PathBuf,
    to: &[Recipient],
    text: &str,
    asking: Asking,
) -> Exit {
    let mut exit = Exit::Done;
    for recipient in to {
        let told = match &recipient.host {
            None => local(&socket, recipient, text),
            Some(host) => match routed(&socket, host, asking, tell_request(recipient, text)) {
                Some(told) => told.map(drop),
                None => remote(console, host, recipient, text, asking).await,
            },
        };
        if let Err(mut failure) = told {
            failure.text = format!("{recipient}: {}", failure.text);
            exit = exit.then(console.complain(&failure));
        }
    }
    exit
}

/// The words of a message as one line that nothing can be hidden in.
pub(crate) fn one_line(words: &[String]) -> Result<String, Failure> {
    let text = words.join(" ");
    if text.trim().is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    if let Some(c) = text.chars().find(|c| c.is_control()) {
        return Err(Failure::usage(format!(
            "the message has {c:?} in it, and is one line of text"
        )));
    }
    Ok(text)
}

fn local(socket: &Path, to: &Recipient, text: &str) -> Result<(), Failure> {
    let daemon = Daemon {
        socket: socket.to_owned(),
        user: None,
    };
    daemon.tell(&to.user, text)
}

fn tell_request(to: &Recipient, text: &str) -> Request {
    Request::Tell {
        to: to.to_string(),
        text: text.to_owned(),
    }
}

/// What the local daemon says, if it has a route there. A port names one server and no other.
fn routed(socket: &Path, host: &Host, asking: Asking, request: Request) -> Option<Result<Answer, Failure>> {
    if host.port.is_some() || asking.port.is_some() {
        return None;
    }
    let answer = ask(socket, &request).and_then(|mut asked| asked.only());
    match answer {
        Err(AskError::NotRunning { .. })
        | Ok(Answer::Refused {
            why: Why::NoRoute, ..
        }) => None,
        Err(err) => Some(Err(err.into())),
        Ok(answer) => Some(answered(answer)),
    }
}

async fn remote(
    console: Console,
    host: &Host,
    to: &Recipient,
    text: &str,
    asking: Asking,
) -> Result<(), Failure> {
    fits("the message", "MSG ".len() + to.user.len() + 1 + text.len())?;
    let mut watch = |notice: Notice| conversation(console, asking.verbose, &notice);
    let mut connection = open(host, asking, &mut watch).await?;
    let told = connection
        .tell(&login_name(), &to.user, text, Vec::new(), &mut watch)
        .await;
    connection.quit(&mut watch).await;
    told.map(drop).map_err(|e| explained(&e).failure)
}

/// Asks a server and prints what it says.
pub(crate) async fn query(
    console: Console,
    socket: &Path,
    host: &Host,
    words: &[String],
    asking: Asking,
) -> Result<(), Failure> {
    let query = words.join(" ");
    if let Some(c) = query.chars().find(|c| c.is_control()) {
        return Err(Failure::usage(format!("the query has {c:?} in it")));
    }
    let request = Request::Query {
        place: host.to_string(),
        query: query.clone(),
    };
    let lines = match routed(socket, host, asking, request) {
        Some(answer) => match answer? {
            Answer::Lines(lines) => lines,
            other => return Err(unexpected(&other)),
        },
        None => asked(console, host, &query, asking).await?,
    };
    console.lines(|out| lines.iter().try_for_each(|line| writeln!(out, "{}", shown(line))))
}

/// Asks the server itself.
async fn asked(console: Console, host: &Host, query: &str, asking: Asking) -> Result<Vec<String>, Failure> {
    fits("the query", "CPQ ".len() + query.len())?;
    let mut watch = |notice: Notice| conversation(console, asking.verbose, &notice);
    let mut connection = open(host, asking, &mut watch).await?;
    let answer = connection.query(query, Vec::new(), &mut watch).await;
    connection.quit(&mut watch).await;
    answer.map_err(|e| explained(&e).failure)
}

fn fits(what: &str, length: usize) -> Result<(), Failure> {
    match length.checked_sub(LINE_MAX) {
        None | Some(0) => Ok(()),
        Some(over) => Err(
            Failure::usage(format!("{what} is {over} bytes too long for one line")).hint("send it as a file"),
        ),
    }
}

async fn open(
    host: &Host,
    asking: Asking,
    watch: &mut (dyn FnMut(Notice) + Send),
) -> Result<Connection, Failure> {
    let endpoint = Endpoint::Tcp {
        host: host.name.clone(),
        port: host.port.or(asking.port),
    };
    let opened = known_hosts::open(&endpoint, asking.timeout, asking.tls, watch).await;
    opened.map_err(|not| not.failure)
}
