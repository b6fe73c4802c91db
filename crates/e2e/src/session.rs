//! One session: started, perhaps interrupted, run to its end, and what it left.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{Deployment, program};

/// A session that is about to run.
#[derive(Debug)]
pub struct Session {
    command: Command,
    bundle: PathBuf,
}

impl Session {
    pub(crate) fn new(deployment: &Deployment, repository: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let bundle = deployment.path().join(format!("{count}.proofroom"));
        let mut command = Command::new(program("proofroom"));
        command
            .arg("run")
            .arg("--json")
            .arg("--repo")
            .arg(repository)
            .arg("--policy")
            .arg(deployment.policy())
            .arg("--state")
            .arg(deployment.state())
            .arg("--out")
            .arg(&bundle)
            .stdin(Stdio::null());
        Self { command, bundle }
    }

    /// With a task for the built-in agent.
    #[must_use]
    pub fn task(mut self, task: &str) -> Self {
        self.command.arg("--task").arg(task);
        self
    }

    /// With further arguments.
    #[must_use]
    pub fn arguments<I: AsRef<std::ffi::OsStr>>(mut self, arguments: &[I]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a command in the agent's place. Must come last.
    #[must_use]
    pub fn command(mut self, argv: &[&str]) -> Self {
        self.command.arg("--").args(argv);
        self
    }

    /// With names of its own in place of the machine's, in a mount namespace: this needs root.
    #[must_use]
    pub fn hosts(mut self, hosts: &Path) -> Self {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(hosts)
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .stdin(Stdio::null());
        self.command = command;
        self
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn run(mut self) -> Bundle {
        let output = self.command.output().expect("proofroom starts");
        Bundle::of(&output, self.bundle)
    }

    /// With a variable in the program's own environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &std::ffi::OsStr) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it in a process group of its own, for a test that watches and interferes.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn live(mut self) -> crate::Live {
        std::os::unix::process::CommandExt::process_group(&mut self.command, 0);
        let (child, bundle) = self.start();
        crate::Live::new(child, bundle)
    }

    /// Starts it, for a test that interferes; `Bundle::after` collects what it left.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn start(mut self) -> (Child, PathBuf) {
        let child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("proofroom starts");
        (child, self.bundle)
    }
}

/// What a session left.
#[derive(Debug)]
pub struct Bundle {
    /// Exit code of `proofroom run`.
    pub code: Option<i32>,
    /// Its JSON lines.
    pub lines: Vec<Value>,
    /// What it said on standard error.
    pub complaint: String,
    /// The bundle's path, whether it exists or not.
    pub path: PathBuf,
}

impl Bundle {
    /// A bundle that another session's recovery wrote.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            code: None,
            lines: Vec::new(),
            complaint: String::new(),
            path,
        }
    }

    /// How the session ended, by its closing line; nothing when there is none.
    #[must_use]
    pub fn end(&self) -> Option<&str> {
        let closing = self.lines.iter().find(|line| line["type"] == "session")?;
        closing["end"].as_str()
    }

    fn of(output: &Output, path: PathBuf) -> Self {
        let lines = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Self {
            code: output.status.code(),
            lines,
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
            path,
        }
    }

    /// Waits for a session that was started apart.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn after(child: Child, path: PathBuf) -> Self {
        let output = child.wait_with_output().expect("the session ends");
        Self::of(&output, path)
    }

    /// What `proofroom-verify --json` says of it, with its exit code.
    ///
    /// # Panics
    /// When the verifier does not answer in JSON.
    #[must_use]
    pub fn verify(&self) -> (i32, Value) {
        let output = Command::new(program("proofroom-verify"))
            .arg(&self.path)
            .arg("--json")
            .output()
            .expect("proofroom-verify starts");
        let code = output.status.code().expect("an exit code");
        let said = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("no JSON from proofroom-verify ({code}): {output:?}; session: {self:?}")
        });
        (code, said)
    }

    /// Fails the test unless the bundle is accepted.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_accepted(&self) {
        let (code, said) = self.verify();
        assert_eq!(
            code, 0,
            "not accepted: {said:#}\nsession: {}",
            self.complaint
        );
    }

    /// Every file in the bundle, read with Python's zip module: not by our own reader.
    ///
    /// # Panics
    /// When the bundle is not a zip file.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
        let status = Command::new("python3")
            .args(["-c", script])
            .arg(&self.path)
            .arg(dir.path())
            .status()
            .expect("python3 starts");
        assert!(status.success(), "the bundle is not a zip file: {self:?}");
        let mut files = BTreeMap::new();
        let mut open = vec![dir.path().to_owned()];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(&next).expect("directory") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path
                        .strip_prefix(dir.path())
                        .expect("inside")
                        .display()
                        .to_string();
                    files.insert(name, std::fs::read(&path).expect("file"));
                }
            }
        }
        files
    }

    /// The bundle's events.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let files = self.files();
        let lines = files.get("events.jsonl").expect("events.jsonl");
        String::from_utf8_lossy(lines)
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect()
    }

    /// What the session record claims.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn session_record(&self) -> Value {
        let files = self.files();
        payload(
            files
                .get("records/session.dsse.json")
                .expect("session record"),
        )
    }

    /// What the destruction record claims.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn destruction_record(&self) -> Value {
        let files = self.files();
        payload(
            files
                .get("records/destruction.dsse.json")
                .expect("destruction record"),
        )
    }

    /// What each model-run record claims, in order.
    ///
    /// # Panics
    /// When one is not a record.
    #[must_use]
    pub fn model_runs(&self) -> Vec<Value> {
        self.files()
            .iter()
            .filter(|(name, _)| name.ends_with("-model-run.dsse.json"))
            .map(|(_, bytes)| payload(bytes)["predicate"].clone())
            .collect()
    }
}

/// The statement in a DSSE envelope, decoded by Python's base64: not by our own code.
fn payload(envelope: &[u8]) -> Value {
    let envelope: Value = serde_json::from_slice(envelope).expect("an envelope");
    let text = envelope["payload"].as_str().expect("a payload");
    let script = "import sys, base64; sys.stdout.buffer.write(base64.b64decode(sys.stdin.read()))";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut stdin = python.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("python3 reads");
    drop(stdin);
    let output = python.wait_with_output().expect("python3 ends");
    serde_json::from_slice(&output.stdout).expect("a statement")
}
