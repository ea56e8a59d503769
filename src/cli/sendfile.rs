//! The command line of `sendfile`.
//!
//! What it does *not* do: send (`send` does).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::{ArgAction, Args, Parser, ValueEnum};
use uft_spool::FileType;

use super::address::quoted;
use super::aliases::Aliases;
use super::console::Console;
use super::exit::{Exit, Failure, reason};
use super::known_hosts::Tls;
use super::send::carry::Manner;
use super::send::input::Coding;
use super::send::metadata::{Said, plain};
use super::send::netdata::NetdataArgs;
use super::send::{Order, login_name, send};
use super::way::Ways;
use super::{socket, start, units};
use crate::canon::{Page, Policy};

/// Send files to users on other machines, without an account there.
#[derive(Debug, Parser)]
#[command(name = "sendfile", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Sendfile {
    /// Who gets the files: user@host, user@host:port, user@[::1]:port, user@NODE, a local user, or an alias; several with
    /// commas
    #[arg(value_name = "TO[,TO...]", required = true)]
    to: String,
    /// The files; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    kind: KindArgs,
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    way: WayArgs,
    /// Write a SIFT job to this file (- is standard output) instead of sending; uft submit sends it
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "queue",
        help_heading = "How it is sent"
    )]
    sift: Option<PathBuf>,
}

/// What the bytes are.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What the file is")]
pub(crate) struct KindArgs {
    /// auto is A when the whole file is UTF-8 text without CR and NUL, else I
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        value_enum,
        ignore_case = true,
        group = "kind"
    )]
    pub(crate) file_type: Option<Kind>,
    /// Text: the same as -t A
    #[arg(short = 'a', long = "ascii", group = "kind")]
    pub(crate) ascii: bool,
    /// Octets, nothing converted: the same as -t I
    #[arg(short = 'i', long = "image", visible_short_alias = 'b', group = "kind")]
    pub(crate) image: bool,
    /// A mail message: the same as -t M
    #[arg(short = 'm', long = "mail", group = "kind")]
    pub(crate) mail: bool,
    /// The code page of an E or N file [default: IBM-1047]
    #[arg(long, value_name = "NAME")]
    pub(crate) codepage: Option<String>,
    /// Characters that the code page does not have become SUB
    #[arg(long)]
    pub(crate) substitute: bool,
    /// Typographic characters that the code page does not have become plain ones
    #[arg(long)]
    pub(crate) translit: bool,
    /// The file is already in the wire form of its type: nothing is examined or converted
    #[arg(long)]
    pub(crate) raw: bool,
    /// The character set of an A or M file, for the recipient
    #[arg(long, value_name = "LABEL")]
    pub(crate) charset: Option<String>,
    /// Send a directory as one tar file
    #[arg(long)]
    pub(crate) archive: bool,
    #[command(flatten)]
    pub(crate) netdata: NetdataArgs,
}

/// What is said of the file.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What the recipient is told")]
pub(crate) struct SaidArgs {
    /// The name of the file, instead of its own
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) name: Option<String>,
    /// A title
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) title: Option<String>,
    /// Spool class
    #[arg(long, value_name = "C")]
    pub(crate) class: Option<String>,
    /// Form
    #[arg(long, value_name = "F")]
    pub(crate) form: Option<String>,
    /// Distribution code
    #[arg(long, value_name = "D")]
    pub(crate) dist: Option<String>,
    /// Copies to print
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) copies: Option<u32>,
    /// Ask that the file be held
    #[arg(long)]
    pub(crate) hold: bool,
    /// Any other attribute
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) meta: Vec<String>,
    /// A second fork (resource fork, extended attributes) that goes with the file
    #[arg(long, value_name = "FILE")]
    pub(crate) aux: Option<PathBuf>,
    /// Ask for a message when the file is delivered, or also when the recipient takes it; NETDATA then asks for a receipt
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) notify: Option<Notify>,
}

/// How it is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "How it is sent")]
pub(crate) struct WayArgs {
    /// The port of hosts that are named without one [default: 5608 in TLS, 608 in clear]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Whether the connection is encrypted
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) tls: Tls,
    /// Hand the file to the local uftd's queue and return: it is sent as soon as the other host takes it
    #[arg(long)]
    pub(crate) queue: bool,
    /// The local uftd's socket, for local users, nodes and the queue
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The longest wait for each step of the conversation: 30s, 5m
    #[arg(long, value_name = "DUR", default_value = "2m", value_parser = units::duration)]
    pub(crate) timeout: Duration,
    /// Further attempts when a failure may pass: a large file goes on where it was, and none is stored twice
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) retries: u32,
    /// Say nothing of what went well
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// One JSON object for each recipient and file
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the conversation with the server
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
}

/// The values of `--type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A when the recipient gets the same bytes, else I
    #[default]
    Auto,
    /// Text; lines end with CR LF on the way
    #[value(name = "A", alias = "T")]
    A,
    /// Octets
    #[value(name = "I", aliases = ["B", "U"])]
    I,
    /// EBCDIC text
    #[value(name = "E")]
    E,
    /// NETDATA, as CMS and z/OS exchange files
    #[value(name = "N")]
    N,
    /// A mail message
    #[value(name = "M")]
    M,
    /// Records with a 16-bit length, one for each line
    #[value(name = "V")]
    V,
}

/// The values of `--notify`: `META NOTIFY user@host`, and for the second `META NOTIFY user@host received`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Notify {
    /// When the file is in the recipient's inbox
    Delivered,
    /// Then, and when the recipient takes it
    Received,
}

const EXAMPLES: &str = "\
Examples:
  sendfile alice@beta.example report.txt
  sendfile alice@beta.example,bob@[2001:db8::1]:6608 *.csv
  sendfile bob notes.txt                      to a local user, who sees that it was you
  sendfile maint@BETA notes.txt               to a node that the local uftd has a route for
  sendfile --queue alice@beta.example big.iso     now or later: uft queue shows how it stands
  tar cz dir | sendfile --name dir.tgz alice@beta.example -
  sendfile --archive alice@beta.example dir
  sendfile --sift job.sift maint@BETA notes.txt   for uft submit, or for another machine
  sendfile -t E --codepage IBM-273 maint@vm.example profile.exec
  sendfile -t N maint@vm.example notes.text   as SENDFILE and TRANSMIT send files
  sendfile -t N --binary --note 'as agreed' ibmuser@mvs.example my.load
  sendfile -t N --together maint@vm.example *.rexx    one transmission of several files
  sendfile -t N --raw maint@vm.example deck.netdata

Aliases are kept in ~/.config/uft/aliases.toml: team = [\"alice@beta.example\", \"bob\"]
A name without a dot and a port is a node when the local uftd has a route for it: then the file goes into its queue. Else
it is a host. What was queued is answered for by the local uftd: it tries again, and tells the sender when it gives up.
Exit: 0 accepted by every server, or queued; 64 usage; 65 does not fit the code page or type; 66 cannot read; 67 no such user;
68 no such host; 69 unreachable; 73 no room there; 74 input/output; 75 try again later; 76 protocol; 77 refused.
The first failure decides.";

/// Runs `sendfile` with these arguments, the program's name first.
pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let console = Console { program: "sendfile" };
    let parsed: Sendfile = match start::parse(args) {
        Ok(parsed) => parsed,
        Err(exit) => return exit,
    };
    match order(console, &parsed) {
        Ok(order) => start::block_on(console, send(console, &order)),
        Err(failure) => console.complain(&failure),
    }
}

fn order(console: Console, args: &Sendfile) -> Result<Order, Failure> {
    let to: Vec<String> = args.to.split(',').map(str::to_owned).collect();
    let files = args.files.clone();
    let sift = args.sift.as_deref();
    let order = order_of(console, &to, files, &args.kind, &args.said, &args.way, sift)?;
    let one = order.files.len() == 1 || order.together;
    if sift.is_some() && (order.to.len() != 1 || !one) {
        return Err(Failure::usage("a job is one file for one recipient")
            .hint("write one job for each; -t N --together makes one of several files"));
    }
    Ok(order)
}

/// An order of the parts of a command line; `sf` has the same parts in another order.
pub(crate) fn order_of(
    console: Console,
    to: &[String],
    files: Vec<PathBuf>,
    kind: &KindArgs,
    said: &SaidArgs,
    way: &WayArgs,
    sift: Option<&Path>,
) -> Result<Order, Failure> {
    let mut warn = |text: String| console.note(&text);
    let socket = socket::find(way.socket.as_deref());
    let mut to = Aliases::load()?.recipients(to)?;
    let ways = Ways {
        socket: socket.clone(),
        port: way.port,
        queue: way.queue,
    };
    match sift {
        // Which way a job goes is decided by whoever takes it.
        Some(_) => ways.keep(&mut to),
        None => ways.decide(&mut to)?,
    }
    let together = kind.netdata.together;
    if said.name.is_some() && files.len() > 1 && !together {
        return Err(
            Failure::usage(format!("--name gives one name to {} files", files.len()))
                .hint("send the files one at a time"),
        );
    }
    if files.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::usage("standard input (-) is named twice"));
    }
    let coding = coding(kind)?;
    let attributes = attributes(kind, said, coding.file_type, &mut warn)?;
    Ok(Order {
        to,
        files,
        coding,
        archive: kind.archive,
        name: said.name.as_deref().map(|name| plain("name", name, &mut warn)),
        said: attributes,
        note: kind.netdata.note.clone(),
        together,
        receipt: said.notify == Some(Notify::Received),
        aux: said.aux.as_deref().map(fork).transpose()?,
        port: way.port,
        sift: sift.map(Path::to_owned),
        socket,
        manner: Manner {
            timeout: way.timeout,
            tls: way.tls,
            retries: way.retries,
            verbose: way.verbose,
            progress: !way.quiet && !way.json,
        },
        quiet: way.quiet,
        json: way.json,
    })
}

fn fork(path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(|e| {
        Failure::new(
            Exit::NoInput,
            format!("cannot read {}: {}", path.display(), reason(&e)),
        )
    })
}

fn coding(args: &KindArgs) -> Result<Coding, Failure> {
    let kind = match (args.ascii, args.image, args.mail) {
        (true, _, _) => Kind::A,
        (_, true, _) => Kind::I,
        (_, _, true) => Kind::M,
        _ => args.file_type.unwrap_or_default(),
    };
    let file_type = match kind {
        // Bytes that nobody looks at are octets.
        Kind::Auto if args.raw || args.archive => Some(FileType::I),
        Kind::Auto => None,
        Kind::A => Some(FileType::A),
        Kind::I => Some(FileType::I),
        Kind::E => Some(FileType::E),
        Kind::N => Some(FileType::N),
        Kind::M => Some(FileType::M),
        Kind::V => Some(FileType::V),
    };
    let netdata = file_type == Some(FileType::N) && !args.raw;
    if let Some(option) = args.netdata.given().filter(|_| !netdata) {
        return Err(
            Failure::usage(format!("{option} is for NETDATA that is made here"))
                .hint("give it with -t N and without --raw"),
        );
    }
    if args.archive && file_type != Some(FileType::I) {
        return Err(Failure::usage("--archive makes a tar file, which is of type I"));
    }
    let paged = matches!(file_type, Some(FileType::E | FileType::N));
    if args.codepage.is_some() && !paged {
        return Err(Failure::usage("--codepage is for the types E and N")
            .hint("for text in another character set there is --charset"));
    }
    if args.charset.is_some() && paged {
        return Err(
            Failure::usage("--charset is for the types A and M").hint("the types E and N have a --codepage")
        );
    }
    let page = match args.codepage.as_deref() {
        // What is sent as it is may be labelled as the sender likes.
        Some(_) if args.raw => None,
        Some(label) => Some(Page::parse(label).ok_or_else(|| unknown_page(label))?),
        None => None,
    };
    let policy = Policy::of(args.translit, args.substitute);
    Ok(Coding {
        file_type,
        raw: args.raw,
        page,
        policy,
        netdata: netdata.then(|| args.netdata.shape(page, policy)),
    })
}

/// A code page that nobody here knows, with those that are known.
pub(crate) fn unknown_page(label: &str) -> Failure {
    let known: Vec<String> = Page::ALL.iter().map(ToString::to_string).collect();
    Failure::usage(format!("code page {} is not known", quoted(label)))
        .hint(format!("known are {}", known.join(", ")))
}

fn attributes(
    kind: &KindArgs,
    args: &SaidArgs,
    file_type: Option<FileType>,
    warn: &mut dyn FnMut(String),
) -> Result<Said, Failure> {
    let mut said = Said::default();
    if let Some(label) = kind.charset.as_ref().or(kind.codepage.as_ref()) {
        // A known page travels under its own name, whatever it was called here.
        let page = Page::parse(label).filter(|_| file_type == Some(FileType::E) || kind.codepage.is_some());
        let label = page.map_or_else(|| label.clone(), |page| page.to_string());
        said.add("CHARSET", &label, warn)?;
    }
    let copies = args.copies.map(|copies| copies.to_string());
    let notify = args.notify.map(|when| {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let address = format!("{}@{host}", login_name());
        match when {
            Notify::Delivered => address,
            Notify::Received => format!("{address} received"),
        }
    });
    for (key, value) in [
        ("TITLE", args.title.as_deref()),
        ("CLASS", args.class.as_deref()),
        ("FORM", args.form.as_deref()),
        ("DIST", args.dist.as_deref()),
        ("COPIES", copies.as_deref()),
        ("HOLD", args.hold.then_some("YES")),
        ("NOTIFY", notify.as_deref()),
    ] {
        if let Some(value) = value {
            said.add(key, value, warn)?;
        }
    }
    for pair in &args.meta {
        said.add_pair(pair, warn)?;
    }
    Ok(said)
}
