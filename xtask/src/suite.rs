//! `cargo xtask test` and `cargo xtask ci`: every check, in the order in which failures are cheapest.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    checks, clients,
    demo::PACKAGES,
    image,
    machine::{self, Purpose},
};

/// Third-party packages by which the tests check records and speak to the gateway.
const PYTHON_PACKAGES: &[&str] = &[
    "anthropic",
    "cryptography",
    "in-toto-attestation",
    "lxml",
    "openai",
    "securesystemslib",
    // in the standard library from Python 3.11 on
    "tomli; python_version < '3.11'",
];

/// Packages whose programs run inside rooms and need nothing of them.
pub(crate) const STATIC_PACKAGES: &[&str] = &["proofroom-escape-probe"];

/// Runs every test.
pub(crate) fn test() -> Result<()> {
    machine::prepare(Purpose::Tests)?;
    image::ensure_built()?;
    image::ensure_simulated_built()?;
    let python = python_environment()?;
    let clients = clients::installed()?;
    // The end-to-end tests start these programs; building them first keeps their time honest.
    machine::build(&[PACKAGES, &["proofroom-enclave"]].concat())?;
    machine::build_static(STATIC_PACKAGES)?;
    let mut tests = cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    tests
        .env("PROOFROOM_PYTHON", python)
        .env("PROOFROOM_PROGRAMS", machine::target().join("debug"));
    if let Some(clients) = clients {
        tests.env("PROOFROOM_CLIENTS", clients);
    }
    machine::run(&mut tests)
}

/// Runs what continuous integration runs.
pub(crate) fn ci() -> Result<()> {
    machine::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    checks::tidy()?;
    machine::run(&mut cargo(&[
        "deny", "--locked", "check", "bans", "licenses", "sources",
    ]))?;
    let clippy = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    machine::run(&mut cargo(&clippy))?;
    image::ensure_reproducible()?;
    test()
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(machine::root()).args(arguments);
    command
}

/// A Python with the third-party packages, made once and kept in the target directory.
fn python_environment() -> Result<PathBuf> {
    let dir = visible_in_rooms(machine::target().join("python"));
    let python = dir.join("bin/python");
    if has_packages(&python) {
        return Ok(python);
    }
    eprintln!("making a Python environment for the third-party checks");
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).context("cannot make a place for it")?;
    }
    machine::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    )?;
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PYTHON_PACKAGES);
    machine::run(&mut install).context(
        "the third-party checks need these Python packages; is a package index reachable?",
    )?;
    Ok(python)
}

/// The tests bind the environment into rooms, and a room has these directories of its own.
fn visible_in_rooms(dir: PathBuf) -> PathBuf {
    let of_a_room = [
        "/dev",
        "/etc",
        "/home/agent",
        "/proc",
        "/proofroom",
        "/run",
        "/sys",
        "/tmp",
        "/workspace",
    ];
    if !of_a_room.iter().any(|own| dir.starts_with(own)) {
        return dir;
    }
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    if home.is_absolute() && !of_a_room.iter().any(|own| home.starts_with(own)) {
        return home.join(".cache/proofroom-tests/python");
    }
    PathBuf::from("/var/tmp/proofroom-tests/python")
}

fn has_packages(python: &Path) -> bool {
    python.is_file()
        && Command::new(python)
            .args([
                "-c",
                "import anthropic, cryptography, in_toto_attestation, lxml, openai, securesystemslib",
            ])
            .status()
            .is_ok_and(|status| status.success())
}
