//! Rooms in virtual machines, with the real image under emulation. Needs QEMU, `swtpm` and an image
//! (`cargo xtask image`, or `PROOFROOM_IMAGE_DIR`); where one is missing each test says so.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proofroom_canonical::IsolationLevel;
use proofroom_room::{
    Accelerator, Attestation, DEFAULT_ROOM, Diagnostics, Fact, Image, MachineConfig, MachineShape,
    Pool, Programs, Recall, Room, RoomConfig, RoomError, Shape, missing_program,
};

fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().to_owned()
}

fn image_directory() -> PathBuf {
    std::env::var_os("PROOFROOM_IMAGE_DIR").map_or_else(|| target().join("image"), PathBuf::from)
}

/// The parts of a machine, or why there is none here.
fn machine() -> Option<MachineConfig> {
    if let Some(program) = missing_program() {
        eprintln!("SKIPPED: no `{program}` on this machine");
        return None;
    }
    let directory = image_directory();
    if !directory.join("image.json").exists() {
        eprintln!("SKIPPED: no image in `{}`", directory.display());
        return None;
    }
    let began = Instant::now();
    let image = Image::open(&directory).unwrap();
    eprintln!("image read, hashed and sealed in {:?}", began.elapsed());
    Some(MachineConfig {
        image,
        layers: Vec::new(),
        accelerator: Accelerator::Tcg,
        shape: Shape {
            vcpus: 1,
            memory_mib: 1024,
        },
        attestation: Attestation::SoftwareTpm,
        disk_directory: std::env::temp_dir(),
    })
}

const FILES: [&str; 4] = ["image.json", "vmlinuz", "initrd", "OVMF.fd"];

/// The image, for a test to change.
fn copied_image() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in FILES {
        fs::copy(image_directory().join(file), directory.path().join(file)).unwrap();
    }
    directory
}

fn config() -> RoomConfig {
    RoomConfig::parse(DEFAULT_ROOM, Path::new("/nonexistent")).unwrap()
}

fn programs() -> Programs {
    Programs {
        guest: env!("CARGO_BIN_EXE_confine-probe").into(),
        others: Vec::new(),
        supervisor_arguments: vec!["supervise".into()],
        environment: Vec::new(),
        diagnostics: Diagnostics::HostStderr,
    }
}

fn start(name: &str, machine: &MachineConfig) -> Result<Room, RoomError> {
    Room::start_machine(name, &config(), &programs(), machine, &Recall::default())
}

#[test]
fn a_machine_becomes_a_room_whose_supervisor_speaks_and_ends_without_a_trace() {
    let Some(mut machine) = machine() else { return };
    // Between the look at the image and the boot somebody swaps every file of it.
    let swapped = copied_image();
    machine.image = Image::open(swapped.path()).unwrap();
    for file in FILES {
        fs::write(swapped.path().join(file), "not what was looked at").unwrap();
    }
    let began = Instant::now();
    let mut room = start("machine-test", &machine).unwrap();
    eprintln!("booted in {:?}", began.elapsed());
    assert_eq!(room.isolation(), IsolationLevel::Vm);
    for mechanism in [
        "qemu-tcg-emulated",
        "software-tpm-of-the-host",
        "jail-user-namespace",
        "jail-seccomp-deny-list",
        "jail-executes-once",
        "guest-user-namespace",
        "guest-cgroup-v2-memory-pids",
        "guest-no-swap",
        "guest-modules-locked",
    ] {
        let found = room.mechanisms().iter().any(|m| m == mechanism);
        assert!(found, "{mechanism}: {:?}", room.mechanisms());
    }
    assert!(room.attestation_key().is_some());
    // The supervisor begins HTTP/2 (RFC 9113, section 3.4).
    let mut channel = room.take_channel().unwrap();
    channel
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut preface = [0; 24];
    channel.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop(channel);
    let observed = room.destroy().unwrap();
    for fact in [Fact::VmExited, Fact::TpmStateRemoved, Fact::HostIdsUnused] {
        assert!(
            observed.facts.iter().any(|seen| seen.fact == fact),
            "{fact:?}"
        );
    }
}

#[test]
fn machines_started_ahead_are_taken_once_and_no_two_are_told_the_same() {
    let Some(machine) = machine() else { return };
    let shape = MachineShape {
        config: config(),
        programs: programs(),
        machine,
    };
    let mut pool: Pool<Room> = Pool::new(shape, 2, Duration::from_secs(600));
    pool.tend(Instant::now()).unwrap();
    let began = Instant::now();
    let mut one = pool.take(began).unwrap();
    let mut preface = [0; 24];
    let mut channel = one.take_channel().unwrap();
    channel.read_exact(&mut preface).unwrap();
    eprintln!("taken and speaking after {:?}", began.elapsed());
    let other = pool.take(Instant::now()).unwrap();
    assert_ne!(one.attestation_key(), other.attestation_key());
    assert_ne!(one.ids().supervisor, other.ids().supervisor);
    one.destroy().unwrap();
    other.destroy().unwrap();
}

#[test]
fn a_file_that_does_not_have_its_digest_boots_no_machine() {
    if machine().is_none() {
        return;
    }
    let directory = copied_image();
    for file in FILES.into_iter().filter(|file| *file != "image.json") {
        let copy = directory.path().join(file);
        let good = fs::read(&copy).unwrap();
        let mut bad = good.clone();
        let last = bad.last_mut().unwrap();
        *last ^= 1;
        fs::write(&copy, bad).unwrap();
        let refused = Image::open(directory.path()).unwrap_err();
        assert_eq!(refused.code(), "image-file-differs");
        fs::write(&copy, good).unwrap();
    }
    Image::open(directory.path()).unwrap();
}
