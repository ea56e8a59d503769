//! A real `uftd` process: started on its own directory and port 0, spoken to, signalled, killed, started again.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;

use rustix::process::{Pid, Signal, kill_process};
use uft::local::client::ask;
use uft::local::{Answer, Form, ItemInfo, Removal, Request, Status};

use super::{Local, PATIENCE, Place, Program, Wire, binary, lines_of, until};

/// Every test's configuration; what a test says is laid over it.
const DEFAULTS: &str = r#"
    node = "ALPHA"
    hostname = "alpha.example"
    shutdown_grace = "20s"
    [uft]
    listen = ["127.0.0.1:0"]
    [users]
    source = "list"
    list = ["alice", "bob", "root", "nobody"]
    [limits]
    min_free = "64KiB"
    [notice]
    tty = false
"#;

/// What a daemon is to be started with.
#[derive(Debug)]
pub(crate) struct Setup {
    settings: toml::Table,
    arguments: Vec<String>,
}

/// A running daemon; it is killed with the value.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) place: Place,
    settings: toml::Table,
    arguments: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    address: SocketAddr,
    said: Vec<String>,
}

impl Setup {
    /// The defaults with `settings` (TOML) over them.
    pub(crate) fn new(settings: &str) -> Setup {
        let mut table: toml::Table = DEFAULTS.parse().unwrap();
        lay_over(&mut table, settings.parse().unwrap());
        Setup {
            settings: table,
            arguments: Vec::new(),
        }
    }

    /// `settings` over what is there.
    pub(crate) fn over(mut self, settings: &str) -> Setup {
        lay_over(&mut self.settings, settings.parse().unwrap());
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Setup {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The spool is here instead of in the test's own directory.
    pub(crate) fn spool(mut self, path: &Path) -> Setup {
        self.settings
            .insert("spool".into(), path.to_str().unwrap().into());
        self
    }

    pub(crate) fn start(self) -> Daemon {
        let place = Place::new();
        let mut settings = self.settings;
        for (key, name) in [("spool", "spool"), ("socket", "uftd.sock")] {
            settings
                .entry(key)
                .or_insert_with(|| place.path(name).to_str().unwrap().into());
        }
        let mut daemon = Daemon {
            place,
            settings,
            arguments: self.arguments,
            running: None,
        };
        daemon.start_again();
        daemon
    }
}

fn lay_over(table: &mut toml::Table, more: toml::Table) {
    for (key, value) in more {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

impl Daemon {
    /// A daemon with the defaults.
    pub(crate) fn start() -> Daemon {
        Setup::new("").start()
    }

    /// A daemon with `settings` over the defaults.
    pub(crate) fn with(settings: &str) -> Daemon {
        Setup::new(settings).start()
    }

    /// Starts the daemon (again) on the same spool.
    pub(crate) fn start_again(&mut self) {
        if let Err(ended) = self.try_start() {
            panic!("uftd did not start: {ended}\n{}", self.log());
        }
    }

    /// Starts the daemon; how it ended when it did not become ready.
    pub(crate) fn try_start(&mut self) -> Result<(), ExitStatus> {
        assert!(self.running.is_none(), "the daemon runs already");
        self.write_settings();
        let mut child = self.command().spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let mut said = Vec::new();
        let mut address = None;
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(uft) = line.strip_prefix("uftd: listening on uft ") {
                        address = Some(uft.parse().unwrap());
                    }
                    let last = line.starts_with("uftd: listening on local ");
                    said.push(line);
                    if last {
                        let address = address.expect("a uft listener before the local one");
                        self.running = Some(Running { child, address, said });
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(child.wait().unwrap()),
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().unwrap();
                    panic!(
                        "uftd was not ready after {PATIENCE:?}; it said {said:?}\n{}",
                        self.log()
                    );
                }
            }
        }
    }

    /// Writes the configuration; a running daemon reads it on [`Daemon::reload`].
    pub(crate) fn configure(&mut self, settings: &str) {
        lay_over(&mut self.settings, settings.parse().unwrap());
        self.write_settings();
    }

    fn write_settings(&self) {
        fs::write(
            self.place.path("uftd.toml"),
            toml::to_string(&self.settings).unwrap(),
        )
        .unwrap();
    }

    fn command(&self) -> Command {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.place.path("log"))
            .unwrap();
        let mut command = Command::new(binary("uftd"));
        command
            .arg("--config")
            .arg(self.place.path("uftd.toml"))
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path("home"))
            .env("UFT_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the daemon runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running().address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// What it printed up to its last ready line.
    pub(crate) fn said(&self) -> &[String] {
        &self.running().said
    }

    pub(crate) fn spool(&self) -> PathBuf {
        PathBuf::from(self.settings.get("spool").and_then(toml::Value::as_str).unwrap())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        PathBuf::from(self.settings.get("socket").and_then(toml::Value::as_str).unwrap())
    }

    /// Everything it logged so far, over all its lives.
    pub(crate) fn log(&self) -> String {
        let mut log = Vec::new();
        if let Ok(mut file) = File::open(self.place.path("log")) {
            file.read_to_end(&mut log).unwrap();
        }
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.running().child);
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`, and the body is gone.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("the daemon runs");
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the daemon runs");
        until("the daemon's end", || running.child.try_wait().unwrap())
    }

    /// SIGTERM, and its end, which must be a good one.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "uftd ended with {status}\n{}", self.log());
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// SIGHUP, and the line in the log that it is done.
    pub(crate) fn reload(&self) {
        let done = |log: &str| {
            log.matches("configuration read again").count() + log.matches("not read again").count()
        };
        let before = done(&self.log());
        self.signal(Signal::HUP);
        until("the reload", || (done(&self.log()) > before).then_some(()));
    }

    /// A connection, greeted.
    pub(crate) fn connect(&self) -> Wire {
        Wire::open(self.address())
    }

    /// A connection whose herald was not read.
    pub(crate) fn connect_silent(&self) -> Wire {
        Wire::silent(self.address())
    }

    /// A session over the local socket, greeted.
    pub(crate) fn session(&self) -> Local {
        Local::session(&self.socket())
    }

    /// The names of the files in the queue's directories, but for the file of numbers.
    pub(crate) fn queued(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in ["queue", "queue/held", "failed"] {
            for entry in fs::read_dir(self.spool().join(dir)).unwrap() {
                let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                if !["seq", "held"].contains(&name.as_str()) {
                    names.push(format!("{dir}/{name}"));
                }
            }
        }
        names.sort();
        names
    }

    /// `sendfile` with these arguments, as this user of the system; `TO` stands for nobody: write it.
    pub(crate) fn sendfile<A: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Program {
        self.program("sendfile", arguments)
    }

    /// `uft` with these arguments.
    pub(crate) fn uft<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.program("uft", arguments)
    }

    fn program<A: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> Program {
        Program::new(binary(name), &self.place.work())
            .env("UFT_SOCKET", self.socket())
            .env("HOME", self.place.path("home"))
            .arguments(arguments)
    }

    /// `user@127.0.0.1:port`.
    pub(crate) fn to(&self, user: &str) -> String {
        format!("{user}@127.0.0.1:{}", self.port())
    }

    /// The whole inbox of a user.
    pub(crate) fn items(&self, user: &str) -> Vec<ItemInfo> {
        let request = Request::List {
            user: Some(user.parse().unwrap()),
            full: true,
        };
        let mut asked = ask(&self.socket(), &request).unwrap();
        asked.patience(Some(PATIENCE)).unwrap();
        let mut items = Vec::new();
        loop {
            match asked.only().unwrap() {
                Answer::Item(item) => items.push(*item),
                Answer::Done { .. } => return items,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The only item of a user.
    pub(crate) fn item(&self, user: &str) -> ItemInfo {
        let mut items = self.items(user);
        assert_eq!(items.len(), 1, "one item for {user}: {items:#?}");
        items.remove(0)
    }

    /// The bytes of one form of an item.
    pub(crate) fn bytes(&self, item: &ItemInfo, form: Form) -> Vec<u8> {
        let request = Request::Open {
            user: Some(item.user.clone()),
            id: item.id,
            form,
        };
        let mut asked = ask(&self.socket(), &request).unwrap();
        asked.patience(Some(PATIENCE)).unwrap();
        let Answer::Content { bytes, .. } = asked.only().unwrap() else {
            panic!("no content for {item:?}")
        };
        let mut content = Vec::new();
        asked
            .file()
            .expect("an open file")
            .take(bytes)
            .read_to_end(&mut content)
            .unwrap();
        content
    }

    /// Removes an item; whether the daemon said that it is done.
    pub(crate) fn discard(&self, item: &ItemInfo) -> bool {
        let request = Request::Discard {
            user: Some(item.user.clone()),
            id: item.id,
            removal: Removal::Discarded,
        };
        let answer = ask(&self.socket(), &request).and_then(|mut asked| asked.only());
        matches!(answer, Ok(Answer::Done { .. }))
    }

    pub(crate) fn status(&self) -> Status {
        match ask(&self.socket(), &Request::Status).unwrap().only().unwrap() {
            Answer::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until no UFT session is open any more.
    pub(crate) fn quiet(&self) {
        until("the end of all sessions", || {
            (self.status().sessions == 0).then_some(())
        });
    }

    /// The names in the spool's staging directory.
    pub(crate) fn staged(&self) -> Vec<String> {
        let dir = self.spool().join("tmp");
        let entries = fs::read_dir(&dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Nothing arrived, nothing is left over, and the daemon is well.
    pub(crate) fn assert_untouched(&self) {
        self.quiet();
        for user in ["alice", "bob"] {
            assert_eq!(self.items(user), [], "inbox of {user}");
        }
        until("an empty staging directory", || {
            self.staged().is_empty().then_some(())
        });
        self.connect()
            .deliver("root", "I", "after", b"still serving")
            .is(2);
    }

    /// A line of `/proc/PID/status`, in KiB.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("---- log of uftd");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
            eprintln!("----");
        }
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}
