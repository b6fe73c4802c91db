//! The workspace: from a git bundle to files, with the room's git as the agent. Nothing of the
//! repository runs; what would run elsewhere is noted.

use std::{
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use proofroom_authz::{RunsLater, WorkspacePath};
use proofroom_record::{
    event::Observation,
    room_api::{self, MAX_PACK_BYTES, WORKSPACE_REFERENCE},
};

use crate::{
    channel::ChannelError,
    git::{GitError, is_object_id},
    observe::{Files, Watch},
    session::Session,
    tree::{Tree, TreeError},
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
    /// The bundle is of something else than the commit.
    #[error("the bundle that arrived is not of the assignment's commit alone")]
    Bundle,
    /// git refused the repository.
    #[error("the repository cannot be used")]
    Git(#[from] GitError),
    /// The host did not give the bundle.
    #[error("the workspace did not arrive")]
    Host(#[from] ChannelError),
    /// The bundle could not be put aside.
    #[error("the bundle could not be stored")]
    Store(#[source] std::io::Error),
    /// The files that git made cannot be looked at.
    #[error("the workspace cannot be looked at")]
    Tree(#[from] TreeError),
}

impl WorkspaceError {
    /// The stable code of this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Commit(_) => "workspace-commit",
            Self::Bundle => "workspace-bundle",
            Self::Git(_) => "workspace-refused-by-git",
            Self::Host(_) => "workspace-not-received",
            Self::Store(_) => "workspace-not-stored",
            Self::Tree(error) => error.code(),
        }
    }
}

/// Receives the bundle and has git make the workspace of it: one command, because each costs an
/// emulated machine a third of a second. Git checks every object (`fsckObjects`) and that the commit
/// has all that it names.
///
/// # Errors
/// See [`WorkspaceError`].
pub async fn import(session: &Session) -> Result<(), WorkspaceError> {
    let commit = session.assignment.commit.clone();
    if !is_object_id(&commit) {
        return Err(WorkspaceError::Commit(commit));
    }
    let stored = receive(session).await?;
    if !stored.begins_with(&head_of_bundle(&commit))? {
        return Err(WorkspaceError::Bundle);
    }
    let observer = session.observer(Files::Unrecorded);
    let bundle = stored.0.to_string_lossy();
    let branch = WORKSPACE_REFERENCE.trim_start_matches("refs/heads/");
    let clone = [
        "clone",
        "--quiet",
        "--template=",
        "--no-tags",
        "--no-recurse-submodules",
        "--origin=proofroom",
        "--branch",
        branch,
        "--",
        &bundle,
        ".",
    ];
    let watch: Arc<dyn Watch> = Arc::clone(&observer) as _;
    session.git.run(&clone, vec![], watch).await?;
    forget_the_bundle(&session.tree, &commit)?;
    note_configuration(session)?;
    observer.finish();
    Ok(())
}

async fn receive(session: &Session) -> Result<Stored, WorkspaceError> {
    let (stored, mut file) = Stored::create().map_err(WorkspaceError::Store)?;
    session
        .channel
        .get_pieces(room_api::WORKSPACE, MAX_PACK_BYTES, |piece| {
            file.write_all(piece)
        })
        .await?;
    Ok(stored)
}

/// How a bundle of `commit` with its whole history begins, to the byte (gitformat-bundle): one
/// reference, nothing that must be there already. What git checks out is therefore this commit.
fn head_of_bundle(commit: &str) -> String {
    let version = if is_sha256(commit) {
        "# v3 git bundle\n@object-format=sha256"
    } else {
        "# v2 git bundle"
    };
    format!("{version}\n{commit} {WORKSPACE_REFERENCE}\n\n")
}

const fn is_sha256(commit: &str) -> bool {
    commit.len() == 64
}

/// The repository's configuration, without the bundle as a place to fetch from: it is about to go.
fn forget_the_bundle(tree: &Tree, commit: &str) -> Result<(), TreeError> {
    let (version, extension) = if is_sha256(commit) {
        (1, "[extensions]\n\tobjectformat = sha256\n")
    } else {
        (0, "")
    };
    let text = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n{extension}"
    );
    let name = ".git/config";
    let path = WorkspacePath::parse(name).map_err(|_| TreeError::Outside(name.to_owned()))?;
    tree.write(&path, text.as_bytes())
}

fn note_configuration(session: &Session) -> Result<(), TreeError> {
    let (mut inert, mut hidden) = (0, 0);
    // Nobody but git was here: what lies there is what the commit has.
    for name in session.tree.leaves()? {
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

    fn begins_with(&self, head: &str) -> Result<bool, WorkspaceError> {
        let mut found = vec![0; head.len()];
        let read = std::fs::File::open(&self.0).and_then(|mut file| file.read_exact(&mut found));
        match read {
            Ok(()) => Ok(found == head.as_bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(WorkspaceError::Store(error)),
        }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // The room's memory is what it lies in; the room's end removes it in any case.
        drop(std::fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proofroom_record::room_api::WORKSPACE_REFERENCE;

    use super::head_of_bundle;

    fn bundle(format: &str) -> (String, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .args(["-c", "user.name=t", "-c", "user.email=t@t"])
                .args(arguments)
                .current_dir(directory.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            output.stdout
        };
        let format = format!("--object-format={format}");
        git(&["init", "-q", "-b", "proofroom", &format]);
        git(&["commit", "-q", "--allow-empty", "-m", "empty"]);
        let commit = String::from_utf8(git(&["rev-parse", "HEAD"])).unwrap();
        let bundle = git(&["bundle", "create", "-q", "-", WORKSPACE_REFERENCE]);
        (commit.trim().to_owned(), bundle)
    }

    #[test]
    fn gits_bundles_begin_as_expected_and_then_have_a_pack() {
        for format in ["sha1", "sha256"] {
            let (commit, bundle) = bundle(format);
            let head = head_of_bundle(&commit);
            assert_eq!(&bundle[..head.len()], head.as_bytes());
            assert_eq!(&bundle[head.len()..][..4], b"PACK");
        }
    }
}
