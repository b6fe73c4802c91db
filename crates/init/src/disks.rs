//! The machine's disks, found by their logical unit numbers on its one controller.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::InitError;

const DISKS: &str = "/sys/block";
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(2);

/// The kernel looks for disks beside the first process, so they may be awaited.
pub(crate) fn wait_for(unit: usize) -> Result<PathBuf, InitError> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(device) = disk(Path::new(DISKS), unit) {
            return Ok(device);
        }
        if Instant::now() > until {
            return Err(InitError::NoDisk(unit));
        }
        std::thread::sleep(GLANCE);
    }
}

/// The disk whose SCSI address (host:channel:target:unit) ends with `unit`, once it has a device.
fn disk(disks: &Path, unit: usize) -> Option<PathBuf> {
    let wanted = unit.to_string();
    let entries = fs::read_dir(disks).ok()?;
    entries.flatten().find_map(|entry| {
        let address = fs::read_link(entry.path().join("device")).ok()?;
        let address = address.file_name()?.to_str()?;
        let device = Path::new("/dev").join(entry.file_name());
        (address.rsplit(':').next() == Some(&wanted) && device.exists()).then_some(device)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::disk;

    #[test]
    fn a_disk_is_found_by_its_whole_unit_number() {
        let dir = tempfile::tempdir().unwrap();
        // `null` and `zero` are devices that every machine has.
        for (name, address) in [("null", "../../2:0:0:11"), ("zero", "../../2:0:0:1")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            symlink(address, dir.path().join(name).join("device")).unwrap();
        }
        let found = disk(dir.path(), 1).unwrap();
        assert_eq!(found.to_str(), Some("/dev/zero"));
        assert_eq!(disk(dir.path(), 0), None);
    }
}
