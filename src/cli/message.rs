//! `uft tell` and `uft query`: one line to a user, one question to a server.
//!
//! What they do *not* do: speak the protocol (`client`).

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{Host, Recipient};
use super::console::Console;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::send::carry::{conversation, explained};
use super::send::login_name;
use crate::client::{Connection, Endpoint, Notice, Options};
use crate::display::shown;

/// Longest `MSG` or `CPQ` line that servers in the field take, in bytes.
const LINE_MAX: usize = 253;

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// For each step.
    pub(crate) timeout: Duration,
    /// The conversation on standard error.
    pub(crate) verbose: bool,
    /// Port of hosts that name none.
    pub(crate) port: u16,
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
            Some(host) => remote(console, host, recipient, text, asking).await,
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

fn local(socket: &std::path::Path, to: &Recipient, text: &str) -> Result<(), Failure> {
    let daemon = Daemon {
        socket: socket.to_owned(),
        user: None,
    };
    daemon.tell(&to.user, text)
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
    let told = connection.tell(&login_name(), &to.user, text, &mut watch).await;
    connection.quit(&mut watch).await;
    told.map(drop).map_err(|e| explained(&e).failure)
}

/// Asks a server and prints what it says.
pub(crate) async fn query(
    console: Console,
    host: &Host,
    words: &[String],
    asking: Asking,
) -> Result<(), Failure> {
    let query = words.join(" ");
    if let Some(c) = query.chars().find(|c| c.is_control()) {
        return Err(Failure::usage(format!("the query has {c:?} in it")));
    }
    fits("the query", "CPQ ".len() + query.len())?;
    let mut watch = |notice: Notice| conversation(console, asking.verbose, &notice);
    let mut connection = open(host, asking, &mut watch).await?;
    let answer = connection.query(&query, &mut watch).await;
    connection.quit(&mut watch).await;
    let lines = answer.map_err(|e| explained(&e).failure)?;
    console.lines(|out| lines.iter().try_for_each(|line| writeln!(out, "{}", shown(line))))
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
        port: host.port.unwrap_or(asking.port),
    };
    let options = Options {
        timeout: asking.timeout,
        credentials: None,
    };
    let opened = Connection::open(&endpoint, &options, watch).await;
    opened.map_err(|e| explained(&e).failure)
}
