//! Relaying: what a gateway has in its queue goes to the next one, against the same files sent there directly; and a queue
//! of 100,000 jobs whose next hop is down.
//!
//! The queue is filled before the gateway starts, so that only its way out is measured: the time from the start of the
//! process to the last arrival.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use uft::local::client::ask;
use uft::local::{Answer, Request};
use uft::queue::schedule::{HopKey, Job as Due, Schedule};
use uft_spool::{
    Delivery, Facts, FileType, Job, Limits, Origin, Progress, Proof, Spool, SpoolId, TypeSpec, UserName,
};

use super::gateway::{Disk, Gateway};
use super::{Figure, median};

const SMALL: usize = 5_000;
const LARGE: u64 = 1 << 30;
const MANY: usize = 100_000;
/// Connections at once, as many as the queue has to one peer.
const TOGETHER: usize = 4;
const ROUNDS: usize = 3;

pub(crate) fn figures(disk: &mut Disk) -> Vec<Figure> {
    let mut figures = vec![small(disk), large(disk)];
    figures.extend(long_queue(disk));
    figures.push(next_due());
    figures
}

fn small(disk: &mut Disk) -> Figure {
    let bytes = [b'x'; 1024];
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let beta = Gateway::start(&disk.scratch());
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..TOGETHER {
                scope.spawn(|| (0..SMALL / TOGETHER).for_each(|_| beta.deliver(&bytes)));
            }
        });
        direct.push(began.elapsed());
        let dir = disk.scratch();
        fill(&dir.join("spool"), SMALL, |local| local.write(&bytes).unwrap());
        relayed.push(relay(&dir, &beta, SMALL as u64 * 2));
    }
    let (direct, relayed) = (median(direct), median(relayed));
    let rate = |time: Duration| format!("{:.0}/s", SMALL as f64 / time.as_secs_f64());
    let ratio = direct.as_secs_f64() / relayed.as_secs_f64();
    Figure {
        work: "relay of 5,000 x 1 KiB, against direct".into(),
        ours: rate(relayed),
        floor: rate(direct),
        result: format!("{ratio:.2}"),
        target: ">= 0.5",
        met: ratio >= 0.5,
    }
}

fn large(disk: &mut Disk) -> Figure {
    let source = disk.scratch().join("source");
    super::large::write_text(&source);
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let beta = Gateway::start(&disk.scratch());
        let began = Instant::now();
        assert!(beta.sendfile("I", &source).status().unwrap().success());
        direct.push(began.elapsed());
        let dir = disk.scratch();
        let piece = vec![b'x'; 1 << 20];
        fill(&dir.join("spool"), 1, |local| {
            (0..LARGE >> 20).for_each(|_| local.write(&piece).unwrap());
        });
        relayed.push(relay(&dir, &beta, 2));
    }
    let (direct, relayed) = (median(direct), median(relayed));
    let rate = |time: Duration| format!("{:.0} MB/s", LARGE as f64 / 1e6 / time.as_secs_f64());
    let ratio = direct.as_secs_f64() / relayed.as_secs_f64();
    Figure {
        work: "relay of 1 GiB, against direct".into(),
        ours: rate(relayed),
        floor: rate(direct),
        result: format!("{ratio:.2}"),
        target: ">= 0.7",
        met: ratio >= 0.7,
    }
}

/// Starts a gateway on a filled queue; how long until `beta` has this many items.
fn relay(dir: &Path, beta: &Gateway, items: u64) -> Duration {
    let began = Instant::now();
    let alpha = Gateway::start_as("ALPHA", dir, &route(&beta.address.to_string()));
    while stored(beta) < items {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "see {}/log",
            dir.display()
        );
        thread::sleep(Duration::from_millis(2));
    }
    let took = began.elapsed();
    drop(alpha);
    took
}

fn route(beta: &str) -> String {
    format!("[[peer]]\nname = \"beta\"\nuft = \"{beta}\"\n[[route]]\nto = \"BETA\"\nvia = \"beta\"\n")
}

fn stored(gateway: &Gateway) -> u64 {
    match ask(&gateway.socket(), &Request::Status).unwrap().only().unwrap() {
        Answer::Status(status) => status.items,
        other => panic!("{other:?}"),
    }
}

/// 100,000 jobs that wait for a gateway which is down.
fn long_queue(disk: &mut Disk) -> [Figure; 3] {
    let dir = disk.scratch();
    fill(&dir.join("spool"), MANY, |local| local.write(b"x").unwrap());
    let down = route("127.0.0.1:1");
    let (mut start, mut killed) = (Vec::new(), Vec::new());
    let mut resident = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let gateway = Gateway::start_as("ALPHA", &dir, &down);
        start.push(began.elapsed());
        // Everything was looked at when a change of one job has been heard of.
        let list = gateway.uft(&["queue", "ls", "--all"]).status().unwrap();
        assert!(list.success());
        resident = resident.max(gateway.memory("status", "VmRSS"));
        gateway.stop();
        let began = Instant::now();
        drop(Gateway::start_as("ALPHA", &dir, &down));
        killed.push(began.elapsed());
        // Stopped in order, so that the next start is a plain one.
        Gateway::start_as("ALPHA", &dir, &down).stop();
    }
    let time = |work: &str, took: Duration| Figure {
        work: work.into(),
        ours: format!("{took:.1?}"),
        floor: "-".into(),
        result: format!("{:.0} ms", took.as_secs_f64() * 1e3),
        target: "< 3 s",
        met: took < Duration::from_secs(3),
    };
    [
        time("start with 100,000 jobs", median(start)),
        time("a start before which it was stopped", median(killed)),
        Figure {
            work: "memory with 100,000 jobs".into(),
            ours: format!("{:.1} MiB", resident as f64 / 1024.0),
            floor: "-".into(),
            result: "-".into(),
            target: "<= 100 MiB",
            met: resident <= 100 * 1024,
        },
    ]
}

/// The next due of 100,000 jobs, in memory.
fn next_due() -> Figure {
    let mut schedule = Schedule::new(vec![Duration::from_secs(60)], TOGETHER, 0);
    let hop = HopKey::from("beta");
    for n in 1..=MANY as u64 {
        let id = SpoolId::new(n).unwrap();
        let job = Due {
            id,
            hops: vec![hop.clone()],
            queued: 0,
            priority: 50,
            size: n,
        };
        schedule.insert(job, false, 0);
        schedule.defer(id, n as i64);
    }
    let began = Instant::now();
    assert!(schedule.take(MANY as i64 / 2).is_some());
    let took = began.elapsed();
    Figure {
        work: "next of 100,000 jobs, half of them due at once".into(),
        ours: format!("{took:.1?}"),
        floor: "-".into(),
        result: format!("{:.2} ms", took.as_secs_f64() * 1e3),
        target: "< 5 ms",
        met: took < Duration::from_millis(5),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    since.as_secs() as i64
}

/// Puts files into a queue as the daemon would.
fn fill(dir: &Path, count: usize, write: impl Fn(&mut uft_spool::Staged) + Sync) {
    let limits = Limits {
        min_free: 0,
        user_items: u64::MAX,
        ..Limits::default()
    };
    let (spool, _) = Spool::open(dir, limits).unwrap();
    let together = count.min(64);
    thread::scope(|scope| {
        for first in 0..together {
            let (spool, write) = (&spool, &write);
            scope.spawn(move || {
                (first..count)
                    .step_by(together)
                    .for_each(|n| queue(spool, n, write));
            });
        }
    });
    // Deferred, as they would be by now.
    if count == MANY {
        let noted: Vec<(SpoolId, Progress)> = spool
            .jobs()
            .unwrap()
            .iter()
            .map(|job| {
                let progress = Progress {
                    attempts: 1,
                    due: 4_000_000_000,
                    said: "451 try again later".into(),
                };
                (job.id, progress)
            })
            .collect();
        spool.note_progress(&noted).unwrap();
    }
    spool.close();
}

fn queue(spool: &Spool, n: usize, write: &impl Fn(&mut uft_spool::Staged)) {
    let owner: UserName = "root".parse().unwrap();
    let reservation = spool.reserve(&[], &[Some(owner.clone())], None, None).unwrap();
    let mut local = spool.stage(&reservation);
    write(&mut local);
    let wire_measure = local.measure();
    let facts = Facts {
        name: Some(format!("report-{n}.txt")),
        spec: TypeSpec::plain(FileType::I),
        stored_as: FileType::I,
        origin: Origin {
            user: owner.to_string(),
            node: Some("ALPHA".into()),
            host: "alpha.example".into(),
            proof: Proof::Local,
        },
        received: 1_795_218_990,
        attributes: Vec::new(),
        xid: Some(format!("bench-{n}")),
        exact: true,
        notes: Vec::new(),
        receipt: None,
    };
    let job = Job {
        to: "alice".into(),
        place: "BETA".into(),
        owner: Some(owner),
        queued: now(),
        ..Job::default()
    };
    let delivery = Delivery {
        to: vec![],
        jobs: vec![job],
        reservation,
        local,
        wire: None,
        wire_measure,
        aux: None,
        facts,
    };
    spool.commit(delivery).unwrap();
}
