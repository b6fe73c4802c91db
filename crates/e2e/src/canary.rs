//! Canaries: secrets that pass through a session, and the search for what is left of them on disks and in
//! the memory of processes.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::repository_root;

/// Random, so that it stands in no source, no binary and no earlier run's remains.
///
/// # Panics
/// Where the kernel gives no randomness.
#[must_use]
pub fn random() -> String {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("randomness");
    random.trim().to_owned()
}

/// Strings that end alike: the search is for that end.
#[derive(Clone, Debug)]
pub struct Canaries {
    /// The end.
    pub secret: String,
    /// For the task.
    pub task: String,
    /// For a file of the workspace.
    pub file: String,
    /// For a command's output.
    pub output: String,
    /// For a model's answer.
    pub answer: String,
}

impl Default for Canaries {
    fn default() -> Self {
        Self::new()
    }
}

impl Canaries {
    /// New ones.
    #[must_use]
    pub fn new() -> Self {
        let secret = random();
        let of = |what: &str| format!("canary-in-the-{what}-{secret}");
        Self {
            task: of("task"),
            file: of("file"),
            output: of("output"),
            answer: of("answer"),
            secret,
        }
    }

    /// Answers that make a session carry all four: none is in a commit or a command line.
    ///
    /// # Panics
    /// Never: the secret is shorter than the output.
    #[must_use]
    pub fn cassette(&self) -> Value {
        // cut within the secret: the whole stands in no file, and comes from a process only
        let half = self.output.len() - self.secret.len() / 2;
        let (left, right) = self.output.split_at(half);
        let call = |name: &str, arguments: Value| json!([{"name": name, "arguments": arguments}]);
        json!({
            "name": "canary",
            "turns": [
                {
                    "text": format!("I note {}.", self.answer),
                    "tool_calls": call("write_file", json!({
                        "path": "notes.txt",
                        "content": format!("{}\n", self.file),
                    })),
                },
                {
                    "expect": ["bytes"],
                    "tool_calls": call("read_file", json!({"path": "notes.txt"})),
                },
                {
                    "expect": [self.file],
                    "tool_calls": call("search", json!({"pattern": self.file})),
                },
                {
                    "tool_calls": call("write_file", json!({
                        "path": "say.py",
                        "content": format!(
                            "import sys\nsys.stdout.write({left:?} + {right:?})\n\
                             sys.stderr.write({left:?} + {right:?})\n"
                        ),
                    })),
                },
                {
                    "tool_calls": call("run", json!({"argv": ["python3", "say.py"]})),
                },
                {
                    "expect": [self.output],
                    "tool_calls": call("run", json!({"argv": ["rm", "notes.txt", "say.py"]})),
                },
                {
                    "tool_calls": call("write_file", json!({"path": "done", "content": "done\n"})),
                },
                {
                    "tool_calls": call("git_commit", json!({"message": "Done"})),
                },
                {
                    "expect": ["commit"],
                    "tool_calls": call("finish", json!({
                        "summary": format!("I noted {}.", self.answer),
                        "success": true,
                    })),
                },
            ],
        })
    }
}

/// Every place that holds one of `canaries`, and what the search covered: the roots, and whatever
/// else changed on this system since then.
///
/// # Panics
/// When python3 does not do it.
#[must_use]
pub fn scan(
    canaries: &[&str],
    since: Option<SystemTime>,
    roots: &[&Path],
    skip: &[&Path],
) -> Value {
    let since = since.map(|since| {
        since
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs()
    });
    let asked = json!({"canaries": canaries, "since": since, "roots": roots, "skip": skip});
    python("scan.py", &asked)
}

/// A directory of the test's own inputs, which is not searched.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn inputs() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("proofroom-canary-inputs-");
    builder.tempdir().expect("temporary directory")
}

/// Every canary that the memory of one of these processes holds, and which processes could be searched.
///
/// # Panics
/// When python3 does not do it.
#[must_use]
pub fn scan_memory(canaries: &[&str], pids: &[u32]) -> Value {
    python("memory.py", &json!({"canaries": canaries, "pids": pids}))
}

/// Every canary that a memory file, or a file whose name is gone, holds, with a process that has it open.
/// All processes of the machine are looked at.
///
/// # Panics
/// When python3 does not do it.
#[must_use]
pub fn scan_memory_files(canaries: &[&str]) -> Value {
    python("memory.py", &json!({"canaries": canaries, "pids": []}))
}

/// Asks one of the scripts in JSON.
fn python(script: &str, asked: &Value) -> Value {
    let path = repository_root()
        .join("crates/e2e/tests/canary")
        .join(script);
    let mut python = Command::new("python3")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut stdin = python.stdin.take().expect("piped");
    stdin
        .write_all(asked.to_string().as_bytes())
        .expect("python3 reads");
    drop(stdin);
    let output = python.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
