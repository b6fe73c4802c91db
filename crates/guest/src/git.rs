//! The room's git, run as the agent and confined like every command, with a configuration of its
//! own: no hooks, no system or user configuration, no prompts. What a repository's own configuration
//! still brings (a filter driver that the agent wrote) runs with the agent's rights and no others.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use proofroom_confine::Expendable;
use proofroom_record::{event::Exit, room_api::CommandRules};

use crate::{
    observe::Watch,
    process::{self, Audience, Finished, Job, OutputBudget, ProcessError},
    spawn::{AgentCommand, Spawner},
};

/// How long one git command may take.
const TIME: Duration = Duration::from_secs(300);
/// The most bytes of one git command's answer.
pub const MAX_OUTPUT: usize = 256 * 1024 * 1024;

/// Settings that go before every git command.
const SETTINGS: [&str; 16] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.quotePath=false",
    "core.pager=cat",
    "commit.gpgSign=false",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
];

/// Why a git command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// It ended with something else than success.
    #[error("git {what} failed: {said}")]
    Failed {
        /// The git command's name.
        what: String,
        /// The end of what it said.
        said: String,
    },
    /// It answered with something that cannot be read.
    #[error("git {0} gave an answer that cannot be read")]
    Answer(String),
    /// It could not be run.
    #[error("git could not be run")]
    Process(#[from] ProcessError),
}

/// The room's git on one workspace.
#[derive(Clone, Debug)]
pub struct Git {
    spawner: Arc<dyn Spawner>,
    root: std::path::PathBuf,
    author: String,
    rules: CommandRules,
}

impl Git {
    /// Git on the repository at `root`, committing as `author`.
    #[must_use]
    pub fn new(spawner: Arc<dyn Spawner>, root: &Path, author: &str, rules: &CommandRules) -> Self {
        Self {
            spawner,
            root: root.to_owned(),
            author: author.to_owned(),
            rules: rules.clone(),
        }
    }

    /// Runs one git command with `input` on its standard input; its standard output.
    ///
    /// # Errors
    /// See [`GitError`].
    pub async fn run(
        &self,
        arguments: &[&str],
        input: Vec<u8>,
        watch: Arc<dyn Watch>,
    ) -> Result<Vec<u8>, GitError> {
        let what = arguments.first().copied().unwrap_or_default().to_owned();
        let mut argv: Vec<OsString> = vec!["git".into()];
        for setting in SETTINGS {
            argv.push("-c".into());
            argv.push(setting.into());
        }
        argv.extend(arguments.iter().map(OsString::from));
        let job = Job {
            command: AgentCommand {
                argv,
                env: self.environment(),
                cwd: self.root.clone(),
                rules: self.rules.clone(),
                names: None,
                // Without it nothing comes in, and nothing is delivered.
                expendable: Expendable::Later,
            },
            input,
            time: TIME,
            keep: MAX_OUTPUT,
            output: OutputBudget::unlimited(),
        };
        let spawner = Arc::clone(&self.spawner);
        let Finished {
            exit,
            stdout,
            stderr,
            ..
        } = process::run(
            spawner,
            job,
            watch,
            Audience::Nobody,
            std::future::pending(),
        )
        .await?;
        if exit != Exit::Code(0) {
            let said = String::from_utf8_lossy(&stderr.kept);
            let said: String = said.trim().chars().rev().take(400).collect();
            return Err(GitError::Failed {
                what,
                said: said.chars().rev().collect(),
            });
        }
        if stdout.is_cut() {
            return Err(GitError::Answer(what));
        }
        Ok(stdout.kept)
    }

    /// Runs one git command whose answer is one object id.
    ///
    /// # Errors
    /// See [`GitError`].
    pub async fn object(&self, name: &str, watch: Arc<dyn Watch>) -> Result<String, GitError> {
        let answer = self
            .run(
                &["rev-parse", "--verify", "--quiet", "--end-of-options", name],
                vec![],
                watch,
            )
            .await?;
        let id = String::from_utf8_lossy(&answer).trim().to_owned();
        if is_object_id(&id) {
            Ok(id)
        } else {
            Err(GitError::Answer("rev-parse".to_owned()))
        }
    }

    /// Runs one git command whose answer is NUL-separated paths.
    ///
    /// # Errors
    /// See [`GitError`].
    pub async fn paths(
        &self,
        arguments: &[&str],
        watch: Arc<dyn Watch>,
    ) -> Result<Vec<String>, GitError> {
        let answer = self.run(arguments, vec![], watch).await?;
        Ok(answer
            .split(|byte| *byte == 0)
            .filter(|path| !path.is_empty())
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let email = format!("{}@agent.proofroom.invalid", self.author);
        [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/home/agent"),
            ("LANG", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_EDITOR", "false"),
            ("GIT_AUTHOR_NAME", &self.author),
            ("GIT_AUTHOR_EMAIL", &email),
            ("GIT_COMMITTER_NAME", &self.author),
            ("GIT_COMMITTER_EMAIL", &email),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
    }
}

/// Whether this is a full object id: 40 or 64 lower-case hex digits.
#[must_use]
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
