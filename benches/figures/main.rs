//! The figures that we hold ourselves to: each is a ratio between the gateway and a bare program that does the least
//! that the same promise needs, in one run on the same disk and cores, since machines differ.
//!
//! `cargo bench --bench figures` measures everything and prints one table; words after `--` choose parts of it:
//! `small`, `large`, `memory`, `long`, `relay`. Each figure is the median of several rounds in which the contenders take turns.
//! Everything is written below the build directory and removed. What is measured in memory alone is in `benches/canon.rs`.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a measuring program: it ends at the first surprise"
)]

mod floor_large;
mod floor_small;
mod gateway;
mod large;
mod long;
mod memory;
mod relay;
mod small;

use std::time::Duration;

use gateway::Disk;

/// One line of the table.
struct Figure {
    work: String,
    ours: String,
    floor: String,
    /// What is compared with the target.
    result: String,
    target: &'static str,
    met: bool,
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let parts = [
        ("small", small::figures as fn(&mut Disk) -> Vec<Figure>),
        ("large", large::figures),
        ("memory", memory::figures),
        ("long", long::figures),
        ("relay", relay::figures),
    ];
    let mut disk = Disk::default();
    let mut figures = Vec::new();
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("measuring: {name}");
            figures.extend(part(&mut disk));
        }
    }
    println!(
        "\n{:<42} {:>16} {:>16} {:>9}  {:<10}",
        "work", "ours", "floor", "result", "target"
    );
    for figure in &figures {
        let met = if figure.met { "" } else { "  MISSED" };
        println!(
            "{:<42} {:>16} {:>16} {:>9}  {:<10}{met}",
            figure.work, figure.ours, figure.floor, figure.result, figure.target
        );
    }
}

/// The middle one of an odd number of times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
