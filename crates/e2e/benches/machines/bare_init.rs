//! First process of the bare machine: the image's kernel and modules and the same layers, a build, and
//! nothing of a room. Compiled by the bench with `rustc` alone, statically.
//!
//! Its initial file system has, besides the image's: `script`, `work` with what is built, and `disks`, a line for
//! each layer: `-`, or its length in sectors and the words of a dm-verity table behind the devices, through which it is
//! mounted then. What the script prints goes to the boot port.

use std::{
    error::Error,
    ffi::{CString, c_char, c_int, c_long, c_ulong},
    fs::{self, File},
    io::Write as _,
    os::{
        fd::AsRawFd as _,
        unix::fs::{chroot, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

type Done<T> = Result<T, Box<dyn Error>>;

const FINIT_MODULE: c_long = 313;
const BIND: c_ulong = 0x1000;
const RECURSIVE: c_ulong = 0x4000;
const READ_ONLY: c_ulong = 1;
/// `DM_DEV_CREATE`, `DM_TABLE_LOAD` and `DM_DEV_SUSPEND`, which without its flag is resume: `_IOWR(0xfd, n, struct
/// dm_ioctl)` (`linux/dm-ioctl.h`).
const DM_CREATE: c_ulong = 0xc138_fd03;
const DM_LOAD: c_ulong = 0xc138_fd09;
const DM_RESUME: c_ulong = 0xc138_fd06;
const DM_HEADER: usize = 312;
const DM_READ_ONLY: u32 = 1;
const POWER_OFF: c_int = 0x4321_fedc;
const ROOT: &str = "/new-root";

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_char,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(how: c_int) -> c_int;
    fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
}

fn main() {
    let said = run().unwrap_or_else(|error| format!("failed: {error}\n"));
    if let Ok(mut port) = port() {
        let _written = port.write_all(said.as_bytes());
    }
    // What the port holds goes with the machine; the bench ends it when it has read enough.
    sleep(Duration::from_secs(20));
    // SAFETY: no memory is involved.
    unsafe { reboot(POWER_OFF) };
}

fn on(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> Done<()> {
    fs::create_dir_all(target)?;
    let [source, at, kind, data] = [source, target, kind, data].map(CString::new);
    let (source, at, kind, data) = (source?, at?, kind?, data?);
    // SAFETY: the strings live until the call returns.
    let answer = unsafe {
        mount(
            source.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr(),
        )
    };
    if answer == 0 {
        return Ok(());
    }
    Err(format!("mount {target}: {}", std::io::Error::last_os_error()).into())
}

fn run() -> Done<String> {
    on("proc", "/proc", "proc", 0, "")?;
    on("sysfs", "/sys", "sysfs", 0, "")?;
    // The kernel may have mounted it itself.
    on("devtmpfs", "/dev", "devtmpfs", 0, "").unwrap_or_default();
    for name in fs::read_to_string("/modules/order.room")?.lines() {
        let file = File::open(Path::new("/modules").join(name))?;
        // SAFETY: a descriptor, an empty string and no flags. A driver without a device is refused.
        unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
    }
    let mut lower = Vec::new();
    for (number, table) in fs::read_to_string("/disks")?.lines().enumerate() {
        let at = format!("/layers/{number}");
        let device = match table.split_once(' ') {
            Some((sectors, words)) => verified(number, sectors.parse()?, words)?,
            None => disk(number)?,
        };
        on(&device.to_string_lossy(), &at, "erofs", READ_ONLY, "")?;
        lower.insert(0, at);
    }
    let lower = format!("lowerdir={}", lower.join(":"));
    on("overlay", "/merged", "overlay", READ_ONLY, &lower)?;
    new_root()?;
    copy(Path::new("/work"), &Path::new(ROOT).join("workspace"))?;
    let script = fs::read_to_string("/script")?;
    chroot(ROOT)?;
    std::env::set_current_dir("/workspace")?;
    let output = Command::new("/bin/sh")
        .args(["-c", &script])
        .env_clear()
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(format!("{said}{complaint}done {}\n", output.status))
}

/// The layer's disk through dm-verity.
fn verified(number: usize, sectors: u64, words: &str) -> Done<PathBuf> {
    let name = format!("layer{number}");
    let disk = disk(number)?;
    let device = disk.to_string_lossy();
    let table = format!("1 {device} {device} {words}");
    let mut spec = [0_u64.to_ne_bytes(), sectors.to_ne_bytes(), [0; 8]].concat();
    spec.extend(b"verity\0\0\0\0\0\0\0\0\0\0");
    spec.extend(table.as_bytes());
    spec.push(0);
    spec.resize(spec.len().next_multiple_of(8), 0);
    device_mapper(DM_CREATE, &name, &[])?;
    device_mapper(DM_LOAD, &name, &spec)?;
    device_mapper(DM_RESUME, &name, &[])?;
    // The kernel makes the node, in the order of the devices.
    let device = PathBuf::from(format!("/dev/dm-{number}"));
    for _ in 0..10_000 {
        if device.exists() {
            return Ok(device);
        }
        sleep(Duration::from_millis(2));
    }
    Err(format!("no {}", device.display()).into())
}

/// One request about the device `name`; `spec` is a table of one target, or nothing.
fn device_mapper(request: c_ulong, name: &str, spec: &[u8]) -> Done<()> {
    let total = u32::try_from(DM_HEADER + spec.len())?;
    let start = u32::try_from(DM_HEADER)?;
    let targets = u32::from(!spec.is_empty());
    // Version, data_size, data_start, target_count, open_count, flags, event_nr, padding; then the device's number.
    let head = [4, 0, 0, total, start, targets, 0, DM_READ_ONLY, 0, 0, 0, 0];
    let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend(name.as_bytes());
    bytes.resize(DM_HEADER, 0);
    bytes.extend(spec);
    let control = File::options().read(true).write(true).open("/dev/mapper/control")?;
    // SAFETY: the kernel reads and writes `data_size` bytes, which is the buffer's length.
    let answer = unsafe { ioctl(control.as_raw_fd(), request, bytes.as_mut_ptr()) };
    if answer == 0 {
        return Ok(());
    }
    Err(format!("device mapper {request:#x}: {}", std::io::Error::last_os_error()).into())
}

fn new_root() -> Done<()> {
    on("tmpfs", ROOT, "tmpfs", 0, "mode=0755")?;
    for name in ["usr", "bin", "sbin", "lib", "lib64", "etc"] {
        let (from, to) = (Path::new("/merged").join(name), Path::new(ROOT).join(name));
        match fs::symlink_metadata(&from) {
            Ok(found) if found.is_symlink() => symlink(fs::read_link(&from)?, &to)?,
            Ok(_) => bind(&from.to_string_lossy(), &to.to_string_lossy())?,
            Err(_) => {}
        }
    }
    for name in ["proc", "sys", "dev"] {
        bind(&format!("/{name}"), &format!("{ROOT}/{name}"))?;
    }
    for name in ["tmp", "home/agent"] {
        fs::create_dir_all(Path::new(ROOT).join(name))?;
    }
    Ok(())
}

fn bind(from: &str, to: &str) -> Done<()> {
    on(from, to, "", BIND | RECURSIVE, "")
}

/// The disk whose SCSI unit has this number.
fn disk(unit: usize) -> Done<PathBuf> {
    for _ in 0..10_000 {
        for entry in fs::read_dir("/sys/block")?.flatten() {
            let address = fs::read_link(entry.path().join("device")).unwrap_or_default();
            let address = address.to_string_lossy().into_owned();
            let device = Path::new("/dev").join(entry.file_name());
            if address.rsplit(':').next() == Some(&unit.to_string()) && device.exists() {
                return Ok(device);
            }
        }
        sleep(Duration::from_millis(2));
    }
    Err(format!("no disk {unit}").into())
}

fn port() -> Done<File> {
    for entry in fs::read_dir("/sys/class/virtio-ports")?.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == "proofroom.boot" {
            let device = Path::new("/dev").join(entry.file_name());
            return Ok(File::options().read(true).write(true).open(device)?);
        }
    }
    Err("no boot port".into())
}

fn copy(from: &Path, to: &Path) -> Done<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
