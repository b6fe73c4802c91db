//! What the machine must have, installed where that is possible, and how the workspace's programs
//! are built and started.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A Debian or Ubuntu package, and a program or file that shows that it is installed.
struct Package {
    name: &'static str,
    shows: &'static str,
}

/// What the demo needs.
const DEMO: &[Package] = &[
    Package {
        name: "git",
        shows: "git",
    },
    Package {
        name: "gcc",
        shows: "cc",
    },
    Package {
        name: "python3",
        shows: "python3",
    },
    // maps the room's two user ids for a user who is not root
    Package {
        name: "uidmap",
        shows: "newuidmap",
    },
];

/// What the tests need besides.
const TESTS: &[Package] = &[
    Package {
        name: "faketime",
        shows: "faketime",
    },
    Package {
        name: "openssl",
        shows: "openssl",
    },
    Package {
        name: "python3-venv",
        shows: "/usr/share/doc/python3-venv",
    },
];

/// What the image's build needs.
const IMAGE: &[Package] = &[
    Package {
        name: "dpkg",
        shows: "dpkg-deb",
    },
    Package {
        name: "erofs-utils",
        shows: "mkfs.erofs",
    },
    Package {
        name: "xz-utils",
        shows: "xz",
    },
    Package {
        name: "zstd",
        shows: "zstd",
    },
];

/// What rooms in virtual machines need on the host.
const MACHINES: &[Package] = &[
    Package {
        name: "qemu-system-x86",
        shows: "qemu-system-x86_64",
    },
    Package {
        name: "swtpm",
        shows: "swtpm",
    },
    Package {
        name: "swtpm-tools",
        shows: "swtpm_setup",
    },
];

/// Which part of the workspace is about to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The demo.
    Demo,
    /// The build of the image for virtual machines.
    Image,
    /// Rooms in virtual machines.
    Machines,
    /// The tests.
    Tests,
}

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of this workspace, as the last build left it.
pub(crate) fn program(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// The profile of static programs, see the root `Cargo.toml`.
const STATIC_PROFILE: &str = "guest";

/// The target that static programs are built for: named, so that build scripts and macros of the
/// machine itself stay dynamic.
fn static_target() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

/// A program of this workspace, as the last static build left it.
pub(crate) fn static_program(name: &str) -> PathBuf {
    target()
        .join(static_target())
        .join(STATIC_PROFILE)
        .join(name)
}

/// Installs what is missing, with `apt-get`, or says what to install.
pub(crate) fn prepare(purpose: Purpose) -> Result<()> {
    let wanted = DEMO.iter().chain(match purpose {
        Purpose::Demo => &[],
        Purpose::Image => IMAGE,
        Purpose::Machines => MACHINES,
        Purpose::Tests => TESTS,
    });
    let missing: Vec<&str> = wanted
        .filter(|package| !installed(package.shows))
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(", "));
    let list = missing.join(" ");
    let by_hand =
        format!("cannot install packages; run `apt-get install {list}` as root, then try again");
    apt(&["update", "-q"]).context(by_hand.clone())?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    apt(&[&install[..], &missing].concat()).context(by_hand)
}

fn installed(shows: &str) -> bool {
    if shows.starts_with('/') {
        return Path::new(shows).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .any(|dir| dir.join(shows).is_file())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt as _;
        own.uid() == 0
    });
    let mut command = if root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // standard output belongs to the task's own answer
    command.stdout(Stdio::from(std::io::stderr()));
    run(&mut command)
}

/// Builds the programs of `packages`, progress on standard error.
pub(crate) fn build(packages: &[&str]) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .args(["build", "--locked", "--bins"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    run(&mut cargo)
}

/// Builds the programs of `packages` so that they need nothing of the place they run in, a room or
/// its virtual machine: linked statically, for a named target, so that nothing else is built again.
pub(crate) fn build_static(packages: &[&str]) -> Result<()> {
    let root = root();
    let cargo_home = env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    // No path of this machine is in the programs, so that another machine makes the same bytes.
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/proofroom \
         --remap-path-prefix={}=/cargo",
        root.display(),
        cargo_home.display()
    );
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(&root)
        .args(["build", "--locked", "--bins", "--profile", STATIC_PROFILE])
        .args(["--target", &static_target()])
        .env("RUSTFLAGS", flags);
    for package in packages {
        cargo.args(["--package", package]);
    }
    run(&mut cargo)
}

/// Forgets what our own crates were last compiled to for static programs of `packages`.
pub(crate) fn forget_static(packages: &[&str]) -> Result<()> {
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root());
        cargo
    };
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--edges=normal", "--prefix=none"]);
    tree.arg("--format={p}");
    for package in packages {
        tree.args(["--package", package]);
    }
    let tree = tree.output().context("cannot read the crate tree")?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let mut clean = cargo();
    clean.args(["clean", "--locked", "--profile", STATIC_PROFILE]);
    clean.args(["--target", &static_target()]);
    let ours = tree.lines().filter_map(|line| line.split(' ').next());
    for name in ours.filter(|name| name.starts_with("proofroom-")) {
        clean.args(["--package", name]);
    }
    run(&mut clean)
}

/// What `program` makes of `input`.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    let mut stdin = child.stdin.take().context("it has no standard input")?;
    let input = input.to_vec();
    // Beside the reading: a pipe holds less than either side may have.
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    let written = writing.join().is_ok_and(|written| written.is_ok());
    anyhow::ensure!(
        output.status.success() && written,
        "`{program}` failed with {}",
        output.status
    );
    Ok(output.stdout)
}

/// Runs a command to its end and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}
