//! A long inbox: `uft ls` and the start of the daemon with 100,000 items, and whether a delivery costs more then.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use uft_spool::{Delivery, Facts, FileType, Limits, Origin, Proof, Spool, TypeSpec, UserName};

use super::gateway::{Disk, Gateway};
use super::{Figure, median};

const ITEMS: usize = 100_000;
/// Deliveries at once while the inbox is filled: they share their fsyncs.
const TOGETHER: usize = 64;
const ROUNDS: usize = 5;
const DELIVERIES: usize = 300;

pub(crate) fn figures(disk: &mut Disk) -> Vec<Figure> {
    let dir = disk.scratch();
    let short = disk.scratch();
    let few = Gateway::start(&short);
    let began = Instant::now();
    fill(&dir.join("spool"));
    eprintln!("{ITEMS} items stored in {:.1?}", began.elapsed());
    let (mut start, mut start_killed, mut list, mut json) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut gateway: Option<Gateway> = None;
    for _ in 0..ROUNDS {
        gateway.take().into_iter().for_each(Gateway::stop);
        let began = Instant::now();
        let running = Gateway::start(&dir);
        start.push(began.elapsed());
        // Dropped, it is killed.
        drop(running);
        let began = Instant::now();
        let running = Gateway::start(&dir);
        start_killed.push(began.elapsed());
        list.push(timed(|| {
            assert!(running.uft(&["ls"]).status().unwrap().success())
        }));
        json.push(timed(|| {
            assert!(running.uft(&["ls", "--json"]).status().unwrap().success())
        }));
        gateway = Some(running);
    }
    let many = gateway.unwrap();
    let bytes = [b'x'; 1024];
    let (mut into_few, mut into_many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        into_few.push(timed(|| (0..DELIVERIES).for_each(|_| few.deliver(&bytes))));
        into_many.push(timed(|| (0..DELIVERIES).for_each(|_| many.deliver(&bytes))));
    }
    assert_eq!(many.items().len(), ITEMS + ROUNDS * DELIVERIES);
    let (start, start_killed) = (median(start), median(start_killed));
    let (list, json) = (median(list), median(json));
    let growth = median(into_many).as_secs_f64() / median(into_few).as_secs_f64();
    vec![
        time("start with 100,000 items", start, 2_000, "< 2 s"),
        time("the same after a kill", start_killed, 2_000, "< 2 s"),
        time("uft ls with 100,000 items", list, 100, "< 100 ms"),
        time("uft ls --json with 100,000 items", json, 10_000, "-"),
        Figure {
            work: "cost of a delivery beside 100,000 items".into(),
            ours: "-".into(),
            floor: "-".into(),
            result: format!("{growth:.2} x"),
            target: "<= 1.2 x",
            met: growth <= 1.2,
        },
    ]
}

fn time(work: &str, took: Duration, most_ms: u128, target: &'static str) -> Figure {
    Figure {
        work: work.into(),
        ours: format!("{took:.1?}"),
        floor: "-".into(),
        result: format!("{:.0} ms", took.as_secs_f64() * 1e3),
        target,
        met: took.as_millis() < most_ms,
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Stores the items as the daemon would.
fn fill(dir: &Path) {
    let limits = Limits {
        min_free: 0,
        user_items: u64::MAX,
        stranger_items: u64::MAX,
        ..Limits::default()
    };
    let (spool, _) = Spool::open(dir, limits).unwrap();
    let user: UserName = "alice".parse().unwrap();
    thread::scope(|scope| {
        for first in 0..TOGETHER {
            let (spool, user) = (&spool, &user);
            scope.spawn(move || {
                (first..ITEMS)
                    .step_by(TOGETHER)
                    .for_each(|n| store(spool, user, n))
            });
        }
    });
    spool.close();
}

fn store(spool: &Spool, user: &UserName, n: usize) {
    let to = vec![user.clone()];
    let reservation = spool.reserve(&to, &[], None, None).unwrap();
    let mut local = spool.stage(&reservation);
    local.write(format!("item {n}\n").as_bytes()).unwrap();
    let origin = Origin {
        user: "maint".into(),
        node: None,
        host: "192.0.2.1".into(),
        proof: Proof::Address,
    };
    let facts = Facts {
        name: Some(format!("report-{n}.txt")),
        spec: TypeSpec::plain(FileType::I),
        stored_as: FileType::I,
        origin,
        received: 1_795_218_990 + n as i64,
        attributes: Vec::new(),
        xid: None,
        exact: true,
        notes: Vec::new(),
        receipt: None,
    };
    let wire_measure = local.measure();
    spool
        .commit(Delivery {
            to,
            jobs: vec![],
            reservation,
            local,
            wire: None,
            wire_measure,
            aux: None,
            facts,
        })
        .unwrap();
}
