//! What the room shows of the machine: `/proc`, `/sys`, `/dev`, mounts, variables, memory.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use super::{by, failed, failed_call, held, row};
use crate::{
    attempt::{Attempt, Trace, Tried},
    sys::{call, name},
};

macro_rules! reading {
    ($id:literal, $name:literal, $by:expr, $path:literal, $trace:expr) => {
        row($id, $name, $by, &[$trace($path)], || {
            failed(fs::File::open($path))
        })
    };
}

macro_rules! device {
    ($name:literal, $path:literal) => {
        reading!("own", $name, by::ROOT, $path, absent)
    };
}

/// Opened for writing, and never written.
macro_rules! setting {
    ($id:literal, $name:literal, $path:literal) => {
        row(
            $id,
            $name,
            by::FILES,
            &[Trace::File($path, "write")],
            || failed(fs::OpenOptions::new().write(true).open($path)),
        )
    };
}

const fn absent(path: &'static str) -> Trace {
    Trace::File(path, "read")
}

const fn secret(path: &'static str) -> Trace {
    Trace::Secret(path)
}

const MASK: &str = "supervisor: kernel files are refused; the kernel: no capability";

pub(super) const ATTEMPTS: &[Attempt] = &[
    reading!("own", "kernel-memory", MASK, "/proc/kcore", secret),
    reading!("own", "kernel-symbols", MASK, "/proc/kallsyms", secret),
    reading!("own", "kernel-log-file", MASK, "/proc/kmsg", secret),
    reading!("own", "kernel-command-line", MASK, "/proc/cmdline", secret),
    reading!("own", "kernel-modules", MASK, "/proc/modules", secret),
    reading!("own", "kernel-keys", MASK, "/proc/keys", secret),
    reading!(
        "own",
        "memory-map-of-the-machine",
        MASK,
        "/proc/iomem",
        secret
    ),
    reading!(
        "own",
        "disks-of-the-machine",
        MASK,
        "/proc/partitions",
        secret
    ),
    reading!(
        "own",
        "timers-of-the-machine",
        MASK,
        "/proc/timer_list",
        secret
    ),
    reading!("own", "swap-of-the-machine", MASK, "/proc/swaps", secret),
    reading!("own", "ports-of-the-machine", MASK, "/proc/ioports", secret),
    reading!(
        "own",
        "interrupts-of-the-machine",
        MASK,
        "/proc/interrupts",
        secret
    ),
    reading!(
        "own",
        "memory-types-of-the-machine",
        MASK,
        "/proc/mtrr",
        secret
    ),
    reading!(
        "own",
        "devices-on-the-pci-bus",
        MASK,
        "/proc/bus/pci/devices",
        secret
    ),
    reading!(
        "own",
        "configuration-of-a-pci-device",
        MASK,
        "/proc/bus/pci/00/00.0",
        secret
    ),
    reading!("own", "power-management", MASK, "/proc/acpi/wakeup", secret),
    reading!("own", "disks-by-scsi", MASK, "/proc/scsi/scsi", secret),
    setting!("A44", "emergency-keys", "/proc/sysrq-trigger"),
    setting!("A44", "binary-formats", "/proc/sys/fs/binfmt_misc/register"),
    setting!("A44", "module-loader", "/proc/sys/kernel/modprobe"),
    setting!("A44", "user-mode-helper", "/sys/kernel/uevent_helper"),
    setting!("A44", "release-agent", "/sys/fs/cgroup/release_agent"),
    setting!(
        "own",
        "address-randomisation",
        "/proc/sys/kernel/randomize_va_space"
    ),
    setting!("own", "overcommit", "/proc/sys/vm/overcommit_memory"),
    setting!("own", "forwarding", "/proc/sys/net/ipv4/ip_forward"),
    setting!("own", "host-name", "/proc/sys/kernel/hostname"),
    setting!(
        "own",
        "lock-of-the-modules",
        "/proc/sys/kernel/modules_disabled"
    ),
    setting!(
        "own",
        "lock-of-another-kernel",
        "/proc/sys/kernel/kexec_load_disabled"
    ),
    setting!(
        "own",
        "segments-that-stay",
        "/proc/sys/kernel/shm_rmid_forced"
    ),
    setting!(
        "own",
        "spare-oneself-when-memory-runs-out",
        "/proc/self/oom_score_adj"
    ),
    reading!(
        "own",
        "firmware-configuration-of-the-machine",
        by::ROOT,
        "/sys/firmware/qemu_fw_cfg/by_name/etc/acpi/tables/raw",
        absent
    ),
    reading!(
        "own",
        "acpi-tables",
        by::ROOT,
        "/sys/firmware/acpi/tables/DSDT",
        absent
    ),
    reading!(
        "own",
        "pci-configuration",
        by::ROOT,
        "/sys/bus/pci/devices/0000:00:00.0/config",
        absent
    ),
    reading!(
        "own",
        "pci-memory",
        by::ROOT,
        "/sys/bus/pci/devices/0000:00:02.0/resource0",
        absent
    ),
    reading!(
        "own",
        "names-of-virtio-ports",
        by::ROOT,
        "/sys/class/virtio-ports/vport1p1/name",
        absent
    ),
    reading!(
        "own",
        "registers-of-the-tpm",
        by::ROOT,
        "/sys/class/tpm/tpm0/pcr-sha256/14",
        absent
    ),
    reading!(
        "own",
        "boot-log-of-the-tpm",
        by::ROOT,
        "/sys/kernel/security/tpm0/binary_bios_measurements",
        absent
    ),
    reading!(
        "own",
        "state-of-a-verity-device",
        by::ROOT,
        "/sys/block/dm-0/dm/name",
        absent
    ),
    reading!(
        "own",
        "firmware-tables",
        by::ROOT,
        "/sys/firmware/dmi/tables/DMI",
        absent
    ),
    reading!(
        "own",
        "firmware-variables",
        by::ROOT,
        "/sys/firmware/efi/efivars",
        absent
    ),
    reading!(
        "own",
        "measurement-registers",
        by::ROOT,
        "/sys/class/misc/tdx_guest/measurements/rtmr3:sha384",
        absent
    ),
    reading!(
        "own",
        "report-directory",
        by::ROOT,
        "/sys/kernel/config/tsm/report",
        absent
    ),
    reading!(
        "own",
        "tracing",
        by::ROOT,
        "/sys/kernel/tracing/trace",
        absent
    ),
    reading!("own", "debugging", by::ROOT, "/sys/kernel/debug", absent),
    reading!(
        "own",
        "security-modules",
        by::ROOT,
        "/sys/kernel/security/lockdown",
        absent
    ),
    reading!(
        "own",
        "interfaces",
        by::ROOT,
        "/sys/class/net/eth0/address",
        absent
    ),
    reading!(
        "own",
        "machine-identity",
        by::ROOT,
        "/etc/machine-id",
        absent
    ),
    device!("dev-mem", "/dev/mem"),
    device!("dev-kmem", "/dev/kmem"),
    device!("dev-port", "/dev/port"),
    device!("dev-kmsg", "/dev/kmsg"),
    device!("dev-kvm", "/dev/kvm"),
    device!("dev-tpm", "/dev/tpm0"),
    device!("dev-tpm-resource-manager", "/dev/tpmrm0"),
    device!("dev-tdx-guest", "/dev/tdx_guest"),
    device!("dev-sev-guest", "/dev/sev-guest"),
    device!("dev-vsock", "/dev/vsock"),
    device!("dev-vhost-vsock", "/dev/vhost-vsock"),
    device!("dev-vhost-net", "/dev/vhost-net"),
    device!("dev-tun", "/dev/net/tun"),
    device!("dev-fuse", "/dev/fuse"),
    device!("dev-loop-control", "/dev/loop-control"),
    device!("dev-mapper", "/dev/mapper/control"),
    device!("dev-disk-virtio", "/dev/vda"),
    device!("dev-disk-scsi", "/dev/sda"),
    device!("dev-disk-nvme", "/dev/nvme0n1"),
    device!("dev-msr", "/dev/cpu/0/msr"),
    device!("dev-cpuid", "/dev/cpu/0/cpuid"),
    device!("dev-userfaultfd", "/dev/userfaultfd"),
    device!("dev-input", "/dev/uinput"),
    device!("dev-console", "/dev/console"),
    device!("dev-serial", "/dev/ttyS0"),
    device!("dev-virtio-console", "/dev/hvc0"),
    device!("dev-virtio-port-boot", "/dev/virtio-ports/proofroom.boot"),
    device!(
        "dev-virtio-port-channel",
        "/dev/virtio-ports/proofroom.channel"
    ),
    device!("dev-virtio-port-by-number", "/dev/vport0p1"),
    device!("dev-virtio-port-one", "/dev/vport1p1"),
    device!("dev-virtio-port-two", "/dev/vport1p2"),
    device!("dev-verity", "/dev/dm-0"),
    device!("dev-verity-by-name", "/dev/mapper/layers-0"),
    device!("dev-disk-raw-commands", "/dev/sg0"),
    device!("dev-disk-block-commands", "/dev/bsg/0:0:0:0"),
    device!("dev-random-of-the-host", "/dev/hwrng"),
    device!("dev-clock", "/dev/rtc0"),
    device!("dev-firmware-memory", "/dev/nvram"),
    device!("dev-suspended-memory", "/dev/snapshot"),
    device!("dev-pci-for-programs", "/dev/vfio/vfio"),
    device!("dev-pseudo-terminals", "/dev/ptmx"),
    row("own", "device-list", by::ROOT, NOTHING, device_list),
    row("own", "sys-is-not-there", by::ROOT, NOTHING, || {
        failed(fs::symlink_metadata("/sys"))
    }),
    row(
        "own",
        "settings-that-may-be-written",
        by::FILES,
        &[Trace::Untold("looking")],
        writable_settings,
    ),
    row(
        "own",
        "places-that-may-be-written",
        by::FILES,
        NOTHING,
        writable_mounts,
    ),
    row(
        "own",
        "paths-of-the-host-in-mounts",
        by::ROOT,
        NOTHING,
        mounts,
    ),
    row(
        "own",
        "control-groups-of-the-host",
        by::ROOT,
        NOTHING,
        groups,
    ),
    row(
        "own",
        "interfaces-of-the-host",
        by::ROUTE,
        NOTHING,
        interfaces,
    ),
    row("own", "sockets-of-the-host", by::ROUTE, NOTHING, sockets),
    row(
        "own",
        "variables-that-nobody-gave",
        by::ROOT,
        NOTHING,
        variables,
    ),
    row("own", "capabilities", by::KERNEL, NOTHING, capabilities),
    row(
        "own",
        "programs-with-more-rights",
        by::KERNEL,
        NOTHING,
        set_user_id_programs,
    ),
    row(
        "own",
        "supervisor-binary-of-the-room",
        by::FILES,
        NOTHING,
        || {
            failed_call(call(
                libc::SYS_access,
                &[name(c"/proofroom/proofroom-guest"), 2],
            ))
        },
    ),
];

const NOTHING: &[Trace] = &[Trace::Untold("nothing-there")];

/// Name, and major and minor number of each device that a room may have.
const DEVICES: [(&str, u64); 6] = [
    ("null", 0x103),
    ("zero", 0x105),
    ("full", 0x107),
    ("random", 0x108),
    ("urandom", 0x109),
    ("tty", 0x500),
];

fn device_list() -> Tried {
    let mut strange = Vec::new();
    for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
        let Ok(meta) = entry.path().symlink_metadata() else {
            continue;
        };
        let kind = meta.file_type();
        let named = entry.file_name();
        let known = |(known, number): &(&str, u64)| named == **known && meta.rdev() == *number;
        let device = kind.is_char_device() || kind.is_block_device();
        if (device && !DEVICES.iter().any(known)) || kind.is_socket() {
            strange.push(named);
        }
    }
    held(strange.is_empty(), format!("{strange:?}"))
}

/// By `access`, which is not announced and asks the same question.
fn writable_settings() -> Tried {
    let mut open = vec![Path::new("/proc/sys").to_path_buf()];
    let (mut seen, mut writable) = (0_u32, Vec::new());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
                continue;
            }
            seen = seen.saturating_add(1);
            let text = path.to_string_lossy().into_owned();
            let Ok(text) = std::ffi::CString::new(text) else {
                continue;
            };
            let may = call(libc::SYS_access, &[name(&text), 2]).is_ok();
            // some ask for a right only when they are written; the supervisor refuses to open them
            if may && fs::OpenOptions::new().write(true).open(&path).is_ok() {
                writable.push(path);
            }
        }
    }
    held(
        writable.is_empty(),
        format!("{seen} settings, writable: {writable:?}"),
    )
}

/// Where the agent's own places are, and what the kernel makes for everybody.
const OWN: [&str; 6] = ["/workspace", "/tmp", "/home/agent", "/dev", "/run", "/proc"];

fn mount_lines() -> Vec<Vec<String>> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    text.lines().map(words).collect()
}

fn writable_mounts() -> Tried {
    let writable: Vec<String> = mount_lines()
        .into_iter()
        .filter_map(|line| Some((line.get(4)?.clone(), line.get(5)?.clone())))
        .filter(|(at, _)| !OWN.iter().any(|own| Path::new(at).starts_with(own)))
        .filter(|(_, options)| !options.split(',').any(|option| option == "ro"))
        .map(|(at, _)| at)
        .collect();
    held(writable.is_empty(), format!("{writable:?}"))
}

/// A mount whose place in its own file system is another than its place here tells a path outside.
/// Parts of the system that are links there, and single files, may.
fn mounts() -> Tried {
    let strange: Vec<String> = mount_lines()
        .into_iter()
        .filter_map(|line| Some((line.get(3)?.clone(), line.get(4)?.clone())))
        .filter(|(root, at)| {
            let own = root == "/" || root == at || at.ends_with(root.as_str());
            !own && !at.starts_with("/proofroom") && !at.starts_with("/dev")
        })
        .map(|(root, at)| format!("{at} is {root}"))
        .collect();
    held(strange.is_empty(), format!("{strange:?}"))
}

fn groups() -> Tried {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let outside: Vec<&str> = text.lines().filter(|line| !line.ends_with(":/")).collect();
    held(outside.is_empty(), format!("{outside:?}"))
}

fn interfaces() -> Tried {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names: Vec<&str> = text
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .map(str::trim)
        .collect();
    held(names.iter().all(|name| *name == "lo"), format!("{names:?}"))
}

/// Sockets that this network namespace knows by name.
fn sockets() -> Tried {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let named: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7))
        .filter(|path| !path.starts_with("/run/proofroom/") && !path.starts_with("/proofroom/"))
        .collect();
    held(named.is_empty(), format!("{named:?}"))
}

fn variables() -> Tried {
    let allowed = [
        "HOME",
        "PATH",
        "LANG",
        "PWD",
        "LC_CTYPE",
        "PROOFROOM",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
    ];
    let more: Vec<String> = std::env::vars()
        .filter(|(name, value)| {
            let key = name.ends_with("_KEY") || name.ends_with("_TOKEN");
            !allowed.contains(&name.as_str()) || (key && value != "room")
        })
        .map(|(name, _)| name)
        .collect();
    held(more.is_empty(), format!("{more:?}"))
}

fn capabilities() -> Tried {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    let none = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .iter()
        .all(|name| field(name) == "0000000000000000");
    let locked = field("NoNewPrivs:") == "1" && field("Seccomp:") == "2";
    held(none && locked, format!("none: {none}, locked: {locked}"))
}

/// Programs of the system whose set-user-id bit would count. The mounts say that none does.
fn set_user_id_programs() -> Tried {
    let counts: Vec<String> = mount_lines()
        .into_iter()
        .filter_map(|line| Some((line.get(4)?.clone(), line.get(5)?.clone())))
        .filter(|(_, options)| !options.split(',').any(|option| option == "nosuid"))
        .map(|(at, _)| at)
        .collect();
    held(counts.is_empty(), format!("{counts:?}"))
}
