//! A room's machine and the one command line that makes it. Every device is named here: QEMU gets
//! no defaults and no configuration file, so what is not in this file is not in the machine.

use std::{ffi::OsString, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's emulator. A virtual machine, but no hardware keeps its memory apart.
    Tcg,
}

impl Accelerator {
    /// The accelerator's name on command lines and in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The mechanism as session records spell it.
    #[must_use]
    pub const fn mechanism(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "qemu-tcg-emulated",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Processors and memory: part of what the firmware measures, so a few shapes are measured ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Virtual processors.
    pub vcpus: u16,
    /// Guest memory in MiB.
    pub memory_mib: u32,
}

/// The number of a descriptor that QEMU inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inherited(pub i32);

/// A read-only disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The image as QEMU sees it. The guest finds the n-th disk as logical unit n.
    pub path: PathBuf,
}

/// The machine's TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tpm {
    /// There is none.
    Absent,
    /// `swtpm`, whose control socket is this descriptor: run by the host, and worth no more.
    Software(Inherited),
}

/// Everything that a room's machine is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What executes it.
    pub accelerator: Accelerator,
    /// Processors and memory.
    pub shape: Shape,
    /// UEFI firmware, one flat image.
    pub firmware: PathBuf,
    /// The kernel, a bzImage.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// Layers, in the order in which the guest finds them.
    pub disks: Vec<Disk>,
    /// The file behind the workspace's disk, open for reading and writing; none where the workspace is
    /// in the machine's memory.
    pub workspace: Option<Inherited>,
    /// The TPM.
    pub tpm: Tpm,
    /// The port between the host and the guest's first process.
    pub boot_port: Inherited,
    /// The room's channel.
    pub channel: Inherited,
    /// QEMU's control protocol.
    pub monitor: Inherited,
}

/// With [`Accelerator::Kvm`] QEMU inherits `/dev/kvm`, opened, under this number (QEMU 9 and newer
/// take it so; an older one ends at once, and the canary with it).
pub const KVM_DEVICE: Inherited = Inherited(10);
/// The workspace's disk in every machine that has one: its logical unit number, beyond those of layers.
/// A number of its own changes no PCI device, and so none of the tables that firmware measures.
pub const WORKSPACE_UNIT: u16 = 64;
/// The firmware's file in which a simulated TDX module finds what the host promises to boot.
pub(crate) const PROMISE_FILE: &str = "opt/proofroom.simulated/mrconfigid";
/// Name of the port between host and first process, as the guest's kernel shows it.
pub const BOOT_PORT: &str = "proofroom.boot";
/// Name of the room's channel.
pub const CHANNEL_PORT: &str = "proofroom.channel";

impl Machine {
    /// QEMU's arguments, without the program's own name.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        self.arguments_as(&Variant {
            processor: self.processor(),
            ..Variant::default()
        })
    }

    /// QEMU's arguments for this machine, made into `variant`.
    pub(crate) fn arguments_as(&self, variant: &Variant) -> Vec<OsString> {
        let mut line = Line::default();
        line.option("-name", "proofroom,debug-threads=off");
        line.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        line.option("-display", "none");
        line.option("-serial", "none");
        line.option("-parallel", "none");
        if self.accelerator == Accelerator::Kvm {
            line.option("-add-fd", format!("fd={},set=1", KVM_DEVICE.0));
        }
        line.option("-accel", self.accelerator_words());
        line.option("-cpu", variant.processor);
        for object in &variant.objects {
            line.option("-object", object.as_str());
        }
        line.option(
            "-machine",
            format!("q35,smm=off,hpet=off,usb=off,vmport=off{}", variant.machine),
        );
        line.option("-smp", self.shape.vcpus.to_string());
        line.option("-m", format!("{}M", self.shape.memory_mib));
        line.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        line.path("-bios", &self.firmware);
        line.path("-kernel", &self.kernel);
        line.path("-initrd", &self.initrd);
        line.option("-append", self.command_line.as_str());
        self.channels(&mut line);
        self.disks(&mut line);
        if let Tpm::Software(control) = &self.tpm {
            line.socket("tpm", *control);
            line.option("-tpmdev", "emulator,id=tpm0,chardev=tpm");
            line.option("-device", "tpm-crb,tpmdev=tpm0");
        }
        if let Some(promise) = &variant.promise {
            line.option("-fw_cfg", format!("name={PROMISE_FILE},string={promise}"));
        }
        line.0
    }

    fn accelerator_words(&self) -> &'static str {
        match self.accelerator {
            // Opened by the host: in its jail QEMU has no right to open it, and no such device.
            Accelerator::Kvm => "kvm,device=/dev/fdset/1",
            // Translated code is a cache beside the guest's memory; the default is 1 GiB. A compiler's does not fit into
            // 64 MiB and was translated again and again: builds took half as long again.
            Accelerator::Tcg => "tcg,tb-size=256",
        }
    }

    pub(crate) const fn processor(&self) -> &'static str {
        match self.accelerator {
            Accelerator::Kvm => "host",
            // With AVX2 the kernel hashes a layer's blocks by instructions that QEMU 7.2 emulates slowly: 23 MB/s
            // instead of 50 with AVX.
            Accelerator::Tcg => "max,avx2=off",
        }
    }

    fn channels(&self, line: &mut Line) {
        line.socket("monitor", self.monitor);
        line.option("-mon", "chardev=monitor,mode=control");
        line.option("-device", "virtio-serial-pci,id=ports,max_ports=3");
        for (number, id, name, fd) in [
            (1, "boot", BOOT_PORT, self.boot_port),
            (2, "channel", CHANNEL_PORT, self.channel),
        ] {
            line.socket(id, fd);
            line.option(
                "-device",
                format!("virtserialport,bus=ports.0,nr={number},chardev={id},name={name}"),
            );
        }
        line.option("-object", "rng-random,id=entropy,filename=/dev/urandom");
        line.option("-device", "virtio-rng-pci,rng=entropy");
    }

    /// One controller whatever the number of layers: firmware measures tables that name every PCI
    /// device, and one set of reference values shall hold for all rooms of a shape.
    fn disks(&self, line: &mut Line) {
        line.option("-device", "virtio-scsi-pci,id=layers");
        for (number, disk) in self.disks.iter().enumerate() {
            let path = disk.path.to_string_lossy().replace(',', ",,");
            line.option(
                "-drive",
                format!("if=none,id=layer{number},file={path},format=raw,readonly=on,cache=writeback,aio=threads"),
            );
            line.option(
                "-device",
                format!("scsi-hd,bus=layers.0,drive=layer{number},lun={number}"),
            );
        }
        if let Some(file) = self.workspace {
            workspace(line, file);
        }
    }
}

/// Handed over as a descriptor: in its jail QEMU has no right to open the file, which has no name.
/// Nothing of it outlives the machine, so no flush means anything. A host without space is an error for
/// the guest, instead of a machine that stands still.
fn workspace(line: &mut Line, file: Inherited) {
    line.option("-add-fd", format!("fd={},set=2", file.0));
    line.option(
        "-drive",
        // Without `auto-read-only=off` QEMU asks the set for a descriptor that only reads.
        "if=none,id=workspace,file=/dev/fdset/2,format=raw,readonly=off,auto-read-only=off,\
         cache=unsafe,aio=threads",
    );
    line.option(
        "-device",
        format!(
            "scsi-hd,bus=layers.0,drive=workspace,lun={WORKSPACE_UNIT},werror=report,rerror=report"
        ),
    );
}

/// What makes another kind of machine of the same devices.
#[derive(Debug, Default)]
pub(crate) struct Variant {
    pub(crate) processor: &'static str,
    /// Objects that the machine is built on.
    pub(crate) objects: Vec<String>,
    /// More properties of the machine, each after a comma.
    pub(crate) machine: &'static str,
    /// What the firmware's files promise to a simulated module.
    pub(crate) promise: Option<String>,
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn path(&mut self, name: &str, path: &std::path::Path) {
        self.option(name, path.as_os_str());
    }

    fn socket(&mut self, id: &str, fd: Inherited) {
        self.option("-chardev", format!("socket,id={id},fd={}", fd.0));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ffi::OsString;

    use super::{Accelerator, Disk, Inherited, Machine, Shape, Tpm};

    pub(crate) fn machine() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            shape: Shape {
                vcpus: 1,
                memory_mib: 1024,
            },
            firmware: "/image/OVMF.fd".into(),
            kernel: "/image/vmlinuz".into(),
            initrd: "/image/initrd".into(),
            command_line: "quiet".to_owned(),
            disks: vec![Disk {
                path: "/layers/0,1.img".into(),
            }],
            workspace: None,
            tpm: Tpm::Software(Inherited(6)),
            boot_port: Inherited(3),
            channel: Inherited(4),
            monitor: Inherited(5),
        }
    }

    /// One option a line.
    pub(crate) fn text(arguments: &[OsString]) -> String {
        let mut text = String::new();
        for argument in arguments {
            let argument = argument.to_str().unwrap();
            let new_option = argument.starts_with('-');
            text.push(if new_option { '\n' } else { ' ' });
            text.push_str(argument);
        }
        text.trim_start().to_owned() + "\n"
    }

    #[test]
    fn the_emulated_machine_is_the_golden_one() {
        let golden = include_str!("../tests/golden/tcg.txt");
        assert_eq!(text(&machine().arguments()), golden);
    }

    #[test]
    fn the_machine_under_kvm_is_the_golden_one() {
        let machine = Machine {
            accelerator: Accelerator::Kvm,
            ..machine()
        };
        let golden = include_str!("../tests/golden/kvm.txt");
        assert_eq!(text(&machine.arguments()), golden);
    }

    #[test]
    fn the_machine_with_a_disk_for_its_workspace_is_the_golden_one() {
        let plain = text(&machine().arguments());
        let machine = Machine {
            workspace: Some(Inherited(11)),
            ..machine()
        };
        let text = text(&machine.arguments());
        assert_eq!(text, include_str!("../tests/golden/workspace.txt"));
        // Everything else is as it was, and the layer is as read-only as it was.
        assert!(plain.lines().all(|line| text.contains(line)));
        assert_eq!(text.matches("readonly=on").count(), 1);
        assert_eq!(text.matches("readonly=off").count(), 1);
    }

    #[test]
    fn a_machine_has_no_network_device_and_no_writable_disk() {
        let text = text(&machine().arguments());
        assert!(!text.contains("net"), "{text}");
        assert_eq!(text.matches("-drive").count(), 1);
        assert_eq!(text.matches("readonly=on").count(), 1);
    }

    #[test]
    fn a_comma_in_a_path_starts_no_option() {
        assert!(text(&machine().arguments()).contains("file=/layers/0,,1.img,format=raw"));
    }
}
