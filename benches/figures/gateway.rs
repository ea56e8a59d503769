//! The gateway under measurement: the real `uftd`, on a spool below the build directory, with limits out of the way.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use uft::local::client::ask;
use uft::local::{Answer, Removal, Request};
use uft_spool::SpoolId;

/// Directories on the disk that is measured. They are removed together at the end: for some seconds after a removal a
/// file system may look long for a free inode, and the next contender must not pay for that.
#[derive(Default)]
pub(crate) struct Disk(Vec<TempDir>);

impl Disk {
    /// A new directory.
    pub(crate) fn scratch(&mut self) -> PathBuf {
        let dir = scratch();
        let path = dir.path().to_owned();
        self.0.push(dir);
        path
    }
}

fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("figures-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

/// A running daemon; killed with the value.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: PathBuf,
}

impl Gateway {
    /// Starts it on `dir/spool`, and returns when it says that it is ready.
    pub(crate) fn start(dir: &Path) -> Gateway {
        Gateway::start_as("BETA", dir, "")
    }

    /// The same, as another node and with more in its configuration.
    pub(crate) fn start_as(node: &str, dir: &Path, more: &str) -> Gateway {
        let config = format!(
            "node = \"{node}\"\nspool = {:?}\nsocket = {:?}\n[uft]\nlisten = [\"127.0.0.1:0\"]\nmax_sessions = 10000\n\
             max_sessions_per_address = 10000\n[users]\nsource = \"list\"\nlist = [\"alice\"]\n[notice]\ntty = false\n\
             [limits]\nuser_items = 100000000\nstranger_items = 100000000\nstranger_bytes = \"1024GiB\"\n\
             min_free = \"64MiB\"\n{more}",
            dir.join("spool"),
            dir.join("socket"),
        );
        let path = dir.join("uftd.toml");
        fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_uftd"))
            .arg("--config")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().expect("a ready line").unwrap();
        let address = next()
            .strip_prefix("uftd: listening on uft ")
            .unwrap()
            .parse()
            .unwrap();
        assert!(next().starts_with("uftd: listening on local "));
        Gateway {
            child,
            address,
            dir: dir.to_owned(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// A line of `/proc/PID/status` or of `smaps_rollup`, in KiB.
    pub(crate) fn memory(&self, file: &str, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// A real `sendfile` to this gateway.
    pub(crate) fn sendfile(&self, file_type: &str, file: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sendfile"));
        command
            .args(["-q", "-t", file_type])
            .arg(format!("alice@{}", self.address))
            .arg(file);
        command.env("UFT_SOCKET", self.socket());
        command
    }

    pub(crate) fn uft(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uft"));
        command
            .args(["--user", "alice"])
            .args(arguments)
            .env("UFT_SOCKET", self.socket())
            .stdout(Stdio::null());
        command
    }

    /// An orderly stop.
    pub(crate) fn stop(mut self) {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// The numbers in alice's inbox.
    pub(crate) fn items(&self) -> Vec<SpoolId> {
        let request = Request::List {
            user: Some("alice".parse().unwrap()),
            full: false,
        };
        let mut asked = ask(&self.socket(), &request).unwrap();
        let mut items = Vec::new();
        while let Answer::Row(row) = asked.only().unwrap() {
            items.push(row.0);
        }
        items
    }

    pub(crate) fn discard(&self, id: SpoolId) {
        let request = Request::Discard {
            user: Some("alice".parse().unwrap()),
            id,
            removal: Removal::Received,
        };
        assert!(matches!(
            ask(&self.socket(), &request).unwrap().only(),
            Ok(Answer::Done { .. })
        ));
    }

    /// One file in one session of its own, sent in one go: as fast as a client of the protocol can be.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        let mut conversation = format!(
            "FILE {0} bench -\r\nUSER alice\r\nTYPE I\r\nNAME report.txt\r\nDATA {0}\r\n",
            bytes.len()
        )
        .into_bytes();
        conversation.extend_from_slice(bytes);
        conversation.extend_from_slice(b"EOF\r\n");
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&conversation).unwrap();
        let (mut said, mut filled) = ([0; 4096], 0);
        loop {
            let n = stream.read(&mut said[filled..]).unwrap();
            assert!(n > 0, "closed after {}", said[..filled].escape_ascii());
            filled += n;
            let lines = said[..filled].split_inclusive(|&byte| byte == b'\n');
            if lines
                .into_iter()
                .any(|line| line.starts_with(b"200 ACK EOF") && line.ends_with(b"\n"))
            {
                return;
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
