//! The command line of `uft`.
//!
//! What it does *not* do: the work (`inbox`, `receive`, `peek`, `forward`, `message`, `demo`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use uft_spool::{SpoolId, UserName};

use super::address::Host;
use super::aliases::Aliases;
use super::console::Console;
use super::daemon::Daemon;
use super::exit::{Exit, Failure};
use super::form::View;
use super::known_hosts::Tls;
use super::message::{Asking, one_line};
use super::queue::QueueArgs;
use super::receive::{Wanted, is_directory};
use super::send::carry::Manner;
use super::sendfile::unknown_page;
use super::submit::SubmitArgs;
use super::way::Ways;
use super::{demo, forward, inbox, message, pages, peek, queue, receive, socket, start, submit, units};
use crate::canon::Page;

/// Your inbox of files that others sent, messages, and questions to servers.
#[derive(Debug, Parser)]
#[command(name = "uft", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Uft {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Common {
    /// The local uftd's socket [default: UFT_SOCKET, /run/uft/uftd.sock, then your own uftd's]
    #[arg(long, value_name = "PATH", global = true, display_order = 900)]
    pub(crate) socket: Option<PathBuf>,
    /// Another user's inbox and jobs; for root and the daemon's own user
    #[arg(long, value_name = "NAME", global = true, display_order = 901)]
    pub(crate) user: Option<UserName>,
}

impl Common {
    /// The daemon that is meant.
    pub(crate) fn daemon(&self) -> Daemon {
        Daemon {
            socket: socket::find(self.socket.as_deref()),
            user: self.user.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the inbox, the newest last; a ? marks a sender whose name nobody proved
    Ls {
        /// One JSON object for each item
        #[arg(long)]
        json: bool,
    },
    /// Show everything about an item
    Stat {
        /// Its number
        id: SpoolId,
        /// One JSON object
        #[arg(long)]
        json: bool,
        /// Also compute the SHA-256 of the bytes as sent and as received
        #[arg(long)]
        sha256: bool,
    },
    /// Store items as files, and remove them from the inbox once they are on the disk
    #[command(after_help = RECEIVE)]
    Receive(ReceiveArgs),
    /// Show the first lines of an item
    Peek {
        /// Its number
        id: SpoolId,
        /// How many lines
        #[arg(long, value_name = "N", default_value_t = 10)]
        lines: usize,
    },
    /// Remove items without receiving them
    Discard {
        #[command(flatten)]
        which: Which,
    },
    /// Send an item on; it stays in your inbox too
    #[command(after_help = FORWARD)]
    Forward {
        /// Its number
        id: SpoolId,
        /// A local user, user@host, user@NODE, or an alias of yours
        to: String,
        /// Hand it to the local uftd's queue and return; to a NODE it always goes that way
        #[arg(long)]
        queue: bool,
        #[command(flatten)]
        net: Net,
    },
    /// Files of yours that wait to be sent to other hosts
    Queue(QueueArgs),
    /// Send files that are prepared as SIFT jobs (sendfile --sift makes one)
    #[command(after_help = SUBMIT)]
    Submit(SubmitArgs),
    /// Return when something arrives (75 when nothing did in time)
    Wait {
        /// How long: 30s, 5m [default: for ever]
        #[arg(long, value_name = "DUR", value_parser = units::duration)]
        timeout: Option<Duration>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print arrivals and messages as they come
    Watch {
        /// One JSON object for each event
        #[arg(long)]
        json: bool,
    },
    /// Send a one-line message to somebody who is there to read it
    #[command(after_help = TELL)]
    Tell {
        /// A local user, user@host, or an alias of yours
        to: String,
        /// The message
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        text: Vec<String>,
        #[command(flatten)]
        net: Net,
    },
    /// Ask a server: TIME, CPLEVEL, LOGMSG, FILES, USER name, ...
    #[command(after_help = QUERY)]
    Query {
        /// A node, HOST, HOST:PORT or [::1]:PORT
        #[arg(value_name = "HOST[:PORT]")]
        host: String,
        /// The question
        #[arg(required = true, value_name = "QUERY")]
        query: Vec<String>,
        #[command(flatten)]
        net: Net,
    },
    /// How the local uftd is
    Status {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Try everything on this machine: needs nothing but the three programs, and cleans up
    Demo,
    /// Print a completion script
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// For this shell
        shell: clap_complete::Shell,
        /// Of this program
        #[arg(value_enum, default_value_t = pages::Program::Uft)]
        program: pages::Program,
    },
    /// Write manual pages into a directory
    Man {
        /// The directory
        dir: PathBuf,
    },
}

/// Items by number, or all of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Numbers of items
    #[arg(value_name = "ID")]
    ids: Vec<SpoolId>,
    /// Everything in the inbox
    #[arg(long)]
    all: bool,
}

impl Which {
    fn ids(self, daemon: &Daemon) -> Result<Vec<SpoolId>, Failure> {
        match self.all {
            true => inbox::all(daemon),
            false => Ok(self.ids),
        }
    }
}

/// How another host is reached.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Net {
    /// The port of hosts that are named without one [default: 5608 in TLS, 608 in clear]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Whether the connection is encrypted
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) tls: Tls,
    /// The longest wait for each step of the conversation
    #[arg(long, value_name = "DUR", default_value = "1m", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// Show the conversation with the server
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl Net {
    /// The same for one question.
    pub(crate) fn asking(self) -> Asking {
        Asking {
            timeout: self.timeout,
            verbose: self.verbose,
            port: self.port,
            tls: self.tls,
        }
    }
}

#[derive(Debug, Args)]
struct ReceiveArgs {
    #[command(flatten)]
    which: Which,
    /// A file, or a directory that exists
    #[arg(short, long, value_name = "FILE|DIR", conflicts_with = "stdout")]
    output: Option<PathBuf>,
    /// Write to standard output; the item goes only when that is a file on a disk
    #[arg(long, conflicts_with = "json")]
    stdout: bool,
    /// Leave the item in the inbox
    #[arg(long)]
    keep: bool,
    /// The sender's bytes, exactly
    #[arg(long, conflicts_with_all = ["as_type", "codepage"])]
    wire: bool,
    /// As text lines (A), or as the bytes that were sent (I), whatever the type
    #[arg(
        long = "as",
        id = "as_type",
        value_name = "TYPE",
        value_enum,
        ignore_case = true
    )]
    as_type: Option<AsType>,
    /// NETDATA: the octets of the records, also of those that look like text
    #[arg(long, conflicts_with_all = ["wire", "as_type", "codepage"])]
    binary: bool,
    /// NETDATA: a file for each member of a library, named DATA.SET(MEMBER)
    #[arg(long, conflicts_with_all = ["wire", "stdout"])]
    members: bool,
    /// Read EBCDIC by this code page instead of the declared one
    #[arg(long, value_name = "NAME")]
    codepage: Option<String>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Where to store the second fork
    #[arg(long, value_name = "FILE")]
    aux: Option<PathBuf>,
    /// One JSON object for each item
    #[arg(long)]
    json: bool,
}

/// The values of `--as`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AsType {
    /// Text lines
    #[value(name = "A")]
    A,
    /// The bytes as sent
    #[value(name = "I")]
    I,
}

const EXAMPLES: &str = "\
Examples:
  uft ls                          what is there
  uft peek 3                      how it begins
  uft receive 3                   store it here, under a safe form of its name
  uft receive --all -o inbox/     store everything in a directory
  uft discard 4 5
  uft queue                       what is on its way to other hosts
  uft wait --timeout 5m && uft receive --all
  uft tell bob@beta.example lunch?
  uft demo

Called as rls, rcv, rrm, rstat, tell, cpq or sf (symbolic links) it takes the arguments of those commands.
Exit: 0 done; 64 usage; 65 does not fit; 66 no such item or job; 67 no such user; 68 no such host; 69 unreachable;
73 cannot create; 74 input/output; 75 uftd is not running, or try again; 76 protocol; 77 not allowed.";

const RECEIVE: &str = "\
The file gets a safe form of the name that was sent (no name: uft-ID), its date and its permission bits, but never
more than the umask allows. An existing file is never written over without --force: .1, .2 ... is added to the name.
The item is removed after the bytes were compared with their digest and are on the disk.

NETDATA (type N) is taken apart: a file for each file inside, lines of UTF-8 if all its records look like text, else the
octets of its records; a message beside a file becomes NAME.note. --as A and --binary say which, --wire and --as I give the
transmission itself. What is damaged or encrypted is stored as sent, with a note that says why; so is a library (PDS, PDSE) without
--members.

Examples:
  uft receive 3
  uft receive 3 -o report.txt --keep
  uft receive 3 --wire --stdout | sha256sum
  uft receive 3 --codepage IBM-273";

const FORWARD: &str = "\
Another host gets the bytes as they were sent, with their type, name and attributes; you are their sender.

Examples:
  uft forward 3 bob
  uft forward 3 alice@beta.example
  uft forward 3 maint@BETA
  uft forward 3 --queue alice@beta.example    now or later: uft queue shows how it stands";

const SUBMIT: &str = "\
A job is a file with what is said of it before it: FILE, USER, TYPE, META ... lines, then DATA, then the file to the end. You
are its sender, whatever name FILE gives. A job with a META XID that was accepted is not stored twice: submit it again
when no answer came.

Examples:
  uft submit job.sift
  sendfile --sift - maint@BETA notes.txt | ssh alpha uft submit -";

const TELL: &str = "\
Examples:
  uft tell bob lunch?
  uft tell bob@BETA lunch?             by the routes of this host's gateway
  uft tell alice@beta.example:6608 the report is on its way";

const QUERY: &str = "\
Examples:
  uft query beta.example TIME
  uft query BETA CPLEVEL               by the routes of this host's gateway
  uft query beta.example:6608 user alice";

const COMPLETIONS: &str = "\
Examples:
  uft completions bash > /etc/bash_completion.d/uft
  uft completions zsh sendfile > ~/.zfunc/_sendfile";

/// Runs `uft` with these arguments, the program's name first.
pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let console = Console { program: "uft" };
    let parsed: Uft = match start::parse(args) {
        Ok(parsed) => parsed,
        Err(exit) => return exit,
    };
    match command(console, parsed) {
        Ok(exit) => exit,
        Err(failure) => console.complain(&failure),
    }
}

fn command(console: Console, args: Uft) -> Result<Exit, Failure> {
    let daemon = args.common.daemon();
    match args.command {
        Command::Ls { json } => inbox::list(console, &daemon, json)?,
        Command::Stat { id, json, sha256 } => inbox::stat(console, &daemon, id, json, sha256)?,
        Command::Receive(args) => {
            let wanted = wanted(&args)?;
            let ids = args.which.ids(&daemon)?;
            if ids.len() > 1 {
                only_one(&wanted)?;
            }
            return Ok(receive::receive(console, &daemon, &ids, &wanted));
        }
        Command::Peek { id, lines } => peek::peek(console, &daemon, id, lines)?,
        Command::Discard { which } => {
            let ids = which.ids(&daemon)?;
            return Ok(inbox::discard(console, &daemon, &ids));
        }
        Command::Forward { id, to, queue, net } => {
            let mut to = Aliases::load()?.recipients(&[to])?;
            let ways = Ways {
                socket: daemon.socket.clone(),
                port: net.port,
                queue,
            };
            ways.decide(&mut to)?;
            let manner = Manner {
                timeout: net.timeout,
                tls: net.tls,
                retries: 2,
                verbose: net.verbose,
                progress: true,
            };
            let work = forward::forward(console, &daemon, id, &to, net.port, manner);
            return Ok(start::block_on(console, work));
        }
        Command::Submit(args) => return submit::submit(console, &daemon, &args),
        Command::Queue(args) => return queue::queue(console, &daemon, args),
        Command::Wait { timeout, json } => inbox::wait(console, &daemon, timeout, json)?,
        Command::Watch { json } => inbox::watch(console, &daemon, json)?,
        Command::Tell { to, text, net } => return tell(console, &daemon, to, &text, net.asking()),
        Command::Query { host, query, net } => {
            return query_host(console, &daemon, &host, &query, net.asking());
        }
        Command::Status { json } => inbox::status(console, &daemon, json)?,
        Command::Demo => demo::demo(console)?,
        Command::Completions { shell, program } => pages::completions(console, shell, program)?,
        Command::Man { dir } => pages::manuals(&dir)?,
    }
    Ok(Exit::Done)
}

/// `uft tell`, also as `tell`.
pub(crate) fn tell(
    console: Console,
    daemon: &Daemon,
    to: String,
    words: &[String],
    asking: Asking,
) -> Result<Exit, Failure> {
    let to = Aliases::load()?.recipients(&[to])?;
    let text = one_line(words)?;
    let work = message::tell(console, daemon.socket.clone(), &to, &text, asking);
    Ok(start::block_on(console, work))
}

/// `uft query`, also as `cpq`.
pub(crate) fn query_host(
    console: Console,
    daemon: &Daemon,
    host: &str,
    words: &[String],
    asking: Asking,
) -> Result<Exit, Failure> {
    let host = Host::parse(host, host)?;
    let work = async {
        match message::query(console, &daemon.socket, &host, words, asking).await {
            Ok(()) => Exit::Done,
            Err(failure) => console.complain(&failure),
        }
    };
    Ok(start::block_on(console, work))
}

fn wanted(args: &ReceiveArgs) -> Result<Wanted, Failure> {
    let page = match args.codepage.as_deref() {
        None => None,
        Some(label) => Some(Page::parse(label).ok_or_else(|| unknown_page(label))?),
    };
    let view = match (args.wire, args.as_type) {
        (true, _) | (_, Some(AsType::I)) => View::Wire,
        (false, Some(AsType::A)) => View::Text(page),
        (false, None) => View::Local,
    };
    Ok(Wanted {
        view,
        page,
        binary: args.binary,
        members: args.members,
        output: args.output.clone(),
        stdout: args.stdout,
        keep: args.keep,
        force: args.force,
        aux: args.aux.clone(),
        json: args.json,
    })
}

/// Several items do not go into one file.
fn only_one(wanted: &Wanted) -> Result<(), Failure> {
    if wanted.output.as_deref().is_some_and(|path| !is_directory(path)) {
        return Err(Failure::usage("-o names one file for several items")
            .hint("name a directory that exists, or receive one item at a time"));
    }
    if wanted.aux.is_some() {
        return Err(
            Failure::usage("--aux names one file for several items").hint("receive one item at a time")
        );
    }
    Ok(())
}
