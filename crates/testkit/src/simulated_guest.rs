//! The double in the place of the kernel's own files, in a virtual machine that has no such hardware:
//! what the machine's first process finds there is found by the same paths as in a TD. Nothing of
//! this is in an image that is not built as a simulated one.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::mount::{MountFlags, mount, mount_bind};

/// Where the simulated image keeps the double.
const DOUBLE: &str = "/simulated/proofroom-tsm-double";
/// Where it is mounted, before its parts are bound over the kernel's paths.
const PLACE: &str = "/simulated/tsm";
/// The machine's own first process.
const FIRST: &str = "/proofroom/proofroom-guest";
/// What the host promises to boot, as QEMU passes it for the simulated module: 48 bytes in hex. Without
/// such a file the register is zero, as it is in a TD without a promise.
const PROMISE: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/proofroom.simulated/mrconfigid/raw";
/// The image's module sets that are needed: configfs with its reports, and the firmware's files.
const MODULES: [&str; 2] = ["confidential", "capture"];

/// The kernel's paths, and the double's parts over them.
const REPORT: &str = "/sys/kernel/config/tsm/report";
const MISC: &str = "/sys/devices/virtual/misc";
const TABLES: &str = "/sys/firmware/acpi/tables/data";
/// How long the double may take to be mounted, on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(20);

/// Puts the double in place and becomes the machine's first process. Returns only when it cannot.
pub fn become_first_process() -> io::Error {
    match prepare() {
        Ok(()) => Command::new(FIRST).arg0("/init").exec(),
        Err(error) => error,
    }
}

fn prepare() -> io::Result<()> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    named("proc", on("proc", "/proc", plain))?;
    named("sysfs", on("sysfs", "/sys", plain))?;
    named("devtmpfs", on("devtmpfs", "/dev", MountFlags::NOSUID))?;
    for set in MODULES {
        load(set)?;
    }
    let configfs = on("configfs", "/sys/kernel/config", MountFlags::empty());
    named("configfs", configfs)?;
    start_double()?;
    let part = |name: &str| Path::new(PLACE).join(name);
    show(&part("report"), Path::new(REPORT))?;
    named(MISC, on("tmpfs", MISC, plain))?;
    let registers = Path::new(MISC).join("tdx_guest/measurements");
    named("registers", fs::create_dir_all(&registers))?;
    show(&part("measurements"), &registers)?;
    named(TABLES, on("tmpfs", TABLES, plain))?;
    let log = Path::new(TABLES).join("CCEL");
    named("CCEL", fs::write(&log, ""))?;
    show(&part("CCEL"), &log)
}

fn start_double() -> io::Result<()> {
    named(PLACE, fs::create_dir_all(PLACE))?;
    let promise = match fs::read_to_string(PROMISE) {
        Ok(promise) => promise,
        Err(error) if error.kind() == io::ErrorKind::NotFound => "0".repeat(96),
        Err(error) => return named(PROMISE, Err(error)),
    };
    let mut double = Command::new(DOUBLE);
    double.arg("--room").arg(promise).arg(PLACE);
    let mut child = double.stdin(Stdio::null()).spawn()?;
    let until = Instant::now() + PATIENCE;
    while !Path::new(PLACE).join("report").is_dir() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("the double ended with {status}")));
        }
        if Instant::now() > until {
            return Err(io::Error::other("the double does not mount itself"));
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A driver without its device is no error: that is why there is a double.
fn load(set: &str) -> io::Result<()> {
    let directory = PathBuf::from("/modules");
    let names = named(
        set,
        fs::read_to_string(directory.join(format!("order.{set}"))),
    )?;
    for name in names.lines() {
        let file = named(name, File::open(directory.join(name)))?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::NODEV | rustix::io::Errno::EXIST) => {}
            Err(error) => return named(name, Err(error.into())),
        }
    }
    Ok(())
}

fn on(kind: &'static str, target: &str, flags: MountFlags) -> io::Result<()> {
    fs::create_dir_all(target).or_else(|error| match Path::new(target).is_dir() {
        true => Ok(()),
        false => Err(error),
    })?;
    Ok(mount(kind, target, kind, flags, None)?)
}

fn show(from: &Path, at: &Path) -> io::Result<()> {
    let shown = mount_bind(from, at).map_err(io::Error::from);
    named(&at.display().to_string(), shown)
}

/// An error that says of what.
fn named<T>(what: &str, done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))
}
