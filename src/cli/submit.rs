//! `uft submit`: a file that is prepared as a SIFT job, handed to the local daemon.
//!
//! The job is fed to a session on the local socket, where the same rules hold for it as for every file: it is the user who
//! submits it that sends it, whatever name stands in it. While it goes out the answers are read, so that neither side
//! waits for the other.
//! What it does *not* do: understand the job (`sift` and the session do), or try again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use clap::Args;
use uft_spool::SpoolId;

use super::console::Console;
use super::daemon::{Daemon, answered, unexpected};
use super::exit::{Exit, Failure, reason};
use super::send::carry::{NotSent, explained};
use super::send::{Outcome, fate};
use super::units;
use crate::client::ClientError;
use crate::display::{self, shown};
use crate::local::client::ask;
use crate::local::{Answer, Request};
use crate::proto::Code;
use crate::sift::Feed;

/// Bytes of a job read at once.
const PIECE: usize = 256 * 1024;
/// Longest line that the daemon says, and more.
const LINE: u64 = 4096;

/// The arguments of `uft submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The jobs; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The longest wait for the daemon
    #[arg(long, value_name = "DUR", default_value = "2m", value_parser = units::duration)]
    timeout: Duration,
    /// Say nothing of what went well
    #[arg(short, long)]
    quiet: bool,
    /// One JSON object for each job
    #[arg(long)]
    json: bool,
}

/// What the daemon said to a job.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// The recipient, as the daemon understood it.
    to: Option<String>,
    /// Bytes of the file that it has counted.
    bytes: Option<u64>,
    /// What it did not take, in order.
    refusals: Vec<(u16, String)>,
    /// It has the file.
    accepted: Option<(u16, String)>,
}

/// Submits each job; the first failure decides.
pub(crate) fn submit(console: Console, daemon: &Daemon, args: &SubmitArgs) -> Result<Exit, Failure> {
    if daemon.user.is_some() {
        return Err(Failure::usage("--user: who submits a job is its sender").hint("submit it as that user"));
    }
    let mut exit = Exit::Done;
    for path in &args.files {
        let begun = Instant::now();
        let mut heard = Heard::default();
        let done = one(daemon, path, args.timeout, &mut heard);
        let (code, failed) = match &done {
            Ok(()) => (Exit::Done, None),
            Err(not_sent) => (not_sent.failure.exit, Some(not_sent)),
        };
        exit = exit.then(code);
        report(console, args, path, &heard, failed, begun.elapsed().as_secs_f64())?;
    }
    Ok(exit)
}

fn report(
    console: Console,
    args: &SubmitArgs,
    path: &Path,
    heard: &Heard,
    failed: Option<&NotSent>,
    seconds: f64,
) -> Result<(), Failure> {
    let file = path.to_string_lossy();
    let to = heard.to.clone().unwrap_or_default();
    let (id, job) = match &heard.accepted {
        Some((_, text)) => (number(text, "id="), number(text, "job=")),
        None => (None, None),
    };
    if args.json {
        let said = match failed {
            None => heard.accepted.as_ref(),
            Some(not_sent) => not_sent.reply.as_ref(),
        };
        let own = failed.map_or("", |not_sent| not_sent.failure.text.as_str());
        return console.line(&display::json(&Outcome {
            to,
            file: &file,
            files: None,
            status: match (failed, job) {
                (Some(_), _) => "failed",
                (None, Some(_)) => "queued",
                (None, None) => "delivered",
            },
            code: said.map(|(code, _)| *code),
            text: said.map_or(own, |(_, text)| text),
            id: id.map(SpoolId::get),
            bytes: heard.bytes.filter(|_| failed.is_none()),
            seconds,
            digest: None,
            resumed_at: None,
            job: job.map(SpoolId::get),
        }));
    }
    let file = shown(&file);
    if let Some(not_sent) = failed {
        let mut failure = not_sent.failure.clone();
        failure.text = format!("{file}: {}", failure.text);
        console.complain(&failure);
        return Ok(());
    }
    for (code, text) in &heard.refusals {
        console.note(&format!(
            "{file}: the daemon does not take: {code} {}",
            shown(text)
        ));
    }
    match args.quiet {
        true => Ok(()),
        false => {
            let size = units::size(heard.bytes.unwrap_or_default());
            let fate = fate(&shown(&to), id, job);
            console.line(&format!("{file}: {fate} ({size}, {seconds:.2} s)"))
        }
    }
}

/// Submits one job.
fn one(daemon: &Daemon, path: &Path, patience: Duration, heard: &mut Heard) -> Result<(), NotSent> {
    let unreadable = |err: io::Error| {
        Failure::new(
            Exit::NoInput,
            format!(
                "cannot read {}: {}",
                shown(&path.display().to_string()),
                reason(&err)
            ),
        )
    };
    let (job, total) = open(path).map_err(unreadable)?;
    if total == 0 {
        return Err(Failure::new(Exit::DataError, "the job is empty").into());
    }
    let mut asked = ask(&daemon.socket, &Request::Session).map_err(Failure::from)?;
    match answered(asked.only().map_err(Failure::from)?)? {
        Answer::Done { .. } => {}
        other => return Err(unexpected(&other).into()),
    }
    let (stream, ahead) = asked.into_session();
    let broken = |err: io::Error| Failure::new(Exit::Temporary, format!("the local uftd: {}", reason(&err)));
    stream.set_read_timeout(Some(patience)).map_err(broken)?;
    stream.set_write_timeout(Some(patience)).map_err(broken)?;
    let written = AtomicU64::new(0);
    let (fed, listened) = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let fed = feed(job, total, &stream, &written);
            if fed.is_err() {
                // Closed in the middle: nothing of it is kept.
                let _ = stream.shutdown(Shutdown::Both);
            }
            fed
        });
        let listened = listen(&stream, ahead, &written, heard);
        let _ = stream.shutdown(Shutdown::Both);
        (feeding.join(), listened)
    });
    match fed {
        Ok(Err(failure)) => return Err(failure.into()),
        Ok(Ok(())) => {}
        Err(panic) => std::panic::resume_unwind(panic),
    }
    // What came first is the reason for what came then; an attribute that was not taken is none.
    let refusal = heard.refusals.iter().find(|(code, _)| *code != 500);
    match (&heard.accepted, refusal.or(heard.refusals.first()), listened) {
        (Some(_), ..) => Ok(()),
        (None, Some((code, text)), _) => Err(refused(*code, text)),
        (None, None, listened) => Err(explained(&listened.err().unwrap_or(ClientError::Lost {
            step: "the job".into(),
        }))),
    }
}

/// A job that the daemon did not take.
fn refused(code: u16, text: &str) -> NotSent {
    let mut not_sent = explained(&ClientError::Refused {
        step: "the job".into(),
        code,
        text: text.to_owned(),
    });
    // Out of order is what the job says, not how the connection went: no later attempt helps.
    if code == 403 {
        not_sent.failure.exit = Exit::DataError;
    }
    not_sent.failure.hint = None;
    not_sent
}

/// A job, open at its beginning, and its length; what cannot be measured is copied first.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut stream: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_file() {
            return Ok((file, found.len()));
        }
        Box::new(file)
    };
    let mut copy = tempfile::tempfile()?;
    let total = io::copy(&mut stream, &mut copy)?;
    copy.rewind()?;
    Ok((copy, total))
}

/// Says what the job says. A daemon that takes no more has said why: that is no failure here.
fn feed(job: File, total: u64, mut to: &UnixStream, written: &AtomicU64) -> Result<(), Failure> {
    let bad = |err: crate::sift::BadJob| Failure::new(Exit::DataError, err.to_string());
    let mut job = job.take(total);
    let mut feed = Feed::new(total);
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    let mut piece = vec![0; PIECE];
    loop {
        let count = match job.read(&mut piece) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            other => other
                .map_err(|err| Failure::new(Exit::NoInput, format!("reading broke off: {}", reason(&err))))?,
        };
        input.extend_from_slice(piece.get(..count).unwrap_or_default());
        feed.push(&mut input, &mut out).map_err(bad)?;
        if to.write_all(&out).is_err() {
            return Ok(());
        }
        written.fetch_add(out.len() as u64, Ordering::Relaxed);
        out.clear();
        if count == 0 {
            return feed.finish().map_err(bad);
        }
    }
}

/// Reads what the daemon says, to its end. It may be silent for as long as bytes go out to it.
fn listen(
    from: &UnixStream,
    ahead: Vec<u8>,
    written: &AtomicU64,
    heard: &mut Heard,
) -> Result<(), ClientError> {
    let mut from = BufReader::new(io::Cursor::new(ahead).chain(from));
    let mut line = Vec::new();
    let mut before = 0;
    loop {
        match (&mut from).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                heard.line(&String::from_utf8_lossy(&line));
                line.clear();
            }
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let now = written.load(Ordering::Relaxed);
                if now == before {
                    return Err(ClientError::TimedOut {
                        step: "the job".into(),
                        after: from
                            .get_ref()
                            .get_ref()
                            .1
                            .read_timeout()
                            .ok()
                            .flatten()
                            .unwrap_or_default(),
                    });
                }
                before = now;
            }
            // A reset is an end, too.
            Err(_) => return Ok(()),
        }
    }
}

impl Heard {
    /// Takes note of one line.
    fn line(&mut self, line: &str) {
        let line = line.trim_end_matches(['\r', '\n']);
        let Some(code) = Code::of(line) else {
            return;
        };
        let text = line.get(3..).unwrap_or_default().trim();
        match (code.0, code.class()) {
            (208, _) => self.to = text.split(';').next().map(str::to_owned),
            (213, _) => self.bytes = text.split(';').next().and_then(|count| count.parse().ok()),
            (_, 4 | 5) => self.refusals.push((code.0, text.to_owned())),
            (_, 2) if text.starts_with("ACK EOF") => self.accepted = Some((code.0, text.to_owned())),
            _ => {}
        }
    }
}

/// `id=17` of `ACK EOF; id=17`.
fn number(text: &str, key: &str) -> Option<SpoolId> {
    let mut words = text.split([' ', ';']);
    words.find_map(|word| word.strip_prefix(key)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &str) -> Heard {
        let mut heard = Heard::default();
        lines.lines().for_each(|line| heard.line(line));
        heard
    }

    #[test]
    fn an_accepted_job_is_told_from_its_replies() {
        let heard = heard(
            "220 uftd\n200 FILE\n119 SEQ=0001 (user)\n208 bob@BETA; user bob@BETA okay\n500 META X\n313 18; send\n\
             213 18; received 18 bytes of data.\n199 still working on it.\n200 ACK EOF; job=5\n221 goodbye.\n",
        );
        assert_eq!(heard.to.as_deref(), Some("bob@BETA"));
        assert_eq!(heard.bytes, Some(18));
        assert_eq!(heard.refusals, [(500, "META X".to_owned())]);
        let (code, text) = heard.accepted.unwrap();
        assert_eq!(
            (code, number(&text, "job="), number(&text, "id=")),
            (200, SpoolId::new(5), None)
        );
    }

    #[test]
    fn a_reply_to_something_else_accepts_nothing() {
        let heard = heard("220 uftd\n200 FILE\n532 no such user\n403 no USER\n221 goodbye.\nACK EOF\n200\n");
        assert_eq!(heard.accepted, None);
        assert_eq!(heard.refusals.first().map(|(code, _)| *code), Some(532));
    }
}
