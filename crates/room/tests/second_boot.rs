//! A machine that its emulator failed, with the real image: its QEMU is ended before the guest's first
//! process can speak. A program of its own, so that no other test's QEMU is ended. Needs what
//! `machine.rs` needs.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use proofroom_room::{
    Accelerator, Attestation, DEFAULT_ROOM, Diagnostics, Fact, Image, MachineConfig, ProcessTrace,
    Programs, Recall, Room, RoomConfig, RoomError, Shape, missing_program,
};
use rustix::process::{Pid, Signal, kill_process};

/// From QEMU's start to the guest's first word are seconds; the firmware alone takes longer than this.
const GLANCE: Duration = Duration::from_millis(1);

fn machine() -> Option<MachineConfig> {
    let own = std::env::current_exe().unwrap();
    let built = || own.ancestors().nth(3).unwrap().join("image");
    let directory = std::env::var_os("PROOFROOM_IMAGE_DIR").map_or_else(built, PathBuf::from);
    if missing_program().is_some() || !directory.join("image.json").exists() {
        eprintln!(
            "SKIPPED: no QEMU, no `swtpm`, or no image in `{}`",
            directory.display()
        );
        return None;
    }
    Some(MachineConfig {
        image: Image::open(&directory).unwrap(),
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

fn start(name: &str, machine: &MachineConfig) -> Result<Room, RoomError> {
    let config = RoomConfig::parse(DEFAULT_ROOM, Path::new("/nonexistent")).unwrap();
    let programs = Programs {
        guest: env!("CARGO_BIN_EXE_confine-probe").into(),
        others: Vec::new(),
        supervisor_arguments: vec!["supervise".into()],
        environment: Vec::new(),
        diagnostics: Diagnostics::HostStderr,
    };
    Room::start_machine(name, &config, &programs, machine, &Recall::default())
}

/// The QEMU that is a child of this process.
fn qemu() -> Option<ProcessTrace> {
    let parent = format!("PPid:\t{}", std::process::id());
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let found = status.starts_with("Name:\tqemu-system") && status.contains(&parent);
        found.then(|| ProcessTrace::of(pid)).flatten()
    })
}

/// Whether it computed for a while: the host has looked at it by then, and no first word was heard.
fn boots(qemu: &ProcessTrace) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", qemu.pid)).unwrap_or_default();
    // proc_pid_stat(5): utime is the 12th field behind the name, in ticks of 10 ms.
    let ticks = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(11));
    ticks.is_some_and(|ticks| ticks.parse::<u64>().unwrap() >= 20)
}

/// Ends the next `count` QEMUs of this process, each early in its boot.
fn fail_boots(count: usize) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(120);
        for _ in 0..count {
            let failed = loop {
                if let Some(qemu) = qemu().filter(boots) {
                    break qemu;
                }
                assert!(Instant::now() < until, "no QEMU was started");
                thread::sleep(GLANCE);
            };
            kill_process(Pid::from_raw(failed.pid).unwrap(), Signal::KILL).unwrap();
            while failed.is_there() {
                thread::sleep(GLANCE);
            }
        }
    })
}

#[test]
fn a_boot_that_failed_before_the_first_word_is_made_once_more_and_told() {
    let Some(machine) = machine() else { return };
    let failing = fail_boots(2);
    let refused = start("twice-failed", &machine).unwrap_err();
    failing.join().unwrap();
    assert_eq!(refused.code(), "boot-port-closed");
    assert!(qemu().is_none(), "there was a third boot");

    let failing = fail_boots(1);
    let room = start("once-failed", &machine).unwrap();
    failing.join().unwrap();
    let again = "second-boot-after-emulator-failure";
    assert!(room.mechanisms().iter().any(|name| name == again));
    let failed = room.failed_boot().unwrap().clone();
    assert!(
        failed.detail.starts_with("boot-port-closed"),
        "{}",
        failed.detail
    );
    let observed = room.destroy().unwrap();
    assert_eq!(observed.facts.first(), Some(&failed));
    assert_eq!(failed.fact, Fact::FirstBootFailed);
    assert!(observed.has(Fact::VmExited));
}
