//! The rows of the table, and how each is measured.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    client::{Taken, load},
    process::used_micros,
};

/// One kind of load.
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// `whole`, `burst` or `paced`.
    model: &'static str,
    prompt_bytes: usize,
    callers: usize,
}

const fn cell(
    name: &'static str,
    model: &'static str,
    prompt_bytes: usize,
    callers: usize,
) -> Cell {
    Cell {
        name,
        model,
        prompt_bytes,
        callers,
    }
}

pub(crate) const CELLS: [Cell; 8] = [
    cell("1k-c1", "whole", 1024, 1),
    cell("1k-c32", "whole", 1024, 32),
    cell("1k-c128", "whole", 1024, 128),
    cell("64k-c1", "whole", 65_536, 1),
    cell("64k-c8", "whole", 65_536, 8),
    cell("burst-c1", "burst", 1024, 1),
    cell("burst-c32", "burst", 1024, 32),
    cell("paced-c8", "paced", 1024, 8),
];

/// Pairs of blocks per row.
const PAIRS: usize = 6;
const BLOCK: Duration = Duration::from_millis(750);

pub(crate) const HEADING: &str = "\
row        to             calls/s  of bare   p50 us  added p50   p99 us  added p99   first p50  added   CPU us/call";

/// What is loaded.
pub(crate) struct Target {
    name: String,
    /// Where chat completions are asked for.
    url: String,
    /// What stands before the model's name there.
    model_prefix: String,
    pid: Option<u32>,
}

impl Target {
    /// A target at `place`: `address[/path][#model-prefix]`.
    pub(crate) fn new(name: &str, place: &str, pid: Option<u32>) -> Self {
        let (place, model_prefix) = place.split_once('#').unwrap_or((place, ""));
        let path = if place.contains('/') { "" } else { "/v1" };
        Self {
            name: name.to_owned(),
            url: format!("http://{place}{path}/chat/completions"),
            model_prefix: model_prefix.to_owned(),
            pid,
        }
    }

    /// Its name and process, where that is known.
    pub(crate) fn process(&self) -> Option<(&str, u32)> {
        Some((&self.name, self.pid?))
    }
}

#[derive(Default)]
struct Measured {
    taken: Vec<Taken>,
    seconds: f64,
    cpu_micros: u64,
}

/// Measures one row against every target, in alternating blocks, and prints it.
pub(crate) async fn report(cell: &Cell, targets: &[Target]) {
    let mut all: Vec<Measured> = targets.iter().map(|_| Measured::default()).collect();
    for target in targets {
        load(&target.url, &prompt(cell, target), cell.callers, BLOCK / 3).await;
    }
    for _ in 0..PAIRS {
        for (target, measured) in targets.iter().zip(&mut all) {
            block(cell, target, measured).await;
        }
    }
    let bare = Figures::of(&all[0]);
    for (target, measured) in targets.iter().zip(&all) {
        let found = Figures::of(measured);
        let cpu = measured.cpu_micros as f64 / measured.taken.len() as f64;
        println!(
            "{:<10} {:<12} {:>9.0} {:>8.2} {:>8.0} {:>10.0} {:>8.0} {:>10.0} {:>11.0} {:>6.0} {:>13.0}",
            cell.name,
            target.name,
            found.rate,
            found.rate / bare.rate,
            found.p50,
            found.p50 - bare.p50,
            found.p99,
            found.p99 - bare.p99,
            found.first,
            found.first - bare.first,
            cpu
        );
    }
}

async fn block(cell: &Cell, target: &Target, measured: &mut Measured) {
    let body = prompt(cell, target);
    let used = |target: &Target| target.pid.map_or(0, used_micros);
    let (before, begin) = (used(target), Instant::now());
    let taken = load(&target.url, &body, cell.callers, BLOCK).await;
    measured.seconds += begin.elapsed().as_secs_f64();
    measured.cpu_micros += used(target) - before;
    measured.taken.extend(taken);
}

struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
    first: f64,
}

impl Figures {
    fn of(measured: &Measured) -> Self {
        let wholes = measured.taken.iter().map(|taken| taken.whole).collect();
        let firsts = measured.taken.iter().map(|taken| taken.first).collect();
        let [p50, p99] = percentiles(wholes);
        let [first, _] = percentiles(firsts);
        Self {
            rate: measured.taken.len() as f64 / measured.seconds,
            p50,
            p99,
            first,
        }
    }
}

fn percentiles(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_by(f64::total_cmp);
    [50, 99].map(|percent| values[values.len() * percent / 100])
}

fn prompt(cell: &Cell, target: &Target) -> Bytes {
    let line = "fn length(line: &str) -> usize { line.trim_end().len() } // see RFC 8259\\n";
    let text = line.repeat(cell.prompt_bytes / line.len());
    let stream = cell.model != "whole";
    format!(
        r#"{{"model":"{}{}","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#,
        target.model_prefix, cell.model
    )
    .into()
}
