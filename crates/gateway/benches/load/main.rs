//! What the gateway adds to a model call, paired: blocks of the same load against a bare upstream
//! and through the gateway in turn. Upstream and load generator share one processor, the gateway is
//! a process of its own on another, with classification, routing, hashing and a signed record per run;
//! records are not kept, so the disk is not in it. In the same turn, `forwards` passes bodies on with the same HTTP library and
//! does nothing else, and `signs` also hashes and signs as a record needs: what is above it is the gateway's own. Peers at addresses of their own take part when they are named.
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
mod forwarder;
mod gateway;
mod process;
mod upstream;

use std::net::SocketAddr;

use cells::{CELLS, Cell, Target, report};
use forwarder::Besides;
use process::Between;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    match arguments.next().as_deref() {
        Some("gateway") => process::on_gateway_cpu(gateway::serve(upstream(arguments.next()))),
        Some(role @ ("forwards" | "signs")) => {
            let besides = match role {
                "signs" => Besides::Signing,
                _ => Besides::Nothing,
            };
            let upstream = upstream(arguments.next());
            process::on_gateway_cpu(forwarder::serve(upstream, besides));
        }
        _ => process::on_cpu(process::GENERATOR_CPU, orchestrate()),
    }
}

fn upstream(argument: Option<String>) -> SocketAddr {
    argument.unwrap().parse().unwrap()
}

async fn orchestrate() {
    let fixed = std::env::var("PROOFROOM_LOAD_UPSTREAM").ok();
    let at = fixed.as_deref().unwrap_or("127.0.0.1:0");
    let upstream = upstream::serve(at.parse().unwrap()).await;
    let mut targets = vec![Target::new("bare", &upstream.to_string(), None)];
    let between =
        ["forwards", "signs", "gateway"].map(|role| (role, Between::start(role, upstream)));
    for (role, server) in &between {
        let address = server.address.to_string();
        targets.push(Target::new(role, &address, Some(server.pid())));
    }
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
