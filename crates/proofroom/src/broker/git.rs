//! One way to start git: empty environment, no system or user configuration, every configured
//! program switched off, and an end to everything at a deadline.

use std::{
    ffi::OsStr,
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The most that is read of a command's answer, unless the caller streams it.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The most that is kept of a command's complaint.
const MAX_COMPLAINT_BYTES: u64 = 4 * 1024;

/// Why a git command failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// git could not be started.
    #[error("cannot start git; install it (`apt-get install git`)")]
    Start(#[source] std::io::Error),
    /// The pipe to or from git broke.
    #[error("lost the connection to `git {0}`")]
    Pipe(String, #[source] std::io::Error),
    /// git said no.
    #[error("`git {command}` failed: {complaint}")]
    Failed {
        /// The subcommand.
        command: String,
        /// What it wrote, cut to 4 KiB.
        complaint: String,
    },
    /// The answer is larger than anything it should be.
    #[error("`git {0}` answered with more than 64 MiB")]
    TooMuch(String),
}

impl GitError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Start(_) => "git-missing",
            Self::Pipe(..) => "git-pipe",
            Self::Failed { .. } => "git-failed",
            Self::TooMuch(_) => "git-answer-too-large",
        }
    }
}

/// A git directory and how to run git on it.
#[derive(Clone, Debug)]
pub struct Git {
    dir: PathBuf,
}

/// Configuration that wins over whatever a repository's own file says.
const SWITCHED_OFF: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.sshCommand=false",
    "core.askPass=false",
    "core.pager=cat",
    "core.editor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.untrackedCache=false",
    "credential.helper=",
    "diff.external=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
    "safe.directory=*",
    "uploadpack.packObjectsHook=",
];

impl Git {
    /// Works on the git directory `dir`.
    #[must_use]
    pub const fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes an empty bare repository at `dir` that borrows the objects of `lenders`.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn init_borrowing(dir: &Path, lenders: &[PathBuf]) -> Result<Self, GitError> {
        let git = Self::at(dir.to_owned());
        let init = ["init", "--quiet", "--bare", "--template="];
        git.answer(init.iter().map(OsStr::new).chain([dir.as_os_str()]))?;
        let mut alternates = Vec::new();
        for lender in lenders {
            alternates.extend_from_slice(quoted_alternate(lender).as_bytes());
            alternates.push(b'\n');
        }
        std::fs::write(dir.join("objects/info/alternates"), alternates)
            .map_err(|error| GitError::Pipe("init".to_owned(), error))?;
        Ok(git)
    }

    /// The git directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command with `arguments`, not started.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_DIR", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .current_dir("/")
            // An interrupt at the terminal is for the session to answer, not for its git.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for setting in SWITCHED_OFF {
            command.arg("-c").arg(setting);
        }
        command.args(arguments);
        command
    }

    /// Runs git and returns what it printed.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn answer<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, GitError> {
        self.answer_to(&[], arguments)
    }

    /// Runs git with `input` on its standard input and returns what it printed.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn answer_to<A: AsRef<OsStr>>(
        &self,
        input: &[u8],
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, GitError> {
        let mut command = self.command(arguments);
        let name = subcommand(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .map_err(GitError::Start)?;
        let pipe = |error| GitError::Pipe(name.clone(), error);
        let stdin = child.stdin.take();
        let complaint = child.stderr.take();
        let mut answer = Vec::new();
        let said = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || stdin.map_or(Ok(()), |mut to| to.write_all(input)));
            let listener = scope.spawn(move || read_complaint(complaint));
            if let Some(from) = child.stdout.take() {
                from.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut answer)?;
            }
            // A command that fails early stops reading; its complaint says more than the pipe.
            drop(feeder.join());
            Ok(listener.join().unwrap_or_default())
        })
        .map_err(pipe)?;
        if answer.len() as u64 > MAX_ANSWER_BYTES {
            drop(child.kill());
            drop(child.wait());
            return Err(GitError::TooMuch(name));
        }
        finish(child, name, said)?;
        Ok(answer)
    }

    /// Runs git and returns the one line that it printed.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn line<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, GitError> {
        let answer = self.answer(arguments)?;
        Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
    }

    /// Waits at most `patience` for a started command, for commands whose output is streamed.
    ///
    /// # Errors
    /// See [`GitError`].
    pub fn finish_within(mut child: Child, name: &str, patience: Duration) -> Result<(), GitError> {
        let complaint = child.stderr.take();
        let listener = std::thread::spawn(move || read_complaint(complaint));
        let deadline = std::time::Instant::now() + patience;
        while std::time::Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(_)) => {
                    return finish(child, name.to_owned(), listener.join().unwrap_or_default());
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(GitError::Pipe(name.to_owned(), error)),
            }
        }
        drop(child.kill());
        drop(child.wait());
        Err(GitError::Failed {
            command: name.to_owned(),
            complaint: format!("took longer than {} s", patience.as_secs()),
        })
    }
}

/// git reads `objects/info/alternates` line by line and unquotes lines that begin with a quote.
fn quoted_alternate(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut quoted = String::from("\"");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' => quoted.push_str("\\\""),
            b'\\' => quoted.push_str("\\\\"),
            b'\n' => quoted.push_str("\\n"),
            0x20..=0x7e => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted
}

fn subcommand(command: &Command) -> String {
    let skipped = SWITCHED_OFF.len().saturating_mul(2);
    command
        .get_args()
        .nth(skipped)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn read_complaint(from: Option<impl Read>) -> String {
    let mut said = Vec::new();
    if let Some(mut from) = from {
        drop((&mut from).take(MAX_COMPLAINT_BYTES).read_to_end(&mut said));
        // The rest is drained, so that a talkative git does not block on a full pipe.
        drop(std::io::copy(&mut from, &mut std::io::sink()));
    }
    String::from_utf8_lossy(&said)
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn finish(mut child: Child, command: String, complaint: String) -> Result<(), GitError> {
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(GitError::Failed {
            command,
            complaint: if complaint.is_empty() {
                status.to_string()
            } else {
                complaint
            },
        }),
        Err(error) => Err(GitError::Pipe(command, error)),
    }
}
