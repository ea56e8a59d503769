//! `uft demo`: the whole way of six files, on this machine alone, with the real programs.
//!
//! It starts two `uftd` of its own on loopback ports that the system picks, with spools in a temporary directory. Five
//! files go straight to the second, as from any host; the sixth is handed to the first for a user of the second, and a
//! receipt comes back. It runs `sendfile` and `uft` as a user would, and compares every byte. Whatever happens, it ends
//! the daemons that it started (and no other) and removes the directory.
//! What it does *not* do: touch the user's own daemon, inbox or aliases.

mod gateway;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use uft_spool::UserName;

use self::gateway::{Gateway, Plan, last_line, missing};

use super::console::Console;
use super::exit::{Exit, Failure, reason};
use crate::display::shown_bytes;
use crate::local::client::ask;
use crate::local::{Answer, Request, Way, own_name};

/// NETDATA as CMS writes it: a short text file of variable records, in EBCDIC.
const NETDATA: &[u8] = include_bytes!("notes.netdata");
/// How long the daemon may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file of the demonstration.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
    /// What `sendfile` is told of its type.
    options: &'static [&'static str],
    /// What `uft receive` is told, to get the bytes as they were.
    receive: &'static [&'static str],
    what: &'static str,
}

/// Runs the demonstration.
pub(crate) fn demo(console: Console) -> Result<(), Failure> {
    let begun = Instant::now();
    let programs = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .ok_or_else(|| Failure::new(Exit::NoInput, "cannot tell where this program is"))?;
    let room = tempfile::Builder::new()
        .prefix("uft-demo-")
        .tempdir()
        .map_err(|e| Failure::new(Exit::CannotCreate, format!("temporary directory: {}", reason(&e))))?;
    let own =
        own_name().ok_or_else(|| Failure::new(Exit::Temporary, "your user id has no login name here"))?;
    write_secret(&room.path().join("secret"))?;
    let plan = |node, users| Plan {
        programs: &programs,
        room: room.path(),
        node,
        users,
        other: None,
    };
    let mut alpha = Gateway::start(&plan("alpha", vec![own.as_str()]))?;
    let beta = Gateway::start(&plan("beta", vec!["demo", own.as_str()]).knowing(&alpha))?;
    alpha.meet(&plan("alpha", vec![own.as_str()]).knowing(&beta))?;
    console.line(&format!(
        "two gateways: ALPHA on 127.0.0.1:{}, BETA on 127.0.0.1:{}; their spools are in {}",
        alpha.port,
        beta.port,
        room.path().display()
    ))?;
    let stage = Stage {
        console,
        programs: programs.clone(),
        room: room.path().to_owned(),
        port: beta.port.clone(),
    };
    let samples = samples();
    for sample in &samples {
        stage.send(sample)?;
    }
    stage.run("beta", "uft", ["ls", "--user", "demo"])?;
    stage.run("beta", "uft", ["peek", "2", "--user", "demo"])?;
    for (number, sample) in samples.iter().enumerate() {
        stage.receive(number + 1, sample)?;
    }
    stage.relay(&own)?;
    stage.run("beta", "uft", ["status"])?;
    alpha.stop()?;
    beta.stop()?;
    console.line(&format!(
        "all bytes of {} files are as they were sent; {:.1} s",
        samples.len() + 1,
        begun.elapsed().as_secs_f32()
    ))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::CannotCreate,
        format!("{}: {}", path.display(), reason(error)),
    )
}

/// What the two gateways have in common, and nobody else.
fn write_secret(path: &Path) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let secret = super::send::transfer::random()?;
    file.and_then(|mut file| file.write_all(secret.as_bytes()))
        .map_err(|e| cannot(path, &e))
}

fn samples() -> Vec<Sample> {
    // Bytes of every value in no order that a conversion could leave alone by chance.
    let mut state = 0x9e37_79b9_u32;
    let octets = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    vec![
        Sample {
            name: "letter.txt",
            bytes: "Dear Bob,\nthe parcel is on its way: 3 \u{20ac}, gr\u{fc}\u{df} dich.\n".into(),
            options: &[],
            receive: &[],
            what: "text, which sendfile finds out",
        },
        Sample {
            name: "profile.exec",
            bytes: "/* PROFILE EXEC */\nif a[1] ^= b[2] then say 'not | equal!'\nexit\n".into(),
            options: &["-t", "E", "--codepage", "IBM-1047"],
            receive: &[],
            what: "text, in EBCDIC on the way",
        },
        Sample {
            name: "notes.netdata",
            bytes: NETDATA.to_vec(),
            options: &["-t", "N", "--raw"],
            receive: &["--wire"],
            what: "NETDATA, as a mainframe sends it",
        },
        Sample {
            name: "data.bin",
            bytes: octets.take(256 * 1024).flatten().collect(),
            options: &["-t", "I"],
            receive: &[],
            what: "octets",
        },
        Sample {
            name: "greeting.eml",
            bytes: "From: alice@alpha.example\nTo: demo@beta.example\nSubject: hello\n\nA letter.\n".into(),
            options: &["-m"],
            receive: &[],
            what: "a mail message",
        },
    ]
}

/// Where the demonstration happens.
struct Stage {
    console: Console,
    programs: PathBuf,
    room: PathBuf,
    port: String,
}

impl Stage {
    fn send(&self, sample: &Sample) -> Result<(), Failure> {
        let path = self.room.join(sample.name);
        fs::write(&path, &sample.bytes).map_err(|e| cannot(&path, &e))?;
        self.console.line(&format!("# {}", sample.what))?;
        let to = format!("demo@127.0.0.1:{}", self.port);
        let args = sample.options.iter().copied().chain([to.as_str(), sample.name]);
        self.run("alpha", "sendfile", args)
    }

    /// A file for a user of the other gateway, and the receipt for it.
    fn relay(&self, own: &UserName) -> Result<(), Failure> {
        let name = "parcel.bin";
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(self.room.join(name), &bytes).map_err(|e| cannot(&self.room, &e))?;
        self.console.line(
            "# a file for another node: ALPHA queues it and hands it on, and hears what became of it",
        )?;
        let to = format!("{own}@BETA");
        self.run("alpha", "sendfile", ["--notify", "received", to.as_str(), name])?;
        self.arrival("beta", name)?;
        self.run("beta", "uft", ["ls"])?;
        self.run("beta", "uft", ["receive", "1", "-o", "inbox/"])?;
        self.compare(name, &bytes)?;
        self.arrival("alpha", "received")?;
        self.run("alpha", "uft", ["ls"])?;
        self.run("alpha", "uft", ["queue", "show", "1"])
    }

    /// Waits until the own inbox of a gateway holds an item with this word in its name or title.
    fn arrival(&self, node: &str, word: &str) -> Result<(), Failure> {
        let request = Request::List {
            user: None,
            full: false,
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut asked = ask(&self.room.join(node).join("socket"), &request)?;
            while let Answer::Row(row) = asked.only()? {
                let is = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(word));
                if is(&row.5) || is(&row.6) {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let text = format!("nothing arrived at {node} within {} s", PATIENCE.as_secs());
        Err(Failure::new(Exit::Temporary, text))
    }

    fn receive(&self, number: usize, sample: &Sample) -> Result<(), Failure> {
        let number = number.to_string();
        let args = ["receive", &number, "--user", "demo", "-o", "inbox/"];
        self.run(
            "beta",
            "uft",
            args.into_iter().chain(sample.receive.iter().copied()),
        )?;
        self.compare(sample.name, &sample.bytes)
    }

    fn compare(&self, name: &str, sent: &[u8]) -> Result<(), Failure> {
        let path = self.room.join("inbox").join(name);
        let received = fs::read(&path)
            .map_err(|e| Failure::new(Exit::Io, format!("{}: {}", path.display(), reason(&e))))?;
        if received == sent {
            return Ok(());
        }
        let (sent, received) = (sent.len(), received.len());
        Err(Failure::new(
            Exit::DataError,
            format!("{name}: {sent} bytes were sent and {received} other bytes received"),
        ))
    }

    /// Runs one of the programs on a gateway, showing what a user would type and see.
    fn run<'a>(
        &self,
        node: &str,
        program: &str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let args: Vec<&str> = args.into_iter().collect();
        self.console
            .line(&format!("{node}$ {program} {}", args.join(" ")))?;
        let output = Command::new(self.programs.join(program))
            .args(&args)
            .current_dir(&self.room)
            .env("UFT_SOCKET", self.room.join(node).join("socket"))
            .env("XDG_CONFIG_HOME", self.room.join("config"))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| missing(&self.programs.join(program), &e))?;
        for line in output.stdout.split_inclusive(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            self.console.line(&format!("  {}", shown_bytes(line)))?;
        }
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Io,
            format!(
                "{program} {}: {}: {}",
                args.join(" "),
                output.status,
                last_line(&output.stderr)
            ),
        ))
    }
}
