//! From the request to an attested room in a virtual machine whose agent runs, against a bare boot of the
//! same kernel and initial file system, in alternating rounds of one run:
//!
//! * `bare`: QEMU alone, no jail, no firmware but QEMU's own, no TPM, until the first process speaks;
//! * `attested`: from `proofroom run` being executed until its agent's first words come back. By then the
//!   image was looked at, the machine booted, its evidence was appraised, the session has its certificate,
//!   and the workspace is there. What a verifier says of the finished bundle is looked at too.
//!
//! `PROOFROOM_BENCH_ROUNDS` (5). The programs are those of the profile, or of `PROOFROOM_PROGRAMS`. Prints and
//! judges nothing but that the evidence is accepted.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

#[path = "../../room/benches/machine/bare.rs"]
mod bare;

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use proofroom_e2e::{Deployment, image_directory, skip};
use proofroom_room::{Accelerator, Attestation, Image, MachineConfig, Shape};

const BOOTED: Duration = Duration::from_secs(600);

fn main() {
    let rounds = env::var("PROOFROOM_BENCH_ROUNDS").map_or(5, |n| n.parse().expect("a number"));
    let image = match image_directory() {
        Ok(image) => image,
        Err(why) => return skip("attested rooms", &why),
    };
    let machine = MachineConfig {
        image: Image::open(&image).expect("the image"),
        layers: Vec::new(),
        accelerator: Accelerator::Tcg,
        // what `proofroom run` takes unless it is told otherwise
        shape: Shape {
            vcpus: 1,
            memory_mib: 2048,
        },
        attestation: Attestation::SoftwareTpm,
        disk_directory: std::env::temp_dir(),
    };
    let deployment = Deployment::empty_with_hello();
    let repository = deployment.repository("work", &[("a", "1")]);
    println!("load before: {}", load());
    let mut rows = Vec::new();
    for _ in 0..rounds {
        let (bare, _) = bare::boot(&machine);
        let attested = attested(&deployment, &repository);
        println!("bare {bare:.2?}, attested {attested:.2?}");
        rows.push((bare, attested));
    }
    println!("load after: {}", load());
    let middle = |mut all: Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let bare = middle(rows.iter().map(|row| row.0).collect());
    let room = middle(rows.iter().map(|row| row.1).collect());
    let ratio = room.as_secs_f64() / bare.as_secs_f64();
    println!("p50: bare {bare:.2?}, attested {room:.2?}: {ratio:.2} times");
    let mut pairs: Vec<f64> = rows
        .iter()
        .map(|(bare, room)| room.as_secs_f64() / bare.as_secs_f64())
        .collect();
    pairs.sort_by(f64::total_cmp);
    println!("pairs: {pairs:.2?}");
}

fn attested(deployment: &Deployment, repository: &Path) -> Duration {
    let session = deployment
        .machine_session(repository)
        .expect("it was there a moment ago");
    let began = Instant::now();
    let mut live = session.command(&["echo", "ready"]).live().patient(BOOTED);
    live.wait_for("agent", |line| line["text"] == "ready\n");
    let took = began.elapsed();
    let bundle = live.finish();
    bundle.assert_accepted();
    let (_, said) = bundle.verify();
    let said = said.to_string();
    assert!(said.contains("quote-signature"), "no evidence: {said}");
    took
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
