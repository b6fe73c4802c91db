//! What QEMU says about itself.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{State, missing};

const INSTALL: &str = "install QEMU 11 or newer (Debian 13: qemu-system-x86 of the backports)";
/// A program that does not answer in this time is none that we can use.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// A QEMU that was asked for its version and its objects, or why it could not be.
pub(super) struct Qemu {
    program: PathBuf,
    version: Result<String, String>,
    objects: Result<String, String>,
}

impl Qemu {
    pub(super) fn ask(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            version: answer(program, &["--version"]),
            objects: answer(program, &["-object", "help"]),
        }
    }

    pub(super) fn at_least(&self, oldest: u32) -> State {
        let name = self.program.display();
        match &self.version {
            Err(why) => missing(format!("`{name}` {why}"), INSTALL),
            Ok(text) => match major(text) {
                Some(version) if version >= oldest => State::Met(format!("QEMU {version}")),
                Some(version) => missing(
                    format!("`{name}` is QEMU {version}, older than {oldest}"),
                    INSTALL,
                ),
                None => missing(format!("`{name}` does not say its version"), INSTALL),
            },
        }
    }

    pub(super) fn has_object(&self, object: &str) -> State {
        let name = self.program.display();
        match &self.objects {
            Err(why) => missing(format!("`{name}` {why}"), INSTALL),
            Ok(text) if text.lines().any(|line| line.trim() == object) => {
                State::Met(format!("`{object}`"))
            }
            Ok(_) => missing(format!("`{name}` has no object `{object}`"), INSTALL),
        }
    }
}

/// `QEMU emulator version 11.1.3 (…)`.
fn major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("version ")?;
    version.split('.').next()?.parse().ok()
}

/// What `program` writes to its standard output, if it ends well and in time.
fn answer(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot be executed: {error}"))?;
    let Some(output) = child.stdout.take() else {
        return Err("has no output".to_owned());
    };
    let reader = thread::spawn(move || {
        let mut text = String::new();
        output
            .take(MAX_ANSWER_BYTES)
            .read_to_string(&mut text)
            .map(|_| text)
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => {
                // Killed or gone: either way it gave no answer.
                child.kill().ok();
                child.wait().ok();
                return Err(format!("did not answer in {} s", PATIENCE.as_secs()));
            }
        }
    };
    let text = reader
        .join()
        .map_err(|_| "could not be read".to_owned())?
        .map_err(|error| format!("could not be read: {error}"))?;
    if status.success() {
        return Ok(text);
    }
    Err(format!("ended with {status}"))
}
