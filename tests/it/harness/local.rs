//! A raw connection to the local socket: requests and sessions as no program of ours would write them.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::PATIENCE;

/// A local program's end of a connection.
#[derive(Debug)]
pub(crate) struct Local {
    stream: BufReader<UnixStream>,
}

impl Local {
    /// Connects and sends a request line.
    pub(crate) fn open(socket: &Path, request: &str) -> Local {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut local = Local {
            stream: BufReader::new(stream),
        };
        // The daemon may have heard enough before the end.
        let _ = local
            .stream
            .get_mut()
            .write_all(format!("{request}\n").as_bytes());
        local
    }

    /// A UFT session of the user who runs the test, greeted.
    pub(crate) fn session(socket: &Path) -> Local {
        let mut local = Local::open(socket, r#"{"op":"session"}"#);
        local.line("{\"done\"");
        local.reply("223");
        local
    }

    /// Says a command; its final reply.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply("")
    }

    /// A whole file with more lines before its bytes; the reply to `EOF`, or the first refusal.
    pub(crate) fn deliver(&mut self, to: &str, name: &str, more: &[&str], bytes: &[u8]) -> String {
        let mut head = vec![
            format!("FILE {} me -", bytes.len()),
            format!("USER {to}"),
            "TYPE I".into(),
            format!("NAME {name}"),
        ];
        head.extend(more.iter().map(|&line| line.to_owned()));
        for line in head {
            let reply = self.ask(&line);
            if !reply.starts_with('2') {
                return reply;
            }
        }
        if !bytes.is_empty() {
            self.send(format!("DATA {}\r\n", bytes.len()).as_bytes());
            let reply = self.reply("");
            if !reply.starts_with('3') {
                return reply;
            }
            self.send(bytes);
            self.reply("213");
        }
        self.ask("EOF")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next line, which must begin like this.
    pub(crate) fn line(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.starts_with(beginning), "{line:?} instead of {beginning:?}");
        line
    }

    /// The next final reply of a session, which must begin like this.
    pub(crate) fn reply(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        while line.is_empty() || line.starts_with('1') {
            line.clear();
            assert_ne!(
                self.stream.read_line(&mut line).unwrap(),
                0,
                "closed instead of {beginning}"
            );
        }
        assert!(line.starts_with(beginning), "{line:?} instead of {beginning:?}");
        line
    }

    /// Whether nothing comes for a while (300 ms), not even the end.
    pub(crate) fn silent(&mut self) -> bool {
        self.stream
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let silent = match self.stream.get_mut().read(&mut [0]) {
            Ok(_) => false,
            Err(err) => matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}
