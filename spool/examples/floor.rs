//! What a durable delivery costs, against a bare program that does the same to the disk; and long lists.
//!
//! `cargo run --release -p uft-spool --example floor [DIRECTORY]` prints medians of several rounds, in which the two
//! take turns. The floor writes 1 KiB to a new file, syncs it, renames it into one common directory and syncs that.
//! It checks nothing, counts nothing and has no index.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use uft_spool::{Delivery, Facts, FileType, Limits, Origin, Proof, Spool, TypeSpec, UserName};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 7;
const EACH: usize = 1000;
const LONG: usize = 100_000;
const LARGE: usize = 1 << 30;

/// Every delivery has a transfer id of its own, as from a client that resends.
static XID: AtomicU64 = AtomicU64::new(0);

fn main() -> Outcome<()> {
    let base = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let base = tempfile::tempdir_in(base)?;
    for threads in [1, 8] {
        compare(base.path(), threads)?;
    }
    large(base.path())?;
    long_list(&base.path().join("long"))
}

/// One file of 1 GiB, against the same writes and an fsync.
fn large(base: &Path) -> Outcome<()> {
    let limits = Limits {
        min_free: 0,
        ..Limits::default()
    };
    let (spool, _) = Spool::open(&base.join("large"), limits)?;
    let user: UserName = "ann".parse()?;
    let chunk = vec![7; 256 * 1024];
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let path = base.join("bare");
        let start = Instant::now();
        let mut file = File::create(&path)?;
        (0..LARGE / chunk.len()).try_for_each(|_| file.write_all(&chunk))?;
        file.sync_all()?;
        floor.push(start.elapsed());
        // What the disk does about the freed gigabyte is not to be paid for by the next one.
        fs::remove_file(path)?;
        File::open(base)?.sync_all()?;
        let start = Instant::now();
        deliver(&spool, &user, (0..LARGE / chunk.len()).map(|_| &*chunk))?;
        ours.push(start.elapsed());
        spool.expire(i64::MAX, 1)?;
    }
    let (floor, ours) = (median(floor), median(ours));
    println!(
        "1 GiB: floor {floor:.2?}, spool {ours:.2?}, ratio {:.2}",
        floor.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

fn compare(base: &Path, threads: usize) -> Outcome<()> {
    let limits = Limits {
        min_free: 0,
        user_items: u64::MAX,
        stranger_items: u64::MAX,
        ..Limits::default()
    };
    let (spool, _) = Spool::open(&base.join(format!("spool{threads}")), limits)?;
    let bare = base.join(format!("bare{threads}"));
    fs::create_dir_all(bare.join("tmp"))?;
    fs::create_dir_all(bare.join("new"))?;
    let user: UserName = "ann".parse()?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor.push(timed(threads, |n| bare_delivery(&bare, &format!("{round}-{n}")))?);
        ours.push(timed(threads, |_| delivery(&spool, &user, &[7; 1024]))?);
    }
    let (floor, ours) = (median(floor), median(ours));
    let rate = |time: Duration| EACH as f64 / time.as_secs_f64();
    println!(
        "{threads} threads: floor {:.0}/s, spool {:.0}/s, ratio {:.2}",
        rate(floor),
        rate(ours),
        floor.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// How long `EACH` calls take, spread over threads.
fn timed(threads: usize, work: impl Fn(usize) -> Outcome<()> + Sync) -> Outcome<Duration> {
    let start = Instant::now();
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || (first..EACH).step_by(threads).try_for_each(work)))
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn bare_delivery(dir: &Path, name: &str) -> Outcome<()> {
    let (from, to) = (dir.join("tmp").join(name), dir.join("new").join(name));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&from)?;
    file.write_all(&[7; 1024])?;
    file.sync_all()?;
    fs::rename(from, to)?;
    Ok(File::open(dir.join("new"))?.sync_all()?)
}

fn delivery(spool: &Spool, user: &UserName, bytes: &[u8]) -> Outcome<()> {
    deliver(spool, user, std::iter::once(bytes))
}

fn deliver<'a>(spool: &Spool, user: &UserName, mut chunks: impl Iterator<Item = &'a [u8]>) -> Outcome<()> {
    let to = vec![user.clone()];
    let reservation = spool.reserve(&to, &[], None, None)?;
    let mut local = spool.stage(&reservation);
    chunks.try_for_each(|chunk| local.write(chunk))?;
    let origin = Origin {
        user: "maint".into(),
        node: None,
        host: "192.0.2.1".into(),
        proof: Proof::Address,
    };
    let facts = Facts {
        name: Some("report.txt".into()),
        spec: TypeSpec::plain(FileType::I),
        stored_as: FileType::I,
        origin,
        received: 1_795_218_990,
        attributes: vec![],
        xid: Some(format!("x{}", XID.fetch_add(1, Ordering::Relaxed))),
        exact: true,
        notes: vec![],
        receipt: None,
    };
    let wire_measure = local.measure();
    spool.commit(Delivery {
        to,
        jobs: vec![],
        reservation,
        local,
        wire: None,
        wire_measure,
        aux: None,
        facts,
    })?;
    Ok(())
}

/// An inbox of 100,000: made by links of one item, so that it is there in a moment.
fn long_list(dir: &Path) -> Outcome<()> {
    let limits = Limits {
        min_free: 0,
        user_items: u64::MAX,
        stranger_items: u64::MAX,
        ..Limits::default()
    };
    let user: UserName = "ann".parse()?;
    let (spool, _) = Spool::open(dir, limits.clone())?;
    delivery(&spool, &user, &[7; 1024])?;
    spool.close();
    let inbox = dir.join("users/ann");
    let mut source = inbox.join("1");
    for n in 2..=LONG {
        let next = inbox.join(n.to_string());
        // No file may have more names than the file system counts.
        match n % 10_000 {
            0 => drop(fs::copy(&source, &next)?),
            _ => fs::hard_link(&source, &next)?,
        }
        if n % 10_000 == 0 {
            source = next;
        }
    }
    let open = |what: &str| -> Outcome<Spool> {
        let start = Instant::now();
        let (spool, recovery) = Spool::open(dir, limits.clone())?;
        println!(
            "{what}: {:.3?}, {} items, {} learnt",
            start.elapsed(),
            recovery.items,
            recovery.learnt
        );
        Ok(spool)
    };
    let spool = open("first start")?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        assert_eq!(spool.list(&user)?.len(), LONG);
        times.push(start.elapsed());
    }
    println!("list of {LONG}: {:.3?}", median(times));
    spool.close();
    let spool = open("start after an orderly stop")?;
    spool.close();
    fs::write(dir.join("lock"), "")?;
    open("start after a crash")?.close();
    fs::remove_file(dir.join("index.sqlite"))?;
    open("start without an index")?.close();
    Ok(())
}
