//! Installs the real clients that the gateway's tests run, at the versions that the locks under
//! `tests/clients` pin by their digests, and runs those tests. Claude Code and opencode need their own
//! scripts to put their programs in place, so packages' scripts are run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::machine;

/// How `cargo xtask clients` is run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write what came of it to `docs/compatibility.md`, instead of comparing.
    #[arg(long)]
    write: bool,
}

/// Runs every client against the gateway.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Some(directory) = installed()? else {
        return Ok(());
    };
    let mut tests = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tests
        .current_dir(machine::root())
        .args(["test", "--locked", "-p", "proofroom-gateway"])
        .args(["--test", "gateway", "--", "clients::", "--nocapture"])
        .env("PROOFROOM_CLIENTS", directory);
    if options.write {
        tests.env("PROOFROOM_CLIENTS_WRITE", "1");
    }
    machine::run(&mut tests)
}

/// The directory of the installed clients; `None`, said aloud, on a machine without Node.
pub(crate) fn installed() -> Result<Option<PathBuf>> {
    let npm = Command::new("npm").arg("--version").output();
    if !npm.is_ok_and(|asked| asked.status.success()) {
        eprintln!("SKIPPED the tests with real clients: there is no npm on this machine");
        return Ok(None);
    }
    let directory = machine::target().join("clients");
    let (stamp, locks) = (directory.join("locks"), locks()?);
    if fs::read_to_string(&stamp).is_ok_and(|before| before == locks) {
        copy_scripts(&directory)?;
        return Ok(Some(directory));
    }
    eprintln!("installing the clients of tests/clients");
    install_node(&directory)
        .and_then(|()| install_python(&directory, "python"))
        .context("the clients come from npm and PyPI; are these reachable?")?;
    if let Err(error) = install_python(&directory, "aider") {
        eprintln!("aider cannot be installed here, so its tests are skipped: {error:#}");
    }
    fs::write(&stamp, locks).context("cannot note what was installed")?;
    Ok(Some(directory))
}

fn sources() -> PathBuf {
    machine::root().join("tests/clients")
}

/// The texts of all locks.
fn locks() -> Result<String> {
    let files = [
        "node/package-lock.json",
        "python/requirements.txt",
        "aider/requirements.txt",
    ];
    files
        .iter()
        .map(|file| fs::read_to_string(sources().join(file)).with_context(|| file.to_string()))
        .collect()
}

/// `npm ci` wants the optional packages of every platform in the lock, which not every registry has;
/// `npm install` takes what the lock pins, by its digest.
fn install_node(directory: &Path) -> Result<()> {
    copy_scripts(directory)?;
    machine::run(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund"])
            .current_dir(directory.join("node")),
    )
}

/// Scripts stand beside the packages that they import.
fn copy_scripts(directory: &Path) -> Result<()> {
    let node = directory.join("node");
    fs::create_dir_all(&node).context("cannot make a place for the clients")?;
    for entry in fs::read_dir(sources().join("node")).context("tests/clients/node")? {
        let entry = entry?;
        fs::copy(entry.path(), node.join(entry.file_name())).context("cannot copy a client")?;
    }
    Ok(())
}

fn install_python(directory: &Path, name: &str) -> Result<()> {
    let environment = directory.join(name);
    machine::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    machine::run(
        Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--require-hashes"])
            .args(["--disable-pip-version-check", "-r"])
            .arg(sources().join(name).join("requirements.txt")),
    )
}
