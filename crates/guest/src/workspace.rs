//! The workspace: from a git bundle to files, with the room's git as the agent. Nothing of the
//! repository runs; what would run elsewhere is noted.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, sync::Arc};

use proofroom_authz::{RunsLater, WorkspacePath};
use proofroom_record::{
    event::Observation,
    room_api::{self, MAX_PACK_BYTES},
};

use crate::{
    channel::ChannelError,
    git::{GitError, is_object_id},
    observe::{Files, Watch},
    session::Session,
};

/// Names of files that agents read as instructions.
const RULES_FILES: [&str; 8] = [
    "agents.md",
    "claude.md",
    "gemini.md",
    "copilot-instructions.md",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    "conventions.md",
];
/// The most notes of one kind.
const MAX_NOTES: usize = 500;

/// Why there is no workspace. The session is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The commit's id is none.
    #[error("`{0}` is not a full commit id")]
    Commit(String),
    /// git refused the repository.
    #[error("the repository cannot be used")]
    Git(#[from] GitError),
    /// The host did not give the bundle.
    #[error("the workspace did not arrive")]
    Host(#[from] ChannelError),
    /// The bundle could not be put aside.
    #[error("the bundle could not be stored")]
    Store(#[source] std::io::Error),
}

impl WorkspaceError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Commit(_) => "workspace-commit",
            Self::Git(_) => "workspace-refused-by-git",
            Self::Host(_) => "workspace-not-received",
            Self::Store(_) => "workspace-not-stored",
        }
    }
}

/// Fetches the bundle and checks the commit out.
///
/// # Errors
/// See [`WorkspaceError`].
pub async fn import(session: &Session) -> Result<(), WorkspaceError> {
    let commit = session.assignment.commit.clone();
    if !is_object_id(&commit) {
        return Err(WorkspaceError::Commit(commit));
    }
    let (stored, mut file) = Stored::create().map_err(WorkspaceError::Store)?;
    session
        .channel
        .get_pieces(room_api::WORKSPACE, MAX_PACK_BYTES, |piece| {
            file.write_all(piece)
        })
        .await?;
    drop(file);
    let observer = session.observer(Files::Unrecorded);
    let watch = || -> Arc<dyn Watch> { Arc::clone(&observer) as _ };
    let git = &session.git;
    let format = if commit.len() == 64 { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    let init = [
        "init",
        "--quiet",
        "--template=",
        "--initial-branch=proofroom",
        &format,
    ];
    git.run(&init, vec![], watch()).await?;
    let bundle = stored.0.to_string_lossy().into_owned();
    let fetch = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        &bundle,
        "+refs/*:refs/proofroom/*",
    ];
    git.run(&fetch, vec![], watch()).await?;
    let base = format!("{commit}^{{commit}}");
    git.object(&base, watch()).await?;
    let checkout = [
        "checkout",
        "--quiet",
        "--force",
        "-B",
        "proofroom",
        &commit,
        "--",
    ];
    git.run(&checkout, vec![], watch()).await?;
    note_configuration(session, watch()).await?;
    observer.finish();
    Ok(())
}

async fn note_configuration(session: &Session, watch: Arc<dyn Watch>) -> Result<(), GitError> {
    let (mut inert, mut hidden) = (0, 0);
    for name in session.git.paths(&["ls-files", "-z"], watch).await? {
        let Ok(path) = WorkspacePath::parse(&name) else {
            continue;
        };
        if path.runs_later() == RunsLater::Yes && inert < MAX_NOTES {
            inert += 1;
            let path = name.clone();
            session
                .journal
                .note(Observation::InertConfiguration { path });
        }
        if is_rules_file(&path) && hidden < MAX_NOTES {
            let characters = session.tree.read(&path).map_or(0, |bytes| {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                text.chars().filter(|c| is_hidden(*c)).count()
            });
            if characters > 0 {
                hidden += 1;
                session.journal.note(Observation::HiddenText {
                    path: name,
                    characters: u64::try_from(characters).unwrap_or(u64::MAX),
                });
            }
        }
    }
    Ok(())
}

fn is_rules_file(path: &WorkspacePath) -> bool {
    let folded = path.folded();
    let last = folded.rsplit('/').next().unwrap_or(folded);
    RULES_FILES.contains(&last)
        || path.runs_later() == RunsLater::Yes
        || last.rsplit_once('.').is_some_and(|(_, kind)| kind == "mdc")
}

/// Characters that a reader does not see: bidirectional controls, zero-width characters, tags.
const fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A file of the supervisor's that the agent can read and nobody can have prepared; gone on drop.
struct Stored(PathBuf);

impl Stored {
    fn create() -> Result<(Self, std::fs::File), std::io::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let name = format!("proofroom-{:032x}.bundle", u128::from_le_bytes(random));
        let stored = Self(std::env::temp_dir().join(name));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&stored.0)?;
        Ok((stored, file))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // The room's memory is what it lies in; the room's end removes it in any case.
        drop(std::fs::remove_file(&self.0));
    }
}
