//! A gateway of the demonstration: a real `uftd`, started, told of another one, and ended.
//!
//! What it does *not* do: know what is demonstrated.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use super::{Answer, Exit, Failure, PATIENCE, Request, Way, ask, cannot, reason, shown_bytes};

/// What a gateway is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    pub(super) programs: &'a Path,
    pub(super) room: &'a Path,
    pub(super) node: &'a str,
    pub(super) users: Vec<&'a str>,
    /// The other gateway, and its port.
    pub(super) other: Option<(String, String)>,
}

/// A running gateway; dropping it ends it.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    node: String,
    place: PathBuf,
    pub(super) port: String,
}

impl<'a> Plan<'a> {
    /// The same, with a peer.
    pub(super) fn knowing(mut self, other: &Gateway) -> Plan<'a> {
        self.other = Some((other.node.clone(), other.port.clone()));
        self
    }

    fn place(&self) -> PathBuf {
        self.room.join(self.node)
    }

    fn configuration(&self, port: &str) -> String {
        let quoted = |path: PathBuf| toml::Value::from(path.to_string_lossy().into_owned());
        let (node, place) = (self.node.to_uppercase(), self.place());
        let users: Vec<toml::Value> = self.users.iter().map(|&user| user.into()).collect();
        let mut text = format!(
            "node = \"{node}\"\nspool = {}\nsocket = {}\n[uft]\nlisten = [\"127.0.0.1:{port}\"]\n[users]\nsource = \"list\"\n\
             list = {}\n[limits]\nmin_free = \"0B\"\n[notice]\ntty = false\n",
            quoted(place.join("spool")),
            quoted(place.join("socket")),
            toml::Value::from(users),
        );
        if let Some((other, port)) = &self.other {
            text += &format!(
                "[[peer]]\nname = \"{other}\"\nuft = \"127.0.0.1:{port}\"\nsecret_file = {}\n[[route]]\nto = \"{}\"\nvia = \"{other}\"\n",
                quoted(self.room.join("secret")),
                other.to_uppercase(),
            );
        }
        text
    }

    fn write(&self, port: &str) -> Result<PathBuf, Failure> {
        let path = self.place().join("uftd.toml");
        fs::write(&path, self.configuration(port)).map_err(|e| cannot(&path, &e))?;
        Ok(path)
    }
}

impl Gateway {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(plan: &Plan<'_>) -> Result<Gateway, Failure> {
        let (room, place) = (plan.room, plan.place());
        for dir in [&place, &room.join("inbox")] {
            fs::create_dir_all(dir).map_err(|e| cannot(dir, &e))?;
        }
        let config = plan.write("0")?;
        let log = place.join("uftd.log");
        let stderr = File::create(&log).map_err(|e| cannot(&log, &e))?;
        let program = plan.programs.join("uftd");
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
            node: plan.node.to_owned(),
            place,
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
        gateway.await_ready(&ready, &log)?;
        Ok(gateway)
    }

    fn await_ready(&mut self, ready: &mpsc::Receiver<String>, log: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut local = false;
        while self.port.is_empty() || !local {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = ready.recv_timeout(left) else {
                let said = fs::read(log).unwrap_or_default();
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
                    self.port = address.rsplit(':').next().unwrap_or_default().to_owned();
                }
                Some(("local", _)) => local = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells it of another gateway, and waits until it knows the way there.
    pub(super) fn meet(&mut self, plan: &Plan<'_>) -> Result<(), Failure> {
        let Some((other, _)) = &plan.other else {
            return Ok(());
        };
        plan.write(&self.port)?;
        self.signal(rustix::process::Signal::HUP);
        let request = Request::Route {
            place: other.to_uppercase(),
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Answer::Way(Way::Peers(_)) = ask(&self.place.join("socket"), &request)?.only()? {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let text = format!(
            "{} did not hear of {other} within {} s",
            self.node,
            PATIENCE.as_secs()
        );
        Err(Failure::new(Exit::Temporary, text))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let process = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            // It cannot be another process: the child has not been waited for.
            let _ = rustix::process::kill_process(process, signal);
        }
    }

    /// Asks the daemon to stop, and waits.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.signal(rustix::process::Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::new(Exit::Io, format!("uftd ended with {status}")));
                }
                Ok(None) => std::thread::sleep(std::time::Duration::from_millis(10)),
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

pub(super) fn missing(program: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::NoInput,
        format!("cannot start {}: {}", program.display(), reason(error)),
    )
    .hint("uftd, sendfile and uft must be in one directory; cargo build makes all three")
}

pub(super) fn last_line(bytes: &[u8]) -> String {
    let last = bytes.rsplit(|&b| b == b'\n').find(|line| !line.is_empty());
    shown_bytes(last.unwrap_or(b"it said nothing"))
}
