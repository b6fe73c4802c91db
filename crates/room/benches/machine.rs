//! How long a room in a virtual machine takes, and what its processes need, against a bare boot of the
//! same kernel and initial file system in the same run:
//!
//! * `bare`: QEMU alone, no jail, no firmware but QEMU's own, no TPM, until the first process speaks;
//! * `room`: [`Room::start_machine`]: jails, TPM, measured boot, layers, room inside, supervisor executed;
//! * `pool`: taking such a room from a pool until its supervisor speaks;
//! * the resident memory of a room's processes together beside the guest's, against that of the bare QEMU;
//! * `PROOFROOM_BENCH_TOGETHER` (6) rooms started at once.
//!
//! `PROOFROOM_BENCH_ROUNDS` (5), `PROOFROOM_BENCH_ACCEL` (`tcg`), `PROOFROOM_IMAGE_DIR`. Prints and never
//! fails; says so where QEMU, `swtpm` or the image is missing.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench"
)]

#[path = "machine/bare.rs"]
mod bare;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_room::{
    Accelerator, Attestation, DEFAULT_ROOM, Diagnostics, Image, MachineConfig, MachineShape, Pool,
    Programs, Recall, Room, RoomConfig, Shape, missing_program,
};

fn main() {
    let image = std::env::var_os("PROOFROOM_IMAGE_DIR").map_or_else(
        || {
            Path::new(env!("CARGO_BIN_EXE_confine-probe"))
                .ancestors()
                .nth(2)
                .unwrap()
                .join("image")
        },
        PathBuf::from,
    );
    if missing_program().is_some() || !image.join("image.json").exists() {
        println!(
            "SKIPPED: QEMU, `swtpm` or the image in `{}` is missing",
            image.display()
        );
        return;
    }
    let number = |name: &str, default| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let rounds: usize = number("PROOFROOM_BENCH_ROUNDS", 5);
    let accelerator = match std::env::var("PROOFROOM_BENCH_ACCEL").as_deref() {
        Ok("kvm") => Accelerator::Kvm,
        _ => Accelerator::Tcg,
    };
    let shape = MachineShape {
        config: RoomConfig::parse(DEFAULT_ROOM, Path::new("/nonexistent")).unwrap(),
        programs: Programs {
            guest: env!("CARGO_BIN_EXE_confine-probe").into(),
            others: Vec::new(),
            supervisor_arguments: vec!["supervise".into()],
            environment: Vec::new(),
            diagnostics: Diagnostics::Discard,
        },
        machine: MachineConfig {
            image: Image::open(&image).unwrap(),
            layers: Vec::new(),
            accelerator,
            shape: Shape {
                vcpus: 1,
                memory_mib: 2048,
            },
            attestation: Attestation::SoftwareTpm,
            disk_directory: std::env::temp_dir(),
        },
    };
    measure(&shape, rounds);
}

fn measure(shape: &MachineShape, rounds: usize) {
    let (mut bare, mut room, mut pooled) = (Vec::new(), Vec::new(), Vec::new());
    let mut memory = (0, 0);
    for _ in 0..rounds {
        let (took, bytes) = bare::boot(&shape.machine);
        memory.0 = bytes.max(memory.0);
        bare.push(took);
        let began = Instant::now();
        let started = Room::start_machine(
            "bench",
            &shape.config,
            &shape.programs,
            &shape.machine,
            &Recall::default(),
        )
        .unwrap();
        room.push(began.elapsed());
        memory.1 = resident_of(&started, &shape.machine).max(memory.1);
        started.destroy().unwrap();
        let mut pool: Pool<Room> = Pool::new(shape.clone(), 1, Duration::from_secs(3600));
        pool.tend(Instant::now()).unwrap();
        let began = Instant::now();
        let mut taken = pool.take(began).unwrap();
        taken
            .take_channel()
            .unwrap()
            .read_exact(&mut [0; 24])
            .unwrap();
        pooled.push(began.elapsed());
        taken.destroy().unwrap();
    }
    let bare = report("bare", bare);
    let room = report("room", room);
    report("pool", pooled);
    let ratio = room.as_secs_f64() / bare.as_secs_f64();
    println!("room / bare = {ratio:.2} ({})", shape.machine.accelerator);
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "memory beside the guest's: bare QEMU {} MiB, a room's processes {} MiB",
        mib(memory.0),
        mib(memory.1)
    );
    let count = std::env::var("PROOFROOM_BENCH_TOGETHER");
    together(shape, count.ok().and_then(|n| n.parse().ok()).unwrap_or(6));
}

/// Many at once, each to the point at which its supervisor runs.
fn together(shape: &MachineShape, count: usize) {
    let began = Instant::now();
    let rooms: Vec<Room> = std::thread::scope(|scope| {
        let start = |number| {
            let name = format!("bench-{number}");
            scope.spawn(move || {
                Room::start_machine(
                    &name,
                    &shape.config,
                    &shape.programs,
                    &shape.machine,
                    &Recall::default(),
                )
                .unwrap()
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    println!(
        "{count} rooms at once: all run after {:.1?}",
        began.elapsed()
    );
    for room in rooms {
        room.destroy().unwrap();
    }
}

/// Resident bytes of every process of a room, QEMU and its TPM, beside the guest's memory.
fn resident_of(room: &Room, machine: &MachineConfig) -> u64 {
    let mut pids: Vec<i32> = Vec::new();
    for group in room.trace().groups {
        let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        pids.extend(members.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    pids.push(room.pid());
    pids.sort_unstable();
    pids.dedup();
    let own = pids.into_iter().map(|pid| bare::resident(pid, machine));
    own.sum()
}

fn report(name: &str, mut took: Vec<Duration>) -> Duration {
    took.sort();
    let middle = took[took.len() / 2];
    println!(
        "{name:>5}  min {:>9.1?}  p50 {middle:>9.1?}  max {:>9.1?}  ({} rounds)",
        took[0],
        took[took.len() - 1],
        took.len()
    );
    middle
}
