//! `FILE n user AGENT key` from the address of a gateway that we know: its server is asked whether that is its key.
//!
//! Nobody else is ever connected to: not for an address that is no gateway's, not at another port than the configured
//! one, and only a few times a minute. A key that was confirmed is good for a minute, so that a batch of files costs one
//! question. Keys are not kept (a digest is) and not logged. What it does not do: decide what the proof is worth.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};
use uft_spool::Proof;

use super::Gateway;
use crate::config::Peer;
use crate::peers::ProvenPeer;
use crate::proto::{AgentKey, Code, Frame, Framer, Herald, LINE_MAX, text};

/// Longest wait for a gateway's answer, from the connection to the reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions to one gateway within a [`MINUTE`].
const QUESTIONS: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// Longest key that is asked about, in bytes.
const KEY_MAX: usize = 256;
/// Lines of a server before its answer.
const CHATTER_MAX: usize = 100;

/// What is remembered of the gateways, by their names in lower case.
#[derive(Debug, Default)]
pub(crate) struct CallBacks(Mutex<HashMap<String, Record>>);

#[derive(Debug, Default)]
struct Record {
    /// The host name that the addresses belong to.
    host: String,
    addresses: Vec<IpAddr>,
    /// When the name was last looked up, or began to be.
    looked_up: Option<Instant>,
    /// When questions were asked; no more than [`QUESTIONS`].
    asked: Vec<Instant>,
    /// The key that was confirmed last, and when.
    confirmed: Option<(blake3::Hash, Instant)>,
}

/// What to do about a key.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// It was confirmed a moment ago.
    Confirmed,
    /// Ask.
    Ask,
    /// Enough has been asked.
    TooMany,
}

/// The gateway at this address, if it confirms the key.
pub(crate) async fn confirmed(gateway: &Arc<Gateway>, address: IpAddr, key: &AgentKey) -> Option<ProvenPeer> {
    let (name, endpoint) = gateway_at(gateway, address.to_canonical())?;
    let proven = ProvenPeer {
        name: name.clone(),
        proof: Proof::Agent,
        keys: None,
    };
    let digest = blake3::hash(key.expose().as_bytes());
    match gateway.callbacks.admit(&name, digest, Instant::now()) {
        Admission::Confirmed => return Some(proven),
        Admission::TooMany => {
            info!(
                gateway = name,
                "asked often enough this minute: the sender stays unproven"
            );
            return None;
        }
        Admission::Ask => {}
    }
    match timeout(PATIENCE, ask(endpoint, key)).await {
        Ok(Ok(true)) => {
            info!(gateway = name, "has confirmed the sender's key");
            gateway.callbacks.remember(&name, digest, Instant::now());
            Some(proven)
        }
        Ok(Ok(false)) => {
            info!(gateway = name, "does not confirm the sender's key");
            None
        }
        Ok(Err(err)) => {
            info!(gateway = name, %err, "cannot be asked for the sender's key");
            None
        }
        Err(_) => {
            info!(
                gateway = name,
                "did not answer in time whether the sender's key is its own"
            );
            None
        }
    }
}

/// Looks the names of all gateways up, in the background; nobody waits for it.
pub(crate) fn look_up(gateway: &Arc<Gateway>) {
    for peer in &gateway.live().config.peers {
        if let Some((host, _)) = named(peer) {
            look_up_one(gateway, &peer.name, host);
        }
    }
}

fn look_up_one(gateway: &Arc<Gateway>, name: &str, host: String) {
    if !gateway.callbacks.begin_look_up(name, &host, Instant::now()) {
        return;
    }
    let (gateway, name) = (Arc::clone(gateway), name.to_owned());
    tokio::spawn(async move {
        match tokio::net::lookup_host((host.as_str(), 0)).await {
            Ok(found) => {
                let addresses = found.map(|address| address.ip().to_canonical()).collect();
                gateway.callbacks.learn(&name, addresses);
            }
            Err(err) => debug!(peer = name, host, %err, "host name not found"),
        }
    });
}

/// The gateway that has this address, and where it is to be asked. Names are taken as they were looked up last: a stranger
/// waits for no name server.
fn gateway_at(gateway: &Arc<Gateway>, address: IpAddr) -> Option<(String, SocketAddr)> {
    let live = gateway.live();
    // A gateway that can prove itself better is not believed for less: its address can be somebody else's.
    let known_by_address =
        |peer: &&Peer| peer.secret_file.as_os_str().is_empty() && peer.certificate().is_none();
    for peer in live.config.peers.iter().filter(known_by_address) {
        let (host, port) = peer.host_and_port();
        let here = match host.parse::<IpAddr>() {
            Ok(literal) => literal.to_canonical() == address,
            Err(_) => {
                let known = gateway.callbacks.has_address(&peer.name, &host, address);
                look_up_one(gateway, &peer.name, host);
                known
            }
        };
        if here {
            return Some((peer.name.clone(), SocketAddr::new(address, port)));
        }
    }
    None
}

/// Host and port, unless the host is an address.
fn named(peer: &Peer) -> Option<(String, u16)> {
    Some(peer.host_and_port()).filter(|(host, _)| host.parse::<IpAddr>().is_err())
}

/// Asks a server whether the key is its own.
async fn ask(endpoint: SocketAddr, key: &AgentKey) -> io::Result<bool> {
    let key = key.expose();
    // What is not one plain word is nobody's key, and must not become a second line.
    if key.len() > KEY_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(false);
    }
    let mut replies = Replies::new(TcpStream::connect(endpoint).await?);
    let herald = replies.next().await?;
    if Herald::parse(&herald).is_err() {
        return Err(io::Error::other("it does not greet as a UFT server"));
    }
    replies
        .stream
        .write_all(format!("AGENT {key}\r\n").as_bytes())
        .await?;
    let reply = replies.next().await?;
    // The answer is there; the goodbye is courtesy.
    let _ = replies.stream.write_all(b"QUIT\r\n").await;
    let _ = replies.stream.shutdown().await;
    Ok(Code::of(&reply).is_some_and(|code| code.class() == 2))
}

/// The final replies of a server.
struct Replies {
    stream: TcpStream,
    framer: Framer,
    input: BytesMut,
    lines: usize,
    greeted: bool,
}

impl Replies {
    fn new(stream: TcpStream) -> Replies {
        Replies {
            stream,
            framer: Framer::new(LINE_MAX),
            input: BytesMut::new(),
            lines: 0,
            greeted: false,
        }
    }

    async fn next(&mut self) -> io::Result<String> {
        let strange = || io::Error::other("it does not speak UFT");
        loop {
            match self.framer.next(&mut self.input) {
                Frame::TooLong(_) => return Err(strange()),
                Frame::More if self.framer.overflowing() => return Err(strange()),
                Frame::More => {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Frame::Line(line) => {
                    self.lines += 1;
                    if self.lines > CHATTER_MAX {
                        return Err(strange());
                    }
                    let (line, _) = text(&line);
                    let class = Code::of(&line).map(Code::class);
                    // The herald of a UFT/1 server is a 1xx line.
                    if matches!(class, Some(2..=5)) || class == Some(1) && !self.greeted {
                        self.greeted = true;
                        return Ok(line.into_owned());
                    }
                }
            }
        }
    }
}

impl CallBacks {
    fn records(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this key of this gateway is to be asked about; if so, the question counts.
    fn admit(&self, name: &str, key: blake3::Hash, now: Instant) -> Admission {
        let mut records = self.records();
        let record = records.entry(name.to_ascii_lowercase()).or_default();
        let fresh = |when: &Instant| now.saturating_duration_since(*when) < MINUTE;
        // Digests compare in constant time.
        if record
            .confirmed
            .is_some_and(|(known, when)| fresh(&when) && known == key)
        {
            return Admission::Confirmed;
        }
        record.asked.retain(fresh);
        if record.asked.len() >= QUESTIONS {
            return Admission::TooMany;
        }
        record.asked.push(now);
        Admission::Ask
    }

    fn remember(&self, name: &str, key: blake3::Hash, now: Instant) {
        let mut records = self.records();
        records.entry(name.to_ascii_lowercase()).or_default().confirmed = Some((key, now));
    }

    fn has_address(&self, name: &str, host: &str, address: IpAddr) -> bool {
        let records = self.records();
        records
            .get(&name.to_ascii_lowercase())
            .is_some_and(|record| record.host == host && record.addresses.contains(&address))
    }

    /// Whether it is time to look a name up; if so, somebody does.
    fn begin_look_up(&self, name: &str, host: &str, now: Instant) -> bool {
        let mut records = self.records();
        let record = records.entry(name.to_ascii_lowercase()).or_default();
        if record.host != host {
            *record = Record {
                host: host.to_owned(),
                ..Record::default()
            };
        }
        let due = record
            .looked_up
            .is_none_or(|when| now.saturating_duration_since(when) >= MINUTE);
        if due {
            record.looked_up = Some(now);
        }
        due
    }

    fn learn(&self, name: &str, addresses: Vec<IpAddr>) {
        let mut records = self.records();
        records.entry(name.to_ascii_lowercase()).or_default().addresses = addresses;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_asked_a_few_times_a_minute_and_a_confirmed_key_not_again() {
        let (calls, start) = (CallBacks::default(), Instant::now());
        let (good, bad) = (blake3::hash(b"good"), blake3::hash(b"bad"));
        assert_eq!(calls.admit("Beta", good, start), Admission::Ask);
        calls.remember("beta", good, start);
        for _ in 0..100 {
            assert_eq!(calls.admit("BETA", good, start), Admission::Confirmed);
        }
        for _ in 1..QUESTIONS {
            assert_eq!(calls.admit("beta", bad, start), Admission::Ask);
        }
        assert_eq!(calls.admit("beta", bad, start), Admission::TooMany);
        assert_eq!(
            calls.admit("gamma", bad, start),
            Admission::Ask,
            "others are not concerned"
        );
        let later = start + MINUTE;
        assert_eq!(
            calls.admit("beta", good, later),
            Admission::Ask,
            "a minute is over"
        );
    }

    #[test]
    fn a_name_is_looked_up_once_a_minute_and_anew_when_it_changes() {
        let (calls, start) = (CallBacks::default(), Instant::now());
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(calls.begin_look_up("beta", "b.example", start));
        assert!(!calls.begin_look_up("beta", "b.example", start));
        assert!(!calls.has_address("beta", "b.example", address));
        calls.learn("beta", vec![address]);
        assert!(calls.has_address("Beta", "b.example", address));
        assert!(calls.begin_look_up("beta", "b.example", start + MINUTE));
        assert!(
            calls.has_address("beta", "b.example", address),
            "until it is known better"
        );
        assert!(calls.begin_look_up("beta", "c.example", start + MINUTE));
        assert!(!calls.has_address("beta", "c.example", address));
    }
}
