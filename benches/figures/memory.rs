//! Memory of the daemon: idle, while 1 GiB comes in, and for each open session.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::Figure;
use super::gateway::{Disk, Gateway};
use super::large::write_text;

const SESSIONS: u64 = 1_000;
const MIB: u64 = 1024;

pub(crate) fn figures(disk: &mut Disk) -> Vec<Figure> {
    let dir = disk.scratch();
    let source = dir.join("source");
    write_text(&source);
    let mut figures = Vec::new();
    let gateway = Gateway::start(&dir);
    gateway.deliver(&[b'x'; 1024]);
    figures.push(total(
        "daemon memory, idle",
        &gateway,
        gateway.memory("status", "VmRSS"),
        15,
        "<= 15 MiB",
    ));
    for (file_type, work) in [
        ("I", "daemon memory during 1 GiB, type I"),
        ("E", "daemon memory during 1 GiB, type E"),
    ] {
        let mut sending = gateway.sendfile(file_type, &source).spawn().unwrap();
        let mut most = 0;
        while sending.try_wait().unwrap().is_none() {
            most = most.max(gateway.memory("status", "VmRSS"));
            thread::park_timeout(Duration::from_millis(10));
        }
        assert!(sending.wait().unwrap().success());
        figures.push(total(work, &gateway, most, 32, "<= 32 MiB"));
    }
    drop(gateway);
    let gateway = Gateway::start(&dir);
    gateway.deliver(&[b'x'; 1024]);
    let before = gateway.memory("status", "VmRSS");
    let sessions: Vec<TcpStream> = (0..SESSIONS)
        .map(|_| {
            let stream = TcpStream::connect(gateway.address).unwrap();
            BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            stream
        })
        .collect();
    let each = gateway.memory("status", "VmRSS").saturating_sub(before) as f64 / SESSIONS as f64;
    drop(sessions);
    figures.push(Figure {
        work: format!("daemon memory for each of {SESSIONS} sessions"),
        ours: format!("{each:.1} KiB"),
        floor: "-".into(),
        result: format!("{each:.1}"),
        target: "<= 64 KiB",
        met: each <= 64.0,
    });
    figures
}

/// The resident size, and for information what of it is the daemon's own and not pages of its program file.
fn total(work: &str, gateway: &Gateway, resident: u64, most_mib: u64, target: &'static str) -> Figure {
    let own = gateway.memory("status", "RssAnon");
    Figure {
        work: work.into(),
        ours: format!("{:.1} MiB", resident as f64 / MIB as f64),
        floor: format!("({:.1} own after)", own as f64 / MIB as f64),
        result: format!("{:.1}", resident as f64 / MIB as f64),
        target,
        met: resident <= most_mib * MIB,
    }
}
