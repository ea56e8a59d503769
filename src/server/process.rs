//! Programs that the administrator named: how they are started, fed and ended.
//!
//! A program gets an argument list and an environment, never a shell, and is a process group of its own, so that it can
//! be ended with all that it started. What it prints goes to the daemon's standard error. What this file does *not* do:
//! decide what is run for which file, or what an exit status means for the file.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;
use uft_spool::{Content, Item};

use crate::display;

/// Bytes read from a file and written to a program at a time.
const PIECE: usize = 64 * 1024;
/// How long an ended program may take to be gone.
const BURIAL: Duration = Duration::from_secs(5);

/// Why a program did not do what it is there for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No such file, not executable, no process to be had.
    #[error("it cannot be run")]
    NotStarted(#[source] io::Error),
    /// It ended with another status than 0, or by a signal.
    #[error("it ended with {0}")]
    Status(ExitStatus),
    /// It was ended, with its group.
    #[error("it took more than {} s and was ended", .0.as_secs())]
    TooLong(Duration),
    /// The system does not say how it ended.
    #[error("it cannot be waited for")]
    Unknown(#[source] io::Error),
    /// The file for its standard input cannot be read; the program was ended before it saw an end of it.
    #[error("the file cannot be read")]
    Unreadable(#[source] io::Error),
    /// The file is not what it was when it came; the program was ended before it saw an end of it.
    #[error("the file is damaged")]
    Damaged,
}

/// Runs a program for one item, for `most` at longest. Its standard input is empty, or `input`: the item's local form,
/// and nothing that stands behind it in the file.
///
/// # Errors
/// Anything but an exit status of 0.
pub(super) async fn run(
    argv: &[String],
    item: &Item,
    input: Option<Content>,
    most: Duration,
) -> Result<(), Failure> {
    let missing = || Failure::NotStarted(io::ErrorKind::NotFound.into());
    let (program, arguments) = argv.split_first().ok_or_else(missing)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment(item))
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        // Standard output is for the ready lines, and whoever started the daemon may have stopped reading it.
        .stdout(io::stderr())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(Failure::NotStarted)?;
    let mut stdin = child.stdin.take();
    // Dropped before the pipe: a program must not take the end of its input, or of ours, for the end of the file.
    let mut group = Group::of(&child);
    let wanted = item.envelope.local.blake3;
    let ended = timeout(most, attend(&mut child, &mut stdin, input, wanted)).await;
    match ended {
        Ok(Ok(status)) => {
            group.is_gone();
            return if status.success() {
                Ok(())
            } else {
                Err(Failure::Status(status))
            };
        }
        Ok(Err(_)) | Err(_) => group.end(),
    }
    let _ = timeout(BURIAL, child.wait()).await;
    group.is_gone();
    Err(match ended {
        Ok(Err(failure)) => failure,
        _ => Failure::TooLong(most),
    })
}

/// Feeds the program and waits for its end.
async fn attend(
    child: &mut Child,
    stdin: &mut Option<ChildStdin>,
    input: Option<Content>,
    wanted: blake3::Hash,
) -> Result<ExitStatus, Failure> {
    if let (Some(pipe), Some(content)) = (stdin.as_mut(), input) {
        tokio::select! {
            // What it has not read by its end it does not want.
            status = child.wait() => return status.map_err(Failure::Unknown),
            fed = feed(pipe, content, wanted) => fed?,
        }
    }
    *stdin = None;
    child.wait().await.map_err(Failure::Unknown)
}

/// Writes the content; the caller closes the pipe when all of it was good.
async fn feed(pipe: &mut ChildStdin, content: Content, wanted: blake3::Hash) -> Result<(), Failure> {
    let mut file = tokio::fs::File::from_std(content.file).take(content.bytes);
    let mut piece = vec![0; PIECE];
    let mut hasher = blake3::Hasher::new();
    loop {
        let read = file.read(&mut piece).await.map_err(Failure::Unreadable)?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        if pipe.write_all(bytes).await.is_err() {
            // It reads no more; whether it had enough is in its exit status.
            return Ok(());
        }
    }
    let whole = hasher.finalize() == wanted;
    whole.then_some(()).ok_or(Failure::Damaged)
}

/// The process group of a child that was not waited for: its number, and its group's, is still its own. When the value
/// is dropped the group is ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Group(number.and_then(Pid::from_raw))
    }

    fn end(&self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// The child was waited for.
    fn is_gone(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// The envelope as a program sees it. No value holds a NUL, which an environment cannot carry.
fn environment(item: &Item) -> Vec<(&'static str, String)> {
    let facts = &item.envelope.facts;
    let attribute = |key| facts.attribute(key).unwrap_or_default().to_owned();
    let receipt = facts.receipt.as_ref();
    let values = [
        ("UFT_USER", item.user.to_string()),
        ("UFT_ID", item.id.to_string()),
        ("UFT_NAME", facts.name.clone().unwrap_or_default()),
        ("UFT_TYPE", facts.stored_as.letter().to_string()),
        ("UFT_SIZE", item.envelope.local.bytes.to_string()),
        ("UFT_FROM", facts.origin.user.clone()),
        ("UFT_HOST", facts.origin.host.clone()),
        ("UFT_NODE", facts.origin.node.clone().unwrap_or_default()),
        ("UFT_PROOF", facts.origin.proof.word().to_owned()),
        ("UFT_TITLE", attribute("TITLE")),
        ("UFT_CLASS", attribute("CLASS")),
        (
            "UFT_RECEIPT",
            receipt
                .map(|receipt| display::receipt(receipt, minute))
                .unwrap_or_default(),
        ),
    ];
    values
        .map(|(key, value)| (key, value.replace('\0', "\u{fffd}")))
        .into()
}

/// A time of an envelope for people: seconds since 1970 as date and minute.
pub(super) fn minute(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use uft_spool::{Form, Limits, Origin, Proof, Spool, SpoolId, UserName};

    use super::super::intake::Intake;
    use super::*;
    use crate::proto::{Draft, Fork};

    /// An item of alice's in a spool of its own.
    fn stored(dir: &std::path::Path, bytes: &[u8]) -> (Arc<Spool>, Item) {
        let limits = Limits {
            min_free: 0,
            ..Limits::default()
        };
        let (spool, _) = Spool::open(&dir.join("spool"), limits).unwrap();
        let spool = Arc::new(spool);
        let origin = Origin {
            user: String::new(),
            node: None,
            host: "192.0.2.1".into(),
            proof: Proof::Address,
        };
        let user: UserName = "alice".parse().unwrap();
        let mut intake = Intake::open(&spool, vec![user.clone()], None, None).unwrap();
        intake.begin(Fork::Data, &Draft::default());
        intake.take(Fork::Data, bytes).unwrap();
        intake.commit(Draft::default(), origin, 0).unwrap();
        let item = spool.item(&user, SpoolId::new(1).unwrap()).unwrap();
        (spool, item)
    }

    fn shell(script: &str) -> [String; 3] {
        ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let (_spool, item) = stored(dir.path(), b"");
        // The pipe ends when nobody holds it any more.
        let fifo = dir.path().join("held");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let script = format!("sleep 60 > {0:?} & exec > {0:?}; wait", fifo.to_str().unwrap());
        let (told, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(fs::read(&fifo)));
        let ran = run(&shell(&script), &item, None, Duration::from_millis(500)).await;
        assert!(matches!(ran, Err(Failure::TooLong(_))), "{ran:?}");
        let read = ended.recv_timeout(Duration::from_secs(20));
        assert!(
            matches!(read, Ok(Ok(bytes)) if bytes.is_empty()),
            "something still runs"
        );
    }

    #[tokio::test]
    async fn a_damaged_file_is_never_seen_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, item) = stored(dir.path(), &[b'x'; 300_000]);
        let out = dir.path().join("out");
        let script = format!("cat > /dev/null && echo whole > {:?}", out.to_str().unwrap());
        let most = Duration::from_secs(20);
        let content = || spool.open_form(&item.user, item.id, Form::Local).unwrap();
        run(&shell(&script), &item, Some(content()), most).await.unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"whole\n");
        fs::remove_file(&out).unwrap();
        let mut other = item.clone();
        other.envelope.local.blake3 = blake3::hash(b"something else");
        let ran = run(&shell(&script), &other, Some(content()), most).await;
        assert!(matches!(ran, Err(Failure::Damaged)), "{ran:?}");
        assert!(!out.exists());
    }

    #[tokio::test]
    async fn a_program_may_end_without_reading() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, item) = stored(dir.path(), &[b'x'; 300_000]);
        let content = spool.open_form(&item.user, item.id, Form::Local).unwrap();
        let ran = run(&shell("exit 3"), &item, Some(content), Duration::from_secs(20)).await;
        assert!(matches!(ran, Err(Failure::Status(status)) if status.code() == Some(3)));
    }
}
