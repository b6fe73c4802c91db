//! What the guest's kernel is told before anything of the room runs: no further modules, no core
//! dumps, no debugging interfaces. A setting that this kernel lacks is an error where the room
//! relies on it.

use std::{fs, io, path::Path};

use crate::InitError;

enum Need {
    Required,
    /// Kernels without the feature have no such file, and nothing to turn off.
    WhereKnown,
}

use Need::{Required, WhereKnown};

/// Settings below `/proc/sys`, in this order. Modules are locked last.
const SETTINGS: [(&str, &str, Need); 14] = [
    // A program that is nowhere: nothing is written, whatever a process's limits say.
    ("kernel/core_pattern", "|/nowhere", Required),
    ("fs/suid_dumpable", "0", Required),
    ("kernel/dmesg_restrict", "1", Required),
    ("kernel/kptr_restrict", "2", Required),
    ("kernel/perf_event_paranoid", "3", WhereKnown),
    ("kernel/unprivileged_bpf_disabled", "1", WhereKnown),
    ("kernel/io_uring_disabled", "2", WhereKnown),
    ("kernel/kexec_load_disabled", "1", WhereKnown),
    ("kernel/sysrq", "0", WhereKnown),
    ("vm/unprivileged_userfaultfd", "0", WhereKnown),
    ("kernel/yama/ptrace_scope", "1", WhereKnown),
    ("vm/overcommit_memory", "0", Required),
    ("kernel/panic", "-1", Required),
    ("kernel/modules_disabled", "1", WhereKnown),
];

/// Makes every setting. The mechanisms that hold from now on, as records spell them.
pub(crate) fn harden(root: &Path) -> Result<Vec<String>, InitError> {
    for (name, value, need) in &SETTINGS {
        match (fs::write(root.join(name), value), need) {
            (Ok(()), _) => {}
            (Err(error), WhereKnown) if error.kind() == io::ErrorKind::NotFound => {}
            (Err(error), _) => return Err(InitError::Setting(name, error)),
        }
    }
    let mut mechanisms = vec!["guest-no-core-dumps".to_owned()];
    let locked = fs::read_to_string(root.join("kernel/modules_disabled"));
    if locked.is_ok_and(|text| text.trim() == "1") {
        mechanisms.push("guest-modules-locked".to_owned());
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() <= 1 {
        mechanisms.push("guest-no-swap".to_owned());
    }
    Ok(mechanisms)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{SETTINGS, harden};

    #[test]
    fn a_missing_setting_that_rooms_rely_on_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["kernel/yama", "fs", "vm"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        for (name, ..) in &SETTINGS {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mechanisms = harden(dir.path()).unwrap();
        assert!(mechanisms.contains(&"guest-modules-locked".to_owned()));
        fs::remove_file(dir.path().join("kernel/kptr_restrict")).unwrap();
        fs::create_dir(dir.path().join("kernel/kptr_restrict")).unwrap();
        assert_eq!(harden(dir.path()).unwrap_err().code(), "guest-setting");
    }
}
