//! One file of 1 GiB, from the start of a real `sendfile` to its end, when the item can be read: as octets, as text, and
//! as EBCDIC; against the same bytes over a loopback connection into a file with an fsync.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::gateway::{Disk, Gateway};
use super::{Figure, floor_large, median};

pub(crate) const LARGE: u64 = 1 << 30;
const ROUNDS: usize = 3;

/// 1 GiB of text in lines of different lengths, all characters of which every code page has.
pub(crate) fn write_text(path: &Path) {
    let mut text = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let words = "the quick brown fox jumps over the lazy dog, and 0123456789 times it was not seen; ";
    let (mut written, mut n) = (0, 0);
    while written < LARGE {
        let line = &words[..20 + n * 7 % (words.len() - 20)];
        let left = usize::try_from(LARGE - written).unwrap();
        let line = &line[..line.len().min(left - 1)];
        text.write_all(line.as_bytes()).unwrap();
        text.write_all(b"\n").unwrap();
        written += line.len() as u64 + 1;
        n += 1;
    }
    text.into_inner().unwrap().sync_all().unwrap();
}

pub(crate) fn figures(disk: &mut Disk) -> Vec<Figure> {
    let dir = disk.scratch();
    let source = dir.join("source");
    write_text(&source);
    let gateway = Gateway::start(&dir);
    let copy = dir.join("copy");
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        floor_large::carry(&source, &copy);
        times[0].push(began.elapsed());
        fs::remove_file(&copy).unwrap();
        settle(&dir);
        for (n, file_type) in ["I", "A", "E"].into_iter().enumerate() {
            let began = Instant::now();
            let sent = gateway.sendfile(file_type, &source).status().unwrap();
            times[n + 1].push(began.elapsed());
            assert!(sent.success(), "{file_type}: {sent}");
            let items = gateway.items();
            assert_eq!(items.len(), 1);
            gateway.discard(items[0]);
            settle(&dir);
        }
    }
    let [floor, image, text, ebcdic] = times.map(median);
    vec![
        figure("1 GiB, type I", image, floor, 0.8, ">= 0.8"),
        figure("1 GiB, type A, against type I", text, image, 0.6, ">= 0.6"),
        figure("1 GiB, type E, against type I", ebcdic, image, 0.6, ">= 0.6"),
    ]
}

fn figure(work: &str, ours: Duration, floor: Duration, least: f64, target: &'static str) -> Figure {
    let rate = |time: Duration| format!("{:.0} MB/s", LARGE as f64 / 1e6 / time.as_secs_f64());
    let ratio = floor.as_secs_f64() / ours.as_secs_f64();
    Figure {
        work: work.into(),
        ours: rate(ours),
        floor: rate(floor),
        result: format!("{ratio:.2}"),
        target,
        met: ratio >= least,
    }
}

/// What the disk does about a freed gigabyte is not to be paid for by the next contender.
fn settle(dir: &Path) {
    File::open(dir).unwrap().sync_all().unwrap();
}
