//! What a job costs in a queue that is empty and in one of 100,000, and how long such a queue takes to open and to list.
//!
//! `cargo run --release -p uft-spool --example queue [DIRECTORY]` fills the queue job by job: on a disk most of that is
//! fsyncs, in a directory in memory it is our own work. It asserts nothing but the number of jobs.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use uft_spool::{
    Committed, Delivery, Facts, FileType, Job, Limits, Origin, Progress, Proof, Spool, SpoolId, TypeSpec,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const LONG: usize = 100_000;
/// Jobs whose cost is measured.
const SOME: usize = 1000;
const ROUNDS: usize = 5;

/// Every job has a transfer id of its own.
static XID: AtomicU64 = AtomicU64::new(0);

fn main() -> Outcome<()> {
    let base = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let base = tempfile::tempdir_in(base)?;
    let dir = base.path().join("spool");
    let spool = open(&dir, "a new spool")?;
    come_and_go(&spool, "in an empty queue")?;
    let start = Instant::now();
    for _ in 0..LONG {
        queue(&spool)?;
    }
    let each = start.elapsed() / u32::try_from(LONG)?;
    println!("{LONG} jobs queued: {each:.2?} each");
    come_and_go(&spool, "in a full queue")?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert_eq!(spool.jobs()?.len(), LONG);
        times.push(start.elapsed());
    }
    println!("list: {:.3?}", median(times));
    let tried: Vec<(SpoolId, Progress)> = spool
        .jobs()?
        .into_iter()
        .map(|job| (job.id, job.progress))
        .collect();
    let start = Instant::now();
    spool.note_progress(&tried)?;
    println!("progress of all noted: {:.3?}", start.elapsed());
    spool.close();
    open(&dir, "start after an orderly stop")?.close();
    fs::write(dir.join("lock"), "")?;
    open(&dir, "start after a crash")?.close();
    fs::remove_file(dir.join("index.sqlite"))?;
    open(&dir, "start without an index")?.close();
    Ok(())
}

fn open(dir: &Path, what: &str) -> Outcome<Spool> {
    let limits = Limits {
        min_free: 0,
        user_items: u64::MAX,
        ..Limits::default()
    };
    let start = Instant::now();
    let (spool, recovery) = Spool::open(dir, limits)?;
    println!(
        "{what}: {:.3?}, {} jobs, {} learnt",
        start.elapsed(),
        recovery.jobs,
        recovery.learnt
    );
    Ok(spool)
}

/// What it costs to queue a job, and to finish it.
fn come_and_go(spool: &Spool, what: &str) -> Outcome<()> {
    let start = Instant::now();
    let ids = (0..SOME).map(|_| queue(spool)).collect::<Outcome<Vec<_>>>()?;
    let came = start.elapsed() / u32::try_from(SOME)?;
    let start = Instant::now();
    for id in ids {
        spool.finish(id)?;
    }
    let went = start.elapsed() / u32::try_from(SOME)?;
    println!("{what}: {came:.2?} to queue, {went:.2?} to finish");
    Ok(())
}

fn queue(spool: &Spool) -> Outcome<SpoolId> {
    let owner = Some("ann".parse()?);
    let reservation = spool.reserve(&[], std::slice::from_ref(&owner), None, None)?;
    let mut local = spool.stage(&reservation);
    local.write(&[7; 1024])?;
    let wire_measure = local.measure();
    let job = Job {
        to: "bob".into(),
        place: "BETA".into(),
        owner,
        queued: 1_795_218_990,
        ..Job::default()
    };
    let origin = Origin {
        user: "ann".into(),
        node: Some("ALPHA".into()),
        host: "alpha.example".into(),
        proof: Proof::Local,
    };
    let facts = Facts {
        name: Some("report.txt".into()),
        spec: TypeSpec::plain(FileType::I),
        stored_as: FileType::I,
        origin,
        received: 1_795_218_990,
        attributes: vec![],
        xid: Some(format!("alpha.{:032x}", XID.fetch_add(1, Ordering::Relaxed))),
        exact: true,
        notes: vec![],
        receipt: None,
    };
    let committed = spool.commit(Delivery {
        to: vec![],
        jobs: vec![job],
        reservation,
        local,
        wire: None,
        wire_measure,
        aux: None,
        facts,
    })?;
    match committed {
        Committed::Stored(placed) => placed.queue.first().copied().ok_or_else(|| "no job".into()),
        Committed::Repeat(placed) => Err(format!("a repeat of {placed:?}").into()),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
