//! `kill -9` at any moment: what was acknowledged is there exactly once and whole; what was not is absent or whole.
//!
//! The daemon is killed after a random number of steps of its senders, and a random moment later. The kernel's cache
//! survives such a kill, so this proves the order of things, not the disk; the crash images of the spool prove that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use uft::local::Form;

use crate::harness::{Daemon, PATIENCE, Random, random_bytes};

const SESSIONS: u64 = 200;
const SENDERS: usize = 4;

/// A file on its way: its number makes its bytes and its transfer id.
#[derive(Clone, Copy, Debug)]
struct Parcel {
    number: u64,
    /// Some stay in memory until the end, some are staged on the disk.
    len: usize,
    text: bool,
}

impl Parcel {
    fn new(number: u64, random: &mut Random) -> Parcel {
        let len = match random.below(4) {
            0 => random.below(64),
            1 => random.below(4_000),
            2 => random.below(120_000),
            _ => random.below(600_000),
        };
        Parcel {
            number,
            len: len as usize,
            text: random.below(3) == 0,
        }
    }

    fn xid(self) -> String {
        format!("crash-{}", self.number)
    }

    fn wire(self) -> Vec<u8> {
        if self.text {
            let mut text = crate::harness::text_of(self.number, self.len)
                .replace('\n', "\r\n")
                .into_bytes();
            text.truncate(text.len() / 2 * 2);
            text
        } else {
            random_bytes(self.number, self.len)
        }
    }
}

/// Sends one parcel, saying before each step that it comes; whether `EOF` was acknowledged.
fn send(address: SocketAddr, parcel: Parcel, steps: &Sender<()>) -> io::Result<bool> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut reply = || -> io::Result<u8> {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.as_bytes().first() {
                Some(b'1' | b'6') => {}
                Some(&class) => return Ok(class),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    };
    let step = || {
        let _ = steps.send(());
    };
    step();
    reply()?;
    let bytes = parcel.wire();
    let file_type = if parcel.text { "A" } else { "I" };
    for command in [
        format!("FILE {} crasher -\r\n", bytes.len()),
        "USER alice\r\n".into(),
        format!("TYPE {file_type}\r\n"),
        format!("META XID {}\r\n", parcel.xid()),
    ] {
        step();
        stream.write_all(command.as_bytes())?;
        reply()?;
    }
    for burst in bytes.chunks(32_256) {
        step();
        stream.write_all(format!("DATA {}\r\n", burst.len()).as_bytes())?;
        reply()?;
        stream.write_all(burst)?;
        step();
        reply()?;
    }
    stream.write_all(b"EOF\r\n")?;
    step();
    Ok(reply()? == b'2')
}

/// What is known of the parcels so far.
#[derive(Debug, Default)]
struct Ledger {
    acknowledged: BTreeMap<u64, Parcel>,
    open: BTreeMap<u64, Parcel>,
    /// Transfer ids of items whose removal was acknowledged.
    discarded: BTreeSet<String>,
    /// Removals that were asked for and not answered.
    maybe_discarded: BTreeSet<String>,
}

#[test]
fn what_was_acknowledged_survives_two_hundred_sessions_of_kills() {
    let mut random = Random::new();
    let mut daemon = Daemon::with(
        "[uft]\nmax_sessions_per_address = 1000\n[limits]\nstranger_items = 100000\nuser_items = 100000",
    );
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut next = 1;
    let mut kills = 0;
    while next <= SESSIONS {
        round(&mut daemon, &ledger, &mut next, &mut random);
        kills += 1;
        daemon.start_again();
        check(&daemon, &mut ledger.lock().unwrap());
        assert_eq!(daemon.staged(), Vec::<String>::new(), "swept at the start");
    }
    assert!(kills >= 5, "killed {kills} times");
    // Everybody whose reply was lost sends again, with the same transfer id.
    let open: Vec<Parcel> = std::mem::take(&mut ledger.lock().unwrap().open)
        .into_values()
        .collect();
    let (steps, _taken) = channel();
    for parcel in open {
        assert!(send(daemon.address(), parcel, &steps).unwrap());
        ledger.lock().unwrap().acknowledged.insert(parcel.number, parcel);
    }
    let ledger = &mut *ledger.lock().unwrap();
    check(&daemon, ledger);
    assert_eq!(ledger.acknowledged.len() as u64, next - 1);
    daemon.stop();
}

/// Some parcels, concurrently, until the daemon is killed in the middle of it.
fn round(daemon: &mut Daemon, ledger: &Arc<Mutex<Ledger>>, next: &mut u64, random: &mut Random) {
    let address = daemon.address();
    let mut work: Vec<Parcel> = std::mem::take(&mut ledger.lock().unwrap().open)
        .into_values()
        .collect();
    let fresh = 4 + random.below(12);
    for _ in 0..fresh {
        work.push(Parcel::new(*next, random));
        *next += 1;
    }
    let work = Arc::new(Mutex::new(work));
    let (steps, taken) = channel();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (work, ledger, steps) = (Arc::clone(&work), Arc::clone(ledger), steps.clone());
            thread::spawn(move || {
                loop {
                    let Some(parcel) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let done = send(address, parcel, &steps);
                    let mut ledger = ledger.lock().unwrap();
                    match done {
                        Ok(true) => ledger.acknowledged.insert(parcel.number, parcel),
                        Ok(false) | Err(_) => ledger.open.insert(parcel.number, parcel),
                    };
                }
            })
        })
        .collect();
    drop(steps);
    for n in 0..random.below(40 + fresh * 8) {
        if taken.recv_timeout(PATIENCE).is_err() {
            break;
        }
        if n % 16 == 7 {
            discard_one(daemon, ledger);
        }
    }
    // Some steps are too short to be hit by counting: a moment more, less than a commit takes.
    let moment = Instant::now() + Duration::from_micros(random.below(3_000));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
    daemon.kill();
    for sender in senders {
        sender.join().unwrap();
    }
}

/// Removes an acknowledged item, if there is one.
fn discard_one(daemon: &Daemon, ledger: &Mutex<Ledger>) {
    let items = daemon.items("alice");
    let Some(item) = items.last() else { return };
    let Some(xid) = item.envelope.facts.xid.clone() else {
        return;
    };
    // Acknowledged only: a sender whose reply is lost could not tell a removed item from a lost one.
    let known = |ledger: &Ledger| ledger.acknowledged.values().any(|parcel| parcel.xid() == xid);
    if !known(&ledger.lock().unwrap()) {
        return;
    }
    ledger.lock().unwrap().maybe_discarded.insert(xid.clone());
    if daemon.discard(item) {
        ledger.lock().unwrap().discarded.insert(xid);
    }
}

fn check(daemon: &Daemon, ledger: &mut Ledger) {
    let mut seen = BTreeMap::new();
    for item in daemon.items("alice") {
        let xid = item
            .envelope
            .facts
            .xid
            .clone()
            .expect("every parcel has a transfer id");
        assert!(seen.insert(xid.clone(), item).is_none(), "{xid} twice");
    }
    for xid in &ledger.discarded {
        assert!(!seen.contains_key(xid), "{xid} is back from the dead");
    }
    for parcel in ledger.acknowledged.values() {
        let xid = parcel.xid();
        match seen.remove(&xid) {
            Some(item) => assert_whole(daemon, *parcel, &item),
            None => assert!(
                ledger.maybe_discarded.contains(&xid),
                "{xid} was acknowledged and is lost"
            ),
        }
    }
    for parcel in ledger.open.values() {
        if let Some(item) = seen.remove(&parcel.xid()) {
            assert_whole(daemon, *parcel, &item);
        }
    }
    assert!(seen.is_empty(), "items nobody sent: {seen:?}");
}

fn assert_whole(daemon: &Daemon, parcel: Parcel, item: &uft::local::ItemInfo) {
    let wire = parcel.wire();
    let envelope = &item.envelope;
    assert_eq!(
        (envelope.wire.bytes, envelope.wire.blake3),
        (wire.len() as u64, blake3::hash(&wire)),
        "{parcel:?}"
    );
    let stored = daemon.bytes(item, Form::Local);
    let torn = (stored.len() as u64, blake3::hash(&stored)) != (envelope.local.bytes, envelope.local.blake3);
    assert!(
        !torn,
        "the stored bytes of {parcel:?} are not what the envelope says"
    );
    if envelope.facts.stored_as == uft_spool::FileType::I {
        assert!(stored == wire, "{parcel:?}");
    }
}
