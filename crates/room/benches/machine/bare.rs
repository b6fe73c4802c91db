//! A machine of the image's kernel without anything of a room: no firmware but QEMU's own, no TPM, no jail.
//! Benches compare rooms with it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use proofroom_room::{MachineConfig, QEMU};
use proofroom_vmm::{Disk, Inherited, Machine, Tpm, boot};

/// QEMU with this initial file system and these disks. Its standard streams are the boot port.
pub(crate) fn command(machine: &MachineConfig, initrd: PathBuf, disks: Vec<Disk>) -> Command {
    let arguments = Machine {
        accelerator: machine.accelerator,
        shape: machine.shape,
        firmware: "unused".into(),
        kernel: machine.image.directory.join("vmlinuz"),
        initrd,
        command_line: machine.image.command_line.clone(),
        disks,
        workspace: None,
        tpm: Tpm::Absent,
        boot_port: Inherited(1),
        channel: Inherited(2),
        monitor: Inherited(3),
    }
    .arguments();
    let mut command = Command::new(QEMU);
    let mut skip = false;
    for argument in &arguments {
        let text = argument.to_str().unwrap_or_default();
        match text {
            // QEMU's own firmware boots a kernel faster than UEFI does.
            "-bios" => skip = true,
            _ if skip => skip = false,
            "socket,id=boot,fd=1" => drop(command.arg("stdio,id=boot")),
            "socket,id=channel,fd=2" => drop(command.arg("null,id=channel")),
            "socket,id=monitor,fd=3" => drop(command.arg("null,id=monitor")),
            "kvm,device=/dev/fdset/1" => drop(command.arg("kvm")),
            _ => drop(command.arg(argument)),
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Until the first process of the image speaks; and QEMU's own resident bytes then.
pub(crate) fn boot(machine: &MachineConfig) -> (Duration, u64) {
    let initrd = machine.image.directory.join("initrd");
    let began = Instant::now();
    let mut qemu = command(machine, initrd, Vec::new())
        .spawn()
        .expect("QEMU starts");
    let port = qemu.stdout.as_mut().expect("a pipe");
    boot::read_frame(port).expect("the first process speaks");
    let took = began.elapsed();
    let bytes = resident(i32::try_from(qemu.id()).unwrap_or_default(), machine);
    qemu.kill().expect("QEMU runs");
    qemu.wait().expect("QEMU ends");
    (took, bytes)
}

/// Resident bytes of a process, without its mappings that are as large as the machine's memory: those are the guest's
/// allowance.
pub(crate) fn resident(pid: i32, machine: &MachineConfig) -> u64 {
    let allowance = u64::from(machine.shape.memory_mib) << 10;
    let maps = Path::new("/proc").join(pid.to_string()).join("smaps");
    let maps = std::fs::read_to_string(maps).unwrap_or_default();
    let kib = |line: &str, name| {
        let value = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
        value.parse::<u64>().ok()
    };
    let (mut own, mut is_guests) = (0, false);
    for line in maps.lines() {
        if let Some(size) = kib(line, "Size:") {
            is_guests = size >= allowance;
        } else if let Some(resident) = kib(line, "Rss:").filter(|_| !is_guests) {
            own += resident;
        }
    }
    own * 1024
}
