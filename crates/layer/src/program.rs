//! Programs of the machine that a build needs, started with an environment of ours.

use std::{
    ffi::OsStr,
    io,
    process::{Command, Output, Stdio},
};

use crate::error::LayerError;

/// How much of what a failed program said goes into the error.
const SAID_BYTES: usize = 600;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

impl Program {
    /// The program with a fixed language and without input.
    pub(crate) fn command(self) -> Command {
        let mut command = Command::new(self.name);
        command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }

    /// Runs it; what it said.
    pub(crate) fn run<A: AsRef<OsStr>>(
        self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Output, LayerError> {
        let mut command = self.command();
        command.args(arguments);
        self.finish(&mut command)
    }

    /// Runs a prepared command of this program to its end.
    pub(crate) fn finish(self, command: &mut Command) -> Result<Output, LayerError> {
        let output = command.output().map_err(|error| self.missing(error))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(self.failed(&output.stderr, &output.status.to_string()))
    }

    pub(crate) fn missing(self, source: io::Error) -> LayerError {
        LayerError::NoProgram {
            program: self.name,
            package: self.package,
            source,
        }
    }

    pub(crate) fn failed(self, stderr: &[u8], status: &str) -> LayerError {
        let end = stderr
            .get(stderr.len().saturating_sub(SAID_BYTES)..)
            .unwrap_or_default();
        let words = String::from_utf8_lossy(end);
        let lines: Vec<&str> = words
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let said = if lines.is_empty() {
            status.to_owned()
        } else {
            format!("{status}: {}", lines.join("; "))
        };
        LayerError::Program {
            program: self.name,
            said,
        }
    }
}
