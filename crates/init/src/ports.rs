//! The machine's virtio ports, by the names that the host gave them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{InitError, error::On as _};

const PORTS: &str = "/sys/class/virtio-ports";
/// The kernel makes the ports while the first process already runs.
const PATIENCE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(2);

/// Opens the port named `name`.
pub(crate) fn open(name: &'static str) -> Result<File, InitError> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(device) = find(Path::new(PORTS), name) {
            let file = File::options().read(true).write(true).open(&device);
            return file.on("open", device);
        }
        if Instant::now() > until {
            return Err(InitError::NoPort(name));
        }
        std::thread::sleep(GLANCE);
    }
}

fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(ports).ok()?;
    entries.flatten().find_map(|entry| {
        let said = fs::read_to_string(entry.path().join("name")).ok()?;
        (said.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::find;

    #[test]
    fn a_port_is_found_by_its_whole_name() {
        let dir = tempfile::tempdir().unwrap();
        for (port, name) in [
            ("vport0p1", "proofroom.boot2\n"),
            ("vport0p2", "proofroom.boot\n"),
        ] {
            fs::create_dir(dir.path().join(port)).unwrap();
            fs::write(dir.path().join(port).join("name"), name).unwrap();
        }
        let found = find(dir.path(), "proofroom.boot").unwrap();
        assert_eq!(found.to_str(), Some("/dev/vport0p2"));
        assert_eq!(find(dir.path(), "proofroom"), None);
    }
}
