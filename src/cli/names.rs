//! The commands of the POSIX reference, by the name the program is called by: `rls rcv rrm rstat tell cpq sf`.
//!
//! Their arguments become those of our own subcommands. What they do that ours do not (proxies, probes, AGENT keys) is
//! not there; `--nops` and `--chaff`, which only pad the conversation, are accepted and do nothing.
//! What it does *not* do: the work.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use uft_spool::SpoolId;

use super::console::Console;
use super::exit::{Exit, Failure};
use super::form::View;
use super::receive::{Wanted, receive};
use super::send::send;
use super::sendfile::{self, Kind, KindArgs, SaidArgs, WayArgs};
use super::uft::{self, Common, Net};
use super::{inbox, start};

/// Runs the program that `args` names, `own` when it is none of the reference's.
pub(crate) fn dispatch(args: Vec<OsString>, own: fn(Vec<OsString>) -> Exit) -> Exit {
    let name = args.first().map(PathBuf::from).unwrap_or_default();
    match name.file_name().and_then(|name| name.to_str()) {
        Some("sf") => with("sf", args, sf),
        Some("rls") => with("rls", args, rls),
        Some("rcv") => with("rcv", args, rcv),
        Some("rrm") => with("rrm", args, rrm),
        Some("rstat") => with("rstat", args, rstat),
        Some("tell") => with("tell", args, tell),
        Some("cpq") => with("cpq", args, cpq),
        Some("sendfile") => sendfile::run(args),
        Some("uft") => uft::run(args),
        _ => own(args),
    }
}

fn with<T: clap::CommandFactory + clap::FromArgMatches>(
    program: &'static str,
    args: Vec<OsString>,
    run: fn(Console, T) -> Result<Exit, Failure>,
) -> Exit {
    let console = Console { program };
    let parsed = match start::parse::<T>(args) {
        Ok(parsed) => parsed,
        Err(exit) => return exit,
    };
    match run(console, parsed) {
        Ok(exit) => exit,
        Err(failure) => console.complain(&failure),
    }
}

/// Send files to users on other machines
#[derive(Debug, Parser)]
#[command(name = "sf", version, after_help = SF, max_term_width = 100)]
struct Sf {
    /// The files (- is standard input), then who gets them
    #[arg(value_name = "FILE... [TO] USER@HOST", required = true, num_args = 2..)]
    words: Vec<String>,
    /// Text
    #[arg(short = 'a', long = "ascii")]
    ascii: bool,
    /// Octets: what no other option converts
    #[arg(
        short = 'i',
        visible_short_alias = 'b',
        long = "image",
        visible_alias = "binary",
        conflicts_with = "ascii"
    )]
    image: bool,
    /// A mail message
    #[arg(short = 'm', long = "mail")]
    mail: bool,
    /// Declare this type: A I E N M V
    #[arg(
        short = 't',
        long = "type",
        value_name = "TYPE",
        value_enum,
        ignore_case = true
    )]
    file_type: Option<Kind>,
    /// The name of the file
    #[arg(short = 'n', long = "name", value_name = "NAME", allow_hyphen_values = true)]
    name: Option<String>,
    /// Spool class
    #[arg(short = 'c', long = "class", value_name = "CLASS")]
    class: Option<String>,
    /// Copies
    #[arg(short = '#', long = "copies", value_name = "N")]
    copies: Option<u32>,
    /// Accepted, does nothing
    #[arg(long, value_name = "N", hide = true)]
    nops: Option<String>,
    /// Accepted, does nothing
    #[arg(long, value_name = "N", hide = true)]
    chaff: Option<String>,
    #[command(flatten)]
    way: WayArgs,
}

const SF: &str = "\
With -i the bytes of a type are sent as they are: sf -i -t N deck.netdata maint@vm.example

Examples:
  sf -a text.txt alice@beta.example:6608
  sf -a text.txt to maint at beta
  sf -a -n other.name -c 'A PRT' -# 3 text.txt alice@beta.example
  echo hello | sf -a - alice@beta.example";

fn sf(console: Console, args: Sf) -> Result<Exit, Failure> {
    let mut words = args.words;
    let to = recipient(&mut words);
    // `sf report.txt to alice@host`, as the field writes it; a file of that name is sent all the same when it is alone.
    if words.len() > 1 && words.last().is_some_and(|word| word.eq_ignore_ascii_case("to")) {
        words.pop();
    }
    let mut kind = KindArgs {
        file_type: args.file_type,
        // The type is a label then: the file has its wire form already.
        raw: args.image && args.file_type.is_some(),
        ..KindArgs::default()
    };
    match kind.file_type {
        Some(_) => {}
        None if args.mail => kind.mail = true,
        None if args.image => kind.image = true,
        None if args.ascii => kind.ascii = true,
        None => {}
    }
    let said = SaidArgs {
        name: args.name,
        class: args.class,
        copies: args.copies.filter(|&copies| copies > 1),
        ..SaidArgs::default()
    };
    let files = words.into_iter().map(PathBuf::from).collect();
    let order = sendfile::order_of(console, &[to], files, &kind, &said, &args.way, None)?;
    Ok(start::block_on(console, send(console, &order)))
}

/// Takes the recipient from the end: `user@host`, or `user at host` when a file is left then.
fn recipient(words: &mut Vec<String>) -> String {
    match words.as_slice() {
        [_, .., user, at, place] if at.eq_ignore_ascii_case("at") => {
            let to = format!("{user} at {place}");
            words.truncate(words.len() - 3);
            to
        }
        _ => words.pop().unwrap_or_default(),
    }
}

/// List the inbox
#[derive(Debug, Parser)]
#[command(name = "rls", version)]
struct Rls {
    #[command(flatten)]
    common: Common,
}

fn rls(console: Console, args: Rls) -> Result<Exit, Failure> {
    inbox::list(console, &args.common.daemon(), false).map(|()| Exit::Done)
}

/// An item; the first one in the inbox when none is named.
#[derive(Debug, Args)]
struct Item {
    /// Its number, as in 3 or 0003
    #[arg(value_name = "N")]
    id: Option<SpoolId>,
    #[command(flatten)]
    common: Common,
}

impl Item {
    fn id(&self) -> Result<SpoolId, Failure> {
        match self.id {
            Some(id) => Ok(id),
            None => inbox::all(&self.common.daemon())?
                .first()
                .copied()
                .ok_or_else(|| Failure::new(Exit::NoInput, "the inbox is empty")),
        }
    }
}

/// Receive a file
#[derive(Debug, Parser)]
#[command(
    name = "rcv",
    version,
    after_help = "Examples:\n  rcv\n  rcv 0003 report.txt\n  rcv -i 3"
)]
struct Rcv {
    #[command(flatten)]
    item: Item,
    /// The file to write, instead of the name that was sent
    name: Option<PathBuf>,
    /// As text, whatever the type
    #[arg(short = 'a', visible_short_alias = 't', conflicts_with = "image")]
    ascii: bool,
    /// As the bytes that were sent
    #[arg(short = 'i', visible_short_alias = 'b')]
    image: bool,
}

fn rcv(console: Console, args: Rcv) -> Result<Exit, Failure> {
    let id = args.item.id()?;
    let view = match (args.ascii, args.image) {
        (true, _) => View::Text(None),
        (_, true) => View::Wire,
        _ => View::Local,
    };
    let wanted = Wanted {
        view,
        stdout: args.name.as_deref() == Some(Path::new("-")),
        output: args.name.filter(|name| name != Path::new("-")),
        ..Wanted::default()
    };
    Ok(receive(console, &args.item.common.daemon(), &[id], &wanted))
}

/// Remove a file from the inbox
#[derive(Debug, Parser)]
#[command(name = "rrm", version)]
struct Rrm {
    #[command(flatten)]
    item: Item,
}

fn rrm(console: Console, args: Rrm) -> Result<Exit, Failure> {
    let id = args.item.id()?;
    Ok(inbox::discard(console, &args.item.common.daemon(), &[id]))
}

/// Show the attributes of a file
#[derive(Debug, Parser)]
#[command(name = "rstat", version)]
struct Rstat {
    #[command(flatten)]
    item: Item,
}

fn rstat(console: Console, args: Rstat) -> Result<Exit, Failure> {
    let id = args.item.id()?;
    inbox::stat(console, &args.item.common.daemon(), id, false, false).map(|()| Exit::Done)
}

/// Send a one-line message
#[derive(Debug, Parser)]
#[command(
    name = "tell",
    version,
    after_help = "Examples:\n  tell alice@beta.example:6608 hello world\n  tell alice at beta hello world"
)]
struct Tell {
    /// A local user, user@host, or an alias of yours
    to: String,
    /// The message
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    text: Vec<String>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    net: Net,
}

fn tell(console: Console, args: Tell) -> Result<Exit, Failure> {
    let (to, text) = match args.text.as_slice() {
        // As everywhere in the field: who writes to a user here does not begin with "at".
        [at, place, text @ ..] if at.eq_ignore_ascii_case("at") && !text.is_empty() => {
            (format!("{} at {place}", args.to), text)
        }
        text => (args.to, text),
    };
    uft::tell(console, &args.common.daemon(), to, text, args.net.asking())
}

/// Ask a server
#[derive(Debug, Parser)]
#[command(
    name = "cpq",
    version,
    after_help = "Example:\n  cpq -h beta.example:6608 time",
    disable_help_flag = true
)]
struct Cpq {
    /// The server
    #[arg(
        short = 'h',
        long = "host",
        value_name = "HOST[:PORT]",
        default_value = "localhost"
    )]
    host: String,
    /// TIME, CPLEVEL, LOGMSG, FILES, USER name, ...
    #[arg(required = true)]
    query: Vec<String>,
    #[command(flatten)]
    net: Net,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

fn cpq(console: Console, args: Cpq) -> Result<Exit, Failure> {
    let daemon = Common::default().daemon();
    uft::query_host(console, &daemon, &args.host, &args.query, args.net.asking())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_recipient_and_what_is_before_them_are_files() {
        for (words, to, files) in [
            (
                &["a.txt", "bob@beta"] as &[&str],
                "bob@beta",
                &["a.txt"] as &[&str],
            ),
            (&["a.txt", "bob", "AT", "beta"], "bob at beta", &["a.txt"]),
            (
                &["a.txt", "to", "bob", "at", "beta"],
                "bob at beta",
                &["a.txt", "to"],
            ),
            // Nothing would be left to send: two files for a local user.
            (&["a.txt", "at", "bob"], "bob", &["a.txt", "at"]),
        ] {
            let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(recipient(&mut words), to);
            assert_eq!(words, files);
        }
    }
}
