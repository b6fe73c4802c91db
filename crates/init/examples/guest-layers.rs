//! `/init` of the test machine in `tests/guest.rs`: loads the modules, does what `/cases.json` says
//! with real devices, writes one line for each case to the console, and powers the machine off.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program: what fails here must be seen on the console"
)]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use proofroom_init::verity::{LayerDevice, LayerPlan, Layers, MODULES, Reading, assemble};
use rustix::{
    fs::CWD,
    mount::{MountFlags, mount},
    system::{RebootCommand, init_module, reboot},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    whole_first: bool,
    layers: Vec<(PathBuf, LayerPlan)>,
    read: Vec<String>,
}

fn main() {
    fs::create_dir_all("/dev").unwrap();
    fs::create_dir_all("/proc").unwrap();
    mount("dev", "/dev", "devtmpfs", MountFlags::empty(), None).unwrap();
    mount("proc", "/proc", "proc", MountFlags::empty(), None).unwrap();
    for name in MODULES {
        if let Some(path) = find(Path::new("/"), &format!("{}.ko", name.replace('-', "_"))) {
            let started = Instant::now();
            let loaded = init_module(&fs::read(&path).unwrap(), c"");
            println!("MODULE {name} {loaded:?} {:?}", started.elapsed());
        }
    }
    let cases: Vec<Case> = serde_json::from_slice(&fs::read("/cases.json").unwrap()).unwrap();
    for case in &cases {
        let started = Instant::now();
        let said = run(case);
        println!("RESULT {}: {said}", case.name);
        println!("TIME {}: {:?}", case.name, started.elapsed());
    }
    reboot(RebootCommand::PowerOff).unwrap();
}

fn run(case: &Case) -> String {
    let devices: Vec<LayerDevice> = case
        .layers
        .iter()
        .map(|(device, plan)| LayerDevice {
            device: device.clone(),
            plan: plan.clone(),
        })
        .collect();
    let reading = if case.whole_first {
        Reading::WholeFirst
    } else {
        Reading::OnDemand
    };
    let at = Path::new("/layers").join(&case.name);
    let layers = match assemble(&at, &devices, reading) {
        Ok(layers) => layers,
        Err(error) => return format!("{} ({error})", error.code()),
    };
    let mut said: Vec<String> = case.read.iter().map(|path| read(&layers, path)).collect();
    said.push(match File::create(layers.tree().join("new")) {
        Ok(_) => "writable".to_owned(),
        Err(error) => format!("write: {}", kind(&error)),
    });
    said.push(match layers.intact() {
        Ok(()) => "intact".to_owned(),
        Err(error) => error.code().to_owned(),
    });
    said.join(", ")
}

fn read(layers: &Layers, path: &str) -> String {
    let opened = rustix::fs::openat(
        CWD,
        layers.tree().join(path),
        rustix::fs::OFlags::RDONLY,
        rustix::fs::Mode::empty(),
    );
    let content = opened
        .map_err(io::Error::from)
        .and_then(|file| io::read_to_string(File::from(file)));
    match content {
        Ok(text) => format!(
            "{path}: {} bytes {}",
            text.len(),
            text.get(..4).unwrap_or(&text)
        ),
        Err(error) => format!("{path}: {}", kind(&error)),
    }
}

fn kind(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EIO) => "EIO",
        Some(libc::EROFS) => "EROFS",
        Some(libc::ENOENT) => "ENOENT",
        _ => "another error",
    }
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let kind = entry.file_type().ok()?;
        if kind.is_file() && entry.file_name() == name {
            return Some(path);
        }
        if kind.is_dir()
            && !["/proc", "/dev", "/sys"]
                .iter()
                .any(|other| path == Path::new(other))
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}
