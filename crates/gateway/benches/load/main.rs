//! What the gateway adds to a model call, paired: blocks of the same load against a bare upstream
//! and through the gateway in turn. Upstream and load generator share one processor, the gateway is
//! a process of its own on another, with classification, routing, hashing and a signed record per run;
//! records are not kept, so the disk is not in it. Peers at addresses of their own take part when they are named.
//!
//! `PROOFROOM_LOAD_PEERS="name=127.0.0.1:4000[/path][#model-prefix][@pid] …"` adds peers, which must send to
//! `PROOFROOM_LOAD_UPSTREAM` (`127.0.0.1:9100`); `tests/load/peers.py` starts some. `PROOFROOM_LOAD_CELLS` picks rows by name.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a person at a terminal"
)]

mod cells;
mod client;
mod gateway;
mod process;
mod upstream;

use cells::{CELLS, Cell, Target, report};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    match arguments.next().as_deref() {
        Some("gateway") => gateway::main(arguments.next().unwrap().parse().unwrap()),
        _ => process::on_cpu(process::GENERATOR_CPU, orchestrate()),
    }
}

async fn orchestrate() {
    let fixed = std::env::var("PROOFROOM_LOAD_UPSTREAM").ok();
    let at = fixed.as_deref().unwrap_or("127.0.0.1:0");
    let upstream = upstream::serve(at.parse().unwrap()).await;
    let gateway = process::Gateway::start(upstream);
    let mut targets = vec![
        Target::new("bare", &upstream.to_string(), None),
        Target::new("gateway", &gateway.address.to_string(), Some(gateway.pid())),
    ];
    targets.extend(peers());
    println!("{}", cells::HEADING);
    for cell in CELLS.iter().filter(|cell| chosen(cell)) {
        report(cell, &targets).await;
    }
    for (name, pid) in targets.iter().filter_map(Target::process) {
        let resident = process::resident_mib(pid);
        println!("{name}: {resident} MiB resident at the end");
    }
}

fn chosen(cell: &Cell) -> bool {
    std::env::var("PROOFROOM_LOAD_CELLS").map_or(true, |names| {
        names.split(',').any(|name| cell.name.contains(name))
    })
}

fn peers() -> Vec<Target> {
    let named = std::env::var("PROOFROOM_LOAD_PEERS").unwrap_or_default();
    named
        .split_whitespace()
        .map(|peer| {
            let (name, rest) = peer.split_once('=').unwrap();
            let (place, pid) = rest.split_once('@').map_or((rest, None), |(place, pid)| {
                (place, Some(pid.parse().unwrap()))
            });
            Target::new(name, place, pid)
        })
        .collect()
}
