//! A session that runs while a test watches it: its lines as they come, signals as a terminal sends
//! them, and the processes that belong to it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::Bundle;

/// The longest that a test waits for anything, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running session.
#[derive(Debug)]
pub struct Live {
    child: Child,
    bundle: PathBuf,
    incoming: Receiver<Value>,
    lines: Vec<Value>,
    patience: Duration,
}

/// A process, safe against another that gets its number later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    started: String,
}

impl Live {
    pub(crate) fn new(mut child: Child, bundle: PathBuf) -> Self {
        let stdout = child.stdout.take().expect("piped");
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line)
                    && sender.send(value).is_err()
                {
                    return;
                }
            }
        });
        Self {
            child,
            bundle,
            incoming,
            lines: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Waits longer: a machine that boots on an emulated processor takes its time.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits for a line that fits, among those that came already too.
    ///
    /// # Panics
    /// When none comes within a minute, or the session ends before.
    pub fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.lines.iter().find(|line| fits(line)) {
            return found.clone();
        }
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(line) => {
                    self.lines.push(line.clone());
                    if fits(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let mut said = String::new();
                    drop(self.child.kill());
                    if let Some(mut stderr) = self.child.stderr.take() {
                        drop(stderr.read_to_string(&mut said));
                    }
                    panic!("no {what}; {said}; so far: {:#?}", self.lines);
                }
            }
        }
    }

    /// The session's id, once it has one.
    pub fn id(&mut self) -> String {
        let line = self.wait_for("session id", |line| line["name"] == "session");
        line["value"].as_str().expect("an id").to_owned()
    }

    /// Sends a signal to the whole process group, as a terminal does.
    ///
    /// # Panics
    /// When `kill` fails.
    pub fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill")
            .args([&format!("-{name}"), "--", &group])
            .status();
        assert!(sent.expect("kill starts").success());
    }

    /// Kills the program alone, without a chance to do anything, and returns the lines that it had
    /// written.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn kill(mut self) -> Vec<Value> {
        drop(self.child.kill());
        self.child.wait().expect("it ends");
        self.lines.extend(self.incoming.iter());
        self.lines
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Every process below the program, its room included.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let all = Process::all();
        let mut found: Vec<(Process, u32)> = Vec::new();
        let mut parents = vec![self.child.id()];
        while let Some(parent) = parents.pop() {
            for (process, above) in &all {
                if *above == parent {
                    parents.push(process.pid);
                    found.push((process.clone(), *above));
                }
            }
        }
        found.into_iter().map(|(process, _)| process).collect()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn finish(mut self) -> Bundle {
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            drop(pipe.read_to_string(&mut stderr));
        }
        let status = self.child.wait().expect("the session ends");
        self.lines.extend(self.incoming.iter());
        Bundle {
            code: status.code(),
            lines: self.lines,
            complaint: stderr,
            path: self.bundle,
        }
    }
}

impl Process {
    /// Every process of the machine with its parent.
    fn all() -> Vec<(Self, u32)> {
        let entries = fs::read_dir("/proc").expect("/proc");
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Self::read)
            .collect()
    }

    fn read(pid: u32) -> Option<(Self, u32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let process = Self {
            pid,
            started: (*fields.get(19)?).to_owned(),
        };
        // One that nobody has waited for yet is dead.
        let dead = matches!(*fields.first()?, "Z" | "X");
        (!dead).then_some((process, fields.get(1)?.parse().ok()?))
    }

    /// When the process of this number began, in clock ticks since the machine's start.
    #[must_use]
    pub fn began(pid: u32) -> Option<u64> {
        Self::read(pid)?.0.started.parse().ok()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|(found, _)| found == *self)
    }

    /// Fails the test unless all of these are gone within five seconds.
    ///
    /// # Panics
    /// When one is not.
    pub fn assert_gone(processes: &[Self]) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Some(alive) = processes.iter().find(|process| process.lives()) {
            let command = fs::read_to_string(format!("/proc/{}/cmdline", alive.pid));
            assert!(
                Instant::now() < deadline,
                "{alive:?} still runs: {command:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
