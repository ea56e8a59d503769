//! Durable deliveries of 1 KiB, each in a connection of its own: one client after the other, and eight at once.

use std::thread;
use std::time::{Duration, Instant};

use super::gateway::{Disk, Gateway};
use super::{Figure, floor_small, median};

const ROUNDS: usize = 7;
const EACH: usize = 1_000;

pub(crate) fn figures(disk: &mut Disk) -> Vec<Figure> {
    [1, 8].into_iter().map(|clients| compare(disk, clients)).collect()
}

fn compare(disk: &mut Disk, clients: usize) -> Figure {
    let dir = disk.scratch();
    let bytes = [b'x'; 1024];
    let floor = floor_small::serve(&dir.join("floor"), clients);
    let gateway = Gateway::start(&dir);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let one = timed(clients, || floor_small::deliver(floor, &bytes));
        let other = timed(clients, || gateway.deliver(&bytes));
        // The first round warms both up.
        if round > 0 {
            bare.push(one);
            ours.push(other);
        }
    }
    assert_eq!(gateway.items().len(), (ROUNDS + 1) * EACH);
    let (bare, ours) = (median(bare), median(ours));
    let rate = |time: Duration| format!("{:.0}/s", EACH as f64 / time.as_secs_f64());
    let ratio = bare.as_secs_f64() / ours.as_secs_f64();
    Figure {
        work: format!(
            "durable 1 KiB deliveries, {clients} client{}",
            if clients == 1 { "" } else { "s" }
        ),
        ours: rate(ours),
        floor: rate(bare),
        result: format!("{ratio:.2}"),
        target: ">= 0.6",
        met: ratio >= 0.6,
    }
}

fn timed(clients: usize, work: impl Fn() + Sync) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| (0..EACH / clients).for_each(|_| work()));
        }
    });
    began.elapsed()
}
