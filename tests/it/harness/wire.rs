//! A raw connection: sends exactly the bytes that it is told to, and reads replies with a deadline.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket, sockopt};

use super::PATIENCE;

/// A client's end of a connection, and all that was said on it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    said: Vec<String>,
}

/// The final reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// 1xx and 6xx lines before it.
    pub(crate) before: Vec<String>,
}

impl Reply {
    /// Asserts the first digit.
    pub(crate) fn is(self, class: u16) -> Reply {
        assert_eq!(self.code / 100, class, "{} {}", self.code, self.text);
        self
    }

    /// Asserts the whole number.
    pub(crate) fn has(self, code: u16) -> Reply {
        assert_eq!(self.code, code, "{} {}", self.code, self.text);
        self
    }
}

impl Wire {
    /// Connects and reads the herald.
    pub(crate) fn open(address: SocketAddr) -> Wire {
        Wire::silent(address).assert_herald()
    }

    /// Reads the herald, which must be a good one.
    pub(crate) fn assert_herald(mut self) -> Wire {
        self.reply().is(2);
        self
    }

    /// Connects and reads nothing.
    pub(crate) fn silent(address: SocketAddr) -> Wire {
        Wire::over(TcpStream::connect(address).unwrap())
    }

    /// Connects from another address of this host, such as 127.0.0.2.
    pub(crate) fn from(source: Ipv4Addr, address: SocketAddr) -> Wire {
        let end = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP)).unwrap();
        bind(&end, &SocketAddrV4::new(source, 0)).unwrap();
        connect(&end, &address).unwrap();
        Wire::over(TcpStream::from(end))
    }

    pub(crate) fn over(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire {
            stream: BufReader::new(stream),
            said: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes; the other end must take them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to somebody who may be gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let head = bytes.get(..120).unwrap_or(bytes);
        self.said
            .push(format!("C: {} ({} bytes)", head.escape_ascii(), bytes.len()));
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends a command and reads the final reply to it.
    pub(crate) fn ask(&mut self, command: &str) -> Reply {
        self.send(format!("{command}\r\n"));
        self.reply()
    }

    /// The next line, without its end; `None` when the connection was closed.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        if let Err(err) = read {
            assert!(
                err.kind() == io::ErrorKind::ConnectionReset,
                "no reply: {err}; so far: {:#?}",
                self.said
            );
            return None;
        }
        if line.is_empty() {
            self.said.push("S: (closed)".into());
            return None;
        }
        assert!(
            line.ends_with(b"\r\n"),
            "a reply line ends with CR LF: {}",
            line.escape_ascii()
        );
        assert!(
            line.len() <= 202,
            "a reply line is below 200 bytes: {}",
            line.escape_ascii()
        );
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        self.said.push(format!("S: {line}"));
        Some(line)
    }

    /// The next final reply; the connection must not be closed before it.
    pub(crate) fn reply(&mut self) -> Reply {
        self.reply_or_end()
            .unwrap_or_else(|| panic!("closed instead of a reply: {:#?}", self.said))
    }

    /// The next final reply, or nothing when the connection was closed.
    pub(crate) fn reply_or_end(&mut self) -> Option<Reply> {
        let mut before = Vec::new();
        loop {
            let line = self.line()?;
            match line.as_bytes() {
                [b'1' | b'6', ..] => before.push(line),
                [b'2'..=b'5', ..] => {
                    let (code, text) = line.split_once(' ').unwrap_or((&line, ""));
                    return Some(Reply {
                        code: code.parse().unwrap(),
                        text: text.to_owned(),
                        before,
                    });
                }
                _ => panic!("no reply line: {line:?}"),
            }
        }
    }

    /// Nothing more is said, and the connection is closed.
    pub(crate) fn ends(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => {}
            Err(err) => panic!("not closed: {err}; so far: {:#?}", self.said),
        }
        assert!(rest.is_empty(), "after the last reply: {}", rest.escape_ascii());
    }

    /// Whether nothing comes for a while (300 ms).
    pub(crate) fn silence(&mut self) -> bool {
        self.stream
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let silent = match self.stream.fill_buf() {
            Ok(_) => false,
            Err(err) => matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Everything up to the end of the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(err) => assert_eq!(err.kind(), io::ErrorKind::ConnectionReset, "not closed: {err}"),
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// We send nothing more.
    pub(crate) fn half_close(&mut self) {
        self.said.push("C: (closes its side)".into());
        // The other end may be gone already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// Leaves with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(self.stream.get_ref(), Some(Duration::ZERO)).unwrap();
    }

    /// `FILE`, `USER`, `TYPE`, `NAME`: the file is open.
    pub(crate) fn begin(&mut self, to: &str, file_type: &str, name: &str, size: usize) {
        self.ask(&format!("FILE {size} tester -")).has(200);
        self.ask(&format!("USER {to}")).has(208);
        self.ask(&format!("TYPE {file_type}")).has(200);
        self.ask(&format!("NAME {name}")).has(200);
    }

    /// One burst.
    pub(crate) fn burst(&mut self, verb: &str, bytes: &[u8]) -> Reply {
        self.ask(&format!("{verb} {}", bytes.len())).is(3);
        if !bytes.is_empty() {
            self.send(bytes);
        }
        self.reply()
    }

    /// A whole file in one burst; the reply to `EOF`.
    pub(crate) fn deliver(&mut self, to: &str, file_type: &str, name: &str, bytes: &[u8]) -> Reply {
        self.begin(to, file_type, name, bytes.len());
        if !bytes.is_empty() {
            self.burst("DATA", bytes).has(213);
        }
        self.ask("EOF")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- conversation");
            self.said
                .iter()
                .rev()
                .take(40)
                .rev()
                .for_each(|line| eprintln!("{line}"));
            eprintln!("----");
        }
    }
}
