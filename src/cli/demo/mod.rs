//! `uft demo`: the whole way of five files, on this machine alone, with the real programs.
//!
//! It starts one `uftd` of its own on a loopback port that the system picks, with a spool in a temporary directory, runs
//! `sendfile` and `uft` against it as a user would, and compares every byte. Whatever happens, it ends the daemon that it
//! started (and no other) and removes the directory.
//! What it does *not* do: touch the user's own daemon, inbox or aliases.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::console::Console;
use super::exit::{Exit, Failure, reason};
use crate::display::shown_bytes;

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
    let daemon = Gateway::start(&programs, room.path())?;
    let port = daemon.port.clone();
    console.line(&format!(
        "uftd listens on 127.0.0.1:{port}; its spool is in {}",
        room.path().display()
    ))?;
    let stage = Stage {
        console,
        programs,
        room: room.path().to_owned(),
        port,
    };
    let samples = samples();
    for sample in &samples {
        stage.send(sample)?;
    }
    stage.run("uft", ["ls", "--user", "demo"])?;
    stage.run("uft", ["peek", "2", "--user", "demo"])?;
    for (number, sample) in samples.iter().enumerate() {
        stage.receive(number + 1, sample)?;
    }
    stage.run("uft", ["status"])?;
    daemon.stop()?;
    console.line(&format!(
        "all bytes of {} files are as they were sent; {:.1} s",
        samples.len(),
        begun.elapsed().as_secs_f32()
    ))
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
        fs::write(&path, &sample.bytes)
            .map_err(|e| Failure::new(Exit::CannotCreate, format!("{}: {}", path.display(), reason(&e))))?;
        self.console.line(&format!("# {}", sample.what))?;
        let to = format!("demo@127.0.0.1:{}", self.port);
        let args = sample.options.iter().copied().chain([to.as_str(), sample.name]);
        self.run("sendfile", args)
    }

    fn receive(&self, number: usize, sample: &Sample) -> Result<(), Failure> {
        let number = number.to_string();
        let args = ["receive", &number, "--user", "demo", "-o", "inbox/"];
        self.run("uft", args.into_iter().chain(sample.receive.iter().copied()))?;
        let path = self.room.join("inbox").join(sample.name);
        let received = fs::read(&path)
            .map_err(|e| Failure::new(Exit::Io, format!("{}: {}", path.display(), reason(&e))))?;
        if received == sample.bytes {
            return Ok(());
        }
        Err(Failure::new(
            Exit::DataError,
            format!(
                "{}: {} bytes were sent and {} other bytes received",
                sample.name,
                sample.bytes.len(),
                received.len()
            ),
        ))
    }

    /// Runs one of the programs, showing what a user would type and see.
    fn run<'a>(&self, program: &str, args: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
        let args: Vec<&str> = args.into_iter().collect();
        self.console.line(&format!("$ {program} {}", args.join(" ")))?;
        let output = Command::new(self.programs.join(program))
            .args(&args)
            .current_dir(&self.room)
            .env("UFT_SOCKET", self.room.join("socket"))
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

/// The daemon of the demonstration; dropping it ends it.
struct Gateway {
    child: Child,
    port: String,
}

impl Gateway {
    fn start(programs: &Path, room: &Path) -> Result<Gateway, Failure> {
        let cannot = |path: &Path, e: &std::io::Error| {
            Failure::new(Exit::CannotCreate, format!("{}: {}", path.display(), reason(e)))
        };
        let inbox = room.join("inbox");
        fs::create_dir(&inbox).map_err(|e| cannot(&inbox, &e))?;
        let config = room.join("uftd.toml");
        fs::write(&config, configuration(room)).map_err(|e| cannot(&config, &e))?;
        let log = room.join("uftd.log");
        let stderr = File::create(&log).map_err(|e| cannot(&log, &e))?;
        let program = programs.join("uftd");
        let mut child = Command::new(&program)
            .args([OsStr::new("--config"), config.as_os_str()])
            .current_dir(room)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| missing(&program, &e))?;
        let lines = child.stdout.take();
        // From here on an error drops the guard, which ends the child.
        let mut gateway = Gateway {
            child,
            port: String::new(),
        };
        let (sender, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                let Ok(line) = line else { return };
                // Nobody listens once both lines have come.
                let _ = sender.send(line);
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut local = false;
        while gateway.port.is_empty() || !local {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = ready.recv_timeout(left) else {
                let said = fs::read(&log).unwrap_or_default();
                return Err(Failure::new(
                    Exit::Temporary,
                    format!("uftd did not start: {}", last_line(&said)),
                ));
            };
            match line
                .strip_prefix("uftd: listening on ")
                .and_then(|rest| rest.split_once(' '))
            {
                Some(("uft", address)) => {
                    gateway.port = address.rsplit(':').next().unwrap_or_default().to_owned();
                }
                Some(("local", _)) => local = true,
                _ => {}
            }
        }
        Ok(gateway)
    }

    /// Asks the daemon to stop, and waits.
    fn stop(mut self) -> Result<(), Failure> {
        let process = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            // It cannot be another process: the child has not been waited for.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::new(Exit::Io, format!("uftd ended with {status}")));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Err(e) => return Err(Failure::new(Exit::Io, format!("uftd: {}", reason(&e)))),
            }
        }
        Err(Failure::new(
            Exit::Io,
            format!("uftd did not stop within {} s", PATIENCE.as_secs()),
        ))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(room: &Path) -> String {
    let path = |name: &str| toml::Value::from(room.join(name).to_string_lossy().into_owned());
    format!(
        "spool = {}\nsocket = {}\n[uft]\nlisten = [\"127.0.0.1:0\"]\n[users]\nsource = \"list\"\nlist = [\"demo\"]\n\
         [limits]\nmin_free = \"0B\"\n[notice]\ntty = false\n",
        path("spool"),
        path("socket")
    )
}

fn missing(program: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!("cannot start {}: {}", program.display(), reason(error)),
    )
    .hint("uftd, sendfile and uft must be in one directory; cargo build makes all three")
}

fn last_line(bytes: &[u8]) -> String {
    let last = bytes.rsplit(|&b| b == b'\n').find(|line| !line.is_empty());
    shown_bytes(last.unwrap_or(b"it said nothing"))
}
