//! Things that no room of ours has on the host, put there so that the searches for them have something
//! to find. They are gone with the value.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::ways::kill;

/// A mount, a loop device and a mapped device; or why there is none.
pub(crate) struct Planted {
    mount: Result<PathBuf, String>,
    looped: Result<String, String>,
    mapped: Result<String, String>,
}

impl Planted {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            mount: mount(folder),
            looped: looped(folder),
            mapped: mapped(),
        }
    }

    /// Why the thing that this search looks for could not be planted; nothing where it was, or where a
    /// room has one.
    pub(crate) fn missing(&self, what: &str) -> Option<String> {
        match what {
            "a pinned namespace or a mount" => self.mount.as_ref().err().cloned(),
            "a loop device" => self.looped.as_ref().err().cloned(),
            "a mapped device" => self.mapped.as_ref().err().cloned(),
            "a resource group" => no_groups(),
            _ => None,
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        if let Ok(place) = &self.mount {
            drop(said("umount", &[&place.to_string_lossy()]));
        }
        if let Ok(device) = &self.looped {
            drop(said("losetup", &["--detach", device]));
        }
        if let Ok(name) = &self.mapped {
            drop(said("dmsetup", &["remove", name]));
        }
    }
}

fn mount(folder: &Path) -> Result<PathBuf, String> {
    let place = folder.join("planted-mount");
    fs::create_dir(&place).expect("a directory");
    said("mount", &["-t", "tmpfs", "none", &place.to_string_lossy()])?;
    Ok(place)
}

fn looped(folder: &Path) -> Result<String, String> {
    let file = folder.join("planted-loop");
    fs::write(&file, vec![0; 1 << 20]).expect("a file");
    said("losetup", &["--find", "--show", &file.to_string_lossy()])
}

fn mapped() -> Result<String, String> {
    let name = format!("proofroom-planted-{}", std::process::id());
    said("dmsetup", &["create", &name, "--table", "0 8 zero"])?;
    Ok(name)
}

/// Rooms have groups where the host's are writable.
fn no_groups() -> Option<String> {
    let writable = [
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/pids",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup",
    ];
    let writable = writable.into_iter().any(|place| {
        let probe = Path::new(place).join(format!("planted-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .is_ok()
    });
    (!writable).then(|| "no resource group can be made here".to_owned())
}

/// What a program of the machine's printed, or why it did not do it.
fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("`{program}`: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{program}`: {}", said.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A process that holds a string, which stands nowhere else, in its memory or in an open memory file. It
/// ends with the value.
pub(crate) struct Holder(Child);

/// Where a [`Holder`] keeps it.
#[derive(Clone, Copy)]
pub(crate) enum Where {
    Memory,
    /// In a file without a name, and nowhere in its own memory.
    MemoryFile,
}

impl Holder {
    pub(crate) fn of(secret: &str, place: Where) -> Self {
        let (left, right) = secret.split_at(secret.len() / 2);
        let keep = match place {
            Where::Memory => format!("s = {left:?} + {right:?}"),
            Where::MemoryFile => format!(
                "import os; f = os.memfd_create('planted'); os.write(f, b{left:?}); os.write(f, b{right:?})"
            ),
        };
        let script = format!("import time\n{keep}\nprint('here', flush=True)\ntime.sleep(600)\n");
        let mut child = Command::new("python3")
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let out = child.stdout.as_mut().expect("piped");
        let mut first = [0];
        std::io::Read::read_exact(out, &mut first).expect("it says that it is ready");
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        kill(self.0.id());
        drop(self.0.wait());
    }
}
