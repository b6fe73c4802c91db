//! `proofroom room` on a deployment.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::{Deployment, program};

/// A `proofroom room` command that is about to run.
#[derive(Debug)]
pub struct RoomCommand(Command);

impl RoomCommand {
    /// `proofroom room` with these arguments, on a deployment's state. What follows `--` stays last.
    #[must_use]
    pub fn new(deployment: &Deployment, arguments: &[&str]) -> Self {
        let mut command = Command::new(program("proofroom"));
        let split = arguments.iter().position(|argument| *argument == "--");
        let (own, rest) = arguments.split_at(split.unwrap_or(arguments.len()));
        command
            .arg("room")
            .args(own)
            .arg("--state")
            .arg(deployment.state())
            .args(rest)
            .stdin(Stdio::null());
        Self(command)
    }

    /// Runs it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn output(mut self) -> Output {
        self.0.output().expect("proofroom starts")
    }

    /// Runs it and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn success(self) -> String {
        let output = self.output();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it and returns the JSON values that it printed, one from each line.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn lines(self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).expect("one JSON value per line");
        self.success().lines().map(read).collect()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Child {
        self.0
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("proofroom starts")
    }
}
