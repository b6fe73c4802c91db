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

/// Until the first process of the image speaks; and QEMU's resident bytes then.
pub(crate) fn boot(machine: &MachineConfig) -> (Duration, u64) {
    let initrd = machine.image.directory.join("initrd");
    let began = Instant::now();
    let mut qemu = command(machine, initrd, Vec::new())
        .spawn()
        .expect("QEMU starts");
    let port = qemu.stdout.as_mut().expect("a pipe");
    boot::read_frame(port).expect("the first process speaks");
    let took = began.elapsed();
    let bytes = resident(i32::try_from(qemu.id()).unwrap_or_default());
    qemu.kill().expect("QEMU runs");
    qemu.wait().expect("QEMU ends");
    (took, bytes)
}

/// Resident bytes of a process.
pub(crate) fn resident(pid: i32) -> u64 {
    let status = Path::new("/proc").join(pid.to_string()).join("status");
    let status = std::fs::read_to_string(status).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
