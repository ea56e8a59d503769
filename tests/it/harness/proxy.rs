//! A line between the programs and a daemon, at an address that stays: it counts what is sent, breaks off or stalls where
//! it is told to, and leads to another daemon when the first is gone.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::until;

/// What becomes of one connection; those that are not planned end well.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mishap {
    /// It breaks off after this many bytes of the client.
    CutAfter(u64),
    /// After this many bytes of the client no more get through. It breaks when the daemon goes.
    StallAfter(u64),
    /// It breaks off instead of this reply.
    LoseReply(&'static str),
}

/// The line.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    to: Mutex<SocketAddr>,
    plan: Mutex<VecDeque<Mishap>>,
    sent: AtomicU64,
    stalled: AtomicUsize,
    ends: AtomicBool,
}

impl Proxy {
    /// A line to a daemon; the first connections have these mishaps.
    pub(crate) fn new(to: SocketAddr, plan: impl IntoIterator<Item = Mishap>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Line {
            to: Mutex::new(to),
            plan: Mutex::new(plan.into_iter().collect()),
            sent: AtomicU64::new(0),
            stalled: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let shared = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ends.load(Ordering::SeqCst) {
                    return;
                }
                // No daemon at the moment: the client sees its connection close.
                let Ok(server) = TcpStream::connect(*shared.to.lock().unwrap()) else {
                    continue;
                };
                let mishap = shared.plan.lock().unwrap().pop_front();
                Line::carry(&shared, client, server, mishap);
            }
        });
        Proxy { address, line }
    }

    /// `user@127.0.0.1:port`.
    pub(crate) fn to(&self, user: &str) -> String {
        format!("{user}@{}", self.address)
    }

    /// Leads to another daemon from now on.
    pub(crate) fn lead_to(&self, to: SocketAddr) {
        *self.line.to.lock().unwrap() = to;
    }

    /// More mishaps, for the next connections.
    pub(crate) fn plan(&self, mishap: Mishap) {
        self.line.plan.lock().unwrap().push_back(mishap);
    }

    /// Bytes that clients sent, over all connections.
    pub(crate) fn sent(&self) -> u64 {
        self.line.sent.load(Ordering::SeqCst)
    }

    /// Waits until so many connections have stalled.
    pub(crate) fn stalls(&self, count: usize) {
        until("a connection that stalls", || {
            (self.line.stalled.load(Ordering::SeqCst) >= count).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Line {
    fn carry(line: &Arc<Line>, client: TcpStream, server: TcpStream, mishap: Option<Mishap>) {
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        let (client2, server2) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = Arc::clone(line);
        thread::spawn(move || up.up(client2, server2, mishap));
        thread::spawn(move || down(server, client, mishap));
    }

    fn up(&self, mut client: TcpStream, mut server: TcpStream, mishap: Option<Mishap>) {
        let mut left = match mishap {
            Some(Mishap::CutAfter(bytes) | Mishap::StallAfter(bytes)) => bytes,
            Some(Mishap::LoseReply(_)) | None => u64::MAX,
        };
        let mut buffer = vec![0; 64 * 1024];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let Ok(n @ 1..) = client.read(&mut buffer[..most]) else {
                // The client is done; what the server still says it may hear.
                let _ = server.shutdown(Shutdown::Write);
                return;
            };
            self.sent.fetch_add(n as u64, Ordering::SeqCst);
            left -= n as u64;
            if server.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        if let (0, Some(Mishap::StallAfter(_))) = (left, mishap) {
            self.stalled.fetch_add(1, Ordering::SeqCst);
            return;
        }
        cut(&client, &server);
    }
}

fn down(mut server: TcpStream, mut client: TcpStream, mishap: Option<Mishap>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n @ 1..) = server.read(&mut buffer) {
        let said = String::from_utf8_lossy(&buffer[..n]);
        if matches!(mishap, Some(Mishap::LoseReply(reply)) if said.contains(reply)) {
            break;
        }
        if client.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    cut(&client, &server);
}

fn cut(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}
