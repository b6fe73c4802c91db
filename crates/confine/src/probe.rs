//! What this machine can honestly offer, found by trying each mechanism in a process of its own
//! that then ends. Not a promise about a room: `Room::start` meets the same kernel again and fails
//! by itself.

use std::{fmt, fs, io, os::fd::AsFd as _, path::Path};

use proofroom_canonical::IsolationLevel;
use serde::Serialize;

use crate::{landlock_rules::REQUIRED_ABI_NUMBER, sys};

/// Every mechanism with its finding, and the level that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineReport {
    /// In a fixed order.
    pub mechanisms: Vec<Mechanism>,
    /// The highest level that this build can offer on this machine.
    pub highest_level: HighestLevel,
}

/// One mechanism.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mechanism {
    /// Its name, as errors and records spell it.
    pub name: &'static str,
    /// What it is needed for.
    pub need: Need,
    /// What was found.
    pub finding: Finding,
}

/// What a mechanism is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Every room at level `process`.
    EveryRoom,
    /// Hard limits; without it the room's record names their absence.
    Limits,
    /// This machine as a confidential guest of another one; for information.
    HigherLevel,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It was tried and works.
    Available(String),
    /// It was tried and does not, or is not there.
    Missing {
        /// The kernel's answer.
        why: String,
        /// What the machine's owner can do.
        what_to_do: String,
    },
    /// It looks present, but only a real use would tell.
    NotTried(String),
}

/// The highest honest level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HighestLevel {
    /// Rooms can be started at this level.
    Level(IsolationLevel),
    /// No room can be started.
    None,
}

/// Which types of machine KVM offers: bit 4 is SEV-SNP, bit 5 is TDX (`KVM_CAP_VM_TYPES`).
///
/// # Errors
/// The device cannot be opened or does not answer.
pub fn kvm_machine_types(device: &Path) -> io::Result<u32> {
    const VM_TYPES: libc::c_long = 235;
    let device = fs::OpenOptions::new().read(true).write(true).open(device)?;
    sys::kvm_extension(device.as_fd(), VM_TYPES)
}

/// Tries everything. Takes some ten milliseconds; changes nothing on the machine.
#[must_use]
pub fn probe() -> MachineReport {
    let mut mechanisms = namespaces();
    mechanisms.extend([
        every_room("subordinate-uids", subordinate_ids()),
        every_room("landlock", landlock()),
        every_room("seccomp-filter", seccomp_filter()),
        every_room("seccomp-notify", seccomp_notify()),
        every_room(
            "no-new-privs",
            in_child(0, || rustix::thread::set_no_new_privs(true).is_ok()),
        ),
        every_room("openat2", openat2()),
        every_room("pidfd", pidfd()),
        every_room("unprivileged-userns-policy", userns_policy()),
        Mechanism {
            name: "memory-limit",
            need: Need::Limits,
            finding: controller("memory"),
        },
        Mechanism {
            name: "pids-limit",
            need: Need::Limits,
            finding: controller("pids"),
        },
    ]);
    mechanisms.extend(higher_levels());
    let missing =
        |m: &Mechanism| m.need == Need::EveryRoom && !matches!(m.finding, Finding::Available(_));
    let highest_level = if mechanisms.iter().any(missing) {
        HighestLevel::None
    } else {
        HighestLevel::Level(IsolationLevel::Process)
    };
    MachineReport {
        mechanisms,
        highest_level,
    }
}

impl MachineReport {
    /// The report as JSON.
    ///
    /// # Errors
    /// None in practice: every field is text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

impl fmt::Display for MachineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mechanism { name, finding, .. } in &self.mechanisms {
            match finding {
                Finding::Available(detail) => writeln!(f, "  yes        {name:<28} {detail}")?,
                Finding::NotTried(detail) => writeln!(f, "  not tried  {name:<28} {detail}")?,
                Finding::Missing { why, what_to_do } => {
                    writeln!(f, "  no         {name:<28} {why}; {what_to_do}")?;
                }
            }
        }
        match self.highest_level {
            HighestLevel::Level(level) => {
                writeln!(
                    f,
                    "highest isolation level here: {level} ({})",
                    level.not_proven()
                )
            }
            HighestLevel::None => writeln!(f, "highest isolation level here: none, no room starts"),
        }
    }
}

fn higher_levels() -> [Mechanism; 3] {
    [
        higher(
            "tdx-guest",
            present("/sys/firmware/tdx", "read only, no quote was made"),
        ),
        higher(
            "sev-snp-guest",
            present("/dev/sev-guest", "no report was made"),
        ),
        higher(
            "configfs-tsm",
            present("/sys/kernel/config/tsm/report", "no report was made"),
        ),
    ]
}

fn every_room(name: &'static str, finding: Finding) -> Mechanism {
    Mechanism {
        name,
        need: Need::EveryRoom,
        finding,
    }
}

fn higher(name: &'static str, finding: Finding) -> Mechanism {
    Mechanism {
        name,
        need: Need::HigherLevel,
        finding,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are handed over where they arise"
)]
fn missing(why: impl ToString, what_to_do: &str) -> Finding {
    Finding::Missing {
        why: why.to_string(),
        what_to_do: what_to_do.to_owned(),
    }
}

fn available(detail: &str) -> Finding {
    Finding::Available(detail.to_owned())
}

/// A trial in a child that first enters `namespaces`; the status is the errno.
fn in_child(namespaces: libc::c_int, trial: impl FnOnce() -> bool) -> Finding {
    let status = sys::in_forked_child(|| {
        if let Err(e) = sys::unshare(namespaces) {
            return e
                .raw_os_error()
                .and_then(|errno| u8::try_from(errno).ok())
                .unwrap_or(255);
        }
        if trial() { 0 } else { 254 }
    });
    match status {
        Ok(0) => available("tried"),
        Ok(254) => missing("the trial failed", "look at the kernel's log"),
        Ok(errno) => missing(
            io::Error::from_raw_os_error(i32::from(errno)),
            "enable the namespace in the kernel and allow it to this user",
        ),
        Err(e) => missing(e, "let this process fork"),
    }
}

fn namespaces() -> Vec<Mechanism> {
    [
        ("user-namespace", 0),
        ("mount-namespace", libc::CLONE_NEWNS),
        ("pid-namespace", libc::CLONE_NEWPID),
        ("net-namespace", libc::CLONE_NEWNET),
        ("ipc-namespace", libc::CLONE_NEWIPC),
        ("uts-namespace", libc::CLONE_NEWUTS),
        ("cgroup-namespace", libc::CLONE_NEWCGROUP),
    ]
    .map(|(name, flag)| every_room(name, in_child(libc::CLONE_NEWUSER | flag, || true)))
    .to_vec()
}

fn subordinate_ids() -> Finding {
    if rustix::process::geteuid().is_root() {
        return available("root: ids from 2000000 on");
    }
    let what_to_do = "install `uidmap` and add this user to /etc/subuid and /etc/subgid";
    for helper in ["newuidmap", "newgidmap"] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|directory| directory.join(helper).is_file())
        });
        if !found {
            return missing(format!("`{helper}` is not in PATH"), what_to_do);
        }
    }
    let uid = rustix::process::geteuid().as_raw();
    match fs::read_to_string("/etc/subuid") {
        Ok(text) if !text.trim().is_empty() => available(&format!(
            "helpers present, ranges in /etc/subuid (user {uid})"
        )),
        Ok(_) => missing("/etc/subuid is empty", what_to_do),
        Err(e) => missing(format!("/etc/subuid: {e}"), what_to_do),
    }
}

fn landlock() -> Finding {
    let what_to_do = "use Linux 6.12 or newer with `landlock` in the `lsm=` list";
    match sys::landlock_abi() {
        Ok(abi) if abi >= REQUIRED_ABI_NUMBER => available(&format!("ABI {abi}")),
        Ok(abi) => missing(
            format!("ABI {abi}, {REQUIRED_ABI_NUMBER} is needed"),
            what_to_do,
        ),
        Err(e) => missing(e, what_to_do),
    }
}

fn seccomp_filter() -> Finding {
    const ALLOW: u32 = 0x7FFF_0000;
    match sys::seccomp_action_known(ALLOW) {
        Ok(()) => available("the kernel answers"),
        Err(e) => missing(e, "build the kernel with CONFIG_SECCOMP_FILTER"),
    }
}

/// Installs a filter with a listener in a child.
fn seccomp_notify() -> Finding {
    let mut program = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0x7FFF_0000,
    }];
    let finding = in_child(0, || {
        rustix::thread::set_no_new_privs(true).is_ok() && sys::install_filter(&mut program).is_ok()
    });
    match finding {
        Finding::Missing { .. } => missing(
            "a filter with a listener was refused",
            "use Linux 5.19 or newer, and no outer filter that has a listener already",
        ),
        other => other,
    }
}

fn openat2() -> Finding {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    match rustix::fs::openat2(CWD, ".", OFlags::PATH, Mode::empty(), ResolveFlags::BENEATH) {
        Ok(_) => available("tried"),
        Err(e) => missing(e, "use Linux 5.6 or newer"),
    }
}

fn pidfd() -> Finding {
    match rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    ) {
        Ok(_) => available("tried"),
        Err(e) => missing(e, "use Linux 5.4 or newer"),
    }
}

/// AppArmor and the sysctls that let a namespace be made and then be worthless.
fn userns_policy() -> Finding {
    let reads =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let root = rustix::process::geteuid().is_root();
    if !root
        && reads(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        )
    {
        return missing(
            "AppArmor takes the capabilities away in unprivileged user namespaces",
            "install an AppArmor profile for proofroom with `userns,` or set \
             kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    if !root && reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return missing(
            "unprivileged user namespaces are off",
            "set kernel.unprivileged_userns_clone=1",
        );
    }
    available("no restriction found")
}

fn controller(name: &str) -> Finding {
    let what_to_do = "run as root, or delegate the controller to this user (systemd `Delegate=`)";
    let v1 = Path::new("/sys/fs/cgroup").join(name);
    if v1.join("cgroup.procs").exists() {
        return trial_group(&v1, &format!("cgroup v1 {name}"), what_to_do);
    }
    let v2 = Path::new("/sys/fs/cgroup");
    let on = fs::read_to_string(v2.join("cgroup.controllers"))
        .is_ok_and(|text| text.split_whitespace().any(|known| known == name));
    if on {
        return trial_group(&own_v2_group(v2), &format!("cgroup v2 {name}"), what_to_do);
    }
    missing("neither cgroup v1 nor v2 has this controller", what_to_do)
}

fn own_v2_group(root: &Path) -> std::path::PathBuf {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    root.join(path)
}

/// Makes and removes an empty group.
fn trial_group(root: &Path, detail: &str, what_to_do: &str) -> Finding {
    let directory = root.join(format!("proofroom-probe-{}", std::process::id()));
    match fs::create_dir(&directory).and_then(|()| fs::remove_dir(&directory)) {
        Ok(()) => available(detail),
        Err(e) => missing(format!("{detail}: {e}"), what_to_do),
    }
}

fn present(path: &str, caution: &str) -> Finding {
    if Path::new(path).exists() {
        return Finding::NotTried(format!("`{path}` is there; {caution}"));
    }
    missing(
        format!("`{path}` is not there"),
        "only needed inside a confidential machine",
    )
}

#[cfg(test)]
mod tests {
    use super::{Finding, HighestLevel, Need, probe};

    #[test]
    fn the_level_follows_from_what_every_room_needs() {
        let report = probe();
        println!("{report}");
        let lacking = report
            .mechanisms
            .iter()
            .any(|m| m.need == Need::EveryRoom && !matches!(m.finding, Finding::Available(_)));
        assert_eq!(lacking, report.highest_level == HighestLevel::None);
    }

    #[test]
    fn a_device_node_is_never_taken_as_proof() {
        let report = probe();
        for mechanism in report
            .mechanisms
            .iter()
            .filter(|m| m.need == Need::HigherLevel)
        {
            assert!(
                !matches!(mechanism.finding, Finding::Available(_)),
                "{mechanism:?}"
            );
        }
        assert!(report.to_json().unwrap().contains("\"highest_level\""));
    }
}
